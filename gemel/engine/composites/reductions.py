"""Reductions beyond the primitives: means, variances, norms, extremes with their place, order statistics.

``axes`` are sorted axis numbers; ``keep`` says whether the reduced axes stay with size 1. Floats of 16 bits are
computed in f32 and rounded once.
"""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..autodiff.vjp_structural import scatter_along
from ..base.dtypes import bool_, compute_type, int64
from ..ir.builder import size_of
from .base import composite
from .pointwise import interpolate


def _kept(b, y, x_type, axes, keep):
    """Put the reduced axes back with size 1 if they are to stay."""
    return b.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(x_type.shape))) if keep else y


def _dropped(b, y, x_type, axes):
    """The reduced axes taken out, whether they stayed or not."""
    return b.reshape(y, tuple(n for i, n in enumerate(x_type.shape) if i not in axes))


def _spread(b, y, x_type, axes):
    """A result (with or without its reduced axes) broadcast back to the operand's shape."""
    return b.keep_axes(_dropped(b, y, x_type, axes), axes, x_type.shape)


def _wide(b, x):
    return b.cast(x, compute_type(x.type.dtype))


def _ratio(b, x, n):
    """x / n; NaN where n is 0, as 0 / 0."""
    return b.div(x, b.full_like(x, float(n)))


def _square_size(b, x):
    """|x|^2, real."""
    if x.type.dtype.is_complex:
        re, im = b.real(x), b.imag(x)
        return b.add(b.mul(re, re), b.mul(im, im))
    return b.mul(x, x)


# --- sums and means -------------------------------------------------------------------------------

@composite("sum_keep", 1, ("axes",))
def sum_keep(b, x, *, axes):
    """sum over axes that stay with size 1"""
    return _kept(b, b.reduce_sum(x, axes), x.type, axes, True)


@vjp("sum_keep")
def _sum_keep(b, g, s):
    return (b.expand(g, s.types[0].shape),)


@composite("mean", 1, ("axes", "keep"))
def mean(b, x, *, axes, keep):
    """sum / number of elements"""
    total = b.reduce_sum(_wide(b, x), axes)
    return _kept(b, b.cast(_ratio(b, total, size_of(x.type.shape, axes)), x.type.dtype), x.type, axes, keep)


@vjp("mean")
def _mean(b, g, s):
    t, axes = s.types[0], s.attrs.axes
    return (_spread(b, _ratio(b, g, size_of(t.shape, axes)), t, axes),)


@composite("nansum", 1, ("axes", "keep"))
def nansum(b, x, *, axes, keep):
    """sum of the elements that are not NaN"""
    clean = b.select(b.is_nan(x), b.full_like(x, 0), x)
    return _kept(b, b.reduce_sum(clean, axes), x.type, axes, keep)


@vjp("nansum", inputs=(0,))
def _nansum(b, g, s):
    (x,) = s.inputs
    return (b.select(b.is_nan(x), b.full_like(x, 0), _spread(b, g, x.type, s.attrs.axes)),)


@composite("nanmean", 1, ("axes", "keep"))
def nanmean(b, x, *, axes, keep):
    """mean of the elements that are not NaN"""
    wide = _wide(b, x)
    missing = b.is_nan(x)
    total = b.reduce_sum(b.select(missing, b.full_like(wide, 0), wide), axes)
    count = b.reduce_sum(b.cast(b.not_(missing), int64), axes)
    return _kept(b, b.cast(b.div(total, b.cast(count, wide.type.dtype)), x.type.dtype), x.type, axes, keep)


@vjp("nanmean", inputs=(0,))
def _nanmean(b, g, s):
    (x,), axes = s.inputs, s.attrs.axes
    there = b.not_(b.is_nan(x))
    count = b.cast(b.reduce_sum(b.cast(there, int64), axes), g.type.dtype)
    share = b.div(_dropped(b, g, x.type, axes), count)
    return (b.select_or_zero(there, b.keep_axes(share, axes, x.type.shape)),)


