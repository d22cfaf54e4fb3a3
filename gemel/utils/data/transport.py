"""How batches come from worker processes: pickles over a socket, arrays beside them in shared memory.

A sender keeps blocks of anonymous shared memory (``memfd_create``), which have no name: nothing is left behind,
whatever dies. A block's descriptor goes to the receiver once; the receiver copies arrays out of it into memory of its
own and hands the block back with its next command. Where there is no ``memfd_create`` arrays travel in the pickle.
"""
from __future__ import annotations

import io
import mmap
import os
import pickle
from multiprocessing import reduction
from typing import Any

import numpy as np

from ...engine.base import dtypes as dt
from ...tensor.tensor import Tensor
from .arrays import contents, empty

_SHARED = hasattr(os, "memfd_create")
_SMALL = 256  # bytes up to which an array stays in the pickle
_ALIGN = 64


class _Pickler(pickle.Pickler):
    """Leaves arrays out and collects them with their offsets."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.parts: list[tuple[int, np.ndarray]] = []
        self.end = 0

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is Tensor:
            if obj._edge is not None or obj._value.type.nbytes <= _SMALL:
                return None
            return "tensor", self._put(contents(obj)), obj._value.type.dtype.name, tuple(obj.shape)
        if kind is np.ndarray and obj.nbytes > _SMALL and obj.dtype.kind in "biufc":
            return "array", self._put(obj), obj.dtype.str, obj.shape
        return None

    def _put(self, array: np.ndarray) -> int:
        at = self.end
        self.parts.append((at, array))
        self.end = -(-(at + array.nbytes) // _ALIGN) * _ALIGN
        return at


class _Unpickler(pickle.Unpickler):
    """Copies arrays out of a block."""

    def __init__(self, stream: Any, block: Any) -> None:
        super().__init__(stream)
        self.block = block

    def persistent_load(self, pid: Any) -> Any:
        kind, at, name, shape = pid
        if kind == "array":
            return np.ndarray(shape, np.dtype(name), self.block, at).copy()
        dtype = dt.BY_NAME[name]
        array, made = empty(dtype, shape)
        array[...] = np.ndarray(shape, dtype.numpy, self.block, at)
        return made


class Sender:
    """The worker's end of a socket; ``free`` blocks have been read by the receiver."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.blocks: list[mmap.mmap] = []
        self.free: list[int] = []

    def send(self, message: Any) -> None:
        """Send any object that can be pickled; raises what pickling raises, before anything is sent."""
        stream = io.BytesIO()
        pickler = _Pickler(stream) if _SHARED else pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
        pickler.dump(message)
        if not isinstance(pickler, _Pickler) or not pickler.parts:
            self.connection.send((stream.getvalue(), -1, 0))
            return
        number = next((n for n in self.free if len(self.blocks[n]) >= pickler.end), -1)
        descriptor = size = 0
        if number >= 0:
            self.free.remove(number)
        else:
            number, size = len(self.blocks), -(-pickler.end // mmap.PAGESIZE) * mmap.PAGESIZE
            descriptor = os.memfd_create("gemel-batch")
            os.ftruncate(descriptor, size)
            self.blocks.append(mmap.mmap(descriptor, size))
        block = self.blocks[number]
        for at, array in pickler.parts:
            np.ndarray(array.shape, array.dtype, block, at)[...] = array
        self.connection.send((stream.getvalue(), number, size))
        if size:
            reduction.send_handle(self.connection, descriptor, None)
            os.close(descriptor)


class Receiver:
    """The loader's end of a socket; ``done`` are the blocks that the sender may use again."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.blocks: dict[int, mmap.mmap] = {}
        self.done: list[int] = []

    def receive(self) -> Any:
        """The next object."""
        body, number, size = self.connection.recv()
        if size:
            descriptor = reduction.recv_handle(self.connection)
            self.blocks[number] = mmap.mmap(descriptor, size)
            os.close(descriptor)
        message = _Unpickler(io.BytesIO(body), self.blocks.get(number)).load()
        if number >= 0:
            self.done.append(number)
        return message
