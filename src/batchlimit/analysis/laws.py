"""How the distance from the start grows with the number of updates: three laws, compared, and the diffusion test.

The laws are c * log(t)^p ('log-power'), c * t^p ('power') and a + b * log(t) ('log-linear'), fitted by least squares.
Errors are 'relative' by default: squares of log(measured / fitted) are summed, so that every update counts, although
distances grow a hundredfold. With 'absolute' errors the last points decide alone. Neither describes the scatter
over seeds throughout (five of `digits`: from 10 % of the distance in the first updates to 1 % in the last, as an amount
growing 25-fold and then constant), so a conclusion should hold with both.

All laws have two parameters: to compare them by AIC is to compare their residuals. Points along one training are not
independent, so AIC is far too sure of itself; the share of resampled sets of seeds in which a law fits best is the
figure to trust.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from batchlimit.analysis.intervals import FEW, expanded, students
from batchlimit.analysis.law_curves import LAWS, Errors, Law, Solved, mean_curve, redrawn, solve
from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import Estimate, Finding

FEWEST = 5
"""Points that a fit needs: with fewer, AIC's correction for few points has no value."""


class LawFit(Finding):
    """One law fitted to a curve of `n` points.

    `parameters` are by name: c and p, or a and b; each with its interval over seeds, or over residuals where there is
    one curve. `rss` is the sum of squared residuals (of logarithms, with relative errors), `aic` Akaike's criterion
    with its correction for few points, `delta` what it is above the best law's, `weight` its Akaike weight.
    `share_best` is the share of resampled sets of seeds in which this law fits best; None for one curve.
    """

    law: Law
    parameters: dict[str, Estimate]
    rss: float
    aic: float
    delta: float
    weight: float
    share_best: float | None = None

    def at(self, updates: Sequence[float]) -> list[float]:
        """Return the fitted distance after each of `updates` (above 1 for 'log-power')."""
        values = {name: found.mean or 0.0 for name, found in self.parameters.items()}
        logs = np.log(np.asarray(updates, dtype=np.float64))
        if self.law == "log-linear":
            curve = values["a"] + values["b"] * logs
        else:
            curve = values["c"] * (logs ** values["p"] if self.law == "log-power" else np.exp(values["p"] * logs))
        return [float(value) for value in curve]


class Diffusion(Finding):
    """The test of ultra-slow diffusion: do the weights go as far as the logarithm of the number of updates?

    `alpha` is that of E ||w_t - w_0||^2 ~ (log t)^(4 / alpha), so alpha = 2 / p with p of the 'log-power' law; None
    where p is not above 0. Ultra-slow diffusion says alpha = 2, distances like log t. `consistent` says whether its
    interval holds 2 (None without an interval); `best` is the law of the lowest AIC: where it is 'power', alpha
    describes a curve that the theory does not. c log(t) is a case of 'log-power' and of 'log-linear' alike. `first`
    and `last` are the updates fitted between, `n` their number.

    Source: Hoffer, Hubara and Soudry, 2017 (arXiv 1705.08741), section 3; You et al., "The Limit of the Batch Size",
    2020, equation 2, where the 4 / alpha is printed.
    """

    fits: tuple[LawFit, ...]
    best: Law
    alpha: Estimate | None
    consistent: bool | None
    errors: Errors
    first: int
    last: int
    n: int
    seeds: int

    def fit(self, law: Law) -> LawFit:
        """Return the fit of `law`."""
        return next(one for one in self.fits if one.law == law)


def curves(measurements: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[list[float]]]:
    """Return updates (n,) and distances (trials, n) of 'weight-distance' measurements where all have a finite one."""
    found = [
        {t: d for t, d in zip(one["updates"], one["distance"], strict=True) if d is not None} for one in measurements
    ]
    shared = sorted(set.intersection(*map(set, found))) if found else []
    return shared, [[one[t] for t in shared] for one in found]


