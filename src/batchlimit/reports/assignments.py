"""Settings as the `key=value` words of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchlimit.reports.recipe_toml import toml_text

_BARE = re.compile(r"[A-Za-z]([A-Za-z0-9_ .%-]*[A-Za-z0-9_%])?")


def assignments(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return nested settings as words like 'recipe.precision=bf16' that `batchlimit` reads back to the same.

    Keys of tables are joined by dots; texts stand bare where they cannot be read as anything else.
    """
    words = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            words += assignments(value, f"{key}.")
        else:
            words.append(f"{key}={_word(value)}")
    return words


def _word(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in ("true", "false", "inf", "nan"):
        return value
    return toml_text(value)
