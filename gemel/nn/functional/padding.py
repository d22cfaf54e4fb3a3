"""Padding."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...engine.base.errors import ShapeError
from ...engine.runtime.trace import scalar
from ...tensor.core import from_array
from ...tensor.recording import apply_named, wrap
from .common import check_tensor, type_of

__all__ = ["pad"]


def _reflected(i: np.ndarray, n: int) -> np.ndarray:
    return (n - 1) - np.abs((n - 1) - np.abs(i))


#: which element of an axis of size n stands at place i, counted from its first element
_SOURCES = {"reflect": _reflected, "replicate": lambda i, n: np.clip(i, 0, n - 1), "circular": lambda i, n: i % n}


@lru_cache(maxsize=256)
def _index(mode: str, n: int, low: int, high: int) -> Any:
    return wrap(from_array(_SOURCES[mode](np.arange(-low, n + high, dtype=np.int64), n)))


def _check_axis(mode: str, x: Any, axis: int, low: int, high: int) -> None:
    shape = type_of(x).shape
    n = shape[axis]
    if mode == "reflect" and max(low, high) >= n:
        raise ShapeError(f"Argument #4: Padding size should be less than the corresponding input dimension, but got: "
                         f"padding ({low}, {high}) at dimension {axis} of input {list(shape)}")
    if mode == "circular" and max(low, high) > n:
        raise ShapeError(f"Padding value causes wrapping around more than once. Received: padding ({low}, {high}) at "
                         f"dimension {axis} of input {list(shape)}")
    if n + low + high < 1 or n == 0:
        raise ShapeError(f"pad: padding ({low}, {high}) leaves nothing of dimension {axis} of input {list(shape)}")


def _constant(x: Any, widths: list[tuple[int, int]], value: float | None) -> Any:
    t = type_of(x)
    if any(lo + n + hi < 0 for n, (lo, hi) in zip(t.shape, widths, strict=True)):
        raise ShapeError(f"The input size {list(t.shape)}, plus padding {widths}, resulted in a negative output size. "
                         f"Check dimensions of input and padding.")
    if any(w < 0 for pair in widths for w in pair):
        begin = tuple(max(0, -lo) for lo, _ in widths)
        stop = tuple(n - max(0, -hi) for n, (_, hi) in zip(t.shape, widths, strict=True))
        stop = tuple(max(a, b) for a, b in zip(begin, stop, strict=True))
        x = apply_named("slice", x, attrs=(begin, stop, (1,) * t.ndim))
    low, high = (tuple(max(0, pair[i]) for pair in widths) for i in (0, 1))
    if not any(low + high):
        return x if type_of(x) is not t else apply_named("copy", x)
    number: Any = 0.0 if value is None else value
    kind = t.dtype.kind
    number = complex(number) if kind == "c" else float(number) if kind == "f" else bool(number) if kind == "b" else \
        int(number)
    return apply_named("pad", x, wrap(scalar(number, t.dtype)), attrs=(low, high))


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Surround the last axes.

    Args:
        pad: widths before and after each axis, the last axis first; negative ones cut off.
        mode: ``"constant"`` (any axes), ``"reflect"``, ``"replicate"`` or ``"circular"`` (the last one, two or three
            of (N, C, ...) or (C, ...)).
        value: of the constant; None is 0.

    torch: ``pad``.

    >>> import gemel
    >>> gemel.nn.functional.pad(gemel.tensor([[1.0, 2.0]]), (1, 2))
    tensor([[0., 1., 2., 0., 0.]])
    """
    check_tensor("pad", "input", input)
    widths, ndim = tuple(pad), type_of(input).ndim
    if len(widths) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2. Received: pad={widths}")
    if len(widths) > 2 * ndim:
        raise RuntimeError(f"Padding length should be less than or equal to two times the input dimension but got "
                           f"padding length {len(widths)} and input of dimension {ndim}")
    pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
    if mode == "constant":
        return _constant(input, [(0, 0)] * (ndim - len(pairs)) + pairs[::-1], value)
    if mode not in _SOURCES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if len(pairs) not in (1, 2, 3) or ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now. "
                                  f"Received: input {list(type_of(input).shape)}, pad={widths}")
    for i, (low, high) in enumerate(pairs):
        _check_axis(mode, input, ndim - 1 - i, low, high)
    for i, (low, high) in enumerate(pairs):
        axis = ndim - 1 - i
        if low or high:
            index = _index(mode, type_of(input).shape[axis], low, high)
            input = apply_named("take", input, index, attrs=(axis,))
    return input