def diffusion(
    updates: Sequence[float],
    distances: Sequence[float] | Sequence[Sequence[float]],
    *,
    first: float = 2,
    last: float = math.inf,
    errors: Errors = "relative",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Diffusion:
    """Fit all laws to the distances after `updates` (n,), of one training (n,) or of several seeds (seeds, n).

    Fitted is the mean curve over seeds (the geometric mean with relative errors). Only updates from `first` to `last`
    count, for every law the same ones. log(1) is 0, so 'log-power' needs `first` above 1; the theory is about a steady
    learning rate, so leave out a warmup by `first`, and a decay to 0, which bends every curve flat, by `last`.
    Intervals are expanded percentiles over resampled seeds; of two to four seeds Student's t of each one's own fit; for
    one curve over resampled residuals, which takes neighbouring points for independent, and is too narrow where they
    are not.

    Raises:
        InputError: fewer than five points, a distance that is not positive and finite, or another shape.
    """
    t, all_seeds = _points(updates, distances, first, last, errors)
    seeds, n = all_seeds.shape
    logs, curve = np.log(t), mean_curve(all_seeds, errors)
    generator = np.random.default_rng(seed)
    found = {law: solve(law, logs, curve[None], errors) for law in LAWS}
    if seeds > 1:
        again = mean_curve(all_seeds[generator.integers(0, seeds, (resamples, seeds))], errors)
        samples = {law: solve(law, logs, again, errors) for law in LAWS}
        best = np.argmin(np.stack([samples[law].rss for law in LAWS]), axis=0)
        shares = {law: float((best == index).mean()) for index, law in enumerate(LAWS)}
        if seeds < FEW:  # too few to be drawn from: each one's own fit, for Student's t
            samples = {law: solve(law, logs, all_seeds, errors) for law in LAWS}
    else:
        drawn = {law: redrawn(found[law], curve, errors, generator, resamples) for law in LAWS}
        samples = {law: solve(law, logs, drawn[law], errors) for law in LAWS}
        shares = {}
    scale = 1.0 if errors == "relative" else float(curve.mean())
    fits = _compared(found, samples, shares, n=n, seeds=seeds, scale=scale, confidence=confidence)
    exponent = next(fit for fit in fits if fit.law == "log-power").parameters["p"]
    return Diffusion(
        fits=fits,
        best=min(fits, key=lambda fit: fit.aic).law,
        alpha=_alpha(exponent),
        consistent=None if exponent.low is None or exponent.high is None else exponent.low <= 1.0 <= exponent.high,
        errors=errors,
        first=int(t[0]),
        last=int(t[-1]),
        n=n,
        seeds=seeds,
    )


def _points(
    updates: Sequence[float],
    distances: Sequence[float] | Sequence[Sequence[float]],
    first: float,
    last: float,
    errors: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the updates (n,) between `first` and `last` and the distances (seeds, n) there."""
    if errors not in get_args(Errors):
        raise unknown_name("kind of errors", str(errors), get_args(Errors))
    t, table = np.asarray(updates, dtype=np.float64), np.atleast_2d(np.asarray(distances, dtype=np.float64))
    if t.ndim != 1 or table.shape[1:] != t.shape or not len(table):
        raise InputError(
            f"Distances of shape {table.shape} at {t.shape[0]} updates. Valid: one for each update, or a row a seed."
        )
    kept = (t >= first) & (t <= last) & (t > 1)
    t, table = t[kept], table[:, kept]
    if len(t) < FEWEST or (np.diff(t) <= 0).any():
        raise InputError(
            f"{len(t)} points to fit laws to, at {t.tolist()}. Valid: {FEWEST} or more, at growing updates."
        )
    if not (np.isfinite(table) & (table > 0)).all():
        raise InputError(
            "A distance from the start is not positive and finite. Valid: a training that moved throughout."
        )
    return t, table


def _compared(
    found: Mapping[Law, Solved],
    samples: Mapping[Law, Solved],
    shares: Mapping[Law, float],
    *,
    n: int,
    seeds: int,
    scale: float,
    confidence: float,
) -> tuple[LawFit, ...]:
    """Return the fits with their intervals and what AIC says of them; residuals are of size `scale` times a share."""
    # Below 1e-12 residuals are those of the arithmetic, and no reason to prefer one law to another.
    floor = n * (1e-12 * scale) ** 2
    aics = {law: _aic(max(float(solved.rss[0]), floor), n) for law, solved in found.items()}
    lowest = min(aics.values())
    likelihoods = {law: math.exp((lowest - aic) / 2) for law, aic in aics.items()}
    fits = []
    for law, solved in found.items():
        spread = samples[law].parameters()
        parameters = {
            name: _estimate(name, float(values[0]), spread[name], confidence, seeds)
            for name, values in solved.parameters().items()
        }
        fits.append(
            LawFit(
                law=law,
                parameters=parameters,
                rss=float(solved.rss[0]),
                aic=aics[law],
                delta=aics[law] - lowest,
                weight=likelihoods[law] / sum(likelihoods.values()),
                share_best=shares.get(law),
            )
        )
    return tuple(fits)


def _aic(rss: float, n: int, parameters: int = 3) -> float:
    """Return Akaike's criterion with its correction for few points; the variance is the third parameter.

    Source: Hurvich and Tsai, 1989.
    """
    correction = 2 * parameters * (parameters + 1) / (n - parameters - 1)
    return n * math.log(rss / n) + 2 * parameters + correction


def _estimate(name: str, value: float, samples: np.ndarray, confidence: float, seeds: int) -> Estimate:
    """Return a parameter with its interval: `samples` are of each seed where there are few, else resampled."""
    if 1 < seeds < FEW:
        if name != "c":
            return students(value, [samples.tolist()], confidence)
        # A factor, which is above 0: of its logarithm.
        found = students(math.log(value), [np.log(samples).tolist()], confidence)
        low, high = (math.exp(min(end or 0.0, 700.0)) for end in (found.low, found.high))
        return Estimate(mean=value, low=low, high=high, n=seeds)
    levels = expanded(confidence, seeds) if seeds > 1 else ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = map(float, np.quantile(samples, levels))
    return Estimate(mean=value, low=low, high=high, n=seeds)


def _alpha(exponent: Estimate) -> Estimate | None:
    """Return alpha = 2 / p; an end of the interval is None where p is not above 0 there."""
    assert exponent.mean is not None
    if exponent.mean <= 0:
        return None
    low, high = (2 / end if end is not None and end > 0 else None for end in (exponent.high, exponent.low))
    return Estimate(mean=2 / exponent.mean, low=low, high=high, n=exponent.n)
