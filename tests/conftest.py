"""Makes the float64 twins in tests/references importable by name from every test."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "references"))
