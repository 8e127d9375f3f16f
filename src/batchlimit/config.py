"""What is asked for: recipes and trials, frozen, validated and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from batchlimit.durations import Duration
from batchlimit.errors import InputError

Scalar = bool | int | float | str
Initialization = Literal["torch", "glorot-uniform", "glorot-normal", "he-uniform", "he-normal", "orthogonal"]
DurationField = Annotated[Duration, BeforeValidator(Duration.parse), PlainSerializer(str, return_type=str)]


def _trainable(length: Duration) -> Duration:
    if length.unit == "fraction" or length.amount <= 0:
        raise ValueError(f"'{length}' must be a positive number of steps, epochs or examples")
    return length


TrainingLength = Annotated[DurationField, AfterValidator(_trainable)]


class Frozen(BaseModel):
    """Base of all configuration: immutable, unknown fields forbidden, non-finite numbers forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def updated(self, changes: Mapping[str, Any]) -> Any:
        """Return a copy with `changes` (dotted names, as 'solver_options.momentum') applied and validated again.

        Raises:
            pydantic.ValidationError: a name or a value that the model does not take.
        """
        return type(self).model_validate(self.merged(changes))

    def merged(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plain data of this with `changes` applied, as they are: what `updated` validates."""
        data = self.model_dump(exclude_defaults=True)
        for name, value in changes.items():
            place = data
            *path, last = name.split(".")
            for part in path:
                below = place.get(part)
                place[part] = dict(below) if isinstance(below, dict) else {}
                place = place[part]
            place[last] = value
        return data

    def canonical(self) -> str:
        """Return the JSON text whose hash identifies this: sorted, defaults left out, so new fields keep old hashes."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


class LayerWise(Frozen):
    """Layer-wise rescaling of a solver's update by a trust ratio ||w|| / ||update||, clamped to [lower, upper].

    `exclude` says which parameters keep a ratio of 1: '1d' (biases and norms) or 'nothing'.
    Source: You et al., 2020, section 3.1 and Table 3.
    """

    lower: float = Field(default=0.0, ge=0)
    upper: float | None = Field(default=None, gt=0)
    coefficient: float = Field(default=1.0, gt=0)
    exclude: Literal["1d", "nothing"] = "1d"

    @model_validator(mode="after")
    def _ordered(self) -> LayerWise:
        if self.upper is not None and self.upper < self.lower:
            raise ValueError(f"upper ({self.upper:g}) is below lower ({self.lower:g})")
        return self


class Noise(Frozen):
    """Gaussian noise in training, drawn anew at every step from the trial's seed, whatever the micro-batch size.

    On the outputs of every layer ('activations'), on the weights while a step's gradient is computed, on the gradients
    (after `clip_norm`), or on the labels: class indices become rows of class probabilities plus noise, which the
    workload's loss has to take, as cross entropy does. Its standard deviation is `std` throughout (decay 'none'), falls
    to 0 at the end ('linear'), or is std / (1 + step)^(power / 2) ('power').
    Source: You et al., 2020, section 6.3; Neelakantan et al., 2015 (arXiv 1511.06807), equation 1, for 'power'.
    """

    where: Literal["activations", "weights", "gradients", "labels"]
    std: float = Field(gt=0)
    decay: Literal["none", "linear", "power"] = "none"
    power: float = Field(default=0.55, gt=0)


class Averaging(Frozen):
    """Averaging of the weights along the training: trained as ever, evaluated with their average.

    'ema' is the exponential average in which a weight counts `decay` as much after each step, or, whatever the batch
    size, half as much after each `half_life` where that is given. 'tail' is the plain mean of the weights after every
    step. Steps before `start` are left out. Batch-norm statistics are averaged alike.
    Source: Polyak and Juditsky, 1992; Jain et al., 2018 (arXiv 1610.03774); Morales-Brotons et al., 2024
    (arXiv 2411.18704).
    """

    kind: Literal["ema", "tail"] = "ema"
    decay: float = Field(default=0.99, gt=0, lt=1)
    half_life: DurationField | None = None
    start: DurationField = Duration(0.0, "epochs")

    @model_validator(mode="after")
    def _one_decay(self) -> Averaging:
        decay_given = self.decay != type(self).model_fields["decay"].default
        if self.kind == "tail" and (decay_given or self.half_life is not None):
            raise ValueError("a 'tail' average has no decay or half_life. Valid: start, or kind 'ema'")
        if decay_given and self.half_life is not None:
            raise ValueError(
                f"decay {self.decay:g} and half_life '{self.half_life}' both say how fast weights are forgotten. "
                "Valid: one of the two"
            )
        if self.half_life is not None and self.half_life.amount <= 0:
            raise ValueError(f"the half_life '{self.half_life}' must be above 0")
        return self


class Recipe(Frozen):
    """All that decides the optimization of one trial.

    The peak learning rate is `lr` times the LR rule's factor: 1 for `none`, B / reference_batch_size for `linear`,
    its square root for `sqrt`. `solver_options` and `schedule_options` are keyword arguments of the registered solver
    and schedule. `ghost_batch_size` is the number of examples that share batch-norm statistics; `clip_norm` bounds the
    global gradient norm; `adascale` scales the learning rate for each update by the measured gain of the batch over
    `reference_batch_size` (Johnson et al., 2020), in place of an LR rule; `noise` disturbs training; `averaging` is of
    the weights that are evaluated; `precision` is the arithmetic of the forward and backward pass (weights stay fp32).
    `dropout` is the probability of all dropout layers and `initialization` that of all convolutions and dense layers;
    without them both are as the workload's model has them. `batch_norm_statistics` are, at an evaluation, the 'running'
    ones of training, or 'estimated' at the weights evaluated from training examples.
    """

    solver: str = "momentum"
    lr: float = Field(default=0.1, gt=0)
    lr_rule: Literal["none", "linear", "sqrt"] = "none"
    reference_batch_size: int | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    solver_options: dict[str, Scalar] = Field(default_factory=dict)
    layerwise: LayerWise | None = None
    schedule: str = "constant"
    schedule_options: dict[str, Scalar] = Field(default_factory=dict)
    warmup: DurationField = Duration(0.0, "epochs")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ghost_batch_size: int | None = Field(default=None, gt=0)
    adascale: bool = False
    noise: Noise | None = None
    averaging: Averaging | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    initialization: Initialization | None = None
    batch_norm_statistics: Literal["running", "estimated"] = "running"
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _reference(self) -> Recipe:
        if self.lr_rule != "none" and self.reference_batch_size is None:
            raise ValueError(f"lr_rule '{self.lr_rule}' needs reference_batch_size, the batch size lr is meant for")
        return self

    @model_validator(mode="after")
    def _adascale(self) -> Recipe:
        if not self.adascale:
            return self
        if self.reference_batch_size is None:
            raise ValueError("adascale needs reference_batch_size, the batch size lr is meant for")
        if self.lr_rule != "none":
            raise ValueError(f"adascale takes the place of lr_rule '{self.lr_rule}'. Valid: lr_rule 'none' with it")
        if self.layerwise is not None:
            raise ValueError("adascale scales a learning rate that layerwise rescales again. Valid: one of the two")
        return self

    def with_solver(self, name: str, lr: float, **changes: Any) -> Recipe:
        """Return this recipe with another solver and `changes`.

        Everything that belonged to the old solver (its options, layer-wise scaling, LR rule, schedule and warmup) is
        dropped; what does not is kept: regularization, noise, averaging, clipping, ghost batch norm, initialization and
        precision.
        """
        kept = self.model_dump(include=_KEPT, exclude_defaults=True)
        return Recipe.model_validate({**kept, "solver": name, "lr": lr, **changes})

    def peak_lr(self, batch_size: int) -> float:
        """Return the largest learning rate of the schedule at `batch_size`."""
        if self.lr_rule == "none" or self.reference_batch_size is None:
            return self.lr
        ratio = batch_size / self.reference_batch_size
        return float(self.lr * (ratio if self.lr_rule == "linear" else ratio**0.5))


# What takes every rule that scales the LR with the batch size out of a recipe.
UNSCALED: dict[str, Any] = {"lr_rule": "none", "reference_batch_size": None, "adascale": False}
_KEPT = {
    "weight_decay",
    "label_smoothing",
    "noise",
    "averaging",
    "clip_norm",
    "ghost_batch_size",
    "dropout",
    "initialization",
    "batch_norm_statistics",
    "precision",
}


class StopRule(Frozen):
    """When a trial is hopeless: at `fraction` of its steps the selection metric is still worse than `metric`."""

    fraction: float = Field(gt=0, lt=1)
    metric: float


class TrialConfig(Frozen):
    """One training run of (workload, batch size, budget, recipe, seed); its hash is its identity.

    `protocol` decides what is trained on and selected by: 'validation' holds out the workload's validation split and
    selects on it; 'paper' trains on all training examples and selects on the test split, as the paper did.
    `probes` names what is measured while it trains, and `watch` the splits ('train', 'test') that are scored after
    every epoch besides the one selected by.
    """

    workload: str
    batch_size: int = Field(gt=0)
    budget: TrainingLength
    recipe: Recipe = Recipe()
    seed: int = Field(default=0, ge=0)
    protocol: Literal["validation", "paper"] = "validation"
    stop: StopRule | None = None
    probes: tuple[str, ...] = ()
    watch: tuple[Literal["train", "test"], ...] = ()

    @field_validator("probes", mode="before")
    @classmethod
    def _each_once(cls, given: Any) -> Any:
        """Take text with commas too; sort and drop repeated names, which do not make it another trial."""
        names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            return names
        return tuple(sorted({name for name in names if name}))

    def total_steps(self, dataset_size: int) -> int:
        """Return the number of weight updates, ceil(epochs * N / B).

        Raises:
            InputError: the batch is larger than the training set.
        """
        if self.batch_size > dataset_size:
            raise InputError(
                f"batch_size {self.batch_size} is larger than the {dataset_size} training examples of "
                f"'{self.workload}'. Valid: 1 to {dataset_size}."
            )
        return self.budget.steps(batch_size=self.batch_size, dataset_size=dataset_size)
