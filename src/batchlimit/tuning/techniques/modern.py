"""Every solver there is: the paper's recipes and the solvers that came after."""

from __future__ import annotations

from batchlimit.config import Recipe, Scalar
from batchlimit.tuning.question import Candidate
from batchlimit.tuning.techniques import techniques
from batchlimit.tuning.techniques.paper import paper, solver


@techniques.register("modern")
def modern(baseline: Recipe) -> tuple[Candidate, ...]:
    """Return Muon on whitened inputs, K-FAC, Muon, AdamW, SOAP, schedule-free AdamW and Lion, then the paper's recipes.

    Kronecker-factored curvature is what the paper itself suggests to try (section 6.6). Nado et al. (2021, arXiv
    2102.06356) found well-tuned plain solvers to match layer-wise ones, hence AdamW.
    """
    whiten: dict[str, Scalar] = {"whiten": True, "momentum": 0.7}
    # Schedule-free averages by itself, in the place of a decay.
    undecayed = solver(baseline, "schedule-free", 0.03, schedule="constant", schedule_options={}, averaging=None)
    return (
        Candidate(name="whitened muon", recipe=solver(baseline, "muon", 0.2, solver_options=whiten), anchor="full"),
        Candidate(name="kfac", recipe=solver(baseline, "kfac", 0.3), anchor="full"),
        Candidate(name="muon", recipe=solver(baseline, "muon", 0.2), anchor="full"),
        Candidate(name="adamw", recipe=solver(baseline, "adamw", 0.03), anchor="full", exponent=0.25),
        Candidate(name="soap", recipe=solver(baseline, "soap", 0.06), anchor="full", exponent=0.25),
        Candidate(name="schedule-free", recipe=undecayed, anchor="full", exponent=0.25),
        Candidate(name="lion", recipe=solver(baseline, "lion", 0.01), anchor="full", exponent=0.25),
        *paper(baseline),
    )
