"""Random masks that depend on an example's place in its batch, not on how the batch was cut into micro-batches.

A random number here is a pure function of (seed, step, draw, position, feature): integers are mixed by a hash
(counter-based, no generator state), so that one pass over a batch, any micro-batches of it, any ranks and any device
see the same masks bit for bit. The engine says where it is with `at` around each forward pass.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from functools import lru_cache
from types import TracebackType

import torch
from torch import Tensor

_WORD = 0xFFFFFFFFFFFFFFFF


class at:
    """Say that the forward passes within are of the examples [start, stop) of the batch of weight update `step`.

    Used as `with randomness.at(seed=1, step=7, start=0, stop=64): model(inputs)`. `seed` is the trial's. Each
    random layer called within takes the next draw, so passes must call them in one order.
    """

    __slots__ = ("_token", "draws", "seed", "start", "step", "stop")

    def __init__(self, *, seed: int, step: int, start: int, stop: int) -> None:
        assert 0 <= start < stop, f"[{start}, {stop}) is not a range of positions"
        self.seed, self.step, self.start, self.stop = seed, step, start, stop
        self.draws = 0
        self._token: Token[at | None] | None = None

    def __enter__(self) -> at:
        self.draws = 0
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None


_current: ContextVar[at | None] = ContextVar("batchlimit_position", default=None)


def current() -> at | None:
    """Return what the engine last said with `at`, None outside of it."""
    return _current.get()


def keep(place: at, shape: torch.Size, probability: float, device: torch.device) -> Tensor:
    """Return booleans of `shape` (n, ...) that are True with `probability`, the next draw at `place`.

    Dimension 0 must be a multiple of the examples of the micro-batch, each example's rows together.

    Raises:
        ValueError: it is not.
    """
    mixed = bits(place, shape, device)
    limit = round(probability * 2**32) - 2**31
    if limit > 2**31 - 1:
        return torch.ones(shape, dtype=torch.bool, device=device)
    return mixed < limit


def bits(place: at, shape: torch.Size, device: torch.device) -> Tensor:
    """Return int32 of `shape` (n, ...), uniform over all their values, the next draw at `place`.

    Dimension 0 must be a multiple of the examples of the micro-batch, each example's rows together.

    Raises:
        ValueError: it is not.
    """
    examples = place.stop - place.start
    if shape.numel() == 0 or shape[0] % examples:
        raise ValueError(f"{shape[0]} rows where the micro-batch has {examples} examples.")
    key = _mix64(_mix64(_mix64(place.seed) ^ place.step) ^ place.draws)
    place.draws += 1
    rows = torch.arange(place.start, place.stop, dtype=torch.int32, device=device).add_(_signed(key))
    rows = _mix32_(_mix32_(rows).bitwise_xor_(_signed(key >> 32)))
    return _mix32_(rows[:, None] + _columns(shape.numel() // examples, device)).view(shape)


@lru_cache(maxsize=16)
def _columns(count: int, device: torch.device) -> Tensor:
    return _mix32_(torch.arange(count, dtype=torch.int32, device=device))


def _mix32_(x: Tensor) -> Tensor:
    """Mix 32-bit integers in place by a bijection of xor-shifts and odd multipliers (Wellons' lowbias32)."""
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(_signed(0x846CA68B))
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


def _mix64(x: int) -> int:
    """Mix a 64-bit integer (the finalizer of SplitMix64; Steele, Lea and Flood, 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)


def _signed(word: int) -> int:
    """Return the low 32 bits as the signed integer that torch.int32 holds."""
    word &= 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word
