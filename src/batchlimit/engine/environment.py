"""Which software and hardware a trial ran on."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from pathlib import Path

import numpy
import torch

import batchlimit

Facts = dict[str, str | int | float | None]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Return the commit that batchlimit is run from, with '+' where files differ from it; None outside a checkout."""
    home = Path(batchlimit.__file__).parents[2]
    if not (home / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", home, *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def _fixed() -> Facts:
    return {
        "batchlimit": batchlimit.__version__,
        **({"commit": commit} if (commit := _commit()) is not None else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def describe(device: torch.device, **details: str | int | float | None) -> Facts:
    """Return the versions, the processor, the accelerator and `details` (micro-batch size, ...) as plain values."""
    facts: Facts = {**_fixed(), "device": str(device), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return {**facts, **details}
