"""Attention's own kernels: the bits of the body in every layout, torch's values, nothing as large as the scores."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from torch.nn.attention import SDPBackend, sdpa_kernel

import gemel
import gemel.nn.functional as F
from gemel import debug
from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.base.target import host
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.program import Program
from gemel.engine.ir.types import tensor_type
from gemel.engine.loops.attention.schedule import backward_refusal, refusal
from tests.plans import Native, program, same_bits

#: (batch axes, heads of q, of k and v, queries, keys, width, width of values): whole blocks, ragged ones, several
#: blocks of keys and of the width, super-blocks of keys
SIZES = [((1,), 1, 1, 32, 32, 64, 64), ((2,), 3, 3, 50, 77, 24, 40), ((), 2, 2, 33, 300, 16, 9),
         ((2,), 4, 2, 40, 17, 8, 16), ((2, 2), 2, 1, 17, 19, 5, 3), ((1,), 1, 1, 70, 1, 300, 1),
         ((), 1, 1, 16, 4500, 3, 17), ((3,), 1, 1, 100, 64, 1, 33)]


def operands(sizes: tuple, dtype: np.dtype | type = np.float32, seed: int = 0) -> list[np.ndarray]:
    lead, hq, hk, rows, columns, width, depth = sizes
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*lead, h, n, w)).astype(dtype)
            for h, n, w in ((hq, rows, width), (hk, columns, width), (hk, columns, depth))]


def in_both_tiers(p: Program, given: list[np.ndarray], name: str, kernel: bool) -> list[np.ndarray]:
    """Both tiers give the same bits; the results of the fused one. ``kernel``: has it one of that name, it alone?"""
    body, fused = Native(p, given, False), Native(p, given, True)
    assert any(n.startswith(name) for n in fused.kernels) == kernel, fused.kernels
    assert not any(n.startswith(name) for n in body.kernels)
    for x, y in zip(body.outputs, fused.outputs, strict=True):
        assert same_bits(x, y)
    return fused.outputs


def compare(arrays: Sequence[np.ndarray], causal: bool = False, mask: np.ndarray | None = None,
            kernel: bool = True) -> list[np.ndarray]:
    """Both tiers give the same bits; the results of the fused one, which is one kernel."""
    scale = np.asarray(1 / math.sqrt(arrays[0].shape[-1]), np.float64 if arrays[0].dtype == np.float64 else np.float32)
    given = [*arrays, scale, *([] if mask is None else [mask])]
    p = program([tensor_type(dt.from_numpy(a.dtype), a.shape) for a in given],
                lambda b, *x: b.call("attention", *x, causal=causal, masked=mask is not None))
    return in_both_tiers(p, given, "attention", kernel)


def gradients(arrays: Sequence[np.ndarray], causal: bool = False, mask: np.ndarray | None = None,
              g: np.ndarray | None = None, kernel: bool = True) -> list[np.ndarray]:
    """dq, dk, dv: both tiers give the same bits; ``g``: the result's cotangent (default: random)."""
    q, k, v = arrays
    if g is None:
        g = np.random.default_rng(7).standard_normal((*q.shape[:-1], v.shape[-1])).astype(q.dtype)
    scale = np.asarray(1 / math.sqrt(q.shape[-1]), np.float64 if q.dtype == np.float64 else np.float32)
    given = [g, *arrays, scale, *([] if mask is None else [mask])]
    attrs = {"causal": causal, "masked": mask is not None}

    def body(b, g, q, k, v, scale, *more):
        out, lse = b.call("attention", q, k, v, scale, *more, **attrs)
        wide = lse.type.dtype
        inner = b.reduce_sum(b.mul(b.cast(g, wide), b.cast(out, wide)), (out.type.ndim - 1,))
        return b.call("attention_backward", g, q, k, v, scale, lse, inner, *more, **attrs)
    p = program([tensor_type(dt.from_numpy(a.dtype), a.shape) for a in given], body)
    return in_both_tiers(p, given, "attention_backward", kernel)


def meant_gradients(arrays: Sequence[np.ndarray], causal: bool = False, mask: np.ndarray | None = None,
                    g: np.ndarray | None = None) -> list[np.ndarray]:
    """torch's, in f64."""
    q, k, v = (torch.from_numpy(a).double().clone().requires_grad_() for a in arrays)
    if g is None:
        g = np.random.default_rng(7).standard_normal((*q.shape[:-1], v.shape[-1])).astype(arrays[0].dtype)
    bias = None if mask is None else torch.from_numpy(mask)
    bias = bias.double() if bias is not None and bias.dtype is not torch.bool else bias
    y = TF.scaled_dot_product_attention(q, k, v, bias, is_causal=causal, enable_gqa=q.shape[-3] != k.shape[-3])
    y.backward(torch.from_numpy(np.ascontiguousarray(g)).double())
    return [x.grad.numpy() for x in (q, k, v)]


