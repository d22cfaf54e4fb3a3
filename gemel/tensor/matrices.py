"""Functions of matrices under the names that torch has at its top; ``gemel.linalg`` has the newer ones."""
from __future__ import annotations

from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.errors import ShapeError
from . import factorization as linalg
from . import return_types
from .creation import eye, zeros
from .elementwise import check_tensor, deliver, delivering
from .factorization import det, matrix_exp
from .joining import cat
from .random import randn
from .recording import apply_named

__all__ = ["cholesky", "cholesky_inverse", "cholesky_solve", "det", "geqrf", "inverse", "logdet", "lu", "lu_solve",
           "lu_unpack", "matrix_exp", "orgqr", "ormqr", "pca_lowrank", "pinverse",
           "qr", "slogdet", "svd", "svd_lowrank", "triangular_solve"]


def inverse(input: Any, *, out: Any = None) -> Any:
    """The inverse of square matrices: ``linalg.inv``.

    >>> gemel.inverse(gemel.tensor([[2., 0.], [0., 4.]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])

    torch: ``inverse``
    """
    return linalg.inv(input, out=out)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The Moore-Penrose inverse: ``linalg.pinv``, singular values below ``rcond`` times the largest as zero.

    >>> gemel.pinverse(gemel.tensor([[2.], [0.]]))
    tensor([[0.5000, 0.0000]])

    torch: ``pinverse``
    """
    return linalg.pinv(input, rtol=rcond)


def slogdet(input: Any, *, out: Any = None) -> Any:
    """``(sign, logabsdet)`` of the determinant: ``linalg.slogdet``.

    >>> gemel.slogdet(-gemel.eye(3)).sign
    tensor(-1.)

    torch: ``slogdet``
    """
    return return_types.slogdet(tuple(linalg.slogdet(input, out=out)))


def logdet(input: Any) -> Any:
    """The logarithm of the determinant; NaN where it is negative.

    >>> gemel.logdet(gemel.eye(3))
    tensor(0.)

    torch: ``logdet``
    """
    sign, size = linalg.slogdet(check_tensor(input, "logdet"))
    if sign._read().type.dtype.is_complex:
        return sign.log() + size
    return apply_named("select", sign < 0, sign * float("nan"), size)


def cholesky(input: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The triangular factor of positive-definite matrices: ``linalg.cholesky``.

    >>> gemel.cholesky(gemel.tensor([[4.]]))
    tensor([[2.]])

    torch: ``cholesky``
    """
    return linalg.cholesky(input, upper=upper, out=out)


