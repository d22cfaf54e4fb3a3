"""Meaning of dot and convolution, in the canonical order.

The contracted elements (row-major over the contracted axes; for convolutions kernel positions first, then
channels) are taken in blocks of 256: one chain of fused multiply-adds in rising k per block, starting at +0;
block sums are added in order inside super-blocks of 4,096, and super-block sums in order. f32, bf16 and f16
accumulate in f32, f64 in f64, integers wrap in the result type.

``dot`` of bf16 on a machine with AMX has no blocks: in a super-block it takes 32 k at a time, one chain over the even
and one over the odd k, which are added to each other, then to the super-block's sum. The instruction takes and gives
subnormal numbers as zeros, at every step.

``exact=True`` follows that order bit for bit (slow: NumPy has no fused multiply-add); otherwise the sums are
NumPy's.
"""
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from ..base import dtypes
from ..ir.phases import phases

Array = np.ndarray
BLOCK, SUPER = 256, 4096
TILE_K = 32


def fma32(a: Array, b: Array, c: Array) -> Array:
    """Correctly rounded f32 ``a * b + c``: exact product in f64, sum rounded to odd, then to f32."""
    with np.errstate(all="ignore"):
        p, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
        s = p + c
        back = s - p
        error = (p - (s - back)) + (c - back)  # Knuth's TwoSum
        even = (s.view(np.int64) & 1) == 0
        toward = np.where(error > 0, np.inf, -np.inf)
        odd = np.where((error != 0) & even & np.isfinite(s), np.nextafter(s, toward), s)
        return odd.astype(np.float32)


@functools.cache  # looking for the library starts a process
def _libm_fma():
    import ctypes.util
    name = ctypes.util.find_library("m")
    if not name:
        return None
    fma = ctypes.CDLL(name).fma
    fma.restype, fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    return np.frompyfunc(fma, 3, 1)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """Correctly rounded f64 ``a * b + c``, through libm."""
    fma = _libm_fma()
    if fma is None:
        return a * b + c
    return np.asarray(fma(a, b, c)).astype(np.float64)


def accumulator(dtype: np.dtype, out: np.dtype) -> np.dtype:
    """The type in which products of ``dtype`` are summed."""
    if dtype.kind in "iub":
        return out
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind not in "c" else dtype


def in_tiles(dtype: np.dtype) -> bool:
    """Does this machine take ``dot`` of this dtype in tiles?"""
    from ..base.target import host
    return dtype == dtypes.bfloat16.numpy and host().isa == "avx512" and "amx-bf16" in host().extras


def _chain(x: Array, y: Array, start: int, stop: int, step: int, given: Callable[[Array], Array] = np.asarray) -> Array:
    """One chain of multiply-adds from +0 over these k; ``given`` is what a step gives of its sum."""
    fma = fma32 if x.dtype == np.float32 else fma64
    chain = np.zeros((x.shape[0], x.shape[1], y.shape[1]), x.dtype)
    for k in range(start, stop, step):
        left, right = np.broadcast_arrays(x[:, :, None, k], y[:, None, :, k])
        chain = given(fma(left, right, chain))
    return chain


