"""One file, one decorated function, one name: how solvers, schedules, models, data sets and workloads are found."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from batchlimit.errors import InputError, unknown_name

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, filled by the modules of one package when first asked.

    Adding a thing is adding one file to the package (or an entry point in the group `batchlimit.<kind>s`, a blank being
    an underscore, of another distribution) whose function is decorated with `@registry.register("name")`. Nothing else
    has to know of it. An entry point's module is loaded, and no more: the name is the one that the module registers.
    An entry point that cannot be loaded, or registers nothing, is left out with a warning, and is an error where its
    name is asked for.

    `kind` is the singular noun used in messages; `package` is imported, every module of it, at the first look-up.
    """

    def __init__(self, kind: str, package: str, *, plural: str | None = None) -> None:
        self.kind = kind
        self._plural = plural or f"{kind.replace(' ', '_')}s"
        self._package = package
        self._entries: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._warned = False
        self._complete = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates as `name`.

        Raises:
            ValueError: the name is taken by something else.
        """

        def decorate(entry: T) -> T:
            if self._entries.get(name, entry) is not entry:
                raise ValueError(f"The {self.kind} '{name}' is registered twice.")
            self._entries[name] = entry
            return entry

        return decorate

    def get(self, name: str) -> T:
        """Return what is registered as `name`.

        Raises:
            InputError: no such name; the message gives the nearest and all valid ones. Or the name is that of an entry
                point that cannot be loaded.
        """
        self._fill()
        if name in self._broken and name not in self._entries:
            raise InputError(f"{self._broken[name]}.")
        self._warn()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        self._fill()
        self._warn()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries

    def _fill(self) -> None:
        if self._complete:
            return
        self._complete = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            for point in entry_points(group=f"batchlimit.{self._plural}"):
                self._load(point)
        except BaseException:
            self._complete = False
            raise

    def _load(self, point: EntryPoint) -> None:
        """Load what another distribution adds; where that fails, all else still works."""
        before = len(self._entries)
        try:
            point.load()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        else:
            # A module loaded before, for another entry point say, registered what it has then.
            if len(self._entries) > before or any(_is_from(point.module, entry) for entry in self._entries.values()):
                return
            reason = f"its module '{point.module}' registers no {self.kind}"
        package = point.dist.name if point.dist else "unknown"
        self._broken[point.name] = (
            f"The {self.kind} '{point.name}' of the package '{package}' cannot be loaded: {reason}"
        )

    def _warn(self) -> None:
        """Say once, in one line, what was left out."""
        if self._broken and not self._warned:
            self._warned = True
            log.warning("batchlimit: %s; it is left out.", "; ".join(self._broken.values()))


def _is_from(module: str, entry: object) -> bool:
    """Return whether `entry` was made in `module`, or in a module within it."""
    made = getattr(entry, "__module__", None) or type(entry).__module__
    return made == module or made.startswith(f"{module}.")
