"""scikit-learn's digits with a small CNN: the embedded default, a trial in about a second."""

from __future__ import annotations

from torch import Tensor

from batchlimit.config import Recipe
from batchlimit.data import datasets
from batchlimit.models.digits_cnn import DigitsCNN
from batchlimit.workloads import workloads
from batchlimit.workloads.workload import TOP_5, Workload


def sixteenths(images: Tensor) -> Tensor:
    """Return images of counts 0..16 as floats in [0, 1]."""
    return images.float().div_(16.0)


@workloads.register("digits")
def digits() -> Workload:
    """Return the digits workload: a CNN of 5,450 parameters, inputs in [0, 1], momentum at 16."""
    return Workload(
        name="digits",
        make_model=DigitsCNN,
        load=lambda: datasets.get("digits").load(),
        prepare=sixteenths,
        baseline=Recipe(
            solver="momentum",
            lr=0.06,
            solver_options={"momentum": 0.9},
            schedule="polynomial",
            schedule_options={"power": 1.0},
        ),
        batch_size=16,
        budget="30 epochs",
        also=(TOP_5,),
        description="scikit-learn's 8x8 digits with a small CNN (5,450 parameters)",
    )
