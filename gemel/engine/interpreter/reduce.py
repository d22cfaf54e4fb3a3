"""Meaning of reductions, scans and sort.

Sums and products have one order, a function of logical indices alone: the reduced elements, in row-major
order, are cut into blocks of 256; a block keeps 16 strided partials (element i goes to partial i mod 16, in
rising i), which are combined by halving (l with l+8, then +4, +2, +1); the block results are reduced by the
same rule until one is left. Missing elements count as the identity (-0.0, 1).
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray
BLOCK, PARTIALS = 256, 16


def _rows(x: Array, axes: tuple[int, ...]) -> Array:
    """Reduced axes moved behind the kept ones and flattened: (kept..., n)."""
    kept = [i for i in range(x.ndim) if i not in axes]
    reduced = sorted(axes)
    n = int(np.prod([x.shape[i] for i in reduced], dtype=np.int64))
    return x.transpose(kept + reduced).reshape([x.shape[i] for i in kept] + [n])


def tree(x: Array, combine, identity) -> Array:
    """Reduce the last axis in the canonical order."""
    n = x.shape[-1]
    while True:
        blocks = max(1, -(-n // BLOCK))
        padded = np.full((*x.shape[:-1], blocks * BLOCK), identity, x.dtype)
        padded[..., :n] = x
        parts = padded.reshape(*x.shape[:-1], blocks, BLOCK // PARTIALS, PARTIALS)
        acc = parts[..., 0, :]
        for t in range(1, BLOCK // PARTIALS):
            acc = combine(acc, parts[..., t, :])
        width = PARTIALS
        while width > 1:
            width //= 2
            acc = combine(acc[..., :width], acc[..., width:])
        x, n = acc[..., 0], blocks
        if n == 1:
            return x[..., 0]


def _accumulated(combine, identity, integer_identity):
    def reduce(attrs, x: Array) -> Array:
        rows = _rows(x, attrs.axes)
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        start = integer_identity if x.dtype.kind in "iu" else identity
        if rows.shape[-1] == 0:
            return np.full(rows.shape[:-1], integer_identity, x.dtype)
        return np.asarray(tree(rows.astype(wide), combine, start)).astype(x.dtype)
    return reduce


def _extreme(pick, combine, identity):
    """In the canonical order for floats: it decides between +0 and -0."""
    def reduce(attrs, x: Array) -> Array:
        rows = _rows(x, attrs.axes)
        if rows.shape[-1] == 0:
            return np.empty(rows.shape[:-1], x.dtype)
        if rows.dtype == bool:
            return pick(rows.astype(np.uint8), -1).astype(bool)
        if rows.dtype.kind in "iu":
            return pick(rows, -1)
        return np.asarray(tree(rows.astype(np.float64), combine, identity)).astype(x.dtype)  # exact, and NaN wins
    return reduce


def _arg(pick):
    def reduce(attrs, x: Array) -> Array:
        if x.shape[attrs.axis] == 0:
            return np.empty([d for i, d in enumerate(x.shape) if i != attrs.axis], np.int64)
        wide = x.astype(np.float64) if x.dtype.kind not in "iubc" else x
        return np.asarray(pick(wide, axis=attrs.axis)).astype(np.int64)  # NumPy: first index, first NaN wins
    return reduce


def _running(combine):
    def scan(attrs, x: Array) -> Array:
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x
        out = np.array(wide)
        along = np.moveaxis(out, attrs.axis, 0)
        for i in range(1, along.shape[0]):
            along[i] = combine(along[i - 1], along[i])
        return out.astype(x.dtype)
    return scan


def _running_max(x: Array, y: Array) -> Array:
    return np.where((x > y) | (x != x), x, y)


def _running_min(x: Array, y: Array) -> Array:
    return np.where((x < y) | (x != x), x, y)


def sort(attrs, x: Array) -> tuple[Array, Array]:
    """Stable; NaN is the largest value, so it comes last (first when descending)."""
    wide = x.astype(np.float64) if x.dtype.kind not in "iub" else x
    if attrs.descending:  # stable descending: sort the reversed array, then reverse both
        order = np.flip(np.argsort(np.flip(wide, attrs.axis), axis=attrs.axis, kind="stable"), attrs.axis)
        order = x.shape[attrs.axis] - 1 - order
    else:
        order = np.argsort(wide, axis=attrs.axis, kind="stable")
    return np.take_along_axis(x, order, attrs.axis), order.astype(np.int64)


REDUCE = {
    "reduce_sum": _accumulated(np.add, -0.0, 0), "reduce_prod": _accumulated(np.multiply, 1.0, 1),
    "reduce_max": _extreme(np.max, _running_max, -np.inf), "reduce_min": _extreme(np.min, _running_min, np.inf),
    "argmax": _arg(np.argmax), "argmin": _arg(np.argmin),
    "cumsum": _running(np.add), "cumprod": _running(np.multiply),
    "cummax": _running(_running_max), "cummin": _running(_running_min),
    "sort": sort,
}
