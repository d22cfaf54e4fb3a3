"""LAPACK through NumPy: opaque operations on the last two axes, run by the host in every tier."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..base.dtypes import complex64, complex128, float32, float64, from_numpy, int32
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


# --- what NumPy's LAPACK lacks -----------------------------------------------------------------------

_PANEL = 32


def _panel(a: np.ndarray, pivots: np.ndarray, start: int, stop: int) -> int:
    """Eliminate columns ``start:stop`` of one matrix in place; the first column without pivot (from 1), or 0."""
    info = 0
    for k in range(start, stop):
        column = a[k:, k]
        row = k + int(np.argmax(np.abs(np.real(column)) + np.abs(np.imag(column))))  # LAPACK's size
        pivots[k] = row + 1
        if a[row, k] == 0:
            info = info or k + 1
            continue
        if row != k:
            a[[k, row]] = a[[row, k]]
        a[k + 1:, k] /= a[k, k]
        a[k + 1:, k + 1:stop] -= np.outer(a[k + 1:, k], a[k, k + 1:stop])
    return info


def _lu(a: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """One matrix: what LAPACK's getrf returns (row interchanges count from 1), by panels of columns."""
    a = a.copy()
    m, n = a.shape
    k = min(m, n)
    pivots, info = np.zeros(k, np.int32), 0
    for start in range(0, k, _PANEL):
        stop = min(start + _PANEL, k)
        info = info or _panel(a, pivots, start, stop)
        if stop < n:
            low = np.tril(a[start:stop, start:stop], -1) + np.eye(stop - start, dtype=a.dtype)
            a[start:stop, stop:] = np.linalg.solve(low, a[start:stop, stop:])
            a[stop:, stop:] -= a[stop:, start:stop] @ a[start:stop, stop:]
    return info, a, pivots


def _each(function: Callable[..., tuple], types: Callable[..., Sequence[TensorType]]
          ) -> Callable[..., tuple[np.ndarray, ...]]:
    """A function of one matrix, on each matrix of a batch."""
    def run(a: np.ndarray, *arguments: object) -> tuple[np.ndarray, ...]:
        found = [np.empty(t.shape, t.dtype.numpy) for t in types(tensor_type(from_numpy(a.dtype), a.shape), *arguments)]
        for i in np.ndindex(a.shape[:-2]):
            for whole, part in zip(found, function(a[i], *arguments), strict=True):
                whole[i] = part
        return tuple(found)
    return run


def _lu_types(a: TensorType) -> tuple[TensorType, ...]:
    lead = a.shape[:-2]
    return a, tensor_type(int32, (*lead, min(a.shape[-2:]))), tensor_type(int32, lead)


def _lu_of_one(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    info, factors, pivots = _lu(a)
    return factors, pivots, info


def _geqrf(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factors, tau = np.linalg.qr(a, "raw")
    return np.swapaxes(factors, -1, -2).astype(a.dtype), tau.astype(a.dtype)


def _geqrf_types(a: TensorType) -> tuple[TensorType, ...]:
    return a, a.with_shape((*a.shape[:-2], min(a.shape[-2:])))


#: coefficients of the Pade approximant of exp of degree 13 (Higham, 2005)
_PADE = (64764752532480000., 32382376266240000., 7771770303897600., 1187353796428800., 129060195264000.,
         10559470521600., 670442572800., 33522128640., 1323241920., 40840800., 960960., 16380., 182., 1.)


def _matrix_exp(a: np.ndarray) -> tuple[np.ndarray]:
    """One matrix, by scaling and squaring in double precision."""
    x = a.astype(np.result_type(a.dtype, np.float64))
    if not x.size:
        return (a,)
    norm = np.linalg.norm(x, 1)
    if not np.isfinite(norm):
        return (np.full_like(a, np.nan),)
    halvings = max(0, int(np.ceil(np.log2(norm / 5.371920351148152)))) if norm > 0 else 0
    x = x / 2.0**halvings
    b, one = _PADE, np.eye(len(x), dtype=x.dtype)
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    odd = x @ (x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * one)
    even = x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * one
    found = np.linalg.solve(even - odd, even + odd)
    for _ in range(halvings):
        found = found @ found
    return (found.astype(a.dtype),)


_register("lu_factor", _lu_types, _each(_lu_of_one, _lu_types))
_register("geqrf", _geqrf_types, _geqrf)
_register("matrix_exp", _same, _each(_matrix_exp, _same))


def _permutation(pivots: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """P of A = P L U."""
    m = factors.shape[-2]
    found = np.zeros((*pivots.shape[:-1], m, m), factors.dtype)
    for i in np.ndindex(pivots.shape[:-1]):
        order = np.arange(m)
        for k, p in enumerate(pivots[i]):
            order[[k, p - 1]] = order[[p - 1, k]]
        found[i][order, np.arange(m)] = 1
    return found


_register("permutation", lambda pivots, a: (a.with_shape((*a.shape[:-1], a.shape[-2])),), _permutation)
