"""Write the results pages from the ledgers kept beside them: python docs/results/regenerate.py

Each folder holds `ledger.jsonl.gz`, an exported ledger with the trials' whole records, and gets an `index.md`. To make
the ledgers again, and then `Ledger.open("mnist.db", create=False).export_jsonl(...)`:

- `mnist`: `batchlimit train mnist --config docs/results/mnist/NAME.toml --ledger mnist.db` for each recipe;
- `digits`: `batchlimit find digits --techniques paper,modern`;
- `mnist-lenet5`: `batchlimit find mnist-lenet5 --epochs 5 --techniques paper,modern --seeds 3 max_seeds=8 --budget 4
  baseline.precision=bf16`;
- `studies-digits`: `batchlimit study all --workload digits --scale quick`;
- `studies-mnist-lenet5`: its page of the study has the command.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

from batchlimit.api import kept_studies, redraw, redraw_beside
from batchlimit.config import Recipe
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord
from batchlimit.reports import study_account, study_tables
from batchlimit.reports.assignments import assignments
from batchlimit.reports.markdown import write_markdown
from batchlimit.reports.verdict import sentence, summary_lines
from batchlimit.tuning.statistics import estimate

HERE = Path(__file__).parent
# What the paper and its author's runs reached, by the solver and batch size of a recipe, and the bar we set ourselves.
REFERENCES = {
    ("momentum", 256): ("99.2 % in 30 epochs (Table 2)", "99.1 to 99.3 %"),
    ("lars", 8192): ("99.35 % (author's run)", "at least 99.2 %"),
    ("lamb", 60000): ("98.87 % (author's best of 237 runs in 35 steps)", "at least 98.5 %"),
    ("muon", 60000): ("98.30 % (in 1000 epochs); author's best in 35 steps: 98.87 %", "99.4 % (mean of 10 seeds)"),
}
# Seeds behind a headline, the accuracy that is to be reached in the fewest steps, and how few they are to be.
MANY, ENOUGH, FEWEST = 10, 0.992, 15


def percent(value: float | None) -> str:
    """Return a share as a percentage with two decimals."""
    return "-" if value is None else f"{100 * value:.2f} %"


def where_and_when(records: Sequence[TrialRecord]) -> str:
    """Return the hardware, software and dates of records in one sentence."""
    known = ("cpu", "device", "torch", "batchlimit")
    facts = {tuple(str(r.environment.get(k)) for k in known) for r in records}
    commits = sorted({str(r.environment["commit"]) for r in records if r.environment.get("commit")})
    days = sorted({record.started[:10] for record in records})
    machines = "; ".join(
        f"{cpu}, {device}, torch {torch}, batchlimit {own}" for cpu, device, torch, own in sorted(facts)
    )
    built = f"; {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)}" if commits else ""
    return f"{machines}{built}; {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")


def mnist(folder: Path) -> str:
    """Return the page of single recipes on MNIST."""
    with Ledger.open(folder / "ledger.jsonl.gz", create=False) as ledger:
        records = ledger.records()
    files = {path.stem: tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))}
    named = {name: (values["batch_size"], Recipe.model_validate(values["recipe"])) for name, values in files.items()}
    groups: dict[tuple[int, str, int], list[TrialRecord]] = {}
    for record in sorted(records, key=lambda record: (record.config.batch_size, -record.steps)):
        config = record.config
        groups.setdefault((config.batch_size, config.recipe.model_dump_json(), record.steps), []).append(record)
    lines = [
        "# MNIST with the paper's LeNet: known recipes, and a later one",
        "",
        "Each recipe is the TOML file of its name in this folder, trained on all 60,000 training images and scored on",
        "the 10,000 test images at the end of training (the paper's protocol). Where bf16 is said,",
        "`recipe.precision=bf16` was added.",
        "",
        "| recipe | batch size | steps | n | test accuracy | interval (95 %) | the paper | our bar | minutes a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    base = named["muon-60000"][1].updated({"precision": "bf16"})
    headlines, others = [], []
    for (size, *_), group in groups.items():
        recipe = group[0].config.recipe
        plain = recipe.updated({"precision": "fp32"})
        name = next((name for name, known in named.items() if known == (size, plain)), None)
        if name is None:
            others.append(group)
            continue
        paper, bar = REFERENCES.get((recipe.solver, size), ("-", "-"))
        bar = f"{100 * ENOUGH:g} %" if group[0].steps == FEWEST else bar
        minutes = sum(r.seconds for r in group) / len(group) / 60
        title = f"{name} (bf16)" if recipe.precision == "bf16" else name
        if len(group) >= MANY:
            headlines.append(early(title, group))
        lines.append(f"| {title} | {size:,} | {scores(group)} | {paper} | {bar} | {minutes:.0f} |")
    lines += [
        "",
        *headlines,
        "",
        "## What else was tried at full batch",
        "",
        "`muon-60000`, then `muon-60000-averaged` and then `muon-60000-whitened` were found by hand among these, by",
        "one to three seeds and the test split, as the paper's protocol does; those seeds are among their ten.",
        "",
        "| `muon-60000` in bf16, but with | steps | n | test accuracy | interval (95 %) |",
        "|---|---|---|---|---|",
        *(f"| {changes(group[0].config.recipe, base)} | {scores(group)} |" for group in others),
        "",
        f"One thread of: {where_and_when(records)}. The machine was shared, and runs were halted at times: the "
        "minutes are no measure of speed.",
        "",
    ]
    return "\n".join(lines)


def scores(group: Sequence[TrialRecord]) -> str:
    """Return the cells of steps, n, mean and interval of one recipe's runs."""
    metrics = [r.test.metric for r in group if r.test is not None and r.test.metric is not None]
    found = estimate(metrics)
    interval = "one seed" if found.low is None else f"{percent(found.low)} to {percent(found.high)}"
    lost = len(group) - len(metrics)
    return (
        f"{group[0].steps} | {len(group)}{f' ({lost} diverged)' if lost else ''} | {percent(found.mean)} | {interval}"
    )


