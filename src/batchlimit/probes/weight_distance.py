"""How far the weights have travelled from where they began, and a sketch of where they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from batchlimit.optimizers.trust_ratio import norms
from batchlimit.probes import probes
from batchlimit.probes.probe import Probe, Setting, rounded

BUCKETS = 512
CHUNK = 1 << 20
# What makes the sketches of all trials comparable: never change it.
SKETCH_SEED = 0x62617463686C696D


@probes.register("weight-distance")
class WeightDistance(Probe):
    """The distance of the weights from their start, overall and per layer, and a sketch of the end point.

    Measured are the trained parameters after the update (a schedule-free solver's training weights; not an average of
    the recipe's, not batch-norm statistics). `updates` counts updates made: 1, 2, ... The result:

        {"updates": [...], "epochs": [...], "distance": [...], "layers": {name: [...]},
         "initial_norm": x, "final_norm": x, "final_distance": x, "parameters": n,
         "sketch": [...], "end_sketch": [...]}

    `sketch` and `end_sketch` are count sketches (512 numbers, the same hash for all trials) of w_T - w_0 and of w_T,
    from which `analysis.end_points` estimates distances and angles between the end points of trials from their records
    alone: unbiased for squared distances, with a relative standard deviation of at most sqrt(2 / 512) = 6 % there and
    half of that, 3 %, for distances. Where training ended early, T is the last update made. The memory is one copy of
    the parameters.

    Source: You et al., "The Limit of the Batch Size", 2020, section 4.2, Figures 11 and 12; Charikar, Chen and
    Farach-Colton, 2002 (count sketch); Weinberger et al., 2009 (arXiv 0902.2206), lemma 2, for its variance.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._parameters = {name: parameter.detach() for name, parameter in setting.parameters.items()}
        self._start = [parameter.clone() for parameter in self._parameters.values()]
        self._updates: list[int] = []
        # Norms stay on the device until the end: no step waits for them.
        self._norms: list[Tensor] = []
        self._end: dict[str, Any] | None = None

    def after_step(self, step: int) -> None:
        """Note the distance of each layer; after the last update, the end point too."""
        self._updates.append(step + 1)
        self._norms.append(self._layer_distances())
        if step + 1 == self.setting.total_steps:
            self._end = self._end_point()

    def result(self) -> dict[str, Any]:
        """Return the distances and the end point; None where a number is not finite."""
        end = self._end if self._end is not None else self._end_point()
        per_epoch = self.setting.batch_size / self.setting.dataset_size
        rows = [distances.double().tolist() for distances in self._norms]
        table = np.array(rows).reshape(len(rows), len(self._start))
        return {
            "updates": self._updates,
            "epochs": [rounded(count * per_epoch) for count in self._updates],
            "distance": _plain(np.sqrt((table**2).sum(axis=1))),
            "layers": {name: _plain(table[:, index]) for index, name in enumerate(self._parameters)},
            **end,
        }

    @classmethod
    def line(cls, result: dict[str, Any]) -> str:
        """Return how far the weights went."""
        gone, start = result["final_distance"], result["initial_norm"]
        if gone is None:
            return "the weights are not finite"
        share = f", {gone / start:.3g} times the norm they began with" if start else ""
        return f"the weights end {gone:.4g} from where they began{share}"

    def _layer_distances(self) -> Tensor:
        pairs = zip(self._parameters.values(), self._start, strict=True)
        # One layer at a time: beside the copy of the start, no more memory than the largest of them.
        return torch.cat([norms([now - before]) for now, before in pairs])

    def _end_point(self) -> dict[str, Any]:
        moved, ended = Sketch(), Sketch()
        for now, before in zip(self._parameters.values(), self._start, strict=True):
            moved.add(_values(now) - _values(before))
            ended.add(_values(now))
        began = torch.cat([norms([before]) for before in self._start]).double().norm()
        return {
            "initial_norm": rounded(began.item()),
            "final_norm": rounded(ended.norm),
            "final_distance": rounded(moved.norm),
            "parameters": ended.count,
            "sketch": _plain(moved.buckets),
            "end_sketch": _plain(ended.buckets),
        }


class Sketch:
    """A count sketch of a vector that comes in parts: `BUCKETS` sums of its elements with signs, by hash of the index.

    The hash is SplitMix64 of the element's index, the same everywhere and at all times.
    """

    def __init__(self) -> None:
        self.buckets = np.zeros(BUCKETS)
        self.count = 0
        self._squares = 0.0

    @property
    def norm(self) -> float:
        """The vector's own norm, exact."""
        return float(np.sqrt(self._squares))

    def add(self, part: np.ndarray) -> None:
        """Add the next elements of the vector, of any shape, in fp64."""
        flat = part.reshape(-1)
        for begin in range(0, len(flat), CHUNK):
            values = flat[begin : begin + CHUNK]
            hashed = _hashed(self.count, len(values))
            signed = np.where(hashed & np.uint64(1), values, -values)
            buckets = (hashed >> np.uint64(32)).astype(np.int64) % BUCKETS
            self.buckets += np.bincount(buckets, weights=signed, minlength=BUCKETS)
            self._squares += float(np.dot(values, values))
            self.count += len(values)


def _hashed(first: int, count: int) -> np.ndarray:
    """Return 64 hashed bits for each index from `first` on."""
    bits = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(SKETCH_SEED)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return hashed


def _values(tensor: Tensor) -> np.ndarray:
    values: np.ndarray = tensor.double().cpu().numpy().reshape(-1)
    return values


def _plain(values: np.ndarray) -> list[float]:
    return [rounded(float(value)) for value in values]
