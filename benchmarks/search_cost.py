"""What the adaptive search costs beside one that tries everything, and whether both say the same.

    python benchmarks/search_cost.py [--workload digits] [--jobs 2] [--ledgers FOLDER] [--json] [key=value ...]

Finds the limit of the batch size twice, with equal settings but for `exhaustive`: adaptively, and with every batch
size, every recipe, its whole grid of learning rates and warmups, and all seeds (`max_seeds`). Each search has a ledger
of its own, so neither profits from the other; with `--ledgers` they stay, and the same command goes on where it was
stopped. Costs are those of the trials that the findings rest on, whether run now or reused: samples are training
examples processed, seconds are summed over trials. Settings other than the defaults are `key=value`, with commas in
lists (`budget=4`, `epochs=2`, `recipes=lamb,lars`).

Verdicts agree when, for both B_L and B_H, the largest batch sizes decided to pass lie at most one step of bisection
(one rung of the ladder) apart. A size that a search left undecided counts as not passing, as it does in reports; how
many there were is printed beside. They contradict each other when even the most lenient reading of undecided sizes
leaves more than a rung between them: any size from the largest that passes up to the largest undecided one before the
first that fails might be the limit. A search that ends without a verdict agrees with nothing. With `--json` one object:

    samples_adaptive_over_exhaustive    aim <= 0.125
    verdicts_agree                      aim true
    verdicts_contradict, small_rungs_apart, large_rungs_apart, and for each search (adaptive_..., exhaustive_...)
    small_up_to, large_up_to, undecided, trials, samples, seconds
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from batchlimit.api import find_limit
from batchlimit.engine import Execution
from batchlimit.errors import InputError
from batchlimit.findings import Boundary, LimitFinding
from batchlimit.tuning.driver import Event
from batchlimit.tuning.question import FindSettings

TUPLES = {"batch_sizes", "recipes"}
Value = float | bool | None


def rungs_apart(left: Boundary, right: Boundary, sizes: tuple[int, ...], *, lenient: bool = False) -> int | None:
    """Return how many rungs of `sizes` lie between two limits, None without a verdict.

    With `lenient`, each limit is anywhere from its value to its largest undecided size, and the nearest two count.
    """
    if left.value is None or right.value is None:
        return None
    low, other_low = sizes.index(left.value), sizes.index(right.value)
    high, other_high = (
        max([start, *map(sizes.index, found.undecided if lenient else ())])
        for start, found in ((low, left), (other_low, right))
    )
    return max(0, other_low - high, low - other_high)


def compared(adaptive: LimitFinding, exhaustive: LimitFinding) -> dict[str, Value]:
    """Return the figures of two findings about one question, flat."""
    figures: dict[str, Value] = {}
    if exhaustive.cost.samples:
        figures["samples_adaptive_over_exhaustive"] = adaptive.cost.samples / exhaustive.cost.samples
    first = (adaptive.baseline.batch_size,) if adaptive.baseline is not None else ()
    sizes = (*first, *(found.batch_size for found in adaptive.by_batch_size))
    pairs = [(getattr(adaptive, name), getattr(exhaustive, name)) for name in ("small_up_to", "large_up_to")]
    apart = [rungs_apart(left, right, sizes) for left, right in pairs]
    least = [rungs_apart(left, right, sizes, lenient=True) for left, right in pairs]
    complete = not adaptive.problem and not exhaustive.problem
    figures["verdicts_agree"] = complete and all(rungs is not None and rungs <= 1 for rungs in apart)
    figures["verdicts_contradict"] = any(rungs is not None and rungs > 1 for rungs in least)
    figures |= {"small_rungs_apart": apart[0], "large_rungs_apart": apart[1]}
    for finding in (adaptive, exhaustive):
        undecided = len(finding.small_up_to.undecided) + len(finding.large_up_to.undecided)
        figures |= {
            f"{finding.search}_small_up_to": finding.small_up_to.value,
            f"{finding.search}_large_up_to": finding.large_up_to.value,
            f"{finding.search}_undecided": undecided,
            f"{finding.search}_trials": finding.cost.trials,
            f"{finding.search}_samples": finding.cost.samples,
            f"{finding.search}_seconds": round(finding.cost.seconds, 1),
        }
    return figures


def table(adaptive: LimitFinding, exhaustive: LimitFinding, figures: dict[str, Value]) -> str:
    """Return the figures as text."""
    rows: list[tuple[str, ...]] = [("", "B_L", "B_H", "trials", "samples", "seconds", "trials by purpose")]
    for finding in (adaptive, exhaustive):
        cost = finding.cost
        limits = [_limit(boundary) for boundary in (finding.small_up_to, finding.large_up_to)]
        purposes = ", ".join(f"{count:,} {name}" for name, count in cost.by_purpose.items())
        rows.append(
            (finding.search, *limits, f"{cost.trials:,}", f"{cost.samples:,}", f"{cost.seconds:,.0f}", purposes)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    share = figures.get("samples_adaptive_over_exhaustive")
    verdict = "the verdicts agree" if figures["verdicts_agree"] else "the verdicts do NOT agree"
    lines.append(f"samples, adaptive over exhaustive: {share:.3f}; {verdict}" if share is not None else verdict)
    return "\n".join([*lines, *(f"{f.search}: {f.problem}" for f in (adaptive, exhaustive) if f.problem)])


def _limit(boundary: Boundary) -> str:
    if boundary.value is None:
        return "none"
    return f"{boundary.value:,}" + (
        f" (undecided: {', '.join(map(str, boundary.undecided))})" * bool(boundary.undecided)
    )


def settings_of(changes: list[str]) -> FindSettings:
    """Return the settings that `key=value` texts make; lists are separated by commas."""
    values: dict[str, object] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or key == "exhaustive":
            raise InputError(f"Cannot read the setting '{change}'. Valid: key=value, and not exhaustive.")
        values[key] = tuple(value.split(",")) if key in TUPLES else value
    return FindSettings.model_validate(values)


def report_on(name: str, event: Event) -> None:
    """Write a line of progress to standard error every 25 trials."""
    if event.kind != "planned" and event.done % 25 == 0:
        print(f"{name}: {event.done} of about {event.expected} trials, {event.purpose}", file=sys.stderr, flush=True)


def main() -> None:
    """Search twice, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="digits")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ledgers", type=Path, help="folder of the two ledgers (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of both searches")
    given = parser.parse_args()
    try:
        settings = settings_of(given.settings)
        with tempfile.TemporaryDirectory() as temporary:
            folder = given.ledgers or Path(temporary)
            adaptive, exhaustive = (
                find_limit(
                    given.workload,
                    settings=settings.model_copy(update={"exhaustive": name == "exhaustive"}),
                    ledger=folder / f"{name}.sqlite",
                    jobs=given.jobs,
                    execution=Execution(device="cpu"),
                    on_event=partial(report_on, name),
                )
                for name in ("adaptive", "exhaustive")
            )
    except ValueError as error:  # bad input: InputError, or what the settings say of a value
        raise SystemExit(f"search_cost: {error}") from None
    figures = compared(adaptive, exhaustive)
    print(json.dumps(figures) if given.json else table(adaptive, exhaustive, figures))


if __name__ == "__main__":
    main()