def close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float = 1e-4) -> None:
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def meant(arrays: Sequence[np.ndarray], causal: bool = False, mask: np.ndarray | None = None) -> np.ndarray:
    q, k, v = (torch.from_numpy(a).double() for a in arrays)
    bias = None
    if mask is not None:
        bias = torch.from_numpy(mask)
        bias = bias if bias.dtype is torch.bool else bias.double()
    grouped = q.shape[-3] != k.shape[-3]
    return TF.scaled_dot_product_attention(q, k, v, bias, is_causal=causal, enable_gqa=grouped).numpy()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_bits(sizes, causal):
    arrays = operands(sizes)
    np.testing.assert_allclose(compare(arrays, causal)[0], meant(arrays, causal), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype,tolerance", [(np.float64, 1e-12), (np.float16, 2e-2)])
def test_other_dtypes(dtype, tolerance, causal):
    arrays = operands(((2,), 2, 2, 50, 300, 24, 20), dtype)
    np.testing.assert_allclose(compare(arrays, causal)[0], meant(arrays, causal), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(50, 77), (1, 77), (50, 1), (2, 1, 1, 77), (2, 3, 50, 77), (3, 1, 1)], ids=str)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks(shape, kind):
    arrays = operands(((2,), 3, 3, 50, 77, 24, 40))
    mask = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    mask = mask > -0.7 if kind == "bool" else mask
    found = compare(arrays, mask=mask)[0]
    np.testing.assert_allclose(found, np.nan_to_num(meant(arrays, mask=mask)), rtol=1e-4, atol=1e-5)


def test_rows_that_see_nothing():
    arrays = operands(((), 1, 1, 40, 30, 8, 8))
    mask = np.random.default_rng(0).random((40, 30)) > 0.5
    mask[3:20] = False
    found = compare(arrays, mask=mask)
    assert not found[0][:, 3:20].any() and not found[1][:, 3:20].any()
    compare(arrays, mask=np.where(mask, 0, -np.inf).astype(np.float32))


@pytest.mark.parametrize("isa", ["sse2", "avx2"])
def test_narrower_machines(isa):
    if host().isa == "neon":
        pytest.skip("another family of machines")
    with override(ISA=isa):
        arrays = operands(((2,), 2, 2, 21, 300, 7, 9))
        np.testing.assert_allclose(compare(arrays, True)[0], meant(arrays, True), rtol=1e-4, atol=1e-5)


def test_layouts():
    """Heads inside of time, reversed and broadcast axes, rows that are not contiguous."""
    arrays = operands(((2,), 3, 3, 40, 50, 12, 20))
    expected = compare(arrays)
    inside = [np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) for a in arrays]
    across = [np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2) for a in arrays]
    gaps = [np.repeat(a, 2, -1)[..., ::2] for a in arrays]
    for given in (inside, across, gaps):
        for x, y in zip(compare(given), expected, strict=True):
            assert same_bits(x, y)
    shared = [np.broadcast_to(a[:1], a.shape) for a in arrays]
    compare(shared)
    compare([a[:, ::-1] for a in arrays])
    deep = operands(((2, 3), 2, 2, 20, 20, 4, 4))
    compare([np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) for a in deep])
    compare([deep[0], np.ascontiguousarray(deep[1].swapaxes(0, 1)).swapaxes(0, 1), deep[2]])


@pytest.mark.parametrize("value", [np.inf, np.nan, 3.0])
def test_what_a_causal_block_leaves_out_counts_where_it_matters(value):
    """0 * inf is NaN: the values of hidden keys matter if they are not finite."""
    q, k, v = operands(((), 1, 1, 100, 100, 8, 20))
    v[0, 90, 17] = value
    compare([q, k, v], True)
    k[0, 95, 3] = value
    compare([q, k, v], True)


def test_a_negative_zero_meets_what_a_causal_block_leaves_out():
    """Products that underflow sum to -0; adding a hidden zero product makes that +0."""
    q, k, v = operands(((), 1, 1, 64, 64, 4, 16))
    tiny = np.float32(-1.4e-45)
    q[...], k[...], v[...] = 1, 0, tiny
    k[:, 0], v[:, 0] = 50, -0.0
    for hidden in (1.0, -1.0):
        v[:, 40:] = hidden
        found = compare([q, k, v], True)[0]
        signs = np.signbit(found[0, 1:32])
        assert signs.all() if hidden < 0 else not signs.any()


def test_extreme_scores():
    arrays = operands(((), 2, 2, 40, 40, 8, 8))
    for value in (1e30, np.inf, -np.inf, np.nan):
        q = arrays[0].copy()
        q[0, 5] = value
        compare([q, *arrays[1:]])
        compare([q, *arrays[1:]], True)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads):
    arrays = operands(((2,), 3, 3, 70, 90, 16, 16))
    expected = compare(arrays, True)
    with override(THREADS=threads):
        assert all(map(same_bits, compare(arrays, True), expected))


