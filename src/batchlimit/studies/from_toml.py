"""A user's own study as a TOML file: a grid of labels, what is tuned, tables, figures and claims."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from batchlimit.config import Frozen, Recipe, Scalar, TrainingLength
from batchlimit.durations import Duration
from batchlimit.errors import InputError, unknown_name
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, better, fails, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.recipes import derived, space
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec
from batchlimit.validation import explain

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
NAME_WORDS = "letters, digits, '.', '_' and '-', beginning with a letter or a digit"
SIZES = ("baseline", "large", "huge", "full")
# What a claim of each kind is about, and what it may say besides.
_CLAIMS = {
    "better": (("left", "right"), ("by",)),
    "reaches": (("where", "value"), ()),
    "fails": (("where",), ()),
}


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

    @model_validator(mode="after")
    def _says_what_its_kind_judges(self) -> WrittenClaim:
        needed, more = _CLAIMS[self.kind]
        given = self.model_fields_set - {"text", "source", "kind"}
        if not given.issuperset(needed):
            raise ValueError(f"a claim of kind '{self.kind}' needs {' and '.join(needed)}")
        if besides := sorted(given.difference(needed, more)):
            raise ValueError(f"a claim of kind '{self.kind}' takes no {', '.join(besides)}")
        return self

    def claim(self) -> Claim:
        """Return the claim with its judge."""
        judges = {
            "better": lambda: better(self.left, self.right, by=self.by),
            "reaches": lambda: reaches(self.where, self.value),
            "fails": lambda: fails(self.where),
        }
        selects = (self.left, self.right) if self.kind == "better" else (self.where,)
        return Claim(self.text, self.source, judges[self.kind](), selects=selects)


class WrittenStudy(Frozen):
    """A study as a file has it; see the guide 'Studies' for each field."""

    name: str
    question: str = Field(min_length=1)
    note: str = ""
    batch_size: tuple[int | str, ...] = Field(default=("baseline", "large", "full"), min_length=1)
    solver: tuple[str, ...] = Field(default=("momentum",), min_length=1)
    epochs: tuple[TrainingLength, ...] = ()
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

    @field_validator("name")
    @classmethod
    def _nameable(cls, given: str) -> str:
        if not NAME.match(given):
            raise ValueError(f"must be {NAME_WORDS}")
        return given

    @field_validator("batch_size", "solver", "epochs", "probes", "watch", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        """Take a single value for a list of one."""
        single = isinstance(given, (str, int, float)) and not isinstance(given, bool)
        return (given,) if single else given

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
        arms = [
            self._arm(facts, effort, solver, name, changes, length, batch_size)
            for solver, (name, changes), length, batch_size in grid
        ]
        # Two sizes may be one: 'full' and a number, or on little data 'huge' and 'full'.
        return tuple({tuple(arm.labels.values()): arm for arm in arms}.values())

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
        size = self._size(facts, batch_size)
        recipe = self._recipe(facts, solver, size, variant, changes)
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

    def _recipe(self, facts: Facts, solver: str, size: int, variant: str, changes: Mapping[str, Any]) -> Recipe:
        if solver in facts.refused:
            raise InputError(f"Study '{self.name}': {facts.refused[solver]}")
        if facts.solvers and solver not in facts.solvers:
            raise InputError(f"Study '{self.name}': {unknown_name('solver', solver, facts.solvers)}")
        before = derived(facts, solver, size)
        try:
            recipe: Recipe = before.updated(changes)
        except ValidationError as error:
            what = explain(error, Recipe, before.merged(changes), prefix=("variants", variant))
            raise InputError(f"Study '{self.name}': {what}") from None
        return recipe

    def _size(self, facts: Facts, name: int | str) -> int:
        if isinstance(name, int):
            if 1 <= name <= facts.dataset_size:
                return name
            raise InputError(
                f"Study '{self.name}': batch_size {name} does not fit the {facts.dataset_size} training examples of "
                f"'{facts.workload}'. Valid: 1 to {facts.dataset_size}, or {', '.join(SIZES)}."
            )
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
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The study '{origin}' is not TOML: {error}.") from None
    try:
        return WrittenStudy.model_validate(content).study()
    except ValidationError as error:
        raise InputError(f"The study '{origin}': {explain(error, WrittenStudy, content)}") from None


def read_study(path: Path) -> tuple[Study, str]:
    """Return the study in a TOML file, and its text.

    Raises:
        InputError: the file cannot be read or describes no study.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot read the study '{path}': {reason}.") from None
    return study_from_toml(text, path.name), text
