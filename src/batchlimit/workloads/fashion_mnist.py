"""Fashion-MNIST with the paper's LeNet: the size of MNIST, but harder."""

from __future__ import annotations

from batchlimit.config import Recipe
from batchlimit.data import datasets
from batchlimit.models.lenet import LeNet
from batchlimit.workloads import workloads
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import TOP_5, Workload


@workloads.register("fashion-mnist")
def fashion_mnist() -> Workload:
    """Return Fashion-MNIST with LeNet (3,274,634 parameters), inputs in [0, 1], momentum at 256."""
    return Workload(
        name="fashion-mnist",
        make_model=LeNet,
        load=lambda: datasets.get("fashion_mnist").load(),
        prepare=to_unit_interval,
        baseline=Recipe(
            solver="momentum",
            lr=0.03,
            solver_options={"momentum": 0.9},
            schedule="polynomial",
            schedule_options={"power": 1.0},
        ),
        batch_size=256,
        budget="30 epochs",
        also=(TOP_5,),
        description="Fashion-MNIST with the paper's LeNet (3,274,634 parameters, dropout 0.4)",
    )
