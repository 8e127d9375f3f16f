"""Do solvers that came after the paper move the limit of the batch size?

Trained, in three parts:

- 'solvers': every solver there is, the paper's and the later ones, at a large, a huge and the full batch, LR and warmup
  tuned with the same budget. The most promising ones at each (`FINALISTS`) are measured with 10 seeds.
- 'fewer updates': Muon, as it is and on whitened inputs, with the full batch in all, a half and a third of the epochs,
  on the paper's scale in two thirds as well, tuned anew for each.
- 'ablation', with the full batch: Muon without one of its parts at a time, the LR of each variant tuned with the same
  budget: dense layers, convolutions, or all of it by AdamW; the momentum normalized instead of orthogonalized; no
  momentum; other schedules; and, where the model has its own, initial weights as torch sets them, and no dropout.

Muon is the one of the prototype that this study began with: momentum 0.9 with Nesterov, polynomial decay of power 0.5,
AdamW at a tenth of the LR for biases. Recipes found by hand are there too: of LeNet-5 (LR 0.2, momentum 0.7, linear
decay, 1 epoch of 30 for warmup), of the paper's LeNet with weight decay (LR 0.15, decay 0.2, else the same), and, on
the paper's scale, the prototype itself with nothing tuned (LR 0.1, 2 epochs) and, where the model has initial weights
of its own, that with weight decay, orthogonal ones in their place and the mean of the last weights (decay of power 0.5,
tail from epoch 22 of 30), and one for half the epochs on whitened inputs (`prototypes`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from batchlimit.config import Recipe, Scalar
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, Judgement, better, missing, only_if, only_on, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge, keeps, opposite
from batchlimit.studies.prototypes import PROTOTYPES, can_whiten, prototypes
from batchlimit.studies.recipes import derived, lr_window, space
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.solvers import LATER, PAPER, after_the_paper
from batchlimit.studies.standard_arms import as_is, baseline, batch_size, length, searched, tuned
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec
from batchlimit.words import counted

SOLVERS, FEWER, ABLATION, PROTOTYPE = "solvers", "fewer updates", "ablation", "nothing tuned"
OLD, NEW = "of the paper", "later"
# The most promising at each batch size, by tuning on digits and on MNIST with LeNet-5.
FINALISTS = {"full": ("lamb", "muon", "soap", "kfac"), "huge": ("muon", "kfac"), "large": ("lamb", "muon", "soap")}
LENGTHS = {1.0: "whole", 1 / 2: "a half", 1 / 3: "a third", 2 / 3: "two thirds"}
WHITENED = "muon, whitened"
WHOLE, TORCHS, NO_DROPOUT = "muon, whole", "torch's initialization", "no dropout"
TARGET: Labels = {"part": "baseline"}
AT_FULL: Labels = {"part": SOLVERS, "batch": "full"}
IN_A_THIRD: Labels = {"part": FEWER, "length": LENGTHS[1 / 3]}
WHY_MNIST = "an aim for MNIST with the paper's LeNet in 30 epochs"
WHY_LENET5 = "a comparison across two models of MNIST: LeNet-5 here, the paper's LeNet there"


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return all parts, those at the full batch first."""
    given: Labels = {"part": "baseline", "solver": facts.baseline.solver, "epochs": length(facts, effort)}
    batches = ("full", "huge", "large") if effort.scale != "smoke" else ("full",)
    return (
        baseline(facts, effort, given),
        *(_solver(facts, effort, solver, "full") for solver in solvers(facts, effort)),
        *(_prototype(facts, effort, of) for of in prototypes(facts, effort)),
        *(
            _shorter(facts, effort, factor, whiten)
            for factor in tuple(LENGTHS)[: effort.most(2, 3, 4)]
            for whiten in ((False, True) if can_whiten(facts) else (False,))
        ),
        *(_variant(facts, effort, name, recipe) for name, recipe in variants(facts).items()),
        *(_solver(facts, effort, solver, batch) for batch in batches[1:] for solver in solvers(facts, effort)),
    )