def cholesky_solve(B: Any, L: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The solution of ``A X = B`` from the Cholesky factor ``L`` of ``A`` (``upper``: ``A = L^H L``).

    Args:
        B: (..., n, k). L: (..., n, n). Raises: RuntimeError for shapes that do not fit.

    >>> gemel.cholesky_solve(gemel.tensor([[8.]]), gemel.tensor([[2.]]))
    tensor([[2.]])

    torch: ``cholesky_solve``
    """
    b, low = check_tensor(B, "cholesky_solve")._read().type, check_tensor(L, "cholesky_solve", "input2", 2)._read().type
    if b.ndim < 2:
        raise ShapeError(f"b should have at least 2 dimensions, but has {b.ndim} dimensions instead")
    if low.ndim < 2:
        raise ShapeError(f"u should have at least 2 dimensions, but has {low.ndim} dimensions instead")
    if low.shape[-1] != low.shape[-2]:
        raise ShapeError(f"A must be batches of square matrices, but they are {low.shape[-2]} by {low.shape[-1]} "
                         f"matrices")
    if low.shape[-1] != b.shape[-2]:
        raise ShapeError(f"Incompatible matrix sizes for cholesky_solve: each A matrix is {low.shape[-1]} by "
                         f"{low.shape[-1]} but each b matrix is {b.shape[-2]} by {b.shape[-1]}")
    first, second = (L.mH, L) if upper else (L, L.mH)
    half = linalg.solve_triangular(first, B, upper=False)
    return deliver(linalg.solve_triangular(second, half, upper=True), out, "cholesky_solve")


def cholesky_inverse(L: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The inverse of ``A`` from its Cholesky factor ``L`` (``upper``: ``A = L^H L``).

    >>> gemel.cholesky_inverse(gemel.tensor([[2.]]))
    tensor([[0.2500]])

    torch: ``cholesky_inverse``
    """
    t = check_tensor(L, "cholesky_inverse")._read().type
    if t.ndim < 2:
        raise ShapeError("cholesky_inverse: The input tensor A must have at least 2 dimensions.")
    if t.shape[-1] != t.shape[-2]:
        raise ShapeError(f"cholesky_inverse: A must be batches of square matrices, but they are {t.shape[-2]} by "
                         f"{t.shape[-1]} matrices")
    return deliver(cholesky_solve(eye(t.shape[-1], dtype=t.dtype).expand(t.shape), L, upper), out, "cholesky_inverse")


def qr(input: Any, some: bool = True, *, out: Any = None) -> Any:
    """``(Q, R)``: ``linalg.qr`` in mode ``"reduced"``, or ``"complete"`` for ``some=False``.

    >>> Q, R = gemel.qr(gemel.randn(3, 2))
    >>> Q.shape
    gemel.Size([3, 2])

    torch: ``qr``
    """
    return return_types.qr(tuple(linalg.qr(input, "reduced" if some else "complete", out=out)))


def svd(input: Any, some: bool = True, compute_uv: bool = True, *, out: Any = None) -> Any:
    """``(U, S, V)`` with ``input = U diag(S) V^H``; ``linalg.svd`` gives ``V^H``.

    Args:
        some: as many columns as singular values (False: square U and V). compute_uv: False gives zeros for U and V.

    >>> gemel.svd(gemel.diag(gemel.tensor([3., 2.]))).S
    tensor([3., 2.])

    torch: ``svd``
    """
    t = check_tensor(input, "svd")._read().type
    if compute_uv:
        u, s, vh = linalg.svd(input, not some)
        v = vh.mH
    else:
        s = linalg.svdvals(input)
        u, v = (zeros((*t.shape[:-2], n, n), dtype=t.dtype) for n in t.shape[-2:])
    return return_types.svd(delivering((u, s, v), out, "svd"))


def lu(A: Any, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """``(LU, pivots)``, with ``get_infos`` also the first zero pivots: ``linalg.lu_factor``.

    >>> gemel.lu(gemel.tensor([[0., 1.], [2., 4.]]))[1]
    tensor([2, 2], dtype=gemel.int32)

    torch: ``lu``
    """
    found = tuple(linalg.lu_factor_ex(A, pivot=pivot, check_errors=not get_infos))
    return delivering(found if get_infos else found[:2], out, "lu")


def lu_solve(b: Any, LU_data: Any, LU_pivots: Any, *, out: Any = None) -> Any:
    """The solution of ``A X = b`` from the factors of ``A``: ``linalg.lu_solve``.

    >>> gemel.lu_solve(gemel.tensor([[8.]]), *gemel.lu(gemel.tensor([[2.]])))
    tensor([[4.]])

    torch: ``lu_solve``
    """
    return linalg.lu_solve(LU_data, LU_pivots, b, out=out)


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True, *,
              out: Any = None) -> Any:
    """``(P, L, U)`` of ``A = P L U`` from the result of ``lu``; parts that are not asked for are empty.

    >>> gemel.lu_unpack(*gemel.lu(gemel.tensor([[0., 1.], [2., 4.]]))).P
    tensor([[0., 1.],
            [1., 0.]])

    torch: ``lu_unpack``
    """
    t = check_tensor(LU_data, "lu_unpack", "LU_data")._read().type
    if unpack_pivots and LU_pivots._read().type.dtype is not dt.int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
                           "Note: this function is intended to be used with the output produced by "
                           "torch.linalg.lu_factor")
    P, L, U = linalg.unpacked(LU_data, LU_pivots)
    empty = zeros(0, dtype=t.dtype)
    found = (P if unpack_pivots else empty, *((L, U) if unpack_data else (empty, empty)))
    return return_types.lu_unpack(delivering(found, out, "lu_unpack"))


def triangular_solve(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *,
                     out: Any = None) -> Any:
    """``(solution, A)`` of ``A X = b`` (``transpose``: ``A^T X = b``): ``linalg.solve_triangular``.

    >>> gemel.triangular_solve(gemel.tensor([[8.]]), gemel.tensor([[2.]])).solution
    tensor([[4.]])

    torch: ``triangular_solve``
    """
    matrix = check_tensor(A, "triangular_solve", "A", 2)
    triangle, side = (matrix.mT, not upper) if transpose else (matrix, upper)
    found = linalg.solve_triangular(triangle, check_tensor(b, "triangular_solve"), upper=side,
                                    unitriangular=unitriangular)
    return return_types.triangular_solve(delivering((found, matrix.clone()), out, "triangular_solve"))


