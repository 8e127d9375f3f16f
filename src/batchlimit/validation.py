"""A value that cannot be, in one line: which key, from where, what is wrong, what is valid."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from batchlimit.errors import InputError, hint_of

_PHRASES = {
    "missing": "is missing",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "model_type": "must be a table of keys",
    "model_attributes_type": "must be a table of keys",
    "dict_type": "must be a table of keys",
    "string_type": "must be text",
    "scalar": "must be a number, text, or true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "needs at least {min_length} entries",
    "empty": "must not be empty",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
}
_SHOWN = 3
_FINITE = ConfigDict(allow_inf_nan=False)
_PLAIN = {bool, int, float, str, type(None)}


def _unknown_origin(path: tuple[str, ...]) -> None:
    """Return that nothing is known of where the value at `path` came from."""


def explain(
    error: ValidationError,
    model: type[BaseModel],
    data: Mapping[str, Any],
    *,
    origin: Callable[[tuple[str, ...]], str | None] = _unknown_origin,
    also: Iterable[str] = (),
    prefix: tuple[str, ...] = (),
) -> str:
    """Return one line for `error`, raised by validating `data` as `model`.

    `prefix` is where `data` stands in the user's settings; `origin` says where a value came from (None: nowhere the
    user would know); `also` are further top-level keys that are valid beside the model's. At most three problems are
    told, unknown keys first.
    """
    # Of what each member of a union says, that a number is not finite says most.
    first = ("extra_forbidden", "finite_number")
    problems = sorted(error.errors(include_url=False), key=lambda problem: [problem["type"] != kind for kind in first])
    paths = [_real_path(problem["loc"], data, missing=problem["type"] == "missing") for problem in problems]
    told: dict[str, str] = {}
    for problem, path in zip(problems, paths, strict=True):
        name = _dotted((*prefix, *path))
        if name not in told:
            same = {other["type"] for other, its in zip(problems, paths, strict=True) if its == path}
            if {"bool_type", "string_type"} <= same and "finite_number" not in same:
                problem = {**problem, "type": "scalar"}
            told[name] = _tell(problem, path, prefix, model, origin((*prefix, *map(str, path))), also)
    lines = list(told.values())
    rest = len(lines) - _SHOWN
    return "; ".join(_each_valid_once(lines[:_SHOWN])) + (f"; and {rest} more." if rest > 0 else ".")


def _each_valid_once(lines: list[str]) -> list[str]:
    """Return the lines without full stops, and what is valid in the last of those alone that say the same of it."""
    parts = [line.rstrip(".").partition(" Valid") for line in lines]
    later = [{valid for _, _, valid in parts[place + 1 :]} for place in range(len(parts))]
    return [
        said.rstrip(".") if valid in after else said + word + valid
        for (said, word, valid), after in zip(parts, later, strict=True)
    ]


def user_path(given: str | Path) -> Path:
    """Return the path that the user gave, with '~' read as a home folder.

    Raises:
        InputError: there is no such home folder.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        home = Path(given).parts[0]
        raise InputError(f"The path '{given}': there is no home folder '{home}'. Valid: a path that is.") from None


def check_options(owner: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check that options are of the kinds that `function` declares: Python takes the text 'False' for true.

    `owner` is what has them ("the solver 'lars'"). Kinds other than numbers, text, and true or false are not looked at.

    Raises:
        InputError: a value is of another kind, or not finite.
    """
    try:
        kinds = get_type_hints(function)
    except (NameError, TypeError):  # of another package, with names that are there for a type checker only
        return
    for name, value in options.items():
        kind: Any = kinds.get(name)
        if get_origin(kind) is not Literal and not set(get_args(kind) or (kind,)) <= _PLAIN:
            continue
        try:
            TypeAdapter(kind, config=_FINITE).validate_python(value, strict=True)
        except ValidationError as error:
            said = " or ".join(dict.fromkeys(_phrase(problem) for problem in error.errors(include_url=False)))
            raise InputError(f"The option '{name}' of {owner} is {value!r}: {said}.") from None


def _phrase(problem: Any) -> str:
    context = problem.get("ctx", {})
    kind = "empty" if "too_short" in problem["type"] and context.get("min_length") == 1 else problem["type"]
    limits = {key: f"{limit:g}" if isinstance(limit, float) else limit for key, limit in context.items()}
    phrase = _PHRASES.get(kind)
    return phrase.format(**limits) if phrase else str(problem["msg"]).rstrip(".")


def _tell(
    problem: Any,
    path: tuple[str | int, ...],
    prefix: tuple[str, ...],
    model: type[BaseModel],
    origin: str | None,
    also: Iterable[str],
) -> str:
    name = _dotted((*prefix, *path))
    where = f" (from {origin})" if origin else ""
    if problem["type"] == "extra_forbidden":
        valid = sorted({*fields_at(model, path[:-1]), *(also if len(path) == 1 else ())})
        near = _nearest(path, valid, model)
        hint = f" Did you mean '{_dotted((*prefix, *near))}'?" if near else ""
        table = _dotted((*prefix, *path[:-1]))
        return f"Unknown key '{name}'{where}.{hint} Valid{f' in [{table}]' if table else ''}: {', '.join(valid)}."
    if problem["type"] == "missing":
        return f"'{name}' is missing."
    context = problem.get("ctx", {})
    if isinstance(context.get("error"), ValueError):
        return f"{name}{where}: {context['error']}" if name else str(context["error"])
    value = problem["input"]
    shown = (
        f" = {str(value).lower() if isinstance(value, bool) else repr(value)}"
        if isinstance(value, bool | int | float | str)
        else ""
    )
    if problem["type"] == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return f"{name}{shown}{where} is not valid.{hint_of(str(value), valid)} Valid: {', '.join(valid)}."
    return f"{name}{shown}{where}: {_phrase(problem)}."


def fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Return the keys valid in the table at `path` of `model`, places in a list included; none where any will do."""
    at: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        field = at.model_fields.get(part) if at else None
        at = _table(field.annotation) if field else None
    return list(at.model_fields) if at else []


def _table(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple, list):
        return next((found for part in get_args(annotation) if (found := _table(part))), None)
    return None


def _nearest(path: tuple[str | int, ...], valid: list[str], model: type[BaseModel]) -> tuple[str | int, ...] | None:
    above, last = path[:-1], str(path[-1])
    # A key written one table too high, as 'lr' for 'recipe.lr'.
    for name in valid if not above else []:
        if last in fields_at(model, (name,)):
            return (name, last)
    close = difflib.get_close_matches(last, valid, n=1, cutoff=0.5)
    return (*above, close[0]) if close else None


def _real_path(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> tuple[str | int, ...]:
    """Return the part of pydantic's location that exists in the data: it adds the names of union members."""
    path: list[str | int] = []
    for part in loc:
        known = isinstance(data, dict) and part in data
        if known or (isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)):
            data = data[part]
        else:
            return (*path, part) if missing else tuple(path)
        path.append(part)
    return tuple(path)


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
