"""Factorizations of matrices in the last two axes, and what is solved by them: the functions of ``gemel.linalg``.

What some matrices do not have (an inverse, a solution, a Cholesky factor) is computed at the call, which raises
:class:`LinAlgError` for them.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import ShapeError
from ..engine.interpreter.linalg import LinAlgError
from ..engine.runtime import executor
from ..engine.runtime.trace import local
from . import return_types
from .core import from_array
from .creation import eye, zeros
from .elementwise import check_tensor, deliver, delivering
from .promotion import broadcast_shapes, cast, expand
from .recording import apply_named, wrap

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "det", "eig", "eigh", "eigvals", "eigvalsh", "householder_product", "inv",
    "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matrix_exp", "matrix_rank", "pinv", "qr",
    "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals",
]


def _computed(name: str, *operands: Any) -> Any:
    """An operation that some matrices do not have, computed now: it fails at the call, not at a later one.

    What failed must not stay pending for the next observation, so no frame of the failure keeps it alive.
    """
    found = apply_named(f"linalg_{name}", *operands)
    if local.capture is not None:
        return found
    try:
        executor.observe(found._read(), f"linalg.{name}()")
        return found
    except LinAlgError as error:
        message = str(error)
    del found
    raise LinAlgError(message)


def _unary(name: str, doc: str) -> Callable[..., Any]:
    def function(A: Any, *, out: Any = None) -> Any:
        return deliver(_computed(name, check_tensor(A, f"linalg_{name}", "A")), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``linalg.{name}``."
    return function


inv = _unary("inv", "The inverse of square matrices.")
det = _unary("det", "The determinant of square matrices.")


def slogdet(A: Any, *, out: Any = None) -> Any:
    """``(sign, logabsdet)`` of the determinant. torch: ``linalg.slogdet``."""
    found = apply_named("linalg_slogdet", check_tensor(A, "linalg_slogdet", "A"))
    return return_types.linalg_slogdet(delivering(found, out, "slogdet"))


def cholesky(A: Any, *, upper: bool = False, out: Any = None) -> Any:
    """The lower (or upper) triangular factor of positive-definite matrices. torch: ``linalg.cholesky``.

    Raises:
        LinAlgError: a matrix is not positive-definite.
    """
    low = _computed("cholesky", check_tensor(A, "linalg_cholesky", "A"))
    return deliver(low.mH if upper else low, out, "cholesky")


def solve(A: Any, B: Any, *, left: bool = True, out: Any = None) -> Any:
    """The solution of ``A X = B`` (``left=False``: ``X A = B``); ``B`` holds matrices or vectors.
    torch: ``linalg.solve``."""
    a, b = check_tensor(A, "linalg_solve", "A")._read().type, check_tensor(B, "linalg_solve", "B", 2)._read().type
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"linalg.solve: A must be batches of square matrices. Received shape {list(a.shape)}")
    vectors = b.ndim == 1 or b.shape == a.shape[:-1]
    if vectors and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. "
                           f"In this case linalg.solve is equivalent to B / A.squeeze(-1). Received {b}")
    if not left:
        return deliver(solve(A.mT, B.mT).mT, out, "solve")
    right = B.unsqueeze(-1) if vectors else B
    t = right._read().type
    if t.shape[-2] != a.shape[-1]:
        raise ShapeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                         f"({a.shape[-2]}x{a.shape[-1]} and {t.shape[-2]}x{t.shape[-1]})")
    lead = broadcast_shapes(a.shape[:-2], t.shape[:-2])
    found = _computed("solve", expand(A, (*lead, *a.shape[-2:])), expand(right, (*lead, *t.shape[-2:])))
    return deliver(found.squeeze(-1) if vectors else found, out, "solve")


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False,
                     out: Any = None) -> Any:
    """The solution of ``A X = B`` for triangular ``A``; the other triangle is not read.
    torch: ``linalg.solve_triangular``."""
    t = check_tensor(A, "linalg_solve_triangular", "A")._read().type
    triangle = apply_named("triu" if upper else "tril", A, attrs=(1 if upper and unitriangular else
                                                                  -1 if unitriangular else 0,))
    if unitriangular:
        triangle = triangle + eye(t.shape[-1], dtype=t.dtype)
    return deliver(solve(triangle, B, left=left), out, "solve_triangular")


def qr(A: Any, mode: str = "reduced", *, out: Any = None) -> Any:
    """``(Q, R)`` with orthonormal columns and an upper triangle; ``mode``: 'reduced', 'complete' or 'r'.
    torch: ``linalg.qr``."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
                           f"'complete'")
    q, r = apply_named("linalg_qr", check_tensor(A, "linalg_qr", "A"), attrs=(mode == "complete",))
    if mode == "r":
        q = q.new_zeros(0)
    return return_types.linalg_qr(delivering((q, r), out, "qr"))