@composite("count_nonzero", 1, ("axes",))
def count_nonzero(b, x, *, axes):
    """number of elements that are not zero"""
    hits = x if x.type.dtype is bool_ else b.ne(x, b.full_like(x, 0))
    return b.reduce_sum(b.cast(hits, int64), axes)


# --- variance -------------------------------------------------------------------------------------

def _moments(b, x, axes, correction):
    """(variance, mean, deviations) in the compute type, reduced axes dropped."""
    wide = _wide(b, x)
    n = size_of(x.type.shape, axes)
    average = _ratio(b, b.reduce_sum(wide, axes), n)
    off = b.sub(wide, b.keep_axes(average, axes, x.type.shape))
    total = b.reduce_sum(_square_size(b, off), axes)
    return _ratio(b, total, max(n - correction, 0)), average, off


@composite("var", 1, ("axes", "correction", "keep"))
def var(b, x, *, axes, correction, keep):
    """sum(|x - mean|^2) / (n - correction)"""
    v, _, _ = _moments(b, x, axes, correction)
    dtype = v.type.dtype if x.type.dtype.is_complex else x.type.dtype
    return _kept(b, b.cast(v, dtype), x.type, axes, keep)


@composite("std", 1, ("axes", "correction", "keep"))
def std(b, x, *, axes, correction, keep):
    """square root of the variance"""
    v, _, _ = _moments(b, x, axes, correction)
    dtype = v.type.dtype if x.type.dtype.is_complex else x.type.dtype
    return _kept(b, b.cast(b.sqrt(v), dtype), x.type, axes, keep)


@composite("var_mean", 1, ("axes", "correction", "keep"), n_outputs=2)
def var_mean(b, x, *, axes, correction, keep):
    """variance and mean"""
    v, m, _ = _moments(b, x, axes, correction)
    dtype = x.type.dtype
    return (_kept(b, b.cast(v, v.type.dtype if dtype.is_complex else dtype), x.type, axes, keep),
            _kept(b, b.cast(m, dtype), x.type, axes, keep))


def _var_slope(b, g, x, a):
    """Cotangent of x for that of the variance: 2 g (x - mean) / (n - correction)."""
    n = size_of(x.type.shape, a.axes)
    average = _ratio(b, b.reduce_sum(x, a.axes), n)
    off = b.sub(x, b.keep_axes(average, a.axes, x.type.shape))
    g = _ratio(b, b.scale(g, 2.0), max(n - a.correction, 0))
    if x.type.dtype.is_complex:
        g = b.complex(g, b.full_like(g, 0))
    return b.mul(_spread(b, g, x.type, a.axes), off)


@vjp("var", inputs=(0,))
def _var(b, g, s):
    return (_var_slope(b, g, s.inputs[0], s.attrs),)


@vjp("std", inputs=(0,), outputs=True)
def _std(b, g, s):
    y = s.output
    slope = b.select(b.is_zero(y), b.full_like(g, 0), b.div(b.scale(g, 0.5), y))
    return (_var_slope(b, slope, s.inputs[0], s.attrs),)


@vjp("var_mean", inputs=(0,))
def _var_mean(b, g, s):
    (x,), a, (g_var, g_mean) = s.inputs, s.attrs, g
    total = None
    if g_var is not None:
        total = _var_slope(b, g_var, x, a)
    if g_mean is not None:
        even = _spread(b, _ratio(b, g_mean, size_of(x.type.shape, a.axes)), x.type, a.axes)
        total = even if total is None else b.add(total, even)
    return (total,)


# --- log-sum-exp and norms ------------------------------------------------------------------------

@composite("logsumexp", 1, ("axes", "keep"))
def logsumexp(b, x, *, axes, keep):
    """log(sum(exp(x))), shifted by the maximum"""
    wide = _wide(b, x)
    if size_of(x.type.shape, axes) == 0:
        nothing = b.reduce_sum(wide, axes)
        return _kept(b, b.full(-math.inf, x.type.dtype, nothing.type.shape), x.type, axes, keep)
    most = b.reduce_max(wide, axes)
    finite = b.lt(b.abs(most), b.full_like(most, math.inf))
    most = b.select_or_zero(finite, most)
    e = b.exp(b.sub(wide, b.keep_axes(most, axes, x.type.shape)))
    return _kept(b, b.cast(b.add(b.log(b.reduce_sum(e, axes)), most), x.type.dtype), x.type, axes, keep)


