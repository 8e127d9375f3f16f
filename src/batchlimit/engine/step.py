"""The exact gradient of one step: the mean over B examples, whatever micro-batches it is computed in.

Source: You et al., 2020, equation (SGD): g = (1 / |S_t|) * sum of the gradients of the examples in S_t.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.data.splits import Split
from batchlimit.engine.layout import Layout
from batchlimit.errors import InputError
from batchlimit.models import randomness
from batchlimit.workloads.workload import Workload


@contextlib.contextmanager
def arithmetic(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Run what is inside in the recipe's precision: bf16 by autocast, fp32 as it is."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        yield


@contextlib.contextmanager
def full_fp32(device: torch.device) -> Iterator[None]:
    """Compute what is inside in fp32 where it says fp32: without TF32, which cuDNN's convolutions use by default."""
    settings = _tf32_settings() if device.type == "cuda" else []
    kept = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, without in settings:
            setattr(owner, name, without)
        yield
    finally:
        for (owner, name, _), before in zip(settings, kept, strict=True):
            setattr(owner, name, before)


def _tf32_settings() -> list[tuple[Any, str, Any]]:
    """Return (owner, attribute, value without TF32) of what decides over TF32 in cuDNN."""
    backends: Any = torch.backends
    cudnn = backends.cudnn
    older = [(cudnn, "allow_tf32", False)]
    newer = [(cudnn.conv, "fp32_precision", "ieee"), (cudnn.rnn, "fp32_precision", "ieee")]
    # torch's newer names do not mix with the older, which other code reads: they serve only where someone set them.
    if {backends.fp32_precision, cudnn.fp32_precision} != {"none"}:
        return newer
    try:
        cudnn.allow_tf32  # noqa: B018 (raises where an operator's own name was set)
    except RuntimeError:
        return newer
    return older


def out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is a device or the host running out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class GradientAccumulator:
    """Leaves the mean gradient over a batch in the parameters' `.grad`, through micro-batches.

    Peak memory is that of one micro-batch. When memory runs out, the micro-batch size is halved for good (down to
    `smallest`, of which it stays a multiple) and the step computed again: the result is the same up to rounding.
    """

    def __init__(
        self,
        model: nn.Module,
        workload: Workload,
        recipe: Recipe,
        split: Split,
        layout: Layout,
        *,
        device: torch.device,
        microbatch_size: int,
        seed: int,
        smallest: int = 1,
    ) -> None:
        self.microbatch_size = microbatch_size
        # Walking the module tree at every step would cost a tenth of a small model's training.
        self.parameters, self._buffers = list(model.parameters()), _by_type(model.buffers())
        self._model, self._workload, self._recipe = model, workload, recipe
        self._split, self._layout, self.device = split, layout, device
        self._seed, self._smallest = seed, smallest
        # What becomes of (outputs, targets) before the loss: noise on labels; None leaves both as they are.
        self.disturb_targets: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        # Each called with (step, start, stop) after each backward pass, when `.grad` is the sum up to `stop`, over B.
        self.observers: list[Callable[[int, int, int], None]] = []
        # Numbers of parts that a batch is cut into at fixed places, for observers that compare the parts' gradients.
        self.divisions: tuple[int, ...] = ()

    def __call__(self, step: int, indices: Tensor) -> Tensor:
        """Compute the gradient of weight update `step` over `indices` (B,) and return the mean training loss (scalar).

        Raises:
            InputError: memory runs out at the smallest micro-batch.
        """
        while True:
            kept = [[torch.empty_like(buffer) for buffer in group] for group in self._buffers]
            _copy(self._buffers, kept)
            try:
                return self._pass(step, indices)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._halve(len(indices))
            _copy(kept, self._buffers)

    def loss_on(self, indices: Tensor) -> Tensor:
        """Return the mean training loss (scalar, with graph) on `indices` (n,) in one pass: for probes."""
        inputs, targets = self._split.gather(indices)
        with arithmetic(self._recipe, self.device):
            outputs = self._model(self._layout(inputs))
            loss = self._workload.loss(outputs.float(), targets, label_smoothing=self._recipe.label_smoothing)
        return loss / len(indices)

    def _pass(self, step: int, indices: Tensor) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        total = torch.zeros((), device=self.device)
        for start, stop in self._passes(len(indices)):
            total += self._backward(step, indices, start, stop)
            for observe in self.observers:
                observe(step, start, stop)
        return total / len(indices)

    def _passes(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield the examples [start, stop) of each pass: no pass reaches over the end of a part.

        Part k of P ends at the first multiple of `smallest` that is at least k * count / P, whatever else cuts there.
        """
        ends = {count}
        for parts in self.divisions:
            width = parts * self._smallest
            ends.update(min(count, -(-part * count // width) * self._smallest) for part in range(1, parts))
        start = 0
        for end in sorted(ends):
            while start < end:
                stop = min(start + self.microbatch_size, end)
                yield start, stop
                start = stop

    def _backward(self, step: int, indices: Tensor, start: int, stop: int) -> Tensor:
        inputs, targets = self._split.gather(indices[start:stop])
        place = randomness.at(seed=self._seed, step=step, start=start, stop=stop)
        with place, arithmetic(self._recipe, self.device):
            outputs = self._model(self._layout(inputs))
            if self.disturb_targets is not None:
                outputs, targets = self.disturb_targets(outputs, targets)
            loss = self._workload.loss(outputs.float(), targets, label_smoothing=self._recipe.label_smoothing)
        with randomness.backward_of(place, self.device):
            torch.autograd.backward(loss / len(indices))
        return loss.detach()

    def _halve(self, batch_size: int) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        units = min(self.microbatch_size, batch_size) // self._smallest
        if units < 2:
            raise InputError(
                f"Memory ran out on {self.device} at a micro-batch of {self.microbatch_size}, the smallest possible "
                f"for '{self._workload.name}'. A model with plain batch norm needs ghost_batch_size to go lower."
            ) from None
        self.microbatch_size = units // 2 * self._smallest


def _by_type(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return tensors in groups of one type: such a group is copied in one launch."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


@torch.no_grad()
def _copy(source: list[list[Tensor]], target: list[list[Tensor]]) -> None:
    for those, these in zip(source, target, strict=True):
        torch._foreach_copy_(these, those)
