"""The pages of studies and their index as documents, and the Markdown page."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import pytest
from sample_study import FIGURES, STUDY, empty_result, sample_result
from test_report_page import Document

from batchlimit.reports.index_page import write_index
from batchlimit.reports.markdown import PICTURE_BYTES, escaped, write_markdown
from batchlimit.reports.study_page import page_name, reproduce_command, write_study
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec


@pytest.fixture(scope="module")
def documents(study_pages: dict[str, Path]) -> dict[str, Document]:
    return {name: Document(path.read_text(encoding="utf-8")) for name, path in study_pages.items()}


def test_nothing_is_fetched_and_every_link_is_there(
    documents: dict[str, Document], study_pages: dict[str, Path]
) -> None:
    for name, document in documents.items():
        for tag, attributes in document.tags:
            for attribute in ("src", "href"):
                target = attributes.get(attribute)
                if target is None or target.startswith("data:"):
                    continue
                assert tag == "a", f"{tag} {target} would be fetched"
                assert (study_pages[name].parent / target).is_file()


def test_the_page_has_question_claims_figures_tables_and_recipes(documents: dict[str, Document]) -> None:
    text = " ".join(documents["sample"].visible.split())
    for part in (
        "Which solver keeps its accuracy as the batch grows?",
        "Claims of the paper: 2 agree 1 differs 1 undecided 1 not comparable",
        "1 arm of 13 not finished",
        "AMD EPYC 9B45",
        "12 comparisons",
        "What does the paper report?",
        "batchlimit study sample --workload digits --scale quick --epochs 20 --seeds 5 --budget 6",
    ):
        assert part.replace(" %", "\u00a0%") in text or part in text
    titles = {figure.title for figure in FIGURES}
    assert all(title in text for title in titles)
    assert sum(block.startswith("workload") for block in documents["sample"].blocks) == 11


def test_a_study_without_any_result_has_a_page(documents: dict[str, Document]) -> None:
    text = documents["empty"].visible
    assert "12 arms of 12 not finished" in text
    assert "No data yet for:" in text


def test_hostile_text_is_text(documents: dict[str, Document], hostile: str) -> None:
    page, index, honest = documents["hostile"], documents["hostile index"], documents["sample"]
    assert hostile in page.visible
    assert hostile in index.visible
    assert page.scripts[1:] == honest.scripts[1:]
    for document in (page, index):
        names = {name for _, attributes in document.tags for name in attributes}
        assert not {name for name in names if name.startswith("on")}
        assert not {tag for tag, _ in document.tags} & {"svg", "iframe", "object", "base"}
        assert not set("<>&\u2028\u2029") & set(document.scripts[0])
        json.loads(document.scripts[0])


def test_hostile_names_stay_out_of_file_names(tmp_path: Path) -> None:
    spec = FigureSpec(name="../../up", kind="lines", title="?", x="batch size")
    study = dataclasses.replace(
        sample_result().study,
        name="../../etc/passwd",
        figures=(spec, spec.model_copy(update={"name": "up"})),
        claims=(),
    )
    page = write_study(sample_result(study=study), tmp_path / "below", ("svg",))
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert page.name == "etc-passwd.html"
    assert names == ["below/etc-passwd.html", "below/figures/etc-passwd/up-2.svg", "below/figures/etc-passwd/up.svg"]


def test_a_study_called_index_does_not_overwrite_the_index() -> None:
    assert page_name(Study(name="index", question="")) == "index-study.html"


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    study = dataclasses.replace(sample_result().study, figures=FIGURES[:1])
    page = write_study(sample_result(study=study), tmp_path, ("svg", "csv"))
    assert sorted(path.name for path in (tmp_path / "figures" / "sample").iterdir()) == ["lines.csv", "lines.svg"]
    links = {attributes.get("href") for tag, attributes in Document(page.read_text()).tags if tag == "a"}
    assert links == {"index.html", "figures/sample/lines.svg", "figures/sample/lines.csv"}


def test_the_index_links_each_study_with_its_state(documents: dict[str, Document]) -> None:
    index = documents["index"]
    text = " ".join(index.visible.split())
    assert "2 studies of digits" in text
    assert "0 of 2 finished. 10 claims of the paper:" in text
    assert "Claims of the paper: 2 agree 1 differs" in text
    assert {"sample.html", "empty.html"} <= {a.get("href") for tag, a in index.tags if tag == "a"}
    pictures = [attributes for tag, attributes in index.tags if tag == "img"]
    assert len(pictures) == 1, "the study without data has no picture"


def test_an_index_without_studies_says_so(tmp_path: Path) -> None:
    assert "No study has been run" in write_index([], tmp_path).read_text()


def test_the_command_asks_the_same_again() -> None:
    result = sample_result()
    paper = dataclasses.replace(result, effort=result.effort.model_copy(update={"protocol": "paper"}))
    assert reproduce_command(paper).endswith("--budget 6 --paper-protocol")
    changed = dataclasses.replace(result, effort=result.effort.model_copy(update={"recipe": {"precision": "bf16"}}))
    assert reproduce_command(changed).endswith("--budget 6 recipe.precision=bf16")
    renamed = dataclasses.replace(result, study=dataclasses.replace(result.study, name="$(reboot)"))
    assert "'$(reboot)'" in reproduce_command(renamed)


def test_a_study_of_your_own_is_named_by_its_file() -> None:
    given = reproduce_command(sample_result(reference="examples/study averaging.py:study"))
    assert given.startswith("batchlimit study 'examples/study averaging.py:study' --workload digits --scale quick")
    assert reproduce_command(sample_result()).startswith("batchlimit study sample --workload")


def test_the_command_for_a_block_names_the_workload(documents: dict[str, Document]) -> None:
    assert "batchlimit train digits --config trial.toml" in documents["sample"].blocks


def test_claims_of_your_own_are_not_called_a_papers(tmp_path: Path) -> None:
    claims = tuple(dataclasses.replace(claim, source="", paper="") for claim in STUDY.claims)
    own = dataclasses.replace(STUDY, name="own", paper="", claims=claims, figures=(), paper_values=())
    cited = dataclasses.replace(own, name="cited", claims=(STUDY.claims[1], *claims[1:]))
    assert not own.of_a_paper
    assert cited.of_a_paper
    page = write_study(sample_result(study=own), tmp_path).read_text(encoding="utf-8")
    text = " ".join(Document(page).visible.split())
    assert "Claims: 2 agree" in text
    assert "Do the data support the claims?" in text
    assert "Claims of the paper" not in text
    assert "<th>the paper</th>" not in page
    assert 'data-label="the paper"' not in page
    markdown = write_markdown(sample_result(study=own), tmp_path).read_text(encoding="utf-8")
    assert "## Do the data support the claims?" in markdown
    assert "| claim | here | verdict |\n|---|---|---|\n| LAMB beats momentum at 512. |" in markdown
    index = write_index([sample_result(study=own)], tmp_path).read_text(encoding="utf-8")
    assert "5 claims: 2 agree" in index
    assert "<p>Claims: <span" in index
    later = dataclasses.replace(own, name="later", claims=STUDY.claims)
    page = write_study(sample_result(study=later), tmp_path).read_text(encoding="utf-8")
    assert "Do the data support the claims?" in page, "claims may be held against papers without being one's"
    assert "<th>the paper</th>" in page
    both = write_index([sample_result(study=own), sample_result()], tmp_path).read_text(encoding="utf-8")
    assert "10 claims: 4 agree" in both


def test_markdown_has_tables_claims_and_small_pictures(tmp_path: Path) -> None:
    study = dataclasses.replace(sample_result().study, figures=FIGURES[:3])
    path = write_markdown(sample_result(study=study), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.name == "sample.md"
    assert text.startswith("# Which solver keeps its accuracy as the batch grows?\n")
    for part in (
        "| agrees; difference +",
        "**Not the whole study:**",
        "n = 4",
        "paper: diverges",
        "AMD EPYC 9B45",
        "$ batchlimit study",
    ):
        assert part in text
    for figure in FIGURES[:3]:
        assert f"](figures/sample/{figure.name}.png)" in text
        picture = (tmp_path / "figures" / "sample" / f"{figure.name}.png").read_bytes()
        assert len(picture) <= PICTURE_BYTES
        width, height = struct.unpack(">II", picture[16:24])
        assert width > 300
        assert height > 100
    heads = [line for line in text.splitlines() if line.startswith("|---")]
    for place, line in enumerate(text.splitlines()):
        if line.startswith("|---"):
            above = text.splitlines()[place - 1]
            assert above.replace("\\|", "").count("|") == line.count("|")
    assert len(heads) >= 5


def test_markdown_shows_hostile_text_as_text(hostile: str, tmp_path: Path) -> None:
    study = dataclasses.replace(sample_result().study, name=hostile, question=hostile, note=f"# {hostile}", figures=())
    path = write_markdown(sample_result(study=study), tmp_path)
    text, fence, command = path.read_text(encoding="utf-8").rpartition("```console\n")
    assert path.parent == tmp_path
    assert fence
    assert command.count("\n") == 2, "a code block of one line, and its end"
    assert "script" in text
    assert "<script" not in text.replace("\\<", "")
    assert "{{" not in text
    assert escaped("# a\n\n- b") == "\\# a - b"
    assert escaped("- b") == "\\- b"
    assert escaped("1. b | c") == "1\\. b \\| c"


@pytest.mark.parametrize(
    "text", ["98.43 %", "+0.36 points", "-0.12 (-0.40 to +0.16)", "0: momentum", "w_t", "1.5 (n = 5)"]
)
def test_numbers_and_names_need_no_backslash(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1) a", "1\\) a"),
        ("-- a", "\\-- a"),
        ("+++", "\\+++"),
        ("=====", "\\====="),
        (": a", "\\: a"),
        ("% a", "\\% a"),
        ("(a)=", "\\(a)="),
        ("_a_ __b__", "\\_a\\_ \\_\\_b\\_\\_"),
        ("> a", "\\> a"),
    ],
)
def test_what_begins_markup_is_inert(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_markdown_says_in_a_sentence_that_nothing_is_decided(tmp_path: Path) -> None:
    result = sample_result()
    measured = tuple(arm for arm in result.arms if arm.status == "measured")
    text = write_markdown(dataclasses.replace(result, arms=measured), tmp_path).read_text()
    part = text.split("## Which differences are more than chance?")[1].split("## ")[0]
    assert "is decided by a paired test" in part
    assert "|" not in part
    with_diverged = write_markdown(result, tmp_path).read_text()
    part = with_diverged.split("## Which differences are more than chance?")[1].split("## ")[0]
    assert "momentum diverged |" in part
    assert "not decided |" not in part


def test_an_empty_study_has_a_markdown_page(tmp_path: Path) -> None:
    text = write_markdown(empty_result(), tmp_path).read_text()
    assert "12 arms of 12 not finished" in text
    assert "not finished" in text