@vjp("logsumexp", inputs=(0,), outputs=True)
def _logsumexp(b, g, s):
    (x,), axes = s.inputs, s.attrs.axes
    y = _spread(b, s.output, x.type, axes)
    weight = b.exp(b.sub(x, y))
    weight = b.select(b.eq(y, b.full_like(y, -math.inf)), b.full_like(x, 0), weight)
    return (b.mul(_spread(b, g, x.type, axes), weight),)


@composite("norm", 1, ("p", "axes", "keep"))
def norm(b, x, *, p, axes, keep):
    """(sum |x|^p)^(1/p); p = inf, -inf: extremes; p = 0: number of non-zeros"""
    wide = _wide(b, x)
    size = b.abs(wide) if p != 2.0 else wide
    if p == 2.0:
        y = b.sqrt(b.reduce_sum(_square_size(b, size), axes))
    elif p == 1.0:
        y = b.reduce_sum(size, axes)
    elif p == math.inf:
        y = b.reduce_max(size, axes)
    elif p == -math.inf:
        y = b.reduce_min(size, axes)
    elif p == 0.0:
        y = b.reduce_sum(b.cast(b.ne(size, b.full_like(size, 0)), size.type.dtype), axes)
    else:
        total = b.reduce_sum(b.pow(size, b.full_like(size, p)), axes)
        y = b.pow(total, b.full_like(total, 1.0 / p))
    dtype = y.type.dtype if x.type.dtype.is_complex else x.type.dtype
    return _kept(b, b.cast(y, dtype), x.type, axes, keep)


@vjp("norm", inputs=(0,), outputs=True)
def _norm(b, g, s):
    """p = 2: g x / y; p = 1: g sign(x); extremes: evenly to those that attain it; else g x |x|^(p-2) / y^(p-1)."""
    (x,), (p, axes) = s.inputs, (s.attrs.p, s.attrs.axes)
    if p == 0.0:
        return (b.zeros(x.type),)
    y, g = _spread(b, s.output, x.type, axes), _spread(b, g, x.type, axes)
    zero = b.full_like(y, 0)
    direction = b.sign(x)  # x / |x|
    if p == 2.0:
        size, factor = None, b.select(b.is_zero(y), zero, b.div(g, y))
        direction = x
    elif p == 1.0:
        factor = g
    elif math.isinf(p):
        size = b.abs(x)
        hit = b.cast(b.eq(size, y), y.type.dtype)
        count = b.keep_axes(b.reduce_sum(hit, axes), axes, x.type.shape)
        factor = b.div(b.mul(g, hit), count)
    else:
        size = b.abs(x)
        ratio = b.div(size, y)
        powered = b.pow(ratio, b.full_like(ratio, p - 1.0))
        flat = b.or_(b.is_zero(y), b.is_zero(size)) if p < 2.0 else b.is_zero(y)
        factor = b.select(flat, zero, b.mul(g, powered))
    if x.type.dtype.is_complex:
        factor = b.complex(factor, b.full_like(factor, 0))
    return (b.mul(factor, direction),)


# --- extremes with their place ---------------------------------------------------------------------

def _register_extreme(name: str, reduce: str, arg: str) -> None:
    def body(b, x, *, axis, keep):
        return (_kept(b, b._(reduce, x, attrs=((axis,),)), x.type, (axis,), keep),
                _kept(b, b._(arg, x, attrs=(axis,)), x.type, (axis,), keep))
    body.__doc__ = f"{reduce} along an axis and its first index"
    composite(name, 1, ("axis", "keep"), n_outputs=2)(body)


_register_extreme("max_with_index", "reduce_max", "argmax")
_register_extreme("min_with_index", "reduce_min", "argmin")


