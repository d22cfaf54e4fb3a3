"""Sorting, order statistics, searching, counting."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.runtime import executor
from . import return_types
from .core import TENSOR_CLASSES, from_array
from .elementwise import check_tensor, deliver, delivering
from .promotion import SCALAR_NAMES, as_tensor, cast, common_dtype, full, number_tensor
from .recording import apply_named, wrap
from .reduction import axes_of, one_axis, reshaped, with_axis, with_index

__all__ = [
    "argsort", "bincount", "bucketize", "histc", "isin", "kthvalue", "median", "mode", "msort", "nanmedian",
    "nanquantile", "quantile", "searchsorted", "sort", "topk", "unique", "unique_consecutive",
]


def _no_complex(input: Any, name: str) -> None:
    dtype = check_tensor(input, name)._read().type.dtype
    if dtype.kind == "c":
        raise DTypeError(f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[dtype]}\'')


def _median(name: str, input: Any, dim: int | None, keepdim: bool, out: Any) -> Any:
    _no_complex(input, name)
    t = input._read().type
    composite = name if t.dtype.kind == "f" else "median"
    if dim is not None:
        found = with_index(composite, name, input, dim, keepdim)
        return getattr(return_types, name)(delivering(found, out, name))
    if t.size == 0:
        if t.dtype.kind == "f":
            return deliver(number_tensor(float("nan"), t.dtype), out, name)
        raise IndexError(f"{name}() on an empty tensor of integers has no value. Received shape {list(t.shape)}")
    flat = reshaped(input, (t.size,))
    return deliver(apply_named(composite, flat, attrs=(0, False))[0], out, name)


def median(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median (the lower of two) of all elements, or ``(values, indices)`` along an axis; NaN if there is one.
    torch: ``median``."""
    return _median("median", input, dim, keepdim, out)


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """As :func:`median`, of the elements that are not NaN. torch: ``nanmedian``."""
    return _median("nanmedian", input, dim, keepdim, out)


def mode(input: Any, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The most frequent value along an axis (the smallest of several) and its last index. torch: ``mode``."""
    _no_complex(input, "mode")
    return return_types.mode(delivering(with_index("mode", "mode", input, dim, keepdim), out, "mode"))


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The ``k``-th smallest element (from 1) along an axis and its index. torch: ``kthvalue``."""
    _no_complex(input, "kthvalue")
    x, _ = with_axis(input)
    axis = one_axis(dim, x._read().type)
    if not 1 <= k <= x._value.type.shape[axis]:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}. Received: k={k} for "
                           f"size {x._value.type.shape[axis]}")
    found = with_index("kthvalue", "kthvalue", input, dim, keepdim, k - 1)
    return return_types.kthvalue(delivering(found, out, "kthvalue"))


INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name: str, input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Any:
    t = check_tensor(input, name)._read().type
    if t.dtype.kind != "f" or t.dtype.bits < 32:
        raise DTypeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but "
                           f"got {interpolation}")
    if q.__class__ in TENSOR_CLASSES:
        if q._read().type.dtype is not t.dtype:
            raise DTypeError(f"{name}() q tensor must be same dtype as the input tensor")
        if q._value.type.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = number_tensor(float(q), t.dtype)
    if t.size == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    x = reshaped(input, (t.size,)) if dim is None else with_axis(input)[0]
    axis = 0 if dim is None else one_axis(dim, t)
    result = apply_named("quantile", x, q, attrs=(axis, interpolation, name == "nanquantile"))
    if keepdim and t.ndim:
        axes = axes_of(dim, t.ndim)
        shape = tuple(1 if i in axes else n for i, n in enumerate(t.shape))
        result = reshaped(result, (*q._read().type.shape, *shape))
    return result


def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
             out: Any = None) -> Any:
    """The ``q``-th quantiles of all elements or along an axis; ``q`` is a number or a 1-d tensor in [0, 1].
    torch: ``quantile``.

        >>> gemel.quantile(gemel.tensor([0., 1., 2., 3.]), 0.5)
        tensor(1.5000)
    """
    return deliver(_quantile("quantile", input, q, dim, keepdim, interpolation), out, "quantile")


def nanquantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
                out: Any = None) -> Any:
    """As :func:`quantile`, of the elements that are not NaN. torch: ``nanquantile``."""
    return deliver(_quantile("nanquantile", input, q, dim, keepdim, interpolation), out, "nanquantile")


# --- sorting ----------------------------------------------------------------------------------------

def _sorted(input: Any, dim: int, descending: bool, name: str) -> tuple[Any, Any]:
    """(values, indices): stable, NaN last (first if descending)."""
    _no_complex(input, name)
    t = input._read().type
    x, _ = with_axis(input)
    axis = one_axis(dim, x._read().type)
    values, indices = apply_named("sort", x, attrs=(axis, bool(descending)))
    return reshaped(values, t.shape), reshaped(indices, t.shape)


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None,
         axis: int | None = None) -> Any:
    """``(values, indices)`` sorted along an axis; always stable, NaN counts as the largest. torch: ``sort``.

        >>> gemel.sort(gemel.tensor([3, 1, 2])).values
        tensor([1, 2, 3])
    """
    dim = dim if axis is None else axis  # NumPy's name of it
    check_tensor(input, "sort")
    return return_types.sort(delivering(_sorted(input, dim, descending, "sort"), out, "sort"))


