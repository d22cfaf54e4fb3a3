"""Window functions, computed in double precision and rounded once."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..engine.base.dtypes import DType
from .core import from_array
from .creation import finish
from .promotion import SCALAR_NAMES
from .typeinfo import get_default_dtype

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]

_Shape = Callable[[np.ndarray, int], np.ndarray]


def made(shape: _Shape, size: int, symmetric: bool, dtype: DType, requires_grad: bool) -> Any:
    """``shape(index, last)`` for ``size`` samples; one that is not symmetric is cut from one sample more."""
    last = size - 1 if symmetric else size
    found = np.ones(size) if size == 1 else shape(np.arange(size, dtype=np.float64), last)
    return finish(from_array(found.astype(dtype.numpy)), requires_grad)


def cosines(index: np.ndarray, last: int, weights: Iterable[float]) -> np.ndarray:
    """``sum over i of (-1)^i w_i cos(2 pi i n / last)``."""
    total = np.zeros(len(index))
    for i, w in enumerate(weights):
        total += (-1) ** i * w * np.cos(2 * np.pi * i * index / last)
    return total


def bartlett_shape(index: np.ndarray, last: int) -> np.ndarray:
    """A triangle."""
    return 1 - np.abs(2 * index / last - 1)


def kaiser_shape(index: np.ndarray, last: int, beta: float) -> np.ndarray:
    """``i0(beta sqrt(1 - (2 n / last - 1)^2)) / i0(beta)``."""
    return np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (2 * index / last - 1) ** 2))) / np.i0(beta)


def _checked(name: str, length: int, dtype: DType | None) -> DType:
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    dtype = dtype or get_default_dtype()
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {SCALAR_NAMES[dtype]}")
    return dtype


def hann_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """``(1 - cos(2 pi n / N)) / 2`` with ``N = window_length``, or one less for ``periodic=False``.

    >>> gemel.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])

    torch: ``hann_window``
    """
    kind = _checked("hann_window", window_length, dtype)
    return made(lambda n, last: cosines(n, last, (0.5, 0.5)), window_length, not periodic, kind, requires_grad)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
                   dtype: DType | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
                   requires_grad: bool = False) -> Any:
    """``alpha - beta cos(2 pi n / N)`` with ``N = window_length``, or one less for ``periodic=False``.

    >>> gemel.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])

    torch: ``hamming_window``
    """
    kind = _checked("hamming_window", window_length, dtype)
    return made(lambda n, last: cosines(n, last, (alpha, beta)), window_length, not periodic, kind, requires_grad)


def blackman_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """``0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)``, ``N`` as for :func:`hann_window`.

    >>> gemel.blackman_window(3, periodic=False).round(decimals=4).abs()
    tensor([0., 1., 0.])

    torch: ``blackman_window``
    """
    kind = _checked("blackman_window", window_length, dtype)
    return made(lambda n, last: cosines(n, last, (0.42, 0.5, 0.08)), window_length, not periodic, kind, requires_grad)


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """A triangle, ``1 - |2 n / N - 1|``, ``N`` as for :func:`hann_window`.

    >>> gemel.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])

    torch: ``bartlett_window``
    """
    return made(bartlett_shape, window_length, not periodic, _checked("bartlett_window", window_length, dtype),
                requires_grad)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None,
                  layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """``i0(beta sqrt(1 - (2 n / N - 1)^2)) / i0(beta)``, ``N`` as for :func:`hann_window`.

    >>> gemel.kaiser_window(3, periodic=False, beta=0.0)
    tensor([1., 1., 1.])

    torch: ``kaiser_window``
    """
    kind = _checked("kaiser_window", window_length, dtype)
    return made(lambda n, last: kaiser_shape(n, last, beta), window_length, not periodic, kind, requires_grad)
