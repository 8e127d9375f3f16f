"""An accelerator that is not there: its tensors say that they are on the device 'pretend' and are computed on the CPU.

It refuses what a real one refuses, an operation on its tensors and the CPU's together, and notes what makes the host
wait for it: reading a value, copying to the CPU or from it unless `non_blocking`, asking how many elements are not 0.
It shows where tensors are put and what waits, on machines without an accelerator; nothing of kernels, streams, graphs
or speed.

It is registered with torch for the whole of a process, before the first backward pass: so use a process of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import batchlimit

DEVICE = "pretend:0"
_SOURCE = str(Path(batchlimit.__file__).parent)
_ATEN = torch.ops.aten
_COPIES = (_ATEN._to_copy.default, _ATEN.copy_.default)
_PINNING = (_ATEN.pin_memory.default, _ATEN._pin_memory.default)
_READS = (
    _ATEN._local_scalar_dense.default,
    _ATEN.equal.default,
    # The shape of what these return is known when they are done.
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
    _ATEN._unique2.default,
    _ATEN.repeat_interleave.Tensor,
    _ATEN.bincount.default,
)


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Generator(torch.Generator):
    """The CPU's, whatever the device."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


class Event:
    """A place in the device's queue; `ages` are how many others were recorded after each when it was waited for."""

    recorded = 0
    ages: ClassVar[list[int]] = []

    def __init__(self, device: torch.device) -> None:
        assert _is_away(device)

    def record(self) -> None:
        Event.recorded += 1
        self._number = Event.recorded

    def synchronize(self) -> None:
        Event.ages.append(Event.recorded - self._number)


def register() -> None:
    """Make the device known to torch in this process."""
    backend_registration._setup_privateuseone_for_python_backend("pretend", backend_module=_Module())
    torch.Generator = _Generator  # type: ignore[misc]
    torch.Event = Event  # type: ignore[misc, assignment]


class Away(Tensor):
    """A tensor on the accelerator; `here` is the CPU tensor that holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Away:
        placed: Away = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, layout=here.layout, device=DEVICE
        )
        placed.here = here
        return placed

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Away({self.here!r})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with Accelerator():
            return function(*args, **(kwargs or {}))


class Accelerator(TorchDispatchMode):
    """Within it the device can be used; `waits` are the names of our functions, innermost first, of each wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[str, ...]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        asked = options.get("device")
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        away = {id(tensor.here): tensor for tensor in tensors if isinstance(tensor, Away)}
        into = args[0] if function is _ATEN.copy_.default else None
        leaves = (asked is not None and not _is_away(asked)) or (into is not None and not isinstance(into, Away))
        if function in _PINNING:
            return args[0]
        if function is _ATEN.is_pinned.default:
            return False
        if not away and not _is_away(asked):
            return function(*args, **options)
        if function not in _COPIES:
            _refuse_mixtures(function, tensors)
        if _is_blocking_copy(function, args, options) or (away and _tells_the_host(function, args)):
            self.waits.append(_ours())
        args, options = tree_map(_brought_here, (args, options))
        result = function(*args, **options)
        return result if leaves else tree_map(lambda leaf: _sent_away(leaf, away), result)


def _is_away(device: Any) -> bool:
    return device is not None and torch.device(device).type == "pretend"


def _tells_the_host(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether the host has to know a value to go on: what it asked for, or how long a selection by a mask is."""
    masked = function is _ATEN.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
    return masked or function in _READS


def _is_blocking_copy(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Whether this copies between the CPU and the device and waits for it, as CUDA does with memory not pinned."""
    if function is _ATEN.copy_.default:
        to, source, *rest = args
        crosses = isinstance(to, Away) != isinstance(source, Away)
        return crosses and not (any(rest) or options.get("non_blocking"))
    if function is not _ATEN._to_copy.default or options.get("device") is None:
        return False
    return isinstance(args[0], Away) != _is_away(options["device"]) and not options.get("non_blocking")


def _refuse_mixtures(function: Callable[..., Any], tensors: list[Tensor]) -> None:
    """Single numbers may come from the CPU, as they may with CUDA."""
    for tensor in tensors:
        if not isinstance(tensor, Away) and tensor.ndim > 0 and any(isinstance(other, Away) for other in tensors):
            raise RuntimeError(f"{function}: expected all tensors on one device, found {DEVICE} and {tensor.device}")


def _brought_here(leaf: Any) -> Any:
    if isinstance(leaf, Away):
        return leaf.here
    return torch.device("cpu") if isinstance(leaf, torch.device) and _is_away(leaf) else leaf


def _sent_away(leaf: Any, known: dict[int, Away]) -> Any:
    """What was changed in place stays the object that it was."""
    if not isinstance(leaf, Tensor):
        return leaf
    return known[id(leaf)] if id(leaf) in known else Away(leaf)


def _ours() -> tuple[str, ...]:
    return tuple(frame.name for frame in reversed(traceback.extract_stack()) if frame.filename.startswith(_SOURCE))
