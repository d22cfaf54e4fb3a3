"""Incomplete gamma functions."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from ..interpreter import gamma as _host  # noqa: F401  (registers the operation)
from .base import composite


def _register(name: str, upper: bool, doc: str) -> None:
    def body(b, a, x):
        wide = compute_type(x.type.dtype)
        operands = b.cast(a, wide), b.cast(x, wide)
        return b.cast(b._("custom", *operands, attrs=("gemel::igamma", (upper,)))[0], x.type.dtype)
    body.__doc__ = doc
    composite(name, 2)(body)

    @vjp(name, inputs=(0, 1))
    def _derivative(b, g, s):
        """By x: x^(a - 1) e^-x / Gamma(a), or its opposite; by a it is not elementary (the call refuses it)."""
        a, x = s.inputs
        one = b.full_like(x, 1)
        slope = b.exp(b.sub(b.sub(b.mul(b.sub(a, one), b.log(x)), x), b.unary("lgamma", a)))
        return None, b.mul(g, b.neg(slope) if upper else slope)


_register("igamma", False, "P(a, x): the part of the gamma function's integral up to x")
_register("igammac", True, "Q(a, x) = 1 - P(a, x)")
