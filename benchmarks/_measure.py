"""Measure candidates against each other on a noisy machine: CPU time, interleaved, medians."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, float]:
    """Return the median CPU time, in seconds of this process, of one call of each candidate.

    Each round calls every candidate once, each round starting with another one, so that what disturbs the machine
    disturbs all alike; `warmup` rounds before are not counted. Ratios of these times hold, absolute times drift.
    """
    names = list(candidates)
    times: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(-warmup, rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                start = time.process_time()
                candidates[name]()
                if turn >= 0:
                    times[name].append(time.process_time() - start)
    finally:
        if collecting:
            gc.enable()
    return {name: statistics.median(measured) for name, measured in times.items()}


def emit(as_json: bool, results: Mapping[str, float]) -> None:
    """Print `results` as one flat JSON object on one line, or as aligned text."""
    if as_json:
        print(json.dumps({name: round(value, 4) for name, value in results.items()}))
        return
    width = max(map(len, results))
    for name, value in results.items():
        print(f"{name:<{width}}  {value:8.3f}")
