"""Factorizations and inverses of matrices in the last two axes, with their derivatives.

The derivatives are those of M. B. Giles, "An extended collection of matrix derivative results" (2008), and of
S. Walter and L. Lehmann for QR; H is the conjugate transpose.
"""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import int64
from ..base.errors import DTypeError, ShapeError, UnsupportedError
from ..interpreter import linalg as _host  # noqa: F401  (registers the operations)
from .base import composite


def _check_square(attrs, a, *rest):
    _check_matrix(attrs, a)
    if a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"linalg: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} "
                         f"matrices. Received shape {list(a.shape)}")


def _check_matrix(attrs, a, *rest):
    if a.ndim < 2:
        raise ShapeError(f"linalg: The input tensor A must have at least 2 dimensions. Received shape {list(a.shape)}")
    if a.dtype.kind not in "fc" or a.dtype.bits < 32:
        raise DTypeError(f"linalg: Expected a floating point or complex tensor as input. Got {a.dtype.name}: low "
                         f"precision and integers are not supported")


def _custom(b, name, *operands, arguments=()):
    return b._("custom", *operands, attrs=(f"gemel::{name}", arguments))


def _swap(b, x):
    n = x.type.ndim
    return b.permute(x, (*range(n - 2), n - 1, n - 2))


def _h(b, x):
    x = _swap(b, x)
    return b.conj(x) if x.type.dtype.is_complex else x


def _mm(b, *xs):
    value = xs[0]
    for x in xs[1:]:
        value = b.call("matmul", value, x)
    return value


def _triangle(b, x, diagonal, lower=True):
    return b.call("tril" if lower else "triu", x, diagonal=diagonal)


def _diagonal_mask(b, shape):
    n = len(shape)
    return b.eq(b.iota(int64, shape, n - 2), b.iota(int64, shape, n - 1))


def _rows(b, v, shape):
    """A vector per matrix, spread along the columns' axis: result[.., i, j] = v[.., j]."""
    return b.expand(b.reshape(v, (*v.type.shape[:-1], 1, v.type.shape[-1])), shape)


def _columns(b, v, shape):
    """result[.., i, j] = v[.., i]."""
    return b.expand(b.reshape(v, (*v.type.shape, 1)), shape)


def _like(b, real, x):
    """A real value in the dtype of ``x``."""
    return b.complex(real, b.full_like(real, 0)) if x.type.dtype.is_complex else real


@composite("linalg_inv", 1, check=_check_square)
def inv(b, a):
    """inverse"""
    return _custom(b, "inv", a)[0]


@vjp("linalg_inv", outputs=True)
def _inv(b, g, s):
    y = _h(b, s.output)
    return (b.neg(_mm(b, y, g, y)),)


@composite("linalg_solve", 2, check=_check_square)
def solve(b, a, right):
    """a^-1 right, for a matrix on the right"""
    return _custom(b, "solve", a, right)[0]


@vjp("linalg_solve", inputs=(0,), outputs=True)
def _solve(b, g, s):
    right = b.call("linalg_solve", _h(b, s.inputs[0]), g)
    return b.neg(_mm(b, right, _h(b, s.output))), right


@composite("linalg_cholesky", 1, check=_check_square)
def cholesky(b, a):
    """lower triangular L with L L^H = a"""
    return _custom(b, "cholesky", a)[0]


@vjp("linalg_cholesky", outputs=True)
def _cholesky(b, g, s):
    low = s.output
    inverse = b.call("linalg_inv", low)
    inner = _triangle(b, _mm(b, _h(b, low), g), 0)
    inner = b.select(_diagonal_mask(b, inner.type.shape), b.scale(inner, 0.5), inner)
    whole = _mm(b, _h(b, inverse), inner, inverse)
    return (b.scale(b.add(whole, _h(b, whole)), 0.5),)


@composite("linalg_det", 1, check=_check_square)
def det(b, a):
    """determinant"""
    return _custom(b, "det", a)[0]


@vjp("linalg_det", inputs=(0,), outputs=True)
def _det(b, g, s):
    (a,), d = s.inputs, s.output
    weight = b.mul(g, b.conj(d) if d.type.dtype.is_complex else d)
    weight = b.expand(b.reshape(weight, (*d.type.shape, 1, 1)), a.type.shape)
    return (b.mul(weight, _h(b, b.call("linalg_inv", a))),)


