"""LAPACK through NumPy: opaque operations on the last two axes, run by the host in every tier."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..base.dtypes import complex64, complex128, float32, float64
from ..ir.custom import CustomOp, register_custom
from ..ir.types import TensorType, tensor_type

_REAL = {complex64: float32, complex128: float64}
_COMPLEX = {float32: complex64, float64: complex128}


class LinAlgError(RuntimeError):
    """A matrix has no such factorization or inverse. torch: ``torch.linalg.LinAlgError``."""


def _guarded(name: str, function: Callable[..., object]) -> Callable[..., Sequence[np.ndarray]]:
    def run(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            found = function(*arrays, *arguments)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"linalg.{name}: {error}. Received matrices of shape "
                              f"{list(arrays[0].shape)}") from None
        results = found if isinstance(found, (tuple, list)) else (found,)
        return [np.asarray(r) for r in results]
    return run


def _register(name: str, types: Callable[..., Sequence[TensorType]], function: Callable[..., object]) -> None:
    register_custom(CustomOp(f"gemel::{name}", lambda arguments, operands: tuple(types(*operands, *arguments)),
                             _guarded(name, function)))


def _real(t: TensorType, shape: tuple[int, ...]) -> TensorType:
    return tensor_type(_REAL.get(t.dtype, t.dtype), shape)


def _complex(t: TensorType, shape: tuple[int, ...]) -> TensorType:
    return tensor_type(_COMPLEX.get(t.dtype, t.dtype), shape)


def _same(a: TensorType) -> tuple[TensorType, ...]:
    return (a,)


def _qr_types(a: TensorType, complete: bool) -> tuple[TensorType, ...]:
    *lead, m, n = a.shape
    k = m if complete else min(m, n)
    return a.with_shape((*lead, m, k)), a.with_shape((*lead, k, n))


def _svd_types(a: TensorType, full: bool) -> tuple[TensorType, ...]:
    *lead, m, n = a.shape
    k = min(m, n)
    return (a.with_shape((*lead, m, m if full else k)), _real(a, (*lead, k)),
            a.with_shape((*lead, n if full else k, n)))


def _as(array: np.ndarray, *results: np.ndarray, wide: bool = False) -> tuple[np.ndarray, ...]:
    kind = np.result_type(array.dtype, np.complex64) if wide else None
    return tuple(np.asarray(r, kind) for r in results)


def _slogdet(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign, size = np.linalg.slogdet(a)
    return np.asarray(sign, a.dtype), np.asarray(size, np.finfo(a.dtype).dtype)


_register("inv", _same, np.linalg.inv)
_register("cholesky", _same, np.linalg.cholesky)
_register("solve", lambda a, b: (b,), np.linalg.solve)
_register("det", lambda a: (a.with_shape(a.shape[:-2]),), lambda a: np.asarray(np.linalg.det(a), a.dtype))
_register("slogdet", lambda a: (a.with_shape(a.shape[:-2]), _real(a, a.shape[:-2])), _slogdet)
_register("qr", _qr_types, lambda a, complete: tuple(np.linalg.qr(a, "complete" if complete else "reduced")))
_register("eigh", lambda a: (_real(a, a.shape[:-1]), a), lambda a: tuple(np.linalg.eigh(a)))
_register("svd", _svd_types, lambda a, full: tuple(np.linalg.svd(a, full_matrices=full)))
_register("eig", lambda a: (_complex(a, a.shape[:-1]), _complex(a, a.shape)),
          lambda a: _as(a, *np.linalg.eig(a), wide=True))
