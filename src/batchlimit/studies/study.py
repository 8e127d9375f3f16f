"""What a study is: a question, the trials that answer it, the paper's claims about it, and what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.views import FigureSpec, PaperValue, Row, TableSpec

Arms = Callable[[Facts, Effort], tuple[Arm, ...]]


def no_arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return no arms: for studies that train nothing themselves."""
    return ()


@dataclass(frozen=True)
class Study:
    """A declarative study; adding one is adding one file that registers one of these.

    `arms(facts, effort)` returns what is trained, and `search(facts, effort)`, where there is one, the settings (of
    `FindSettings`) of a search for the limit that is run besides. `paper` names the paper's tables and figures,
    `paper_setting` what they were measured on, and `paper_workload` the built-in workload that is the same, if any:
    only there are numbers compared with numbers. `context` holds rows that are shown as they are, with their source in
    `note`. `comparisons` are labels whose values are compared pairwise: a paired test over seeds, corrected for their
    number.
    """

    name: str
    question: str
    paper: str = ""
    paper_setting: str = ""
    paper_workload: str = ""
    note: str = ""
    arms: Arms = no_arms
    search: Callable[[Facts, Effort], dict[str, Any]] | None = None
    tables: tuple[TableSpec, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    claims: tuple[Claim, ...] = ()
    paper_values: tuple[PaperValue, ...] = ()
    context: tuple[Row, ...] = ()
    comparisons: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The question with the paper's table or figure, for lists."""
        return f"{self.question} ({self.paper})" if self.paper else self.question

    @property
    def of_a_paper(self) -> bool:
        """Whether the claims are held against papers: the study names one, or a claim has its figure or its source."""
        return bool(self.paper) or any(claim.paper or claim.source for claim in self.claims)
