"""Pooling over windows.

Forward: one strided slice of the input per place in the window (a *tap*), combined elementwise: fusion pulls the
indices through the slices, so a small window is one kernel that reads the input once from memory. Windows of many
taps go axis by axis; windows that tile the input are a reduction.

Backward: gathered, not scattered. With stride s, input position ``h = s a + r`` lies in window ``i = a + d`` at offset
``r + low - s d``, for a few whole numbers d: the gradient is a sum over d of what the windows ``a + d`` send to that
offset, computed at (.., a, r, ..) in one kernel. Max pooling saves one small code per window: the offset of its
winner.
"""
from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, int32, int64, uint8
from .base import composite
from .resampling import adaptive_windows

WINDOW = ("kernel", "stride", "padding", "dilation", "out")
#: windows of more taps than this go axis by axis
MAX_TAPS = 16


@dataclass(frozen=True)
class Axis:
    """The windows along one axis: n input positions, ``out`` windows of ``kernel`` taps; ``low`` padding."""

    n: int
    kernel: int
    stride: int
    low: int
    dilation: int
    out: int

    @property
    def extent(self) -> int:
        """Positions from the first tap to the last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def high(self) -> int:
        """Padding needed at the end."""
        return max(0, (self.out - 1) * self.stride + self.extent - self.n - self.low)

    @property
    def tiles(self) -> bool:
        """Do the windows cover the input without padding, gaps and overlap?"""
        return (self.low == 0 and self.dilation == 1 and self.stride == self.kernel
                and self.out * self.kernel == self.n)

    @property
    def rows(self) -> int:
        """Input positions in units of the stride."""
        return -(-self.n // self.stride)

    @property
    def shifts(self) -> range:
        """Windows a + d that reach the positions s a + r."""
        return range(-((self.extent - 1 - self.low) // self.stride), (self.stride - 1 + self.low) // self.stride + 1)

    @property
    def radix(self) -> int:
        """A base in which no offset outside the window looks like one inside, carried to the next axis."""
        return 2 * self.stride + self.extent


def axes_of(shape, kernel, stride, padding, dilation, out) -> list[Axis]:
    return [Axis(*a) for a in zip(shape[2:], kernel, stride, padding, dilation, out, strict=True)]


# --- forward ------------------------------------------------------------------------------------------

def _padded(b, x, axes, value):
    low, high = (0, 0, *(a.low for a in axes)), (0, 0, *(a.high for a in axes))
    return b.pad(x, b.const(value, x.type.dtype), low, high) if any(low + high) else x


def _tap(b, x, axes, offsets):
    """The elements that stand at ``offsets`` of their windows; an axis of None is left as it is."""
    start, stop, step = [0, 0], list(x.type.shape[:2]), [1, 1]
    for i, (a, at) in enumerate(zip(axes, offsets, strict=True)):
        whole = at is None
        start.append(0 if whole else at)
        stop.append(x.type.shape[2 + i] if whole else at + (a.out - 1) * a.stride + 1)
        step.append(1 if whole else a.stride)
    return b.slice(x, start, stop, step)


def _offsets(a):
    return range(0, a.extent, a.dilation)


def _lowest(dtype):
    return -math.inf if dtype.kind == "f" else int(np.iinfo(dtype.numpy).min)


def _code_type(axes):
    largest = 0
    for a in axes:
        largest = largest * a.radix + a.extent - 1
    return uint8 if largest < 255 else int32


@composite("max_pool", 1, WINDOW, n_outputs=2)
def max_pool(b, x, **window):
    """Largest element of each window of (N, C, *size), NaN if any is; and the code of where it stands

    Ties go to the first. The code is the offset in the window, axis by axis in the bases ``Axis.radix``.
    """
    axes = axes_of(x.type.shape, **window)
    codes = _code_type(axes)
    x = _padded(b, x, axes, _lowest(x.type.dtype))
    if math.prod(a.kernel for a in axes) <= MAX_TAPS:
        places = [(_tap(b, x, axes, at), _code(axes, at)) for at in itertools.product(*map(_offsets, axes))]
        best, code = places[0][0], b.full(places[0][1], codes, places[0][0].type.shape)
        for v, at in places[1:]:
            code = b.select(_beats(b, v, best), b.full_like(code, at), code)
            best = b.max(best, v)
        return best, code
    best, code = x, None
    for i in reversed(range(len(axes))):  # innermost axis first: among equals, the earliest row wins
        best, code = _max_along(b, best, code, axes, i, codes)
    return best, code


def _code(axes, offsets):
    code = 0
    for a, at in zip(axes, offsets, strict=True):
        code = code * a.radix + at
    return code


def _beats(b, v, best):
    """Larger, or a NaN (the last NaN wins, as in torch)."""
    larger = b.gt(v, best)
    return b.or_(larger, b.is_nan(v)) if v.type.dtype.kind == "f" else larger


def _max_along(b, x, code, axes, i, codes):
    """Windows along axis ``i`` alone."""
    a = axes[i]
    weight = math.prod(other.radix for other in axes[i + 1:])
    best = best_code = None
    for at in _offsets(a):
        where = [at if j == i else None for j in range(len(axes))]
        v = _tap(b, x, axes, where)
        here = b.full(at * weight, codes, v.type.shape)
        if code is not None:
            here = b.add(here, _tap(b, code, axes, where))
        if best is None:
            best, best_code = v, here
            continue
        best_code = b.select(_beats(b, v, best), here, best_code)
        best = b.max(best, v)
    return best, best_code


def _sums(b, x, axes):
    """Sum of each window."""
    if all(a.tiles for a in axes) and math.prod(a.kernel for a in axes) > MAX_TAPS:
        shape = list(x.type.shape[:2])
        for a in axes:
            shape += [a.out, a.kernel]
        return b.reduce_sum(b.reshape(x, shape), tuple(3 + 2 * i for i in range(len(axes))))
    x = _padded(b, x, axes, 0)
    if math.prod(a.kernel for a in axes) <= MAX_TAPS:
        return _added(b, [_tap(b, x, axes, at) for at in itertools.product(*map(_offsets, axes))])
    for i in reversed(range(len(axes))):
        places = [[at if j == i else None for j in range(len(axes))] for at in _offsets(axes[i])]
        x = _added(b, [_tap(b, x, axes, at) for at in places])
    return x


def _added(b, parts):
    total = parts[0]
    for part in parts[1:]:
        total = b.add(total, part)
    return total


def _divided(b, x, axes, count_padding, divisor):
    """x (N, C, *out) over the number of elements of each window, or over ``divisor``."""
    if divisor:
        return b.div(x, b.full_like(x, divisor))
    counts = [_counts(a, count_padding) for a in axes]
    if all(len(set(c)) == 1 for c in counts):
        return b.div(x, b.full_like(x, math.prod(c[0] for c in counts)))
    table = counts[0]
    for c in counts[1:]:
        table = [m * n for m in table for n in c]
    grid = b.const(np.array(table, dtype=np.float64).reshape([a.out for a in axes]), x.type.dtype)
    return b.div(x, b.expand(grid, x.type.shape))


def _counts(a, count_padding):
    """Number of elements of each window along an axis; a window never reaches beyond the declared padding."""
    found = []
    for i in range(a.out):
        start = i * a.stride - a.low
        stop = min(start + a.kernel, a.n + a.low)
        found.append(stop - start if count_padding else min(stop, a.n) - max(start, 0))
    return found


@composite("avg_pool", 1, (*WINDOW, "count_padding", "divisor"))
def avg_pool(b, x, *, count_padding, divisor, **window):
    """Mean of each window of (N, C, *size)"""
    dtype = x.type.dtype
    axes = axes_of(x.type.shape, **window)
    total = _sums(b, b.cast(x, compute_type(dtype)), axes)
    return b.cast(_divided(b, total, axes, count_padding, divisor), dtype)


# --- backward -----------------------------------------------------------------------------------------

def _gathered(b, axes, shape, arrays, fills, term):
    """Sum over the windows that reach each input position of ``term(values of the windows, offsets)``.

    ``arrays`` are (N, C, *out); ``fills`` stand outside. Offsets come as one i32 per axis, of shape
    (N, C, rows, stride, ...).
    """
    low = [max(0, -a.shifts[0]) for a in axes]
    high = [max(0, a.rows + a.shifts[-1] - a.out) for a in axes]
    if any(low + high):
        arrays = [b.pad(v, b.const(fill, v.type.dtype), (0, 0, *low), (0, 0, *high))
                  for v, fill in zip(arrays, fills, strict=True)]
    full = list(shape[:2])
    for a in axes:
        full += [a.rows, a.stride]
    total = None
    for shift in itertools.product(*(a.shifts for a in axes)):
        start = (0, 0, *(lo + d for lo, d in zip(low, shift, strict=True)))
        stop = (*shape[:2], *(at + a.rows for at, a in zip(start[2:], axes, strict=True)))
        values = []
        for v in arrays:
            part = b.slice(v, start, stop)
            kept = [*shape[:2], *(n for a in axes for n in (a.rows, 1))]
            values.append(b.expand(b.reshape(part, kept), full))
        offsets = []
        for i, (a, d) in enumerate(zip(axes, shift, strict=True)):
            r = b.iota(int32, tuple(full), 3 + 2 * i)
            offsets.append(b.add(r, b.full_like(r, a.low - a.stride * d)))
        part = term(values, offsets)
        total = part if total is None else b.add(total, part)
    assert total is not None
    whole = (*shape[:2], *(a.rows * a.stride for a in axes))
    out = b.reshape(total, whole)
    return out if whole == tuple(shape) else b.slice(out, (0,) * len(shape), shape)


@vjp("max_pool", outputs=(1,))
def _max_pool(b, g, s):
    x, code = s.types[0], s.output
    axes = axes_of(x.shape, **dict(s.attrs.items()))

    def term(values, offsets):
        g_here, winner = values
        place = offsets[0]
        for a, at in zip(axes[1:], offsets[1:], strict=True):
            place = b.add(b.mul(place, b.full_like(place, a.radix)), at)
        return b.select_or_zero(b.eq(b.cast(winner, int32), place), g_here)

    wide = compute_type(x.dtype)
    nowhere = 255 if code.type.dtype is uint8 else -1
    dx = _gathered(b, axes, x.shape, [b.cast(g[0], wide), code], [0, nowhere], term)
    return (b.cast(dx, x.dtype),)


@vjp("avg_pool")
def _avg_pool(b, g, s):
    more = dict(s.attrs.items())
    count_padding, divisor = more.pop("count_padding"), more.pop("divisor")
    x = s.types[0]
    axes = axes_of(x.shape, **more)
    share = _divided(b, b.cast(g, compute_type(x.dtype)), axes, count_padding, divisor)

    def term(values, offsets):
        (g_here,) = values
        inside = None
        for a, at in zip(axes, offsets, strict=True):
            if a.tiles:
                continue
            here = b.and_(b.ge(at, b.full_like(at, 0)), b.lt(at, b.full_like(at, a.kernel)))
            inside = here if inside is None else b.and_(inside, here)
        return g_here if inside is None else b.select_or_zero(inside, g_here)

    return (b.cast(_gathered(b, axes, x.shape, [share], [0], term), x.dtype),)


# --- indices ------------------------------------------------------------------------------------------

@composite("max_pool_indices", 1, (*WINDOW, "size"))
def max_pool_indices(b, code, *, size, **window):
    """Flat positions in the input plane of the winners that ``max_pool`` found"""
    axes = axes_of((0, 0, *size), **window)
    rest, flat, pitch = b.cast(code, int64), None, 1
    for i in reversed(range(len(axes))):
        a = axes[i]
        at = rest
        if i:
            radix = b.full_like(rest, a.radix)
            at, rest = b.remainder(rest, radix), b.floor_divide(rest, radix)
        window_number = b.iota(int64, rest.type.shape, 2 + i)
        first = b.sub(b.mul(window_number, b.full_like(rest, a.stride)), b.full_like(rest, a.low))
        term = b.mul(b.add(first, at), b.full_like(rest, pitch))
        flat = term if flat is None else b.add(flat, term)
        pitch *= a.n
    return flat


@composite("max_unpool", 2, ("size",))
def max_unpool(b, x, index, *, size):
    """Zeros of (N, C, *size) with x written at the flat positions ``index`` of its plane"""
    n, c = x.type.shape[:2]
    plane, count = math.prod(size), math.prod(x.type.shape[2:])
    index = b.cast(index, int64)
    fine = b.and_(b.ge(index, b.full_like(index, 0)), b.lt(index, b.full_like(index, plane)))
    index = b.check(fine, index, f"Found an invalid max index (output volumes are of size {list(size)})")
    index = b.reshape(index, (n * c, count))
    row = b.iota(int64, (n * c, count), 0)
    flat = b.add(b.mul(row, b.full_like(row, plane)), index)
    zeros = b.full(0, x.type.dtype, (n * c * plane,))
    out = b.scatter(zeros, b.reshape(flat, (n * c * count,)), b.reshape(x, (n * c * count,)), 0, "set")
    return b.reshape(out, (n, c, *size))


# --- adaptive pooling: windows that need not have one size ---------------------------------------------

@composite("adaptive_max_pool", 1, ("out",), n_outputs=2)
def adaptive_max_pool(b, x, *, out):
    """Largest element of each adaptive window, and its flat position in the plane"""
    shape = x.type.shape
    size = shape[2:]
    table = _flat_windows(size, out)                                    # (taps, windows)
    rows = b.reshape(x, (*shape[:2], math.prod(size)))
    places = b.const(table, int64)
    taken = b.take(rows, places, 2)                                     # (N, C, taps, windows)
    winner = b.argmax(taken, 2)                                         # (N, C, windows)
    best = b.reduce_max(taken, (2,))
    at = b.add(b.mul(winner, b.full_like(winner, table.shape[1])), b.iota(int64, winner.type.shape, 2))
    index = b.take(b.reshape(places, (table.size,)), at, 0)
    result = (*shape[:2], *out)
    return b.reshape(best, result), b.reshape(index, result)


def _flat_windows(size, out) -> np.ndarray:
    """(taps, windows): flat positions; a window with fewer taps repeats its last one."""
    flat = np.zeros((1, 1), np.int64)
    for n, m in zip(size, out, strict=True):
        windows = adaptive_windows(n, m)
        taps = max(map(len, windows))
        table = np.array([[w[min(t, len(w) - 1)] for w in windows] for t in range(taps)])
        flat = (flat[:, None, :, None] * n + table[None, :, None, :]).reshape(flat.shape[0] * taps, flat.shape[1] * m)
    return flat


@composite("fractional_max_pool", 2, ("kernel", "out"), n_outputs=2)
def fractional_max_pool(b, x, places, *, kernel, out):
    """Largest element of each of ``out`` windows at pseudo-random places, and its flat position in the plane

    ``places`` (N, C, axes) in [0, 1): how the windows of a plane are shifted (Graham, 2014).
    """
    shape, size = x.type.shape, x.type.shape[2:]
    n, c = shape[:2]
    count = math.prod(out)
    grid = (n, c, *kernel, *out)
    flat, pitch = b.full(0, int64, grid), 1
    for i in reversed(range(len(out))):
        sample = b.slice(places, (0, 0, i), (n, c, i + 1))
        first = b.reshape(_interval_starts(b, sample, size[i], kernel[i], out[i]),
                          (n, c, *(1 for _ in kernel), *(m if j == i else 1 for j, m in enumerate(out))))
        at = b.add(b.expand(first, grid), b.iota(int64, grid, 2 + i))
        flat = b.add(flat, b.mul(at, b.full_like(at, pitch)))
        pitch *= size[i]
    places_of = b.reshape(flat, (n * c, math.prod(kernel), count))
    row = b.iota(int64, places_of.type.shape, 0)
    whole = b.add(b.mul(row, b.full_like(row, pitch)), places_of)
    taken = b.take(b.reshape(x, (x.type.size,)), whole, 0)
    winner = b.argmax(taken, 1)                                         # (N C, windows)
    best = b.reduce_max(taken, (1,))
    chosen = b.eq(b.iota(int64, places_of.type.shape, 1), b.expand(b.reshape(winner, (n * c, 1, count)),
                                                                    places_of.type.shape))
    index = b.reduce_sum(b.select_or_zero(chosen, places_of), (1,))
    result = (n, c, *out)
    return b.reshape(best, result), b.reshape(index, result)


def _interval_starts(b, sample, size, kernel, out):
    """(N, C, 1) samples -> (N, C, out): int((i + u) alpha) - int(u alpha), and the last window at the end."""
    shape = (*sample.type.shape[:2], out)
    last = b.full(size - kernel, int64, shape)
    if out == 1:
        return last
    i, u = b.iota(int64, shape, 2), b.expand(sample, shape)
    alpha = b.div(b.full_like(u, size - kernel), b.full_like(u, out - 1))
    first = b.sub(b.cast(b.mul(b.add(b.cast(i, u.type.dtype), u), alpha), int64), b.cast(b.mul(u, alpha), int64))
    return b.select(b.eq(i, b.full_like(i, out - 1)), last, first)


@vjp("adaptive_max_pool", "fractional_max_pool", outputs=(1,))
def _max_at_indices(b, g, s):
    x, index = s.types[0], s.output
    n, c = x.shape[:2]
    plane, count = math.prod(x.shape[2:]), math.prod(index.type.shape[2:])
    row = b.iota(int64, (n * c, count), 0)
    flat = b.add(b.mul(row, b.full_like(row, plane)), b.reshape(index, (n * c, count)))
    zeros = b.full(0, x.dtype, (x.size,))
    out = b.scatter(zeros, b.reshape(flat, (n * c * count,)), b.reshape(g[0], (n * c * count,)), 0, "add")
    return (b.reshape(out, x.shape), *(None for _ in s.types[1:]))


@composite("lp_pool", 3, (*WINDOW, "square"))
def lp_pool(b, x, p, inverse, *, square, **window):
    """(sum of x^p over each window)^(1/p), torch's formula: sign(s) max(|s|, 0) of the window's mean, times its size"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes = axes_of(x.type.shape, **window)
    x = b.cast(x, wide)
    powers = b.mul(x, x) if square else b.pow(x, b.expand(p, x.type.shape))
    total = _sums(b, powers, axes)
    if any(a.high for a in axes):  # windows that are cut off count as whole ones
        counted = _divided(b, total, axes, True, None)
        total = b.scale(counted, math.prod(a.kernel for a in axes))
    return b.cast(b.pow(total, b.expand(inverse, total.type.shape)), dtype)