def _hermitian(A: Any, UPLO: str) -> Any:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return A if UPLO.upper() == "L" else A.mH


def eigh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """``(eigenvalues, eigenvectors)`` of symmetric or Hermitian matrices, rising. torch: ``linalg.eigh``."""
    found = apply_named("linalg_eigh", _hermitian(check_tensor(A, "linalg_eigh", "A"), UPLO))
    return return_types.linalg_eigh(delivering(found, out, "eigh"))


def eigvalsh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """The eigenvalues of symmetric or Hermitian matrices, rising. torch: ``linalg.eigvalsh``."""
    return deliver(eigh(A, UPLO)[0], out, "eigvalsh")


def eig(A: Any, *, out: Any = None) -> Any:
    """Complex ``(eigenvalues, eigenvectors)`` of square matrices; without derivative. torch: ``linalg.eig``."""
    found = apply_named("linalg_eig", check_tensor(A, "linalg_eig", "A"))
    return return_types.linalg_eig(delivering(found, out, "eig"))


def eigvals(A: Any, *, out: Any = None) -> Any:
    """The complex eigenvalues of square matrices; without derivative. torch: ``linalg.eigvals``."""
    return deliver(eig(A)[0], out, "eigvals")


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None, out: Any = None) -> Any:
    """``(U, S, Vh)`` with ``A = U diag(S) Vh`` and falling S; the derivative needs ``full_matrices=False``.
    torch: ``linalg.svd``."""
    found = apply_named("linalg_svd", check_tensor(A, "linalg_svd", "A"), attrs=(bool(full_matrices),))
    return return_types.linalg_svd(delivering(found, out, "svd"))


def svdvals(A: Any, *, driver: str | None = None, out: Any = None) -> Any:
    """The singular values, falling. torch: ``linalg.svdvals``."""
    return deliver(svd(A, False)[1], out, "svdvals")


def _tolerance(values: Any, A: Any, atol: Any, rtol: Any) -> Any:
    """What counts as zero: ``max(atol, rtol * largest)``."""
    t = A._value.type
    if rtol is None:
        eps = float(np.finfo(values._read().type.dtype.numpy).eps)
        rtol = 0.0 if atol is not None else eps * max(t.shape[-2:])
    return (values.amax(-1, keepdim=True) * rtol).clamp(min=0.0 if atol is None else atol)


def matrix_rank(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, out: Any = None) -> Any:
    """The number of singular values above ``max(atol, rtol * largest)``. torch: ``linalg.matrix_rank``."""
    values = eigvalsh(A).abs() if hermitian else svdvals(A)
    return deliver((values > _tolerance(values, A, atol, rtol)).sum(-1), out, "matrix_rank")


def pinv(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, out: Any = None) -> Any:
    """The Moore-Penrose inverse, through the singular values above ``max(atol, rtol * largest)``.
    torch: ``linalg.pinv``."""
    u, s, vh = svd(A, False)
    kept = s > _tolerance(s, A, atol, rtol)
    ones = apply_named("select", kept, s, s * 0 + 1)
    inverse = apply_named("select", kept, ones.reciprocal(), s * 0)
    scaled = vh.mH * cast(inverse, vh._read().type.dtype).unsqueeze(-2)
    return deliver(scaled @ u.mH, out, "pinv")


# --- without an error for matrices that do not have it ----------------------------------------------

def _or_codes(name: str, error: bool, call: Callable[[], Any], A: Any, single: Callable[[np.ndarray], Any]
              ) -> tuple[Any, Any]:
    """The result and a code for each matrix: 0, or above 0 where it has none (its result is then arbitrary).

    Codes can only be known by looking: this waits for the matrices.
    """
    lead = A._read().type.shape[:-2]
    try:
        return call(), zeros(lead, dtype=dt.int32)
    except LinAlgError:
        if error:
            raise
    array = executor.observe(A._read(), f"linalg.{name}()")
    found, codes = np.array(array), np.zeros(lead, np.int32)
    for i in np.ndindex(lead):
        try:
            found[i] = single(array[i])
        except np.linalg.LinAlgError:
            codes[i] = _first_fault(array[i], name)
    return wrap(from_array(found)), wrap(from_array(codes))


