"""Which parameters are exempt: from the trust ratio, or from weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor, nn

from batchlimit.errors import InputError, unknown_name

Exclusion: TypeAlias = Literal["1d", "nothing"]


def is_excluded(tensor: Tensor, rule: str) -> bool:
    """Return whether `rule` exempts `tensor`: '1d' exempts biases, norm scales and scalars; 'nothing' exempts none."""
    return rule == "1d" and tensor.ndim <= 1


def check_exclusion(rule: str, option: str) -> None:
    """Raise an `InputError` that names `option` unless `rule` is a known exclusion rule."""
    if rule not in get_args(Exclusion):
        raise unknown_name(f"value of {option}", str(rule), get_args(Exclusion))


def decay_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float, exclude: str = "nothing"
) -> list[dict[str, Any]]:
    """Return torch parameter groups in which the parameters that `exclude` exempts have no weight decay.

    The groups carry the parameters' names (torch's `param_names`). One group for 'nothing', at most two for '1d'.

    Raises:
        InputError: no parameters, or an unknown rule.
    """
    check_exclusion(exclude, "decay_exclude")
    named = list(named_parameters)
    if not named:
        raise InputError("The model has no parameters to optimize. Valid: a model with at least one parameter.")
    decayed = [(name, parameter) for name, parameter in named if not is_excluded(parameter, exclude)]
    exempt = [(name, parameter) for name, parameter in named if is_excluded(parameter, exclude)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
