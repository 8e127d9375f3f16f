"""Settings laid over each other (defaults, file, flags, key=value), each value remembering where it came from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from batchlimit.config import Frozen
from batchlimit.errors import InputError
from batchlimit.validation import explain

M = TypeVar("M", bound=BaseModel)
Keys = tuple[str, ...]
# Tables of a recipe that mean something to one solver or schedule only, and what another one starts from.
OPTIONS: tuple[tuple[str, str, Any], ...] = (
    ("solver", "solver_options", {}),
    ("solver", "layerwise", None),
    ("schedule", "schedule_options", {}),
)
# Tables of a recipe that mean the same to all: given in part, they change the fields that they name.
TABLES = ("noise", "averaging")


class Layers:
    """Nested settings with the origin of every value; what is put later wins.

    Tables merge key by key; `put` of a whole table replaces it. `aliases` are top-level keys that stand for others.
    """

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._aliases = dict(aliases or {})
        self.data: dict[str, Any] = {}
        self._origins: dict[Keys, str] = {}
        self._texts: dict[Keys, str] = {}

    def put(self, key: str, value: Any, origin: str, *, text: str | None = None) -> None:
        """Set the dotted `key`; `text` is what the user typed, kept for fields that take text.

        Raises:
            InputError: a part of the key is empty, or lies below a value that is no table.
        """
        typed = tuple(key.split("."))
        if not all(typed):
            raise InputError(f"The key '{key}' (from {origin}) has an empty part. Valid: 'recipe.lr=0.2'.")
        path = (self._aliases.get(typed[0], typed[0]), *typed[1:])
        place = self.data
        for depth, part in enumerate(path[:-1], start=1):
            below = place.setdefault(part, {})
            if not isinstance(below, dict):
                raise InputError(f"'{'.'.join(typed[:depth])}' is a value, so '{key}' (from {origin}) cannot be set.")
            place = below
        place[path[-1]] = value
        for known in [known for known in self._origins if known[: len(path)] == path]:
            del self._origins[known]
            self._texts.pop(known, None)
        self._origins[path] = origin
        if text is not None:
            self._texts[path] = text

    def put_file(self, location: Path) -> None:
        """Lay the keys of a TOML file over what is there; its tables replace tables of the same name.

        Raises:
            InputError: the file cannot be read or is not TOML.
        """
        try:
            table = tomllib.loads(location.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"Cannot read the config file '{location}': {error.strerror or error}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"The config file '{location}' is not TOML: {error}.") from None
        for name, value in table.items():
            key = self._aliases.get(name, name)
            if key != name and key in table:
                raise InputError(
                    f"'{location}' has both '{name}' and '{key}', which are one setting. Valid: one of them."
                )
            self.data[key] = value
            self._origins[(key,)] = location.name

    def put_overrides(self, overrides: Iterable[str]) -> None:
        """Lay `key=value` arguments over what is there; values are TOML, and bare text where they are not.

        Raises:
            InputError: an argument without '=' or with an empty key.
        """
        for override in overrides:
            key, equals, text = override.partition("=")
            if not equals or not key.strip():
                raise InputError(f"Cannot read '{override}'. Valid: key=value, as 'recipe.lr=0.2' or 'seeds=7'.")
            self.put(key.strip(), toml_value(text.strip()), f"'{override}'", text=text.strip())

    def put_flags(self, flags: dict[str, tuple[str, Any]]) -> None:
        """Lay the flags that were given (not None) over what is there: {key: (flag, value)}."""
        for key, (flag, value) in flags.items():
            if value is not None:
                self.put(key, value, flag, text=str(value))

    def origin(self, path: Keys) -> str | None:
        """Return where the value at `path`, or the table it stands in, came from; None for a default."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return None

    def given(self, key: str) -> bool:
        """Return whether the user gave the dotted `key` or something in it."""
        path = tuple(key.split("."))
        return self.origin(path) is not None or any(known[: len(path)] == path for known in self._origins)

    def whole(self, key: str) -> bool:
        """Return whether a file gave the top-level `key`, not only parts of it."""
        return (key,) in self._origins

    def underlay(self, defaults: dict[str, Any]) -> None:
        """Put `defaults` below what is there, table by table; tables given whole by a file stay as they are."""
        for key, value in defaults.items():
            here = self.data.get(key)
            if key not in self.data:
                self.data[key] = value
            elif isinstance(value, dict) and isinstance(here, dict) and not self.whole(key):
                self.data[key] = _merged(value, here)

    def take(self, keys: Iterable[str]) -> Layers:
        """Move the top-level `keys` out into settings of their own and return these."""
        wanted = set(keys)
        taken = Layers()
        for name in wanted & set(self.data):
            taken.data[name] = self.data.pop(name)
        for path in [path for path in self._origins if path[0] in wanted]:
            taken._origins[path] = self._origins.pop(path)
            if path in self._texts:
                taken._texts[path] = self._texts.pop(path)
        return taken

    def build(self, model: type[M], *, also: Iterable[str] = ()) -> M:
        """Return the settings as a validated `model`; `also` are further top-level keys to name as valid.

        Raises:
            InputError: a key or value that the model does not take: which, from where, what is wrong, what is valid.
        """
        try:
            built = model.model_validate(self.data)
        except ValidationError as error:
            if self._as_text(error):
                return self.build(model, also=also)
            raise InputError(explain(error, model, self.data, origin=self.origin, also=also)) from None
        self._refuse_truths(self.data, built)
        return built

    def check_changes(self, key: str, base: Frozen, *, also: Iterable[str] = ()) -> None:
        """Check that the table `key` holds changes that `base` takes; `also` are further keys valid in it.

        Raises:
            InputError: as `build`.
        """
        changes = {name: value for name, value in self.data.get(key, {}).items() if name not in also}
        nested = Layers()
        for name, value in changes.items():
            nested.put(name, value, "")
        try:
            changed = base.updated(changes)
        except ValidationError as error:
            data = base.merged(changes)  # what was validated
            raise InputError(explain(error, type(base), data, origin=self.origin, also=also, prefix=(key,))) from None
        self._refuse_truths(nested.data, changed, (key,))

    def _refuse_truths(self, given: dict[str, Any], taken: BaseModel, prefix: Keys = ()) -> None:
        """Refuse true and false where a number is wanted: pydantic takes them for 1 and 0."""
        for path, value in _truths(given, taken, prefix):
            origin = self.origin(path)
            where = f" (from {origin})" if origin else ""
            raise InputError(f"{'.'.join(path)} = {str(value).lower()}{where}: must be a number, not true or false.")

    def _as_text(self, error: ValidationError) -> bool:
        """Put the text the user typed where text is wanted and a number was read; return whether anything changed."""
        changed = False
        for problem in error.errors(include_url=False):
            if problem["type"] != "string_type" or not isinstance(problem["input"], (int, float)):
                continue
            path = tuple(str(part) for part in problem["loc"])
            place: Any = self.data
            for part in path[:-1]:
                place = place.get(part) if isinstance(place, dict) else None
            if isinstance(place, dict) and isinstance(place.get(path[-1]), (int, float)):
                place[path[-1]] = self._texts.get(path, str(problem["input"]))
                changed = True
        return changed


