"""Linear algebra. torch: ``torch.linalg``.

Products and norms are compiled as all other operations; factorizations are LAPACK's. What some matrices do not have
(an inverse, a solution, a Cholesky factor) is computed at the call, which raises :class:`LinAlgError` for them.

    >>> a = gemel.tensor([[2., 0.], [0., 4.]])
    >>> gemel.linalg.solve(a, gemel.tensor([2., 4.]))
    tensor([1., 1.])
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .engine.base.errors import ShapeError
from .tensor.arithmetic import mul
from .tensor.arranging import diagonal as _diagonal
from .tensor.contraction import chain_of, matmul, matrix_power
from .tensor.contraction import cross as _cross
from .tensor.dims import wrap_dim
from .tensor.elementwise import check_tensor, deliver
from .tensor.factorization import (
    LinAlgError,
    cholesky,
    cholesky_ex,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    inv,
    inv_ex,
    lstsq,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    matrix_exp,
    matrix_rank,
    pinv,
    qr,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    svd,
    svdvals,
)
from .tensor.promotion import cast
from .tensor.recording import apply_named
from .tensor.reduction import norm as _norm
from .tensor.reduction import reshaped, sum

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
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


# --- tensors as matrices ----------------------------------------------------------------------------

def tensorinv(A: Any, ind: int = 2, *, out: Any = None) -> Any:
    """The ``X`` with ``tensordot(A, X, ind)`` the identity: the inverse of ``A`` with its first ``ind`` axes as rows.

    Args:
        ind: number of axes of the rows, above 0; the others are of the same size together.
    Raises: RuntimeError for other sizes.

    >>> gemel.linalg.tensorinv(gemel.eye(6).reshape(6, 2, 3), ind=1).shape
    gemel.Size([2, 3, 6])

    torch: ``linalg.tensorinv``
    """
    shape = check_tensor(A, "linalg_tensorinv", "A")._read().type.shape
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    rows, columns = shape[:ind], shape[ind:]
    n = math.prod(rows)
    if math.prod(columns) != n:
        raise ShapeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), "
                         f"but got {math.prod(columns)} != {n}")
    return deliver(reshaped(inv(reshaped(A, (n, n))), (*columns, *rows)), out, "linalg.tensorinv")


def tensorsolve(A: Any, B: Any, dims: Sequence[int] | None = None, *, out: Any = None) -> Any:
    """The ``X`` with ``tensordot(A, X, X.ndim) = B``: a linear system whose unknown and right side have several axes.

    Args:
        A: its first axes are those of ``B``, after ``dims`` have been moved to the end; the others are those of ``X``.
    Raises: RuntimeError for sizes that do not fit.

    >>> gemel.linalg.tensorsolve(gemel.eye(6).reshape(2, 3, 6), gemel.ones(2, 3)).shape
    gemel.Size([6])

    torch: ``linalg.tensorsolve``
    """
    check_tensor(A, "linalg_tensorsolve", "A")
    b = check_tensor(B, "linalg_tensorsolve", "B", 2)._read().type
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(-len(dims), 0)))
    shape = A._read().type.shape
    unknown, n = shape[b.ndim:], math.prod(shape[b.ndim:])
    if math.prod(shape[:b.ndim]) != n or b.size != n:
        raise ShapeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
                         f"prod(self.shape[:other.ndim]), but got {n} != {math.prod(shape[:b.ndim])}")
    found = solve(reshaped(A, (n, n)), reshaped(B, (n,)))
    return deliver(reshaped(found, unknown), out, "linalg.tensorsolve")
