"""A user's own study as a TOML file: a grid of labels, what is tuned, tables, figures and claims."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from batchlimit.config import DurationField, Frozen, Scalar
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, better, fails, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.recipes import derived, space
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec

SIZES = ("baseline", "large", "huge", "full")


class WrittenClaim(Frozen):
    """A claim as a file has it: `left` beats `right` (by), `where` reaches `value`, or `where` fails."""

    text: str
    source: str = ""
    kind: Literal["better", "reaches", "fails"] = "better"
    left: Labels = Field(default_factory=dict)
    right: Labels = Field(default_factory=dict)
    where: Labels = Field(default_factory=dict)
    value: float = 0.0
    by: float = 0.0

    def claim(self) -> Claim:
        """Return the claim with its judge."""
        judges = {
            "better": lambda: better(self.left, self.right, by=self.by),
            "reaches": lambda: reaches(self.where, self.value),
            "fails": lambda: fails(self.where),
        }
        return Claim(self.text, self.source, judges[self.kind]())


class WrittenStudy(Frozen):
    """A study as a file has it; see the guide 'Studies' for each field."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str
    note: str = ""
    batch_size: tuple[int | str, ...] = ("baseline", "large", "full")
    solver: tuple[str, ...] = ("momentum",)
    epochs: tuple[DurationField, ...] = ()
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tune: dict[str, Any] | bool = True
    seeds: int | None = Field(default=None, ge=1)
    budget: int | None = Field(default=None, ge=1)
    probes: tuple[str, ...] = ()
    watch: tuple[Literal["train", "test"], ...] = ()
    tables: tuple[TableSpec, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    claims: tuple[WrittenClaim, ...] = ()
    paper_values: tuple[PaperValue, ...] = ()

    def study(self) -> Study:
        """Return the study that the file describes; without tables and figures of its own, it gets one of each."""
        table = TableSpec(name="results", title=self.question, rows="solver", columns="batch size")
        figure = FigureSpec(name="results", kind="lines", title=self.question, x="batch size", colour="solver")
        return Study(
            name=self.name,
            question=self.question,
            note=self.note,
            arms=self._arms,
            tables=self.tables or (table,),
            figures=self.figures or (figure,),
            claims=tuple(written.claim() for written in self.claims),
            paper_values=self.paper_values,
        )

    def _arms(self, facts: Facts, effort: Effort) -> tuple[Arm, ...]:
        variants = self.variants or {"": {}}
        lengths = self.epochs or (effort.epochs,)
        grid = itertools.product(self.solver, variants.items(), lengths, self.batch_size)
        return tuple(
            self._arm(facts, effort, solver, name, changes, length, batch_size)
            for solver, (name, changes), length, batch_size in grid
        )

    def _arm(
        self,
        facts: Facts,
        effort: Effort,
        solver: str,
        variant: str,
        changes: Mapping[str, Any],
        length: Duration,
        batch_size: int | str,
    ) -> Arm:
        size = batch_size if isinstance(batch_size, int) else self._size(facts, batch_size)
        recipe = derived(facts, solver, size).updated(dict(changes))
        spending = effort.model_copy(update={"budget": self.budget or effort.budget})
        labels: dict[str, Scalar] = {"solver": solver, "batch size": size}
        labels |= {"variant": variant} if self.variants else {}
        labels |= {"epochs": str(length)} if len(self.epochs) > 1 else {}
        wanted = space(recipe, spending) if self.tune is True else dict(self.tune) if self.tune else {}
        return Arm(
            labels=labels,
            batch_size=size,
            epochs=length,
            recipe=recipe,
            space=wanted,
            budget=spending.budget if wanted else 0,
            seeds=self.seeds or effort.seeds,
            protocol=effort.protocol,
            probes=self.probes,
            watch=self.watch,
        )

    def _size(self, facts: Facts, name: str) -> int:
        if name not in SIZES:
            raise InputError(
                f"Study '{self.name}': batch_size '{name}' is no size. Valid: a number, or {', '.join(SIZES)}."
            )
        return {"baseline": facts.batch_size, "large": facts.large, "huge": facts.huge, "full": facts.full}[name]


def study_from_toml(text: str, origin: str) -> Study:
    """Return the study that TOML `text` describes; `origin` names it in messages.

    Raises:
        InputError: it is not TOML, or a field is unknown, missing or wrong.
    """
    try:
        return WrittenStudy.model_validate(tomllib.loads(text)).study()
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The study '{origin}' is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        fields = ", ".join(WrittenStudy.model_fields)
        raise InputError(f"The study '{origin}', {place or 'top level'}: {what}. Fields: {fields}.") from None


def read_study(path: Path) -> tuple[Study, str]:
    """Return the study in a TOML file, and its text.

    Raises:
        InputError: the file cannot be read or describes no study.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the study '{path}': {error}.") from None
    return study_from_toml(text, path.name), text
