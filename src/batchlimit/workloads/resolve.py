"""From what a user types to a workload: a registered name, 'module:attribute' or 'path.py:attribute'."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from batchlimit.errors import InputError
from batchlimit.importing import import_file, import_module
from batchlimit.workloads import workloads
from batchlimit.workloads.workload import Workload


def resolve(text: str) -> Workload:
    """Return the workload that `text` names: 'digits', 'my_module:my_workload' or 'folder/file.py:my_workload'.

    The attribute is a `Workload` or a function without arguments that returns one; modules are looked for in the
    current folder too. Its name in records is the workload's own.

    Raises:
        InputError: no such workload, module, file or attribute, or it is not a workload, or it failed when imported.
    """
    return _resolve(text, str(Path.cwd()))


@lru_cache(maxsize=64)
def _resolve(text: str, folder: str) -> Workload:
    """Resolve `text` as seen from `folder`, once a process: a worker that runs many trials loads the data once."""
    where, colon, attribute = text.rpartition(":")
    if not colon:
        if text.endswith(".py"):
            raise InputError(f"'{text}' names a file but no workload in it. Valid: '{text}:my_workload'.")
        return workloads.get(text)()
    if not where or not attribute:
        raise InputError(
            f"Cannot read the workload '{text}'. Valid: a name, 'module:attribute' or 'path.py:attribute'."
        )
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    if not hasattr(module, attribute):
        raise InputError(f"'{where}' has no '{attribute}'. {_valid(module)}")
    return _as_workload(getattr(module, attribute), text)


def _as_workload(found: Any, text: str) -> Workload:
    if isinstance(found, Workload):
        return found
    if callable(found) and not isinstance(found, type):
        try:
            found = found()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"'{text}' failed when called: {_one_line(error)}.") from error
        if isinstance(found, Workload):
            return found
        raise InputError(f"'{text}' returned {_a(found)}, not a batchlimit.Workload.")
    raise InputError(f"'{text}' is {_a(found)}, not a batchlimit.Workload or a function that returns one.")


def _import_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"There is no module '{error.name}'. Valid: 'module:attribute' or 'path.py:attribute'."
            ) from error
        raise InputError(f"Cannot import '{name}': {_one_line(error)}.") from error
    except Exception as error:
        raise InputError(f"Cannot import '{name}': {_one_line(error)}.") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"There is no file '{path}'. Valid: 'module:attribute' or 'path.py:attribute'.")
    try:
        return import_file(path)
    except Exception as error:
        raise InputError(f"Cannot import '{path}': {_one_line(error)}.") from error


def _valid(module: ModuleType) -> str:
    """Return which names in `module` are workloads or may return one; nothing is called."""
    known = sorted(name for name, value in vars(module).items() if _is_or_says_so(value))
    public = (name for name in vars(module) if not name.startswith("_") and name not in known)
    perhaps = sorted(name for name in public if _may_return_one(vars(module)[name], module))
    if not known and not perhaps:
        return "It defines no workload at all."
    if not perhaps:
        return f"Valid: {', '.join(known)}."
    also = f"{', '.join(known)}; and" if known else "of these"
    return f"Valid: {also}, if they return a workload, {', '.join(perhaps)}."


def _is_or_says_so(value: Any) -> bool:
    """Return whether something is a workload or a function annotated to return one."""
    if isinstance(value, (Workload, type)) or not callable(value):
        return isinstance(value, Workload)
    says = getattr(value, "__annotations__", {}).get("return")
    return says is Workload or (isinstance(says, str) and says.split(".")[-1] == "Workload")


def _may_return_one(value: Any, module: ModuleType) -> bool:
    """Return whether something is a function of `module` that needs no arguments and does not say what it returns."""
    if not inspect.isfunction(value) or value.__module__ != module.__name__ or "return" in value.__annotations__:
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(value).parameters.values()
    return all(parameter.default is not parameter.empty or parameter.kind in optional for parameter in parameters)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _a(thing: Any) -> str:
    return f"a {type(thing).__name__}" if not isinstance(thing, type) else f"the class {thing.__name__}"
