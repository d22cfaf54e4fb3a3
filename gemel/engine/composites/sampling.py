"""Sampling images at points: bilinear, nearest and bicubic, in two and three dimensions."""
from __future__ import annotations

import itertools
import math

from ..base.dtypes import compute_type, int64
from ..base.errors import DTypeError, ShapeError
from .base import composite

#: parameter of the bicubic kernel (Keys, 1981)
CUBIC = -0.75


def _check(attrs, x, grid):
    n = x.ndim - 2
    if x.dtype is not grid.dtype:
        raise DTypeError(f"grid_sampler(): expected input and grid to have same dtype, but input has {x.dtype.name} "
                         f"and grid has {grid.dtype.name}")
    if n not in (2, 3) or grid.ndim != x.ndim:
        raise ShapeError(f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got "
                         f"input with sizes {list(x.shape)} and grid with sizes {list(grid.shape)}")
    if grid.shape[0] != x.shape[0] or grid.shape[-1] != n:
        raise ShapeError(f"grid_sampler(): expected grid and input to have same batch size and grid to have size {n} "
                         f"in last dimension, but got input with sizes {list(x.shape)} and grid with sizes "
                         f"{list(grid.shape)}")
    if 0 in x.shape[2:]:
        raise ShapeError(f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                         f"{list(x.shape)}")


def _number(b, x, value):
    return b.full_like(x, value)


def _reflected(b, x, low, high):
    """Positions reflected into [low / 2, high / 2]; torch's formula."""
    if low == high:
        return b.full_like(x, 0)
    start, span = low / 2, (high - low) / 2
    x = b.abs(b.sub(x, _number(b, x, start)))
    extra = b._("fmod", x, _number(b, x, span))
    flips = b.floor(b.div(x, _number(b, x, span)))
    even = b.is_zero(b._("fmod", flips, _number(b, x, 2)))
    return b.select(even, b.add(extra, _number(b, x, start)), b.sub(_number(b, x, span + start), extra))


def _clipped(b, x, n):
    return b.min(b.max(x, _number(b, x, 0)), _number(b, x, n - 1))


def _inside(b, x, n, padding, align):
    """Positions after padding."""
    if padding == "zeros":
        return x
    if padding == "reflection":
        x = _reflected(b, x, 0, 2 * (n - 1)) if align else _reflected(b, x, -1, 2 * n - 1)
    return _clipped(b, x, n)


def _position(b, g, n, align):
    """From [-1, 1] to elements."""
    if align:
        return b.mul(b.scale(b.add(g, _number(b, g, 1)), 0.5), _number(b, g, n - 1))
    return b.scale(b.sub(b.mul(b.add(g, _number(b, g, 1)), _number(b, g, n)), _number(b, g, 1)), 0.5)


def _cubic_weights(b, t):
    """Weights of the four neighbours of a point at ``t`` behind the second."""
    c = CUBIC

    def near(x):
        return b.add(b.mul(b.mul(b.sub(b.scale(x, c + 2), _number(b, x, c + 3)), x), x), _number(b, x, 1))

    def far(x):
        inner = b.add(b.mul(b.sub(b.scale(x, c), _number(b, x, 5 * c)), x), _number(b, x, 8 * c))
        return b.sub(b.mul(inner, x), _number(b, x, 4 * c))
    one = _number(b, t, 1)
    rest = b.sub(one, t)
    return [far(b.add(t, one)), near(t), near(rest), far(b.add(rest, one))]


def _taps(b, at, n, mode, padding, align):
    """Per axis: (position as a float, weight or None) of each neighbour."""
    if mode == "bicubic":
        low = b.floor(at)
        weights = _cubic_weights(b, b.sub(at, low))
        return [(_inside(b, b.add(low, _number(b, low, i - 1)), n, padding, align), w) for i, w in enumerate(weights)]
    at = _inside(b, at, n, padding, align)
    if mode == "nearest":
        return [(b.round(at), None)]
    low = b.floor(at)
    one = _number(b, low, 1)
    part = b.sub(at, low)
    return [(low, b.sub(one, part)), (b.add(low, one), part)]


@composite("grid_sample", 2, ("mode", "padding", "align"), check=_check)
def grid_sample(b, x, grid, *, mode, padding, align):
    """x (N, C, *size) at the points grid (N, *out, axes) in [-1, 1], the last axis of x first: (N, C, *out)"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    size, out = x.type.shape[2:], grid.type.shape[1:-1]
    n, c = x.type.shape[:2]
    points, plane = math.prod(out), math.prod(size)
    grid = b.reshape(b.cast(grid, wide), (n, points, len(size)))
    axes = []
    for i, m in enumerate(size):
        at = len(size) - 1 - i
        g = b.reshape(b.slice(grid, (0, 0, at), (n, points, at + 1)), (n, points))
        axes.append(_taps(b, _position(b, g, m, align), m, mode, padding, align))
    rows = b.reshape(b.permute(x, (0, *range(2, x.type.ndim), 1)), (n * plane, c))  # a point's channels lie together
    total = None
    for taps in itertools.product(*axes):
        flat, weight, seen = b.scale(b.iota(int64, (n, points), 0), plane), None, None
        pitch = plane
        for (at, w), m in zip(taps, size, strict=True):
            pitch //= m
            fine = b.and_(b.ge(at, _number(b, at, 0)), b.le(at, _number(b, at, m - 1)))  # false for NaN
            seen = fine if seen is None else b.and_(seen, fine)
            index = b.cast(b.select_or_zero(fine, at), int64)
            flat = b.add(flat, b.mul(index, b.full_like(index, pitch)))
            if w is not None:
                weight = w if weight is None else b.mul(weight, w)
        values = b.cast(b.take(rows, flat, 0), wide)                        # (N, points, C)
        shape = values.type.shape
        if weight is not None:
            values = b.mul(values, b.expand(b.reshape(weight, (n, points, 1)), shape))
        part = b.select_or_zero(b.expand(b.reshape(seen, (n, points, 1)), shape), values)
        total = part if total is None else b.add(total, part)
    assert total is not None
    return b.cast(b.reshape(b.permute(total, (0, 2, 1)), (n, c, *out)), dtype)
