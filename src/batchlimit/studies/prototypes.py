"""Recipes of Muon with the full batch that were found by hand on MNIST; the study `beyond` trains them as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchlimit.config import Scalar
from batchlimit.durations import Duration
from batchlimit.studies.facts import Effort, Facts


@dataclass(frozen=True)
class Prototype:
    """One of them: its LR, momentum, decay and warmup (in updates of `updates`), and what else it changes.

    Whether it needs a model with initial weights of its own, or one whose layers' inputs can be seen, follows from what
    it changes.
    """

    lr: float
    momentum: float = 0.7
    power: float = 1.0
    warmup: int = 1
    updates: int = 30
    options: Mapping[str, Scalar] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of a study's epochs that are trained: of the 30 of MNIST, one update each."""
        return self.updates / 30

    def fits(self, facts: Facts) -> bool:
        """Return whether it can be trained on the workload."""
        weights = facts.own_weights or "initialization" not in self.changes
        return weights and (can_whiten(facts) or not self.options.get("whiten"))

    def fields(self) -> dict[str, Any]:
        """Return the recipe's fields in which it is not the Muon of the study."""
        return {
            "lr": self.lr,
            "warmup": share_of(self.warmup, self.updates),
            "solver_options": {"momentum": self.momentum, **self.options},
            "schedule_options": {"power": self.power},
            **self.changes,
        }


def can_whiten(facts: Facts) -> bool:
    """Return whether the model has layers whose inputs can be seen, which K-FAC looks at too."""
    return "kfac" not in facts.refused


def share_of(updates: int, total: int) -> Duration:
    """Return `updates` of `total` as a share with four decimals, which of a training of `total` updates is as many."""
    return Duration(math.floor(10_000 * updates / total) / 10_000, "fraction")  # parts of an update count as one


AVERAGED = "of the paper's LeNet, averaged"
IN_HALF = "of the paper's LeNet, whitened, in half the epochs"
PROTOTYPES = {
    "of LeNet-5": Prototype(0.2),
    "of the paper's LeNet, with weight decay": Prototype(0.15, changes={"weight_decay": 0.2}),
    "of the paper's LeNet": Prototype(0.1, momentum=0.9, power=0.5, warmup=2),
    AVERAGED: Prototype(
        0.15,
        power=0.5,
        changes={
            "weight_decay": 0.2,
            "initialization": "orthogonal",
            "averaging": {"kind": "tail", "start": share_of(22, 30)},
        },
    ),
    IN_HALF: Prototype(
        0.25,
        updates=15,
        options={"whiten": True, "examples": 8},
        changes={"weight_decay": 0.3, "initialization": "orthogonal"},
    ),
}


def prototypes(facts: Facts, effort: Effort) -> tuple[str, ...]:
    """Return the names of those that fit the workload: two, on the paper's scale all."""
    return tuple(name for name, one in PROTOTYPES.items() if one.fits(facts))[: effort.most(2, 2, 99)]
