"""The Python API: each function is one question, answered from a ledger where it can be and by training where not."""

from __future__ import annotations

from batchlimit.api.limit import find_limit, find_limits, redraw, redraw_beside
from batchlimit.api.study import Studying, kept_studies, redraw_study, run_study
from batchlimit.api.tuning import tune

__all__ = [
    "Studying",
    "find_limit",
    "find_limits",
    "kept_studies",
    "redraw",
    "redraw_beside",
    "redraw_study",
    "run_study",
    "tune",
]
