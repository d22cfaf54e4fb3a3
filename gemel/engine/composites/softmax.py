"""Softmax, log-softmax and the negative log likelihood."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, int64
from ..base.errors import DTypeError, ShapeError
from .base import composite


def _shifted(b, x, axis):
    """x - max(x), and the axes and shape to put the reduced axis back."""
    return b.sub(x, b.keep_axes(b.reduce_max(x, (axis,)), (axis,), x.type.shape))


@composite("softmax", 1, ("axis",))
def softmax(b, x, *, axis):
    """exp(x - max) / sum(exp(x - max)); 16-bit input is computed in f32 and rounded once"""
    dtype = x.type.dtype
    e = b.exp(_shifted(b, b.cast(x, compute_type(dtype)), axis))
    return b.cast(b.div(e, b.keep_axes(b.reduce_sum(e, (axis,)), (axis,), x.type.shape)), dtype)


@vjp("softmax", outputs=True)
def _softmax(b, g, s):
    y, axis = s.output, s.attrs.axis
    dtype = y.type.dtype
    wide = compute_type(dtype)
    g, y = b.cast(g, wide), b.cast(y, wide)
    inner = b.reduce_sum(b.mul(g, y), (axis,))
    return (b.cast(b.mul(y, b.sub(g, b.keep_axes(inner, (axis,), y.type.shape))), dtype),)


@composite("log_softmax", 1, ("axis",))
def log_softmax(b, x, *, axis):
    """x - max - log(sum(exp(x - max)))"""
    dtype = x.type.dtype
    z = _shifted(b, b.cast(x, compute_type(dtype)), axis)
    total = b.log(b.reduce_sum(b.exp(z), (axis,)))
    return b.cast(b.sub(z, b.keep_axes(total, (axis,), x.type.shape)), dtype)


@vjp("log_softmax", outputs=True)
def _log_softmax(b, g, s):
    y, axis = s.output, s.attrs.axis
    dtype = y.type.dtype
    wide = compute_type(dtype)
    g, y = b.cast(g, wide), b.cast(y, wide)
    p = b.exp(y)
    total = b.keep_axes(b.reduce_sum(g, (axis,)), (axis,), y.type.shape)
    return (b.cast(b.sub(g, b.mul(p, total)), dtype),)


def _check_nll(attrs, x, target, *weight):
    if not target.dtype.is_integer:
        raise DTypeError(f"expected scalar type Long but found {target.dtype.name}: the target of nll_loss holds "
                         f"class indices")
    want = x.shape[:1] + x.shape[2:]
    if target.shape != want:
        raise ShapeError(f"Expected target size {list(want)}, got {list(target.shape)}: the target has the input's "
                         f"shape without its class axis. Received: input {list(x.shape)}")
    if weight and weight[0].shape != x.shape[1:2]:
        raise ShapeError(f"weight tensor should be defined either for all {x.shape[1]} classes or no classes but got "
                         f"weight tensor of shape: {list(weight[0].shape)}")


def hits(b, x_type, target):
    """bool (N, C, ...): is this the target's class?"""
    classes = b.iota(int64, x_type.shape, 1)
    index = b.reshape(b.cast(target, int64), (x_type.shape[0], 1, *x_type.shape[2:]))
    return b.eq(classes, b.expand(index, x_type.shape))


def checked_target(b, target, n_classes, ignore):
    """The targets as int64; a class index outside the range (other than ``ignore``) raises at run time."""
    target = b.cast(target, int64)
    fine = b.and_(b.ge(target, b.full_like(target, 0)), b.lt(target, b.full_like(target, n_classes)))
    text = f"Target is out of bounds: class indices must be in [0, {n_classes})"
    if ignore is None:
        return b.check(fine, target, text)
    fine = b.or_(fine, b.eq(target, b.full_like(target, ignore)))
    return b.check(fine, target, f"{text} or ignore_index={ignore}")


def _weights(b, dtype, target, ignore, weight):
    """Weight of each target, 0 where it is to be ignored."""
    counted = b.ne(target, b.full_like(target, ignore))
    if not weight:
        return b.cast(counted, dtype)
    return b.select_or_zero(counted, b.take(b.cast(weight[0], dtype), target, 0))


