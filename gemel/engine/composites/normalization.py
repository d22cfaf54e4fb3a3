"""Normalization: layer, RMS, batch, group norms and local response normalization.

All statistics are computed in the compute type (f32 for 16-bit input) and the result is rounded once. Layer and
group norm save nothing but their operands: the backward pass recomputes the statistics of a row while the row is
in cache. Batch norm saves the statistics of its channels.
"""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from ..ir.builder import size_of
from .base import composite


def _mean(b, x, axes):
    """Mean over axes, broadcast back to the shape of x."""
    total = b.reduce_sum(x, axes)
    n = b.full_like(total, size_of(x.type.shape, axes))
    return b.keep_axes(b.div(total, n), axes, x.type.shape)


def _statistics(b, x, axes, eps):
    """Mean and 1 / sqrt(var + eps) over axes, without those axes."""
    total = b.reduce_sum(x, axes)
    n = b.full_like(total, size_of(x.type.shape, axes))
    mean = b.div(total, n)
    centered = b.sub(x, b.keep_axes(mean, axes, x.type.shape))
    var = b.div(b.reduce_sum(b.mul(centered, centered), axes), n)
    return mean, var, b.rsqrt(b.add(var, b.expand(eps, var.type.shape)))


def _trailing(x_type, n):
    return tuple(range(x_type.ndim - n, x_type.ndim))


# --- layer norm and RMS norm: the last n axes --------------------------------------------------------

@composite("layer_norm", -1, ("n_axes", "weighted", "biased"))
def layer_norm(b, x, eps, *params, n_axes, weighted, biased):
    """(x - mean) / sqrt(var + eps) over the last axes, times weight, plus bias (Ba et al., 2016)"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes = _trailing(x.type, n_axes)
    x = b.cast(x, wide)
    mean, _, rstd = _statistics(b, x, axes, eps)
    shape = x.type.shape
    y = b.mul(b.sub(x, b.keep_axes(mean, axes, shape)), b.keep_axes(rstd, axes, shape))
    if weighted:
        y = b.mul(y, b.expand(b.cast(params[0], wide), shape))
    if biased:
        y = b.add(y, b.expand(b.cast(params[-1], wide), shape))
    return b.cast(y, dtype)


@vjp("layer_norm", inputs=(0, 1, 2))
def _layer_norm(b, g, s):
    a, (x, eps, *params) = s.attrs, s.inputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _trailing(x.type, a.n_axes), x.type.shape
    g, x = b.cast(g, wide), b.cast(x, wide)
    mean, _, rstd = _statistics(b, x, axes, eps)
    mean, rstd = b.keep_axes(mean, axes, shape), b.keep_axes(rstd, axes, shape)
    normal = b.mul(b.sub(x, mean), rstd)
    gw = b.mul(g, b.expand(b.cast(params[0], wide), shape)) if a.weighted else g
    along = b.mul(normal, _mean(b, b.mul(gw, normal), axes))
    dx = b.mul(rstd, b.sub(b.sub(gw, _mean(b, gw, axes)), along))
    lead = tuple(range(x.type.ndim - a.n_axes))
    grads = [b.cast(dx, dtype), None]
    if a.weighted:
        grads.append(b.cast(b.reduce_sum(b.mul(g, normal), lead), dtype))
    if a.biased:
        grads.append(b.cast(b.reduce_sum(g, lead), dtype))
    return grads


@composite("rms_norm", -1, ("n_axes",))
def rms_norm(b, x, eps, *weight, n_axes):
    """x / sqrt(mean(x^2) + eps) over the last axes, times weight (Zhang and Sennrich, 2019)"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _trailing(x.type, n_axes), x.type.shape
    x = b.cast(x, wide)
    y = b.mul(x, _inverse_rms(b, x, axes, eps))
    if weight:
        y = b.mul(y, b.expand(b.cast(weight[0], wide), shape))
    return b.cast(y, dtype)


