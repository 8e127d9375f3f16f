"""The tree-structured Parzen estimator, by Optuna: a search that learns from what it tried."""

from __future__ import annotations

import hashlib
import warnings
from itertools import product
from typing import Any

from batchlimit.config import Scalar
from batchlimit.findings import Direction
from batchlimit.tuning.search_space import Dimension, Proposal, SearchSpace
from batchlimit.tuning.tuner import Told, tuners

_ASKED = 20  # times that the sampler is asked for one new point


@tuners.register("tpe")
def tpe(space: SearchSpace, told: Told, *, count: int, budget: int, direction: Direction, seed: int) -> list[Proposal]:
    """Return the points with the best expected improvement, given those tried.

    The first point is the middle of the space; a third of the budget (3 to 10 points) is random. Optuna's study is
    rebuilt in memory from `told` at each call and its sampler seeded from `seed` and the number told, because a
    sampler's random state is stored nowhere. No point is proposed twice: where the sampler has nothing new, an untried
    point of the grid is, and where the grid has none left, the search ends before its budget.

    Source: Bergstra et al., 2011, "Algorithms for hyper-parameter optimization".
    """
    count = max(0, min(count, budget - len(told)))
    if count == 0:
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {dimension.name: _distribution(dimension) for dimension in space.dimensions}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=_mixed(seed, len(told)),
            n_startup_trials=min(10, max(3, budget // 3)),
            multivariate=True,
            constant_liar=True,
        )
        study = optuna.create_study(direction="maximize" if direction == "up" else "minimize", sampler=sampler)
        for (proposal, _), value in zip(told, _values(told, direction), strict=True):
            params = {d.name: _coordinate(d, proposal[d.name]) for d in space.dimensions}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
        if not told:
            study.enqueue_trial({d.name: _coordinate(d, d.middle()) for d in space.dimensions})
        tried = {_key(space, proposal) for proposal, _ in told}
        proposals: list[Proposal] = []
        while len(proposals) < count and (new := _new(space, study, distributions, tried)) is not None:
            tried.add(_key(space, new))
            proposals.append(new)
        return proposals


def _new(space: SearchSpace, study: Any, distributions: dict[str, Any], tried: set[tuple[str, ...]]) -> Proposal | None:
    """Return a point that is not among those tried, None where there is none.

    A point asked for in vain stays pending in the study, which counts as bad there, so the sampler turns to others.
    """
    for _ in range(_ASKED):
        proposal = _proposal(space, study.ask(distributions).params)
        if _key(space, proposal) not in tried:
            return proposal
    names = [dimension.name for dimension in space.dimensions]
    grid = product(*(dimension.grid() for dimension in space.dimensions))
    untried = (point for values in grid if _key(space, point := dict(zip(names, values, strict=True))) not in tried)
    return next(untried, None)


def _key(space: SearchSpace, proposal: Proposal) -> tuple[str, ...]:
    """Return what tells a point from others, 1 from True too."""
    return tuple(repr(proposal[dimension.name]) for dimension in space.dimensions)


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if dimension.choices:
        return CategoricalDistribution(tuple(range(len(dimension.choices))))
    return FloatDistribution(*dimension.bounds, log=dimension.log)


def _coordinate(dimension: Dimension, value: Scalar) -> float | int:
    """Return a value as Optuna sees it: the position among the choices (1 and True are told apart), or the number."""
    if dimension.choices:
        return [repr(choice) for choice in dimension.choices].index(repr(value))
    low, high = dimension.bounds
    return min(max(dimension.number(value), low), high)


def _proposal(space: SearchSpace, params: dict[str, Any]) -> Proposal:
    return {
        d.name: d.choices[params[d.name]] if d.choices else d.value(float(params[d.name])) for d in space.dimensions
    }


def _values(told: Told, direction: Direction) -> list[float]:
    """Return the metrics with a value worse than all others for those that diverged; only their order matters."""
    finite = [metric for _, metric in told if metric is not None]
    worst = (min(finite, default=0.0) - 1.0) if direction == "up" else (max(finite, default=0.0) + 1.0)
    return [worst if metric is None else metric for _, metric in told]


def _mixed(seed: int, told: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{told}".encode()).digest()[:4], "big")
