"""Linear algebra. torch: ``torch.linalg``.

Products and norms are compiled as all other operations; factorizations are LAPACK's. What some matrices do not have
(an inverse, a solution, a Cholesky factor) is computed at the call, which raises :class:`LinAlgError` for them.

    >>> a = gemel.tensor([[2., 0.], [0., 4.]])
    >>> gemel.linalg.solve(a, gemel.tensor([2., 4.]))
    tensor([1., 1.])
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .engine.base.errors import ShapeError
from .engine.interpreter.linalg import LinAlgError
from .engine.runtime import executor
from .engine.runtime.trace import local
from .tensor import return_types
from .tensor.arithmetic import mul
from .tensor.arranging import diagonal as _diagonal
from .tensor.contraction import chain_of, matmul, matrix_power
from .tensor.contraction import cross as _cross
from .tensor.core import apply_named
from .tensor.dims import wrap_dim
from .tensor.elementwise import check_tensor, deliver, delivering
from .tensor.promotion import broadcast_shapes, cast, expand
from .tensor.reduction import norm as _norm
from .tensor.reduction import reshaped, sum

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals", "vander", "vecdot", "vector_norm",
]


# --- products ---------------------------------------------------------------------------------------

def multi_dot(tensors: Sequence[Any], *, out: Any = None) -> Any:
    """The product of two or more matrices in the cheapest order; the first and last may be vectors.
    torch: ``linalg.multi_dot``."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    ends = [check_tensor(t, "multi_dot")._read().type.ndim for t in (tensors[0], tensors[-1])]
    found = list(tensors)
    if ends[0] == 1:
        found[0] = found[0].unsqueeze(0)
    if ends[1] == 1:
        found[-1] = found[-1].unsqueeze(1)
    for i, t in enumerate(found):
        if t._read().type.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t._value.type.ndim}D")
    for i, (x, y) in enumerate(zip(found, found[1:], strict=False)):
        if x._value.type.shape[1] != y._value.type.shape[0]:
            raise ShapeError(f"multi_dot(): tensors {i} and {i + 1} with shapes {list(x._value.type.shape)} and "
                             f"{list(y._value.type.shape)} cannot be multiplied")
    result = chain_of(found)
    shape = result._read().type.shape
    return deliver(reshaped(result, shape[ends[0] == 1:len(shape) - (ends[1] == 1)]), out, "multi_dot")


def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """``sum(conj(x) * y)`` along an axis. torch: ``linalg.vecdot``."""
    check_tensor(x, "linalg_vecdot", "x")
    check_tensor(y, "linalg_vecdot", "y", 2)
    if x._read().type.dtype.kind == "c":
        x = apply_named("conj", x)
    return deliver(sum(mul(x, y), dim), out, "linalg_vecdot")


def cross(input: Any, other: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The cross product along an axis of size 3. torch: ``linalg.cross``."""
    return _cross(input, other, dim, out=out)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """A view of the diagonals of matrices. torch: ``linalg.diagonal``."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Any, N: int | None = None) -> Any:
    """Powers 0 ... N - 1 of each element, as a new last axis. torch: ``linalg.vander``."""
    from .tensor.creation import ones_like
    from .tensor.joining import stack
    t = check_tensor(x, "vander", "x")._read().type
    if not t.ndim:
        raise ShapeError("linalg.vander: The input tensor must have at least one dimension. Received a 0-d tensor")
    powers = [ones_like(x)]
    for _ in range((t.shape[-1] if N is None else N) - 1):
        powers.append(mul(powers[-1], x))
    return stack(powers, -1)


# --- norms ------------------------------------------------------------------------------------------

def vector_norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
                out: Any = None) -> Any:
    """``(sum |x|^ord)^(1/ord)`` of all elements or over axes. torch: ``linalg.vector_norm``."""
    if not isinstance(ord, (int, float)):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' must be Number, not {type(ord).__name__}")
    return _norm(x, float(ord), dim, keepdim, out, dtype)


