"""Reports that are written once and looked at by many tests, and one browser for all of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium_pipe import Chromium, find_chromium
from sample_finding import (
    digits_finding,
    hostile_finding,
    loss_finding,
    paper_finding,
    paper_loss_finding,
    problem_finding,
    records_of,
)
from sample_study import FIGURES, empty_result, hostile_result, sample_result

from batchlimit.reports.index_page import write_index
from batchlimit.reports.page import write_report
from batchlimit.reports.study_page import write_study

# Each of these runs where text is pasted into markup, an attribute, a script or a template without care.
HOSTILE = (
    "</script><script>document.title='pwned'</script>"
    '"><img src=x onerror="document.title=\'pwned\'">'
    "<svg onload=\"document.title='pwned'\">{{ 7*7 }}${alert(1)}'-document.title='pwned'-'\u2028]]>"
)


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of four findings by name (digits, loss, problem, hostile), and of two with another set beside them."""
    findings = {
        "digits": digits_finding(),
        "loss": loss_finding(),
        "problem": problem_finding(),
        "hostile": hostile_finding(HOSTILE),
        "two sets": digits_finding(),
        "two sets, loss": loss_finding(),
    }
    beside = {
        "hostile": (hostile_finding(HOSTILE),),
        "two sets": (paper_finding(),),
        "two sets, loss": (paper_loss_finding(),),
    }
    return {
        name: write_report(
            finding,
            records_of(finding, reason=HOSTILE),
            tmp_path_factory.mktemp(name.replace(",", "")),
            beside.get(name, ()),
        )
        for name, finding in findings.items()
    }


@pytest.fixture(scope="session")
def study_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of studies by name: sample, empty, three (figures), hostile, and two indexes."""
    sample, empty, hostile = sample_result(), empty_result(), hostile_result(HOSTILE)
    empty = dataclasses.replace(empty, study=dataclasses.replace(empty.study, name="empty", figures=FIGURES[:3]))
    three = dataclasses.replace(sample, study=dataclasses.replace(sample.study, name="three", figures=FIGURES[:3]))
    folder, elsewhere = tmp_path_factory.mktemp("studies"), tmp_path_factory.mktemp("hostile-study")
    return {
        "sample": write_study(sample, folder),
        "three": write_study(three, folder, ("svg",)),
        "empty": write_study(empty, folder, ("svg",)),
        "index": write_index([sample, empty], folder),
        "hostile": write_study(hostile, elsewhere, ("svg", "csv")),
        "hostile index": write_index([hostile], elsewhere),
    }


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless Chromium; where there is none, a failure if BATCHLIMIT_REQUIRE_BROWSER=1, else a skip that says so."""
    binary = find_chromium()
    if binary is None:
        if os.environ.get("BATCHLIMIT_REQUIRE_BROWSER") == "1":
            pytest.fail("No Chromium on PATH, and BATCHLIMIT_REQUIRE_BROWSER=1 asks for one.")
        pytest.skip("No Chromium on PATH: pages are not tested in a browser (apt install chromium).")
    chromium = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
