"""Run as a script: prints how much memory full-batch steps take, or how many pages a kept block costs, as JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import torch
from torch import nn

from batchlimit.config import Recipe, TrialConfig
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution, run
from batchlimit.engine.allocator import keep_memory
from batchlimit.workloads.workload import Workload

SMALL, LARGE, MICRO = 128, 8192, 64
WIDTH = 2048  # 8 KiB of activations an example and layer


def peak_bytes() -> int:
    """The largest resident set of this process so far; ru_maxrss would begin at that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def step(batch_size: int, microbatch_size: int) -> None:
    source = torch.Generator().manual_seed(0)
    train = TensorSplit(torch.randn(batch_size, 8, generator=source), torch.randint(0, 4, (batch_size,)))
    work = Workload(
        name=f"wide {batch_size}",
        make_model=lambda: nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4)),
        load=lambda: DataSet(train, TensorSplit(train.inputs[:32], train.targets[:32])),
        baseline=Recipe(),
        batch_size=SMALL,
        budget="1 epoch",
    )
    trial = TrialConfig(workload=work.name, batch_size=batch_size, budget="2 steps", protocol="paper")
    record = run(trial, workload=work, execution=Execution(device="cpu", microbatch_size=microbatch_size, threads=1))
    assert record.status == "complete"


def growth() -> dict[str, float]:
    """MB by which the peak rises from a small batch to a large one in micro-batches, and then to one in one pass."""
    step(SMALL, MICRO)
    peaks = [peak_bytes()]
    step(LARGE, MICRO)
    peaks.append(peak_bytes())
    step(LARGE, LARGE)
    peaks.append(peak_bytes())
    return {"micro": (peaks[1] - peaks[0]) / 1e6, "one_pass": (peaks[2] - peaks[1]) / 1e6}


def faults() -> dict[str, float]:
    """Page faults of filling a 40 MB block, again and again, before and after telling the allocator to keep memory."""

    def count() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.zeros(10_000_000).add_(1.0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    os.environ["BATCHLIMIT_KEEP_MEMORY"] = "0"
    told = [keep_memory()]
    counted = [count()]
    del os.environ["BATCHLIMIT_KEEP_MEMORY"]
    keep_memory.cache_clear()
    told.append(keep_memory())
    count()
    counted.append(count())
    return {"opted_out": told[0], "kept": told[1], "faults_before": counted[0], "faults_after": counted[1]}


if __name__ == "__main__":
    print(json.dumps({"growth": growth, "faults": faults}[sys.argv[1]]()))
