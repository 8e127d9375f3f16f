"""How many examples one pass holds: measured once for a model on a machine, then remembered.

Small micro-batches keep activations in cache and memory flat; large ones amortize launches. Which wins is the
machine's to say, so `choose` times a few passes of each candidate, in turn, and keeps the smallest within 2 % of the
fastest.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import batchlimit
from batchlimit.config import Recipe
from batchlimit.data.splits import Split
from batchlimit.engine.layout import Layout
from batchlimit.engine.model import model_of
from batchlimit.engine.step import GradientAccumulator, out_of_memory
from batchlimit.errors import InputError
from batchlimit.workloads.workload import Workload

CPU_CANDIDATES = (64, 128, 256, 512, 1024)
ACCELERATOR_CANDIDATES = (256, 512, 1024, 2048, 4096, 8192)
_CLOSE_TO_BEST = 1.02
_ROUNDS, _SECONDS_A_ROUND = 3, 0.05


def granularity(model: nn.Module, batch_size: int) -> int:
    """Return the number of which a micro-batch must be a multiple for `model` at `batch_size`.

    1 without batch norm, the ghost batch size with ghost batch norm, the whole batch with plain batch norm, whose
    statistics are over everything that one pass holds.

    Raises:
        InputError: the ghost batch size does not divide the batch size.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    sizes = {getattr(module, "ghost_batch_size", None) for module in norms}
    if None in sizes:
        return batch_size
    ghosts = [size for size in sizes if size is not None]
    for size in ghosts:
        if batch_size % size:
            valid = [str(d) for d in range(1, min(batch_size, 4096) + 1) if batch_size % d == 0]
            raise InputError(
                f"ghost_batch_size {size} does not divide batch_size {batch_size}. Valid: {', '.join(valid)}."
            )
    return math.lcm(*ghosts)


def choose(
    model: nn.Module,
    workload: Workload,
    recipe: Recipe,
    split: Split,
    layout: Layout,
    *,
    batch_size: int,
    device: torch.device,
    requested: int | None,
) -> int:
    """Return the micro-batch size for training `model`: the `requested` one, else the measured and remembered one.

    Raises:
        InputError: the requested size does not fit the model's batch norm.
    """
    unit = granularity(model, batch_size)
    if requested is not None:
        if min(requested, batch_size) % unit:
            raise InputError(f"microbatch_size {requested} is not a multiple of the batch norm's {unit} examples.")
        return min(requested, batch_size)
    candidates = CPU_CANDIDATES if device.type == "cpu" else ACCELERATOR_CANDIDATES
    if unit == batch_size or batch_size <= candidates[0]:
        return batch_size
    key = _key(model, workload, recipe, device)
    best = _remembered(key)
    if best is None:
        sizes = [math.ceil(candidate / unit) * unit for candidate in candidates]
        best = _measure(workload, recipe, split, layout, device, sizes)
        _remember(key, best)
    return min(batch_size, max(unit, best // unit * unit))


def _measure(
    workload: Workload,
    recipe: Recipe,
    split: Split,
    layout: Layout,
    device: torch.device,
    candidates: Sequence[int],
) -> int:
    seconds: dict[int, float] = {}
    left = [size for size in candidates if size <= len(split)]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Made anew, since a model may hold what cannot be copied; its weights' values do not matter here.
        twin = model_of(workload, recipe).to(device=device).train()
        twin.to(memory_format=layout.memory_format)  # type: ignore[call-overload]
        # Round by round, so that what disturbs the machine for a while disturbs all candidates alike.
        for _ in range(_ROUNDS):
            for size in left:
                accumulate = GradientAccumulator(
                    twin, workload, recipe, split, layout, device=device, microbatch_size=size, seed=0, smallest=size
                )
                try:
                    found = _seconds_an_example(accumulate, torch.arange(size, device=device))
                except (RuntimeError, MemoryError, InputError) as error:
                    if not isinstance(error, InputError) and not out_of_memory(error):
                        raise
                    left = [smaller for smaller in left if smaller < size]
                    break
                seconds[size] = min(found, seconds.get(size, found))
    if not left:
        return candidates[0]
    fastest = min(seconds[size] for size in left)
    return min(size for size in left if seconds[size] <= fastest * _CLOSE_TO_BEST)


def _seconds_an_example(accumulate: GradientAccumulator, indices: Tensor) -> float:
    """Return the seconds an example of the fastest pass over `indices`, after a first one that does not count."""
    accumulate(0, indices)
    _finish(accumulate.device)
    best, spent = float("inf"), 0.0
    while spent < _SECONDS_A_ROUND:
        before = time.perf_counter()
        accumulate(0, indices)
        _finish(accumulate.device)
        taken = time.perf_counter() - before
        best, spent = min(best, taken), spent + taken
    return best / len(indices)


def _finish(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _key(model: nn.Module, workload: Workload, recipe: Recipe, device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    parts = (workload.name, type(model).__name__, parameters, recipe.precision, recipe.ghost_batch_size, recipe.dropout)
    versions = torch.__version__, batchlimit.__version__
    return "|".join(map(str, (*parts, name, torch.get_num_threads(), *versions)))


def _store() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "batchlimit" / "microbatch.json"


def _load() -> dict[str, int]:
    try:
        known = json.loads(_store().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remembered(key: str) -> int | None:
    value = _load().get(key)
    return value if isinstance(value, int) and value > 0 else None


def _remember(key: str, value: int) -> None:
    """Write the choice beside the others in one atomic replace; a cache that cannot be written is no error."""
    store = _store()
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False)  # noqa: SIM115 (closed below)
    except OSError:
        return
    try:
        with file:
            json.dump({**_load(), key: value}, file, indent=1, sort_keys=True)
        os.replace(file.name, store)
    except OSError:
        Path(file.name).unlink(missing_ok=True)
