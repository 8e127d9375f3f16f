"""How the learning rate grows with the batch size."""

from __future__ import annotations

import pytest

from batchlimit.errors import InputError
from batchlimit.schedules.scaling import scaled_lr


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.1), ("linear", 3.2), ("sqrt", 0.1 * 32**0.5)])
def test_rules_from_256_to_8192(rule, expected) -> None:
    assert scaled_lr(0.1, rule, batch_size=8192, reference_batch_size=256) == pytest.approx(expected)
    assert scaled_lr(0.1, rule, batch_size=256, reference_batch_size=256) == pytest.approx(0.1)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"Unknown LR rule 'linea'\. Did you mean 'linear'"):
        scaled_lr(0.1, "linea", batch_size=1, reference_batch_size=1)
    for lr, size, reference in ((0.0, 1, 1), (float("nan"), 1, 1), (0.1, 0, 1), (0.1, 1, -1)):
        with pytest.raises(InputError, match="all above 0"):
            scaled_lr(lr, "linear", batch_size=size, reference_batch_size=reference)
