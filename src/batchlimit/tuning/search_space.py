"""What a tuner may choose: dimensions over recipe fields, with values that round the same way everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from batchlimit.config import Frozen, Recipe, Scalar
from batchlimit.errors import InputError
from batchlimit.validation import explain

Proposal = dict[str, Scalar]
_DIGITS = 4  # significant digits of a value, so that a configuration's hash does not hang on the last bit


class Dimension(Frozen):
    """One recipe field to tune: `choices`, or the interval [low, high], uniform or `log`.

    `name` is a dotted recipe field ('lr', 'solver_options.momentum'). `unit` ('epochs', 'steps', '%') makes the values
    of an interval durations. `points` is how many values of an interval the grid takes.
    """

    name: str = Field(min_length=1)
    choices: tuple[Scalar, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    unit: str | None = None
    points: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _one_form(self) -> Dimension:
        interval = self.low is not None and self.high is not None
        if bool(self.choices) == interval or (self.choices and (self.low is not None or self.high is not None)):
            raise ValueError(f"'{self.name}' needs either choices or low and high")
        if len(set(map(repr, self.choices))) != len(self.choices):
            raise ValueError(f"'{self.name}' has a choice twice")
        if self.low is not None and self.high is not None:
            if self.low > self.high:
                raise ValueError(f"low ({self.low:g}) of '{self.name}' is above high ({self.high:g})")
            if self.log and self.low <= 0:
                raise ValueError(f"'{self.name}' is on a log scale, so low ({self.low:g}) must be above 0")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, rounded as its values are."""
        assert self.low is not None, "a dimension of choices has no bounds"
        assert self.high is not None
        return rounded(self.low), rounded(self.high)

    def value(self, number: float) -> Scalar:
        """Return the recipe's value at a number of the interval: rounded to 4 significant digits, with its unit."""
        number = rounded(number)
        return number if self.unit is None else f"{number:g}{'' if self.unit == '%' else ' '}{self.unit}"

    def number(self, value: Scalar) -> float:
        """Return the number that `value` was made of."""
        return float(str(value).removesuffix(self.unit).strip()) if self.unit is not None else float(value)

    def grid(self) -> tuple[Scalar, ...]:
        """Return the grid's values in order: the choices, or `points` values evenly spaced (in log if `log`)."""
        if self.choices:
            return self.choices
        low, high = self.bounds
        count = self.points if high > low else 1
        shares = [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
        return tuple(dict.fromkeys(self.value(self._at(share)) for share in shares))

    def middle(self) -> Scalar:
        """Return the value in the middle (the geometric one if `log`; of an even number of choices, the lower one)."""
        return self.choices[(len(self.choices) - 1) // 2] if self.choices else self.value(self._at(0.5))

    def centred(self, value: Scalar) -> Dimension:
        """Return the interval moved, keeping its width, so that `value` is its middle; choices stay as they are."""
        if self.choices:
            return self
        low, high = self.bounds
        centre = self.number(value)
        if self.log:
            reach = math.sqrt(high / low)
            changes = {"low": rounded(centre / reach), "high": rounded(centre * reach)}
        else:
            reach = (high - low) / 2
            start = max(centre - reach, 0.0) if low >= 0 else centre - reach
            changes = {"low": rounded(start), "high": rounded(start + 2 * reach)}
        return type(self).model_validate(self.model_dump() | changes)

    def _at(self, share: float) -> float:
        low, high = self.bounds
        number = low * (high / low) ** share if self.log else low + (high - low) * share
        return min(max(number, low), high)


class SearchSpace(Frozen):
    """The dimensions that a tuner chooses from; their names differ."""

    dimensions: tuple[Dimension, ...]

    @model_validator(mode="after")
    def _distinct(self) -> SearchSpace:
        names = [dimension.name for dimension in self.dimensions]
        if len(set(names)) != len(names):
            raise ValueError(f"a field is in the search space twice: {', '.join(names)}")
        return self

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> SearchSpace:
        """Build a space from plain data: a list of choices, or a table with low, high, log, unit, points, by field.

        Raises:
            InputError: a field's description is neither, or contradicts itself.
        """
        dimensions = []
        for name, given in fields.items():
            table = (
                given
                if isinstance(given, Mapping)
                else {"choices": given if isinstance(given, list | tuple) else [given]}
            )
            try:
                dimensions.append(Dimension.model_validate({"name": name, **table}))
            except ValidationError as error:
                what = explain(error, Dimension, table)
                raise InputError(
                    f"Search space, field '{name}': {what} "
                    "Valid: a list of choices, or a table with low, high and, if wanted, log, unit, points."
                ) from error
        return cls(dimensions=tuple(dimensions))

    def check(self, recipe: Recipe) -> None:
        """Check that every dimension is a field of the recipe and that its outermost values are valid there.

        Raises:
            InputError: one is not; the message names it and the valid fields.
        """
        for dimension in self.dimensions:
            ends = dimension.choices or tuple(dimension.value(bound) for bound in dimension.bounds)
            for value in ends:
                try:
                    recipe.updated({dimension.name: value})
                except ValidationError as error:
                    changed = recipe.merged({dimension.name: value})
                    what = explain(error, Recipe, changed)
                    raise InputError(f"Search space, field '{dimension.name}': {what}") from error

    def grid_size(self) -> int:
        """Return the number of points of the whole grid."""
        return math.prod(len(dimension.grid()) for dimension in self.dimensions)

    @property
    def finite(self) -> bool:
        """Whether the grid has every point there is."""
        return all(dimension.choices for dimension in self.dimensions)

    def centred(self, name: str, value: Scalar) -> SearchSpace:
        """Return the space with the interval of one field moved so that `value` is its middle."""
        return SearchSpace(dimensions=tuple(d.centred(value) if d.name == name else d for d in self.dimensions))

    def middle(self) -> Proposal:
        """Return the proposal in the middle of every dimension."""
        return {dimension.name: dimension.middle() for dimension in self.dimensions}


def rounded(number: float) -> float:
    """Return the number rounded to 4 significant digits."""
    return float(f"{number:.{_DIGITS}g}")
