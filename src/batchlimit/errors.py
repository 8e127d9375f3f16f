"""The errors that a user can cause and mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong: the message is one line that says what, where, and the valid choices.

    The command line prints the message alone and exits with 2; from Python it is an ordinary `ValueError`.
    """


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> InputError:
    """Return the error for a name that is not registered, with the nearest valid one first.

    `kind` is the singular noun the user knows ("solver", "workload"); `valid` are all names that would do.
    """
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return InputError(f"Unknown {kind} {name!r}.{hint} Valid: {', '.join(choices) or 'none'}.")
