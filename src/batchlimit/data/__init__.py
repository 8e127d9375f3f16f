"""Data sets: finding, fetching, verifying; one registered file each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from batchlimit.data.splits import DataSet
from batchlimit.registry import Registry


class Source(Protocol):
    """A data set by name: where it is on this machine, how to get it, and its examples."""

    def load(self) -> DataSet:
        """Return the examples, fetched first if they are not on this machine; raises InputError where that fails."""
        ...

    def find(self) -> tuple[str, bool] | None:
        """Return where the set is here and whether its contents are the known ones, or None; never fetches."""
        ...

    def fetch(self) -> Path | None:
        """Get the set unless it is there, and return its folder; None for a set that needs no file."""
        ...


class Status(NamedTuple):
    """Where a data set is on this machine (None: nowhere), and whether its contents are the known ones."""

    name: str
    where: str | None
    verified: bool


datasets: Registry[Source] = Registry("data set", "batchlimit.data")


def status() -> list[Status]:
    """Return, for every registered data set, where it was found; nothing is fetched."""
    return [Status(name, *(datasets.get(name).find() or (None, False))) for name in datasets]


def fetch(name: str) -> Path | None:
    """Get the data set `name` unless it is on this machine, and return its folder (None: it needs no file).

    Raises:
        InputError: no such data set, or no mirror could be reached.
    """
    return datasets.get(name).fetch()
