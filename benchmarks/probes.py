"""What probes add to a training: LeNet-5 on images of MNIST's size, each probe on against all off.

    python benchmarks/probes.py [--rounds 5] [--steps 250] [--batch 256] [--probe NAME] [--json]

Trainings that differ in their probe alone take turns step by step, so that what disturbs the machine disturbs all
alike; each round is a fresh training, and every step's CPU time is the median over rounds. A training's time is the
sum over its steps, looked at or not, and its probe's `result` at the end. It is short on purpose: probes look at about
eight steps in each tenfold, so that their share of a long training is smaller (250 steps: a step in 13; 6,446 steps,
30 epochs of MNIST at 256: a step in 210). One thread; the images are random: speed does not depend on what they show.

With `--json` one object, for each probe the extra share of the training's time, (on - off) / off: aim < 0.03

    weight_distance_overhead, trust_ratios_overhead, gradient_noise_overhead      and `<name>_overhead` of any --probe
    off_overhead        two trainings without a probe: what of this is the machine's

Not among them unless asked for is `sharpness`, which takes passes of its own at each look.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time

import torch

from _measure import emit
from batchlimit.config import Recipe, TrialConfig
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution
from batchlimit.engine.allocator import keep_memory
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import prepare, take_step
from batchlimit.models.lenet5 import LeNet5
from batchlimit.probes import probes
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import Workload

EXAMPLES = 8192
CHEAP = ("weight-distance", "trust-ratios", "gradient-noise")
DEVICE = torch.device("cpu")
OFF = "off"


def lenet5_on_noise() -> Workload:
    """Return LeNet-5 on random images of MNIST's size."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (EXAMPLES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    split = TensorSplit(pictures, torch.randint(0, 10, (EXAMPLES,), generator=generator))
    return Workload(
        name="lenet5-on-noise",
        make_model=LeNet5,
        load=lambda: DataSet(train=split, test=split),
        prepare=to_unit_interval,
        baseline=Recipe(),
        batch_size=256,
        budget="1 epoch",
    )


class Timed:
    """A training with the probes given, which measures its steps."""

    def __init__(self, workload: Workload, names: tuple[str, ...], steps: int, batch_size: int) -> None:
        recipe = Recipe(lr=0.01, solver_options={"momentum": 0.9})
        config = TrialConfig(
            workload=workload.name, batch_size=batch_size, budget=f"{steps} steps", recipe=recipe, probes=names
        )
        self._training = prepare(config, workload, Execution(device="cpu"), DEVICE)
        self._watch = FiniteWatch(DEVICE)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take a step."""
        start = time.process_time()
        take_step(self._training, self._watch)
        self.seconds.append(time.process_time() - start)

    def end(self) -> None:
        """Gather what was measured; counted as one step more."""
        start = time.process_time()
        if self._training.probing is not None:
            self._training.probing.results()
        self.seconds.append(time.process_time() - start)


def round_of(candidates: dict[str, tuple[str, ...]], steps: int, batch_size: int, turn: int) -> dict[str, list[float]]:
    """Train every candidate once, in turns, and return the seconds of each step."""
    workload = lenet5_on_noise()
    trainings = [(label, Timed(workload, names, steps, batch_size)) for label, names in candidates.items()]
    for step in range(steps):
        first = (step + turn) % len(trainings)
        for _, training in trainings[first:] + trainings[:first]:
            training.step()
    for _, training in trainings:
        training.end()
    return {label: training.seconds for label, training in trainings}


def compare(names: list[str], rounds: int, steps: int, batch_size: int) -> dict[str, float]:
    """Return the extra share of a training's time for each probe of `names`."""
    candidates: dict[str, tuple[str, ...]] = {OFF: (), "off again": (), **{name: (name,) for name in names}}
    round_of(candidates, 3, batch_size, 0)  # what a process does for the first time is slow
    taken = [round_of(candidates, steps, batch_size, turn) for turn in range(rounds)]
    totals = {
        label: sum(statistics.median(times) for times in zip(*(one[label] for one in taken), strict=True))
        for label in candidates
    }
    results = {f"{name.replace('-', '_')}_overhead": totals[name] / totals[OFF] - 1 for name in names}
    results["off_overhead"] = totals["off again"] / totals[OFF] - 1
    return results


def main() -> None:
    """Parse the arguments, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="trainings of each kind")
    parser.add_argument("--steps", type=int, default=250, help="weight updates of a training")
    parser.add_argument("--batch", type=int, default=256, help="batch size")
    parser.add_argument("--probe", action="append", choices=probes.names(), help="which; default: the cheap ones")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    gc.disable()
    emit(arguments.json, compare(arguments.probe or list(CHEAP), arguments.rounds, arguments.steps, arguments.batch))


if __name__ == "__main__":
    main()
