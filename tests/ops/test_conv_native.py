"""The convolution schedules against the interpreter's canonical order, bit for bit, and against torch in f64."""
from __future__ import annotations

import itertools
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.base.target import host
from gemel.engine.device import memory
from gemel.engine.interpreter.contract import CONTRACT
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.types import tensor_type
from gemel.engine.loops.conv import schedule
from gemel.engine.loops.gemm.tile import Shape
from gemel.engine.passes import FUSED, GENERIC, run_passes
from gemel.engine.runtime.native_plan import NativePlan
from tests.ops.test_gemm_native import random, same

fused = pytest.mark.skipif(not host().has_fma, reason="the canonical order needs a fused multiply-add")


def evaluate(build, arrays: list[np.ndarray], fuse: bool = True, threads: int = 2) -> list[np.ndarray]:
    """The results of the program that ``build(builder, *inputs)`` writes, by native kernels only."""
    types = [tensor_type(dt.from_numpy(a.dtype), a.shape) for a in arrays]
    b = ProgramBuilder()
    results = build(b, *map(b.input, types))
    program = run_passes(b.build(results if isinstance(results, list) else [results]), FUSED if fuse else GENERIC)
    buffers = []
    for t, a in zip(types, arrays, strict=True):
        buffers.append(memory.allocate(max(64, t.nbytes)))
        memory.as_numpy(buffers[-1], t.dtype.numpy, t.shape)[...] = a
    with override(THREADS=threads):
        plan = NativePlan(program, types, (), fuse)
        assert not plan.host, [s.reason for s in plan.host.values()]
        found = []
        for (buffer, form), v in zip(plan.run(buffers, []), program.outputs, strict=True):
            strides = () if form is v.type else (form.strides, form.offset)
            found.append(memory.as_numpy(buffer, v.type.dtype.numpy, v.type.shape, *strides).copy())
    return found


def window(kernel: tuple[int, ...], stride=1, padding=0, dilation=1, groups=1) -> dict[str, Any]:
    n = len(kernel)

    def each(v):
        return v if isinstance(v, tuple) else (v,) * n
    pads = tuple(p if isinstance(p, tuple) else (p, p) for p in each(padding))
    return {"stride": each(stride), "padding": pads, "dilation": each(dilation), "groups": groups}


def out_size(size, kernel, w) -> tuple[int, ...]:
    return tuple((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), d in
                 zip(size, kernel, w["stride"], w["padding"], w["dilation"], strict=True))


