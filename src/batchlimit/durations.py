"""Lengths of training in any unit (steps, epochs, examples, a fraction of the whole) and their conversion to steps."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from batchlimit.errors import InputError

Unit = Literal["steps", "epochs", "examples", "fraction"]
_FORM = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(%|[a-z]+)?\s*$", re.IGNORECASE)
_UNITS: dict[str, Unit] = {
    "step": "steps",
    "steps": "steps",
    "epoch": "epochs",
    "epochs": "epochs",
    "example": "examples",
    "examples": "examples",
}


@dataclass(frozen=True)
class Duration:
    """A length of training: `amount` in `unit`; a fraction is of the whole training, between 0 and 1."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | int | float | Duration) -> Duration:
        """Read '30 epochs', '200 steps', '60000 examples' or '5%'; a bare number is epochs.

        Raises:
            InputError: the text is none of these, or the amount is negative, or a fraction is above 100 %.
        """
        if isinstance(text, Duration):
            return text
        found = _FORM.match(str(text))
        unit = (found.group(2) or "epochs").lower() if found else ""
        if found is None or (unit != "%" and unit not in _UNITS):
            raise InputError(
                f"Cannot read the duration '{text}'. Valid: '30 epochs', '200 steps', '60000 examples', '5%'."
            )
        amount = float(found.group(1))
        if not math.isfinite(amount):
            raise InputError(f"The duration '{text}' is not finite.")
        if unit == "%":
            if amount > 100:
                raise InputError(f"The duration '{text}' is more than the whole training (100%).")
            return cls(amount / 100, "fraction")
        return cls(amount, _UNITS[unit])

    def in_examples(self, batch_size: int) -> Duration:
        """Return the same length for every batch size: steps become the examples of steps of `batch_size`."""
        return Duration(self.amount * batch_size, "examples") if self.unit == "steps" else self

    def fractional_steps(self, *, batch_size: int, dataset_size: int, total_steps: int | None = None) -> float:
        """Return the number of weight updates this lasts, not rounded.

        Raises:
            ValueError: a fraction without `total_steps`.
        """
        if self.unit == "steps":
            return self.amount
        if self.unit == "epochs":
            return self.amount * dataset_size / batch_size
        if self.unit == "examples":
            return self.amount / batch_size
        if total_steps is None:
            raise ValueError("A fraction lasts a number of steps only within a total.")
        return self.amount * total_steps

    def steps(self, *, batch_size: int, dataset_size: int, total_steps: int | None = None) -> int:
        """Return the number of weight updates this lasts, rounded up: ceil(epochs * N / B) for epochs.

        Source: 90 epochs of ImageNet at a batch size of 819,200 are 141 steps (You et al., 2020, section 3.1).
        """
        exact = self.fractional_steps(batch_size=batch_size, dataset_size=dataset_size, total_steps=total_steps)
        return math.ceil(exact - 1e-9 * max(1.0, exact))

    def __str__(self) -> str:
        # Fifteen digits: what a user wrote comes back exactly, and 7 % not as 7.000000000000001 %.
        if self.unit == "fraction":
            return f"{self.amount * 100:.15g}%"
        return f"{self.amount:.15g} {self.unit}"