def _inverse_rms(b, x, axes, eps):
    square = _mean(b, b.mul(x, x), axes)
    return b.rsqrt(b.add(square, b.expand(eps, square.type.shape)))


@vjp("rms_norm", inputs=(0, 1, 2))
def _rms_norm(b, g, s):
    x, eps, *weight = s.inputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _trailing(x.type, s.attrs.n_axes), x.type.shape
    g, x = b.cast(g, wide), b.cast(x, wide)
    r = _inverse_rms(b, x, axes, eps)
    normal = b.mul(x, r)
    gw = b.mul(g, b.expand(b.cast(weight[0], wide), shape)) if weight else g
    dx = b.mul(r, b.sub(gw, b.mul(normal, _mean(b, b.mul(gw, normal), axes))))
    grads = [b.cast(dx, dtype), None]
    if weight:
        lead = tuple(range(x.type.ndim - s.attrs.n_axes))
        grads.append(b.cast(b.reduce_sum(b.mul(b.mul(g, r), x), lead), dtype))
    return grads


# --- batch norm: axis 1 is kept -----------------------------------------------------------------------

def _per_channel(b, v, shape):
    """(C,) spread over (N, C, ...)."""
    return b.expand(b.reshape(v, (v.type.size, *(1 for _ in shape[2:]))), shape)


def _but_channels(ndim):
    return tuple(i for i in range(ndim) if i != 1)


def _affine(b, y, params, weighted, biased, wide):
    shape = y.type.shape
    if weighted:
        y = b.mul(y, _per_channel(b, b.cast(params[0], wide), shape))
    if biased:
        y = b.add(y, _per_channel(b, b.cast(params[-1], wide), shape))
    return y


@composite("batch_norm_plain", -1, ("weighted", "biased", "tracked"), n_outputs=-1)
@composite("batch_norm", -1, ("weighted", "biased", "tracked"), n_outputs=-1)
def batch_norm(b, x, eps, momentum, *rest, weighted, biased, tracked):
    """Normalize with the statistics of the batch (Ioffe and Szegedy, 2015)

    Operands behind momentum: weight, bias, running mean and variance, as far as present. Results: y, mean,
    1 / sqrt(var + eps), and the new running statistics (with the unbiased variance). Its name is
    ``batch_norm_plain`` where there is no weight, so that none is saved.
    """
    params = rest[:weighted + biased]
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _but_channels(x.type.ndim), x.type.shape
    x = b.cast(x, wide)
    mean, var, rstd = _statistics(b, x, axes, eps)
    y = b.mul(b.sub(x, _per_channel(b, mean, shape)), _per_channel(b, rstd, shape))
    results = (b.cast(_affine(b, y, params, weighted, biased, wide), dtype), mean, rstd)
    if not tracked:
        return results
    n = size_of(shape, axes)
    unbiased = b.mul(var, b.full_like(var, n / max(n - 1, 1)))
    return (*results, *(_running(b, old, new, momentum) for old, new in zip(rest[-2:], (mean, unbiased), strict=True)))


def _running(b, old, new, momentum):
    """(1 - momentum) * old + momentum * new"""
    m = b.expand(momentum, new.type.shape)
    kept = b.mul(b.sub(b.full_like(m, 1), m), b.cast(old, new.type.dtype))
    return b.cast(b.add(kept, b.mul(m, new)), old.type.dtype)


