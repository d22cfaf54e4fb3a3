"""Calls of public functions that record the composites without a sample in ``composite_samples``.

A call is smooth where it is made: no ties, no kinks, no argument at a limit.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gemel
import gemel.nn.functional as F
from gemel.tensor.recording import apply_named
from tests.null.primitive_samples import apart, between, normal, other

Array = np.ndarray


@dataclass(frozen=True)
class Call:
    """``function(*tensors)`` on float64 arrays."""

    name: str
    function: Callable[..., Any]
    arrays: tuple[Array, ...]


CALLS: list[Call] = []


def call(name: str, function: Callable[..., Any], *arrays: Array) -> None:
    CALLS.append(Call(name, function, arrays))


def spd(n: int = 3) -> Array:
    a = normal(n, n)
    return a @ a.T + n * np.eye(n)


X, Y = normal(3, 4), other(3, 4)
IMAGE, LINE = apart(2, 4, 6, 6) / 20, normal(2, 4, 7)

# --- pointwise
for _name, _f, _arrays in (
        ("i0e", gemel.special.i0e, (X,)), ("i0", gemel.special.i0, (X,)), ("i1e", gemel.special.i1e, (X,)),
        ("i1", gemel.special.i1, (X,)), ("xlogy", gemel.xlogy, (X, between(0.2, 2, 3, 4))),
        ("xlog1py", gemel.special.xlog1py, (X, between(-0.5, 2, 3, 4))),
        ("entr", gemel.special.entr, (between(0.2, 2, 5),)),
        ("hypot", gemel.hypot, (X, Y)), ("sinc", gemel.sinc, (X,)), ("erfc", gemel.erfc, (X,)),
        ("erfcx", gemel.special.erfcx, (X,)), ("ndtr", gemel.special.ndtr, (X,)),
        ("log_ndtr", gemel.special.log_ndtr, (X,)), ("ndtri", gemel.special.ndtri, (between(0.05, 0.95, 5),)),
        ("polygamma", lambda x: gemel.polygamma(2, x), (between(0.5, 3, 5),)),
        ("trigamma", lambda x: apply_named("trigamma", x), (between(0.5, 3, 5),)),
        ("zeta", lambda q: gemel.special.zeta(gemel.tensor(3.0, dtype=gemel.float64), q), (between(0.5, 3, 5),)),
        ("logcumsumexp", lambda x: x.logcumsumexp(1), (X,)),
        ("nan_to_num", gemel.nan_to_num, (X,)), ("copysign", gemel.copysign, (apart(3, 4), Y)),
        ("clamp", gemel.clamp, (apart(3, 4), np.full((3, 4), -1.0), np.full((3, 4), 1.5))),
        ("clamp_min", lambda x, low: gemel.clamp(x, min=low), (apart(3, 4), Y)),
        ("clamp_max", lambda x, high: gemel.clamp(x, max=high), (apart(3, 4), Y))):
    call(_name, _f, *_arrays)
call("frexp", lambda x: gemel.frexp(x)[0], apart(3, 4))
call("heaviside", lambda x, at: gemel.heaviside(x, at.detach()) * x, apart(3, 4), Y)
call("integer_pow", lambda x: x * (gemel.tensor([2, 3, 1, 2]) ** gemel.tensor([1, 2, 3, 0])), X)

# --- losses
for _r in ("none", "sum", "mean"):
    call("kl_div", lambda x, y, r=_r: F.kl_div(x, y, reduction=r), X, between(0.2, 1, 3, 4))
    call("gaussian_nll_loss", lambda x, y, v, r=_r: F.gaussian_nll_loss(x, y, v, reduction=r), X, Y,
         between(0.5, 2, 3, 4))
call("kl_div", lambda x, y: F.kl_div(x, y, log_target=True, reduction="sum"), X, Y)
call("bce_with_logits_weighted", lambda x, y, w: F.binary_cross_entropy_with_logits(x, y, pos_weight=w.detach()), X,
     between(0.1, 0.9, 3, 4), between(0.5, 2, 4))
call("poisson_nll_loss", lambda x, y: F.poisson_nll_loss(x, y), X, between(0.5, 2, 3, 4))
call("hinge_embedding_loss", lambda x, y: F.hinge_embedding_loss(x, y.detach().sign(), 5.0), X, Y)
call("margin_ranking_loss", lambda x, y: F.margin_ranking_loss(x, y, x.detach().sign(), 3.0), X, Y)
call("multi_margin_loss", lambda x: F.multi_margin_loss(x, gemel.tensor([1, 0, 3]), p=2), X)
call("multilabel_margin_loss", lambda x: F.multilabel_margin_loss(x, gemel.tensor([[1, 0, -1, 0]] * 3)), X)
call("cosine_similarity", lambda x, y: F.cosine_similarity(x, y, 1), X, Y)
call("pairwise_distance", lambda x, y: F.pairwise_distance(x, y), X, Y)
call("pdist", lambda x: F.pdist(x), X)
call("cosine_embedding_loss", lambda x, y: F.cosine_embedding_loss(x, y, gemel.tensor([1, -1, 1]), 0.1), X, Y)
call("triplet_margin_loss", lambda x, y, z: F.triplet_margin_loss(x, y, z, margin=5.0), X, Y, apart(3, 4))

# --- normalization and layers
W, B = normal(4), other(4)
call("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), LINE, W, B)
call("batch_norm", lambda x, w, b: F.batch_norm(x, gemel.zeros(4, dtype=gemel.float64), gemel.ones(
    4, dtype=gemel.float64), w, b, training=True), LINE, W, B)
call("batch_norm_plain", lambda x: F.batch_norm(x, None, None, training=True), LINE)
call("batch_norm_eval", lambda x, w, b: F.batch_norm(x, gemel.zeros(4, dtype=gemel.float64), gemel.ones(
    4, dtype=gemel.float64), w, b), LINE, W, B)
call("local_response_norm", lambda x: F.local_response_norm(x, 3), IMAGE)
call("normalize", lambda x: F.normalize(x, dim=1), X)
call("normalize", lambda x: F.normalize(x, p=3.0, dim=0), X)
call("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v), normal(1, 2, 3, 4), other(1, 2, 5, 4),
     normal(1, 2, 5, 2))
call("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), normal(1, 2, 3, 4),
     other(1, 2, 3, 4), normal(1, 2, 3, 2))
call("attention_backward", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), normal(1, 2, 3, 4),
     other(1, 2, 3, 4), normal(1, 2, 3, 2))
call("attention", lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), normal(1, 2, 3, 4),
     other(1, 2, 5, 4), normal(1, 2, 5, 2), normal(3, 5))
call("embedding", lambda t: F.embedding(gemel.tensor([[0, 2], [2, 4]]), t), normal(5, 3))
call("bilinear", lambda x, y, w, b: F.bilinear(x, y, w, b), normal(2, 3), other(2, 4), normal(5, 3, 4), normal(5))
call("einsum", lambda x, y: gemel.einsum("ij,kj->ik", x, y), X, Y)
call("lstm_gates", lambda x, h, c: apply_named("lstm_gates", x, h, c)[0], normal(3, 16), other(3, 16), X)
call("gru_gates", lambda x, h, c: apply_named("gru_gates", x, h, c), normal(3, 12), other(3, 12), X)
call("pieces", lambda x: (lambda parts: parts[0] * parts[1])(apply_named("pieces", x, attrs=((2, 2),))), normal(4, 3))
call("overwrite", lambda x, y: apply_named("overwrite", x, y) * y, X, Y)

# --- convolution, pooling, resampling
call("convolution", lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0), (1, 2), 2), IMAGE[:1, :, :4, :5],
     normal(6, 2, 3, 2), normal(6))
call("convolution", lambda x, w: F.conv1d(x, w, padding=1), LINE, normal(3, 4, 3))
call("convolution_transpose", lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1, 2),
     IMAGE[:1, :, :3, :3], normal(4, 3, 3, 3), normal(6))
call("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE)
call("max_pool", lambda x: F.max_pool2d(x, 2), IMAGE)
call("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE)
call("avg_pool", lambda x: F.avg_pool2d(x, 2, count_include_pad=False), IMAGE)
call("adaptive_max_pool", lambda x: F.adaptive_max_pool2d(x, (3, 4)), IMAGE)
call("lp_pool", lambda x: F.lp_pool2d(x, 3.0, 2), np.abs(IMAGE) + 0.1)
call("max_unpool", lambda x: F.max_unpool1d(x, gemel.tensor([[[0, 3, 5]]]), 2), normal(1, 1, 3))
call("resample", lambda x: F.interpolate(x, (9, 5), mode="bilinear"), IMAGE)
call("resample", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), IMAGE)
call("grid_sample", lambda x, g: F.grid_sample(x, g, align_corners=False), IMAGE, between(-0.9, 0.9, 2, 3, 3, 2))

# --- indexing
call("index", lambda x: x[gemel.tensor([2, 0, 2])], X)
call("index", lambda x: x[gemel.tensor([2, 0]), gemel.tensor([1, 3])], X)
for _add in (False, True):
    call("index_put", lambda x, v, a=_add: x.index_put((gemel.tensor([2, 0]),), v, accumulate=a), X, normal(2, 4))
call("scatter_elements", lambda x, s: x.scatter(1, gemel.tensor([[0, 1], [2, 3], [1, 0]]), s), X, normal(3, 2))
call("scatter_elements", lambda x, s: x.scatter_add(1, gemel.tensor([[0, 0], [2, 3], [1, 1]]), s), X, normal(3, 2))
call("scatter_elements", lambda x, s: x.scatter_reduce(0, gemel.tensor([[0, 0], [2, 1]]), s, "prod"),
     X + 3, normal(2, 2))
call("masked_scatter", lambda x, s: x.masked_scatter(x > 0, s), apart(3, 4), normal(12))
call("strided", lambda x: (x * 1).as_strided((2, 3), (1, 2), 1), X)
call("strided_put", lambda x, y: gemel.as_strided_scatter(x, y, (2, 3), (4, 1), 1), X, normal(2, 3))
call("topk", lambda x: x.topk(2, 1)[0], apart(3, 4))
call("mode", lambda x: x.mode(1)[0], apart(3, 4))
call("quantile", lambda x: x.quantile(0.3, 1), apart(3, 4))

# --- linear algebra
call("linalg_inv", lambda a: apply_named("linalg_inv", a), spd())
call("linalg_solve", lambda a, b: apply_named("linalg_solve", a, b), spd(), normal(3, 2))
call("linalg_cholesky", lambda a: apply_named("linalg_cholesky", a @ a.T + 2 * gemel.eye(3, dtype=gemel.float64)),
     normal(3, 3))
call("linalg_det", lambda a: apply_named("linalg_det", a), spd())
call("linalg_slogdet", lambda a: apply_named("linalg_slogdet", a)[1], spd())
call("linalg_matrix_exp", lambda a: apply_named("linalg_matrix_exp", a), normal(3, 3) / 2)
call("linalg_qr", lambda a: apply_named("linalg_qr", a, attrs=(False,))[1], spd() + normal(3, 3) / 4)
call("linalg_eigh", lambda a: apply_named("linalg_eigh", a @ a.T)[0], normal(3, 3))
call("linalg_svd", lambda a: apply_named("linalg_svd", a, attrs=(False,))[1], normal(3, 4))