def own_options(layers: Layers, key: str) -> None:
    """Turn the table `key` into changes of a recipe: single options change, but those of another solver are dropped.

    Nested options become dotted names, as `Frozen.updated` takes them.
    """
    changes = layers.data.get(key)
    if not isinstance(changes, dict):
        return
    for owner, name, empty in OPTIONS:
        given = changes.get(name)
        if owner in changes:
            changes.setdefault(name, empty)
        elif isinstance(given, dict):
            changes |= {f"{name}.{option}": value for option, value in changes.pop(name).items()}
    for name in TABLES:
        # An empty table is all defaults, which no dotted name says.
        if isinstance(changes.get(name), dict) and changes[name]:
            changes |= {f"{name}.{field}": value for field, value in changes.pop(name).items()}


def _truths(given: Any, taken: Any, path: Keys) -> Iterator[tuple[Keys, bool]]:
    """Yield each true or false of `given` of which a number was made in `taken`, and where it stands."""
    if isinstance(given, bool):
        if isinstance(taken, (int, float)) and not isinstance(taken, bool):
            yield path, given
    elif isinstance(given, dict):
        for key, value in given.items():
            below = taken.get(key) if isinstance(taken, dict) else getattr(taken, key, None)
            yield from _truths(value, below, (*path, key))
    elif isinstance(given, (list, tuple)) and isinstance(taken, (list, tuple)):
        for value, made in zip(given, taken, strict=False):
            yield from _truths(value, made, path)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def toml_value(text: str) -> Any:
    """Return `text` read as one TOML value (number, true, 'text', [1, 2], {a = 1}), or itself where it is none."""
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = read.get("value")
    plain = isinstance(value, (bool, int, float, str, list, dict))
    return value if plain and set(read) == {"value"} else text
