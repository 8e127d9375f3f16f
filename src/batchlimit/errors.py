"""The errors that a user can cause and mend."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """Something the user gave is wrong: the message is one line that says what, where, and the valid choices.

    The command line prints the message alone and exits with 2; from Python it is an ordinary `ValueError`.
    """


class TrialError(RuntimeError):
    """A trial raised an error that is no divergence: a fault in the code that it ran; its note is the traceback."""


class LedgerError(RuntimeError):
    """A ledger refused what was to be written: its disk is full or its server gone. What it holds is kept."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> InputError:
    """Return the error for a name that is not registered, with the nearest valid one first.

    `kind` is the singular noun the user knows ("solver", "workload"); `valid` are all names that would do.
    """
    choices = sorted(valid)
    return InputError(f"Unknown {kind} {name!r}.{hint_of(name, choices)} Valid: {', '.join(choices) or 'none'}.")


def hint_of(name: str, valid: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Return ' Did you mean 'lars'?' where a valid name is near `name`, else ''; `cutoff` is how near, of 1."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


def in_one_line(error: BaseException) -> str:
    """Return an error's kind and text, and where it was raised in code that is neither ours nor a library's."""
    text = " ".join(str(error).split()).rstrip(".")
    place = place_of(error)
    return ": ".join(filter(None, (type(error).__name__, text))) + (f" ({place})" if place else "")


def place_of(error: BaseException) -> str:
    """Return 'file.py, line 7' where the user's own code raised an error, '' where ours or a library called by it did.

    A library called by the user's code counts as the user's code.
    """
    ours, libraries = str(Path(__file__).parent), (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(ours):
            return ""
        if not frame.filename.startswith(libraries) and "-packages" not in frame.filename:
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return ""
