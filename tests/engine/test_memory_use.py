"""Peak memory is that of a micro-batch whatever the batch, and the allocator keeps its blocks unless told not to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchlimit.engine.allocator import keep_memory

GLIBC = platform.libc_ver()[0] == "glibc" and sys.platform.startswith("linux")


def probe(what: str, tmp_path: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("BATCHLIMIT_KEEP_MEMORY", None)
    script = Path(__file__).with_name("memory_probe.py")
    done = subprocess.run(
        [sys.executable, str(script), what], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to know the peak of one process")
def test_the_memory_of_a_step_does_not_grow_with_the_batch(tmp_path: Path) -> None:
    """From 128 to 8,192 examples: the activations of one pass are 134 MB and more, those of micro-batches are not."""
    grown = probe("growth", tmp_path)
    assert grown["one_pass"] > 100  # the measurement sees memory where it is used
    assert grown["micro"] < 0.1 * grown["one_pass"]


@pytest.mark.skipif(not GLIBC, reason="needs glibc's mallopt")
def test_a_block_that_is_kept_costs_no_page_faults(tmp_path: Path) -> None:
    seen = probe("faults", tmp_path)
    assert (seen["opted_out"], seen["kept"]) == (False, True)
    assert seen["faults_before"] > 50
    assert seen["faults_after"] < 0.1 * seen["faults_before"]


def test_the_allocator_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        keep_memory.cache_clear()
        monkeypatch.setenv("BATCHLIMIT_KEEP_MEMORY", "0")
        assert keep_memory() is False
        keep_memory.cache_clear()
        monkeypatch.delenv("BATCHLIMIT_KEEP_MEMORY")
        monkeypatch.setattr(sys, "platform", "darwin")
        assert keep_memory() is False
    finally:
        keep_memory.cache_clear()
