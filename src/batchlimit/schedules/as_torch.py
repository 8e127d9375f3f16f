"""Our schedules as torch learning-rate schedulers, for anyone's training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchlimit.config import Scalar
from batchlimit.schedules.build import make_schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


def lr_scheduler(
    optimizer: Optimizer, name: str, total_steps: int, warmup_steps: float = 0.0, **options: Scalar
) -> LambdaLR:
    """Return a torch scheduler that sets each group's learning rate to its initial one times the schedule's factor.

    The learning rates given to `optimizer` are the peaks. Call `step()` once after each `optimizer.step()`; the
    `state_dict` holds the step count and the peaks, and loads into a scheduler made with the same arguments.

    Raises:
        InputError: an unknown schedule, or options it does not take.
    """
    from torch.optim.lr_scheduler import LambdaLR  # here, so that drawing a schedule needs no torch

    return LambdaLR(optimizer, make_schedule(name, options, total_steps=total_steps, warmup_steps=warmup_steps))