def _flushed(x: Array) -> Array:
    """Zeros of the same sign for subnormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, np.copysign(x.dtype.type(0), x), x)


def _tiles(x: Array, y: Array, start: int, stop: int) -> Array:
    """A super-block in tiles of 32 k, the last one filled up with zeros."""
    x, y = (np.pad(_flushed(a[:, :, start:stop]), [(0, 0), (0, 0), (0, (start - stop) % TILE_K)]) for a in (x, y))
    total = np.zeros((x.shape[0], x.shape[1], y.shape[1]), x.dtype)
    for k in range(0, x.shape[2], TILE_K):
        end = k + TILE_K
        step = _flushed(_chain(x, y, k, end, 2, _flushed) + _chain(x, y, k + 1, end, 2, _flushed))
        total = _flushed(total + step)
    return total


def contract(x: Array, y: Array, out: np.dtype, exact: bool, tiles: bool = False) -> Array:
    """(batch, m, k) x (batch, n, k) -> (batch, m, n). ``tiles``: the exact order is that of tiles."""
    acc = accumulator(x.dtype, out)
    x, y = x.astype(acc), y.astype(acc)
    if not exact or acc.kind in "iuc":
        with np.errstate(all="ignore"):
            return np.matmul(x, y.swapaxes(1, 2)).astype(out)
    block = SUPER if tiles else BLOCK
    total = None
    for super_start in range(0, x.shape[2], SUPER):
        part = None
        for start in range(super_start, min(super_start + SUPER, x.shape[2]), block):
            stop = min(start + block, x.shape[2])
            chain = _tiles(x, y, start, stop) if tiles else _chain(x, y, start, stop, 1)
            part = chain if part is None else part + chain
        total = part if total is None else total + part
    if total is None:
        total = np.zeros((x.shape[0], x.shape[1], y.shape[1]), acc)
    return total.astype(out)


def dot(attrs, x: Array, y: Array, exact: bool = False) -> Array:
    def arrange(a: Array, batch, reduced) -> tuple[Array, list[int]]:
        free = [i for i in range(a.ndim) if i not in batch + reduced]
        sizes = [a.shape[i] for i in free]
        moved = a.transpose([*batch, *free, *reduced])
        n = [int(np.prod([a.shape[i] for i in part], dtype=np.int64)) for part in (batch, free, reduced)]
        return moved.reshape(n), sizes

    left, m = arrange(x, list(attrs.x_batch), list(attrs.x_contract))
    right, n = arrange(y, list(attrs.y_batch), list(attrs.y_contract))
    batch = [x.shape[i] for i in attrs.x_batch]
    return contract(left, right, attrs.dtype.numpy, exact, exact and in_tiles(x.dtype)).reshape(batch + m + n)


def _patches(x: Array, kernel, out, stride, padding, dilation) -> Array:
    """(N, C, *size) -> (N, *out, *kernel, C): the window under each output position, zero outside."""
    n, c = x.shape[:2]
    padded = np.zeros((n, c, *(s + lo + hi for s, (lo, hi) in zip(x.shape[2:], padding, strict=True))), x.dtype)
    padded[(..., *(slice(lo, lo + s) for s, (lo, _) in zip(x.shape[2:], padding, strict=True)))] = x
    result = np.zeros((n, *out, *kernel, c), x.dtype)
    for tap in itertools.product(*map(range, kernel)):
        window = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) if o else slice(0, 0)
                       for t, d, o, s in zip(tap, dilation, out, stride, strict=True))
        result[(slice(None), *(slice(None),) * len(out), *tap)] = np.moveaxis(padded[(..., *window)], 1, -1)
    return result


def conv(attrs, x: Array, w: Array, exact: bool = False) -> Array:
    from ..ir.rules import conv_sizes
    kernel, groups = w.shape[2:], attrs.groups
    out = conv_sizes(x.shape[2:], kernel, attrs)
    windows = _patches(x, kernel, out, attrs.stride, attrs.padding, attrs.dilation)
    cg, og, taps = x.shape[1] // groups, w.shape[0] // groups, int(np.prod(kernel))
    results = []
    for g in range(groups):
        left = windows[..., g * cg:(g + 1) * cg].reshape(1, x.shape[0] * int(np.prod(out)), taps * cg)
        right = np.moveaxis(w[g * og:(g + 1) * og], 1, -1).reshape(1, og, taps * cg)
        results.append(contract(left, right, x.dtype, exact).reshape(x.shape[0], *out, og))
    return np.moveaxis(np.concatenate(results, -1), -1, 1)


def _transpose_windows(g: Array, size, padding, dilation, kernel) -> Array:
    """(N, O, *out) -> (N, *size, *kernel, O): the output gradient that each kernel position brings to an input."""
    n, c = g.shape[:2]
    result = np.zeros((n, *size, *kernel, c), g.dtype)
    for tap in itertools.product(*map(range, kernel)):
        to, frm = [], []
        for axis, t in enumerate(tap):
            index = np.arange(g.shape[2 + axis]) + t * dilation[axis] - padding[axis][0]
            keep = (index >= 0) & (index < size[axis])
            to.append(index[keep])
            frm.append(np.nonzero(keep)[0])
        source = np.moveaxis(g, 1, -1)[np.ix_(range(n), *frm, range(c))]
        result[(..., *tap, slice(None))][np.ix_(range(n), *to, range(c))] = source
    return result


def _transpose_phase(g: Array, w: Array, size, padding, dilation, groups: int, exact: bool) -> Array:
    """With stride 1."""
    kernel = w.shape[2:]
    windows = _transpose_windows(g, size, padding, dilation, kernel)
    og, cg, taps = g.shape[1] // groups, w.shape[1], int(np.prod(kernel))
    results = []
    for i in range(groups):
        left = windows[..., i * og:(i + 1) * og].reshape(1, g.shape[0] * int(np.prod(size)), taps * og)
        right = np.moveaxis(np.moveaxis(w[i * og:(i + 1) * og], 1, 0), 1, -1).reshape(1, cg, taps * og)
        results.append(contract(left, right, g.dtype, exact).reshape(g.shape[0], *size, cg))
    return np.moveaxis(np.concatenate(results, -1), -1, 1)


def conv_transpose(attrs, g: Array, w: Array, exact: bool = False) -> Array:
    """Phase by phase: no product has a zero that stands between sites."""
    result = np.zeros((g.shape[0], w.shape[1] * attrs.groups, *attrs.size), g.dtype)
    for phase in phases(attrs, g.shape[2:], w.shape[2:]):
        taps = tuple(slice(p.tap, None, p.step) for p in phase)
        there = tuple(slice(p.first, None, s) for p, s in zip(phase, attrs.stride, strict=True))
        result[(..., *there)] = _transpose_phase(
            g, w[(..., *taps)], [p.count for p in phase], [(p.low, p.high) for p in phase],
            [p.dilation for p in phase], attrs.groups, exact)
    return result


def conv_weight_grad(attrs, x: Array, g: Array, exact: bool = False) -> Array:
    groups = attrs.groups
    windows = _patches(x, attrs.kernel, g.shape[2:], attrs.stride, attrs.padding, attrs.dilation)
    cg, og, taps = x.shape[1] // groups, g.shape[1] // groups, int(np.prod(attrs.kernel))
    rows = x.shape[0] * int(np.prod(g.shape[2:]))
    results = []
    for i in range(groups):
        left = np.moveaxis(g[:, i * og:(i + 1) * og], 1, -1).reshape(1, rows, og).swapaxes(1, 2)
        right = windows[..., i * cg:(i + 1) * cg].reshape(1, rows, taps * cg).swapaxes(1, 2)
        block = contract(left, right, x.dtype, exact).reshape(og, *attrs.kernel, cg)
        results.append(np.moveaxis(block, -1, 1))
    return np.concatenate(results, 0)


CONTRACT = {"dot": dot, "conv": conv, "conv_transpose": conv_transpose, "conv_weight_grad": conv_weight_grad}
