"""Makes the float64 twins in tests/references, and the small trainings of tests/engine, importable from every test."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("references", "engine")]

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On a GPU numbers are not the same each time, so that on a machine with one, too, all but the tests for it train on the
# CPU; these ask for it by the variable. (torch looks when it is first asked for a GPU.)
if not os.environ.get("BATCHLIMIT_TEST_CUDA"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
