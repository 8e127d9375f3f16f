"""Schedules in anyone's torch training loop."""

from __future__ import annotations

import io

import pytest
import torch

from batchlimit.errors import InputError
from batchlimit.schedules.as_torch import lr_scheduler
from batchlimit.schedules.build import make_schedule


def _optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": peak} for peak in (0.4, 0.02)]
    return torch.optim.SGD(groups, lr=1.0)


def _train(optimizer, scheduler, steps) -> list[list[float]]:
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def test_each_group_follows_the_factor_from_the_first_step() -> None:
    optimizer = _optimizer()
    seen = _train(optimizer, lr_scheduler(optimizer, "polynomial", 12, 2.5, power=2.0), 12)
    factor = make_schedule("polynomial", {"power": 2.0}, total_steps=12, warmup_steps=2.5)
    for step, (first, second) in enumerate(seen):
        assert first == pytest.approx(0.4 * factor(step))
        assert second == pytest.approx(0.02 * factor(step))


def test_a_checkpoint_goes_on_where_it_stopped() -> None:
    whole = _optimizer()
    expected = _train(whole, lr_scheduler(whole, "cosine", 10, 3), 10)
    first = _optimizer()
    scheduler = lr_scheduler(first, "cosine", 10, 3)
    seen = _train(first, scheduler, 4)
    file = io.BytesIO()
    torch.save((first.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    optimizer_state, scheduler_state = torch.load(file, weights_only=True)
    second = _optimizer()
    resumed = lr_scheduler(second, "cosine", 10, 3)
    second.load_state_dict(optimizer_state)
    resumed.load_state_dict(scheduler_state)
    assert seen + _train(second, resumed, 6) == expected


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match=r"no option 'powr'\. Valid: decay_from, end, power"):
        lr_scheduler(_optimizer(), "polynomial", 10, 0, powr=2)
