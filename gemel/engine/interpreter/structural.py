"""Meaning of leaves, movement and indexing."""
from __future__ import annotations

import numpy as np

from .random import random_bits

Array = np.ndarray


def _const(attrs) -> Array:
    return np.frombuffer(attrs.data, attrs.type.dtype.numpy).reshape(attrs.type.shape)


def _iota(attrs) -> Array:
    along = [-1 if i == attrs.axis else 1 for i in range(len(attrs.shape))]
    steps = np.arange(attrs.shape[attrs.axis]).astype(attrs.dtype.numpy).reshape(along)
    return np.broadcast_to(steps, attrs.shape)


def _pad(attrs, x: Array, value: Array) -> Array:
    out = np.full([lo + n + hi for lo, n, hi in zip(attrs.low, x.shape, attrs.high, strict=True)], value, x.dtype)
    out[tuple(slice(lo, lo + n) for lo, n in zip(attrs.low, x.shape, strict=True))] = x
    return out


def _slice(attrs, x: Array) -> Array:
    return x[tuple(map(slice, attrs.start, attrs.stop, attrs.step))]


def _take(attrs, x: Array, index: Array) -> Array:
    n = x.shape[attrs.axis]
    if n == 0:
        return np.zeros(x.shape[:attrs.axis] + index.shape + x.shape[attrs.axis + 1:], x.dtype)
    return np.take(x, np.clip(index.astype(np.int64), 0, n - 1), axis=attrs.axis)


_COMBINE = {"add": np.add, "mul": np.multiply,
            "max": lambda a, b: np.where((a > b) | (a != a), a, b),
            "min": lambda a, b: np.where((a < b) | (a != a), a, b)}


def _scatter(attrs, x: Array, index: Array, updates: Array) -> Array:
    axis, n = attrs.axis, x.shape[attrs.axis]
    out = np.moveaxis(np.array(x), axis, 0)
    flat = index.reshape(-1).astype(np.int64)
    lead = x.shape[:axis]
    rows = updates.reshape(*lead, flat.size, *x.shape[axis + 1:])
    rows = np.moveaxis(rows, axis, 0)
    for at, row in zip(flat, rows, strict=True):
        if 0 <= at < n:
            out[at] = row if attrs.mode == "set" else _COMBINE[attrs.mode](out[at], row).astype(x.dtype)
    return np.moveaxis(out, 0, axis)


def _window(shape, step, starts, size) -> tuple[slice, ...]:
    found = []
    for n, s, at, d in zip(shape, step, starts, size, strict=True):
        reach = (n - 1) * s + 1 if n else 0
        at = min(max(int(at), 0), d - reach)
        found.append(slice(at, at + reach, s))
    return tuple(found)


def _dynamic_slice(attrs, x: Array, *starts: Array) -> Array:
    return x[_window(attrs.shape, attrs.step, starts, x.shape)]


def updated_window(attrs, x: Array, update: Array, *starts: Array) -> Array:
    """What a ``dynamic_update`` of ``x`` writes, as a view."""
    return x[(*_window(update.shape, attrs.step, starts, x.shape), ...)]


def _dynamic_update(attrs, x: Array, update: Array, *starts: Array) -> Array:
    out = np.array(x)
    updated_window(attrs, out, update, *starts)[...] = update
    return out


STRUCTURAL = {
    "const": _const, "iota": _iota, "random_bits": random_bits,
    "reshape": lambda attrs, x: x.reshape(attrs.shape),
    "permute": lambda attrs, x: x.transpose(attrs.axes),
    "expand": lambda attrs, x: np.broadcast_to(x, attrs.shape),
    "pad": _pad, "slice": _slice, "flip": lambda attrs, x: np.flip(x, attrs.axes),
    "cat": lambda attrs, *xs: np.concatenate(xs, attrs.axis),
    "take": _take, "scatter": _scatter,
    "dynamic_slice": _dynamic_slice, "dynamic_update": _dynamic_update,
}
