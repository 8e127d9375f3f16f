"""One trial: from a configuration to a record."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from batchlimit.config import TrialConfig
from batchlimit.data.splits import Split, index_device
from batchlimit.engine import microbatch
from batchlimit.engine.adascale import Scaling, adascale_of, schedule_units
from batchlimit.engine.allocator import keep_memory
from batchlimit.engine.averaging import average_of
from batchlimit.engine.checkpoint import Checkpoint, Unresumable, checkpoint_of
from batchlimit.engine.environment import describe
from batchlimit.engine.evaluate import evaluate
from batchlimit.engine.evaluated_weights import estimate_statistics, evaluated_weights, with_mode
from batchlimit.engine.examples import Examples, examples_of, subset_of
from batchlimit.engine.execution import Execution
from batchlimit.engine.layout import Layout, choose_layout
from batchlimit.engine.model import model_of
from batchlimit.engine.noise import NoiseInjection, noise_of
from batchlimit.engine.probing import Probing, check_probes, probing_of
from batchlimit.engine.seeds import derived_seed, generator
from batchlimit.engine.step import GradientAccumulator, full_fp32
from batchlimit.engine.stopping import FiniteWatch, hopeless
from batchlimit.engine.stream import BatchStream
from batchlimit.optimizers.averaging import WeightAverage
from batchlimit.optimizers.build import build_optimizer
from batchlimit.records import HistoryPoint, Scores, Status, TrialRecord
from batchlimit.schedules.build import build_schedule
from batchlimit.workloads.resolve import resolve
from batchlimit.workloads.workload import Workload

OnPoint = Callable[[HistoryPoint, int], None]


@dataclass
class Training:
    """Everything that changes while a trial runs, and what it runs with.

    One taken up from a checkpoint has the day it was `started`, the `seconds_before` and the step it was `resumed_at`.
    """

    config: TrialConfig
    workload: Workload
    examples: Examples
    device: torch.device
    model: nn.Module
    layout: Layout
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    accumulate: GradientAccumulator
    stream: BatchStream
    total_steps: int
    noise: NoiseInjection | None = None
    average: WeightAverage | None = None
    adascale: Scaling | None = None
    probing: Probing | None = None
    step: int = 0
    lr: float = 0.0
    history: list[HistoryPoint] = field(default_factory=list)
    status: Status = "complete"
    reason: str = ""
    started: str = ""
    seconds_before: float = 0.0
    resumed_at: int = 0

    @property
    def chunk(self) -> int:
        """Examples an evaluation pass holds: no gradients are kept, so somewhat more than a training pass."""
        return max(256, self.accumulate.microbatch_size)

    @functools.cached_property
    def watched(self) -> dict[str, Split]:
        """The splits to score at every history point besides the one selected by.

        Of the training examples, as many as the test split has: a fixed random subset, the same for every seed, since
        the first may be of one class.
        """
        examples, watch = self.examples, self.config.watch
        found = {"test": examples.test} if "test" in watch else {}
        if "train" in watch:
            count = min(len(examples.train), len(examples.test))
            order = torch.randperm(len(examples.train), generator=generator(0, "watched"))
            chosen = order[:count].sort().values.to(index_device(examples.train, self.device))
            found["train"] = subset_of(examples.train, chosen)
        return found


def run(
    config: TrialConfig,
    *,
    workload: Workload | None = None,
    execution: Execution | None = None,
    on_point: OnPoint | None = None,
) -> TrialRecord:
    """Train as `config` says and return what came of it.

    `workload` replaces the one that the configuration names; `on_point(point, total_steps)` is called after every
    epoch. A training that diverges or is hopeless ends early and returns a record that says so. With a folder of
    checkpoints in `execution`, a trial that was killed goes on where it was saved, bit for bit, on the same machine.

    Raises:
        InputError: a name, a size or a device that cannot be, before any training.
    """
    execution = execution or Execution()
    workload = workload or resolve(config.workload)
    device = execution.torch_device()
    if device.type == "cpu":
        keep_memory()
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    started, clock = datetime.now(UTC), time.perf_counter()
    with full_fp32(device), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training = prepare(config, workload, execution, device)
        training.started = started.isoformat(timespec="seconds")
        checkpoint = checkpoint_of(training, execution)
        try:
            train(training, on_point, checkpoint)
        except Unresumable:
            training = prepare(config, workload, execution, device)
            training.started = started.isoformat(timespec="seconds")
            train(training, on_point)
        final = final_scores(training)
    if checkpoint is not None:
        checkpoint.remove()
    resumed = {"resumed_at": training.resumed_at} if training.resumed_at else {}
    return TrialRecord(
        config=config,
        status=training.status,
        reason=training.reason,
        steps=training.step,
        samples=training.step * config.batch_size,
        seconds=training.seconds_before + time.perf_counter() - clock,
        history=tuple(training.history),
        selection=final[0],
        test=final[1],
        started=training.started,
        environment=describe(device, microbatch_size=training.accumulate.microbatch_size, **resumed),
        measurements=training.probing.results() if training.probing is not None else {},
    )


def prepare(config: TrialConfig, workload: Workload, execution: Execution, device: torch.device) -> Training:
    """Return the training at step 0: data loaded, model initialized from the seed, everything validated.

    Raises:
        InputError: a name, a size or an option that cannot be.
    """
    check_probes(config.probes)
    recipe = config.recipe
    examples = examples_of(workload, config, device)
    total_steps = config.total_steps(len(examples.train))
    torch.manual_seed(derived_seed(config.seed, "weights"))
    model = model_of(workload, recipe)
    unit = microbatch.granularity(model, config.batch_size)
    model = model.to(device).train()
    layout = choose_layout(model, workload, examples.train, device)
    optimizer = build_optimizer(
        recipe.updated({"lr": recipe.peak_lr(config.batch_size), "lr_rule": "none"}), model.named_parameters()
    )
    counted, length = schedule_units(config, total_steps)
    warmup = recipe.warmup.fractional_steps(batch_size=counted, dataset_size=len(examples.train), total_steps=length)
    schedule = build_schedule(recipe, total_steps=length, warmup_steps=warmup)
    size = microbatch.choose(
        model,
        workload,
        recipe,
        examples.train,
        layout,
        batch_size=config.batch_size,
        device=device,
        requested=execution.microbatch_size,
    )
    accumulate = GradientAccumulator(
        model,
        workload,
        recipe,
        examples.train,
        layout,
        device=device,
        microbatch_size=size,
        seed=derived_seed(config.seed, "masks"),
        smallest=unit,
    )
    indexed_on = index_device(examples.train, device)
    stream = BatchStream(len(examples.train), config.batch_size, config.seed, indexed_on)
    noise_seed = derived_seed(config.seed, "noise")
    noise = noise_of(recipe, model, accumulate, workload.loss, total_steps=total_steps, seed=noise_seed)
    average = average_of(config, model, optimizer, dataset_size=len(examples.train), total_steps=total_steps)
    adascale = adascale_of(config, model, optimizer, accumulate)
    probing = probing_of(
        config, accumulate, model, optimizer, total_steps=total_steps, dataset_size=len(examples.train)
    )
    return Training(
        config,
        workload,
        examples,
        device,
        model,
        layout,
        optimizer,
        schedule,
        accumulate,
        stream,
        total_steps,
        noise,
        average,
        adascale,
        probing,
    )


def train(training: Training, on_point: OnPoint | None = None, checkpoint: Checkpoint | None = None) -> None:
    """Take the steps that are left, with a history point after every epoch, until the end or a reason to stop."""
    config, dataset_size = training.config, len(training.examples.train)
    watch = FiniteWatch(training.device)
    if hasattr(training.optimizer, "attach"):  # a solver that looks at activations, such as kfac
        training.optimizer.attach(training.model)
    with_mode(training.optimizer, train_mode=True)
    torch.manual_seed(derived_seed(config.seed, "training"))
    losses = checkpoint.resume() if checkpoint is not None else []
    while training.step < training.total_steps:
        before = training.step
        loss = take_step(training, watch)
        if loss is None:
            return
        losses.append(loss)
        finished = training.step == training.total_steps
        if finished or training.step * config.batch_size // dataset_size > before * config.batch_size // dataset_size:
            if has_diverged(training, watch):
                return
            point = measure(training, losses)
            losses.clear()
            if on_point is not None:
                on_point(point, training.total_steps)
            if is_hopeless(training, point):
                return
        if checkpoint is not None:
            checkpoint.offer(losses, sound=lambda: not watch.final())
    settle(training, watch)


def take_step(training: Training, watch: FiniteWatch) -> Tensor | None:
    """Make one weight update and return the mean training loss before it; None if training has diverged."""
    recipe, step = training.config.recipe, training.step
    if training.probing is not None:
        training.probing.before_step(step)
    with training.noise.during_passes(step) if training.noise is not None else nullcontext():
        loss = training.accumulate(step, training.stream.batch(step))
    norm = limit_gradient(training.accumulate.parameters, recipe.clip_norm)
    if training.noise is not None:
        training.noise.on_gradients(step)
    training.reason = watch.verdict(step, loss, norm)
    if training.reason:
        training.status = "diverged"
        return None
    set_lr(training, step)
    if training.probing is not None:
        training.probing.after_gradient(step)
    training.optimizer.step()
    if training.probing is not None:
        training.probing.after_step(step)
    if training.average is not None:
        training.average.update()
    training.step = step + 1
    return loss


def set_lr(training: Training, step: int) -> None:
    """Give every parameter group the learning rate of weight update `step`, whose gradient is there."""
    adascale, schedule = training.adascale, training.schedule
    factor = schedule(step) if adascale is None else adascale.factor(schedule)
    training.lr = training.config.recipe.peak_lr(training.config.batch_size) * factor
    for group in training.optimizer.param_groups:
        group["lr"] = training.lr * group.get("lr_factor", 1.0)


def has_diverged(training: Training, watch: FiniteWatch) -> bool:
    """Return whether any step so far has diverged, noting so: scores after such a step would say something else."""
    training.reason = watch.final()
    if training.reason:
        training.status = "diverged"
    return bool(training.reason)


def is_hopeless(training: Training, point: HistoryPoint) -> bool:
    """Return whether the trial's stop rule ends it at `point`, noting so."""
    assert point.selection is not None
    rule, direction = training.config.stop, training.workload.metric.direction
    training.reason = hopeless(rule, training.step, training.total_steps, point.selection, direction)
    if training.reason:
        training.status = "pruned"
    return bool(training.reason)


