"""Rows of a table by index, with the gradients that embedding layers can ask for."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from .base import composite


@composite("embedding", 2, ("padding", "by_frequency", "bounds"))
def embedding(b, table, index, *, padding, by_frequency, bounds):
    """table[index]; row ``padding`` gets no gradient, with ``by_frequency`` a row's is divided by its uses"""
    return b.call("index", table, index, axes=(0,), bounds=bounds)


@vjp("embedding", inputs=(1,))
def _embedding(b, g, s):
    (index,), t = s.inputs, s.types[0]
    rows = index.type.size
    at = b.reshape(index, (rows,))
    g = b.reshape(g, (rows, *t.shape[1:]))

    def down(x):
        return b.expand(b.reshape(x, (rows, *(1,) * (len(g.type.shape) - 1))), g.type.shape)

    if s.attrs.by_frequency:
        ones = b.full(1, t.dtype, (rows,))
        uses = b.scatter(b.full(0, t.dtype, t.shape[:1]), at, ones, 0, "add")
        g = b.div(g, down(b.take(uses, at, 0)))
    if s.attrs.padding is not None:
        used = b.ne(at, b.full(s.attrs.padding, at.type.dtype, (rows,)))
        g = b.select_or_zero(down(used), g)
    return b.scatter(b.zeros(t), at, g, 0, "add"), None
