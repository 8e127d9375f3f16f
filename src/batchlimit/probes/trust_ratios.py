"""The trust ratios of a training: those that were applied, or those that would have been."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.optimizers.param_groups import is_excluded
from batchlimit.optimizers.trust_ratio import norms, trust_ratio
from batchlimit.probes import probes
from batchlimit.probes.probe import Probe, Setting, rounded
from batchlimit.words import counted


@probes.register("trust-ratios")
class TrustRatios(Probe):
    """The trust ratio of each layer, and the share of layers that a bound holds.

    For a solver that has trust ratios (`lars`, `lamb`, any with `layerwise`) those that it applied ("applied": true),
    without the layers that its rule exempts. For others the ratio ||w|| / ||update|| that `layerwise` would have given
    them ("applied": false), with w before the step and update = (w' - w) / lr, of every layer; 1 where a norm is 0.
    `updates` counts updates made: 1, 2, ... The result:

        {"updates": [...], "layers": {name: [...]}, "applied": true, "lower": x, "upper": x or None,
         "share_at_lower": [...], "share_at_upper": [...], "excluded": [names]}

    Shares are of the layers listed, at each of `updates`. A lower bound of 0 holds nothing.

    Source: You et al., "The Limit of the Batch Size", 2020, section 3.1 and Table 3.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        optimizer = setting.optimizer
        self._own = getattr(optimizer, "trust_ratios", None)
        self._groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self._all = {name: p for name, p in setting.parameters.items() if id(p) in self._groups}
        self._names = _model_names(optimizer, self._all)
        self._before: dict[str, Tensor] = {}
        self._updates: list[int] = []
        # Ratios stay on the device until the end: no step waits for them.
        self._seen: list[tuple[list[str], Tensor]] = []

    def before_step(self, step: int) -> None:
        """Keep the weights, where the ratio has to be found from what the step does to them."""
        if self._own is None:
            self._before = {name: parameter.detach().clone() for name, parameter in self._all.items()}

    def after_step(self, step: int) -> None:
        """Note the ratio of each layer."""
        ratios = self._found() if self._own is None else self._applied()
        self._before = {}
        self._updates.append(step + 1)
        if ratios:
            self._seen.append((list(ratios), torch.stack([ratio.float() for ratio in ratios.values()])))
        else:
            self._seen.append(([], torch.empty(0)))

    def result(self) -> dict[str, Any]:
        """Return the ratios; None where one is not finite or the layer had no gradient."""
        rows = [dict(zip(names, ratios.tolist(), strict=True)) for names, ratios in self._seen]
        layers = [name for name in self._all if any(name in row for row in rows)]
        bounds = {name: self._bounds(self._all[name]) for name in layers}
        common = next(iter(bounds.values()), (0.0, None))
        return {
            "updates": self._updates,
            "layers": {name: [rounded(row.get(name, float("nan"))) for row in rows] for name in layers},
            "applied": self._own is not None,
            "lower": common[0],
            "upper": common[1],
            "share_at_lower": [_share(row, {name: low for name, (low, _) in bounds.items()}) for row in rows],
            "share_at_upper": [_share(row, {name: high for name, (_, high) in bounds.items()}) for row in rows],
            "excluded": [name for name, parameter in self._all.items() if self._exempt(parameter)],
        }

    @classmethod
    def line(cls, result: dict[str, Any]) -> str:
        """Return the range of the ratios."""
        values = [value for row in result["layers"].values() for value in row if value is not None]
        if not values:
            return "no trust ratio was measured"
        words = "applied" if result["applied"] else "not applied, as layerwise would have them"
        over = counted(len(result["layers"]), "layer")
        return f"from {min(values):.3g} to {max(values):.3g} over {over} ({words})"

    def _applied(self) -> dict[str, Tensor]:
        assert self._own is not None
        ratios = {self._names.get(name, name): ratio for name, ratio in self._own().items()}
        return {name: ratios[name] for name, p in self._all.items() if name in ratios and not self._exempt(p)}

    def _found(self) -> dict[str, Tensor]:
        return {
            name: trust_ratio(norms([before]), norms([self._all[name].detach() - before]) / self._lr(name)).squeeze(0)
            for name, before in self._before.items()
        }

    def _lr(self, name: str) -> Any:
        return self._groups[id(self._all[name])]["lr"]

    def _option(self, parameter: nn.Parameter, option: str, default: Any) -> Any:
        """Return an option of the trust ratio: `LayerWise` has it as its own, `LARS` and `LAMB` in their groups."""
        if self._own is None:
            return default
        own = vars(self.setting.optimizer)
        return own[option] if option in own else self._groups[id(parameter)].get(option, default)

    def _bounds(self, parameter: nn.Parameter) -> tuple[float, float | None]:
        return self._option(parameter, "lower", 0.0), self._option(parameter, "upper", None)

    def _exempt(self, parameter: nn.Parameter) -> bool:
        return is_excluded(parameter, self._option(parameter, "exclude", "nothing"))


def _model_names(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, str]:
    """Return the model's name of each parameter by the optimizer's."""
    mine = {id(parameter): name for name, parameter in parameters.items()}
    names = {}
    for number, group in enumerate(optimizer.param_groups):
        given = group.get("param_names") or [f"{number}.{index}" for index in range(len(group["params"]))]
        names.update({own: mine[id(p)] for own, p in zip(given, group["params"], strict=True) if id(p) in mine})
    return names


def _share(row: dict[str, float], bounds: dict[str, float | None]) -> float | None:
    """Return the share of a step's ratios that lie on their bound; None where there are no ratios."""
    if not row:
        return None
    held = [name for name, bound in bounds.items() if bound and abs(row.get(name, 0.0) - bound) <= 1e-6 * bound]
    return rounded(len(held) / len(row))
