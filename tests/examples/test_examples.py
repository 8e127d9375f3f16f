"""The examples run as a user runs them, and define workloads that `batchlimit find` takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from batchlimit.config import TrialConfig
from batchlimit.engine import Execution, run
from batchlimit.workloads.resolve import resolve

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith(("solver_", "study_")))


def test_there_are_three() -> None:
    assert {"custom_cnn", "map_style_dataset", "regression"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_runs_from_start_to_verdict(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"linear scaling holds up to \d+, some recipe up to \d+", done.stdout), done.stdout
    assert re.search(r"^[1-9]\d* trials, [1-9][\d,]* examples processed$", done.stdout, re.MULTILINE)
    assert time.monotonic() - start < 120


@pytest.mark.parametrize(
    ("name", "better_than"), [("custom_cnn", 0.9), ("map_style_dataset", 0.75), ("regression", 0.3)]
)
def test_its_baseline_learns(name: str, better_than: float) -> None:
    text = f"{EXAMPLES / name}.py:workload"
    workload = resolve(text)
    config = TrialConfig(
        workload=text, batch_size=workload.batch_size, budget=workload.budget, recipe=workload.baseline, seed=1
    )
    record = run(config, execution=Execution(device="cpu"))
    assert record.status == "complete"
    assert record.test is not None
    assert record.test.metric is not None
    if workload.metric.direction == "up":
        assert record.test.metric > better_than
    else:
        assert record.test.metric < better_than


def test_the_regression_is_judged_by_its_loss() -> None:
    workload = resolve(f"{EXAMPLES / 'regression'}.py:workload")
    assert (workload.metric.direction, workload.metric.total) == ("down", None)
    _, targets = workload.load().test.gather(torch.arange(512))
    # Predicting the mean would score the variance of the targets, about 1.
    assert 0.8 < targets.var().item() < 1.2


@pytest.mark.parametrize("study", ["study_smoothing.toml", "study_averaging.py:study"])
def test_studies_run_from_the_command_line(study: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "batchlimit", "study", str(EXAMPLES / study), "--scale", "smoke", "--jobs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["studies"]
    assert {arm["status"] for arm in found["arms"]} == {"measured"}
    assert Path(tmp_path, found["report"]).is_file()
