"""Covariances, histograms and distances."""
from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.runtime import executor
from . import return_types
from .complex_numbers import complex
from .core import TENSOR_CLASSES, from_array
from .creation import arange, zeros
from .dims import wrap_dim
from .elementwise import check_tensor, deliver, delivering, in_place
from .masking import where
from .promotion import SCALAR_NAMES, broadcast_shapes, expand
from .recording import wrap
from .reduction import norm

__all__ = ["cdist", "corrcoef", "cov", "dist", "histogram", "histogramdd", "renorm", "vander"]


# --- covariance -------------------------------------------------------------------------------------

def _weights(name: str, w: Any, n: int, integral: bool) -> Any:
    t = check_tensor(w, "cov", name)._read().type
    if t.ndim > 1:
        raise ShapeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} with {t.ndim} "
                         f"dimensions")
    if (t.dtype.kind not in "iu") if integral else not t.dtype.is_floating_point:
        kind = "integral" if integral else "floating point"
        raise DTypeError(f"cov(): expected {name} to have {kind} dtype but got {name} with {SCALAR_NAMES[t.dtype]} "
                         f"dtype")
    if t.size != n:
        raise ShapeError(f"cov(): expected {name} to have the same numel as there are observations in the input but "
                         f"got {t.size} != {n}")
    if n and float(w.min()) < 0:
        raise RuntimeError(f"cov(): {name} cannot be negative")
    return w


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of variables (rows) from observations (columns).

    Args:
        input: (variables, observations), or one variable. correction: what is taken off the number of observations.
        fweights: how often each observation occurred. aweights: how much each counts. Both are looked at.
    Returns: (variables, variables), or a number. Raises: RuntimeError for other shapes and dtypes.

    >>> gemel.cov(gemel.tensor([[0., 1., 2.], [2., 1., 0.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])

    torch: ``cov``
    """
    t = check_tensor(input, "cov")._read().type
    if t.ndim > 2:
        raise ShapeError(f"cov(): expected input to have two or fewer dimensions but got an input with {t.ndim} "
                         f"dimensions")
    if t.dtype is dt.bool_:
        raise DTypeError("cov(): bool dtype is not supported for input")
    x = input if t.ndim == 2 else input.reshape(1, -1)
    n = x._read().type.shape[1]
    f = None if fweights is None else _weights("fweights", fweights, n, True)
    a = None if aweights is None else _weights("aweights", aweights, n, False)
    w = f if a is None else a if f is None else f * a
    total: Any = n if w is None else w.sum()
    if w is not None and n and float(total) == 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    mean = (x * w if w is not None else x).sum(1) / total
    if w is not None and a is not None and correction:
        free: Any = total - correction * (w * a).sum() / total
    else:
        free = total - correction
    if float(free) <= 0:
        warnings.warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of "
                      "observations.", UserWarning, stacklevel=2)
        free = 0
    d = x - mean.unsqueeze(1)
    other = (d if w is None else d * w).T
    if d._read().type.dtype.is_complex:
        other = other.conj()
    found = d @ other / free
    return found if t.ndim == 2 else found.reshape(())


def corrcoef(input: Any) -> Any:
    """The matrix of correlations of variables (rows) from observations (columns): covariances divided by deviations.

    >>> gemel.corrcoef(gemel.tensor([[0., 1., 2.], [2., 1., 0.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])

    torch: ``corrcoef``
    """
    t = check_tensor(input, "corrcoef")._read().type
    if t.ndim > 2:
        raise ShapeError(f"corrcoef(): expected input to have two or fewer dimensions but got an input with {t.ndim} "
                         f"dimensions")
    found = cov(input)
    if not found._read().type.ndim:
        return found / found
    diagonal = found.diagonal()
    deviation = (diagonal.real if found._value.type.dtype.is_complex else diagonal).sqrt()
    found = found / deviation.unsqueeze(-1) / deviation.unsqueeze(0)
    if found._read().type.dtype.is_complex:
        return complex(found.real.clamp(-1, 1), found.imag.clamp(-1, 1))
    return found.clamp(-1, 1)


# --- distances --------------------------------------------------------------------------------------

def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The norm of order ``p`` of ``input - other``, a number.

    >>> gemel.dist(gemel.tensor([1., 2.]), gemel.tensor([4., 6.]))
    tensor(5.)

    torch: ``dist``
    """
    check_tensor(other, "dist", "other", 2)
    d = check_tensor(input, "dist") - other
    dtype = d._read().type.dtype
    if dtype.kind not in "fc":
        raise DTypeError(f"norm(): input dtype should be either floating point or complex. Got {SCALAR_NAMES[dtype]} "
                         f"instead.")
    return norm(d, float(p))


def renorm(input: Any, p: float, dim: int, maxnorm: float, *, out: Any = None) -> Any:
    """``input`` with each slice along ``dim`` scaled down to a norm (of order ``p``) of at most ``maxnorm``.

    Raises: RuntimeError for a vector, ``p`` or ``maxnorm`` below zero, integers.

    >>> gemel.renorm(gemel.tensor([[3., 4.], [0., 1.]]), 2, 0, 1).round(decimals=3)
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])

    torch: ``renorm``
    """
    t = check_tensor(input, "renorm")._read().type
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if t.ndim < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {t.ndim} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    axis = wrap_dim(dim, t.ndim)
    if t.dtype.kind not in "fc":
        raise DTypeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                         f"{SCALAR_NAMES[t.dtype]}")
    sizes = norm(input, float(p), tuple(i for i in range(t.ndim) if i != axis), True)
    factor = where(sizes > maxnorm, maxnorm / (sizes + 1e-7), 1.0)
    return deliver(input * factor, out, "renorm")


_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = _MODES[0]) -> Any:
    """The distance of each row of ``x1`` from each row of ``x2``: the norm of order ``p`` of their difference.

    Args:
        x1: (..., n, d). x2: (..., m, d); batch axes broadcast. p: at least 0. compute_mode: accepted; the differences
        themselves are summed in every mode.
    Returns: (..., n, m). Raises: RuntimeError for shapes and dtypes that do not fit, ``p`` below zero.

    >>> gemel.cdist(gemel.zeros(1, 2), gemel.tensor([[3., 4.], [0., 1.]]))
    tensor([[5., 1.]])

    torch: ``cdist``
    """
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    types = [check_tensor(x, "cdist", f"x{i}", i)._read().type for i, x in enumerate((x1, x2), 1)]
    for i, t in enumerate(types, 1):
        if t.ndim < 2:
            raise ShapeError(f"cdist only supports at least 2D tensors, X{i} got: {t.ndim}D")
    a, b = types
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}")
    for i, t in enumerate(types, 1):
        if not t.dtype.is_floating_point:
            raise DTypeError(f"cdist only supports floating-point dtypes, X{i} got: {SCALAR_NAMES[t.dtype]}")
    if a.dtype is not b.dtype:
        raise DTypeError(f"expected scalar type {SCALAR_NAMES[a.dtype]} but found {SCALAR_NAMES[b.dtype]}")
    if a.dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"cdist\" not implemented for '{SCALAR_NAMES[a.dtype]}'")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns = (expand(x, (*lead, *t.shape[-2:])) for x, t in ((x1, a), (x2, b)))
    if not a.shape[-1]:
        return zeros((*lead, a.shape[-2], b.shape[-2]), dtype=a.dtype)
    return norm(rows.unsqueeze(-2) - columns.unsqueeze(-3), float(p), -1)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of each element as rows of a matrix of ``N`` columns, falling to 0 (``increasing``: rising from 0).

    Raises: RuntimeError for a tensor that is not 1-d, or a negative ``N``.

    >>> gemel.vander(gemel.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])

    torch: ``vander``
    """
    t = check_tensor(x, "vander", "x")._read().type
    if t.ndim != 1:
        raise ShapeError("x must be a one-dimensional tensor.")
    count = t.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    powers = arange(count) if increasing else arange(count - 1, -1, -1)
    kind = dt.int64 if t.dtype.kind in "iub" else t.dtype
    return x.to(kind).unsqueeze(-1) ** powers.to(kind)


# --- histograms -------------------------------------------------------------------------------------

def _host(x: Any) -> np.ndarray:
    return executor.observe(x._read(), "histogram()")


def _histogram(points: np.ndarray, bins: Sequence[Any], low_high: Any, weight: np.ndarray | None, density: bool
               ) -> tuple[np.ndarray, list[np.ndarray]]:
    """Counts (or sums of weights) of ``points`` (N, D) in the cells of a grid, and the edges of its cells."""
    dtype = points.dtype
    edges, places, inside = [], [], np.ones(len(points), bool)
    for i, b in enumerate(bins):
        column = points[:, i]
        if isinstance(b, np.ndarray):
            edge = b
        else:
            low, high = low_high[2 * i:2 * i + 2] if low_high is not None else (
                (float(column.min()), float(column.max())) if len(column) else (0.0, 0.0))
            if not (math.isfinite(low) and math.isfinite(high)):
                raise RuntimeError(f"torch.histogramdd: dimension {i}'s range [{low}, {high}] is not finite")
            if low > high:
                raise RuntimeError(f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} "
                                   f"for dimension {i}")
            if low == high:
                low, high = (low - 0.5, high + 0.5) if len(column) or low_high is not None else (0.0, 1.0)
            edge = np.linspace(low, high, b + 1, dtype=np.float64).astype(dtype)
        place = np.searchsorted(edge, column, side="right") - 1
        inside &= (column >= edge[0]) & (column <= edge[-1])
        places.append(np.minimum(place, len(edge) - 2))
        edges.append(edge)
    shape = tuple(len(e) - 1 for e in edges)
    kept = tuple(p[inside] for p in places)
    cells = np.ravel_multi_index(kept, shape) if len(kept[0]) else np.zeros(0, np.int64)
    sums = np.bincount(cells, None if weight is None else weight[inside].astype(np.float64), math.prod(shape))
    found = sums.reshape(shape).astype(dtype)
    if density:
        found = found / found.sum()
        for i, e in enumerate(edges):
            found = found / np.diff(e).reshape([-1 if i == j else 1 for j in range(len(edges))])
    return found.astype(dtype), edges


def _bins(name: str, points: Any, bins: Sequence[Any], weight: Any, shape: tuple[int, ...]) -> list[Any]:
    """The bins, checked: numbers or arrays of edges."""
    dtype = points.type.dtype
    if dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{SCALAR_NAMES[dtype]}'")
    found = []
    for i, b in enumerate(bins):
        if b.__class__ in TENSOR_CLASSES:
            t = b._read().type
            if t.ndim != 1:
                raise ShapeError(f"torch.histogramdd: bins tensor should have one dimension, but got {t.ndim} "
                                 f"dimensions in the bins tensor for dimension {i}")
            if t.dtype is not dtype:
                raise DTypeError(f"torch.histogramdd: input tensor and bins tensors should have the same dtype, but "
                                 f"got input with dtype {dtype.name} and bins for dimension {i} with dtype "
                                 f"{t.dtype.name}")
            found.append(_host(b))
            continue
        if b <= 0:
            raise RuntimeError(f"{name}: bins must be > 0, but got {b} for dimension {i}")
        found.append(int(b))
    if weight is not None:
        t = check_tensor(weight, name, "weight")._read().type
        if t.shape != shape:
            raise ShapeError("torch.histogramdd: if weight tensor is provided it should have the same shape as the "
                             f"input tensor excluding its innermost dimension, but got {list(t.shape)} for "
                             f"{list(shape)}")
        if t.dtype is not dtype:
            raise DTypeError("torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should "
                             f"have the same dtype, but got input({dtype.name}), and weight({t.dtype.name})")
    return found


def histogram(input: Any, bins: Any, *, range: Sequence[float] | None = None, weight: Any = None,
              density: bool = False, out: Any = None) -> Any:
    """``(hist, bin_edges)``: how many elements lie between each two edges (the last one included). Observes.

    Args:
        bins: the number of bins of equal width, or a 1-d tensor of rising edges. range: (low, high) of the bins (None:
        of the data). weight: what each element counts. density: divide by the total and the widths.
    Raises: RuntimeError for bins, ranges and weights that do not fit; NotImplementedError for other dtypes.

    >>> gemel.histogram(gemel.tensor([1., 2., 1.]), bins=4, range=(0., 3.)).hist
    tensor([0., 2., 1., 0.])

    torch: ``histogram``
    """
    t = check_tensor(input, "histogram")._read().type
    if bins.__class__ in TENSOR_CLASSES and range is not None:
        raise TypeError("histogram() received an invalid combination of arguments: range is given with edges")
    checked = _bins("torch.histogram()", input._read(), [bins], weight, t.shape)
    w = None if weight is None else _host(weight).reshape(-1)
    found, edges = _histogram(_host(input).reshape(-1, 1), checked, range, w, density)
    made = wrap(from_array(found)), wrap(from_array(np.array(edges[0])))
    return return_types.histogram(delivering(made, out, "histogram"))


def histogramdd(input: Any, bins: Any, *, range: Sequence[float] | None = None, weight: Any = None,
                density: bool = False) -> Any:
    """``(hist, bin_edges)``: how many points lie in each cell of a grid. Observes.

    Args:
        input: (..., D): points. bins: the number of bins along each axis, or of all; or a tensor of edges per axis.
        range: low and high of each axis, one behind the other. weight, density: as for :func:`histogram`.
    Raises: as :func:`histogram`.

    >>> gemel.histogramdd(gemel.tensor([[0., 1.], [1., 0.], [2., 2.]]), bins=2).hist
    tensor([[0., 1.],
            [1., 1.]])

    torch: ``histogramdd``
    """
    t = check_tensor(input, "histogramdd")._read().type
    if t.ndim < 2:
        raise ShapeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    d = t.shape[-1]
    sizes = [bins] * d if isinstance(bins, int) else list(bins)
    if len(sizes) != d:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    if range is not None and len(range) != 2 * d:
        raise RuntimeError(f"torch.histogramdd: for a {d}-dimensional histogram range should have {2 * d} elements, "
                           f"but got {len(range)}")
    checked = _bins("torch.histogramdd()", input._read(), sizes, weight, t.shape[:-1])
    w = None if weight is None else _host(weight).reshape(-1)
    found, edges = _histogram(_host(input).reshape(-1, d), checked, range, w, density)
    return return_types.histogramdd(wrap(from_array(found)), tuple(wrap(from_array(np.array(e))) for e in edges))


class StatisticsMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    corrcoef, cov, dist, histogram, renorm = corrcoef, cov, dist, histogram, renorm
    renorm_ = in_place(renorm)