def geqrf(input: Any, *, out: Any = None) -> Any:
    """``(a, tau)``: R above the diagonal, below it the reflectors whose product ``orgqr`` makes; without derivative.

    >>> a, tau = gemel.geqrf(gemel.ones(3, 2))
    >>> gemel.orgqr(a, tau).shape
    gemel.Size([3, 2])

    torch: ``geqrf``
    """
    found = apply_named("linalg_geqrf", check_tensor(input, "geqrf"))
    return return_types.geqrf(delivering(found, out, "geqrf"))


def orgqr(input: Any, tau: Any) -> Any:
    """The product of reflectors: ``linalg.householder_product``.

    >>> gemel.orgqr(gemel.tensor([[9., 9.], [1., 9.]]), gemel.tensor([1., 0.]))
    tensor([[ 0., -1.],
            [-1.,  0.]])

    torch: ``orgqr``
    """
    return linalg.householder_product(input, tau)


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False, *, out: Any = None) -> Any:
    """``Q other`` with the whole square Q of the reflectors (``left=False``: ``other Q``; ``transpose``: with ``Q^H``).

    Args:
        input, tau: of :func:`geqrf`, (..., m, k) and (..., k). other: (..., m, n), or (..., n, m) for ``left=False``.

    >>> gemel.ormqr(gemel.tensor([[9.], [1.]]), gemel.tensor([1.]), gemel.tensor([[1.], [2.]]))
    tensor([[-2.],
            [-1.]])

    torch: ``ormqr``
    """
    t = check_tensor(input, "ormqr")._read().type
    m, n = t.shape[-2:]
    if other._read().type.shape[-2 if left else -1] != m:
        raise ShapeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    if m > n:
        input = cat([input, zeros((*t.shape[:-2], m, m - n), dtype=t.dtype)], -1)
    q = linalg.householder_product(input, tau)
    q = q.mH if transpose else q
    return deliver(q @ other if left else other @ q, out, "ormqr")


def _basis(A: Any, q: int, niter: int) -> Any:
    """Orthonormal columns that span most of the range of ``A`` (Halko et al., 2009, algorithm 4.4)."""
    Q = linalg.qr(A @ randn(A.shape[-1], q, dtype=A._read().type.dtype))[0]
    for _ in range(niter):
        Q = linalg.qr(A @ linalg.qr(A.mH @ Q)[0])[0]
    return Q


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> tuple[Any, Any, Any]:
    """About the ``q`` largest singular values and their vectors, ``(U, S, V)`` with ``A - M ~ U diag(S) V^H``.

    Args:
        A: (..., m, n). q: a little more than the rank that is expected. niter: power iterations. M: what is taken off
        ``A`` first.

    >>> x = gemel.ones(5, 1) @ gemel.ones(1, 4)
    >>> gemel.svd_lowrank(x, q=2)[1].round(decimals=3).abs()
    tensor([4.4720, 0.0000])

    torch: ``svd_lowrank``
    """
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    check_tensor(A, "svd_lowrank", "A")
    A = A if M is None else A - M
    m, n = A._read().type.shape[-2:]
    wide = m < n
    A = A.mH if wide else A
    Q = _basis(A, q, niter)
    u, s, vh = linalg.svd(Q.mH @ A, False)
    u, v = Q @ u, vh.mH
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Any, Any, Any]:
    """The ``q`` principal components of the rows of ``A``: :func:`svd_lowrank` of ``A`` less the mean of its rows.

    Args:
        A: (..., m, n). q: None: 6, or as many as there can be. center: take off the mean.
    Raises: ValueError for ``q`` above ``min(m, n)`` and a negative ``niter``.

    >>> gemel.pca_lowrank(gemel.randn(8, 3), q=2)[2].shape
    gemel.Size([3, 2])

    torch: ``pca_lowrank``
    """
    m, n = check_tensor(A, "pca_lowrank", "A")._read().type.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


class MatrixMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    cholesky, cholesky_inverse, cholesky_solve, det, inverse = cholesky, cholesky_inverse, cholesky_solve, det, inverse
    geqrf, logdet, lu, lu_solve, matrix_exp, orgqr, ormqr = geqrf, logdet, lu, lu_solve, matrix_exp, orgqr, ormqr
    pinverse, qr, slogdet, svd, triangular_solve = pinverse, qr, slogdet, svd, triangular_solve