def early(name: str, group: Sequence[TrialRecord]) -> str:
    """Return after which step the mean over seeds first was what is to be reached in the fewest steps."""
    curves = [[(p.selection.metric if p.selection else None) or 0.0 for p in record.history] for record in group]
    means = [math.fsum(at) / len(at) for at in zip(*curves, strict=True)]
    place = next((place for place, mean in enumerate(means) if mean >= ENOUGH), None)
    when = "at no step" if place is None else f"after step {group[0].history[place].step}"
    whose = f"the {len(group)} seeds of `{name}`"
    return f"- The mean over {whose} is first {100 * ENOUGH:g} % or more {when} of {group[0].steps}."


def changes(recipe: Recipe, base: Recipe) -> str:
    """Return what a recipe has otherwise than `base`, field by field."""
    own, other = settings(recipe), settings(base)
    set_by_hand = {**settings(recipe, exclude_defaults=True), **settings(base, exclude_defaults=True)}
    return ", ".join(f"{key} {own.get(key, 'none')}" for key in set_by_hand if own.get(key) != other.get(key))


def settings(recipe: Recipe, *, exclude_defaults: bool = False) -> dict[str, str]:
    """Return a recipe's fields under their dotted names, as text."""
    dumped = recipe.model_dump(mode="json", exclude_none=True, exclude_defaults=exclude_defaults)
    return dict(word.replace('"', "").split("=", 1) for word in assignments(dumped))


def limit(folder: Path) -> str:
    """Return the page of the limit on the workload that the folder is named after."""
    name = folder.name
    with Ledger.open(folder / "ledger.jsonl.gz", create=False) as ledger:
        found = [redraw(ledger, name), *redraw_beside(ledger, name)]
        records = ledger.records()
    lines = [f"# The limit on {name}", ""]
    for finding in found:
        lines += [f"## With the '{finding.techniques}' techniques", "", sentence(finding), ""]
        lines += [*(f"- {line}" for line in summary_lines(finding)), ""]
    lines += [
        "",
        f"The page of the report: `batchlimit report --ledger docs/results/{name}/ledger.jsonl.gz --out {name}`.",
        "",
    ]
    lines += [f"{where_and_when(records)}.", ""]
    return "\n".join(lines)


def studies(folder: Path) -> str:
    """Write the page of each study of a ledger; return the page that lists them."""
    with Ledger.open(folder / "ledger.jsonl.gz", create=False) as ledger:
        results = list(kept_studies(ledger))
        records = ledger.records()
    workload = results[0].facts.workload
    lines = [
        f"# Studies on {workload}",
        "",
        f"{len(records):,} trials, {sum(r.seconds for r in records) / 3600:.1f} hours of one thread: "
        f"{where_and_when(records)}. Pages with every figure and recipe: `batchlimit report --ledger "
        f"{(folder / 'ledger.jsonl.gz').relative_to(HERE.parents[1])} --out FOLDER`.",
        "",
        "| study | question | in the paper | state | claims |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        page = write_markdown(result, folder)
        counts = study_tables.agreement_words(study_tables.agreement_counts(study_tables.claim_rows(result)))
        state = study_account.state_words(result)
        lines.append(
            f"| [{result.study.name}]({page.name}) | {result.study.question} | {result.study.paper or '-'} | {state} | "
            f"{counts or '-'} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Write every page whose ledger is there."""
    for name, page in (
        ("mnist", mnist),
        ("digits", limit),
        ("mnist-lenet5", limit),
        ("studies-digits", studies),
        ("studies-mnist-lenet5", studies),
    ):
        folder = HERE / name
        if (folder / "ledger.jsonl.gz").exists():
            (folder / "index.md").write_text(page(folder))
            print(folder.relative_to(HERE.parents[1]) / "index.md")


if __name__ == "__main__":
    main()
