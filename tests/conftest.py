"""Makes the float64 twins in tests/references, and the small trainings of tests/engine, importable from every test."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("references", "engine")]
