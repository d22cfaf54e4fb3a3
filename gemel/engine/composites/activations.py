"""Activation functions.

Most are rows of one shape: an elementwise formula, its derivative, and hyper-parameters that are runtime scalars
(a new slope does not recompile). 16-bit input is computed in f32 and rounded once, as torch does.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, float32, int64, uint32
from ..base.errors import DTypeError, ShapeError
from .base import composite

#: torch's constants of selu (Klambauer et al., 2017)
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _check_scalars(attrs, x, *scalars):
    for s in scalars:
        if s.shape != () or s.dtype is not compute_type(x.dtype):
            raise DTypeError(f"a hyper-parameter for {x} must be a {compute_type(x.dtype).name} scalar, not {s}")


def pointwise(name: str, doc: str, value: Callable[..., Any], gradient: Callable[..., Any], scalars: int = 0) -> None:
    """Register an elementwise composite of ``x`` and ``scalars`` 0-d hyper-parameters.

    Args:
        name: of the composite. doc: its formula.
        value: ``(b, x, *scalars)``, all of x's shape in the compute type. gradient: ``(b, g, x, *scalars)``.
    """
    def body(b, x, *s):
        dtype = x.type.dtype
        wide = b.cast(x, compute_type(dtype))
        return b.cast(value(b, wide, *(b.expand(v, x.type.shape) for v in s)), dtype)

    def rule(b, g, s):
        x, *numbers = s.inputs
        dtype = x.type.dtype
        wide = compute_type(dtype)
        dx = gradient(b, b.cast(g, wide), b.cast(x, wide), *(b.expand(v, x.type.shape) for v in numbers))
        return (b.cast(dx, dtype), *(None for _ in numbers))

    body.__doc__ = doc
    composite(name, 1 + scalars, check=_check_scalars)(body)
    vjp(name, inputs=tuple(range(1 + scalars)))(rule)


# --- small words for the table

def _one(b, x):
    return b.full_like(x, 1)


def _where_positive(b, x, yes, no):
    return b.select(b.gt(x, b.full_like(x, 0)), yes, no)


def _clamp(b, x, low, high):
    return b.min(b.max(x, low), high)


def _clamp06(b, x):
    """min(max(x + 3, 0), 6)"""
    return _clamp(b, b.add(x, b.full_like(x, 3)), b.full_like(x, 0), b.full_like(x, 6))


def _third(b, x):
    return b.div(x, b.full_like(x, 3))


def _inside(b, x, low, high):
    """Is x strictly between the limits? NaN counts as inside, as in torch."""
    return b.not_(b.or_(b.le(x, low), b.ge(x, high)))


def _small(b, x, bound):
    """-bound <= x <= bound"""
    return b.and_(b.ge(x, b.neg(bound)), b.le(x, bound))


def _softplus_tanh(b, x):
    return b.tanh(b.log1p(b.exp(x)))


def _tail(b, x):
    """e^-|x| / (1 + e^-|x|)"""
    z = b.exp(b.neg(b.abs(x)))
    return b.div(z, b.add(_one(b, x), z))


@composite("relu", 1)
def relu(b, x):
    """max(x, 0); NaN stays."""
    return b.max(x, b.full_like(x, 0))


@vjp("relu", outputs=True)
def _relu(b, g, s):
    zero = b.full_like(g, 0)
    return (b.select(b.le(s.output, zero), zero, g),)


# --- the table

pointwise(
    "silu", "x * sigmoid(x)",
    lambda b, x: b.mul(x, b.sigmoid(x)),
    lambda b, g, x: _silu_gradient(b, g, x))
pointwise(
    "elu", "x if x > 0 else alpha * (e^x - 1) (Clevert et al., 2016)",
    lambda b, x, alpha: _where_positive(b, x, x, b.mul(alpha, b.expm1(x))),
    lambda b, g, x, alpha: _where_positive(b, x, g, b.mul(g, b.mul(alpha, b.exp(x)))), 1)
pointwise(
    "celu", "x if x > 0 else alpha * (e^(x / alpha) - 1) (Barron, 2017)",
    lambda b, x, alpha: _where_positive(b, x, x, b.mul(alpha, b.expm1(b.div(x, alpha)))),
    lambda b, g, x, alpha: _where_positive(b, x, g, b.mul(g, b.exp(b.div(x, alpha)))), 1)
pointwise(
    "selu", "scale * (x if x > 0 else alpha * (e^x - 1)) (Klambauer et al., 2017)",
    lambda b, x: b.scale(_where_positive(b, x, x, b.scale(b.expm1(x), SELU_ALPHA)), SELU_SCALE),
    lambda b, g, x: b.mul(b.scale(g, SELU_SCALE), _where_positive(b, x, _one(b, x), b.scale(b.exp(x), SELU_ALPHA))))
pointwise(
    "leaky_relu", "x if x > 0 else slope * x (Maas et al., 2013)",
    lambda b, x, slope: _where_positive(b, x, x, b.mul(x, slope)),
    lambda b, g, x, slope: _where_positive(b, x, g, b.mul(g, slope)), 1)
pointwise(
    "threshold", "value where x <= threshold, else x",
    lambda b, x, limit, value: b.select(b.le(x, limit), value, x),
    lambda b, g, x, limit, value: b.select(b.le(x, limit), b.full_like(g, 0), g), 2)
pointwise(
    "hardtanh", "min(max(x, low), high)",
    _clamp,
    lambda b, g, x, low, high: b.select_or_zero(_inside(b, x, low, high), g), 2)
pointwise(
    "hardsigmoid", "min(max(x + 3, 0), 6) / 6",
    lambda b, x: b.div(_clamp06(b, x), b.full_like(x, 6)),
    lambda b, g, x: b.select_or_zero(_inside(b, x, b.full_like(x, -3), b.full_like(x, 3)),
                                     b.div(g, b.full_like(g, 6))))
pointwise(
    "hardswish", "x * min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)",
    lambda b, x: b.div(b.mul(x, _clamp06(b, x)), b.full_like(x, 6)),
    lambda b, g, x: b.select(
        b.le(x, b.full_like(x, -3)), b.full_like(g, 0),
        b.select(b.lt(x, b.full_like(x, 3)), b.mul(g, b.add(_third(b, x), b.full_like(x, 0.5))), g)))
pointwise(
    "softplus", "log(1 + e^(beta x)) / beta; x itself where beta x > threshold",
    lambda b, x, beta, limit: b.select(b.gt(b.mul(x, beta), limit), x,
                                       b.div(b.log1p(b.exp(b.mul(x, beta))), beta)),
    lambda b, g, x, beta, limit: b.select(b.gt(b.mul(x, beta), limit), g,
                                          b.mul(g, b.sigmoid(b.mul(x, beta)))), 2)
pointwise(
    "softsign", "x / (1 + |x|)",
    lambda b, x: b.div(x, b.add(_one(b, x), b.abs(x))),
    lambda b, g, x: _over_square(b, g, b.add(_one(b, x), b.abs(x))))
pointwise(
    "mish", "x * tanh(log(1 + e^x)) (Misra, 2019)",
    lambda b, x: b.mul(x, _softplus_tanh(b, x)),
    lambda b, g, x: _mish_gradient(b, g, x))
pointwise(
    "logsigmoid", "log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|)",
    lambda b, x: b.sub(b.min(x, b.full_like(x, 0)), b.log1p(b.exp(b.neg(b.abs(x))))),
    lambda b, g, x: b.mul(g, b.select(b.lt(x, b.full_like(x, 0)), b.sub(_one(b, x), _tail(b, x)), _tail(b, x))))
pointwise(
    "tanhshrink", "x - tanh(x)",
    lambda b, x: b.sub(x, b.tanh(x)),
    lambda b, g, x: b.mul(g, _square(b, b.tanh(x))))
pointwise(
    "softshrink", "x - bound above bound, x + bound below -bound, 0 between",
    lambda b, x, bound: b.select(b.gt(x, bound), b.sub(x, bound),
                                 b.select(b.lt(x, b.neg(bound)), b.add(x, bound), b.scale(x, 0.0))),
    lambda b, g, x, bound: b.select(_small(b, x, bound), b.full_like(g, 0), g), 1)
pointwise(
    "hardshrink", "0 where -bound <= x <= bound, else x",
    lambda b, x, bound: b.select(_small(b, x, bound), b.full_like(x, 0), x),
    lambda b, g, x, bound: b.select(_small(b, x, bound), b.full_like(g, 0), g), 1)


def _square(b, x):
    return b.mul(x, x)


def _over_square(b, g, d):
    return b.div(b.div(g, d), d)


def _silu_gradient(b, g, x):
    y = b.sigmoid(x)
    one = _one(b, x)
    return b.mul(g, b.mul(y, b.add(one, b.mul(x, b.sub(one, y)))))


def _mish_gradient(b, g, x):
    t = _softplus_tanh(b, x)
    return b.mul(g, b.add(t, b.mul(b.mul(x, b.sigmoid(x)), b.sub(_one(b, x), b.mul(t, t)))))


# --- gelu: an attribute chooses the formula

@composite("gelu", 1, ("approximate",))
def gelu(b, x, *, approximate):
    """x * Phi(x), by erf or by torch's tanh approximation (Hendrycks and Gimpel, 2016)."""
    dtype = x.type.dtype
    x = b.cast(x, compute_type(dtype))
    inner = b.tanh(_gelu_inner(b, x)) if approximate == "tanh" else b.erf(b.scale(x, math.sqrt(0.5)))
    return b.cast(b.mul(b.scale(x, 0.5), b.add(_one(b, x), inner)), dtype)


