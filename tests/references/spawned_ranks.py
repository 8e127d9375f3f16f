"""Starts processes that join as the ranks of one training over gloo, and brings back what each computed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Work = Callable[[int, int], dict[str, Any]]
_LONGEST_S = 60.0


def run_ranks(work: Work, world: int, folder: Path) -> list[dict[str, Any]]:
    """Return what `work(rank, world)` returned in each of `world` processes; `work` is a module's function."""
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    # Forked from a server that has imported torch, and nothing else: quick, and safe beside threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed"])
    processes = [context.Process(target=_rank, args=(work, rank, world, folder)) for rank in range(world)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + _LONGEST_S
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in processes]
        assert codes == [0] * world, f"exit codes of the ranks: {codes}"
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(world)]


def _rank(work: Work, rank: int, world: int, folder: Path) -> None:
    from batchlimit.engine.distributed import joined

    torch.set_num_threads(1)
    with joined(torch.device("cpu"), init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world):
        torch.save(work(rank, world), folder / f"rank-{rank}.pt")
