"""Help texts out of docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def teach(command: Callable[..., Any]) -> str:
    """Return a command's docstring as help text: lines of a paragraph joined, indented lines (examples) kept."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if text.startswith("    ") else " ".join(text.split("\n")) for text in paragraphs)