def _first_fault(a: np.ndarray, name: str) -> int:
    """Where the factorization stops, counted from 1, as LAPACK's ``info``."""
    if name == "cholesky_ex":
        for n in range(1, len(a) + 1):
            try:
                np.linalg.cholesky(a[:n, :n])
            except np.linalg.LinAlgError:
                return n
    return int(executor.observe(apply_named("linalg_lu_factor", wrap(from_array(a)))[2]._read(), f"linalg.{name}()"))


def inv_ex(A: Any, *, check_errors: bool = False, out: Any = None) -> Any:
    """``(inverse, info)``: ``info`` is 0, or the first zero pivot (from 1) of matrices without inverse.

    Args:
        check_errors: raise LinAlgError as :func:`inv` does.

    >>> gemel.linalg.inv_ex(gemel.zeros(2, 2)).info
    tensor(1, dtype=gemel.int32)

    torch: ``linalg.inv_ex``
    """
    check_tensor(A, "linalg_inv_ex", "A")
    found = _or_codes("inv_ex", check_errors, lambda: inv(A), A, np.linalg.inv)
    return return_types.linalg_inv_ex(delivering(found, out, "inv_ex"))


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False, out: Any = None) -> Any:
    """``(L, info)``: ``info`` is 0, or the order of the first leading minor that is not positive-definite.

    Args:
        upper: the upper factor. check_errors: raise LinAlgError as :func:`cholesky` does.

    >>> gemel.linalg.cholesky_ex(gemel.tensor([[1., 0.], [0., -1.]])).info
    tensor(2, dtype=gemel.int32)

    torch: ``linalg.cholesky_ex``
    """
    check_tensor(A, "linalg_cholesky_ex", "A")
    found = _or_codes("cholesky_ex", check_errors, lambda: cholesky(A, upper=upper), A, np.linalg.cholesky)
    return return_types.linalg_cholesky_ex(delivering(found, out, "cholesky_ex"))


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """``(result, info)``: as :func:`solve`; ``info`` is 0, or the first zero pivot (from 1) of singular matrices.

    >>> gemel.linalg.solve_ex(2 * gemel.eye(2), gemel.ones(2)).result
    tensor([0.5000, 0.5000])

    torch: ``linalg.solve_ex``
    """
    check_tensor(A, "linalg_solve_ex", "A")
    _, info = found = _or_codes("solve_ex", check_errors, lambda: solve(A, B, left=left), A, np.linalg.inv)
    if info.any():
        found = B * float("nan"), info
    return return_types.linalg_solve_ex(delivering(found, out, "solve_ex"))


# --- LU ---------------------------------------------------------------------------------------------

def _check_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"linalg.{name}: LU without pivoting is not implemented on the CPU")


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """``(LU, pivots, info)``: L (without its ones) and U in one matrix, the row that each row was exchanged with
    (from 1), and the first zero pivot (from 1; 0: none).

    Args:
        A: (..., m, n). pivot: must be True. check_errors: raise RuntimeError for a zero pivot.

    >>> gemel.linalg.lu_factor_ex(gemel.tensor([[0., 1.], [2., 4.]])).LU
    tensor([[2., 4.],
            [0., 1.]])

    torch: ``linalg.lu_factor_ex``
    """
    _check_pivot("lu_factor", pivot)
    found = apply_named("linalg_lu_factor", check_tensor(A, "linalg_lu_factor_ex", "A"))
    if check_errors:
        _check_pivots(found[2])
    return return_types.linalg_lu_factor_ex(delivering(found, out, "lu_factor_ex"))


def _check_pivots(info: Any) -> None:
    codes = executor.observe(info._read(), "linalg.lu_factor()").reshape(-1)
    for i, k in enumerate(codes):
        if k:
            batch = f"(Batch element {i}): " if info._value.type.ndim else ""
            raise LinAlgError(f"torch.linalg.lu_factor: {batch}U[{k},{k}] is zero and using it on lu_solve would "
                              f"result in a division by zero. If you still want to perform the factorization, consider "
                              f"calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")


def lu_factor(A: Any, *, pivot: bool = True, out: Any = None) -> Any:
    """``(LU, pivots)``: as :func:`lu_factor_ex`. Raises: LinAlgError for a zero pivot.

    >>> gemel.linalg.lu_factor(gemel.tensor([[0., 1.], [2., 4.]])).pivots
    tensor([2, 2], dtype=gemel.int32)

    torch: ``linalg.lu_factor``
    """
    factors, pivots, _ = lu_factor_ex(A, pivot=pivot, check_errors=True)
    return return_types.linalg_lu_factor(delivering((factors, pivots), out, "lu_factor"))


