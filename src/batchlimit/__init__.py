"""batchlimit: how large can the batch be?

`find_limit(workload)` answers for a built-in workload or your own; `tune(workload)` finds the best recipe at one batch
size; `run(config)` trains once. `Workload` describes a model, its data, loss, metric and baseline.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from batchlimit.api import find_limit, find_limits, redraw, redraw_beside, run_study, tune
    from batchlimit.config import Averaging, LayerWise, Noise, Recipe, TrialConfig
    from batchlimit.data.from_dataset import from_dataset
    from batchlimit.data.splits import DataSet, TensorSplit
    from batchlimit.engine import Execution, run
    from batchlimit.errors import InputError
    from batchlimit.findings import LimitFinding, TuneFinding
    from batchlimit.ledger import Ledger
    from batchlimit.models.batch_norm_spans import convert_replica_batch_norm
    from batchlimit.models.ghost_batch_norm import convert_ghost_batch_norm
    from batchlimit.models.group_batch_norm import convert_group_batch_norm
    from batchlimit.records import TrialRecord
    from batchlimit.studies.facts import StudySettings
    from batchlimit.tuning.question import FindSettings
    from batchlimit.tuning.single import TuneSettings
    from batchlimit.workloads.workload import LOSS, Metric, Workload, cross_entropy, squared_error

# Loaded when first used: `batchlimit --help` and analysis must not wait for torch.
_PLACES = {
    "batchlimit.api": ("find_limit", "find_limits", "redraw", "redraw_beside", "run_study", "tune"),
    "batchlimit.config": ("Averaging", "LayerWise", "Noise", "Recipe", "TrialConfig"),
    "batchlimit.data.from_dataset": ("from_dataset",),
    "batchlimit.data.splits": ("DataSet", "TensorSplit"),
    "batchlimit.engine": ("Execution", "run"),
    "batchlimit.errors": ("InputError",),
    "batchlimit.findings": ("LimitFinding", "TuneFinding"),
    "batchlimit.ledger": ("Ledger",),
    "batchlimit.models.batch_norm_spans": ("convert_replica_batch_norm",),
    "batchlimit.models.ghost_batch_norm": ("convert_ghost_batch_norm",),
    "batchlimit.models.group_batch_norm": ("convert_group_batch_norm",),
    "batchlimit.records": ("TrialRecord",),
    "batchlimit.studies.facts": ("StudySettings",),
    "batchlimit.tuning.question": ("FindSettings",),
    "batchlimit.tuning.single": ("TuneSettings",),
    "batchlimit.workloads.workload": ("LOSS", "Metric", "Workload", "cross_entropy", "squared_error"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "LOSS",
    "Averaging",
    "DataSet",
    "Execution",
    "FindSettings",
    "InputError",
    "LayerWise",
    "Ledger",
    "LimitFinding",
    "Metric",
    "Noise",
    "Recipe",
    "StudySettings",
    "TensorSplit",
    "TrialConfig",
    "TrialRecord",
    "TuneFinding",
    "TuneSettings",
    "Workload",
    "convert_ghost_batch_norm",
    "convert_group_batch_norm",
    "convert_replica_batch_norm",
    "cross_entropy",
    "find_limit",
    "find_limits",
    "from_dataset",
    "redraw",
    "redraw_beside",
    "run",
    "run_study",
    "squared_error",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'batchlimit' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACE_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