@vjp("batch_norm_plain", inputs=(0,), outputs=(1, 2))
@vjp("batch_norm", inputs=(0, 3), outputs=(1, 2))
def _batch_norm(b, g, s):
    """Mean and 1 / deviation have cotangents in second derivatives, which look at what the first ones saved."""
    a, (x, *saved), (mean, rstd) = s.attrs, s.inputs, s.outputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _but_channels(x.type.ndim), x.type.shape
    x = b.cast(x, wide)
    dy, d_mean, d_rstd = b.zeros(x.type) if g[0] is None else b.cast(g[0], wide), g[1], g[2]
    n = b.full_like(mean, size_of(shape, axes))
    normal = b.mul(b.sub(x, _per_channel(b, mean, shape)), _per_channel(b, rstd, shape))
    d_bias = b.reduce_sum(dy, axes)
    d_weight = b.reduce_sum(b.mul(dy, normal), axes)
    scale = b.mul(rstd, b.cast(saved[0], wide)) if a.weighted else rstd
    inner = b.sub(b.sub(dy, _per_channel(b, b.div(d_bias, n), shape)),
                  b.mul(normal, _per_channel(b, b.div(d_weight, n), shape)))
    dx = b.mul(_per_channel(b, scale, shape), inner)
    if d_mean is not None:
        dx = b.add(dx, _per_channel(b, b.div(d_mean, n), shape))
    if d_rstd is not None:  # d rstd / dx = -rstd^2 normal / n
        share = b.div(b.mul(d_rstd, b.mul(rstd, rstd)), n)
        dx = b.sub(dx, b.mul(normal, _per_channel(b, share, shape)))
    grads = [b.cast(dx, dtype), None, None]
    if a.weighted:
        grads.append(b.cast(d_weight, s.types[3].dtype))
    if a.biased:
        grads.append(b.cast(d_bias, s.types[3].dtype))
    return grads + [None, None] * a.tracked


@composite("batch_norm_eval", -1, ("weighted", "biased"))
def batch_norm_eval(b, x, eps, mean, var, *params, weighted, biased):
    """Normalize with given statistics of the channels"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    shape = x.type.shape
    x, mean, var = (b.cast(v, wide) for v in (x, mean, var))
    rstd = b.rsqrt(b.add(var, b.expand(eps, var.type.shape)))
    y = b.mul(b.sub(x, _per_channel(b, mean, shape)), _per_channel(b, rstd, shape))
    return b.cast(_affine(b, y, params, weighted, biased, wide), dtype)


@vjp("batch_norm_eval", inputs=(0, 1, 2, 3, 4))
def _batch_norm_eval(b, g, s):
    a, (x, eps, mean, var, *params) = s.attrs, s.inputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    axes, shape = _but_channels(x.type.ndim), x.type.shape
    g, x, mean, var = (b.cast(v, wide) for v in (g, x, mean, var))
    rstd = b.rsqrt(b.add(var, b.expand(eps, var.type.shape)))
    scale = b.mul(rstd, b.cast(params[0], wide)) if a.weighted else rstd
    grads = [b.cast(b.mul(g, _per_channel(b, scale, shape)), dtype), None, None, None]
    if a.weighted:
        normal = b.mul(b.sub(x, _per_channel(b, mean, shape)), _per_channel(b, rstd, shape))
        grads.append(b.cast(b.reduce_sum(b.mul(g, normal), axes), s.types[4].dtype))
    if a.biased:
        grads.append(b.cast(b.reduce_sum(g, axes), s.types[4].dtype))
    return grads


# --- group norm: channels in groups, each normalized with its positions ---------------------------------

@composite("group_norm", -1, ("groups", "weighted", "biased"))
def group_norm(b, x, eps, *params, groups, weighted, biased):
    """(x - mean) / sqrt(var + eps) over groups of channels and all positions, times weight, plus bias, per channel

    Wu and He, 2018. One group per channel is instance norm.
    """
    dtype = x.type.dtype
    wide = compute_type(dtype)
    rows, axes = _grouped(b, b.cast(x, wide), groups)
    shape = rows.type.shape
    mean, _, rstd = _statistics(b, rows, axes, eps)
    y = b.mul(b.sub(rows, b.keep_axes(mean, axes, shape)), b.keep_axes(rstd, axes, shape))
    if weighted:
        y = b.mul(y, _group_param(b, b.cast(params[0], wide), shape))
    if biased:
        y = b.add(y, _group_param(b, b.cast(params[-1], wide), shape))
    return b.reshape(b.cast(y, dtype), x.type.shape)


def _grouped(b, x, groups):
    """x as (N, groups, channels of a group, positions), and the axes of a group."""
    n, c, *size = x.type.shape
    area = 1
    for d in size:
        area *= d
    return b.reshape(x, (n, groups, c // groups, area)), (2, 3)


def _group_param(b, v, shape):
    return b.expand(b.reshape(v, (1, shape[1], shape[2], 1)), shape)


@vjp("group_norm", inputs=(0, 1, 2))
def _group_norm(b, g, s):
    a, (x, eps, *params) = s.attrs, s.inputs
    dtype, x_shape = x.type.dtype, x.type.shape
    wide = compute_type(dtype)
    g, _ = _grouped(b, b.cast(g, wide), a.groups)
    x, axes = _grouped(b, b.cast(x, wide), a.groups)
    shape = x.type.shape
    mean, _, rstd = _statistics(b, x, axes, eps)
    mean, rstd = b.keep_axes(mean, axes, shape), b.keep_axes(rstd, axes, shape)
    normal = b.mul(b.sub(x, mean), rstd)
    gw = b.mul(g, _group_param(b, b.cast(params[0], wide), shape)) if a.weighted else g
    along = b.mul(normal, _mean(b, b.mul(gw, normal), axes))
    dx = b.mul(rstd, b.sub(b.sub(gw, _mean(b, gw, axes)), along))
    grads = [b.reshape(b.cast(dx, dtype), x_shape), None]
    if a.weighted:
        grads.append(b.cast(b.reshape(b.reduce_sum(b.mul(g, normal), (0, 3)), (x_shape[1],)), dtype))
    if a.biased:
        grads.append(b.cast(b.reshape(b.reduce_sum(g, (0, 3)), (x_shape[1],)), dtype))
    return grads


@composite("instance_statistics", 4, n_outputs=2)
def instance_statistics(b, x, momentum, running_mean, running_var):
    """New running mean and variance of instance norm: the samples' statistics averaged over the batch"""
    wide = compute_type(x.type.dtype)
    x = b.cast(x, wide)
    axes = tuple(range(2, x.type.ndim))
    mean, var, _ = _statistics(b, x, axes, b.const(0, wide))
    n, samples = size_of(x.type.shape, axes), x.type.shape[0]
    var = b.mul(var, b.full_like(var, n / max(n - 1, 1)))
    averages = (b.reduce_sum(v, (0,)) for v in (mean, var))
    averages = (b.div(v, b.full_like(v, samples)) for v in averages)
    return tuple(_running(b, old, v, momentum) for old, v in zip((running_mean, running_var), averages, strict=True))