def _matrix_axes(A: Any, dim: Sequence[int], name: str) -> tuple[int, int]:
    ndim = check_tensor(A, name, "A")._read().type.ndim
    if ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    first, second = (wrap_dim(d, ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got {tuple(dim)}")
    return first, second


def matrix_norm(A: Any, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *,
                dtype: Any = None, out: Any = None) -> Any:
    """The norm of matrices: 'fro', 'nuc', 1, -1, inf, -inf, 2 or -2. torch: ``linalg.matrix_norm``."""
    rows, columns = _matrix_axes(A, dim, "linalg.matrix_norm")
    if dtype is not None:
        A = cast(A, dtype)
    if ord == "fro":
        return _norm(A, 2.0, (rows, columns), keepdim, out)
    if ord in ("nuc", 2, -2):
        ndim = A._value.type.ndim
        rest = [i for i in range(ndim) if i not in (rows, columns)]
        values = svdvals(A.permute(*rest, rows, columns))
        found = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
        if keepdim:
            found = reshaped(found, tuple(1 if i in (rows, columns) else n
                                          for i, n in enumerate(A._value.type.shape)))
        return deliver(found, out, "linalg.matrix_norm")
    if ord not in (1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, compared = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = A.abs().sum(summed, keepdim=True)
    extreme = sums.amax if ord > 0 else sums.amin
    found = extreme(compared, keepdim=True)
    return deliver(found if keepdim else found.squeeze((rows, columns)), out, "linalg.matrix_norm")


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Any = None,
         dtype: Any = None) -> Any:
    """The vector norm of all elements, or the vector or matrix norm over one or two axes. torch: ``linalg.norm``."""
    ndim = check_tensor(A, "linalg_norm", "A")._read().type.ndim
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype, out=out)
    if dim is None and ndim not in (1, 2):
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                           f"{ndim}D.")
    if isinstance(dim, int) or (dim is None and ndim == 1) or (dim is not None and len(dim) == 1):
        return vector_norm(A, ord, dim, keepdim, dtype=dtype, out=out)
    return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)


def cond(A: Any, p: Any = None, *, out: Any = None) -> Any:
    """The condition number: ``norm(A, p) * norm(inv(A), p)``; by default of the 2-norm. torch: ``linalg.cond``."""
    if p is None or p == 2 or p == -2:
        values = svdvals(A)
        low, high = values.amin(-1), values.amax(-1)
        return deliver(low / high if p == -2 else high / low, out, "linalg.cond")
    return deliver(matrix_norm(A, p) * matrix_norm(inv(A), p), out, "linalg.cond")


# --- factorizations ---------------------------------------------------------------------------------

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
    return return_types.slogdet(delivering(found, out, "slogdet"))


def cholesky(A: Any, *, upper: bool = False, out: Any = None) -> Any:
    """The lower (or upper) triangular factor of positive-definite matrices. torch: ``linalg.cholesky``.

    Raises:
        LinAlgError: a matrix is not positive-definite .
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
        from .tensor.creation import eye
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
    return return_types.qr(delivering((q, r), out, "qr"))


def _hermitian(A: Any, UPLO: str) -> Any:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return A if UPLO.upper() == "L" else A.mH


def eigh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """``(eigenvalues, eigenvectors)`` of symmetric or Hermitian matrices, rising. torch: ``linalg.eigh``."""
    found = apply_named("linalg_eigh", _hermitian(check_tensor(A, "linalg_eigh", "A"), UPLO))
    return return_types.eigh(delivering(found, out, "eigh"))


def eigvalsh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """The eigenvalues of symmetric or Hermitian matrices, rising. torch: ``linalg.eigvalsh``."""
    return deliver(eigh(A, UPLO)[0], out, "eigvalsh")


def eig(A: Any, *, out: Any = None) -> Any:
    """Complex ``(eigenvalues, eigenvectors)`` of square matrices; without derivative. torch: ``linalg.eig``."""
    found = apply_named("linalg_eig", check_tensor(A, "linalg_eig", "A"))
    return return_types.eig(delivering(found, out, "eig"))


def eigvals(A: Any, *, out: Any = None) -> Any:
    """The complex eigenvalues of square matrices; without derivative. torch: ``linalg.eigvals``."""
    return deliver(eig(A)[0], out, "eigvals")


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None, out: Any = None) -> Any:
    """``(U, S, Vh)`` with ``A = U diag(S) Vh`` and falling S; the derivative needs ``full_matrices=False``.
    torch: ``linalg.svd``."""
    found = apply_named("linalg_svd", check_tensor(A, "linalg_svd", "A"), attrs=(bool(full_matrices),))
    return return_types.svd(delivering(found, out, "svd"))


def svdvals(A: Any, *, driver: str | None = None, out: Any = None) -> Any:
    """The singular values, falling. torch: ``linalg.svdvals``."""
    return deliver(svd(A, False)[1], out, "svdvals")


def _tolerance(values: Any, A: Any, atol: Any, rtol: Any) -> Any:
    """What counts as zero: ``max(atol, rtol * largest)``."""
    import numpy as np
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
