"""Everything there is: the paper's recipes, and the solvers and techniques that came after."""

from __future__ import annotations

from typing import Any

from batchlimit.config import Recipe, Scalar
from batchlimit.tuning.question import Candidate
from batchlimit.tuning.techniques import techniques
from batchlimit.tuning.techniques.paper import paper, solver


@techniques.register("modern")
def modern(baseline: Recipe) -> tuple[Candidate, ...]:
    """Return the paper's recipes and, first, Muon (plain, whitened, averaged), K-FAC, AdamW, SOAP, Lion and others.

    The others are schedule-free AdamW and AdaScale with the baseline's own solver, where it is known which batch size
    the baseline's learning rate is for and no layer-wise scaling undoes it. An average, schedule-free's too, takes the
    place of a decay. Kronecker-factored curvature is what the paper itself suggests to try (section 6.6). Nado et al.
    (2021, arXiv 2102.06356) found well-tuned plain solvers to match layer-wise ones, hence AdamW.
    """
    whiten: dict[str, Scalar] = {"whiten": True, "momentum": 0.7}
    constant: dict[str, Any] = {"schedule": "constant", "schedule_options": {}}
    average: dict[str, Any] = {**constant, "averaging": {"half_life": "10%"}}
    undecayed = solver(baseline, "schedule-free", 0.03, **constant, averaging=None)
    averaged = solver(baseline, "muon", 0.2, **average)
    both = solver(baseline, "muon", 0.1, solver_options=whiten, **average)
    return (
        Candidate(name="whitened muon", recipe=solver(baseline, "muon", 0.2, solver_options=whiten), anchor="full"),
        Candidate(name="kfac", recipe=solver(baseline, "kfac", 0.3), anchor="full"),
        Candidate(name="muon", recipe=solver(baseline, "muon", 0.2), anchor="full"),
        Candidate(name="adamw", recipe=solver(baseline, "adamw", 0.03), anchor="full", exponent=0.25),
        Candidate(name="soap", recipe=solver(baseline, "soap", 0.06), anchor="full", exponent=0.25),
        Candidate(name="schedule-free", recipe=undecayed, anchor="full", exponent=0.25),
        Candidate(name="lion", recipe=solver(baseline, "lion", 0.01), anchor="full", exponent=0.25),
        Candidate(name="averaged whitened muon", recipe=both, anchor="full"),
        Candidate(name="averaged muon", recipe=averaged, anchor="full"),
        *_adascale(baseline),
        *paper(baseline),
    )


def _adascale(baseline: Recipe) -> tuple[Candidate, ...]:
    if baseline.reference_batch_size is None or baseline.layerwise is not None:
        return ()
    recipe = baseline.updated({"adascale": True})
    return (Candidate(name=f"adascale {baseline.solver}", recipe=recipe, exponent=0.0),)