def _gelu_inner(b, x):
    """sqrt(2/pi) * (x + 0.044715 x^3)"""
    cube = b.mul(b.mul(x, x), x)
    return b.scale(b.add(x, b.scale(cube, 0.044715)), math.sqrt(2 / math.pi))


@vjp("gelu", inputs=(0,))
def _gelu(b, g, s):
    (x,) = s.inputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    g, x = b.cast(g, wide), b.cast(x, wide)
    slope = _gelu_slope_tanh(b, x) if s.attrs.approximate == "tanh" else _gelu_slope(b, x)
    return (b.cast(b.mul(g, slope), dtype),)


def _gelu_slope(b, x):
    """Phi(x) + x phi(x)"""
    cdf = b.scale(b.add(_one(b, x), b.erf(b.scale(x, math.sqrt(0.5)))), 0.5)
    pdf = b.scale(b.exp(b.scale(b.mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return b.add(cdf, b.mul(x, pdf))


def _gelu_slope_tanh(b, x):
    one, t = _one(b, x), b.tanh(_gelu_inner(b, x))
    slope = b.scale(b.add(one, b.scale(b.mul(x, x), 3 * 0.044715)), math.sqrt(2 / math.pi))
    left = b.scale(b.add(one, t), 0.5)
    right = b.mul(b.mul(b.scale(x, 0.5), b.sub(one, b.mul(t, t))), slope)
    return b.add(left, right)


# --- with a weight per channel, or two halves

def _check_prelu(attrs, x, w):
    channels = 1 if x.ndim == 0 else x.shape[1] if x.ndim > 1 else 1
    if w.dtype is not x.dtype:
        raise DTypeError(f"prelu: Type promoting not supported. Got {x.dtype.name} and {w.dtype.name}")
    if w.ndim > 1 or (w.size != 1 and w.size != channels):
        raise ShapeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {w.size} "
                         f"and channel size = {channels}. Received: input {list(x.shape)}, weight {list(w.shape)}")


def _channels(b, w, x_type):
    """The weight with one value per channel (axis 1), or one value, spread over x."""
    if w.type.size == 1:
        return b.expand(b.reshape(w, ()), x_type.shape)
    return b.expand(b.reshape(w, (w.type.size, *(1 for _ in x_type.shape[2:]))), x_type.shape)


@composite("prelu", 2, check=_check_prelu)
def prelu(b, x, w):
    """x if x > 0 else weight * x, one weight or one per channel (He et al., 2015)"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    x, w = b.cast(x, wide), b.cast(w, wide)
    return b.cast(_where_positive(b, x, x, b.mul(x, _channels(b, w, x.type))), dtype)


@vjp("prelu", inputs=(0, 1))
def _prelu(b, g, s):
    x, w = s.inputs
    dtype = x.type.dtype
    wide = compute_type(dtype)
    g, x, v = b.cast(g, wide), b.cast(x, wide), b.cast(w, wide)
    dx = _where_positive(b, x, g, b.mul(g, _channels(b, v, x.type)))
    by_weight = _where_positive(b, x, b.full_like(x, 0), b.mul(g, x))
    axes = tuple(i for i in range(x.type.ndim) if i != 1 or w.type.size == 1)
    dw = b.reshape(b.reduce_sum(by_weight, axes), w.type.shape)
    return b.cast(dx, dtype), b.cast(dw, dtype)


def _check_glu(attrs, x):
    if x.ndim == 0:
        raise ShapeError("glu does not support 0-dimensional tensors")
    if x.shape[attrs.axis] % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {attrs.axis} is size {x.shape[attrs.axis]}. "
                         f"Received: input {list(x.shape)}")


def _halves(b, x, axis):
    half = x.type.shape[axis] // 2
    shape, zeros = x.type.shape, (0,) * x.type.ndim
    middle = tuple(half if i == axis else n for i, n in enumerate(shape))
    start = tuple(half if i == axis else 0 for i in range(len(shape)))
    return b.slice(x, zeros, middle), b.slice(x, start, shape)


@composite("glu", 1, ("axis",), check=_check_glu)
def glu(b, x, *, axis):
    """first half * sigmoid(second half) (Dauphin et al., 2017)"""
    dtype = x.type.dtype
    left, right = _halves(b, b.cast(x, compute_type(dtype)), axis)
    return b.cast(b.mul(left, b.sigmoid(right)), dtype)


@vjp("glu", inputs=(0,))
def _glu(b, g, s):
    (x,), axis = s.inputs, s.attrs.axis
    dtype = x.type.dtype
    wide = compute_type(dtype)
    g = b.cast(g, wide)
    left, right = _halves(b, b.cast(x, wide), axis)
    gate = b.sigmoid(right)
    by_gate = b.mul(b.mul(g, left), b.mul(gate, b.sub(_one(b, gate), gate)))
    return (b.cat([b.cast(b.mul(g, gate), dtype), b.cast(by_gate, dtype)], axis),)


# --- with random numbers

def uniform(b, key, counter, shape):
    """f32 uniform on [0, 1) with 24 bits, from the Philox stream (key, counter)."""
    bits = b.random_bits(key, counter, uint32, shape)
    return b.scale(b.cast(b.shr(bits, b.full_like(bits, 8)), float32), 2.0**-24)


@composite("rrelu", 5, n_outputs=2)
def rrelu(b, x, key, counter, lower, upper):
    """x if x > 0 else slope * x with slope uniform on [lower, upper) (Xu et al., 2015); and the slopes"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    v = b.cast(x, wide)
    u = b.cast(uniform(b, key, counter, x.type.shape), wide)
    drawn = b.add(b.expand(lower, x.type.shape), b.mul(u, b.expand(b.sub(upper, lower), x.type.shape)))
    slope = b.select(b.le(v, b.full_like(v, 0)), drawn, _one(b, v))
    return b.cast(b.mul(v, slope), dtype), b.cast(slope, dtype)


@vjp("rrelu", outputs=(1,))
def _rrelu(b, g, s):
    return b.mul(g[0], s.output), None, None, None, None


@composite("gumbel_noise", 4)
def gumbel_noise(b, x, key, counter, tau):
    """(x - log(e)) / tau with e exponentially distributed (so that -log(e) is Gumbel noise)"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    u = b.cast(uniform(b, key, counter, x.type.shape), wide)
    half_step = b.full_like(u, 2.0**-25)  # keeps u inside (0, 1), where both logarithms are finite
    noise = b.neg(b.log(b.neg(b.log(b.add(u, half_step)))))
    return b.cast(b.div(b.add(b.cast(x, wide), noise), b.expand(tau, x.type.shape)), dtype)


@vjp("gumbel_noise", inputs=(3,))
def _gumbel_noise(b, g, s):
    return b.call("div_scalar", g, s.inputs[0]), None, None, None


@composite("straight_through_one_hot", 1, ("axis",))
def straight_through_one_hot(b, x, *, axis):
    """1 at the largest element along the axis, 0 elsewhere; its derivative is taken to be the identity"""
    winner = b.keep_axes(b.argmax(x, axis), (axis,), x.type.shape)
    return b.cast(b.eq(b.iota(int64, x.type.shape, axis), winner), x.type.dtype)


@vjp("straight_through_one_hot")
def _straight_through(b, g, s):
    return (g,)
