"""The affine map of a layer."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from ..base.errors import DTypeError, ShapeError
from .base import composite


def _check(attrs, x, w, *bias):
    if x.ndim == 0 or w.ndim not in (1, 2) or x.shape[-1] != w.shape[-1]:
        m = x.size // x.shape[-1] if x.ndim and x.shape[-1] else 0
        wide = (f"{w.shape[-1]}x{w.shape[0]}" if w.ndim == 2 else str(list(w.shape)))
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{x.shape[-1] if x.ndim else 0} and {wide}): "
                         f"the last axis of the input must have the layer's in_features. "
                         f"Received: input {list(x.shape)}, weight {list(w.shape)}")
    if x.dtype is not w.dtype or any(t.dtype is not w.dtype for t in bias):
        raise DTypeError(f"mat1 and mat2 must have the same dtype, but got {x.dtype.name} and {w.dtype.name}")
    if bias and bias[0].shape != w.shape[:-1]:
        raise ShapeError(f"linear: the bias must have shape {list(w.shape[:-1])}. Received: {list(bias[0].shape)}")


@composite("linear", -1, check=_check)
def linear(b, x, w, *bias):
    """x @ w^T (+ bias): x (..., in), w (out, in) or (in,), bias (out,)"""
    y = b.dot(x, w, (x.type.ndim - 1,), (w.type.ndim - 1,))
    return b.add(y, b.expand(bias[0], y.type.shape)) if bias else y


@vjp("linear", inputs=(0, 1), crossed=(0, 1))
def _linear(b, g, s):
    x, w = s.inputs
    lead = tuple(range(x.type.ndim - 1))
    if w.type.ndim == 2:
        dx = b.dot(g, w, (g.type.ndim - 1,), (0,))
        dw = b.dot(g, x, lead, lead)
    else:
        dx = b.mul(b.expand(b.reshape(g, (*g.type.shape, 1)), x.type.shape), b.expand(w, x.type.shape))
        dw = b.dot(g, x, lead, lead)
    return (dx, dw, b.reduce_sum(g, lead)) if len(s.types) == 3 else (dx, dw)


@composite("bilinear", -1)
def bilinear(b, x, y, w, *bias):
    """sum over i, j of x[.., i] w[o, i, j] y[.., j], plus bias"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    by_first = b.dot(x, w, (x.type.ndim - 1,), (1,), dtype=wide)  # (..., out, in2)
    shape = by_first.type.shape
    spread = b.reshape(b.cast(y, wide), (*y.type.shape[:-1], 1, y.type.shape[-1]))
    out = b.reduce_sum(b.mul(by_first, b.expand(spread, shape)), (len(shape) - 1,))
    if bias:
        out = b.add(out, b.expand(b.cast(bias[0], wide), out.type.shape))
    return b.cast(out, dtype)