# --- the derivative -----------------------------------------------------------------------------------

@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", [s for s in SIZES if s[1] == s[2] or not s[3] % 256] + [
    ((), 1, 1, 600, 520, 16, 20), ((), 4, 2, 256, 300, 8, 8), ((), 1, 1, 4200, 40, 3, 5), ((), 1, 1, 40, 4500, 5, 3),
    ((), 1, 1, 4500, 4500, 2, 2)], ids=str)
def test_gradients_and_bits(sizes, causal):
    arrays = operands(sizes)
    close(gradients(arrays, causal), meant_gradients(arrays, causal))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_in_double_precision(causal):
    arrays = operands(((2,), 2, 2, 50, 300, 24, 20), np.float64)
    close(gradients(arrays, causal), meant_gradients(arrays, causal), 1e-11)


@pytest.mark.parametrize("shape", [(50, 77), (1, 77), (2, 1, 1, 77), (2, 3, 50, 77)], ids=str)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_gradients_under_masks(shape, kind):
    arrays = operands(((2,), 3, 3, 50, 77, 24, 40))
    mask = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    mask = mask > -0.7 if kind == "bool" else mask
    close(gradients(arrays, mask=mask), meant_gradients(arrays, mask=mask))


@pytest.mark.parametrize("isa", ["sse2", "avx2"])
def test_gradients_on_narrower_machines(isa):
    if host().isa == "neon":
        pytest.skip("another family of machines")
    with override(ISA=isa):
        arrays = operands(((2,), 2, 2, 300, 300, 7, 9))
        close(gradients(arrays, True), meant_gradients(arrays, True))


def test_layouts_of_cotangents():
    arrays = operands(((2,), 3, 3, 40, 50, 12, 20))
    whole = np.broadcast_to(np.float32(1), (2, 3, 40, 20))
    close(gradients(arrays, g=whole), meant_gradients(arrays, g=whole))
    inside = [np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) for a in arrays]
    across = [np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2) for a in arrays]
    for x, y, z in zip(gradients(inside), gradients(across), gradients(arrays), strict=True):
        assert same_bits(x, y) and same_bits(x, z)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e38])
def test_hidden_numbers_that_are_not_finite(value):
    """What a causal square leaves out counts where 0 times it is not 0."""
    for which in range(4):
        q, k, v = operands(((), 1, 1, 100, 100, 8, 20))
        g = np.random.default_rng(0).standard_normal((1, 100, 20)).astype(np.float32)
        x = (q, k, v, g)[which]
        x[0, 3 if which in (0, 3) else 90, 5] = value
        gradients([q, k, v], True, g=g)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_that_underflow(seed):
    """Sums of -0 meet hidden products of +0."""
    q, k, v = operands(((), 2, 2, 200, 200, 8, 16), seed=seed)
    g = (np.random.default_rng(seed).standard_normal((2, 200, 16)) * 1e-43).astype(np.float32)
    k = np.abs(k) * np.array([-0.02, 0.02], np.float32).reshape(2, 1, 1)  # hidden products are -0 in one head
    dq, _, _ = gradients([q, k, v], True, g=g)
    assert (np.signbit(dq[0]) & (dq[0] == 0)).any(), "no sum was -0: the test is empty"
    compare([q, k, (v * 1e-44).astype(np.float32)], True)


@pytest.mark.parametrize("threads", [1, 3])
def test_gradients_on_any_number_of_threads(threads):
    arrays = operands(((2,), 3, 3, 70, 90, 16, 16))
    expected = gradients(arrays, True)
    with override(THREADS=threads):
        assert all(map(same_bits, gradients(arrays, True), expected))


@pytest.mark.parametrize("reason,sizes", [
    ("do not fill", ((), 2, 2, 3, 40, 8, 8)), ("reach over heads", ((), 4, 2, 40, 17, 8, 16)),
    ("do not fit", ((), 1, 1, 20, 9000, 64, 64))])
def test_derivatives_without_a_kernel(reason, sizes):
    arrays = operands(sizes)
    q, k, v = (tensor_type(dt.float32, a.shape) for a in arrays)
    rows = tensor_type(dt.float32, q.shape[:-1])
    found = backward_refusal(op(ROWS["attention_backward"], False, False), [q, q, k, v, rows, rows, rows])
    assert reason in found
    close(gradients(arrays, kernel=False), meant_gradients(arrays))


def test_rounded_weights_have_no_kernel():
    arrays = operands(((), 2, 2, 40, 40, 8, 8), np.float16)
    close(gradients(arrays, kernel=False), meant_gradients(arrays), 5e-2)


