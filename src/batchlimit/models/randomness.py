"""Random masks that depend on an example's place in its batch, not on how the batch was cut into micro-batches.

A random number here is a pure function of (seed, step, draw, position, feature): integers are mixed by a hash
(counter-based, no generator state), so that one pass over a batch, any micro-batches of it, any ranks and any device
see the same masks bit for bit. The engine says where it is with `at` around each forward pass, and with `backward_of`
around the backward pass, in which activation checkpointing computes layers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from types import TracebackType

import torch
from torch import Tensor

from batchlimit.errors import InputError

_WORD = 0xFFFFFFFFFFFFFFFF


class at:
    """Say that the forward passes within are of the examples [start, stop) of the batch of weight update `step`.

    Used as `with randomness.at(seed=1, step=7, start=0, stop=64): model(inputs)`. `seed` is the trial's. Each
    random layer called within takes the next draw, so passes must call them in one order.
    """

    __slots__ = ("_drawn", "_token", "backward", "draws", "seed", "start", "step", "stop")

    def __init__(self, *, seed: int, step: int, start: int, stop: int) -> None:
        assert 0 <= start < stop, f"[{start}, {stop}) is not a range of positions"
        self.seed, self.step, self.start, self.stop = seed, step, start, stop
        self.draws = 0
        self.backward = False
        self._drawn: dict[int, int] = {}
        self._token: Token[at | None] | None = None

    def __enter__(self) -> at:
        self.draws = 0
        self._drawn = {}
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None

    def next_draw(self) -> int:
        """Return the number of the next draw; in the backward pass, that which the same draw had in the forward pass.

        Raises:
            InputError: in the backward pass, the forward pass has not made this draw.
        """
        # Checkpointing puts torch's generator back to where it was before it computes layers again, so that a number
        # from there tells a draw from the others.
        mark = int(torch.randint(2**62, (), dtype=torch.int64, device="cpu"))
        if not self.backward:
            self._drawn[mark] = self.draws
            self.draws += 1
        elif mark not in self._drawn:
            raise InputError(
                "A random layer computed again in the backward pass cannot draw what it drew before. "
                "Valid: activation checkpointing with preserve_rng_state=True."
            )
        return self._drawn[mark]


_current: ContextVar[at | None] = ContextVar("batchlimit_position", default=None)
_backward: at | None = None


@contextmanager
def backward_of(place: at, device: torch.device) -> Iterator[None]:
    """Say that the backward pass within is of the forward pass at `place`, on `device`."""
    global _backward
    place.backward = True
    token = _current.set(place)
    if device.type != "cpu":
        _backward = place  # torch goes back in a thread of the device's, which has no context of ours
    try:
        yield
    finally:
        _current.reset(token)
        place.backward = False
        if device.type != "cpu":
            _backward = None


def current() -> at | None:
    """Return what the engine last said with `at` or `backward_of`, None outside of them."""
    return _current.get() or _backward


def fits(place: at, shape: torch.Size) -> bool:
    """Return whether dimension 0 of `shape` can be the rows of the examples at `place`."""
    return shape.numel() > 0 and len(shape) > 0 and shape[0] % (place.stop - place.start) == 0


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
    if not fits(place, shape):
        raise ValueError(f"{shape[0]} rows where the micro-batch has {examples} examples.")
    key = _mix64(_mix64(_mix64(place.seed) ^ place.step) ^ place.next_draw())
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
