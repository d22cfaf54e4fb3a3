"""Dropout: a mask from the Philox stream of (key, counter), saved as one byte per element for the backward pass."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from .activations import uniform
from .base import composite


@composite("dropout", 5, ("mask_shape",), n_outputs=2)
def dropout(b, x, key, counter, p, scale, *, mask_shape):
    """x * scale where a uniform number is at least p, else 0; and where that is (Srivastava et al., 2014)

    ``mask_shape`` broadcasts to the shape of x: size 1 where whole channels are dropped.
    """
    dtype, shape = x.type.dtype, x.type.shape
    wide = compute_type(dtype)
    u = b.cast(uniform(b, key, counter, mask_shape), p.type.dtype)
    kept = b.ge(u, b.expand(p, mask_shape))
    scaled = b.mul(b.cast(x, wide), b.expand(scale, shape))
    return b.cast(b.select_or_zero(b.expand(kept, shape), scaled), dtype), kept


@vjp("dropout", inputs=(4,), outputs=(1,))
def _dropout(b, g, s):
    (scale,), kept = s.inputs, s.output
    dtype, shape = g[0].type.dtype, g[0].type.shape
    scaled = b.mul(b.cast(g[0], compute_type(dtype)), b.expand(scale, shape))
    return b.cast(b.select_or_zero(b.expand(kept, shape), scaled), dtype), None, None, None, None


@composite("alpha_dropout", 7, ("mask_shape",), n_outputs=2)
def alpha_dropout(b, x, key, counter, p, scale, shift, dropped, *, mask_shape):
    """x * scale + shift where kept, else the constant ``dropped`` (Klambauer et al., 2017); and where it was kept"""
    dtype, shape = x.type.dtype, x.type.shape
    u = b.cast(uniform(b, key, counter, mask_shape), p.type.dtype)
    kept = b.ge(u, b.expand(p, mask_shape))
    scaled = b.add(b.mul(b.cast(x, compute_type(dtype)), b.expand(scale, shape)), b.expand(shift, shape))
    return b.cast(b.select(b.expand(kept, shape), scaled, b.expand(dropped, shape)), dtype), kept


@vjp("alpha_dropout", inputs=(4,), outputs=(1,))
def _alpha_dropout(b, g, s):
    return (*_dropout(b, g, s), None, None)