def unpacked(LU: Any, pivots: Any) -> tuple[Any, Any, Any]:
    """P, L and U of A = P L U, from the result of :func:`lu_factor`."""
    shape = LU._read().type.shape
    k = min(shape[-2:])
    low = apply_named("tril", LU[..., :k], attrs=(-1,)) + eye(shape[-2], k, dtype=LU._value.type.dtype)
    return apply_named("linalg_permutation", pivots, LU.detach()), low, apply_named("triu", LU[..., :k, :], attrs=(0,))


def lu(A: Any, *, pivot: bool = True, out: Any = None) -> Any:
    """``(P, L, U)`` with ``A = P L U``: a permutation, a lower triangle with ones on the diagonal, an upper triangle.

    >>> P, L, U = gemel.linalg.lu(gemel.tensor([[0., 1.], [2., 4.]]))
    >>> P @ L @ U
    tensor([[0., 1.],
            [2., 4.]])

    torch: ``linalg.lu``
    """
    _check_pivot("lu", pivot)
    factors, pivots, _ = apply_named("linalg_lu_factor", check_tensor(A, "linalg_lu", "A"))
    return return_types.linalg_lu(delivering(unpacked(factors, pivots), out, "lu"))


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False, out: Any = None) -> Any:
    """The solution of ``A X = B`` from the factors of ``A`` (``left=False``: ``X A = B``; ``adjoint``: of ``A^H``).

    Args:
        LU, pivots: of :func:`lu_factor`. B: (..., n, k), or (..., k, n) for ``left=False``; batch axes broadcast.
    Raises: RuntimeError for pivots that are not int32, shapes that do not fit.

    >>> A = gemel.tensor([[0., 1.], [2., 4.]])
    >>> gemel.linalg.lu_solve(*gemel.linalg.lu_factor(A), gemel.tensor([[1.], [6.]]))
    tensor([[1.],
            [1.]])

    torch: ``linalg.lu_solve``
    """
    a, b = check_tensor(LU, "linalg_lu_solve", "LU")._read().type, check_tensor(B, "linalg_lu_solve", "B")._read().type
    if pivots._read().type.dtype is not dt.int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"torch.linalg.lu_solve: LU must be batches of square matrices. Received shape "
                         f"{list(a.shape)}")
    n = a.shape[-1]
    if b.ndim < 2 or b.shape[-2 if left else -1] != n:
        sides = f"AX = B ({n}x{n} and " if left else f"XA = B ({n}x{n} and "
        raise ShapeError(f"linalg.lu_solve: Incompatible shapes of A and B for the equation {sides}"
                         f"{'x'.join(map(str, b.shape[-2:]))})")
    P, L, U = unpacked(LU, pivots)
    right, turned = (B, adjoint) if left else (B.mH, not adjoint)  # X A = B: A^H X^H = B^H
    if turned:
        half = solve_triangular(L.mH, solve_triangular(U.mH, right, upper=False), upper=True, unitriangular=True)
        found = P @ half
    else:
        half = solve_triangular(L, P.mH @ right, upper=False, unitriangular=True)
        found = solve_triangular(U, half, upper=True)
    return deliver(found if left else found.mH, out, "lu_solve")


# --- exponential, reflectors, least squares ---------------------------------------------------------

def matrix_exp(A: Any) -> Any:
    """``sum over k of A^k / k!`` of square matrices, by scaling and squaring (Higham, 2005) in double precision.

    >>> gemel.linalg.matrix_exp(gemel.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])

    torch: ``linalg.matrix_exp``
    """
    return apply_named("linalg_matrix_exp", check_tensor(A, "linalg_matrix_exp", "A"))