@composite("linalg_slogdet", 1, n_outputs=2, check=_check_square)
def slogdet(b, a):
    """sign and logarithm of the size of the determinant"""
    return _custom(b, "slogdet", a)


@vjp("linalg_slogdet", inputs=(0,))
def _slogdet(b, g, s):
    (a,) = s.inputs
    if g[1] is None:
        return (b.zeros(a.type),)
    weight = b.expand(b.reshape(_like(b, g[1], a), (*g[1].type.shape, 1, 1)), a.type.shape)
    return (b.mul(weight, _h(b, b.call("linalg_inv", a))),)


@composite("linalg_qr", 1, ("complete",), n_outputs=2, check=_check_matrix)
def qr(b, a, *, complete):
    """a = Q R, Q with orthonormal columns, R upper triangular"""
    return _custom(b, "qr", a, arguments=(complete,))


@vjp("linalg_qr", outputs=True)
def _qr(b, g, s):
    """(gQ + Q copyltu(R gR^H - gQ^H Q)) R^-H, where copyltu mirrors the lower triangle."""
    q, r = s.outputs
    m, n = s.types[0].shape[-2:]
    if q.type.shape[-1] != n or m < n:
        raise UnsupportedError(f"the derivative of qr is implemented for mode='reduced' and at least as many rows as "
                               f"columns. Received shape {list(s.types[0].shape)}")
    g_q = b.zeros(q.type) if g[0] is None else g[0]
    inner = b.neg(_mm(b, _h(b, g_q), q))
    if g[1] is not None:
        inner = b.add(_mm(b, r, _h(b, g[1])), inner)
    mirrored = b.add(_triangle(b, inner, 0), _h(b, _triangle(b, inner, -1)))
    total = b.add(g_q, _mm(b, q, mirrored))
    return (_h(b, b.call("linalg_solve", r, _h(b, total))),)


@composite("linalg_eigh", 1, n_outputs=2, check=_check_square)
def eigh(b, a):
    """rising eigenvalues and eigenvectors of Hermitian matrices (their lower triangle is read)"""
    return _custom(b, "eigh", a)


@vjp("linalg_eigh", outputs=True)
def _eigh(b, g, s):
    """V (diag(gw) + (V^H gV) / (w_j - w_i)) V^H."""
    w, v = s.outputs
    shape = v.type.shape
    on = _diagonal_mask(b, shape)
    inner = b.zeros(v.type)
    if g[1] is not None:
        gaps = b.sub(_rows(b, w, shape), _columns(b, w, shape))
        gaps = b.select(on, b.full_like(gaps, 1), gaps)
        inner = b.select_or_zero(b.not_(on), b.div(_mm(b, _h(b, v), g[1]), _like(b, gaps, v)))
    if g[0] is not None:
        inner = b.select(on, _like(b, _columns(b, g[0], shape), v), inner)
    return (_mm(b, v, inner, _h(b, v)),)


@composite("linalg_svd", 1, ("full",), n_outputs=3, check=_check_matrix)
def svd(b, a, *, full):
    """a = U diag(S) Vh, S falling"""
    return _custom(b, "svd", a, arguments=(full,))


@vjp("linalg_svd", outputs=True)
def _svd(b, g, s):
    u, sigma, vh = s.outputs
    g_u, g_s, g_vh = g
    if u.type.dtype.is_complex and (g_u is not None or g_vh is not None):
        raise UnsupportedError("the derivative of the singular vectors of complex matrices is not implemented")
    k = sigma.type.shape[-1]
    if (u.type.shape[-1] != k or vh.type.shape[-2] != k) and (g_u is not None or g_vh is not None):
        raise UnsupportedError("the derivative of svd needs full_matrices=False")
    u, vh = _columns_of(b, u, k), _rows_of(b, vh, k)
    square = (*sigma.type.shape, k)
    rows, columns = _rows(b, sigma, square), _columns(b, sigma, square)
    on = _diagonal_mask(b, square)
    gaps = b.select(on, b.full_like(rows, 1), b.sub(b.mul(rows, rows), b.mul(columns, columns)))

    def skew(x):
        return b.div(b.sub(x, _swap(b, x)), gaps)

    inner = b.zeros(rows.type) if g_s is None else b.select_or_zero(on, _columns(b, g_s, square))
    if g_u is not None:
        inner = b.add(inner, b.mul(skew(_mm(b, _swap(b, u), g_u)), rows))
    if g_vh is not None:
        inner = b.add(inner, b.mul(columns, skew(_mm(b, vh, _swap(b, g_vh)))))
    total = _mm(b, u, _like(b, inner, u), vh)
    if g_u is not None and u.type.shape[-2] > k:
        outside = b.sub(g_u, _mm(b, u, _swap(b, u), g_u))
        total = b.add(total, _mm(b, b.div(outside, _rows(b, sigma, outside.type.shape)), vh))
    if g_vh is not None and vh.type.shape[-1] > k:
        outside = b.sub(g_vh, _mm(b, g_vh, _swap(b, vh), vh))
        total = b.add(total, _mm(b, u, b.div(outside, _columns(b, sigma, outside.type.shape))))
    return (total,)


