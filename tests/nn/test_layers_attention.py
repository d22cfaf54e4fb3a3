"""Attention and transformers against torch with the same state."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

import gemel
import gemel.nn.functional as F
from gemel import nn
from tests.nn.compare import close, compare, ours, randn
from tests.nn.test_layers_recurrent import agree, make

Q, K, V = randn(2, 3, 4, 6), randn(2, 3, 5, 6, seed=1), randn(2, 3, 5, 7, seed=2)
MASK = randn(4, 5, seed=3) > -0.5
MASK[2] = False  # a query that sees nothing


@pytest.mark.parametrize("options", [
    {}, {"scale": 0.3}, {"is_causal": True}, {"attn_mask": MASK}, {"attn_mask": randn(2, 1, 4, 5)},
    {"attn_mask": torch.zeros(4, 5, dtype=torch.float64).masked_fill(~MASK, float("-inf"))}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_scaled_dot_product_attention(options, dtype):
    options = {k: v.to(dtype) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
               for k, v in options.items()}
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, [Q.to(dtype), K.to(dtype), V.to(dtype)],
            **options)


def test_grouped_queries():
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention,
            [randn(2, 6, 4, 6), K, V], enable_gqa=True)


def test_attention_errors():
    q, k, v = ours(Q), ours(K), ours(V)
    with pytest.raises(RuntimeError, match="is_causal=True"):
        F.scaled_dot_product_attention(q, k, v, ours(MASK), is_causal=True)
    with pytest.raises(RuntimeError, match="do not fit"):
        F.scaled_dot_product_attention(q, v, k)
    with pytest.raises(RuntimeError, match="attn_mask dtype"):
        F.scaled_dot_product_attention(q, k, v, gemel.zeros(4, 5, dtype=gemel.float16))


def attention(name_or_args, kwargs, shapes, call):
    theirs, layer = make("MultiheadAttention", name_or_args, kwargs)
    inputs = [randn(*s, seed=i).requires_grad_() for i, s in enumerate(shapes)]
    own = [ours(x).requires_grad_() for x in inputs]
    if len(inputs) == 1:
        inputs, own = inputs * 3, own * 3
    want = theirs(*inputs, **call)
    got = layer(*own, **{k: ours(v) if isinstance(v, torch.Tensor) else v for k, v in call.items()})
    assert (want[1] is None) == (got[1] is None)
    keep = 2 if want[1] is not None else 1
    agree(theirs, layer, want[:keep], got[:keep], list(zip(inputs, own, strict=True)))


padding = torch.tensor([[False, False, True], [False, True, True]])
causal = torch.ones(3, 3, dtype=torch.bool).triu(1)
CASES = [
    ((8, 2), {}, [(3, 2, 8)], {}), ((8, 2), {"bias": False}, [(3, 8)], {}),
    ((8, 2), {"batch_first": True}, [(2, 3, 8)], {"need_weights": False}),
    ((8, 2), {}, [(4, 2, 8), (3, 2, 8), (3, 2, 8)], {"average_attn_weights": False}),
    ((8, 4), {"kdim": 5, "vdim": 6, "batch_first": True}, [(2, 4, 8), (2, 3, 5), (2, 3, 6)], {"need_weights": False}),
    ((8, 2), {"kdim": 5}, [(4, 8), (3, 5), (3, 8)], {}),
    ((8, 2), {"add_bias_kv": True, "add_zero_attn": True}, [(3, 2, 8)], {"key_padding_mask": padding}),
    ((8, 2), {}, [(3, 2, 8)], {"key_padding_mask": padding, "need_weights": False}),
    ((8, 2), {}, [(3, 2, 8)], {"attn_mask": causal, "need_weights": False, "is_causal": True}),
    ((8, 2), {}, [(3, 2, 8)], {"attn_mask": causal, "key_padding_mask": padding}),
    ((8, 2), {}, [(3, 2, 8)], {"attn_mask": randn(4, 3, 3), "need_weights": False}),
    ((8, 2), {"add_zero_attn": True}, [(3, 8)], {"attn_mask": randn(2, 3, 3)}),
]


@pytest.mark.parametrize(("args", "kwargs", "shapes", "call"), CASES,
                         ids=[f"{a}{k}{list(c)}".replace(" ", "") for a, k, _, c in CASES])
def test_multihead_attention(args, kwargs, shapes, call):
    attention(args, kwargs, shapes, call)


def test_multihead_errors():
    with pytest.raises(ValueError, match="greater than 0"):
        nn.MultiheadAttention(0, 2)
    with pytest.raises(AssertionError, match="divisible by num_heads"):
        nn.MultiheadAttention(7, 2)
    layer, x = nn.MultiheadAttention(8, 2), gemel.zeros(3, 2, 8)
    with pytest.raises(AssertionError, match="3-D but found 2-D"):
        layer(x, x[0], x)
    with pytest.raises(AssertionError, match="key_padding_mask"):
        layer(x, x, x, key_padding_mask=gemel.zeros(3, dtype=gemel.bool))
    with pytest.raises(RuntimeError, match="shape of the 2D attn_mask"):
        layer(x, x, x, attn_mask=gemel.zeros(3, 2))
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(AssertionError, match="only bool and floating"):
        layer(x, x, x, attn_mask=gemel.zeros(3, 3, dtype=gemel.int64))


LAYERS = [("TransformerEncoderLayer", {}, {}), ("TransformerEncoderLayer", {"norm_first": True, "activation": "gelu"}, {
    "src_mask": causal, "is_causal": True}), ("TransformerEncoderLayer", {"batch_first": True, "bias": False}, {}),
    ("TransformerDecoderLayer", {"norm_first": True}, {"tgt_mask": causal}),
    ("TransformerDecoderLayer", {"activation": "gelu"}, {"memory_key_padding_mask": padding[:, :2]})]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "kwargs", "call"), LAYERS, ids=[f"{n}{k}" for n, k, _ in LAYERS])
def test_transformer_layers(name, kwargs, call):
    theirs, layer = make(name, (8, 2, 16, 0.0), kwargs)
    shapes = [(3, 2, 8), (2, 2, 8)][:2 if "Decoder" in name else 1]
    inputs = [randn(*s, seed=i).requires_grad_() for i, s in enumerate(shapes)]
    own = [ours(x).requires_grad_() for x in inputs]
    mine = {k: ours(v) if isinstance(v, torch.Tensor) else v for k, v in call.items()}
    agree(theirs, layer, theirs(*inputs, **call), layer(*own, **mine), list(zip(inputs, own, strict=True)))


@pytest.mark.filterwarnings("ignore")
def test_transformer():
    theirs, layer = make("Transformer", (8, 2, 2, 2, 16, 0.0), {"batch_first": True})
    x, y = randn(2, 3, 8).requires_grad_(), randn(2, 4, 8, seed=1).requires_grad_()
    a, b = ours(x).requires_grad_(), ours(y).requires_grad_()
    mask = torch.nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    own = nn.Transformer.generate_square_subsequent_mask(4, dtype=gemel.float64)
    close(own, mask, 0, "mask")
    agree(theirs, layer, theirs(x, y, tgt_mask=mask), layer(a, b, tgt_mask=own), [(x, a), (y, b)])
    with pytest.raises(RuntimeError, match="batch number"):
        layer(a, b[:1])
    with pytest.raises(RuntimeError, match="feature number"):
        layer(a, b[..., :4])
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")


def test_copies_of_a_layer_do_not_share():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    a, b = encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight
    assert a.equal(b) and a is not b
    with gemel.no_grad():
        a.mul_(0)
    assert b.abs().sum().item() > 0
