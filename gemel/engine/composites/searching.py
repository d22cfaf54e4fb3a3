"""Sorting's relatives: the largest few, binary search, histograms."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..autodiff.vjp_structural import scatter_along
from ..base.dtypes import bool_, int32, int64, uint8
from .base import composite


def _head(b, x, axis, k):
    none = (0,) * x.type.ndim
    return b.slice(x, none, tuple(k if i == axis else n for i, n in enumerate(x.type.shape)))


@composite("topk", 1, ("axis", "k", "largest"), n_outputs=2)
def topk(b, x, *, axis, k, largest):
    """the k largest (or smallest) along an axis, sorted, and their indices"""
    values, order = b.sort(x, axis, largest)
    return _head(b, values, axis, k), _head(b, order, axis, k)


@vjp("topk", outputs=(1,))
def _topk(b, g, s):
    if g[0] is None:
        return (None,)
    return (scatter_along(b, b.zeros(s.types[0]), s.outputs[0], g[0], s.attrs.axis),)


@composite("searchsorted", 2, ("right", "narrow"))
def searchsorted(b, sequence, values, *, right, narrow):
    """where each value would stand in the sorted last axis: before (or after) its equals; by halving"""
    if sequence.type.dtype is bool_:
        sequence, values = b.cast(sequence, uint8), b.cast(values, uint8)
    n, shape = sequence.type.shape[-1], values.type.shape
    low = b.full(0, int64, shape)
    if n and values.type.size:
        flat = b.reshape(sequence, (sequence.type.size,))
        offset = low
        for axis in range(sequence.type.ndim - 1):
            offset = b.add(b.mul(offset, b.full(shape[axis], int64, shape)), b.iota(int64, shape, axis))
        offset = b.mul(offset, b.full(n, int64, shape))
        high = b.full(n, int64, shape)
        for _ in range(n.bit_length()):
            middle = b.shr(b.add(low, high), b.full(1, int64, shape))
            at = b.take(flat, b.add(offset, middle), 0)
            before = b.not_(b.gt(at, values) if right else b.ge(at, values))
            open_ = b.lt(low, high)
            low = b.select(b.and_(open_, before), b.add(middle, b.full(1, int64, shape)), low)
            high = b.select(b.and_(open_, b.not_(before)), middle, high)
    return b.cast(low, int32) if narrow else low