# --- along one axis: local response norm, unit vectors ----------------------------------------------------

def _window_sum(b, x, before, after):
    """Sum over channels c - before .. c + after (axis 1), outside counts as zero."""
    rest = x.type.ndim - 2
    padded = b.pad(x, b.const(0, x.type.dtype), (0, before, *(0,) * rest), (0, after, *(0,) * rest))
    total, n = None, x.type.shape[1]
    for c in range(before + after + 1):
        start = (0, c, *(0,) * rest)
        part = b.slice(padded, start, (x.type.shape[0], c + n, *x.type.shape[2:]))
        total = part if total is None else b.add(total, part)
    return total


def _response(b, x, alpha, k, size):
    """k + alpha * mean of the squares of the window"""
    total = _window_sum(b, b.mul(x, x), size // 2, (size - 1) // 2)
    mean = b.div(total, b.full_like(total, size))
    return b.add(b.mul(mean, b.expand(alpha, x.type.shape)), b.expand(k, x.type.shape))


@composite("local_response_norm", 4, ("size",))
def local_response_norm(b, x, alpha, beta, k, *, size):
    """x / (k + alpha / size * sum of squares over size neighbouring channels)^beta"""
    dtype = x.type.dtype
    x = b.cast(x, compute_type(dtype))
    d = _response(b, x, alpha, k, size)
    return b.cast(b.div(x, b.pow(d, b.expand(beta, x.type.shape))), dtype)


@vjp("local_response_norm", inputs=(0, 1, 2, 3))
def _local_response_norm(b, g, s):
    (x, alpha, beta, k), size = s.inputs, s.attrs.size
    dtype = x.type.dtype
    wide = compute_type(dtype)
    g, x = b.cast(g, wide), b.cast(x, wide)
    d = _response(b, x, alpha, k, size)
    p = b.pow(d, b.expand(beta, x.type.shape))
    spread = _window_sum(b, b.div(b.div(b.mul(g, x), p), d), (size - 1) // 2, size // 2)
    factor = b.mul(b.mul(alpha, beta), b.const(2 / size, wide))
    dx = b.sub(b.div(g, p), b.mul(b.mul(x, spread), b.expand(factor, x.type.shape)))
    return b.cast(dx, dtype), None, None, None


def vector_norm(b, x, p, axis, kind):
    """The p-norm along an axis, without it; kind says which formula."""
    axes = (axis,)
    size = b.abs(x)
    if kind == "0":
        return b.reduce_sum(b.cast(b.ne(x, b.full_like(x, 0)), x.type.dtype), axes)
    if kind == "1":
        return b.reduce_sum(size, axes)
    if kind == "2":
        return b.sqrt(b.reduce_sum(b.mul(x, x), axes))
    if kind == "inf":
        return b.reduce_max(size, axes)
    total = b.reduce_sum(b.pow(size, b.expand(p, x.type.shape)), axes)
    return b.pow(total, b.expand(b.div(b.const(1, p.type.dtype), p), total.type.shape))


def _norm_slope(b, x, norm, p, kind):
    """d norm / dx, with ``norm`` of the shape of x; 0 where the norm is 0."""
    zero = b.full_like(x, 0)
    if kind == "0":
        return zero
    if kind == "1":
        return b.sign(x)
    flat = b.eq(norm, zero)
    safe = b.select(flat, b.full_like(x, 1), norm)
    if kind == "2":
        return b.select(flat, zero, b.div(x, safe))
    rest = b.sub(b.expand(p, x.type.shape), b.full_like(x, 1))
    slope = b.mul(b.sign(x), b.pow(b.div(b.abs(x), safe), rest))
    return b.select(b.or_(flat, b.eq(x, zero)), zero, slope)


@composite("normalize", 3, ("axis", "kind"))
def normalize(b, x, p, eps, *, axis, kind):
    """x / max(norm_p(x), eps) along an axis"""
    dtype = x.type.dtype
    x = b.cast(x, compute_type(dtype))
    norm = b.keep_axes(vector_norm(b, x, p, axis, kind), (axis,), x.type.shape)
    return b.cast(b.div(x, b.max(norm, b.expand(eps, x.type.shape))), dtype)


@vjp("normalize", inputs=(0, 1, 2))
def _normalize(b, g, s):
    (x, p, eps), axis, kind = s.inputs, s.attrs.axis, s.attrs.kind
    dtype, shape = x.type.dtype, x.type.shape
    wide = compute_type(dtype)
    g, x = b.cast(g, wide), b.cast(x, wide)
    reduced = vector_norm(b, x, p, axis, kind)
    norm = b.keep_axes(reduced, (axis,), shape)
    limit = b.expand(eps, shape)
    d = b.max(norm, limit)
    inner = b.keep_axes(b.reduce_sum(b.mul(g, x), (axis,)), (axis,), shape)
    if kind == "inf":
        hit = b.eq(b.abs(x), norm)
        ties = b.keep_axes(b.reduce_sum(b.cast(hit, wide), (axis,)), (axis,), shape)
        slope = b.select_or_zero(hit, b.div(b.sign(x), ties))
    else:
        slope = _norm_slope(b, x, norm, p, kind)
    through = b.select_or_zero(b.ge(norm, limit), b.mul(b.div(b.div(inner, d), d), slope))
    return b.cast(b.sub(b.div(g, d), through), dtype), None, None