def test_a_step_holds_nothing_as_large_as_the_scores():
    length = 512
    x = [gemel.from_numpy(a).requires_grad_() for a in operands(((1,), 4, 4, length, length, 16, 16))]

    def step() -> None:
        for t in x:
            t.grad = None
        F.scaled_dot_product_attention(*x, is_causal=True).sum().backward()
        for t in x:
            t.grad.numpy()
    with override(TIER="1"):
        step()
        with debug.profile() as seen:
            step()
    names = sorted(r.name for r in seen.rows)
    assert sum(name.startswith("attention") for name in names) == 2 and len(names) <= 4
    assert max(r.nbytes for r in seen.rows) < 4 * length * length  # less than the scores of one head


@pytest.mark.parametrize("causal", [False, True])
def test_second_derivatives(causal):
    """The result is used twice, by itself and in the gradient; so is the log-sum-exp."""
    q, k, v, g = (np.random.default_rng(i).standard_normal((2, 20, 6)) for i in range(4))

    def run(library, attention, tensors, g):
        y = attention(*tensors, is_causal=causal)
        first = library.autograd.grad(y, tensors, g, create_graph=True)
        total = (y ** 3).sum()
        for x in first:
            total = total + (x * x).sum()
        return [x.detach().numpy() for x in library.autograd.grad(total, tensors)]
    theirs = [torch.from_numpy(x).clone().requires_grad_() for x in (q, k, v)]
    with sdpa_kernel(SDPBackend.MATH):
        expected = run(torch, TF.scaled_dot_product_attention, theirs, torch.from_numpy(g))
    mine = [gemel.from_numpy(x).requires_grad_() for x in (q, k, v)]
    close(run(gemel, F.scaled_dot_product_attention, mine, gemel.from_numpy(g)), expected, 1e-10)


def test_gradient_of_an_added_mask():
    q, k, v = operands(((2,), 2, 2, 20, 30, 8, 8), np.float64)
    mask = np.random.default_rng(0).standard_normal((2, 1, 20, 30))

    def run(library, attention, tensors):
        attention(*tensors[:3], tensors[3]).square().sum().backward()
        return [x.grad.numpy() for x in tensors]
    given = (q, k, v, mask)
    theirs = [torch.from_numpy(x).clone().requires_grad_() for x in given]
    mine = [gemel.from_numpy(x).requires_grad_() for x in given]
    close(run(gemel, F.scaled_dot_product_attention, mine), run(torch, TF.scaled_dot_product_attention, theirs), 1e-10)


TYPES = [tensor_type(dt.float32, s) for s in ((2, 64, 16), (2, 64, 16), (2, 64, 16), ())]


@pytest.mark.parametrize("reason,change,masked,more", [
    ("dropout", {}, False, [(), (), (), ()]), ("empty", {1: (2, 0, 16), 2: (2, 0, 16)}, False, []),
    ("do not fill", {0: (2, 1, 16)}, False, []), ("do not fit", {1: (2, 900000, 16), 2: (2, 900000, 16)}, False, []),
    ("several batch axes", {0: (2, 3, 2, 64, 16), 1: (2, 3, 2, 64, 16), 2: (2, 3, 2, 64, 16)}, True,
     [(2, 3, 1, 64, 64)])])
def test_what_has_no_kernel(reason, change, masked, more):
    types = [tensor_type(dt.float32, change[i]) if i in change else t for i, t in enumerate(TYPES)]
    types += [tensor_type(dt.float32, s) for s in more]
    assert reason in refusal(op(ROWS["attention"], False, masked), types)
    assert not refusal(op(ROWS["attention"], False, False), TYPES)


def test_what_has_no_kernel_is_computed_by_its_body():
    arrays = operands(((2,), 2, 2, 3, 40, 8, 8))
    np.testing.assert_allclose(compare(arrays, kernel=False)[0], meant(arrays), rtol=1e-4, atol=1e-5)


def test_nothing_is_as_large_as_the_scores():
    length = 512
    q, k, v = (gemel.from_numpy(a) for a in operands(((1,), 4, 4, length, length, 16, 16)))
    with override(TIER="1"):
        for _ in range(2):
            with debug.profile() as seen, debug.counting() as counted:
                F.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    assert [r.calls for r in seen.rows] == [1] and counted["calls"] == 1
    assert seen.rows[0].nbytes == 4 * (4 * 4 * length * 16 + 4 * length)
    scores = 4 * length * length * 4
    given = operands(((1,), 4, 4, length, length, 16, 16))
    types = [tensor_type(dt.float32, a.shape) for a in given]
    p = program([*types, tensor_type(dt.float32)], lambda b, *x: b.call("attention", *x, causal=True, masked=False))
    plan = Native(p, [*given, np.float32(0.25) * np.ones((), np.float32)], True).plan
    assert plan.placement.arena + sum(n for _, n in plan.placement.owners) < scores // 4
