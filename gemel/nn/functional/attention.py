"""Attention: scaled dot products, and several heads with their projections."""
from __future__ import annotations

import math
import warnings
from typing import Any

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError
from ...engine.ir.types import Shape
from ...tensor.contraction import matmul
from ...tensor.creation import zeros
from ...tensor.dims import remembered
from ...tensor.joining import cat
from ...tensor.promotion import broadcast_shapes
from ...tensor.recording import apply_named
from ..attention import check_allowed
from .activation import softmax
from .common import cast, check_floating, check_tensor, expand, number, reshape, type_of
from .dropout import dropout
from .linear import linear
from .padding import pad
from .random import stream

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]

_NEVER = float("-inf")


def _additive(mask: Any, dtype: dt.DType) -> Any:
    """A bool mask (true: leave out) as numbers to add."""
    return zeros(mask.shape, dtype=dtype).masked_fill(mask, _NEVER)


def _check_mask(mask: Any, query: Any) -> None:
    check_tensor("scaled_dot_product_attention", "attn_mask", mask)
    kind = type_of(mask).dtype
    if kind is not dt.bool_ and kind is not type_of(query).dtype and kind is not dt.float32:
        raise RuntimeError(f"Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                           f"attn_mask.dtype: {kind!r} and  query.dtype: {type_of(query).dtype!r} instead.")


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Any:
    """``softmax(scale query key^T + mask) value``.

    Args:
        query: (..., H, L, E). key: (..., H, S, E). value: (..., H, S, Ev). The result is (..., H, L, Ev).
        attn_mask: broadcasts to (..., H, L, S); bool: attend where it is true; otherwise it is added to the scores.
        dropout_p: probability that a weight is dropped (also outside of training). is_causal: row i sees columns up
            to i. scale: 1 / sqrt(E) by default.
        enable_gqa: key and value may have fewer heads; each serves the same number of query heads.

    A row that is masked as a whole gives zeros. torch: ``scaled_dot_product_attention``.

    >>> import gemel
    >>> q = gemel.ones(1, 2, 4)
    >>> gemel.nn.functional.scaled_dot_product_attention(q, q, q).shape
    gemel.Size([1, 2, 4])
    """
    name = "scaled_dot_product_attention"
    check_allowed()
    for what, x in (("query", query), ("key", key), ("value", value)):
        check_floating(name, x, what)
        if type_of(x).ndim < 2:
            raise ShapeError(f"{name}: Expected query, key, and value to all be  at least 2 dimensional, but got "
                             f"{what} of size {list(type_of(x).shape)}")
    if is_causal and attn_mask is not None:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    flat = type_of(query).ndim == 2 and type_of(key).ndim == 2 and type_of(value).ndim == 2
    if flat:
        query, key, value = (reshape(x, (1, *type_of(x).shape)) for x in (query, key, value))
    query, key, value = _fitted(query, key, value, enable_gqa)
    more: list[Any] = []
    if attn_mask is not None:
        _check_mask(attn_mask, query)
        whole = (*type_of(query).shape[:-1], type_of(key).shape[-2])
        if broadcast_shapes(type_of(attn_mask).shape, whole) != whole:
            raise RuntimeError(f"The expanded size of the mask must match the scores {list(whole)}. Received: "
                               f"attn_mask {list(type_of(attn_mask).shape)}")
        more.append(attn_mask)
    if dropout_p > 0.0:
        keep = 1.0 / (1.0 - dropout_p) if dropout_p < 1 else 0.0
        key_and_count = stream()
        more += [*key_and_count, cast(number(query, dropout_p), dt.float32), number(query, keep)]
    width = type_of(query).shape[-1]
    factor = number(query, scale if scale is not None else 1.0 / math.sqrt(width) if width else 1.0)
    out, _ = apply_named("attention", query, key, value, factor, *more, attrs=(bool(is_causal), attn_mask is not None))
    return reshape(out, type_of(out).shape[1:]) if flat else out


def _fitted(query: Any, key: Any, value: Any, gqa: bool) -> tuple[Any, Any, Any]:
    """The three with equal batch axes (and heads, unless these are grouped)."""
    q, k, v = _leading(type_of(query).shape, type_of(key).shape, type_of(value).shape, gqa)
    return expand(query, q), expand(key, k), expand(value, v)


@remembered
def _leading(q: Shape, k: Shape, v: Shape, gqa: bool) -> list[Shape]:
    """The shapes of query, key and value with equal batch axes."""
    shapes = q, k, v
    if gqa and min(map(len, shapes)) >= 3:
        lead = broadcast_shapes(broadcast_shapes(q[:-3], k[:-3]), v[:-3])
        heads = [s[-3] for s in shapes]
        if heads[1] and heads[0] % heads[1] == 0 and heads[1] == heads[2]:
            return [(*lead, *s[-3:]) for s in shapes]
        if not heads[1] or heads[0] % heads[1] or heads[0] % heads[2]:
            raise RuntimeError(f"Number of heads in key and value must divide the number of heads in query. Received: "
                               f"query {list(q)}, key {list(k)}, value {list(v)}")
    lead = broadcast_shapes(broadcast_shapes(q[:-2], k[:-2]), v[:-2])
    return [(*lead, *s[-2:]) for s in shapes]


def _check_shapes(query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any, num_heads: int) -> bool:
    """torch's checks of ranks; is there a batch axis?"""
    n = query.dim()
    if n not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {n}-D query tensor")
    which = "batched (3-D)" if n == 3 else "unbatched (2-D)"
    if key.dim() != n or value.dim() != n:
        raise AssertionError(f"For {which} `query`, expected `key` and `value` to be {n}-D but found {key.dim()}-D and "
                             f"{value.dim()}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != n - 1:
        raise AssertionError(f"For {which} `query`, expected `key_padding_mask` to be `None` or {n - 1}-D but found "
                             f"{key_padding_mask.dim()}-D tensor instead")
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(f"For {which} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                                 f"{attn_mask.dim()}-D tensor instead")
        expected = (num_heads, query.shape[0], key.shape[0])
        if n == 2 and attn_mask.dim() == 3 and tuple(attn_mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {list(attn_mask.shape)}")
    return n == 3


def _canonical_mask(mask: Any, mask_name: str, other: Any, other_name: str, target_type: dt.DType) -> Any:
    """A mask as numbers to add."""
    if mask is None:
        return None
    kind = type_of(mask).dtype
    if kind is not dt.bool_ and not kind.is_floating_point:
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if other is not None and type_of(other).dtype is not kind:
        warnings.warn(f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both "
                      f"instead.", stacklevel=3)
    return _additive(mask, target_type) if kind is dt.bool_ else mask


def _projected(query: Any, key: Any, value: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """Query, key and value through their parts of one weight (3E, E)."""
    width = type_of(query).shape[-1]
    if query is key and key is value:
        return tuple(linear(query, weight, bias).split(width, -1))
    weights = weight.split(width, 0)
    biases = (None,) * 3 if bias is None else bias.split(width, 0)
    q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    return q, k, v


def multi_head_attention_forward(
        query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
        in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any,
        out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
        k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
        average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Any, Any]:
    """What ``nn.MultiheadAttention`` computes: projections, attention of each head, output projection.

    Args:
        query: (L, B, E) or (L, E). key, value: (S, B, *) or (S, *).
        in_proj_weight: (3E, E), or None with ``use_separate_proj_weight`` and the three weights.
        key_padding_mask: (B, S): true where a key is left out, or numbers to add. attn_mask: (L, S) or
            (B * heads, L, S), likewise. is_causal: says that ``attn_mask`` is the causal one.
        need_weights: also give the weights, averaged over the heads with ``average_attn_weights``.

    torch: ``multi_head_attention_forward``.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same = query is key, key is value
        query = query.unsqueeze(1)
        key = query if same[0] else key.unsqueeze(1)
        value = key if same[1] else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    dtype = query.dtype
    key_padding_mask = _canonical_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", dtype)
        is_causal = is_causal and key_padding_mask is None
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    head = width // num_heads
    if head * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if tuple(key.shape[:2]) != tuple(value.shape[:2]):
            raise AssertionError(f"key's sequence and batch dims {list(key.shape[:2])} do not match value's "
                                 f"{list(value.shape[:2])}")
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.split(width, 0)
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    else:
        if tuple(key.shape) != tuple(value.shape):
            raise AssertionError(f"key shape {list(key.shape)} does not match value shape {list(value.shape)}")
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    source = k.shape[0]
    if attn_mask is not None:
        expected = (length, source) if attn_mask.dim() == 2 else (batch * num_heads, length, source)
        if tuple(attn_mask.shape) != expected:
            raise RuntimeError(f"The shape of the {attn_mask.dim()}D attn_mask is {list(attn_mask.shape)}, but should "
                               f"be {expected}.")
        attn_mask = attn_mask.unsqueeze(0) if attn_mask.dim() == 2 else attn_mask
    added = 0
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key.")
        k, v = (cat([t, b.expand(1, batch, width)]) for t, b in ((k, bias_k), (v, bias_v)))
        added += 1
    elif bias_k is not None or bias_v is not None:
        given, absent = ("bias_k", "bias_v") if bias_v is None else ("bias_v", "bias_k")
        raise AssertionError(f"{given} is set but {absent} is None")

    def heads(t: Any) -> Any:
        """(rows, B, E) as (B * heads, rows, E / heads)."""
        return t.reshape(t.shape[0], batch * num_heads, head).transpose(0, 1)

    q = heads(q)
    k = heads(k) if static_k is None else _static("static_k", static_k, batch * num_heads, head)
    v = heads(v) if static_v is None else _static("static_v", static_v, batch * num_heads, head)
    if add_zero_attn:
        zero = zeros((batch * num_heads, 1, head), dtype=dtype)
        k, v = cat([k, zero], 1), cat([v, zero], 1)
        added += 1
    if added:
        attn_mask, key_padding_mask = (None if m is None else pad(m, (0, added)) for m in (attn_mask, key_padding_mask))
    source = k.shape[1]
    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (batch, source):
            raise AssertionError(f"Expected key_padding_mask to have shape {(batch, source)}, but got "
                                 f"{list(key_padding_mask.shape)}")
        spread = key_padding_mask.reshape(batch, 1, 1, source).expand(batch, num_heads, 1, source)
        spread = spread.reshape(batch * num_heads, 1, source)
        attn_mask = spread if attn_mask is None else attn_mask + spread
    dropped = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = matmul(q * math.sqrt(1.0 / head), k.transpose(-2, -1))
        weights = softmax(scores if attn_mask is None else scores + attn_mask, -1)
        if dropped:
            weights = dropout(weights, dropped)
        out = matmul(weights, v)
        weights = weights.reshape(batch, num_heads, length, source)
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        out = scaled_dot_product_attention(q, k, v, attn_mask, dropped, is_causal and attn_mask is None)
    out = linear(out.transpose(0, 1).reshape(length, batch, width), out_proj_weight, out_proj_bias)
    if not batched:
        return out.squeeze(1), None if weights is None else weights.squeeze(0)
    return out, weights


def _static(name: str, t: Any, rows: int, head: int) -> Any:
    if t.shape[0] != rows or t.shape[2] != head:
        raise AssertionError(f"expecting {name} of ({rows}, S, {head}), but got {list(t.shape)}")
    return t