def seed(*parts: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


#: name -> (images, channels, output channels, size, kernel, window)
CASES: dict[str, tuple] = {
    "3x3": (2, 5, 20, (6, 7), (3, 3), {}),
    "3x3 padded": (1, 3, 17, (5, 9), (3, 3), {"padding": 1}),
    "1x1": (2, 7, 9, (4, 5), (1, 1), {}),
    "1x1 strided": (1, 4, 50, (7, 6), (1, 1), {"stride": 2, "padding": 1}),
    "strided": (1, 3, 8, (11, 10), (3, 3), {"stride": 2, "padding": 1}),
    "stem": (1, 3, 10, (17, 18), (7, 7), {"stride": 2, "padding": 3}),
    "dilated": (1, 4, 6, (9, 10), (3, 2), {"dilation": (2, 3), "padding": (1, 2)}),
    "stride beyond kernel": (1, 2, 3, (9, 8), (2, 2), {"stride": 3}),
    "uneven": (1, 2, 5, (6, 8), (2, 3), {"stride": (1, 2), "padding": ((0, 2), (3, 1))}),
    "grouped": (2, 6, 8, (5, 5), (3, 3), {"groups": 2, "padding": 1}),
    "depthwise": (2, 6, 6, (7, 5), (3, 3), {"groups": 6, "padding": 1}),
    "depthwise strided": (1, 5, 10, (8, 9), (3, 3), {"groups": 5, "stride": 2, "padding": 1}),
    "1d": (2, 3, 9, (20,), (5,), {"padding": 2}),
    "1d long": (1, 2, 3, (700,), (4,), {"stride": 2, "dilation": 3}),
    "3d": (1, 2, 5, (4, 5, 6), (2, 3, 2), {"padding": (1, 0, 1), "stride": (1, 2, 1)}),
    "several blocks of k": (1, 40, 5, (5, 4), (3, 3), {"padding": 1}),
    "lines in pieces": (2, 3, 5, (5, 530), (3, 3), {"padding": 1, "stride": (2, 1)}),
    "many small images": (70, 3, 20, (5, 5), (3, 3), {"padding": 1}),
    "many small images, dilated": (40, 2, 3, (9, 8), (3, 2), {"padding": (2, 1), "stride": (2, 1), "dilation": (2, 1)}),
    "two super-blocks": (1, 500, 3, (3, 3), (3, 3), {"padding": 1}),
}


def sample(name: str, dtype: dt.DType, op: str):
    """(builder function, interpreter function, arrays) of a case."""
    n, c, o, size, kernel, options = CASES[name]
    w = window(kernel, **options)
    out = out_size(size, kernel, w)
    rng = seed(name, op)
    x, weight = random(rng, (n, c, *size), dtype), random(rng, (o, c // w["groups"], *kernel), dtype)
    g = random(rng, (n, o, *out), dtype)
    extra = {"conv": {}, "conv_transpose": {"size": size}, "conv_weight_grad": {"kernel": kernel}}[op]
    arrays = {"conv": [x, weight], "conv_transpose": [g, weight], "conv_weight_grad": [x, g]}[op]

    def build(b, p, q):
        return getattr(b, op)(p, q, **extra, **w)

    b = ProgramBuilder()
    attrs = build(b, *(b.input(tensor_type(dtype, a.shape)) for a in arrays))
    program = b.build([attrs])
    return build, lambda: CONTRACT[op](program.equations[0].op.attrs, *arrays, exact=True), arrays


OPS = ("conv", "conv_transpose", "conv_weight_grad")


@fused
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", CASES)
def test_f32_bits(name: str, op: str) -> None:
    build, want, arrays = sample(name, dt.float32, op)
    got, = evaluate(build, arrays)
    same(got, want())


@fused
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [dt.float64, dt.bfloat16, dt.float16, dt.int8, dt.int32, dt.int64, dt.uint8])
def test_every_dtype(dtype: dt.DType, op: str) -> None:
    for name in ("3x3 padded", "strided", "grouped", "1d"):
        build, want, arrays = sample(name, dtype, op)
        got, = evaluate(build, arrays)
        same(got, want())


@pytest.mark.parametrize("op", OPS)
def test_threads_and_fusion_do_not_change_bits(op: str) -> None:
    for n, c, o, size, options in [(3, 24, 40, (30, 29), {"padding": 1}), (2, 9, 70, (23, 50), {"stride": 2})]:
        w = window((3, 3), **options)
        out = out_size(size, (3, 3), w)
        rng = seed(op, n)
        x, weight, g = (random(rng, s, dt.float32) for s in ((n, c, *size), (o, c, 3, 3), (n, o, *out)))
        extra = {"conv": {}, "conv_transpose": {"size": size}, "conv_weight_grad": {"kernel": (3, 3)}}[op]
        arrays = {"conv": [x, weight], "conv_transpose": [g, weight], "conv_weight_grad": [x, g]}[op]
        results = [evaluate(lambda b, p, q, w=w, extra=extra: getattr(b, op)(p, q, **extra, **w), arrays, fuse, threads)
                   for fuse, threads in ((True, 1), (True, 2), (False, 1), (False, 3))]
        for other in results[1:]:
            same(other[0], results[0][0])
        wide, narrow, grad = (torch.from_numpy(v.astype(np.float64)).requires_grad_() for v in (x, weight, g))
        y = torch.nn.functional.conv2d(wide, narrow, stride=w["stride"], padding=[p for p, _ in w["padding"]])
        want = y if op == "conv" else torch.autograd.grad(y, wide if op == "conv_transpose" else narrow, grad)[0]
        want = want.detach().numpy()
        np.testing.assert_allclose(results[0][0], want, rtol=2e-4, atol=2e-4 * np.abs(want).max())


@pytest.mark.parametrize("n, c, o, size, kernel", [(0, 3, 4, (5, 5), (3, 3)), (2, 0, 4, (5, 5), (3, 3)),
                                                   (2, 3, 0, (5, 5), (3, 3)), (2, 3, 4, (3, 0), (1, 1))])
@pytest.mark.parametrize("op", OPS)
def test_empty_sizes(op: str, n: int, c: int, o: int, size, kernel) -> None:
    w = window(kernel)
    out = out_size(size, kernel, w)
    x, weight, g = (np.ones(s, np.float32) for s in ((n, c, *size), (o, c, *kernel), (n, o, *out)))
    extra = {"conv": {}, "conv_transpose": {"size": size}, "conv_weight_grad": {"kernel": kernel}}[op]
    arrays = {"conv": [x, weight], "conv_transpose": [g, weight], "conv_weight_grad": [x, g]}[op]
    got, = evaluate(lambda b, p, q: getattr(b, op)(p, q, **extra, **w), arrays)
    assert got.shape == {"conv": g, "conv_transpose": x, "conv_weight_grad": weight}[op].shape and not got.any()


@fused
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16])
@pytest.mark.parametrize("groups", [1, 2])
def test_epilogues_run_in_the_same_kernel(dtype: dt.DType, groups: int) -> None:
    rng = seed("epilogue", groups)
    w = window((3, 3), padding=1, groups=groups)
    n, c, o, size = 2, 4, 34, (6, 5)
    x, weight = random(rng, (n, c, *size), dtype), random(rng, (o, c // groups, 3, 3), dtype)
    bias, residual = random(rng, (o,), dtype), random(rng, (n, o, *size), dtype)
    line = random(rng, (size[1],), dtype)  # broadcast along height: not one stride over positions

    def build(b, x, weight, bias, residual, line):
        shape = (n, o, *size)
        y = b.conv(x, weight, **w)
        y = b.add(y, b.expand(b.reshape(bias, (o, 1, 1)), shape))
        y = b.max(b.add(y, residual), b.full(0.0, dtype, shape))
        return [b.mul(y, b.expand(line, shape)), b.permute(y, (0, 2, 3, 1))]

    arrays = [x, weight, bias, residual, line]
    alone, = evaluate(lambda b, p, q: b.conv(p, q, **w), [x, weight])
    want = build_numpy(alone, bias, residual, line)
    for fuse in (True, False):
        for got, expected in zip(evaluate(build, arrays, fuse), want, strict=True):
            same(got, expected)


def build_numpy(y: np.ndarray, bias: np.ndarray, residual: np.ndarray, line: np.ndarray) -> list[np.ndarray]:
    """The epilogue, each step rounded to the dtype."""
    def add(p, q):
        return (p.astype(np.float32) + q.astype(np.float32)).astype(y.dtype)
    y = np.maximum(add(add(y, bias[:, None, None]), residual), np.zeros_like(y))
    scaled = (y.astype(np.float32) * line.astype(np.float32)).astype(y.dtype)
    return [scaled, y.transpose(0, 2, 3, 1)]


def calls_of(build, types) -> list[str]:
    b = ProgramBuilder()
    program = run_passes(b.build([build(b, *map(b.input, types))]), FUSED)
    return [c.spec.name for c in NativePlan(program, types, (), True).calls]


def test_bias_and_relu_cost_no_kernel() -> None:
    def build(b, x, weight, bias):
        y = b.add(b.conv(x, weight, **window((3, 3))), b.expand(b.reshape(bias, (16, 1, 1)), (2, 16, 8, 8)))
        return b.max(y, b.full(0.0, dt.float32, (2, 16, 8, 8)))
    names = calls_of(build, [tensor_type(dt.float32, s) for s in ((2, 3, 10, 10), (16, 3, 3, 3), (16,))])
    assert len(names) == 2 and names[0].startswith("conv_weights") and names[1].startswith("conv"), names


@fused
@pytest.mark.parametrize("op", OPS)
def test_operands_are_read_where_they_are(op: str) -> None:
    """Channels last, and sliced operands."""
    rng = seed("layouts", op)
    w = window((3, 3), padding=1)
    extra = {"conv": {}, "conv_transpose": {"size": (6, 7)}, "conv_weight_grad": {"kernel": (3, 3)}}[op]
    p = random(rng, (2, 6, 7, 5), dt.float32)
    q = random(rng, (2, 6, 7, 5) if op == "conv_weight_grad" else (5, 3, 3, 5), dt.float32)

    def last(b, p, q):
        return getattr(b, op)(b.permute(p, (0, 3, 1, 2)), b.permute(q, (0, 3, 1, 2)), **extra, **w)

    def plain(b, p, q):
        return getattr(b, op)(p, q, **extra, **w)
    got, = evaluate(last, [p, q])
    want, = evaluate(plain, [p.transpose(0, 3, 1, 2), q.transpose(0, 3, 1, 2)])
    same(got, want)


def test_kernels_do_not_depend_on_shapes() -> None:
    """A handful of register tiles and layouts, whatever the sizes, strides and paddings."""
    for op in OPS:
        keys = set()
        for name in CASES:
            build, _, arrays = sample(name, dt.float32, op)
            types = [tensor_type(dt.float32, a.shape) for a in arrays]
            b = ProgramBuilder()
            plan = NativePlan(run_passes(b.build([build(b, *map(b.input, types))]), FUSED), types, (), True)
            keys |= {c.spec.key for c in plan.calls if c.spec.name.startswith(op)}
        assert len(keys) <= 10, len(keys)


@fused
@pytest.mark.parametrize("op", OPS)
def test_windows_that_do_not_fit_are_copied_out(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MOST_WINDOW", 0)
    for name in CASES:
        build, want, arrays = sample(name, dt.float32, op)
        got, = evaluate(build, arrays)
        same(got, want())


@fused
@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
@pytest.mark.parametrize("planes, most", [(1 << 20, 1 << 20), (0, 1 << 20), (0, 0)])
def test_positions_in_lanes(op: str, planes: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From planes of lines of a whole image, of a few lines, and from packed panels, also where others are better."""
    monkeypatch.setattr(schedule, "_position_shape", lambda *_: Shape(4, 3))
    monkeypatch.setattr(schedule, "PLANES_BYTES", planes)
    monkeypatch.setattr(schedule, "MOST_PLANES", most)
    names = set()
    for name in CASES:
        build, want, arrays = sample(name, dt.float32, op)
        got, = evaluate(build, arrays)
        same(got, want())
        types = [tensor_type(dt.float32, a.shape) for a in arrays]
        names |= set(calls_of(build, types))
    assert (f"{op}_lines4x3_f32" in names) == (most > 0), names


@pytest.mark.parametrize("stride", [2, 3, 4, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_strided_input_gradients_in_phases(stride: int, dilation: int) -> None:
    """Every tap in its phase, with padding beyond the kernel, phases without taps and sizes shorter than the stride."""
    rng = seed("phases", stride, dilation)
    for size, kernel, padding in itertools.product((1, 4, 9, 14), (1, 2, 3, 5), (0, 1, 4)):
        w = window((kernel,), stride=stride, padding=padding, dilation=dilation)
        out = out_size((size,), (kernel,), w)
        if out[0] < 1:
            continue
        g, weight = (rng.integers(-8, 9, s).astype(np.float32) for s in ((1, 2, *out), (2, 3, kernel)))
        got, = evaluate(lambda b, p, q, w=w, size=size: b.conv_transpose(p, q, size=(size,), **w), [g, weight])
        x = torch.zeros(1, 3, size, requires_grad=True)
        y = torch.nn.functional.conv1d(x, torch.from_numpy(weight), None, stride, padding, dilation)
        want, = torch.autograd.grad(y, x, torch.from_numpy(g))
        np.testing.assert_array_equal(got, want.numpy())


def test_zeros_between_sites_are_not_multiplied() -> None:
    """An infinite weight reaches the positions of its phase alone, as in torch."""
    g, weight = np.ones((1, 1, 4), np.float32), np.array([[[1.0, np.inf, 2.0]]], np.float32)
    for form in (True, False):
        got, = evaluate(lambda b, p, q: b.conv_transpose(p, q, size=(9,), **window((3,), stride=2)), [g, weight], form)
        want = torch.nn.functional.conv_transpose1d(torch.from_numpy(g), torch.from_numpy(weight), stride=2).numpy()
        np.testing.assert_array_equal(got, want)
        assert np.isinf(want).sum() == 4 and not np.isnan(want).any()


def test_a_kernel_as_large_as_the_image() -> None:
    rng = seed("large")
    x, weight = random(rng, (1, 40, 200, 180), dt.float32), random(rng, (3, 40, 200, 180), dt.float32)
    got, = evaluate(lambda b, p, q: b.conv(p, q, **window((200, 180))), [x, weight])
    want = np.einsum("nchw,ochw->no", x.astype(np.float64), weight.astype(np.float64))
    np.testing.assert_allclose(got[:, :, 0, 0], want, rtol=1e-3, atol=1e-1)
