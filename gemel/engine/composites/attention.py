"""Scaled dot-product attention: one node, whose backward pass works from the log-sum-exp of each row."""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..base.dtypes import bool_, compute_type, float32, int64
from ..base.errors import DTypeError, ShapeError
from .base import composite
from .random import unit


def _check(attrs, q, k, v, scale, *more):
    if not q.dtype is k.dtype is v.dtype:
        raise DTypeError(f"Expected query, key, and value to have the same dtype, but got query.dtype: {q.dtype.name} "
                         f"key.dtype: {k.dtype.name} and value.dtype: {v.dtype.name} instead.")
    lead, heads = k.shape[:-2], k.shape[-3:-2]
    fits = q.shape[:-3] == k.shape[:-3] and (q.shape[-3:-2] == heads or (heads and q.shape[-3] % heads[0] == 0))
    if (q.ndim < 3 or k.ndim != q.ndim or not fits or v.shape[:-2] != lead or q.shape[-1] != k.shape[-1]
            or k.shape[-2] != v.shape[-2]):
        raise ShapeError(f"scaled_dot_product_attention: query (..., H, L, E), key (..., H, S, E) and value "
                         f"(..., H, S, Ev) do not fit. Received: {list(q.shape)}, {list(k.shape)} and {list(v.shape)}")


