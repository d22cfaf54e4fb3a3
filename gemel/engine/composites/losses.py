"""Losses of two tensors of one shape, element by element, with a reduction.

Rows of one shape: the loss of an element, its derivatives, hyper-parameters as runtime scalars. 16-bit input is
computed and summed in f32 and rounded once.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from .base import composite


def reduced(b, losses, reduction):
    """The losses, their sum, or their mean."""
    if reduction == "none":
        return losses
    total = b.reduce_sum(losses, tuple(range(losses.type.ndim)))
    return b.div(total, b.const(losses.type.size, total.type.dtype)) if reduction == "mean" else total


def spread(b, g, shape, reduction):
    """The cotangent of each element's loss."""
    if reduction == "mean":
        n = 1
        for d in shape:
            n *= d
        g = b.div(g, b.const(n, g.type.dtype))
    return b.expand(g, shape)


def loss(name: str, doc: str, value: Callable[..., Any], gradients: Callable[..., Any] | None, tensors: int = 2,
         scalars: int = 0, attrs: tuple[str, ...] = ()) -> None:
    """Register a loss of ``tensors`` tensors of one shape and ``scalars`` 0-d hyper-parameters.

    Args:
        name: of the composite; its attributes are ``reduction`` and ``attrs``. doc: its formula.
        value: ``(b, *tensors, *scalars, **attrs)``, all of one shape in the compute type.
        gradients: ``(b, g, *tensors, *scalars, **attrs)``, one per tensor; None: through the body.
    """
    def wide_operands(b, operands):
        shape, dtype = operands[0].type.shape, operands[0].type.dtype
        wide = compute_type(dtype)
        return ([b.cast(v, wide) for v in operands[:tensors]]
                + [b.expand(b.cast(v, wide), shape) for v in operands[tensors:]])

    def body(b, *operands, reduction, **more):
        y = value(b, *wide_operands(b, operands), **more)
        return b.cast(reduced(b, y, reduction), operands[0].type.dtype)

    body.__doc__ = doc
    composite(name, tensors + scalars, ("reduction", *attrs))(body)
    if gradients is None:
        return
    rule_gradients = gradients

    @vjp(name, inputs=tuple(range(tensors + scalars)))
    def rule(b, g, s):
        more = dict(s.attrs.items())
        reduction = more.pop("reduction")
        x = s.inputs[0].type
        g = spread(b, b.cast(g, compute_type(x.dtype)), x.shape, reduction)
        found = rule_gradients(b, g, *wide_operands(b, s.inputs), **more)
        return (*(d if d is None else b.cast(d, x.dtype) for d in found), *(None for _ in range(scalars)))


# --- small words for the table

def _one(b, x):
    return b.full_like(x, 1)


def _zero(b, x):
    return b.full_like(x, 0)


def _both(b, d):
    """The derivatives of a function of x - t."""
    return d, b.neg(d)


def _positive_part(b, x):
    """max(x, 0), with the derivative 1 at 0 (torch's clamp_min)."""
    return b.select(b.ge(x, _zero(b, x)), x, _zero(b, x))


loss("mse_loss", "(x - t)^2",
     lambda b, x, t: b.mul(b.sub(x, t), b.sub(x, t)),
     lambda b, g, x, t: _both(b, b.mul(g, b.scale(b.sub(x, t), 2.0))))
loss("l1_loss", "|x - t|",
     lambda b, x, t: b.abs(b.sub(x, t)),
     lambda b, g, x, t: _both(b, b.mul(g, b.sign(b.sub(x, t)))))


def _smooth_l1(b, x, t, beta):
    d = b.abs(b.sub(x, t))
    return b.select(b.lt(d, beta), b.div(b.mul(b.scale(d, 0.5), d), beta), b.sub(d, b.scale(beta, 0.5)))


def _smooth_l1_gradient(b, g, x, t, beta):
    d = b.sub(x, t)
    return _both(b, b.mul(g, b.select(b.lt(b.abs(d), beta), b.div(d, beta), b.sign(d))))


def _huber(b, x, t, delta):
    d = b.abs(b.sub(x, t))
    return b.select(b.lt(d, delta), b.mul(b.scale(d, 0.5), d), b.mul(delta, b.sub(d, b.scale(delta, 0.5))))


def _huber_gradient(b, g, x, t, delta):
    d = b.sub(x, t)
    return _both(b, b.mul(g, b.select(b.lt(b.abs(d), delta), d, b.mul(delta, b.sign(d)))))


loss("smooth_l1_loss", "0.5 d^2 / beta where d = |x - t| < beta, else d - beta / 2 (Girshick, 2015)",
     _smooth_l1, _smooth_l1_gradient, scalars=1)
