"""Weight updates of the ResNet-50 parameter list (161 tensors, 25.6 million numbers) on one CPU thread.

    python benchmarks/optimizers.py [--rounds 30] [--keep-memory] [--json]

One interleaved run, CPU time, medians. `usual LARS` and `usual LAMB` are scratch twins of the per-tensor loops that
common packages run by default: one operation at a time on each tensor, each operation a pass over memory. With `--json`
one object of time ratios, ours / theirs:

    lars_vs_sgd_foreach         LARS / torch.optim.SGD(foreach=True)                                    aim <= 0.45
    lars_vs_timm_default        LARS / usual LARS                          aim <= 0.33; with --keep-memory <= 0.56
    lamb_vs_timm_default        LAMB, clipping like the other, / usual LAMB                             aim <= 0.50
    layerwise_extra_over_bound  (LayerWise(SGD) - SGD) / a copy of the parameters, one read and write   aim <= 1
    layerwise_extra_over_in_place  the same / one pass that multiplies the parameters by 1 where they are
    lars_over_bound             LARS / (fused SGD + one read of weights and gradients)     what memory leaves to gain
    bound_vs_timm_default       the same bound / usual LARS                                what the aim could be here

What bounds it: memory, not arithmetic (with tensors of two numbers each, a LARS step is 1.2 ms). LARS has to read
weights and gradients for their norms before it can write the first weight, and the fused SGD then reads both again with
the buffer: five reads in all, and `lars_over_bound` says how near it is. `LayerWise` has to read weights and update a
second time: an ideal kernel adds two reads, 1.5 passes in place. LAMB adds two reads of the weights and one of its
update to Adam, whose square roots and divisions are half of its time. `--keep-memory` tells the allocator to keep its
memory, as batchlimit's engine does: `foreach` and the usual loops then pay no page faults for their temporaries (ours
have none), so the ratios are worse there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from _measure import emit, interleaved
from batchlimit.config import LayerWise, Recipe
from batchlimit.engine.allocator import keep_memory
from batchlimit.optimizers.build import build_optimizer

MOMENTUM, DECAY = 0.9, 1e-4


def resnet50_shapes() -> Iterator[tuple[int, ...]]:
    """Yield the shapes of ResNet-50's 161 parameters, in order."""
    yield (64, 3, 7, 7)
    yield from [(64,), (64,)]
    entering = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for shape in ((width, entering, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                yield shape
                yield from [shape[:1], shape[:1]]
            if block == 0:
                yield (4 * width, entering, 1, 1)
                yield from [(4 * width,), (4 * width,)]
            entering = 4 * width
    yield (1000, 2048)
    yield (1000,)


def make_parameters() -> list[tuple[str, nn.Parameter]]:
    """Return named parameters of ResNet-50's shapes, with gradients."""
    generator = torch.Generator().manual_seed(0)
    named = []
    for index, shape in enumerate(resnet50_shapes()):
        parameter = nn.Parameter(0.05 * torch.randn(shape, generator=generator))
        parameter.grad = 1e-3 * torch.randn(shape, generator=generator)
        named.append((f"p{index}", parameter))
    return named


def ours(solver: str, layerwise: bool = False, **options: float | bool | str) -> Callable[[], object]:
    """Return the step of a registered solver on parameters of its own."""
    recipe = Recipe(
        solver=solver,
        lr=1e-3,
        weight_decay=DECAY,
        solver_options=options,
        layerwise=LayerWise() if layerwise else None,
    )
    return build_optimizer(recipe, make_parameters()).step


def torch_sgd(**implementation: bool) -> Callable[[], object]:
    """Return the step of `torch.optim.SGD`, implemented as said."""
    parameters = [parameter for _, parameter in make_parameters()]
    return torch.optim.SGD(parameters, lr=1e-3, momentum=MOMENTUM, weight_decay=DECAY, **implementation).step


@torch.no_grad()
def usual_lars_step(parameters: list[nn.Parameter], buffers: list[Tensor]) -> None:
    """Update by LARS as commonly written: tensor by tensor, operation by operation, biases and norms too."""
    for parameter, buffer in zip(parameters, buffers, strict=True):
        gradient = parameter.grad
        weight_norm, gradient_norm = parameter.norm(2.0), gradient.norm(2.0)
        one = torch.ones_like(weight_norm)
        ratio = 1e-3 * weight_norm / (gradient_norm + weight_norm * DECAY + 1e-8)
        ratio = torch.where(weight_norm > 0, torch.where(gradient_norm > 0, ratio, one), one)
        gradient = gradient.add(parameter, alpha=DECAY).mul_(ratio)
        buffer.mul_(MOMENTUM).add_(gradient)
        parameter.add_(buffer, alpha=-1e-3)


@torch.no_grad()
def usual_lamb_step(parameters: list[nn.Parameter], means: list[Tensor], squares: list[Tensor]) -> None:
    """Update by LAMB as commonly written, with its customary clipping to a global norm of 1."""
    total = torch.zeros(())
    for parameter in parameters:
        total = total + parameter.grad.pow(2).sum()
    factor = (total.sqrt() / 1.0).clamp_(min=1.0)
    for parameter, mean, square in zip(parameters, means, squares, strict=True):
        gradient = parameter.grad.div_(factor)
        mean.mul_(0.9).add_(gradient, alpha=0.1)
        square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        update = (mean / 0.5).div_((square.sqrt() / 0.5).add_(1e-6))
        update.add_(parameter, alpha=DECAY)
        weight_norm, update_norm = parameter.norm(2.0), update.norm(2.0)
        one = torch.ones_like(weight_norm)
        update.mul_(torch.where(weight_norm > 0, torch.where(update_norm > 0, weight_norm / update_norm, one), one))
        parameter.add_(update, alpha=-1e-3)


def usual(step: Callable[..., None], states: int) -> Callable[[], object]:
    """Return one of the loops above on parameters of its own."""
    parameters = [parameter for _, parameter in make_parameters()]
    buffers = [[torch.zeros_like(parameter) for parameter in parameters] for _ in range(states)]
    return lambda: step(parameters, *buffers)


def read_and_write() -> Callable[[], object]:
    """Return one read and one write of all parameters: what a pass over memory costs."""
    parameters = [parameter.detach() for _, parameter in make_parameters()]
    return lambda: [parameter.mul_(1.0) for parameter in parameters]


def copy() -> Callable[[], object]:
    """Return a copy of all parameters."""
    source, target = ([parameter.detach() for _, parameter in make_parameters()] for _ in range(2))
    return lambda: [a.copy_(b) for a, b in zip(target, source, strict=True)]


def two_reads() -> Callable[[], object]:
    """Return one read of all weights and gradients."""
    flat = [t.detach().view(-1) for _, p in make_parameters() for t in (p, p.grad)]
    return lambda: [torch.dot(tensor, tensor) for tensor in flat]


def measure(rounds: int) -> dict[str, float]:
    """Return the median CPU time of each candidate's step, in milliseconds."""
    candidates = {
        "SGD foreach": torch_sgd(foreach=True),
        "SGD loop": torch_sgd(foreach=False),
        "SGD fused": torch_sgd(fused=True),
        "usual LARS": usual(usual_lars_step, 1),
        "usual LAMB": usual(usual_lamb_step, 2),
        "lars": ours("lars"),
        "lars, LR outside": ours("lars", lr_in_buffer=False),
        "lars, Nesterov": ours("lars", nesterov=True),
        "lamb": ours("lamb"),
        "lamb, clipped": ours("lamb", clip_norm=1.0),
        "momentum": ours("momentum"),
        "momentum, layer-wise": ours("momentum", layerwise=True),
        "adam": ours("adam"),
        "adam, layer-wise": ours("adam", layerwise=True),
        "read and write": read_and_write(),
        "copy": copy(),
        "two reads": two_reads(),
    }
    return {name: 1e3 * seconds for name, seconds in interleaved(candidates, rounds).items()}


def ratios(times: dict[str, float]) -> dict[str, float]:
    """Return the ratios that the aims are stated in."""
    extra = times["momentum, layer-wise"] - times["momentum"]
    bound = times["SGD fused"] + times["two reads"]
    return {
        "lars_vs_sgd_foreach": times["lars"] / times["SGD foreach"],
        "lars_vs_timm_default": times["lars"] / times["usual LARS"],
        "lamb_vs_timm_default": times["lamb, clipped"] / times["usual LAMB"],
        "layerwise_extra_over_bound": extra / times["copy"],
        "layerwise_extra_over_in_place": extra / times["read and write"],
        "lars_over_bound": times["lars"] / bound,
        "bound_vs_timm_default": bound / times["usual LARS"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="one JSON object of the ratios")
    parser.add_argument("--keep-memory", action="store_true", help="tell the allocator to keep its memory")
    arguments = parser.parse_args()
    if arguments.keep_memory and not keep_memory():
        parser.error("this system's allocator cannot be told to keep its memory")
    torch.set_num_threads(1)
    times = measure(arguments.rounds)
    if not arguments.json:
        print("milliseconds of CPU time a step")
        emit(False, times)
        print("\nratios, ours / theirs")
    emit(arguments.json, ratios(times))


if __name__ == "__main__":
    main()