def argsort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False, axis: int | None = None
            ) -> Any:
    """The indices that sort an axis; always stable. torch: ``argsort``."""
    dim = dim if axis is None else axis  # NumPy's name of it
    check_tensor(input, "argsort")
    return _sorted(input, dim, descending, "sort")[1]


def msort(input: Any, *, out: Any = None) -> Any:
    """Sorted along the first axis. torch: ``msort``."""
    return deliver(_sorted(check_tensor(input, "msort"), 0, False, "sort")[0], out, "msort")


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Any:
    """The ``k`` largest (or smallest) elements along an axis and their indices, always sorted. torch: ``topk``.

    Raises:
        RuntimeError: ``k`` is negative or larger than the axis.

        >>> gemel.topk(gemel.tensor([1., 4., 2.]), 2).indices
        tensor([1, 2])
    """
    _no_complex(input, "topk")
    x, was_0d = with_axis(input)
    t = x._read().type
    axis = one_axis(dim, t)
    if not 0 <= k <= t.shape[axis]:
        raise RuntimeError(f"selected index k out of range. Received: k={k} for an axis of size {t.shape[axis]}")
    found = apply_named("topk", x, attrs=(axis, int(k), bool(largest)))
    if was_0d and k == 1:
        found = tuple(reshaped(y, ()) for y in found)
    return return_types.topk(delivering(found, out, "topk"))


# --- searching --------------------------------------------------------------------------------------

