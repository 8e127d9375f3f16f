"""What a search asks for at a time."""

from __future__ import annotations

from dataclasses import dataclass

from batchlimit.config import TrialConfig


@dataclass(frozen=True)
class Batch:
    """Trials that a search wants run, in any order, before it goes on; their records come back in this order.

    `purpose` says in a few words what they are for ('baseline', 'tune lars at 4096'). `expected_left` is how many
    trials the search expects to ask for after these (None: it cannot say). `advice` is what to say where the code that
    one of them runs raises an error.
    """

    trials: tuple[TrialConfig, ...]
    purpose: str = ""
    expected_left: int | None = None
    advice: str = ""
