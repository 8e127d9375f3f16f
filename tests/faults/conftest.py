"""Makes the made-up training of tests/tuning and the small models of tests/engine importable here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tuning"))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