def solvers(facts: Facts, effort: Effort) -> tuple[str, ...]:
    """Return all solvers; without weight decay AdamW is Adam, and left out. A smoke run takes three."""
    if effort.scale == "smoke":
        return ("momentum", "lamb", "muon")
    own = () if facts.baseline.solver in (*PAPER, *LATER) else (facts.baseline.solver,)
    return (*own, *PAPER, *after_the_paper(facts))


def muon(facts: Facts, batch: str, **changes: Any) -> Recipe:
    """Return the prototype's Muon at the LR where it is looked for."""
    own = {"solver_options": {"momentum": 0.9}, "schedule_options": {"power": 0.5}}
    return derived(facts, "muon", batch_size(facts, batch), **{**own, **changes})


def variants(facts: Facts) -> dict[str, Recipe]:
    """Return Muon at the full batch, whole and without one part at a time."""

    def without(**options: Scalar) -> Recipe:
        return muon(facts, "full", solver_options={"momentum": 0.9, **options})

    whole = muon(facts, "full")
    # An orthogonalized matrix of rank r is sqrt(r) times as long as a normalized one; biases keep their LR.
    normalized: dict[str, Scalar] = {"momentum": 0.9, "ns_steps": 0, "companion_lr_factor": 0.1 / 8}
    constant: dict[str, Any] = {"schedule": "constant", "schedule_options": {}}
    of_the_model = {
        TORCHS: muon(facts, "full", initialization="torch") if facts.own_weights else None,
        NO_DROPOUT: muon(facts, "full", dropout=0.0) if facts.dropout else None,
    }
    return {
        WHOLE: whole,
        "convolutions by AdamW": without(layers="matrices"),
        "dense layers by AdamW": without(layers="convolutions"),
        "all by AdamW": derived(facts, "adamw", facts.full, schedule_options={"power": 0.5}),
        "normalized only": muon(facts, "full", lr=8 * whole.lr, solver_options=normalized),
        "no momentum": without(momentum=0.0, nesterov=False),
        "linear decay": muon(facts, "full", schedule_options={"power": 1.0}),
        "constant LR": muon(facts, "full", **constant),
        **{name: recipe for name, recipe in of_the_model.items() if recipe is not None},
    }


def _solver(facts: Facts, effort: Effort, solver: str, batch: str) -> Arm:
    labels: Labels = {"part": SOLVERS, "solver": solver, "origin": OLD if solver in PAPER else NEW}
    more = effort.most(1, 10, 10) if solver in FINALISTS[batch] else 1
    labels["epochs"] = length(facts, effort)
    if solver == "muon":
        recipe = muon(facts, batch)
        arm = searched(facts, effort, batch, labels, recipe, space(recipe, effort))
    else:
        arm = tuned(facts, effort, solver, batch, labels)
    return _seeded(arm, max(effort.seeds, more))


def _prototype(facts: Facts, effort: Effort, of: str) -> Arm:
    prototype = PROTOTYPES[of]
    labels: Labels = {"part": PROTOTYPE, "solver": "muon", "origin": NEW, "prototype": of}
    labels["epochs"] = length(facts, effort, prototype.share)
    recipe = muon(facts, "full", **prototype.fields())
    arm = as_is(facts, effort, "full", labels, recipe, epochs=effort.times(prototype.share))
    return _seeded(arm, max(effort.seeds, effort.most(1, 10, 10)))


def _shorter(facts: Facts, effort: Effort, factor: float, whiten: bool) -> Arm:
    epochs = effort.times(factor)
    updates = epochs.steps(batch_size=facts.full, dataset_size=facts.dataset_size)
    labels: Labels = {"part": FEWER, "solver": WHITENED if whiten else "muon", "updates": updates}
    labels |= {"epochs": length(facts, effort, factor), "length": LENGTHS[factor]}
    recipe = muon(facts, "full")
    if whiten:  # its LR is how far outputs move, and weights by more
        recipe = muon(facts, "full", lr=recipe.lr / 2, solver_options={"momentum": 0.9, "whiten": True})
    arm = searched(facts, effort, "full", labels, recipe, space(recipe, effort), epochs=epochs)
    return _seeded(arm, max(effort.seeds, effort.most(1, 5, 10)))


