"""The search for the limit of the batch size: pure, from records to the next trials to run, and to a verdict.

Definitions 2.1 to 2.3 of You et al., 2020. The baseline's solver, batch size B0 and learning rate set A (metric) and xi
(loss) over seeds. A batch is *small* while linear scaling alone (LR * B / B0, nothing else changed) gives at least
99.5 % A and at most 1.2 xi; *large* while some recipe of the technique set, tuned within the budget, gives at least
99.5 % A; *huge* beyond. The *full* batch holds all training examples. All by scores on the test split, over seeds that
no tuning has seen.

Adaptive search assumes that what fails at a batch size fails at larger ones, and bisects; an exhaustive one assumes
nothing. Nothing here computes, waits or draws random numbers: given the same records, the same trials are asked for,
which is also how an interrupted search goes on and how a report is drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from shlex import quote

from batchlimit.config import Recipe, Scalar, TrialConfig
from batchlimit.findings import Decision, LimitFinding
from batchlimit.records import TrialRecord
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.conclusion import conclude
from batchlimit.tuning.notebook import LINEAR, Notebook
from batchlimit.tuning.outlook import Outlook, halvings
from batchlimit.tuning.question import Candidate, Question
from batchlimit.tuning.search_space import SearchSpace
from batchlimit.tuning.statistics import confidence_of_a_look, looks
from batchlimit.tuning.tuner import PROPOSALS_AT_ONCE, TUNING_SEED, tuners
from batchlimit.tuning.windows import centre, first_window, grid_space, next_window, range_space

Asking = Generator[Batch, list[TrialRecord], None]

MOST_MEASURED = 3  # recipes measured over seeds at one batch size: near the bar, noise would let every recipe through


class LimitSearch:
    """One search: `trials()` asks for batches of trials, `finding()` says what is known at any moment.

    `part` says that the search is part of a study, whose command takes no `recipes`.
    """

    def __init__(self, question: Question, *, part: bool = False) -> None:
        self.question = question
        self._part = part
        self.notebook = Notebook(question)
        self._outlook = Outlook(question)
        self._told: dict[tuple[int, str], list[tuple[dict[str, Scalar], float | None]]] = {}

    def finding(self) -> LimitFinding:
        """Return the verdict as far as the records given so far carry it."""
        return conclude(self.notebook)

    def trials(self) -> Asking:
        """Yield batches of trials and be sent their records, in the order asked, until the question is answered."""
        yield from self._measure_baseline()
        if self.notebook.problem:
            return
        if self.question.settings.exhaustive:
            yield from self._try_everything()
        else:
            yield from self._find_small()
            yield from self._find_large()
        self.notebook.complete = True

    # The three parts of the verdict

    def _measure_baseline(self) -> Asking:
        question = self.question
        batch_size = question.baseline_batch_size
        trials = self._seeded(batch_size, question.baseline, range(1, question.settings.max_seeds + 1))
        records = yield from self._ask(trials, "baseline", batch_size)
        self.notebook.set_baseline(records)

    def _find_small(self) -> Asking:
        """Bisect for the largest batch size at which linear scaling alone passes."""
        notebook = self.notebook

        def decision(size: int) -> Decision | None:
            return notebook.linear[size].decision if size in notebook.linear else None

        yield from self._bisect(self._measure_linear, decision, "linear")

    def _find_large(self) -> Asking:
        """Try the full batch, then bisect for the largest batch size at which some recipe passes."""
        self._outlook.tries = halvings(len(self.question.batch_sizes))
        yield from self._try(self.question.batch_sizes[-1])
        if self.notebook.decision(self.question.batch_sizes[-1]) != "pass":
            yield from self._bisect(self._try, self.notebook.decision, "tries")

    def _bisect(
        self, measure: Callable[[int], Asking], decision: Callable[[int], Decision | None], outlook: str
    ) -> Asking:
        """Measure sizes until the largest that passes and the smallest that fails are as close as decisions allow.

        A size that stays undecided counts as not passing; then the smallest size above it that fails is looked for.
        """
        sizes = self.question.batch_sizes
        for passing in ({"pass"}, {"pass", "undecided"}):
            low = max((i for i, size in enumerate(sizes) if decision(size) in passing), default=-1)
            known = {"pass", "undecided", "fail"} - passing
            above = (i for i, size in enumerate(sizes) if i > low and decision(size) in known)
            high = min(above, default=len(sizes))
            while high - low > 1:
                setattr(self._outlook, outlook, halvings(high - low) - 1)
                middle = (low + high) // 2
                yield from measure(sizes[middle])
                if decision(sizes[middle]) in passing:
                    low = middle
                else:
                    high = middle

    def _try_everything(self) -> Asking:
        """Tune every recipe over its whole grid at every batch size, and measure each one's best with all seeds."""
        sizes = self.question.batch_sizes
        for done, size in enumerate(sizes):
            self._outlook.linear = self._outlook.tries = len(sizes) - done - 1
            yield from self._measure_linear(size)
            for candidate in self.question.candidates:
                while (yield from self._tune(candidate, size)):
                    pass
                yield from self._verify(candidate, size)
            self.notebook.set_tried(size)

    # One batch size

    def _measure_linear(self, batch_size: int) -> Asking:
        question = self.question
        reference = question.baseline_batch_size  # the baseline may have had another one
        changes = {
            "lr": question.baseline.peak_lr(reference),
            "lr_rule": "linear",
            "reference_batch_size": reference,
            "adascale": False,
        }
        recipe: Recipe = question.baseline.updated(changes)
        yield from self._measure(LINEAR, batch_size, recipe, "linear scaling")

    def _try(self, batch_size: int) -> Asking:
        """Tune recipes at `batch_size` round by round until one passes, or their budgets are spent.

        After each round the better half goes on. A recipe whose selection metric clears the bar is measured over seeds
        (again only when a later round improves it; three measurements at most); if none clears it, the best of all is.

        Source: Jamieson and Talwalkar, 2016, "Non-stochastic best arm identification" (successive halving).
        """
        notebook = self.notebook
        contenders = self._by_promise(batch_size)
        verified: dict[str, float] = {}
        measured = 0
        while contenders and notebook.decision(batch_size) != "pass":
            going_on = []
            for candidate in contenders:
                if (yield from self._tune(candidate, batch_size)):
                    going_on.append(candidate)
                best = notebook.best_selection(candidate.name, batch_size)
                if best is None or not notebook.clears_selection_bar(best) or measured == MOST_MEASURED:
                    continue
                if candidate.name not in verified or notebook.better(best, verified[candidate.name]):
                    verified[candidate.name] = best
                    measured += 1
                    yield from self._verify(candidate, batch_size)
                    if notebook.decision(batch_size) == "pass":
                        return
            going_on.sort(key=lambda candidate: notebook.shortfall(candidate.name, batch_size))
            contenders = going_on[: max(1, len(contenders) // 2)]
        if batch_size not in notebook.best:
            yield from self._measure_nearest(batch_size)
        notebook.set_tried(batch_size)

    def _measure_nearest(self, batch_size: int) -> Asking:
        """Measure what came nearest the bar where nothing cleared it.

        At the full batch, of which the verdict gives a figure, that may be a trial that was stopped as hopeless.
        """
        notebook = self.notebook
        if (tuned := notebook.best_tuned(batch_size)) is not None:
            yield from self._verify(tuned, batch_size)
        elif batch_size == self.question.dataset_size and (stopped := notebook.best_stopped(batch_size)) is not None:
            name, recipe = stopped
            yield from self._measure(name, batch_size, recipe, f"verifying {name}")

    def _tune(self, candidate: Candidate, batch_size: int) -> Generator[Batch, list[TrialRecord], bool]:
        """Run one round of proposals for `candidate` and return whether its budget leaves any more."""
        question, notebook = self.question, self.notebook
        exhaustive = question.settings.exhaustive
        budget = question.settings.budget
        if exhaustive:
            budget = grid_space(candidate, batch_size, question).grid_size()
        told = self._told.setdefault((batch_size, candidate.name), [])
        tuner = "grid" if exhaustive else question.settings.tuner
        space = self._space(candidate, batch_size)
        # A window is walked from its middle: thinned to the budget it could lose a neighbour of the best.
        whole = len(told) + space.grid_size() if tuner == "grid" else budget
        proposals = tuners.get(tuner)(
            space,
            told,
            count=min(PROPOSALS_AT_ONCE, budget - len(told)),
            budget=whole,
            direction=question.metric_direction,
            seed=TUNING_SEED,
        )
        if not proposals:
            return False
        trials = [self._tuning_trial(candidate, batch_size, proposal) for proposal in proposals]
        records = yield from self._ask(trials, f"tuning {candidate.name}", batch_size)
        notebook.add_tuned(candidate, batch_size, records)
        told += [(p, notebook.selection(r)) for p, r in zip(proposals, records, strict=True)]
        return len(told) < budget

    def _verify(self, candidate: Candidate, batch_size: int) -> Asking:
        """Measure the candidate's best recipe at `batch_size` with fresh seeds on the test split."""
        recipe = self.notebook.best_recipe(candidate.name, batch_size)
        if recipe is not None:
            yield from self._measure(candidate.name, batch_size, recipe, f"verifying {candidate.name}")

    def _measure(self, name: str, batch_size: int, recipe: Recipe, purpose: str) -> Asking:
        """Train with more and more seeds until the interval decides, could not decide any more, or the cap is reached.

        An exhaustive search uses all seeds at once.
        """
        settings = self.question.settings
        sizes = (settings.max_seeds,) if settings.exhaustive else looks(settings.seeds, settings.max_seeds)
        confidence = confidence_of_a_look(settings.confidence, len(sizes))
        records: list[TrialRecord] = []
        for size in sizes:
            trials = self._seeded(batch_size, recipe, range(len(records) + 1, size + 1))
            records += yield from self._ask(trials, purpose, batch_size)
            measurement = self.notebook.judge(name, batch_size, recipe, records, confidence)
            if measurement.decision != "undecided" or measurement.diverged:
                break
            if size > sizes[0] and not self.notebook.worth_more(measurement, confidence, sizes[-1]):
                break
        self.notebook.add_measurement(measurement)

    # Asking

    def _ask(
        self, trials: Sequence[TrialConfig], purpose: str, batch_size: int
    ) -> Generator[Batch, list[TrialRecord], list[TrialRecord]]:
        purpose_there = f"{purpose} at batch size {batch_size:,}"
        records = yield Batch(
            trials=tuple(trials),
            purpose=purpose_there,
            expected_left=self._outlook.trials(),
            advice=self._advice(purpose.partition(" ")[2]),
        )
        assert len(records) == len(trials), "a driver answers every trial of a batch"
        self.notebook.count(purpose.split()[0], batch_size, records)
        return records

    def _advice(self, name: str) -> str:
        """Return how to go on without the recipe `name`, '' where it is none, or the only one."""
        others = [candidate.name for candidate in self.question.candidates if candidate.name != name]
        if len(others) == len(self.question.candidates):
            return ""
        said = f"It was training the recipe '{name}'"
        if self._part or not others:
            return f"{said}."
        # Of one set, because of several sets each must know every recipe named.
        recipes = quote(json.dumps(others, ensure_ascii=False))
        return (
            f"{said}; the rest can go on without it by leaving it out: the same command with "
            f"techniques={self.question.techniques} recipes={recipes}."
        )

    def _seeded(self, batch_size: int, recipe: Recipe, seeds: range) -> list[TrialConfig]:
        return [self._trial(batch_size, recipe, seed) for seed in seeds]

    def _tuning_trial(self, candidate: Candidate, batch_size: int, proposal: dict[str, Scalar]) -> TrialConfig:
        recipe: Recipe = candidate.recipe.updated(dict(proposal))
        trial = self._trial(batch_size, recipe, TUNING_SEED)
        if self.question.settings.exhaustive:
            return trial
        stop = self.notebook.stop_rule()
        return trial.model_copy(update={"stop": stop})

    def _trial(self, batch_size: int, recipe: Recipe, seed: int) -> TrialConfig:
        question = self.question
        return TrialConfig(
            workload=question.workload,
            batch_size=batch_size,
            budget=question.budget,
            recipe=recipe,
            seed=seed,
            protocol=question.settings.protocol,
        )

    def _space(self, candidate: Candidate, batch_size: int) -> SearchSpace:
        """Return where the next proposals may lie: a window that follows what this and other batch sizes taught."""
        if self.question.settings.exhaustive:
            return grid_space(candidate, batch_size, self.question)
        learned = self.notebook.learned_lr(candidate, batch_size)
        middle = centre(candidate, batch_size, self.question) if learned is None else learned
        if self.question.settings.tuner != "grid":
            return range_space(candidate, middle)
        best = self.notebook.best_recipe(candidate.name, batch_size)
        if best is None:
            shift = self.notebook.shift_of_lost(candidate.name, batch_size)
            return first_window(candidate, middle * candidate.step**shift, learned=learned is not None)
        return next_window(candidate, best.lr)

    def _by_promise(self, batch_size: int) -> list[Candidate]:
        """Return the candidates, those first that did best at the nearest batch size where they were tuned."""
        return sorted(self.question.candidates, key=lambda candidate: self.notebook.promise(candidate.name, batch_size))
