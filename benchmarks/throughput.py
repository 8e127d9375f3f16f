"""Training speed of the engine against the loops people write, LeNet-5 on images of MNIST's size.

    python benchmarks/throughput.py [--rounds 7] [--json]

Every candidate is a process of its own (the allocator's settings are the process's) with one thread, and is asked in
turn for a number of steps, so that what disturbs the machine disturbs all alike. Compared is the CPU time of a step,
median over rounds. The images are random: speed does not depend on what they show. The peers, all fp32, train the
LeNet-5 of the textbooks (convolution, ReLU, max-pooling; torch's modules and memory layout):

    ram        float tensors in RAM, one permutation an epoch, indexing, `torch.optim.SGD`, `loss.item()` every step
    ram ours   the same loop, with our LeNet-5 (its first layer in one, ReLU last): what is left is the engine's own
    dataset    a `DataLoader` with shuffling over a `TensorDataset`
    pil        a `DataLoader` over a `Dataset` that, per sample, makes a PIL image, converts it to a float tensor and
               normalizes it, by the steps that torchvision's MNIST, ToTensor and Normalize take
    naive      a full batch (60,000) as one forward and one backward pass

Ours does all that a trial does between evaluations: uint8 in RAM, gathering, micro-batches, the watch for divergence.
With `--json` one object, each a ratio peer / ours, larger is better (but memory: ours / peer, smaller is better):

    vs_ram_loop, vs_tensordataset, vs_pil          at batch 256 in fp32            aims >= 1.3, 1.4, 2.4
    vs_ram_loop_same_model                         the same, the peer with our model
    the same with _bf16                            ours in bf16, the peers in fp32  aims >= 1.7, 1.8, 3.0
    full_batch_vs_naive                            a step of 60,000 in fp32        aim >= 4
    full_batch_memory_vs_naive                     peak memory beyond that before  aim <= 0.033
    full_batch_vs_best                             samples per second at 60,000 / at our best batch size   aim >= 0.9

What bounds ours, by torch's profiler: at batch 256 in fp32, 51 % of a step is oneDNN's convolutions; 16 % is the
maximum over pooling windows of the first layer (see models/pooled_convolution.py), the other pooling 4 %, copies into
other layouts 6 %, the matrix products 6 %, the solver and the watch 2 %. The peer `pil` spends a third of its time on
its samples one by one; the rest, its model, bounds that ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _measure import emit
from batchlimit.config import Recipe, TrialConfig
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution
from batchlimit.engine.allocator import keep_memory
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import prepare, take_step
from batchlimit.models.lenet5 import LeNet5
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import Workload

EXAMPLES = 60_000
BATCH = 256
SIZES = (256, 1024, 8192, EXAMPLES)
Step = Callable[[], object]


def images() -> tuple[Tensor, Tensor]:
    """Return 60,000 random images (N, 1, 28, 28) of uint8 and their labels."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (EXAMPLES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return pictures, torch.randint(0, 10, (EXAMPLES,), generator=generator)


def ours(batch_size: int, precision: str) -> Step:
    """Return the engine's step."""
    pictures, labels = images()
    split = TensorSplit(pictures, labels)
    workload = Workload(
        name="lenet5-on-noise",
        make_model=LeNet5,
        load=lambda: DataSet(train=split, test=split),
        prepare=to_unit_interval,
        baseline=Recipe(),
        batch_size=BATCH,
        budget="1000 epochs",
    )
    config = TrialConfig(
        workload=workload.name,
        batch_size=batch_size,
        budget="1000 epochs",
        recipe=Recipe(lr=0.01, solver_options={"momentum": 0.9}, precision=precision),
    )
    keep_memory()
    device = torch.device("cpu")
    training = prepare(config, workload, Execution(device="cpu"), device)
    watch = FiniteWatch(device)
    return lambda: take_step(training, watch)


