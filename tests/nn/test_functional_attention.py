"""Attention against torch."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gemel
import gemel.nn.functional as F
from gemel.engine.base.flags import override
from tests.nn.compare import compare, ours, randn, recorded_by, strided

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def operands(dtype=torch.float64, batch=(2, 3), rows=5, columns=7, width=4, out=6):
    return [randn(*batch, rows, width, dtype=dtype), randn(*batch, columns, width, dtype=dtype, seed=1),
            randn(*batch, columns, out, dtype=dtype, seed=2)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}], ids=str)
def test_attention(dtype, options):
    # torch rounds the weights of 16-bit operands at other places
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, operands(dtype),
            rtol=3e-2 if dtype is torch.bfloat16 else None, **options)


@pytest.mark.parametrize("batch", [(), (3,), (2, 2, 3), (0, 3)])
def test_batch_axes(batch):
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, operands(batch=batch))


def test_batch_axes_broadcast():
    q, k, v = randn(2, 1, 5, 4), randn(1, 3, 7, 4), randn(3, 7, 4)
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, [q, k, v.expand(1, 3, 7, 4)])


def test_strided_operands():
    q, k, v = (strided(2, 3, 6, 4, seed=i) for i in range(3))
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, [q, k, v], is_causal=True)


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (2, 1, 5, 7), (2, 3, 1, 7)])
def test_masks(shape):
    def run(f):
        return lambda q, k, v, m: f(q, k, v, attn_mask=m)
    mask = randn(*shape)
    compare(run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), [*operands(), mask])
    seen = mask > -0.5
    compare(run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), [*operands(), seen])


def test_a_row_that_is_masked_as_a_whole_is_zero():
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[2] = False
    q, k, v = (ours(t).requires_grad_() for t in operands())
    y = F.scaled_dot_product_attention(q, k, v, ours(mask))
    assert not y.detach().numpy()[:, :, 2].any()
    y.sum().backward()
    for x in (q, k, v):
        assert np.isfinite(x.grad.numpy()).all()
    assert not q.grad.numpy()[:, :, 2].any()


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries(heads, causal):
    q, k, v = randn(2, 4, 5, 3), randn(2, heads, 6, 3), randn(2, heads, 6, 3, seed=1)
    compare(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, [q, k, v], is_causal=causal,
            enable_gqa=True)


def test_dropout_of_weights():
    gemel.manual_seed(5)
    q = gemel.zeros(2, 2, 50, 4, dtype=gemel.float64)
    k = gemel.zeros(2, 2, 40, 4, dtype=gemel.float64)
    v = gemel.eye(40, dtype=gemel.float64).expand(2, 2, 40, 40).clone().requires_grad_()
    weights = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3)  # v is the identity: these are the weights
    w = weights.detach().numpy()
    assert abs((w != 0).mean() - 0.7) < 0.03
    np.testing.assert_allclose(w[w != 0], 1 / 40 / 0.7)
    weights.sum().backward()
    np.testing.assert_allclose(v.grad.numpy()[..., 0], w.sum(2), rtol=1e-10)  # the same mask in both passes


@pytest.mark.parametrize("options", [{}, {"is_causal": True}], ids=str)
def test_tiers_give_the_same_bits(options):
    found = []
    for tier in ("0", "1"):
        with override(TIER=tier):
            mine = [ours(t).requires_grad_() for t in operands(torch.float32, rows=9, columns=19, width=8)]
            y = F.scaled_dot_product_attention(*mine, **options)
            (y * y).sum().backward()
            found.append([x.detach().numpy().tobytes() for x in (y, *(m.grad for m in mine))])
    assert found[0] == found[1]


def test_attention_is_one_operation():
    q = ours(operands()[0]).requires_grad_()
    assert recorded_by(F.scaled_dot_product_attention, q, q, q, is_causal=True) == ["attention"]


@pytest.mark.parametrize("change", [{"key": (2, 3, 7, 5)}, {"value": (2, 3, 8, 6)}, {"attn_mask": (3, 5, 6)},
                                    {"query": (4,)}, {"is_causal": True, "attn_mask": (5, 7)}], ids=str)
def test_errors_are_those_of_torch(change):
    given = dict(zip(("query", "key", "value"), operands(), strict=True))
    given |= {k: torch.ones(v, dtype=torch.float64) if isinstance(v, tuple) else v for k, v in change.items()}
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        TF.scaled_dot_product_attention(**given)
    with pytest.raises(theirs.type):
        F.scaled_dot_product_attention(**{k: ours(v) if isinstance(v, torch.Tensor) else v for k, v in given.items()})


def test_types_must_agree():
    q, k, v = (ours(t) for t in operands())
    with pytest.raises(RuntimeError, match="same dtype"):
        F.scaled_dot_product_attention(q, k.float(), v)


# --- several heads ------------------------------------------------------------------------------------

def several(f, heads=2, names=(), **options):
    """f(query, key, value, weight, bias, out weight, out bias, *further)."""
    def run(q, k, v, w, c, ow, oc, *more):
        given = dict(zip(names, more, strict=True))
        bias_k, bias_v = given.pop("bias_k", None), given.pop("bias_v", None)
        settings = {"add_zero_attn": False, "dropout_p": 0.0, **options}
        return f.multi_head_attention_forward(q, k, v, 8, heads, w, c, bias_k, bias_v, settings.pop("add_zero_attn"),
                                              settings.pop("dropout_p"), ow, oc, **settings, **given)
    return run


def inputs(batch=(3,), rows=5, columns=7):
    return [randn(rows, *batch, 8), randn(columns, *batch, 8, seed=1), randn(columns, *batch, 8, seed=2),
            randn(24, 8), randn(24), randn(8, 8), randn(8)]


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": False},
                                     {"add_zero_attn": True}, {"add_zero_attn": True, "need_weights": False}], ids=str)
@pytest.mark.parametrize("batch", [(3,), ()])
def test_several_heads(batch, options):
    compare(several(F, **options), several(TF, **options), inputs(batch))


def test_self_attention_and_masks():
    def with_self(f, **options):
        return lambda x, *rest: several(f, **options)(x, x, x, *rest)
    x, *rest = [randn(5, 3, 8), *inputs()[3:]]
    compare(with_self(F), with_self(TF), [x, *rest])
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    for weights in (True, False):
        def run(f, weights=weights):
            return lambda x, *rest: several(f, names=("attn_mask", "key_padding_mask"), need_weights=weights)(
                x, x, x, *rest)
        compare(run(F), run(TF), [x, *rest, causal, padding])


def test_masks_per_head_and_learned_keys():
    names = ("attn_mask", "bias_k", "bias_v")
    more = [randn(6, 5, 7), randn(1, 1, 8), randn(1, 1, 8, seed=1)]
    compare(several(F, names=names), several(TF, names=names), [*inputs(), *more])


def test_separate_weights():
    def run(f):
        def call(q, k, v, wq, wk, wv, c, ow, oc):
            return f.multi_head_attention_forward(q, k, v, 8, 2, None, c, None, None, False, 0.0, ow, oc,
                                                  use_separate_proj_weight=True, q_proj_weight=wq, k_proj_weight=wk,
                                                  v_proj_weight=wv)
        return call
    q, k, v, _, c, ow, oc = inputs()
    k, v = randn(7, 3, 4), randn(7, 3, 5)
    compare(run(F), run(TF), [q, k, v, randn(8, 8), randn(8, 4), randn(8, 5), c, ow, oc])


def test_several_heads_need_fitting_shapes():
    given = [ours(t) for t in inputs()]
    with pytest.raises(AssertionError, match="embedding dimension"):
        F.multi_head_attention_forward(given[0], given[1], given[2], 6, 2, *given[3:5], None, None, False, 0.0,
                                       *given[5:])
    with pytest.raises(AssertionError, match="divisible"):
        several(F, heads=3)(*given)


@pytest.mark.parametrize("names", ["MATH", ["FLASH_ATTENTION", "MATH"], []], ids=str)
def test_allowed_backends(names):
    q, k, v = operands()
    found = []
    for nn, (a, b, c) in ((torch.nn, (q, k, v)), (gemel.nn, map(ours, (q, k, v)))):
        of = nn.attention.SDPBackend.__members__
        with nn.attention.sdpa_kernel(of[names] if isinstance(names, str) else [of[n] for n in names]) as given:
            assert given == {}
            if names:
                found.append(nn.functional.scaled_dot_product_attention(a, b, c).numpy())
                continue
            with pytest.raises(RuntimeError, match="No viable backend for scaled_dot_product_attention was found"):
                nn.functional.scaled_dot_product_attention(a, b, c)
        nn.functional.scaled_dot_product_attention(q if nn is torch.nn else ours(q), *(
            (k, v) if nn is torch.nn else (ours(k), ours(v))))  # allowed again
    if names:
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_backends_as_torch():
    theirs = torch.nn.attention.SDPBackend.__members__
    assert {n: int(b) for n, b in gemel.nn.attention.SDPBackend.__members__.items()} == {
        n: int(b) for n, b in theirs.items()}
    for nn in (torch.nn, gemel.nn):
        assert str(nn.attention.SDPBackend.MATH) == "SDPBackend.MATH"
        with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend or a list of SDPBackend "
                                                 "instances, got int"), nn.attention.sdpa_kernel(1):
            pass