def _variant(facts: Facts, effort: Effort, name: str, recipe: Recipe) -> Arm:
    labels: Labels = {"part": ABLATION, "variant": name, "epochs": length(facts, effort)}
    points = effort.most(1, 3, 5)
    warmed: Recipe = recipe.updated({"warmup": "10%"})
    where = {"lr": lr_window(warmed, points, step=3.0 if points <= 4 else 2.0)}
    return _seeded(
        searched(facts, effort, "full", labels, warmed, where, budget=points), min(effort.seeds, effort.most(1, 99, 99))
    )


def _seeded(arm: Arm, seeds: int) -> Arm:
    found: Arm = arm.updated({"seeds": seeds})
    return found


def updates_of(arm: ArmResult, result: StudyResult) -> int:
    """Return how many weight updates an arm's trainings make."""
    return arm.arm.epochs.steps(batch_size=arm.arm.batch_size, dataset_size=result.facts.dataset_size)


def within(updates: int, judge: Judge) -> Judge:
    """Return a judge that sees only full-batch arms of at most so many weight updates, and none of the ablation."""

    def judged(result: StudyResult) -> Judgement:
        full = tuple(
            arm
            for arm in result.select({"batch": "full"})
            if arm.labels["part"] != ABLATION and updates_of(arm, result) <= updates
        )
        if not full:
            return missing(result, {"batch": "full", "updates at most": updates})
        found = judge(replace(result, arms=full))
        best = result.best(full)
        if best is None:
            return found
        said = f"{found.ours}: {best.labels['solver']}, {counted(updates_of(best, result), 'update')}"
        return replace(found, ours=said)

    return judged


def variant(name: str) -> Labels:
    """Return the labels of a variant of the ablation."""
    return {"part": ABLATION, "variant": name}


_TAKEN = {
    "all by AdamW": "orthogonalized momentum, by AdamW alone with the same schedule,",
    "normalized only": "orthogonalization, its momentum normalized only,",
    "convolutions by AdamW": "orthogonalizing the convolutions",
    "dense layers by AdamW": "orthogonalizing the dense layers",
    "no momentum": "momentum",
    "linear decay": "the decay of power 0.5, with a linear one,",
    "constant LR": "any decay of the learning rate",
}


def _paper_values() -> tuple[PaperValue, ...]:
    def of(batch: str, solver: str, value: float | None, source: str, words: str = "") -> PaperValue:
        where: Labels = {"part": SOLVERS, "batch": batch, "solver": solver}
        setting = "MNIST with LeNet, 35 updates; not in the paper" if batch == "full" else ""
        return PaperValue(where=where, value=value, words=words, source=source, setting=setting)

    runs = "the author's public runs: best of {}"
    return (
        PaperValue(where=TARGET, value=0.992, source="Table 2"),
        of("full", "lamb", 0.9887, runs.format(237)),
        of("full", "lars", 0.9727, runs.format(508)),
        of("full", "momentum", 0.9244, runs.format(207)),
        of("huge", "lars", 0.958, "Figure 31"),
        of("huge", "lamb", 0.987, "Figure 5"),
        of("large", "momentum", None, "Table 3", "diverges"),
        of("large", "adagrad", 0.983, "Table 3"),
        of("large", "rmsprop", 0.986, "Table 3"),
        of("large", "adam", 0.991, "Table 3"),
        of("large", "lars", 0.994, "Table 3"),
    )


