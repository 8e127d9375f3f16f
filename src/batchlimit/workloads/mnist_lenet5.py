"""MNIST with LeCun's LeNet-5: some thirty times cheaper than the paper's network."""

from __future__ import annotations

from batchlimit.config import Recipe
from batchlimit.data import datasets
from batchlimit.models.lenet5 import LeNet5
from batchlimit.workloads import workloads
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import TOP_5, Workload


@workloads.register("mnist-lenet5")
def mnist_lenet5() -> Workload:
    """Return MNIST with LeNet-5 (61,706 parameters), inputs in [0, 1], momentum at 256."""
    return Workload(
        name="mnist-lenet5",
        make_model=LeNet5,
        load=lambda: datasets.get("mnist").load(),
        prepare=to_unit_interval,
        baseline=Recipe(
            solver="momentum",
            lr=0.05,
            solver_options={"momentum": 0.9},
            schedule="polynomial",
            schedule_options={"power": 1.0},
        ),
        batch_size=256,
        budget="30 epochs",
        also=(TOP_5,),
        description="MNIST with LeNet-5 (61,706 parameters)",
    )
