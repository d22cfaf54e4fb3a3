"""Distances and similarities of vectors."""
from __future__ import annotations

from typing import Any

from ...engine.base.errors import ShapeError
from ...tensor.recording import apply_named
from .common import axis_of, broadcast, check_floating, number, reshape, type_of

__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]


def norm_kind(p: float) -> str:
    """Which formula computes the p-norm."""
    return {0.0: "0", 1.0: "1", 2.0: "2", float("inf"): "inf"}.get(float(p), "p")


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """``x1 . x2 / (max(|x1|, eps) * max(|x2|, eps))`` along ``dim``; the inputs broadcast.

    torch: ``cosine_similarity``.
    """
    check_floating("cosine_similarity", x1, "x1")
    check_floating("cosine_similarity", x2, "x2")
    x1, x2 = broadcast(x1, x2)
    return apply_named("cosine_similarity", x1, x2, number(x1, eps), attrs=(axis_of("cosine_similarity", x1, dim),))


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of ``x1 - x2 + eps`` along the last axis; the inputs broadcast.

    torch: ``pairwise_distance``.
    """
    check_floating("pairwise_distance", x1, "x1")
    check_floating("pairwise_distance", x2, "x2")
    x1, x2 = broadcast(x1, x2)
    out = apply_named("pairwise_distance", x1, x2, number(x1, p), number(x1, eps), attrs=(norm_kind(p),))
    return reshape(out, (*type_of(out).shape, 1)) if keepdim else out


def pdist(input: Any, p: float = 2.0) -> Any:
    """p-norms of the differences of all pairs of rows: the upper triangle of the distance matrix, row by row.

    Args:
        input: (N, M). The result has N (N - 1) / 2 elements.

    torch: ``pdist``.
    """
    check_floating("pdist", input)
    if type_of(input).ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {type_of(input).ndim}D")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values. Received: p={p}")
    return apply_named("pdist", input, number(input, p), attrs=(norm_kind(p),))
