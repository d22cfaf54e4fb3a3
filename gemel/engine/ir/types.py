"""The type of an IR value: dtype, shape, and the fields that describe how its elements are encoded.

Types are interned: two values have the same type exactly when ``a.type is b.type``. That makes the check
of the common case (two operands of one type) a pointer comparison, in the recorder and in every pass.
"""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from ..base.dtypes import BY_IR, DType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Encoding:
    """A quantized encoding: ``value = scale[block] * (code - zero_point[block])``.

    Args:
        bits: width of a code. block: elements that share a scale (0: the whole tensor).
        symmetric: no zero point. axis: the axis along which blocks run.
    """

    bits: int
    block: int = 0
    symmetric: bool = True
    axis: int = -1


class TensorType:
    """dtype + shape (+ encoding, row sparsity, sharding): build with :func:`tensor_type`, never directly."""

    __slots__ = ("dtype", "shape", "encoding", "row_sparse", "sharding", "size", "ndim")
    dtype: DType
    shape: Shape
    encoding: Encoding | None
    row_sparse: bool
    sharding: tuple | None
    size: int
    ndim: int

    def __repr__(self) -> str:
        extra = "".join((
            f" q{self.encoding.bits}/{self.encoding.block}" if self.encoding else "",
            " rows" if self.row_sparse else "",
            f" sharded{self.sharding}" if self.sharding else "",
        ))
        return f"{self.dtype.ir}[{','.join(map(str, self.shape))}]{extra}"

    def __reduce__(self):
        return tensor_type, (self.dtype, self.shape, self.encoding, self.row_sparse, self.sharding)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> TensorType:
        return tensor_type(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return tensor_type(dtype, self.shape)


_INTERNED: dict[tuple, TensorType] = {}


def tensor_type(dtype: DType, shape: Shape = (), encoding: Encoding | None = None,
                row_sparse: bool = False, sharding: tuple | None = None) -> TensorType:
    """The one ``TensorType`` with these fields."""
    key = (dtype, shape, encoding, row_sparse, sharding)
    found = _INTERNED.get(key)
    if found is None:
        found = TensorType.__new__(TensorType)
        found.dtype, found.shape, found.encoding = dtype, tuple(int(d) for d in shape), encoding
        found.row_sparse, found.sharding = row_sparse, sharding
        found.size, found.ndim = math.prod(found.shape), len(found.shape)
        found = _INTERNED.setdefault((dtype, found.shape, encoding, row_sparse, sharding), found)
        _INTERNED[key] = found
    return found


def parse_type(text: str) -> TensorType:
    """Inverse of ``repr`` for plain types: ``f32[2,3]``."""
    name, bracket, dims = text.partition("[")
    if not bracket or not dims.endswith("]") or name not in BY_IR:
        raise ValueError(f"not a tensor type: {text!r} (expected e.g. f32[2,3])")
    return tensor_type(BY_IR[name], tuple(int(d) for d in dims[:-1].split(",") if d))


@functools.lru_cache(4096)
def row_major(shape: Shape) -> Shape:
    """Strides, in elements, of a contiguous row-major array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
