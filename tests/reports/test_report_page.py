"""The page as a document: what it says, what it embeds, what can be pasted from it, and where it can be written."""

from __future__ import annotations

import io
import json
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from sample_finding import (
    BASE,
    digits_finding,
    hostile_finding,
    loss_finding,
    problem_finding,
    records_of,
    tuned_recipe,
)

from batchlimit.cli.conclusion import finding_table
from batchlimit.config import LayerWise, Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.reports import tables
from batchlimit.reports.embedding import embedded_json
from batchlimit.reports.folder import check_writable, write_atomically
from batchlimit.reports.page import reproduce_command, write_report
from batchlimit.reports.recipe_toml import train_command, trial_toml


class Document(HTMLParser):
    """The tags and attributes of a page, the text of its blocks, and what is visible."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []
        self.scripts: list[str] = []
        self.visible = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "code":
            self.blocks.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts[-1] += data
        elif inside != "style":
            self.visible += data
        if inside == "code":
            self.blocks[-1] += data


@pytest.fixture(scope="module")
def documents(pages: dict[str, Path]) -> dict[str, Document]:
    return {name: Document(path.read_text(encoding="utf-8")) for name, path in pages.items()}


def test_nothing_is_fetched_and_every_link_is_there(documents: dict[str, Document], pages: dict[str, Path]) -> None:
    for name, document in documents.items():
        links = 0
        for tag, attributes in document.tags:
            for attribute in ("src", "href"):
                target = attributes.get(attribute)
                if target is None or target.startswith("data:"):
                    continue
                assert tag == "a", f"{tag} {target} would be fetched"
                assert (pages[name].parent / target).is_file()
                links += 1
        assert links >= 4
    assert pages["digits"].stat().st_size < 4e6


def test_the_page_says_what_it_must(documents: dict[str, Document]) -> None:
    text = " ".join(documents["digits"].visible.split())
    for part in (
        "On digits, linear LR scaling holds up to a batch of 64",
        "164 trials",
        "5 to 20 seeds",
        "undecided: 128",
        "512 holds, 1,000 does not",
        "takes success to be monotone",
        "AMD EPYC",
        "batchlimit find digits --epochs 20 --budget 8 --seeds 5",
        "devices at B_H = 512",
        "every seed diverged",
    ):
        assert part in text
    assert "nan" not in text.lower().split()


def test_a_problem_has_a_page_without_headline_numbers(documents: dict[str, Document]) -> None:
    document = documents["problem"]
    assert "No verdict for digits" in document.visible
    assert not any("card" in (attributes.get("class") or "").split() for _, attributes in document.tags)
    assert "B_L" not in document.visible


def test_hostile_text_is_text(documents: dict[str, Document], hostile: str) -> None:
    document, honest = documents["hostile"], documents["digits"]
    assert hostile in document.visible
    assert len(document.scripts) == len(honest.scripts) == 3
    assert document.scripts[1:] == honest.scripts[1:]
    assert {tag for tag, _ in document.tags} <= {tag for tag, _ in honest.tags}
    names = {name for _, attributes in document.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert "49" not in [word.strip("{} ") for word in document.visible.split()], "the template was evaluated"


def test_embedded_data_is_strict_json_and_cannot_leave_its_element(documents: dict[str, Document]) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    for document in documents.values():
        raw = document.scripts[0]
        assert not set("<>&\u2028\u2029") & set(raw)
        data = json.loads(raw, parse_constant=refuse)
        keys = {attributes["data-chart"] for _, attributes in document.tags if "data-chart" in attributes}
        assert keys == set(data["specs"])
    with pytest.raises(ValueError, match="JSON"):
        embedded_json({"a": float("nan")})
    assert json.loads(embedded_json("</script>&\u2028\ud800")) == "</script>&\u2028?"


def test_recipe_blocks_can_be_pasted(documents: dict[str, Document]) -> None:
    blocks = [block for block in documents["digits"].blocks if block.startswith("workload")]
    read = [TrialConfig.model_validate(tomllib.loads(block)) for block in blocks]
    assert [config.batch_size for config in read] == [16, 32, 64, 128, 256, 512, 1000]
    assert read[0].recipe == BASE
    assert read[5].recipe == tuned_recipe("lamb", 512)
    assert str(read[5].budget) == "20 epochs"


def test_the_command_for_a_block_names_the_workload(documents: dict[str, Document]) -> None:
    assert "batchlimit train digits --config trial.toml" in documents["digits"].blocks
    assert "batchlimit train examples/regression.py:diabetes --config trial.toml" in documents["loss"].blocks
    assert train_command("$(reboot)") == "batchlimit train '$(reboot)' --config trial.toml"


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(layerwise=LayerWise()),
        tuned_recipe("lars", 64),
        Recipe(lr=1e-05, solver='a"b\\c\n\x7f\t é 😀', solver_options={"odd key.": True, "n": 3, "s": "]]", "t": 1e22}),
    ],
)
def test_toml_reads_back_as_the_same_trial(recipe: Recipe) -> None:
    config = TrialConfig.model_validate(
        {"workload": "my file.py:w", "batch_size": 64, "budget": "200 steps", "recipe": recipe, "protocol": "paper"}
    )
    config = config.updated({"seed": 3, "stop": {"fraction": 0.5, "metric": 0.2}})
    assert TrialConfig.model_validate(tomllib.loads(trial_toml(config))) == config


def test_tables_hold_what_the_finding_does() -> None:
    rows = {row.batch_size: row for row in tables.size_rows(digits_finding())}
    assert (rows[128].regime, rows[128].linear_decision, rows[128].best_name) == ("unknown", "undecided", "lars")
    assert (rows[1000].is_full, rows[1000].linear_diverged) == (True, 5)
    assert rows[32].best is None
    devices = {row.per_device: (row.linear, row.best) for row in tables.device_rows(digits_finding())}
    assert devices == {8: (8, 64), 16: (4, 32), 32: (2, 16), 64: (1, 8), 128: (1, 4)}
    assert tables.device_rows(problem_finding()) == []


def test_linear_scaling_that_is_also_the_best_is_said_once() -> None:
    finding = digits_finding()
    first = finding.by_batch_size[0]
    same = first.model_copy(update={"best": first.linear})
    rows = tables.size_rows(finding.model_copy(update={"by_batch_size": (same, *finding.by_batch_size[1:])}))
    assert (rows[0].linear_decision, rows[0].best) == ("pass", None)


def test_where_the_loss_decides_against_linear_scaling_it_is_said(tmp_path: Path) -> None:
    finding = digits_finding()
    first = finding.by_batch_size[0]
    assert first.linear is not None
    linear = first.linear.model_copy(update={"decision": "undecided", "metric_decision": "pass"})
    lossy = first.model_copy(update={"linear": linear})
    for size, said in ((first, False), (lossy, True)):
        changed = finding.model_copy(update={"by_batch_size": (size, *finding.by_batch_size[1:])})
        page = Document(write_report(changed, records_of(changed), tmp_path / str(said)).read_text()).visible
        assert ("undecided by its loss" in page) == said
        assert ("where its accuracy alone reaches the target, it counts as a recipe" in page) == said
        terminal = Console(file=io.StringIO(), width=80, record=True)
        terminal.print(finding_table(changed))
        printed = terminal.export_text()
        assert ("* undecided" in printed) == ("* decided by its loss" in printed) == said
        assert max(map(len, printed.splitlines())) <= 80


def test_the_environment_lists_every_value_trials_differ_in() -> None:
    finding = digits_finding()
    records = records_of(finding)
    moved = records[0].model_copy(update={"environment": {"device": "cuda"}, "started": "2026-11-23T00:00:00+00:00"})
    rows = dict(tables.environment_rows(finding, [*records, moved]))
    assert rows["device"] == "cpu, cuda"
    assert rows["first trial"] < rows["last trial"] == "2026-11-23T00:00:00+00:00"


def test_the_command_is_quoted_for_the_shell() -> None:
    assert reproduce_command(loss_finding()).endswith("--exhaustive")
    assert "'$(reboot)'" in reproduce_command(digits_finding(workload="$(reboot)"))
    changed = digits_finding(changes={"batch_sizes": [64, 128], "baseline": {"lr": 0.1, "precision": "bf16"}})
    assert reproduce_command(changed).endswith("'batch_sizes=[64, 128]' baseline.lr=0.1 baseline.precision=bf16")
    asked = reproduce_command(digits_finding(protocol="paper", tuner="tpe", training_budget="200 steps"))
    assert asked == "batchlimit find digits --epochs '200 steps' --budget 8 --seeds 5 --tuner tpe --paper-protocol"


def test_writing_again_replaces_the_page_whole(tmp_path: Path) -> None:
    first = write_report(problem_finding(), [], tmp_path)
    before = first.read_bytes()
    assert write_report(problem_finding(), [], tmp_path).read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    write_atomically(target, "old")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(InputError, match="Cannot write to the output folder") as caught:
            check_writable(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        write_report(problem_finding(), [], file)
    assert check_writable(tmp_path / "new" / "deep").is_dir()
    assert not list((tmp_path / "new" / "deep").iterdir())


def test_a_folder_without_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Not by chmod: root, whom containers run as, may write everywhere.
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)
    with pytest.raises(InputError, match="Permission denied"):
        check_writable(tmp_path)


def test_hostile_names_stay_out_of_file_names(tmp_path: Path) -> None:
    finding = hostile_finding("../../etc/passwd")
    write_report(finding, [], tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(name == "report.html" or name.startswith("figures/") for name in names)
