"""Fourier transforms through NumPy: opaque operations, run by the host in every tier."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.dtypes import DType, complex64, complex128, float32, float64
from ..ir.custom import CustomOp, register_custom
from ..ir.types import TensorType, tensor_type

_COMPLEX = {float32: complex64, float64: complex128}
_REAL = {complex64: float32, complex128: float64}


def _scaled(found: np.ndarray, scale: float, like: np.ndarray, real: bool = False) -> Sequence[np.ndarray]:
    """The result in the precision of the operand."""
    single = like.dtype.itemsize == (8 if like.dtype.kind == "c" else 4)
    dtype = (np.float32 if single else np.float64) if real else np.complex64 if single else np.complex128
    return [np.asarray(found if scale == 1.0 else found * scale, dtype)]


def _c2c(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    axes, inverse, scale = arguments
    x = arrays[0]
    return _scaled(np.fft.ifftn(x, axes=axes, norm="forward") if inverse else np.fft.fftn(x, axes=axes), scale, x)


def _r2c(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    axes, scale = arguments
    return _scaled(np.fft.rfftn(arrays[0], axes=axes), scale, arrays[0])


def _c2r(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    axes, size, scale = arguments
    x = arrays[0]
    sizes = [*(x.shape[a] for a in axes[:-1]), size]
    return _scaled(np.fft.irfftn(x, s=sizes, axes=axes, norm="forward"), scale, x, real=True)


def _resized(t: TensorType, axis: int, size: int, dtype: DType) -> TensorType:
    return tensor_type(dtype, tuple(size if i == axis else n for i, n in enumerate(t.shape)))


register_custom(CustomOp("gemel::fft_c2c", lambda a, t: (t[0],), _c2c))
register_custom(CustomOp("gemel::fft_r2c", lambda a, t: (
    _resized(t[0], a[0][-1], t[0].shape[a[0][-1]] // 2 + 1, _COMPLEX[t[0].dtype]),), _r2c))
register_custom(CustomOp("gemel::fft_c2r", lambda a, t: (_resized(t[0], a[0][-1], a[1], _REAL[t[0].dtype]),), _c2r))