def _to_index(b, g, x_type, index, axis):
    """The cotangent of one element per row, put where it came from."""
    here = b.eq(b.iota(int64, x_type.shape, axis), _spread(b, index, x_type, (axis,)))
    return b.select_or_zero(here, _spread(b, g, x_type, (axis,)))


@vjp("max_with_index", "min_with_index", outputs=True)
def _extreme_with_index(b, g, s):
    return (None if g[0] is None else _to_index(b, g[0], s.types[0], s.outputs[1], s.attrs.axis),)


def _register_running(name: str, scan: str) -> None:
    def body(b, x, *, axis):
        y = b.scan(scan, x, axis)
        position = b.iota(int64, x.type.shape, axis)
        hit = b.eq(x, y)
        if x.type.dtype.is_inexact:
            hit = b.or_(hit, b.is_nan(x))
        return y, b.scan("cummax", b.select(hit, position, b.full_like(position, 0)), axis)
    body.__doc__ = f"{scan} and the latest index of the extreme"
    composite(name, 1, ("axis",), n_outputs=2)(body)


_register_running("cummax_with_index", "cummax")
_register_running("cummin_with_index", "cummin")


@vjp("cummax_with_index", "cummin_with_index", outputs=True)
def _running_with_index(b, g, s):
    if g[0] is None:
        return (None,)
    return (scatter_along(b, b.full_like(g[0], 0), s.outputs[1], g[0], s.attrs.axis),)


@composite("logcumsumexp", 1, ("axis",))
def logcumsumexp(b, x, *, axis):
    """running log(sum(exp(x))): log2(n) rounds of logaddexp with what lies 1, 2, 4, ... before"""
    y, n, step = _wide(b, x), x.type.shape[axis] if x.type.ndim else 1, 1
    none = (0,) * x.type.ndim
    nothing = b.const(-math.inf, y.type.dtype)
    while step < n:
        shift = tuple(step if i == axis else 0 for i in range(x.type.ndim))
        before = b.pad(b.slice(y, none, tuple(d - s for d, s in zip(x.type.shape, shift, strict=True))), nothing,
                       shift, none)
        y = b.call("logaddexp", y, before)
        step *= 2
    return b.cast(y, x.type.dtype)


# --- order statistics -----------------------------------------------------------------------------

def _element(b, x, axis, k):
    """x[.., k, ..] without the axis."""
    start = tuple(k if i == axis else 0 for i in range(x.type.ndim))
    stop = tuple(k + 1 if i == axis else n for i, n in enumerate(x.type.shape))
    return _dropped(b, b.slice(x, start, stop), x.type, (axis,))


def _picked(b, x, axis, index):
    """x[.., index[..], ..] without the axis, for a runtime index per row."""
    here = b.eq(b.iota(int64, x.type.shape, axis), b.keep_axes(index, (axis,), x.type.shape))
    if x.type.dtype is bool_:
        return b.reduce_max(b.and_(here, x), (axis,))
    return b.reduce_sum(b.select_or_zero(here, x), (axis,))


@composite("kthvalue", 1, ("axis", "k", "keep"), n_outputs=2)
def kthvalue(b, x, *, axis, k, keep):
    """the k-th smallest (from 0) along an axis and its index"""
    values, order = b.sort(x, axis)
    return (_kept(b, _element(b, values, axis, k), x.type, (axis,), keep),
            _kept(b, _element(b, order, axis, k), x.type, (axis,), keep))


