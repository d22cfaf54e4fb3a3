"""Bytes of a file as tensors: mapped where that is possible, copied where it is not."""
from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.device import memory
from ..tensor.core import from_array, from_buffer
from ..tensor.recording import wrap


class Source:
    """The bytes of a file: ``view`` to read headers from, and tensors over ranges of it.

    A file is mapped privately, so pages are read when they are used and a write to a tensor never reaches the file.
    """

    def __init__(self, view: memoryview, owner: Any, mapped: bool) -> None:
        self.view, self.owner, self.mapped = view, owner, mapped
        self.size = len(view)
        self.address = np.frombuffer(view, np.uint8).ctypes.data if self.size else 0

    @classmethod
    def open(cls, file: Any, map_file: bool = True) -> Source:
        """From a path, or a binary file object (which is read)."""
        if not isinstance(file, (str, os.PathLike)):
            data = file.read()
            return cls(memoryview(data), data, False)
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size == 0 or not map_file:
                data = opened.read()
                return cls(memoryview(data), data, False)
            mapping = mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ)
        return cls(memoryview(mapping), mapping, True)

    def tensor(self, dtype: dt.DType, shape: tuple[int, ...], start: int) -> Any:
        """The row-major tensor whose first byte is at ``start``; the caller has checked the range."""
        count = 1
        for n in shape:
            count *= n
        nbytes = count * dtype.itemsize
        if self.mapped and nbytes and (self.address + start) % dtype.itemsize == 0:
            return from_buffer(memory.foreign(self.address + start, nbytes, self.owner), dtype, shape)
        raw = np.frombuffer(self.view, np.uint8, nbytes, start)
        return wrap(from_array(raw.view(dtype.numpy).reshape(shape)))

    def strided(self, dtype: dt.DType, shape: tuple[int, ...], strides: tuple[int, ...], start: int) -> Any:
        """A copy, row-major, of elements at these strides; the caller has checked the range."""
        last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        raw = np.frombuffer(self.view, np.uint8, (last + 1) * dtype.itemsize, start).view(dtype.numpy)
        steps = tuple(s * dtype.itemsize for s in strides)
        return wrap(from_array(np.lib.stride_tricks.as_strided(raw, shape, steps, writeable=False)))