loss("huber_loss", "0.5 d^2 where d = |x - t| < delta, else delta (d - delta / 2)", _huber, _huber_gradient, scalars=1)


# --- probabilities

def _clipped_log(b, x):
    """max(log x, -100), which keeps the loss finite at 0."""
    return b.max(b.log(x), b.full_like(x, -100))


def _clipped_log1m(b, x):
    return b.max(b.log1p(b.neg(x)), b.full_like(x, -100))


def _bce(b, x, t, weight):
    inside = b.and_(b.ge(x, _zero(b, x)), b.le(x, _one(b, x)))
    x = b.check(inside, x, "all elements of input should be between 0 and 1")
    terms = b.sub(b.mul(b.sub(t, _one(b, t)), _clipped_log1m(b, x)), b.mul(t, _clipped_log(b, x)))
    return b.mul(weight, terms)


def _bce_gradients(b, g, x, t, weight):
    gw = b.mul(g, weight)
    spread_of_x = b.max(b.mul(b.sub(_one(b, x), x), x), b.full_like(x, 1e-12))
    dt = b.sub(_clipped_log1m(b, x), _clipped_log(b, x))
    return b.mul(gw, b.div(b.sub(x, t), spread_of_x)), b.mul(gw, dt), b.mul(g, _bce_terms(b, x, t))


def _bce_terms(b, x, t):
    return b.sub(b.mul(b.sub(t, _one(b, t)), _clipped_log1m(b, x)), b.mul(t, _clipped_log(b, x)))


loss("binary_cross_entropy", "-w (t log x + (1 - t) log(1 - x)), logarithms cut off at -100",
     _bce, _bce_gradients, tensors=3)


def _log_sigmoid(b, x):
    """min(x, 0) - log(1 + e^-|x|)"""
    return b.sub(b.min(x, _zero(b, x)), b.log1p(b.exp(b.neg(b.abs(x)))))


def _bce_logits(b, x, t):
    return b.sub(b.mul(b.sub(_one(b, t), t), x), _log_sigmoid(b, x))


def _bce_logits_weighted(b, x, t, weight, positive):
    factor = b.add(_one(b, t), b.mul(b.sub(positive, _one(b, t)), t))
    return b.mul(weight, b.sub(b.mul(b.sub(_one(b, t), t), x), b.mul(factor, _log_sigmoid(b, x))))


loss("bce_with_logits", "(1 - t) x - log sigmoid(x)",
     _bce_logits, lambda b, g, x, t: (b.mul(g, b.sub(b.sigmoid(x), t)), b.neg(b.mul(g, x))))
loss("bce_with_logits_weighted", "w ((1 - t) x - (1 + (p - 1) t) log sigmoid(x))", _bce_logits_weighted, None, 4)


def _x_log_x(b, x):
    """x log x, 0 at 0"""
    return b.select(b.is_zero(x), _zero(b, x), b.mul(x, b.log(x)))


def _kl(b, x, t, *, log_target):
    return b.mul(b.exp(t), b.sub(t, x)) if log_target else b.sub(_x_log_x(b, t), b.mul(t, x))


def _kl_gradients(b, g, x, t, *, log_target):
    if log_target:
        p = b.exp(t)
        return b.neg(b.mul(g, p)), b.mul(g, b.mul(p, b.add(b.sub(t, x), _one(b, t))))
    slope = b.sub(b.add(b.log(t), _one(b, t)), x)
    return b.neg(b.mul(g, t)), b.mul(g, slope)


loss("kl_div", "t (log t - x), or e^t (t - x) for a target in logarithms", _kl, _kl_gradients, attrs=("log_target",))


def _poisson(b, x, t, eps, *, log_input, full):
    y = b.sub(b.exp(x), b.mul(t, x)) if log_input else b.sub(x, b.mul(t, b.log(b.add(x, eps))))
    if full:  # Stirling's approximation of log t!
        stirling = b.add(b.sub(b.mul(t, b.log(t)), t), b.scale(b.log(b.scale(t, 2 * math.pi)), 0.5))
        y = b.add(y, b.select(b.gt(t, _one(b, t)), stirling, _zero(b, t)))
    return y


loss("poisson_nll_loss", "e^x - t x, or x - t log(x + eps), plus Stirling's log t!", _poisson, None, scalars=1,
     attrs=("log_input", "full"))


def _gaussian(b, x, t, var, eps, *, full):
    v, d = b.max(var, eps), b.sub(x, t)
    y = b.scale(b.add(b.log(v), b.div(b.mul(d, d), v)), 0.5)
    return b.add(y, b.full_like(y, 0.5 * math.log(2 * math.pi))) if full else y


