"""How numbers are written in sentences, tables and charts."""

from __future__ import annotations

import math

from batchlimit.findings import Estimate, LimitFinding
from batchlimit.words import count as count
from batchlimit.words import counted as counted

_PERCENT_NAMES = ("accuracy", "top-1", "top-5", "top1", "top5")


def is_percent(finding: LimitFinding) -> bool:
    """Say whether the workload's metric is printed times 100: as the workload says, else judged by its name."""
    if finding.metric_percent is not None:
        return finding.metric_percent
    return any(name in finding.metric_name.lower() for name in _PERCENT_NAMES)


def metric_text(value: float | None, *, percent: bool, digits: int = 1) -> str:
    """Return '98.1 %' or '0.0213'; an en dash for None. `digits` are decimals of a percentage."""
    if value is None or not math.isfinite(value):
        return "–"
    if percent:
        return f"{100 * value:.{digits}f} %"
    return f"{value:.{digits + 2}g}"


def compared(value: float | None, bar: float | None, *, percent: bool) -> tuple[str, str]:
    """Return both as text with as many digits (up to 3 more) as it takes to tell them apart."""
    for digits in range(1, 5):
        texts = metric_text(value, percent=percent, digits=digits), metric_text(bar, percent=percent, digits=digits)
        if texts[0] != texts[1] or value == bar:
            return texts
    return texts


def estimate_text(estimate: Estimate | None, *, percent: bool) -> str:
    """Return 'mean (low to high, n = 5)' of a mean and its 95 % confidence interval."""
    if estimate is None:
        return "–"
    if estimate.mean is None:
        return "no finite value"
    mean = metric_text(estimate.mean, percent=percent, digits=2)
    estimate = estimate.shown(percent=percent)
    if estimate.low is None or estimate.high is None:
        return f"{mean} (n = {estimate.n})"
    low, high = (metric_text(end, percent=percent, digits=2) for end in (estimate.low, estimate.high))
    return f"{mean} ({low.removesuffix(' %')} to {high}, n = {estimate.n})"


def length(duration: object) -> str:
    """Return a training length in words: '30 epochs' as it is written, but '1 epoch'."""
    text = str(duration)
    return text.removesuffix("s") if text.startswith("1 ") else text


def large_count(number: int) -> str:
    """Return a large number in words that are read at once: 940, 12,345, 1.2 million."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return count(number)


def span(seconds: float) -> str:
    """Return a length of time in the unit that suits it: '42 s', '3.5 min', '2.1 h', '3.2 days'."""
    for size, unit in ((172_800.0, "days"), (5_400.0, "h"), (90.0, "min")):
        if seconds >= size:
            per = {"days": 86_400.0, "h": 3_600.0, "min": 60.0}[unit]
            return f"{seconds / per:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def listed(items: list[str]) -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