def textbook() -> nn.Module:
    """Return LeNet-5 as tutorials write it."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def _step_on(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    loss.item()


def _from_batches(make: Callable[[], object], model: nn.Module | None = None) -> Step:
    """Return a step that trains on the next batch of an endless stream of epochs that `make` makes."""
    model = model or textbook()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield from make()  # type: ignore[misc]

    batches = endless()
    return lambda: _step_on(model, optimizer, *next(batches))


def ram(model: nn.Module | None = None) -> Step:
    """Return the step of a hand-written loop over tensors in RAM."""
    pictures, labels = images()
    inputs = pictures.float() / 255

    def epoch():  # type: ignore[no-untyped-def]
        order = torch.randperm(EXAMPLES)
        for start in range(0, EXAMPLES - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield inputs[chosen], labels[chosen]

    return _from_batches(epoch, model)


def dataset() -> Step:
    """Return the step of a loop over a DataLoader of a TensorDataset."""
    pictures, labels = images()
    data = torch.utils.data.TensorDataset(pictures.float() / 255, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    return _from_batches(lambda: iter(loader))


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images transformed one by one, as vision data sets usually are."""

    def __init__(self) -> None:
        pictures, labels = images()
        self.arrays, self.labels = pictures[:, 0].numpy(), labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        picture = Image.fromarray(self.arrays[index])
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(28, 28, 1)
        tensor = pixels.permute(2, 0, 1).contiguous().to(torch.get_default_dtype()).div(255).clone()
        mean, std = torch.as_tensor([0.1307], dtype=tensor.dtype), torch.as_tensor([0.3081], dtype=tensor.dtype)
        assert not (std == 0).any()
        return tensor.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1)), self.labels[index]


def pil() -> Step:
    """Return the step of a loop over a DataLoader with per-sample PIL transforms."""
    loader = torch.utils.data.DataLoader(Pictures(), batch_size=BATCH, shuffle=True, drop_last=True)
    return _from_batches(lambda: iter(loader))


def naive() -> Step:
    """Return the step of a full batch in one pass."""
    pictures, labels = images()
    inputs = pictures.float() / 255
    model = textbook()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return lambda: _step_on(model, optimizer, inputs, labels)


CANDIDATES: dict[str, tuple[Callable[[], Step], int, int]] = {
    # name: (maker, examples a step, steps a round)
    **{f"ours {size}": (lambda size=size: ours(size, "fp32"), size, max(1, 8192 // size)) for size in SIZES},
    "ours 256 bf16": (lambda: ours(BATCH, "bf16"), BATCH, 32),
    "ram": (ram, BATCH, 32),
    "ram ours": (lambda: ram(LeNet5()), BATCH, 32),
    "dataset": (dataset, BATCH, 32),
    "pil": (pil, BATCH, 32),
    "naive": (naive, EXAMPLES, 1),
}


def work(name: str) -> None:
    """Be one candidate: for every number read, take as many steps and print the CPU seconds and the peak memory."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = CANDIDATES[name][0]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            step()
        spent = time.process_time() - start
        print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)


class Candidate:
    """A process that takes steps when asked."""

    def __init__(self, name: str) -> None:
        self.examples, self.steps = CANDIDATES[name][1:]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.seconds: list[float] = []
        self.kilobytes = 0
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "ready", f"the candidate '{name}' did not start"

    def round(self, *, counted: bool) -> None:
        """Take one round of steps and note the CPU seconds an example."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(self.steps, file=self.process.stdin, flush=True)
        seconds, self.kilobytes = map(float, self.process.stdout.readline().split())
        if counted:
            self.seconds.append(seconds / (self.steps * self.examples))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def compare(rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the ratios, and each candidate's samples per CPU second."""
    candidates = {name: Candidate(name) for name in CANDIDATES}
    try:
        for turn in range(rounds + 1):
            for candidate in candidates.values():
                candidate.round(counted=turn > 0)
    finally:
        for candidate in candidates.values():
            candidate.close()
    cost = {name: statistics.median(candidate.seconds) for name, candidate in candidates.items()}
    full, fastest = f"ours {EXAMPLES}", min(cost[f"ours {size}"] for size in SIZES)
    results: dict[str, float] = {}
    for suffix, mine in (("", "ours 256"), ("_bf16", "ours 256 bf16")):
        for key, peer in (("vs_ram_loop", "ram"), ("vs_tensordataset", "dataset"), ("vs_pil", "pil")):
            results[key + suffix] = cost[peer] / cost[mine]
    results["vs_ram_loop_same_model"] = cost["ram ours"] / cost["ours 256"]
    results["full_batch_vs_naive"] = cost["naive"] / cost[full]
    results["full_batch_memory_vs_naive"] = candidates[full].kilobytes / candidates["naive"].kilobytes
    results["full_batch_vs_best"] = fastest / cost[full]
    return results, {name: 1 / seconds for name, seconds in cost.items()}


def main() -> None:
    """Parse the arguments, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds, each of some steps of every candidate")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--worker", choices=CANDIDATES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    results, speeds = compare(arguments.rounds)
    if not arguments.json:
        for name, speed in speeds.items():
            print(f"{name:<14} {speed:>9,.0f} samples per CPU second")
        print()
    emit(arguments.json, results)


if __name__ == "__main__":
    main()
