"""Multi-head attention."""
from __future__ import annotations

from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .linear import Linear
from .module import Module

__all__ = ["MultiheadAttention"]


class NonDynamicallyQuantizableLinear(Linear):
    """``Linear``, under the name that torch prints for an output projection."""


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani et al., 2017), with projections of query, key, value and output.

    Args:
        embed_dim: E. num_heads: divides E. dropout: of the weights. bias: have biases in the projections.
        add_bias_kv: one more learned key and value. add_zero_attn: one more key and value of zeros.
        kdim, vdim: features of key and value (default E). batch_first: inputs and output are (B, T, E).

    Shapes: query (L, B, E), key (S, B, kdim), value (S, B, vdim), output (L, B, E), weights (B, L, S); all without B
    for unbatched inputs.

    >>> import gemel
    >>> out, weights = gemel.nn.MultiheadAttention(8, 2, batch_first=True)(*[gemel.randn(3, 5, 8)] * 3)
    >>> out.shape, weights.shape
    (gemel.Size([3, 5, 8]), gemel.Size([3, 5, 5]))

    torch: ``torch.nn.MultiheadAttention``
    """

    in_proj_weight: Any
    in_proj_bias: Any
    q_proj_weight: Any
    k_proj_weight: Any
    v_proj_weight: Any
    bias_k: Any
    bias_v: Any

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: DType | None = None) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                             f"num_heads={num_heads} instead")
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(f"embed_dim must be divisible by num_heads. Received: {embed_dim} and {num_heads}")
        place: dict[str, Any] = {"device": device, "dtype": dtype}

        def parameter(name: str, shape: tuple[int, ...], there: bool = True) -> None:
            self.register_parameter(name, Parameter(empty(shape, **place)) if there else None)

        one = self._qkv_same_embed_dim
        widths = (("q_proj_weight", embed_dim), ("k_proj_weight", self.kdim), ("v_proj_weight", self.vdim))
        if one:
            parameter("in_proj_weight", (3 * embed_dim, embed_dim))
        for name, width in widths:
            parameter(name, (embed_dim, width), not one)
        if not one:
            self.register_parameter("in_proj_weight", None)
        parameter("in_proj_bias", (3 * embed_dim,), bias)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        if add_bias_kv:
            parameter("bias_k", (1, 1, embed_dim))
            parameter("bias_v", (1, 1, embed_dim))
        else:
            self.bias_k = self.bias_v = None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
                attn_mask: Any = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Any, Any]:
        """Output and weights (None unless ``need_weights``); see ``F.multi_head_attention_forward`` for the masks."""
        turned = self.batch_first and query.dim() == 3
        if turned:
            same = query is key, key is value
            query = query.transpose(0, 1)
            key = query if same[0] else key.transpose(0, 1)
            value = key if same[1] else value.transpose(0, 1)
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal)
        return (out.transpose(0, 1) if turned else out), weights
