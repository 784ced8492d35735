"""What makes the host wait for a GPU, counted on any device.

On the CPU nothing waits, but the operations that would are seen: those whose result, or the size
of whose result, the host must know. On a GPU PyTorch itself says when the host waits.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["count_waits", "host_reads"]

_aten = torch.ops.aten
_READS = {
    _aten._local_scalar_dense: "item",
    _aten.nonzero: "nonzero",
    _aten.nonzero_numpy: "nonzero",
    _aten.masked_select: "masked_select",
    _aten.bincount: "bincount",
    _aten.unique_dim: "unique",
    _aten._unique: "unique",
    _aten._unique2: "unique",
    _aten.unique_consecutive: "unique",
    _aten.equal: "equal",
}
_INDEX = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)
_COPIES = {Tensor.tolist: "tolist", Tensor.numpy: "numpy", Tensor.cpu: "cpu"}


class _Dispatched(TorchDispatchMode):
    def __init__(self, found: Counter[str]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _wait_of(func.overloadpacket, args)
        if name:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def _wait_of(operation: Any, args: tuple[Any, ...]) -> str | None:
    if operation is _aten.repeat_interleave and len(args) == 1:
        return "repeat_interleave"
    if operation not in _INDEX:
        return _READS.get(operation)
    masks = [x for x in args[1] if x is not None and x.dtype in (torch.bool, torch.uint8)]
    # A scalar put under one mask becomes masked_fill, which waits for nothing.
    fills = operation is not _aten.index and len(args[1]) == 1 and args[2].numel() == 1
    return "mask as index" if masks and not fills else None


class _Called(TorchFunctionMode):
    def __init__(self, found: Counter[str]):
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _COPIES:
            self.found[_COPIES[func]] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def host_reads() -> Iterator[Counter[str]]:
    """Count, by name, the operations inside that would make the host wait for a GPU.

    Not seen are copies from the host to the device, since on the CPU there are none.
    """
    found: Counter[str] = Counter()
    with _Called(found), _Dispatched(found):
        yield found


@contextmanager
def _cuda_waits() -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
            found["synchronisation"] += sum("synchronizing" in str(x.message) for x in caught)


def count_waits(function: Callable[[], Any], device: str) -> int:
    """How often the host waits in one call: seen by PyTorch on CUDA, else :func:`host_reads`."""
    with ExitStack() as stack:
        found = stack.enter_context(_cuda_waits() if device != "cpu" else host_reads())
        function()
    return found.total()
