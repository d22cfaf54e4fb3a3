"""Copies and pickles of tensors, and where their memory is."""
from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import UnsupportedError
from ..engine.runtime import executor
from ..engine.runtime.trace import BUILDER
from .core import _whole, from_array
from .recording import public, wrap
from .tape import Accumulate

__all__: list[str] = []


def rebuild_tensor(array: np.ndarray, dtype: str, requires_grad: bool, cls: type | None = None) -> Any:
    """The tensor of a pickle."""
    out = wrap(from_array(array.view(dt.BY_NAME[dtype].numpy)))
    if cls is not None:
        out.__class__ = cls
    return out.requires_grad_() if requires_grad else out


def _is_leaf(t: Any) -> bool:
    t._read()
    return t._edge is None or t._edge.__class__ is Accumulate


def _like(made: Any, t: Any) -> Any:
    """``made`` as a leaf of the class of ``t``, with a gradient if ``t`` has one."""
    made.__class__ = t.__class__
    return made.requires_grad_() if t._edge is not None else made


class UntypedStorage:
    """The memory of a tensor and of all that share it: its size and address, for comparisons.

    torch: ``UntypedStorage``.
    """

    __slots__ = ("_owner", "_nbytes")

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        alias = owner._alias
        self._nbytes = (owner._value.type if alias is None else alias.cell.type).nbytes

    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self._nbytes

    size = nbytes
    __len__ = nbytes

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return _address(self._owner)

    def __repr__(self) -> str:
        return f"<gemel.UntypedStorage of {self._nbytes} bytes>"


def _address(t: Any) -> int:
    """Where the storage of ``t`` begins."""
    value, alias = t._read(), t._alias
    if alias is not None:
        foreign = alias.cell.foreign
        if foreign is not None:
            return foreign.contents().__array_interface__["data"][0]
        value = _whole(alias.cell).value if alias.lenses else value
    array = executor.observe(value, "data_ptr()")
    return array.__array_interface__["data"][0]


class CopyingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    def __reduce_ex__(self: Any, protocol: Any) -> tuple:
        t = self._read().type
        if not _is_leaf(self):
            raise RuntimeError("only leaves can be pickled: a tensor that an operation made belongs to its graph. "
                               "Pickle x.detach() instead.")
        array = np.ascontiguousarray(self._observe("pickling")).reshape(t.shape)
        if t.dtype is dt.bfloat16:
            array = array.view(np.uint16)
        cls = None if type(self) is public[0] else type(self)
        return rebuild_tensor, (array.copy(), t.dtype.name, self._edge is not None, cls), self.__dict__ or None

    def __setstate__(self: Any, state: dict) -> None:
        self.__dict__.update(state)

    def __deepcopy__(self: Any, memo: dict) -> Any:
        found = memo.get(id(self))
        if found is not None:
            return found
        if not _is_leaf(self):
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                               "protocol at the moment. If you were attempting to deepcopy a module, this may be "
                               "because of a parameter that an operation made. Use x.detach() or x.clone().")
        made = memo[id(self)] = _like(wrap(BUILDER.copy(self._read())), self)
        if self.grad is not None:
            made.grad = copy.deepcopy(self.grad, memo)
        if self.__dict__:
            made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made

    def __copy__(self: Any) -> Any:
        made = self.detach()
        if _is_leaf(self):
            _like(made, self)
        made.__dict__.update(self.__dict__)
        return made

    # --- memory
    def untyped_storage(self: Any) -> UntypedStorage:
        """The memory that this tensor and its views share. torch: ``Tensor.untyped_storage``."""
        return UntypedStorage(self)

    def data_ptr(self: Any) -> int:
        """Address of the first element, computing the tensor if it is pending. For comparisons: a write in place may
        move a tensor whose memory nobody else can see; :meth:`numpy` gives an array that stays valid.

        torch: ``Tensor.data_ptr``.
        """
        return _address(self) + self.storage_offset() * self.element_size()

    def set_(self: Any, *source: Any) -> Any:
        """Raises: tensors do not change their storage. torch: ``Tensor.set_``."""
        raise UnsupportedError("Tensor.set_() is not supported: assign x.data = y, or write x.copy_(y). "
                               f"Received: {[type(s).__name__ for s in source]}")

    def share_memory_(self: Any) -> Any:
        """Raises: put the array into shared memory and use ``from_numpy``. torch: ``Tensor.share_memory_``."""
        raise UnsupportedError("Tensor.share_memory_() is not supported: make a NumPy array over shared memory "
                               "(multiprocessing.shared_memory) and use gemel.from_numpy. "
                               f"Received: {self._value.type}")

    def is_shared(self: Any) -> bool:
        """Is the memory shared between processes? torch: ``Tensor.is_shared``."""
        return False

    def is_pinned(self: Any, device: Any = None) -> bool:
        """Is the memory page-locked for a GPU? torch: ``Tensor.is_pinned``."""
        return False

    def pin_memory(self: Any, device: Any = None) -> Any:
        """This tensor: there is no GPU to pin memory for. torch: ``Tensor.pin_memory``."""
        return self