def householder_product(A: Any, tau: Any, *, out: Any = None) -> Any:
    """The first columns of ``H_1 H_2 ... H_k`` with ``H_i = 1 - tau_i v_i v_i^H``; ``v_i`` is column ``i`` of ``A``
    below the diagonal, and 1 on it.

    Args:
        A: (..., m, n) with m >= n. tau: (..., k) with k <= n. Raises: RuntimeError for other shapes.

    >>> gemel.linalg.householder_product(gemel.tensor([[9., 9.], [1., 9.]]), gemel.tensor([1., 0.]))
    tensor([[ 0., -1.],
            [-1.,  0.]])

    torch: ``linalg.householder_product``
    """
    t = check_tensor(A, "linalg_householder_product", "A")._read().type
    scales = check_tensor(tau, "linalg_householder_product", "tau", 2)._read().type
    name = "torch.linalg.householder_product"
    if t.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    if t.shape[-2] < t.shape[-1]:
        raise ShapeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if t.shape[-1] < scales.shape[-1]:
        raise ShapeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if scales.shape[:-1] != t.shape[:-2]:
        raise ShapeError(f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
                         f"{list(scales.shape[:-1])}")
    if scales.dtype is not t.dtype:
        raise RuntimeError(f"{name}: tau dtype {scales.dtype.name} does not match input dtype {t.dtype.name}")
    ones = eye(*t.shape[-2:], dtype=t.dtype)
    vectors = apply_named("tril", A, attrs=(-1,)) + ones
    found = expand(ones, t.shape)
    for i in range(scales.shape[-1] - 1, -1, -1):
        v = vectors[..., i:i + 1]
        found = found - (tau[..., i:i + 1].unsqueeze(-1) * v) @ (v.mH @ found)
    return deliver(found, out, "householder_product")


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> Any:
    """``(solution, residuals, rank, singular_values)``: the ``X`` of least ``|A X - B|``, and of least ``|X|`` among
    them.

    Args:
        A: (..., m, n). B: (..., m, k), or (..., m) vectors. rcond: singular values below ``rcond`` times the largest
        count as zero (None: epsilon times ``max(m, n)``). driver: ``"gelsy"`` (None), ``"gelsd"`` and ``"gelss"`` find
        the rank, the last two give the singular values; ``"gels"`` takes the rank to be full.
    Returns:
        ``residuals`` are the squared sums over rows where m > n and the rank is full; else, and for ``"gelsy"``, empty.
    Raises: RuntimeError for another driver or shapes that do not fit.

    >>> gemel.linalg.lstsq(gemel.tensor([[1.], [1.]]), gemel.tensor([[1.], [3.]])).solution
    tensor([[2.]])

    torch: ``linalg.lstsq``
    """
    a, b = check_tensor(A, "linalg_lstsq", "A")._read().type, check_tensor(B, "linalg_lstsq", "B", 2)._read().type
    name = "torch.linalg.lstsq"
    if a.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    if b.ndim < 1:
        raise ShapeError(f"{name}: other must have at least 1 dimension.")
    vectors = a.ndim - 1 == b.ndim and b.shape == a.shape[:-1]
    if not vectors and (b.ndim < 2 or b.shape[-2] != a.shape[-2]):
        raise ShapeError(f"{name}: input.size(-2) should match other.size({-1 if b.ndim < a.ndim else -2})")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype, but got input's dtype "
                           f"{a.dtype.name} and other's dtype {b.dtype.name}")
    if driver is not None and driver not in _DRIVERS:
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    m, n = a.shape[-2:]
    right = B.unsqueeze(-1) if vectors else B
    lead = broadcast_shapes(a.shape[:-2], right._read().type.shape[:-2])
    A, right = expand(A, (*lead, m, n)), expand(right, (*lead, *right._value.type.shape[-2:]))
    k = min(m, n)
    empty, rank, values = zeros(0, dtype=a.dtype), zeros(0, dtype=dt.int64), None
    if driver != "gels":
        limit = float(np.finfo(a.dtype.numpy).eps) * max(m, n) if rcond is None else rcond
        values = svdvals(A.detach())
        rank = (values > values.amax(-1, keepdim=True) * limit).sum(-1) if k else zeros(lead, dtype=dt.int64)
    full = values is None or bool((rank == k).all())
    if not full:
        found = pinv(A, rtol=limit) @ right
    elif m >= n:
        q, r = qr(A)
        found = solve_triangular(r, q.mH @ right, upper=True)
    else:
        q, r = qr(A.mH)
        found = q @ solve_triangular(r.mH, right, upper=False)
    residuals = empty
    if full and m > n and driver not in (None, "gelsy"):
        residuals = (A @ found - right).abs().square().sum(-2)
    if values is None or driver in (None, "gelsy"):
        values = zeros(0, dtype=dt.float32 if a.dtype is dt.complex64 else dt.float64 if a.dtype is dt.complex128
                       else a.dtype)
    return return_types.linalg_lstsq(found.squeeze(-1) if vectors else found, residuals, rank, values)
