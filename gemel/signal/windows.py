"""Window functions. torch: ``torch.signal.windows``.

Each takes the number of samples ``M`` and ``sym``: False cuts a window of ``M`` samples from one of ``M + 1``, as
spectral analysis wants it.

    >>> gemel.signal.windows.hann(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    >>> gemel.signal.windows.hann(4, sym=False)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..tensor.typeinfo import get_default_dtype
from ..tensor.windows import bartlett_shape, cosines, kaiser_shape, made

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming",
           "hann", "kaiser", "nuttall"]


def _make(name: str, shape: Callable[[np.ndarray, int], np.ndarray], M: int, sym: bool, dtype: DType | None,
          requires_grad: bool) -> Any:
    dtype = dtype or get_default_dtype()
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if dtype not in (dt.float32, dt.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype!r}")
    return made(shape, M, sym, dtype, requires_grad)


def _plain(name: str, doc: str, shape: Callable[[np.ndarray, int], np.ndarray]) -> Callable[..., Any]:
    def function(M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
                 requires_grad: bool = False) -> Any:
        return _make(name, shape, M, sym, dtype, requires_grad)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``signal.windows.{name}``"
    return function


bartlett = _plain("bartlett", "A triangle that begins with 0.", bartlett_shape)
blackman = _plain("blackman", "``0.42 - 0.5 cos x + 0.08 cos 2x``.",
                  lambda n, last: cosines(n, last, (0.42, 0.5, 0.08)))
hamming = _plain("hamming", "``0.54 - 0.46 cos x``.", lambda n, last: cosines(n, last, (0.54, 0.46)))
hann = _plain("hann", "``0.5 - 0.5 cos x``.", lambda n, last: cosines(n, last, (0.5, 0.5)))
nuttall = _plain("nuttall", "Nuttall's window of four terms, with a continuous first derivative.",
                 lambda n, last: cosines(n, last, (0.3635819, 0.4891775, 0.1365995, 0.0106411)))
cosine = _plain("cosine", "``sin(pi (n + 1/2) / M)``.", lambda n, last: np.sin(np.pi * (n + 0.5) / (last + 1)))


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: DType | None = None,
                layout: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """``exp(-|n - center| / tau)``.

    Args:
        center: None: the middle; another one only with ``sym=False``. Raises: ValueError, also for ``tau`` <= 0.

    >>> gemel.signal.windows.exponential(3)
    tensor([0.3679, 1.0000, 0.3679])

    torch: ``signal.windows.exponential``
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return _make("exponential", lambda n, last: np.exp(-np.abs(n - (last / 2 if center is None else center)) / tau),
                 M, sym, dtype, requires_grad)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: DType | None = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> Any:
    """``exp(-(n - middle)^2 / (2 std^2))``.

    Raises: ValueError for ``std`` <= 0.

    >>> gemel.signal.windows.gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])

    torch: ``signal.windows.gaussian``
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _make("gaussian", lambda n, last: np.exp(-0.5 * ((n - last / 2) / std) ** 2), M, sym, dtype, requires_grad)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: DType | None = None, layout: Any = None,
           device: Any = None, requires_grad: bool = False) -> Any:
    """``i0(beta sqrt(1 - (2 n / N - 1)^2)) / i0(beta)``.

    Raises: ValueError for ``beta`` < 0.

    >>> gemel.signal.windows.kaiser(3, beta=0.0)
    tensor([1., 1., 1.])

    torch: ``signal.windows.kaiser``
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _make("kaiser", lambda n, last: kaiser_shape(n, last, beta), M, sym, dtype, requires_grad)


def general_cosine(M: int, *, a: Any, sym: bool = True, dtype: DType | None = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False) -> Any:
    """``a_0 - a_1 cos x + a_2 cos 2x - ...``.

    Args:
        a: the weights. Raises: TypeError or ValueError for none.

    >>> gemel.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])

    torch: ``signal.windows.general_cosine``
    """
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = tuple(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    return _make("general_cosine", lambda n, last: cosines(n, last, weights), M, sym, dtype, requires_grad)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, requires_grad: bool = False) -> Any:
    """``alpha - (1 - alpha) cos x``.

    >>> gemel.signal.windows.general_hamming(3, alpha=0.5)
    tensor([0., 1., 0.])

    torch: ``signal.windows.general_hamming``
    """
    return _make("general_hamming", lambda n, last: cosines(n, last, (alpha, 1 - alpha)), M, sym, dtype, requires_grad)
