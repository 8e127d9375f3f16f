"""The weights that a trial is evaluated at, and batch norm at them.

Running statistics lag behind the weights, by many updates of a training that has few, and where a solver or an average
answers with other weights than are trained, they are of activations that the model no longer has. A recipe may ask for
statistics that are estimated anew before each evaluation; afterwards everything is put back.

Source: the caveats in the README of the authors' schedule-free (github.com/facebookresearch/schedule_free): passes over
training examples in train mode at x, right before an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.data.splits import Split
from batchlimit.engine.layout import Layout
from batchlimit.engine.seeds import generator
from batchlimit.engine.step import out_of_memory
from batchlimit.errors import InputError
from batchlimit.optimizers.averaging import WeightAverage

EXAMPLES = 2048
_PASS = 256


@contextmanager
def evaluated_weights(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    estimate: Callable[[list[_BatchNorm]], None] | None,
) -> Iterator[None]:
    """Hold in `model`, inside the `with` block, the weights that `optimizer`, or `average` of them, answers with.

    `estimate` sets the running statistics of the batch norms it is given, at these weights; afterwards weights and
    statistics are, bit for bit, what they were. Without it they are the running ones, averaged as the weights are, and
    the optimizer alone puts its weights back, as exactly as it does.
    """
    norms = moving_norms(model) if estimate is not None else []
    held = [*model.parameters(), *(tensor for norm in norms for tensor in norm.buffers(recurse=False))] if norms else []
    kept = [tensor.detach().clone() for tensor in held]
    with_mode(optimizer, train_mode=False)
    try:
        with average.applied() if average is not None else nullcontext():
            if estimate is not None and norms:
                estimate(norms)
            yield
    finally:
        with_mode(optimizer, train_mode=True)
        with torch.no_grad():
            for live, before in zip(held, kept, strict=True):
                live.copy_(before)


def with_mode(optimizer: torch.optim.Optimizer, *, train_mode: bool) -> None:
    """Put an optimizer whose training and evaluation weights differ (schedule-free) into the mode asked for."""
    switch = getattr(optimizer, "train" if train_mode else "eval", None)
    if callable(switch):
        switch()


def moving_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms whose running statistics move in training as `model` is now; frozen ones do not."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.training and can_move(norm)]


def can_move(norm: _BatchNorm) -> bool:
    """Return whether `norm` has running statistics that move while it is in training mode."""
    held = norm.running_mean, norm.running_var, norm.num_batches_tracked
    return norm.momentum != 0.0 and norm.track_running_stats and all(tensor is not None for tensor in held)


def estimate_statistics(
    norms: list[_BatchNorm], model: nn.Module, split: Split, layout: Layout, *, unit: int, device: torch.device
) -> None:
    """Set the running statistics of `norms` to their plain averages over training examples at the present weights.

    The examples are a fixed random few of `split`: as many whole `unit`s (`microbatch.granularity`) as hold `EXAMPLES`,
    or as there are. Spans are those of training: ghost batches, the whole batch with plain batch norm. How training
    is cut into micro-batches has no part in it. All of `model` but `norms` is in eval mode, so nothing is dropped and
    no noise is added; arithmetic is fp32, as an evaluation's. Modes, momenta and random generators are put back.

    Raises:
        InputError: memory runs out at one `unit`.
    """
    count = min(-(-EXAMPLES // unit), len(split) // unit) * unit
    # At random, since the first examples may be of one class; the same ones always, so that scores do not jitter.
    chosen = torch.randperm(len(split), generator=generator(0, "norm statistics"))[:count].to(device)
    # Plain batch norm's span is the pass; ghost batches lie within one, several of them for speed.
    plain = any(getattr(norm, "ghost_batch_size", None) is None for norm in norms)
    size = unit if plain else max(unit, _PASS // unit * unit)
    momenta, training = [norm.momentum for norm in norms], model.training
    model.eval()
    try:
        for norm in norms:
            norm.training, norm.momentum = True, None
        while True:
            try:
                return _take_passes(model, norms, split, layout, chosen, size)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Past the handler, so that the failed pass's tensors are no longer held by its traceback.
            if size == unit:
                raise InputError(f"Memory ran out on {device} in a pass of {unit} examples for batch-norm statistics.")
            size = size // unit // 2 * unit
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)


@torch.no_grad()
def _take_passes(
    model: nn.Module, norms: list[_BatchNorm], split: Split, layout: Layout, chosen: Tensor, size: int
) -> None:
    for norm in norms:
        norm.reset_running_stats()
    # A user's split may draw numbers (augmentation): training must not notice.
    with torch.random.fork_rng(devices=[chosen.device] if chosen.device.type == "cuda" else []):
        for start in range(0, len(chosen), size):
            inputs, _ = split.gather(chosen[start : start + size])
            model(layout(inputs))