@composite("nll_loss", -1, ("ignore_index", "reduction"), n_outputs=2, check=_check_nll)
def nll_loss(b, logp, target, *weight, ignore_index, reduction):
    """-w[target] * logp[target], reduced; and the sum of the weights (1 unless reduction is mean)"""
    dtype = logp.type.dtype
    wide = compute_type(dtype)
    target = checked_target(b, target, logp.type.shape[1], ignore_index)
    picked = b.reduce_sum(b.select_or_zero(hits(b, logp.type, target), b.cast(logp, wide)), (1,))
    w = _weights(b, wide, target, ignore_index, weight)
    total, divisor = _reduce(b, b.neg(b.mul(picked, w)), w, reduction)
    return b.cast(total, dtype), divisor


def _reduce(b, losses, w, reduction):
    """The losses reduced, and what a mean was divided by (1 otherwise)."""
    one = b.const(1, losses.type.dtype)
    if reduction == "none":
        return losses, one
    axes = tuple(range(losses.type.ndim))
    total = b.reduce_sum(losses, axes)
    if reduction == "sum":
        return total, one
    divisor = b.reduce_sum(w, axes)
    return b.div(total, divisor), divisor


def _row_scale(b, g, divisor, reduction):
    """The cotangent of each row's loss, as far as it is known without the weights."""
    g = b.cast(g, divisor.type.dtype)
    return b.div(g, divisor) if reduction == "mean" else g


@vjp("nll_loss", inputs=(1, 2), outputs=(1,))
def _nll_loss(b, g, s):
    target, *weight = s.inputs
    x_type, dtype = s.types[0], s.output.type.dtype
    target = b.cast(target, int64)
    w = _weights(b, dtype, target, s.attrs.ignore_index, weight)
    g_row = _row_scale(b, g[0], s.output, s.attrs.reduction)
    scale = b.neg(b.mul(b.expand(g_row, w.type.shape), w))
    grad = b.select_or_zero(hits(b, x_type, target), b.keep_axes(scale, (1,), x_type.shape))
    return (b.cast(grad, x_type.dtype), *(None for _ in s.types[1:]))


# --- cross entropy: log-softmax and the loss as one node ---------------------------------------------

def _check_cross_entropy(attrs, x, target, smoothing, *weight):
    _check_nll(attrs, x, target, *weight)


def _class_weights(b, weight, x_type, dtype):
    """(C,) spread over (N, C, ...)."""
    w = b.reshape(b.cast(weight, dtype), (x_type.shape[1], *(1 for _ in x_type.shape[2:])))
    return b.expand(w, x_type.shape)


