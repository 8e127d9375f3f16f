"""Trials per hour: the pool of one-thread workers against one process that runs the same trials with two threads.

    python benchmarks/sweep.py [--rounds 3] [--json]

LeNet-5 on images of MNIST's size (random ones: speed does not depend on what they show), batch sizes 256 to 8192. The
peer is one persistent process that calls `engine.run` with two threads for one trial after another, its allocator
left as it comes. Both have started and run a trial of each kind before the clock does. Wall time, so it wants an idle
machine with two cores; rounds are interleaved and each ratio is the median over rounds. With `--json` one object:

    fp32_vs_sequential    trials per hour of 2 workers in fp32 / of the peer in fp32                     aim >= 1.25
    bf16_vs_sequential    trials per hour of 2 workers in bf16 / of the peer in fp32                     aim >= 1.70
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from _measure import emit
from batchlimit.config import Recipe, TrialConfig
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution, run
from batchlimit.models.lenet5 import LeNet5
from batchlimit.tuning.runners.local import LocalPool
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import Workload

WORKERS = 2
THREADS = 2
BATCH_SIZES = (256, 1024, 2048, 8192)
EXAMPLES = 24_576


def lenet5_on_noise() -> Workload:
    """Return LeNet-5 on random images of MNIST's size."""

    def load() -> DataSet:
        generator = torch.Generator().manual_seed(0)

        def split(size: int) -> TensorSplit:
            images = torch.randint(0, 256, (size, 1, 28, 28), dtype=torch.uint8, generator=generator)
            return TensorSplit(images, torch.randint(0, 10, (size,), generator=generator))

        return DataSet(train=split(EXAMPLES), test=split(2_000))

    return Workload(
        name=f"{Path(__file__).resolve()}:lenet5_on_noise",
        make_model=LeNet5,
        load=load,
        prepare=to_unit_interval,
        baseline=Recipe(lr=0.01),
        batch_size=256,
        budget="3 epochs",
    )


def trials(precision: str, seed: int) -> list[TrialConfig]:
    """Return a round of trials: each batch size for two seeds, so that both workers have the same to do."""
    recipe = Recipe.model_validate({"lr": 0.01, "solver_options": {"momentum": 0.9}, "precision": precision})
    return [
        TrialConfig(
            workload=lenet5_on_noise().name, batch_size=size, budget="3 epochs", recipe=recipe, seed=seed + half
        )
        for size in BATCH_SIZES
        for half in (0, 1)
    ]


class Sequential:
    """The peer: a process that runs the trials it reads, with two threads and torch's own allocator settings."""

    def __init__(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, "BATCHLIMIT_KEEP_MEMORY": "0"},
        )

    def run(self, configs: list[TrialConfig]) -> None:
        """Run the trials one after another."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for config in configs:
            self._process.stdin.write(config.model_dump_json(exclude_defaults=True) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
            if answer != "complete":
                raise RuntimeError(f"a trial of the sequential process ended as '{answer}'")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def peer() -> None:
    """Read configurations, one a line, and answer each with the status of its trial."""
    execution = Execution(device="cpu", threads=THREADS)
    for line in sys.stdin:
        print(run(TrialConfig.model_validate_json(line), execution=execution).status, flush=True)


def measure(rounds: int) -> dict[str, float]:
    """Return the medians of the two ratios over interleaved rounds."""
    sequential = Sequential()
    with LocalPool(WORKERS, Execution(device="cpu")) as pool:

        def pooled(configs: list[TrialConfig]) -> None:
            ended = {record.status for record in pool.run(configs)}
            if ended != {"complete"}:
                raise RuntimeError(f"trials of the pool ended as {', '.join(sorted(ended))}")

        candidates: dict[str, Callable[[int], object]] = {
            "fp32": lambda seed: pooled(trials("fp32", seed)),
            "sequential": lambda seed: sequential.run(trials("fp32", seed)),
            "bf16": lambda seed: pooled(trials("bf16", seed)),
        }
        for candidate in candidates.values():
            candidate(0)
        ratios: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for turn in range(1, rounds + 1):
            seconds = {}
            for name, candidate in candidates.items():
                start = time.perf_counter()
                candidate(2 * turn)
                seconds[name] = time.perf_counter() - start
            for name, measured in ratios.items():
                measured.append(seconds["sequential"] / seconds[name])
            print(", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), file=sys.stderr)
    sequential.close()
    return {f"{name}_vs_sequential": statistics.median(measured) for name, measured in ratios.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        peer()
    else:
        emit(arguments.json, measure(arguments.rounds))


if __name__ == "__main__":
    main()
