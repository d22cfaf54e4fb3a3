"""Memory of a storage that others see too: a NumPy array that a tensor shares, a tensor's own that NumPy has.

What was recorded before keeps its values whatever happens to that memory: it is read by copying it, until nobody else
can see it any more. Two threads may read, or show, one tensor at once; ``storage.sharing`` is held in between.
"""
from __future__ import annotations

import sys

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.device import memory
from ..engine.ir.types import tensor_type
from ..engine.runtime import executor
from ..engine.runtime.trace import Value, ready
from .storage import Cell, sharing


def from_array(array: np.ndarray) -> Value:
    """A value with a copy of ``array`` (any strides)."""
    dtype = dt.from_numpy(array.dtype)
    buffer = memory.allocate(array.size * dtype.itemsize)
    memory.as_numpy(buffer, dtype.numpy, array.shape)[...] = array
    return ready(tensor_type(dtype, array.shape), buffer)


class ForeignArray:
    """Memory of a NumPy array that a tensor shares (``from_numpy``): others may write it at any time."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def contents(self) -> np.ndarray:
        """The whole storage as it is now."""
        return self.array

    def reclaimed(self) -> Value | None:
        """The storage as a value, once nobody else can see it: nothing but this object holds the array."""
        array, known = self.array, 5  # the slot, two local names, and two of the count itself
        if not array.flags.c_contiguous:
            return None
        owner = array
        while next(map(sys.getrefcount, (owner,))) == known:
            if owner.base is None:
                t = tensor_type(dt.from_numpy(array.dtype), array.shape)
                return ready(t, memory.foreign(array.ctypes.data, array.nbytes, array))
            if not isinstance(owner.base, np.ndarray):
                return None
            owner, known = owner.base, 4  # the view's reference, the local name, and two of the count itself
        return None


class ExportedMemory:
    """A tensor's own memory while NumPy arrays made from it (``numpy()``) are alive."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def contents(self) -> np.ndarray:
        """The whole storage as it is now."""
        return executor.to_array(self.value.buffer, self.value.type, self.value.form)

    def reclaimed(self) -> Value | None:
        """The storage as a value, once the last array is gone."""
        value = self.value
        return ready(value.type, value.buffer, value.form) if not value.buffer.exports else None


def seen_by_others(cell: Cell) -> np.ndarray | None:
    """The memory of a storage that others see, which they now go on seeing; None where they do not."""
    with sharing:
        return None if cell.foreign is None else cell.foreign.contents()


def snapshot(cell: Cell) -> tuple[Value, int]:
    """The present contents of memory that others see, as a value that no later write can change.

    Returns: the value; until which version of the cell it is good (-1: it has to be read again every time).
    """
    with sharing:
        if cell.foreign is None:  # another thread has found that nobody sees it any more
            return cell.value, cell.version
        value = cell.foreign.reclaimed()
        if value is not None:
            cell.foreign, cell.value = None, value
            value.cell, value.version = cell.ref, cell.tracked
            return value, cell.version
        array, version = cell.foreign.contents(), cell.version
    value = from_array(array)
    value.cell, value.version = cell.ref, cell.tracked
    with sharing:
        before = cell.value
        if cell.foreign is not None and cell.version == version:
            cell.value = value
    del before
    return value, -1


def write_out(cell: Cell, value: Value) -> None:
    """Carry an in-place write to memory that others see, at once."""
    with sharing:
        if cell.foreign is None:
            return
        if cell.foreign.reclaimed() is not None:
            cell.foreign = None
            return
        array = cell.foreign.contents()
    array[...] = executor.observe(value, "an in-place write to memory shared with NumPy")