@composite("cross_entropy", -1, ("ignore_index", "reduction", "smooth"), n_outputs=2, check=_check_cross_entropy)
def cross_entropy(b, x, target, smoothing, *weight, ignore_index, reduction, smooth):
    """-w[target] * log_softmax(x)[target], with label smoothing, reduced; and what a mean was divided by"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    z = _shifted(b, b.cast(x, wide), 1)
    target = checked_target(b, target, x.type.shape[1], ignore_index)
    log_total = b.log(b.reduce_sum(b.exp(z), (1,)))
    picked = b.reduce_sum(b.select_or_zero(hits(b, x.type, target), z), (1,))
    w = _weights(b, wide, target, ignore_index, weight)
    losses = b.mul(w, b.sub(log_total, picked))
    if smooth:
        losses = _smoothed(b, losses, z, log_total, target, smoothing, weight, ignore_index)
    total, divisor = _reduce(b, losses, w, reduction)
    return b.cast(total, dtype), divisor


def _smoothed(b, losses, z, log_total, target, smoothing, weight, ignore):
    """(1 - s) * losses - s / C * sum over classes of w * logp"""
    n_classes, dtype = z.type.shape[1], z.type.dtype
    counted = b.ne(target, b.full_like(target, ignore))
    if weight:
        w = _class_weights(b, weight[0], z.type, dtype)
        total = b.expand(b.reduce_sum(b.cast(weight[0], dtype), (0,)), log_total.type.shape)
        sums = b.sub(b.reduce_sum(b.mul(w, z), (1,)), b.mul(log_total, total))
    else:
        sums = b.sub(b.reduce_sum(z, (1,)), b.scale(log_total, n_classes))
    share = b.expand(b.div(smoothing, b.const(n_classes, dtype)), sums.type.shape)
    keep = b.expand(b.sub(b.const(1, dtype), smoothing), sums.type.shape)
    return b.sub(b.mul(keep, losses), b.mul(share, b.select_or_zero(counted, sums)))


@vjp("cross_entropy", inputs=(0, 1, 2, 3), outputs=(1,))
def _cross_entropy(b, g, s):
    x, target, smoothing, *weight = s.inputs
    a, wide, shape = s.attrs, s.output.type.dtype, x.type.shape
    e = b.exp(_shifted(b, b.cast(x, wide), 1))
    p = b.div(e, b.keep_axes(b.reduce_sum(e, (1,)), (1,), shape))
    target = b.cast(target, int64)
    w = _weights(b, wide, target, a.ignore_index, weight)
    g_row = b.expand(_row_scale(b, g[0], s.output, a.reduction), w.type.shape)
    scale = b.mul(g_row, w)
    if a.smooth:
        scale = b.mul(scale, b.expand(b.sub(b.const(1, wide), smoothing), w.type.shape))
    one = b.full(1, wide, shape)
    hit = b.select_or_zero(hits(b, x.type, target), one)
    grad = b.mul(b.sub(p, hit), b.keep_axes(scale, (1,), shape))
    if a.smooth:
        counted = b.ne(target, b.full_like(target, a.ignore_index))
        share = b.expand(b.div(smoothing, b.const(shape[1], wide)), w.type.shape)
        share = b.select_or_zero(counted, b.mul(g_row, share))
        if weight:
            v = _class_weights(b, weight[0], x.type, wide)
            inner = b.sub(b.mul(p, b.expand(b.reduce_sum(b.cast(weight[0], wide), (0,)), shape)), v)
        else:
            inner = b.sub(b.scale(p, shape[1]), one)
        grad = b.add(grad, b.mul(inner, b.keep_axes(share, (1,), shape)))
    return (b.cast(grad, x.type.dtype), *(None for _ in s.types[1:]))


@composite("cross_entropy_soft", -1, ("reduction", "smooth"))
def cross_entropy_soft(b, x, target, smoothing, *weight, reduction, smooth):
    """-sum over classes of w * target * log_softmax(x), for class probabilities, with label smoothing"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    z = _shifted(b, b.cast(x, wide), 1)
    t = _soft_target(b, target, smoothing, weight, wide, smooth)
    log_total = b.log(b.reduce_sum(b.exp(z), (1,)))
    rows = b.sub(b.mul(log_total, b.reduce_sum(t, (1,))), b.reduce_sum(b.mul(t, z), (1,)))
    if reduction != "none":
        rows = b.reduce_sum(rows, tuple(range(rows.type.ndim)))
        if reduction == "mean":
            rows = b.div(rows, b.full_like(rows, x.type.size // max(x.type.shape[1], 1)))
    return b.cast(rows, dtype)


def _soft_target(b, target, smoothing, weight, dtype, smooth):
    """Weighted, smoothed class probabilities."""
    t = b.cast(target, dtype)
    shape = t.type.shape
    if smooth:
        share = b.div(smoothing, b.const(shape[1], dtype))
        keep = b.sub(b.const(1, dtype), smoothing)
        t = b.add(b.mul(t, b.expand(keep, shape)), b.expand(share, shape))
    return b.mul(t, _class_weights(b, weight[0], t.type, dtype)) if weight else t


@vjp("cross_entropy_soft", inputs=(0, 1, 2, 3))
def _cross_entropy_soft(b, g, s):
    x, target, smoothing, *weight = s.inputs
    a, shape = s.attrs, x.type.shape
    wide = compute_type(x.type.dtype)
    z = _shifted(b, b.cast(x, wide), 1)
    e = b.exp(z)
    total = b.reduce_sum(e, (1,))
    p = b.div(e, b.keep_axes(total, (1,), shape))
    t = _soft_target(b, target, smoothing, weight, wide, a.smooth)
    rows = total.type.shape
    g = b.cast(g, wide)
    if a.reduction == "mean":
        g = b.div(g, b.const(x.type.size // max(shape[1], 1), wide))
    g = b.keep_axes(b.expand(g, rows), (1,), shape)
    dx = b.mul(g, b.sub(b.mul(p, b.keep_axes(b.reduce_sum(t, (1,)), (1,), shape)), t))
    logp = b.sub(z, b.keep_axes(b.log(total), (1,), shape))
    dt = b.neg(b.mul(g, logp))
    if a.smooth:
        dt = b.mul(dt, b.expand(b.sub(b.const(1, wide), smoothing), shape))
    if weight:
        dt = b.mul(dt, _class_weights(b, weight[0], x.type, wide))
    return (b.cast(dx, x.type.dtype), b.cast(dt, target.type.dtype), *(None for _ in s.types[2:]))