def _gaussian_gradients(b, g, x, t, var, eps, *, full):
    """As torch, the cut-off of the variance is not differentiated."""
    v, d = b.max(var, eps), b.sub(x, t)
    dx = b.mul(g, b.div(d, v))
    dv = b.mul(g, b.scale(b.sub(b.div(_one(b, v), v), b.div(b.div(b.mul(d, d), v), v)), 0.5))
    return dx, b.neg(dx), dv


loss("gaussian_nll_loss", "(log max(var, eps) + (x - t)^2 / max(var, eps)) / 2", _gaussian, _gaussian_gradients, 3, 1,
     ("full",))


# --- margins

def _hinge_embedding(b, x, t, margin):
    far = b.select(b.ne(t, _one(b, t)), _positive_part(b, b.sub(margin, x)), _zero(b, x))
    return b.add(far, b.select(b.ne(t, b.full_like(t, -1)), x, _zero(b, x)))


def _soft_margin_gradients(b, g, x, t):
    z = b.exp(b.neg(b.mul(t, x)))
    q = b.neg(b.mul(g, b.div(z, b.add(_one(b, z), z))))
    return b.mul(q, t), b.mul(q, x)


loss("hinge_embedding_loss", "x where t = 1, max(0, margin - x) where t = -1", _hinge_embedding, None, scalars=1)
loss("soft_margin_loss", "log(1 + e^(-t x))", lambda b, x, t: b.log1p(b.exp(b.neg(b.mul(t, x)))),
     _soft_margin_gradients)
loss("margin_ranking_loss", "max(0, -t (x - y) + margin)",
     lambda b, x, y, t, margin: _positive_part(b, b.add(b.mul(b.neg(t), b.sub(x, y)), margin)), None, 3, 1)


# --- rows: one loss per row of classes

@composite("multi_margin_loss", -1, ("p", "reduction"))
def multi_margin_loss(b, x, target, margin, *weight, p, reduction):
    """sum over i != y of w[y] max(0, margin - x[y] + x[i])^p, divided by the number of classes"""
    from .softmax import checked_target, hits
    dtype = x.type.dtype
    wide = compute_type(dtype)
    x = b.cast(x, wide)
    shape = x.type.shape
    target = checked_target(b, target, shape[1], None)
    mine = hits(b, x.type, target)
    picked = b.reduce_sum(b.select_or_zero(mine, x), (1,))
    room = b.add(b.sub(x, b.keep_axes(picked, (1,), shape)), b.expand(margin, shape))
    room = _positive_part(b, room)
    if p == 2:
        room = b.mul(room, room)
    rows = b.reduce_sum(b.select(mine, _zero(b, x), room), (1,))
    if weight:
        rows = b.mul(rows, b.take(b.cast(weight[0], wide), target, 0))
    rows = b.div(rows, b.full_like(rows, shape[1]))
    return b.cast(reduced(b, rows, reduction), dtype)


@composite("multilabel_margin_loss", 2, ("reduction",), n_outputs=1)
def multilabel_margin_loss(b, x, target, *, reduction):
    """sum over targets y and non-targets i of max(0, 1 - (x[y] - x[i])), divided by the number of classes

    A row of targets ends at its first negative entry.
    """
    from ..base.dtypes import bool_, int64
    dtype = x.type.dtype
    wide = compute_type(dtype)
    x = b.cast(x, wide)
    n, c = x.type.shape
    cube = (n, c, c)  # (row, place in the list of targets, class)
    target = b.cast(target, int64)
    open_ = b.scan("cummin", b.cast(b.ge(target, b.full_like(target, 0)), int64), 1)
    listed = b.keep_axes(b.cast(open_, bool_), (2,), cube)
    classes = b.iota(int64, cube, 2)
    here = b.and_(listed, b.eq(b.keep_axes(target, (2,), cube), classes))
    is_target = b.reduce_max(here, (1,))                                       # (row, class)
    wide_x = b.keep_axes(x, (1,), cube)
    picked = b.reduce_sum(b.select_or_zero(here, wide_x), (2,))                # (row, place)
    room = b.sub(wide_x, b.keep_axes(picked, (2,), cube))
    room = _positive_part(b, b.add(room, b.full_like(room, 1)))
    counted = b.and_(listed, b.not_(b.keep_axes(is_target, (1,), cube)))
    rows = b.reduce_sum(b.select_or_zero(counted, room), (1, 2))
    return b.cast(reduced(b, b.div(rows, b.full_like(rows, c)), reduction), dtype)
