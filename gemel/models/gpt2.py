"""GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019).

Parameter names are those of Hugging Face's ``GPT2LMHeadModel``, so its checkpoints load with ``load_state_dict``.
B: batch, T: positions of this call, S: positions so far, C: width, H: heads, V: vocabulary.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..nn import functional as F
from ..tensor.creation import arange, empty, zeros
from ..tensor.joining import cat
from ..tensor.tensor import Tensor


@dataclass(frozen=True)
class GPT2Config:
    """Sizes of a GPT-2; the defaults are GPT-2 small, 124 million parameters."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02


class Conv1D(nn.Module):
    """A linear layer whose weight is stored (in, out), as OpenAI's code did."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(empty(nx, nf))
        self.bias = nn.Parameter(zeros(nf))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:                     # (..., nx) -> (..., nf)
        return F.linear(x, self.weight.t(), self.bias)

    def extra_repr(self) -> str:
        return f"nf={self.nf}, nx={self.nx}"


class Cache:
    """Keys and values of one layer, in buffers of full length that are written in place."""

    def __init__(self, batch: int, heads: int, length: int, width: int, dtype: Any = None) -> None:
        self.key = zeros(batch, heads, length, width, dtype=dtype)
        self.value = zeros(batch, heads, length, width, dtype=dtype)

    def append(self, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, H, T, C/H) at ``start``; all keys and values up to there."""
        end = start + key.shape[2]
        if end > self.key.shape[2]:
            raise ValueError(f"the cache holds {self.key.shape[2]} positions, {end} are needed")
        self.key[:, :, start:end] = key
        self.value[:, :, start:end] = value
        return self.key, self.value


class GPT2Attention(nn.Module):
    """Causal self-attention over all heads at once."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.attn_pdrop
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)       # (B, H, T, C/H)
                   for part in self.c_attn(x).split(C, dim=2))
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0,
                                               is_causal=True)
        else:
            k, v = cache.append(start, k, v)                                            # (B, H, length, C/H)
            seen = arange(k.shape[2]).unsqueeze(0) <= (arange(T) + start).unsqueeze(1)  # (T, length)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class GPT2MLP(nn.Module):
    """C -> 4C -> C with the tanh form of GELU."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(4 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, 4 * config.n_embd)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class GPT2Block(nn.Module):
    """Attention, then the MLP, each behind a layer norm and beside a residual."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache, start)
        return x + self.mlp(self.ln_2(x))


class GPT2Model(nn.Module):
    """Embeddings, blocks, final norm: ids (B, T) -> hidden states (B, T, C)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([GPT2Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=config.initializer_range)
        for block in self.h:
            for projection in (block.attn.c_proj, block.mlp.c_proj):
                nn.init.normal_(projection.weight, std=config.initializer_range / math.sqrt(2 * config.n_layer))

    def forward(self, input_ids: Tensor, caches: list[Cache] | None = None, start: int = 0) -> Tensor:
        T = input_ids.shape[1]
        if start + T > self.config.n_positions:
            raise ValueError(f"this model has {self.config.n_positions} positions. Received: {T} ids from position "
                             f"{start} on")
        x = self.drop(self.wte(input_ids) + self.wpe(arange(T) + start))
        for n, block in enumerate(self.h):
            x = block(x, caches[n] if caches is not None else None, start)
        return self.ln_f(x)


class GPT2LMHeadModel(nn.Module):
    """GPT-2 with the language-model head, whose weight is the token embedding.

    Args:
        config: sizes.
    Example:
        >>> from gemel.models import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2))
        >>> model(gemel.zeros(1, 4, dtype=gemel.int64)).shape
        gemel.Size([1, 4, 50])
    """

    def __init__(self, config: GPT2Config | None = None) -> None:
        super().__init__()
        self.config = config or GPT2Config()
        self.transformer = GPT2Model(self.config)
        self.lm_head = nn.Linear(self.config.n_embd, self.config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, input_ids: Tensor, caches: list[Cache] | None = None, start: int = 0) -> Tensor:
        """Logits (B, T, V) for ids (B, T); ``start``: the position of the first id when ``caches`` are given."""
        return self.lm_head(self.transformer(input_ids, caches, start))

    def loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of predicting ``labels`` (B, T), the token after each position."""
        return F.cross_entropy(self(input_ids).flatten(0, 1), labels.flatten())

    def new_caches(self, batch: int, length: int) -> list[Cache]:
        """Empty key/value caches, one per layer."""
        c = self.config
        dtype = self.lm_head.weight.dtype
        return [Cache(batch, c.n_head, length, c.n_embd // c.n_head, dtype) for _ in range(c.n_layer)]

    def generate(self, input_ids: Tensor, max_new_tokens: int) -> Tensor:
        """Continue (B, T) greedily; the ids (B, T + max_new_tokens)."""
        from ..autograd import no_grad
        caches = self.new_caches(input_ids.shape[0], input_ids.shape[1] + max_new_tokens)
        with no_grad():
            ids, fresh, start = input_ids, input_ids, 0
            for _ in range(max_new_tokens):
                logits = self(fresh, caches, start)
                start += fresh.shape[1]
                fresh = logits[:, -1].argmax(-1, keepdim=True)
                ids = cat((ids, fresh), 1)
        return ids
