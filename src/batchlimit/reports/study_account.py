"""What a study spent, on what, and what of it is still missing, in sentences."""

from __future__ import annotations

from batchlimit.reports.quantities import counted, large_count, length, span
from batchlimit.reports.verdict import is_unfinished
from batchlimit.studies.results import StudyResult
from batchlimit.studies.solvers import LATER


def is_finished(result: StudyResult) -> bool:
    """Say whether all that the study asks for is there."""
    return _is_searched(result) and not result.left_out and all(arm.finished for arm in result.arms)


def _is_searched(result: StudyResult) -> bool:
    if result.study.search is None:
        return True
    return result.limit is not None and not is_unfinished(result.limit)


def state_words(result: StudyResult) -> str:
    """Return 'finished', or what is missing."""
    waiting = sum(not arm.finished for arm in result.arms)
    parts = [f"{counted(waiting, 'arm')} of {len(result.arms)} not finished"] if waiting else []
    if result.left_out:
        parts.append(f"{counted(len(result.left_out), 'arm')} left out for time")
    if not _is_searched(result):
        parts.append("the search for the limit is not finished")
    return "; ".join(parts) or "finished"


def refusals(result: StudyResult) -> list[str]:
    """Return which solvers a comparison of all of them lacks, for they cannot train this model, and why."""
    compared = {arm.labels.get("solver") for arm in (*(found.arm for found in result.arms), *result.left_out)}
    if compared.isdisjoint(LATER):
        return []
    return [f"Not here, for it cannot train this model: {reason}" for reason in result.facts.refused.values()]


def trial_count(result: StudyResult) -> int:
    """Return how many trials stand behind a study, those of its search for the limit included."""
    return len(result.records) + (result.limit.cost.trials if result.limit is not None else 0)


def cost_line(result: StudyResult) -> str:
    """Return what the study spent, on what, when and with which version, as sentences."""
    records = result.records
    cost = result.limit.cost if result.limit is not None else None
    trials = trial_count(result)
    if not trials:
        return "Nothing was trained."
    samples = sum(record.samples for record in records) + (cost.samples if cost else 0)
    seconds = sum(record.seconds for record in records) + (cost.seconds if cost else 0.0)
    spent = (
        f"{counted(trials, 'trial')}, {large_count(samples)} training examples processed, {span(seconds)} of compute"
    )
    return ". ".join(part for part in (spent, hardware(result), _dates(result)) if part) + "."


def hardware(result: StudyResult) -> str:
    """Return the hardware and software that the trials ran on, each combination once, with the commits of its own."""
    environments = [record.environment for record in result.records]
    if result.limit is not None:
        environments.append(result.limit.environment)
    names = ("accelerator", "cpu", "processor", "device")
    machines: dict[str, dict[str, None]] = {}
    for one in environments:
        machine = next((str(one[name]) for name in names if one.get(name)), "")
        versions = [f"{name} {one[name]}" for name in ("batchlimit", "torch") if one.get(name)]
        commits = machines.setdefault(", ".join(part for part in (machine, *versions) if part), {})
        if one.get("commit"):
            commits[str(one["commit"])] = None
    return _some([machine + _commits(list(commits)) for machine, commits in machines.items() if machine], "; ")


def _commits(known: list[str]) -> str:
    return f", {'commit' if len(known) == 1 else 'commits'} {_some(known, ', ')}" if known else ""


def _some(items: list[str], mark: str, most: int = 4) -> str:
    """Return the first of the items, and how many more there are."""
    rest = [f"and {len(items) - most} more"] if len(items) > most else []
    return mark.join(items[:most] + rest)


def _dates(result: StudyResult) -> str:
    days = sorted({record.started[:10] for record in result.records if record.started})
    if not days:
        return ""
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def effort_line(result: StudyResult) -> str:
    """Return the workload and how much was spent on each arm, as a sentence."""
    effort, facts = result.effort, result.facts
    split = "the validation split" if effort.protocol == "validation" else "the test split, as the paper did"
    tuned = [arm.arm.budget for arm in result.arms if arm.arm.tuned]
    budget = f"each tuned arm with up to {counted(max(tuned), 'trial')}" if tuned else "nothing tuned"
    if not result.arms:
        return f"Workload {facts.workload}, scale {effort.scale}."
    seeds = [arm.arm.seeds for arm in result.arms]
    most = counted(max(seeds), "fresh seed")
    spread = f"{min(seeds)} to {most}" if min(seeds) != max(seeds) else most
    return (
        f"Workload {facts.workload} ({facts.dataset_size:,} training examples), scale {effort.scale}: "
        f"{length(effort.epochs)} as the usual length, {counted(len(result.arms), 'arm')}, {budget}, recipes "
        f"selected on {split}, then measured with {spread} on the test split."
    )
