"""A trial's configuration as TOML to paste: what `batchlimit train --config` reads."""

from __future__ import annotations

import shlex
from typing import Any

from batchlimit.config import TrialConfig


def trial_toml(config: TrialConfig) -> str:
    """Return `config` as a TOML document: top-level keys, then [recipe] and its tables.

    Defaults are left out, save for the keys a reader looks for (solver, lr, seed, protocol). Read back with `tomllib`
    and validated, it equals `config`.
    """
    shown: dict[str, Any] = {
        "workload": config.workload,
        "batch_size": config.batch_size,
        "budget": str(config.budget),
        "seed": config.seed,
        "protocol": config.protocol,
        **config.model_dump(mode="json", exclude_defaults=True),
    }
    recipe = shown.pop("recipe", {})
    shown["recipe"] = {"solver": config.recipe.solver, "lr": config.recipe.lr, **recipe}
    return "\n".join(_table(shown, ())).strip() + "\n"


def train_command(workload: str) -> str:
    """Return the command that trains `workload` with such a document, saved as `trial.toml`."""
    return shlex.join(["batchlimit", "train", workload, "--config", "trial.toml"])


def _table(content: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [] if not path else ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(name)} = {toml_text(value)}" for name, value in content.items() if not isinstance(value, dict)]
    for name, value in content.items():
        if isinstance(value, dict):
            lines += _table(value, (*path, name))
    return lines


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _string(name)


def toml_text(value: Any) -> str:
    """Return a number, truth value, text or list of these as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    return _string(str(value))


def _string(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    written = (
        escapes.get(letter) or (f"\\u{ord(letter):04X}" if ord(letter) < 32 or ord(letter) == 127 else letter)
        for letter in text
    )
    return f'"{"".join(written)}"'