STUDY = Study(
    name="beyond",
    question="Do solvers that came after the paper move the limit of the batch size?",
    paper_setting="MNIST with LeNet",
    paper_workload="mnist",
    note="A batch is huge (Definition 2.2) if no recipe available reaches 99.5 % of the baseline's accuracy with it "
    "in the same epochs. So it is huge only relative to the techniques of its day: where a later solver reaches the "
    "target at a batch size that the paper calls huge, that batch size is not huge any more, and where none here does, "
    "a better one may. All solvers are tuned with the same number of trials over LR and warmup; the ablation tunes the "
    "LR alone, for every variant alike.",
    arms=arms,
    tables=(
        TableSpec(
            name="solvers",
            title="What does each solver reach, the paper's and later ones?",
            rows="solver",
            columns="batch",
            only={"part": SOLVERS},
        ),
        TableSpec(
            name="prototypes",
            title="What do recipes of Muon reach that were found by hand on MNIST?",
            rows="prototype",
            columns="batch",
            only={"part": PROTOTYPE},
        ),
        TableSpec(
            name="fewer-updates",
            title="What does Muon reach in fewer full-batch updates?",
            rows="updates",
            columns="solver",
            only={"part": FEWER},
        ),
        TableSpec(
            name="ablation",
            title="Which part of Muon does it?",
            rows="variant",
            columns="batch",
            only={"part": ABLATION},
        ),
    ),
    figures=(
        FigureSpec(
            name="solvers",
            kind="dots",
            title="Do later solvers reach further than the paper's?",
            x="solver",
            colour="origin",
            facet="batch",
            only={"part": SOLVERS},
        ),
        FigureSpec(
            name="batch-sizes",
            kind="lines",
            title="How does each solver bear larger batches?",
            x="batch size",
            colour="solver",
            only={"part": SOLVERS},
        ),
        FigureSpec(
            name="fewer-updates",
            kind="lines",
            title="How few full-batch updates are enough?",
            x="updates",
            colour="solver",
            only={"part": FEWER},
        ),
        FigureSpec(
            name="ablation",
            kind="dots",
            title="Which part of Muon does it?",
            x="variant",
            only={"part": ABLATION},
        ),
    ),
    claims=(
        Claim(
            "No solver of the paper reaches the target with the full batch.",
            "section 3.2",
            opposite(keeps({**AT_FULL, "origin": OLD}, TARGET)),
            paper="MNIST: 98.30 % at best, of 99.2 %",
        ),
        Claim(
            "No solver, of whatever date, reaches it with the full batch.",
            "Definition 2.2, read without a date",
            opposite(keeps(AT_FULL, TARGET)),
        ),
        Claim(
            "No solver, of whatever date, reaches it with a huge batch.",
            "Definition 2.2, read without a date",
            opposite(keeps({"part": SOLVERS, "batch": "huge"}, TARGET)),
        ),
        Claim(
            "With the full batch a later solver does better than all of the paper's.",
            "Jordan et al., 2024",
            better({**AT_FULL, "origin": NEW}, {**AT_FULL, "origin": OLD}),
        ),
        Claim(
            "Full-batch training on MNIST reaches 99.4 % in 30 updates.",
            "an aim of this project",
            only_on("mnist", within(30, reaches({}, 0.994)), WHY_MNIST),
            paper="98.30 %, in 1000 epochs",
        ),
        Claim(
            "Full-batch training on MNIST reaches 99.2 % in 15 updates.",
            "an aim of this project",
            only_on("mnist", within(15, reaches({}, 0.992)), WHY_MNIST),
        ),
        Claim(
            "In a third of the updates Muon does better where its layers' inputs are whitened.",
            "this project",
            better({**IN_A_THIRD, "solver": WHITENED}, {**IN_A_THIRD, "solver": "muon"}),
        ),
        *(
            Claim(
                f"Full-batch training on {words} does better than the author's best of 237 with LAMB in 35 updates.",
                "the author's public runs",
                only_on(workload, within(35, reaches({}, 0.9887)), why),
                paper="98.87 %, with the paper's LeNet",
            )
            for workload, words, why in (
                ("mnist", "MNIST", WHY_MNIST),
                ("mnist-lenet5", "MNIST with the fifty times smaller LeNet-5", WHY_LENET5),
            )
        ),
        *(
            Claim(f"Without {what} Muon does worse.", "ablation", better(variant(WHOLE), variant(name)))
            for name, what in _TAKEN.items()
        ),
        Claim(
            "Without the model's initial weights, with torch's, Muon does worse.",
            "ablation",
            only_if(
                lambda result: result.facts.own_weights,
                better(variant(WHOLE), variant(TORCHS)),
                "the model's initial weights are torch's, or not a recipe's to set",
            ),
        ),
        Claim(
            "Without dropout Muon does worse.",
            "ablation",
            only_if(
                lambda result: result.facts.dropout,
                better(variant(WHOLE), variant(NO_DROPOUT)),
                "the model has no dropout layer",
            ),
        ),
    ),
    paper_values=_paper_values(),
)
studies.register(STUDY.name)(STUDY)
