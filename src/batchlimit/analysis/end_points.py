"""How far apart trainings end, from the sketches in their records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from batchlimit.errors import InputError
from batchlimit.findings import Finding


class EndPoints(Finding):
    """Distances and angles between the end points of trainings of one model, estimated from count sketches.

    `distances` is the matrix of ||w_A - w_B|| in the order of `names`. `cosines` and `angles` (degrees) are between
    what each moved, w_A - w_0 and w_B - w_0; None for one that did not move. `lengths` are ||w_T - w_0||, exact.
    `same_start` says whether all began at the same weights; where they did not, angles are between movements from
    different places.

    Errors are one standard deviation: `relative_error` of a distance, at most (sqrt(2 / buckets) / 2, 3 % with 512);
    `cosine_errors` of each cosine, (1 - cosine^2) / sqrt(buckets). The same hash is used for all, so they are not
    independent of each other.
    """

    names: tuple[str, ...] = ()
    lengths: tuple[float, ...] = ()
    distances: tuple[tuple[float, ...], ...] = ()
    cosines: tuple[tuple[float | None, ...], ...] = ()
    angles: tuple[tuple[float | None, ...], ...] = ()
    cosine_errors: tuple[tuple[float | None, ...], ...] = ()
    relative_error: float = 0.0
    same_start: bool = True


def end_points(measurements: Mapping[str, Mapping[str, Any]]) -> EndPoints:
    """Compare the end points of 'weight-distance' measurements, by name (say, 'B = 256, seed 0').

    Trials whose weights are not finite at the end have no sketch and are left out.

    Raises:
        InputError: measurements of models of different size.
    """
    usable = {name: one for name, one in measurements.items() if None not in (*one["sketch"], *one["end_sketch"])}
    sizes = {(one["parameters"], len(one["sketch"])) for one in usable.values()}
    if len(sizes) > 1:
        counts = ", ".join(str(count) for count, _ in sorted(sizes))
        raise InputError(f"End points of models of {counts} parameters cannot be compared. Valid: trials of one model.")
    if not usable:
        return EndPoints()
    moved = np.array([one["sketch"] for one in usable.values()])
    ends = np.array([one["end_sketch"] for one in usable.values()])
    buckets = moved.shape[1]
    same_start = _same_rows(ends - moved)
    # With one start it cancels in w_A - w_B; left out, its rounding does not count either.
    places = moved if same_start else ends
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    cosines = [[_cosine(one, other) for other in moved] for one in moved]
    return EndPoints(
        names=tuple(usable),
        lengths=tuple(float(one["final_distance"]) for one in usable.values()),
        distances=tuple(tuple(map(float, row)) for row in distances),
        cosines=tuple(map(tuple, cosines)),
        angles=tuple(tuple(None if c is None else math.degrees(math.acos(c)) for c in row) for row in cosines),
        cosine_errors=tuple(
            tuple(None if c is None else (1 - c * c) / math.sqrt(buckets) for c in row) for row in cosines
        ),
        relative_error=relative_error(buckets),
        same_start=same_start,
    )


def relative_error(buckets: int) -> float:
    """Return the largest relative standard deviation of a distance estimated from sketches of `buckets` numbers.

    The squared norm of a count sketch is unbiased with variance 2 (||x||^4 - sum x_i^4) / buckets; a distance has half
    of its relative error. Source: Weinberger et al., 2009 (arXiv 0902.2206), lemma 2.
    """
    return math.sqrt(2 / buckets) / 2


def _same_rows(starts: np.ndarray) -> bool:
    """Return whether all rows agree to the rounding of the sketches (six digits)."""
    return bool(np.allclose(starts, starts[0], rtol=0, atol=1e-4 * float(np.linalg.norm(starts[0])) + 1e-12))


def _cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return None if lengths == 0 else float(np.clip(np.dot(one, other) / lengths, -1.0, 1.0))