def searchsorted(sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Any = None, out: Any = None) -> Any:
    """Where each value would be inserted into the sorted last axis: before its equals (``right``: after them).
    torch: ``searchsorted``.

        >>> gemel.searchsorted(gemel.tensor([1, 3, 5]), gemel.tensor([3, 6]))
        tensor([1, 3])
    """
    s = check_tensor(sorted_sequence, "searchsorted", "sorted_sequence")
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got side of left while "
                           "right was True")
    if input.__class__ not in TENSOR_CLASSES:
        if s._read().type.ndim != 1:
            raise RuntimeError("torch.searchsorted(): input value can be a scalar only when boundaries tensor "
                               f"dimension is 1. Received shape {list(s._read().type.shape)}")
        input = number_tensor(input, s._read().type.dtype)
    have, want = s._read().type, input._read().type
    if have.dtype is not want.dtype:
        dtype = common_dtype((s, input))
        s, input = cast(s, dtype), cast(input, dtype)
    if have.ndim != 1 and have.shape[:-1] != want.shape[:-1]:
        raise ShapeError("torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
                         f"boundaries tensor and input value tensor must match, but we got boundaries tensor "
                         f"{list(have.shape)} and input value tensor {list(want.shape)}")
    if sorter is not None:
        if sorter._read().type.shape != have.shape:
            raise ShapeError("torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
                             f"tensor {list(have.shape)} and got sorter tensor {list(sorter._value.type.shape)}")
        s = s.gather(-1, sorter)
    narrow = bool(out_int32)
    found = apply_named("searchsorted", s, input, attrs=(bool(right or side == "right"), narrow))
    return deliver(found, out, "searchsorted")


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False, out: Any = None) -> Any:
    """The bucket between ``boundaries`` (sorted, 1-d) in which each value lies. torch: ``bucketize``."""
    if check_tensor(boundaries, "bucketize", "boundaries", 2)._read().type.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries._value.type.ndim})")
    if input.__class__ in TENSOR_CLASSES and input._read().type.dtype is not boundaries._value.type.dtype:
        dtype = common_dtype((input, boundaries))
        input, boundaries = cast(input, dtype), cast(boundaries, dtype)
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Is each element among ``test_elements``? Either may be a number. torch: ``isin``."""
    if elements.__class__ not in TENSOR_CLASSES and test_elements.__class__ not in TENSOR_CLASSES:
        raise TypeError("isin(): at least one of elements and test_elements must be a Tensor")
    dtype = common_dtype((elements, test_elements))
    x, tests = as_tensor(elements, dtype), as_tensor(test_elements, dtype)
    shape = x._read().type.shape
    n = tests._read().type.size
    if not n:
        return full(bool(invert), dt.bool_, shape)
    ordered = apply_named("sort", reshaped(tests, (n,)), attrs=(0, False))[0]
    place = apply_named("searchsorted", ordered, x, attrs=(False, False))
    found = apply_named("eq", apply_named("take", ordered, place, attrs=(0,)), x)
    return apply_named("not", found) if invert else found


# --- distinct values and counts: their sizes depend on the data, so they are computed where they are asked for ------

def _host(x: Any, why: str) -> np.ndarray:
    return np.asarray(executor.observe(x._read(), why))


def _tensor(array: np.ndarray) -> Any:
    return wrap(from_array(np.ascontiguousarray(array)))


def _several(found: list[Any], wanted: tuple[bool, ...]) -> Any:
    kept = [x for x, want in zip(found, (True, *wanted), strict=True) if want]
    return kept[0] if len(kept) == 1 else tuple(kept)


def unique(input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:
    """The distinct elements (or slices along ``dim``), sorted; optionally where each went, and how often it occurs.
    Observes. torch: ``unique``.

        >>> gemel.unique(gemel.tensor([3, 1, 3]))
        tensor([1, 3])
    """
    _no_complex(input, "unique")
    array = _host(input, "unique()")
    axis = None if dim is None else one_axis(dim, input._read().type)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    inverse = inverse.reshape(array.shape if axis is None else (array.shape[axis],))
    return _several([_tensor(values), _tensor(inverse.astype(np.int64)), _tensor(counts.astype(np.int64))],
                    (return_inverse, return_counts))


def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:
    """The first of each run of equal elements (or slices along ``dim``); optionally the run of each, and the lengths.
    Observes. torch: ``unique_consecutive``."""
    array = _host(check_tensor(input, "unique_consecutive"), "unique_consecutive()")
    axis = None if dim is None else one_axis(dim, input._read().type)
    rows = array.reshape(-1) if axis is None else np.moveaxis(array, axis, 0)
    changes = rows[1:] != rows[:-1]
    if axis is not None:
        changes = changes.reshape(len(changes), -1).any(1)
    starts = np.concatenate([np.zeros(min(len(rows), 1), np.int64), np.flatnonzero(changes) + 1])
    values = rows[starts] if axis is None else np.moveaxis(rows[starts], 0, axis)
    inverse = np.zeros(len(rows), np.int64)
    inverse[starts[1:]] = 1
    inverse = np.cumsum(inverse).reshape(array.shape if axis is None else (array.shape[axis],))
    counts = np.diff(np.append(starts, len(rows)))
    return _several([_tensor(values), _tensor(inverse), _tensor(counts)], (return_inverse, return_counts))


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2, ... occurs in a 1-d tensor, or the sum of its ``weights``. Observes.
    torch: ``bincount``.

    Raises:
        RuntimeError: negative or fractional elements, more than one axis, weights of another length.
    """
    t = check_tensor(input, "bincount")._read().type
    if t.ndim != 1 or t.dtype.kind not in "iu":
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs. Received: {t}")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0. Received: {minlength}")
    array = _host(input, "bincount()")
    if array.size and int(array.min()) < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs. Received: {int(array.min())}")
    array = array.astype(np.int64)
    if not array.size:  # int64 whatever the weights are
        return _tensor(np.zeros(minlength, np.int64))
    if weights is None:
        return _tensor(np.bincount(array, minlength=minlength).astype(np.int64))
    w = check_tensor(weights, "bincount", "weights", 2)._read().type
    if w.shape != t.shape:
        raise RuntimeError(f"weights should be 1-d and have the same length as input. Received: {w} for {t}")
    kind = np.float32 if w.dtype is dt.float32 else np.float64
    sums = np.bincount(array, _host(weights, "bincount()").astype(np.float64), minlength=minlength)
    return _tensor(sums.astype(kind))


def _edges(array: np.ndarray, low: float, high: float, name: str) -> tuple[float, float]:
    if low == high and array.size and low == 0:
        low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min. Received: [{low}, {high}]")
    return (low - 1, high + 1) if low == high else (low, high)


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0, *, out: Any = None) -> Any:
    """Counts of elements in ``bins`` equal intervals of [min, max] (of the data, if both are 0). Observes.
    torch: ``histc``."""
    t = check_tensor(input, "histc")._read().type
    if t.dtype.kind != "f":
        raise DTypeError(f'"histogram_cpu" not implemented for \'{SCALAR_NAMES[t.dtype]}\'')
    if bins <= 0:
        raise RuntimeError(f"torch.histc(): bins must be > 0, but got {bins}")
    array = _host(input, "histc()").reshape(-1)
    low, high = _edges(array, float(min), float(max), "torch.histc()")
    kept = array[(array >= low) & (array <= high)]
    place = ((kept - array.dtype.type(low)) * array.dtype.type(bins) / array.dtype.type(high - low)).astype(np.int64)
    counts = np.bincount(np.minimum(place, bins - 1), minlength=bins)
    return deliver(_tensor(counts.astype(array.dtype)), out, "histc")


class SortingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    kthvalue, median, mode, nanmedian, nanquantile, quantile = kthvalue, median, mode, nanmedian, nanquantile, quantile
    argsort, bincount, histc, msort, sort, topk = argsort, bincount, histc, msort, sort, topk
    unique, unique_consecutive = unique, unique_consecutive