def _columns_of(b, x, k):
    n = x.type.ndim
    return b.slice(x, (0,) * n, (*x.type.shape[:-1], k))


def _rows_of(b, x, k):
    n = x.type.ndim
    return b.slice(x, (0,) * n, (*x.type.shape[:-2], k, x.type.shape[-1]))


@composite("linalg_eig", 1, n_outputs=2, check=_check_square)
def eig(b, a):
    """eigenvalues and eigenvectors, complex"""
    return _custom(b, "eig", a)


@vjp("linalg_eig")
def _eig(b, g, s):
    raise UnsupportedError("the derivative of eig is not implemented: use eigh for Hermitian matrices")


@composite("linalg_lu_factor", 1, n_outputs=3, check=_check_matrix)
def lu_factor(b, a):
    """L and U in one matrix, row interchanges (from 1), and the first zero pivot (from 1; 0: none)"""
    return _custom(b, "lu_factor", a)


@vjp("linalg_lu_factor", outputs=True)
def _lu_factor(b, g, s):
    """P L^-H [tril(L^H gL, -1) + triu(gU U^H)] U^-H for square matrices."""
    if s.types[0].shape[-1] != s.types[0].shape[-2]:
        raise UnsupportedError(f"the derivative of lu_factor is implemented for square matrices. Received shape "
                               f"{list(s.types[0].shape)}")
    if g[0] is None:
        return (b.zeros(s.types[0]),)
    factors, pivots = s.outputs[0], s.outputs[1]
    on = _diagonal_mask(b, factors.type.shape)
    low = b.select(on, b.full_like(factors, 1), _triangle(b, factors, -1))
    up = _triangle(b, factors, 0, lower=False)
    inner = b.add(_triangle(b, _mm(b, _h(b, low), _triangle(b, g[0], -1)), -1),
                  _triangle(b, _mm(b, _triangle(b, g[0], 0, lower=False), _h(b, up)), 0, lower=False))
    left = b.call("linalg_solve", _h(b, low), inner)
    right = _h(b, b.call("linalg_solve", up, _h(b, left)))
    return (_mm(b, _custom(b, "permutation", pivots, factors)[0], right),)


@composite("linalg_permutation", 2)
def permutation(b, pivots, factors):
    """the matrix P of A = P L U, from the row interchanges"""
    return _custom(b, "permutation", pivots, factors)[0]


@vjp("linalg_permutation")
def _permutation(b, g, s):
    return None, None


@composite("linalg_geqrf", 1, n_outputs=2, check=_check_matrix)
def geqrf(b, a):
    """Householder reflectors below the diagonal, R above, and the scales tau"""
    return _custom(b, "geqrf", a)


@vjp("linalg_geqrf")
def _geqrf(b, g, s):
    raise UnsupportedError("the derivative of geqrf is not implemented: use qr")


@composite("linalg_matrix_exp", 1, check=_check_square)
def matrix_exp(b, a):
    """sum of a^k / k!"""
    return _custom(b, "matrix_exp", a)[0]


@vjp("linalg_matrix_exp", inputs=(0,))
def _matrix_exp(b, g, s):
    """The upper right block of exp([[a^H, g], [0, a^H]])."""
    a = _h(b, s.inputs[0])
    n, axis = a.type.shape[-1], a.type.ndim - 1
    top = b.cat([a, g], axis)
    bottom = b.cat([b.zeros(a.type), a], axis)
    whole = b.call("linalg_matrix_exp", b.cat([top, bottom], axis - 1))
    lead = a.type.shape[:-2]
    zeros = (0,) * len(lead)
    return (b.slice(whole, (*zeros, 0, n), (*lead, n, 2 * n)),)