def _grouped(b, x, kv):
    """(.., H, L, n) with H a multiple of the heads of ``kv`` as (.., heads of kv, H / heads * L, n)."""
    shape = x.type.shape
    heads = kv.shape[-3]
    return b.reshape(x, (*shape[:-3], heads, shape[-3] // max(heads, 1) * shape[-2], shape[-1]))


def _product(b, x, y, x_axis, y_axis, dtype):
    """Batched product that sums over one of the last two axes of each."""
    n = x.type.ndim - 2
    batch = tuple(range(n))
    return b.dot(x, y, (n + x_axis,), (n + y_axis,), batch, batch, dtype=dtype)


def _scores(b, q, k, scale, mask, causal):
    """scale q k^T, masked: (.., H, L, S) in the compute type."""
    wide = compute_type(q.type.dtype)
    shape = (*q.type.shape[:-1], k.type.shape[-2])
    s = b.reshape(_product(b, _grouped(b, q, k.type), k, 1, 1, wide), shape)
    s = b.mul(s, b.expand(scale, shape))
    low = b.full(-math.inf, wide, shape)
    if causal:
        row, column = b.iota(int64, shape, len(shape) - 2), b.iota(int64, shape, len(shape) - 1)
        s = b.select(b.le(column, row), s, low)
    if mask is not None:
        spread = b.expand(mask, shape)
        s = b.select(spread, s, low) if mask.type.dtype is bool_ else b.add(s, b.cast(spread, wide))
    return s


def _down(b, x, shape):
    """A value per row (.., L) in the shape of the scores or of the result."""
    return b.expand(b.reshape(x, (*x.type.shape, 1)), shape)


def _dropped(b, x, draw):
    """Weights with some of them dropped and the others scaled up; ``draw``: key, counter, p, scale, or nothing."""
    if not draw:
        return x
    key, counter, p, keep = draw
    shape = x.type.shape
    kept = b.ge(unit(b, key, counter, float32, shape), b.expand(p, shape))
    return b.select_or_zero(kept, b.mul(x, b.expand(keep, shape)))


def _split(attrs, more):
    """Mask and random draw of the optional operands."""
    return (more[0], more[1:]) if attrs else (None, more)


@composite("attention", -1, ("causal", "masked"), n_outputs=2, check=_check)
def attention(b, q, k, v, scale, *more, causal, masked):
    """softmax(scale q k^T + mask) v, and the log-sum-exp of each row (0 where everything is masked: the result is 0)

    Operands after ``scale``: the mask if ``masked`` (bool: attend where true; else added), then key, counter, p and
    1 / (1 - p) of a dropout. More query heads than key heads: each of these serves the same number of neighbours.
    """
    dtype = q.type.dtype
    wide = compute_type(dtype)
    mask, draw = _split(masked, more)
    s = _scores(b, q, k, scale, mask, causal)
    rows = s.type.shape[:-1]
    last = (len(rows),)
    if not s.type.shape[-1]:
        return b.full(0, dtype, (*rows, v.type.shape[-1])), b.full(0, wide, rows)
    top = b.reduce_max(s, last)
    empty = b.eq(top, b.full(-math.inf, wide, rows))
    top = b.select(empty, b.full(0, wide, rows), top)
    e = b.exp(b.sub(s, _down(b, top, s.type.shape)))
    total = b.select(empty, b.full(1, wide, rows), b.reduce_sum(e, last))
    weights = b.cast(_dropped(b, e, draw), dtype)
    shape = (*rows, v.type.shape[-1])
    out = b.reshape(_product(b, _grouped(b, weights, v.type), v, 1, 0, wide), shape)
    return b.cast(b.div(out, _down(b, total, shape)), dtype), b.add(top, b.log(total))


@composite("attention_backward", -1, ("causal", "masked"), n_outputs=3)
def attention_backward(b, g, q, k, v, scale, lse, inner, *more, causal, masked):
    """cotangents of q, k, v: p = exp(s - lse) again; ds = p (g v^T - inner), with inner = sum(g out) of each row"""
    dtype = q.type.dtype
    mask, draw = _split(masked, more)
    shape = (*q.type.shape[:-1], k.type.shape[-2])
    p = b.exp(b.sub(_scores(b, q, k, scale, mask, causal), _down(b, lse, shape)))
    rows = _grouped(b, g, k.type)
    dv = _product(b, _grouped(b, b.cast(_dropped(b, p, draw), dtype), k.type), rows, 0, 0, dtype)
    ds = b.mul(_slopes(b, p, rows, v, inner, draw, shape), b.expand(scale, shape))
    if causal:  # also where a hidden product is infinite
        row, column = b.iota(int64, shape, len(shape) - 2), b.iota(int64, shape, len(shape) - 1)
        ds = b.select_or_zero(b.le(column, row), ds)
    ds = _grouped(b, b.cast(ds, dtype), k.type)
    dq = b.reshape(_product(b, ds, k, 1, 0, dtype), q.type.shape)
    return dq, _product(b, ds, _grouped(b, q, k.type), 0, 0, dtype), dv


def _slopes(b, p, rows, v, inner, draw, shape):
    """The cotangent of the masked scores, from the weights ``p`` and the result's cotangent ``rows`` (grouped)."""
    dp = _dropped(b, b.reshape(_product(b, rows, v, 1, 1, p.type.dtype), shape), draw)
    return b.mul(p, b.sub(dp, _down(b, inner, shape)))


@vjp("attention", every=True, outputs=True)
def _attention(b, g, s):
    """The log-sum-exp has a cotangent in second derivatives: d lse / d s = p."""
    q, k, v, scale, *more = s.inputs
    out, lse = s.outputs
    wide = lse.type.dtype
    g, of_lse = g
    if g is None and of_lse is None:
        return (None,) * len(s.types)
    if g is None:
        g = b.full_like(out, 0)
    inner = b.reduce_sum(b.mul(b.cast(g, wide), b.cast(out, wide)), (out.type.ndim - 1,))
    if of_lse is not None:
        inner = b.sub(inner, of_lse)
    a = s.attrs
    dq, dk, dv = b.call("attention_backward", g, q, k, v, scale, lse, inner, *more, causal=a.causal, masked=a.masked)
    rest = [None] * len(more)
    mask, draw = _split(a.masked, more)
    if mask is not None and mask.type.dtype is not bool_:
        scores = _scores(b, q, k, scale, mask, a.causal)
        shape = scores.type.shape
        p = b.exp(b.sub(scores, _down(b, lse, shape)))
        ds = _slopes(b, p, _grouped(b, g, k.type), v, inner, draw, shape)
        rest[0] = b.cast(b.sum_to(ds, mask.type.shape), mask.type.dtype)
    return dq, dk, dv, None, *rest
