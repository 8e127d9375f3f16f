"""Writes the reference pages that follow from the code: every registered name, every command, every public module."""

import importlib
import inspect
import pkgutil
import re
import shutil
from pathlib import Path

import typer
import typer.cli
from pydantic.fields import FieldInfo

import batchlimit
from batchlimit.cli.app import app
from batchlimit.cli.list import KINDS, described
from batchlimit.cli.options import RunOptions
from batchlimit.config import Averaging, Frozen, LayerWise, Noise, Recipe, TrialConfig
from batchlimit.durations import Duration
from batchlimit.tuning.question import FindSettings

# What someone who extends or calls batchlimit needs, in the order of reading.
MODULES = (
    "config",
    "durations",
    "records",
    "findings",
    "registry",
    "errors",
    "ledger",
    "data",
    "models",
    "optimizers",
    "schedules",
    "workloads",
    "probes",
    "engine",
    "analysis",
    "tuning",
    "studies",
    "reports",
    "api",
)

RESULTS = """# Measured results

```{toctree}
:glob:
:maxdepth: 1

/results/**
```
"""


def write(docs: Path) -> None:
    """Write all generated pages into `docs`/reference/generated, which is emptied first."""
    folder = docs / "reference" / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "api").mkdir(parents=True)
    (folder / "names.md").write_text(names_page(), encoding="utf-8")
    if any((docs / "results").rglob("*.md")):
        (folder / "results.md").write_text(RESULTS, encoding="utf-8")
    (folder / "settings.md").write_text(settings_page(), encoding="utf-8")
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
    for name in MODULES:
        page = module_page(f"batchlimit.{name}")
        if page:
            (folder / "api" / f"{name}.md").write_text(page, encoding="utf-8")


def names_page() -> str:
    """Return a table of names and descriptions for each registry, as `batchlimit list` shows them."""
    parts = [
        "# Registered names\n\nWhat `batchlimit list` shows. Each name is one file: add one, and it is here too.\n"
    ]
    for kind in KINDS:
        entries = described(kind)
        if entries:
            parts.append(f"\n## {kind.capitalize()}\n\n| name | |\n|---|---|\n")
            parts += [f"| `{name}` | {_plain(text)} |\n" for name, text in entries.items()]
    return "".join(parts)


def settings_page() -> str:
    """Return the fields of everything that config files and KEY=VALUE arguments can set, with their defaults."""
    kinds: tuple[tuple[str, type[Frozen]], ...] = (
        ("What `find` searches", FindSettings),
        ("How a command runs", RunOptions),
        ("A trial (`train`)", TrialConfig),
        ("`[recipe]`", Recipe),
        ("`[recipe.layerwise]`", LayerWise),
        ("`[recipe.noise]`", Noise),
        ("`[recipe.averaging]`", Averaging),
    )
    parts = [
        "# Settings\n\nA TOML file given with `--config`, then flags, then `KEY=VALUE` arguments set the same things; ",
        "where they differ, the last of these wins. Nested names are written with dots: `recipe.lr=0.4`.\n",
    ]
    for title, model in kinds:
        doc = inspect.getdoc(model) or ""
        parts.append(f"\n## {title}\n\n{_plain(doc)}\n\n| name | type | default |\n|---|---|---|\n")
        parts += [_setting(name, field) for name, field in model.model_fields.items()]
    return "".join(parts)


def _setting(name: str, field: FieldInfo) -> str:
    kind = inspect.formatannotation(field.annotation)
    if "BeforeValidator" in kind:
        kind = "Duration | None"
    kind = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", kind).replace("|", "\\|")
    default = "required" if field.is_required() else f"`{_literal(field.get_default(call_default_factory=True))}`"
    return f"| `{name}` | `{kind}` | {default} |\n"


def _literal(value: object) -> str:
    if isinstance(value, Frozen):
        return value.canonical()
    return str(value) if isinstance(value, Duration) else repr(value)


def commands_page() -> str:
    """Return the help of every command, as Markdown."""
    command = typer.main.get_command(app)
    text = typer.cli.get_docs_for_click(obj=command, ctx=typer.Context(command), name="batchlimit", title="Commands")
    # Help is written for the terminal: its markup becomes Markdown, and its indented examples are code as they stand.
    text = re.sub(r"^    .*$", lambda line: re.sub(r"\[/?cyan\]", "", line[0]), text, flags=re.MULTILINE)
    text = text.replace("[bold]", "**").replace("[/bold]", "**")
    text = text.replace("[cyan]", "`").replace("[/cyan]", "`")
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", text, count=1)
    return re.sub(r"\n{3,}", "\n\n", text)


def module_page(name: str) -> str:
    """Return the page of a module, or of a package with its public modules; '' where there is nothing to document."""
    module = importlib.import_module(name)
    members = [name]
    if hasattr(module, "__path__"):
        members += sorted(
            found.name
            for found in pkgutil.walk_packages(module.__path__, f"{name}.")
            if not any(part.startswith("_") for part in found.name.split("."))
        )
    if members == [name] and hasattr(module, "__path__") and not _defines_something(module):
        return ""
    sections = []
    for member in members:
        heading = f"{'#' if member == name else '##'} {member}"
        sections.append(
            f"{heading}\n\n```{{eval-rst}}\n.. automodule:: {member}\n   :members:\n   :ignore-module-all:\n```\n"
        )
    return "\n".join(sections)


def _defines_something(module) -> bool:
    return any(
        getattr(value, "__module__", "") == module.__name__ for key, value in vars(module).items() if key[0] != "_"
    )


def _plain(text: str) -> str:
    """Return plain text as Markdown; what stands between backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([|*_<\[])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


if __name__ == "__main__":
    write(Path(__file__).parent)
    print(f"batchlimit {batchlimit.__version__}: reference pages written")