@composite("median", 1, ("axis", "keep"), n_outputs=2)
def median(b, x, *, axis, keep):
    """the lower median along an axis and its index; NaN if there is one"""
    n = x.type.shape[axis]
    values, order = b.sort(x, axis)
    value, index = _element(b, values, axis, (n - 1) // 2), _element(b, order, axis, (n - 1) // 2)
    if x.type.dtype.is_inexact:
        last = _element(b, values, axis, n - 1)
        missing = b.is_nan(last)
        value, index = b.select(missing, last, value), b.select(missing, b.argmax(x, axis), index)
    return _kept(b, value, x.type, (axis,), keep), _kept(b, index, x.type, (axis,), keep)


@composite("nanmedian", 1, ("axis", "keep"), n_outputs=2)
def nanmedian(b, x, *, axis, keep):
    """the lower median of the elements that are not NaN, and its index"""
    values, order = b.sort(x, axis)
    count = b.reduce_sum(b.cast(b.not_(b.is_nan(x)), int64), (axis,))
    one = b.full_like(count, 1)
    middle = b.shr(b.max(b.sub(count, one), b.full_like(count, 0)), one)
    return (_kept(b, _picked(b, values, axis, middle), x.type, (axis,), keep),
            _kept(b, _picked(b, order, axis, middle), x.type, (axis,), keep))


@composite("mode", 1, ("axis", "keep"), n_outputs=2)
def mode(b, x, *, axis, keep):
    """the most frequent value (the smallest of several) and the last index of it"""
    values, order = b.sort(x, axis)
    position = b.iota(int64, x.type.shape, axis)
    one = tuple(1 if i == axis else 0 for i in range(x.type.ndim))
    none = (0,) * x.type.ndim
    before = b.pad(b.slice(values, none, tuple(n - k for n, k in zip(x.type.shape, one, strict=True))),
                   b.const(0, x.type.dtype), one, none)
    starts = b.or_(b.ne(values, before), b.is_zero(position))
    start = b.scan("cummax", b.select(starts, position, b.full_like(position, 0)), axis)
    end = b.argmax(b.sub(position, start), axis)
    return (_kept(b, _picked(b, values, axis, end), x.type, (axis,), keep),
            _kept(b, _picked(b, order, axis, end), x.type, (axis,), keep))


@vjp("kthvalue", "median", "nanmedian", "mode", outputs=True)
def _order_statistic(b, g, s):
    return (None if g[0] is None else _to_index(b, g[0], s.types[0], s.outputs[1], s.attrs.axis),)


@composite("quantile", 2, ("axis", "interpolation", "ignore_nan"))
def quantile(b, x, q, *, axis, interpolation, ignore_nan):
    """values at the positions q (n - 1) of the sorted elements; the axis of q leads"""
    t = x.type
    n, rest = t.shape[axis], tuple(d for i, d in enumerate(t.shape) if i != axis)
    values, _ = b.sort(x, axis)
    # rows with the sorted axis last, one row per element of q: (q..., rest..., n)
    values = b.permute(values, (*(i for i in range(t.ndim) if i != axis), axis))
    shape = (*q.type.shape, *rest)
    missing = b.is_nan(values)
    count = b.reduce_sum(b.cast(b.not_(missing), int64), (len(rest),))  # rest...
    dtype = t.dtype
    top = b.cast(b.sub(count, b.full_like(count, 1)), dtype) if ignore_nan else b.full(n - 1.0, dtype, rest)
    top = b.max(top, b.full_like(top, 0))
    ranks = b.mul(b.expand(b.reshape(q, (*q.type.shape, *(1,) * len(rest))), shape), b.expand(top, shape))
    lower = b.floor(ranks)
    upper = b._("ceil", ranks)
    if interpolation == "lower":
        upper = lower
    elif interpolation == "higher":
        lower = upper
    elif interpolation == "nearest":
        lower = upper = b.round(ranks)

    def at(place):
        wide = (*shape, n)
        index = b.cast(place, int64)
        here = b.eq(b.iota(int64, wide, len(shape)), b.expand(b.reshape(index, (*shape, 1)), wide))
        return b.reduce_sum(b.select_or_zero(here, b.expand(values, wide)), (len(shape),))

    low = at(lower)
    if interpolation in ("linear", "midpoint"):
        high = at(upper)
        weight = b.sub(ranks, lower) if interpolation == "linear" else b.full_like(ranks, 0.5)
        low = b.select(b.eq(lower, upper), low, interpolate(b, low, high, weight))
    whole = b.eq(count, b.full_like(count, n)) if not ignore_nan else b.ne(count, b.full_like(count, 0))
    return b.select(b.expand(whole, shape), low, b.full(math.nan, dtype, shape))