def settle(training: Training, watch: FiniteWatch) -> None:
    """Judge a training that took all its steps: its last one, and the scores it ends with, may not be finite."""
    if has_diverged(training, watch):
        return
    last = training.history[-1].selection
    if last is None or last.metric is None or last.loss is None:
        training.status, training.reason = "diverged", "the loss on the selection split was not finite at the end"


def limit_gradient(parameters: list[nn.Parameter], clip_norm: float | None) -> Tensor:
    """Return the global norm of the gradients, after scaling them so that it is at most `clip_norm`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip_norm is not None:
        torch._foreach_mul_(gradients, torch.clamp(clip_norm / (norm + 1e-6), max=1.0))
    return norm


def measure(training: Training, losses: list[Tensor]) -> HistoryPoint:
    """Append and return the history point of this moment."""
    with answering(training):
        selection = scores(training, training.examples.selection)
        watched = {name: scores(training, split) for name, split in training.watched.items()}
    point = HistoryPoint(
        step=training.step,
        epoch=training.step * training.config.batch_size / len(training.examples.train),
        lr=training.lr,
        train_loss=torch.stack(losses).mean().item() if losses else None,
        selection=selection,
        **watched,
    )
    training.history.append(point)
    return point


def final_scores(training: Training) -> tuple[Scores | None, Scores | None]:
    """Return the scores on the selection and the test split at the end, None and None unless training completed."""
    if training.status != "complete":
        return None, None
    selection = training.history[-1].selection
    if training.examples.test is training.examples.selection:
        return selection, selection
    with answering(training):
        return selection, scores(training, training.examples.test)


def answering(training: Training) -> AbstractContextManager[None]:
    """Return a context in which the model has the weights and batch-norm statistics that it answers with."""
    estimate = None
    if training.config.recipe.batch_norm_statistics == "estimated":
        estimate = functools.partial(
            estimate_statistics,
            model=training.model,
            split=training.examples.train,
            layout=training.layout,
            unit=microbatch.granularity(training.model, training.config.batch_size),
            device=training.device,
        )
    return evaluated_weights(training.model, training.optimizer, training.average, estimate)


def scores(training: Training, split: Split) -> Scores:
    """Return the scores on `split` of the model as it is."""
    return evaluate(
        training.model, training.workload, split, training.layout, chunk=training.chunk, device=training.device
    )
