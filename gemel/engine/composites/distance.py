"""Distances and similarities of vectors, and the losses made of them."""
from __future__ import annotations

from ..base.dtypes import compute_type
from .base import composite
from .losses import reduced
from .normalization import vector_norm


def _wide(b, *xs):
    return [b.cast(x, compute_type(x.type.dtype)) for x in xs]


def _positive_part(b, x):
    zero = b.full_like(x, 0)
    return b.select(b.ge(x, zero), x, zero)


def _cosine(b, x, y, axis, eps):
    """x . y / (max(|x|, eps) max(|y|, eps))"""
    axes = (axis,)
    inner = b.reduce_sum(b.mul(x, y), axes)
    limit = b.expand(eps, inner.type.shape)
    sizes = [b.sqrt(b.reduce_sum(b.mul(v, v), axes)) for v in (x, y)]
    left, right = (b.select(b.gt(n, limit), n, limit) for n in sizes)
    return b.div(inner, b.mul(left, right))


@composite("cosine_similarity", 3, ("axis",))
def cosine_similarity(b, x, y, eps, *, axis):
    """x . y / (max(|x|, eps) max(|y|, eps)) along an axis"""
    dtype = x.type.dtype
    x, y = _wide(b, x, y)
    return b.cast(_cosine(b, x, y, axis, eps), dtype)


def _distance(b, x, y, p, eps, kind):
    """p-norm of x - y + eps along the last axis."""
    d = b.add(b.sub(x, y), b.expand(eps, x.type.shape))
    return vector_norm(b, d, p, d.type.ndim - 1, kind)


@composite("pairwise_distance", 4, ("kind",))
def pairwise_distance(b, x, y, p, eps, *, kind):
    """p-norm of x - y + eps along the last axis"""
    dtype = x.type.dtype
    x, y = _wide(b, x, y)
    return b.cast(_distance(b, x, y, p, eps, kind), dtype)


@composite("pdist", 2, ("kind",))
def pdist(b, x, p, *, kind):
    """p-norms of the differences of all pairs of rows, in the order (0, 1), (0, 2), ..., (1, 2), ..."""
    import numpy as np

    from ..base.dtypes import int64
    dtype = x.type.dtype
    (x,) = _wide(b, x)
    rows, columns = np.triu_indices(x.type.shape[0], 1)
    d = b.sub(b.take(x, b.const(rows, int64), 0), b.take(x, b.const(columns, int64), 0))
    return b.cast(vector_norm(b, d, p, 1, kind), dtype)


@composite("cosine_embedding_loss", 4, ("reduction",))
def cosine_embedding_loss(b, x, y, target, margin, *, reduction):
    """1 - cos(x, y) where the target is 1, max(0, cos(x, y) - margin) where it is -1"""
    dtype = x.type.dtype
    wide = compute_type(dtype)
    x, y = _wide(b, x, y)
    axis = x.type.ndim - 1
    inner = b.reduce_sum(b.mul(x, y), (axis,))
    squares = [b.reduce_sum(b.mul(v, v), (axis,)) for v in (x, y)]
    squares = [b.add(v, b.full_like(v, 1e-12)) for v in squares]     # torch's epsilon
    cos = b.div(inner, b.sqrt(b.mul(*squares)))
    t = b.cast(target, wide)
    one, zero = b.full_like(cos, 1), b.full_like(cos, 0)
    near = b.select(b.eq(t, one), b.sub(one, cos), zero)
    far = b.select(b.eq(t, b.neg(one)), _positive_part(b, b.sub(cos, b.expand(margin, cos.type.shape))), zero)
    return b.cast(reduced(b, b.add(near, far), reduction), dtype)


@composite("triplet_margin_loss", 6, ("swap", "kind", "reduction"))
def triplet_margin_loss(b, anchor, positive, negative, margin, p, eps, *, swap, kind, reduction):
    """max(0, d(a, p) - d(a, n) + margin); with ``swap`` the smaller of d(a, n) and d(p, n) (Balntas et al., 2016)"""
    dtype = anchor.type.dtype
    a, y, n = _wide(b, anchor, positive, negative)
    near, far = _distance(b, a, y, p, eps, kind), _distance(b, a, n, p, eps, kind)
    if swap:
        far = b.min(far, _distance(b, y, n, p, eps, kind))
    room = b.add(b.sub(near, far), b.expand(margin, near.type.shape))
    return b.cast(reduced(b, _positive_part(b, room), reduction), dtype)
