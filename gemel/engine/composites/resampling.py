"""Resampling along axes: interpolation and adaptive averages.

Along one axis, every output element is a weighted sum of a few input elements (its *taps*); which and how much are
tables that depend on the sizes only. Forward and backward gather: the backward pass with the transposed tables.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.vjp import vjp
from ..base.dtypes import bool_, compute_type, float64, int64
from .base import composite

#: more taps than this are one reduction instead of a chain of sums
MAX_TAPS = 16


class Along(NamedTuple):
    """How one axis is resampled.

    Attributes:
        axis: which. kind: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"cubic"`` or ``"average"``.
        out: new size. scale: input positions per output position where the caller chose it, else None.
        align_corners: the first and last elements of both are at the same places.
        antialias: widen the filter when shrinking.
    """

    axis: int
    kind: str
    out: int
    scale: float | None = None
    align_corners: bool = False
    antialias: bool = False


@dataclass(frozen=True)
class Taps:
    """(taps, size): positions and weights, and which of them count (None: all)."""

    index: np.ndarray
    weight: np.ndarray | None
    counts: np.ndarray | None


def _table(rows: Sequence[Sequence[tuple[int, float]]]) -> Taps:
    """From a list of (position, weight) per output element."""
    taps = max(1, max(map(len, rows), default=1))
    index = np.zeros((taps, len(rows)), np.int64)
    weight = np.zeros((taps, len(rows)))
    counts = np.zeros((taps, len(rows)), bool)
    for i, row in enumerate(rows):
        for t, (at, w) in enumerate(row):
            index[t, i], weight[t, i], counts[t, i] = at, w, True
    return Taps(index, None if np.all(weight[counts] == 1.0) else weight, None if counts.all() else counts)


# --- the places of each kind -------------------------------------------------------------------------

def _step(a: Along, n: int) -> float:
    """Input positions per output position."""
    if a.align_corners:
        return (n - 1) / (a.out - 1) if a.out > 1 else 0.0
    return a.scale if a.scale is not None else n / a.out


def _nearest(a: Along, n: int, single: bool) -> list:
    # torch multiplies in the compute type and takes the floor in single precision: which element is nearest hangs on it
    real = np.float32 if single else np.float64
    step = real(_step(a, n))
    at = np.arange(a.out).astype(real)
    at = (at + real(0.5)) * step if a.kind == "nearest-exact" else at * step
    found = np.minimum(np.floor(at.astype(np.float32)).astype(np.int64), n - 1)
    return [[(int(p), 1.0)] for p in found]


def _source(a: Along, n: int, i: int) -> float:
    step = _step(a, n)
    return step * i if a.align_corners else step * (i + 0.5) - 0.5


def _linear(a: Along, n: int) -> list:
    rows = []
    for i in range(a.out):
        at = max(_source(a, n, i), 0.0)
        first = min(int(at), n - 1)
        share = min(max(at - first, 0.0), 1.0)
        rows.append([(first, 1.0 - share), (min(first + 1, n - 1), share)])
    return rows


def _bicubic(x: float, c: float) -> float:
    """Keys' kernel (1981) with parameter c."""
    x = abs(x)
    if x < 1:
        return ((c + 2) * x - (c + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * c if x < 2 else 0.0


def _cubic(a: Along, n: int) -> list:
    rows = []
    for i in range(a.out):
        at = _source(a, n, i)
        first = math.floor(at)
        share = at - first
        rows.append([(min(max(first + t, 0), n - 1), _bicubic(share - t, -0.75)) for t in (-1, 0, 1, 2)])
    return rows


#: half the width of a filter at scale 1, and its values
_FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "linear": (1.0, lambda x: max(0.0, 1.0 - abs(x))),
    "cubic": (2.0, lambda x: _bicubic(x, -0.5)),
}


def _antialiased(a: Along, n: int) -> list:
    width, value = _FILTERS[a.kind]
    step = _step(a, n)
    stretch = max(step, 1.0)
    rows = []
    for i in range(a.out):
        center = step * (i + 0.5)
        low = max(int(center - width * stretch + 0.5), 0)
        high = min(int(center + width * stretch + 0.5), n)
        weights = [value((j - center + 0.5) / stretch) for j in range(low, high)]
        total = sum(weights) or 1.0
        rows.append([(low + j, w / total) for j, w in enumerate(weights)])
    return rows


def adaptive_windows(n: int, out: int) -> list[range]:
    """Input positions of each window: from floor(i n / out) to ceil((i + 1) n / out)."""
    return [range(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]


def _average(a: Along, n: int) -> list:
    return [[(j, 1.0 / len(w)) for j in w] for w in adaptive_windows(n, a.out)]


@lru_cache(maxsize=512)
def _rows(a: Along, n: int, single: bool) -> list:
    if a.kind.startswith("nearest"):
        return _nearest(a, n, single)
    if a.kind == "average":
        return _average(a, n)
    if a.antialias:
        return _antialiased(a, n)
    return _linear(a, n) if a.kind == "linear" else _cubic(a, n)


@lru_cache(maxsize=512)
def forward_taps(a: Along, n: int, single: bool) -> Taps:
    """Taps of the output elements."""
    return _table(_rows(a, n, single))


@lru_cache(maxsize=512)
def backward_taps(a: Along, n: int, single: bool) -> Taps:
    """Taps of the input's gradient in that of the output."""
    found: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    for i, row in enumerate(_rows(a, n, single)):
        for at, w in row:
            found[at].append((i, w))
    return _table(found)


# --- as operations -------------------------------------------------------------------------------------

def _along(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(n if i == axis else 1 for i, n in enumerate(shape))


def _chain(b: Any, x: Any, axis: int, taps: Taps) -> Any:
    """One gather per tap."""
    total = None
    for t in range(len(taps.index)):
        part = b.take(x, b.const(taps.index[t], int64), axis)
        shape = part.type.shape
        if taps.weight is not None:
            weight = b.reshape(b.const(taps.weight[t], x.type.dtype), _along(shape, axis))
            part = b.mul(part, b.expand(weight, shape))
        if taps.counts is not None:
            counts = b.reshape(b.const(taps.counts[t], bool_), _along(shape, axis))
            part = b.select_or_zero(b.expand(counts, shape), part)
        total = part if total is None else b.add(total, part)
    return total


def _reduced(b: Any, x: Any, axis: int, taps: Taps) -> Any:
    """All taps at once: (.., size, taps, ..), summed."""
    part = b.take(x, b.const(np.ascontiguousarray(taps.index.T), int64), axis)
    shape = part.type.shape
    grid = tuple(n if i in (axis, axis + 1) else 1 for i, n in enumerate(shape))
    if taps.weight is not None:
        weight = b.reshape(b.const(np.ascontiguousarray(taps.weight.T), x.type.dtype), grid)
        part = b.mul(part, b.expand(weight, shape))
    if taps.counts is not None:
        counts = b.reshape(b.const(np.ascontiguousarray(taps.counts.T), bool_), grid)
        part = b.select_or_zero(b.expand(counts, shape), part)
    return b.reduce_sum(part, (axis + 1,))


def _gather(b: Any, x: Any, axis: int, taps: Taps) -> Any:
    return (_chain if len(taps.index) <= MAX_TAPS else _reduced)(b, x, axis, taps)


def _repeats(a: Along, n: int) -> bool:
    """Does every input element just stand for ``out / n`` output elements?"""
    return a.kind.startswith("nearest") and a.out % n == 0 and a.scale is None


def _split(shape: tuple[int, ...], axis: int, n: int, m: int) -> tuple[int, ...]:
    return (*shape[:axis], n, m, *shape[axis + 1:])


def _single(x: Any) -> bool:
    return compute_type(x.type.dtype) is not float64


@composite("resample", 1, ("along",))
def resample(b, x, *, along):
    """x with some axes resampled, see ``Along``; in the compute type, rounded once"""
    dtype = x.type.dtype
    if not all(Along(*a).kind.startswith("nearest") for a in along):
        x = b.cast(x, compute_type(dtype))
    for a in (Along(*a) for a in along):
        shape = x.type.shape
        n = shape[a.axis]
        if _repeats(a, n):
            spread = b.expand(b.reshape(x, _split(shape, a.axis, n, 1)), _split(shape, a.axis, n, a.out // n))
            x = b.reshape(spread, (*shape[:a.axis], a.out, *shape[a.axis + 1:]))
        else:
            x = _gather(b, x, a.axis, forward_taps(a, n, _single(x)))
    return b.cast(x, dtype)


@vjp("resample")
def _resample(b, g, s):
    dtype, shape = s.types[0].dtype, s.types[0].shape
    g = b.cast(g, compute_type(dtype))
    for a in (Along(*a) for a in reversed(s.attrs.along)):
        n = shape[a.axis]
        if _repeats(a, n):
            parts = b.reshape(g, _split(g.type.shape, a.axis, n, a.out // n))
            g = b.reduce_sum(parts, (a.axis + 1,))
        else:
            g = _gather(b, g, a.axis, backward_taps(a, n, _single(g)))
    return (b.cast(g, dtype),)
