"""The contraction schedules against the interpreter's canonical order, bit for bit, and against torch in f64."""
from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.base.target import for_isa, host
from gemel.engine.interpreter.contract import contract, in_tiles
from gemel.engine.interpreter.elementwise import ELEMENTWISE, cast
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.loops.calls import Operand, Refusal
from gemel.engine.loops.expression import Expression
from gemel.engine.loops.gemm import Access, Choice, GemmProblem, Shape, gemm, pack_operand, packed_layout
from tests.execute import Plan

fused = pytest.mark.skipif(not host().has_fma, reason="the canonical order needs a fused multiply-add")

PATHS = {
    "chosen": None,
    "n in lanes": Choice(False, Shape(4, 3)),
    "m in lanes": Choice(True, Shape(4, 3)),
    "all packed": Choice(False, Shape(4, 3), "packed", True),
    "tall": Choice(True, Shape(8, 1), "task", True),
    "split": Choice(False, Shape(4, 3), split=True),
}


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: dt.DType) -> np.ndarray:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype.numpy)
    low, high = max(-(1 << 62), np.iinfo(dtype.numpy).min), min(1 << 62, np.iinfo(dtype.numpy).max)
    return rng.integers(low, high, shape, dtype.numpy, endpoint=True)


def strided(array: np.ndarray, order: tuple[int, ...], gap: int = 0) -> np.ndarray:
    """The same values, stored with these axes from outermost to innermost, ``gap`` spare elements inside."""
    moved = array.transpose(order)
    if gap:
        wide = np.full((*moved.shape[:-1], moved.shape[-1] + gap), 1, array.dtype)
        wide[..., :moved.shape[-1]] = moved
        moved = wide[..., :moved.shape[-1]]
    else:
        moved = np.ascontiguousarray(moved)
    return moved.transpose(np.argsort(order))


def steps(array: np.ndarray) -> tuple[int, ...]:
    return tuple(0 if n == 1 else s // array.itemsize for n, s in zip(array.shape, array.strides, strict=True))


def run(a: np.ndarray, b: np.ndarray, outputs: list[np.ndarray], dtype: dt.DType, out: dt.DType, *,
        epilogue: Expression | None = None, inputs: tuple[np.ndarray, ...] = (), threads: int = 1,
        choice: Choice | None = None) -> None:
    """``outputs`` = epilogue(a (batch.., m, k) @ b (batch.., k, n), inputs)."""
    *batch, m, k = a.shape
    n = b.shape[-1]

    def access(x: np.ndarray) -> Access:
        *batches, row, column = steps(np.broadcast_to(x, (*batch, m, n)))
        return Access(tuple(batches), row, column)

    *a_batch, a_m, a_k = steps(a)
    *b_batch, b_k, b_n = steps(b)
    problem = GemmProblem(tuple(batch), m, n, k, tuple(a_batch), a_m, a_k, tuple(b_batch), b_k, b_n, dtype, out,
                          tuple(map(access, outputs)), epilogue, tuple(map(access, inputs)))
    values = {"a": a, "b": b, **{f"i{i}": x for i, x in enumerate(inputs)},
              **{f"o{i}": x for i, x in enumerate(outputs)}}
    calls = gemm(problem, Operand("a"), Operand("b"), [Operand(f"i{i}") for i in range(len(inputs))],
                 [Operand(f"o{i}") for i in range(len(outputs))], threads=threads, choice=choice)
    assert not isinstance(calls, Refusal), calls
    Plan(calls, values, threads)()


def exact(a: np.ndarray, b: np.ndarray, out: dt.DType) -> np.ndarray:
    """The oracle."""
    batch, (m, k), n = a.shape[:-2], a.shape[-2:], b.shape[-1]
    flat = contract(a.reshape(-1, m, k), b.reshape(-1, k, n).swapaxes(1, 2), out.numpy, exact=True,
                    tiles=in_tiles(a.dtype))
    return flat.reshape(*batch, m, n)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Bit for bit (any NaN equals any NaN)."""
    assert got.dtype == want.dtype and got.shape == want.shape
    bits = np.dtype(f"u{got.itemsize}")
    x, y = np.ascontiguousarray(got), np.ascontiguousarray(want)
    wrong = (x.view(bits) != y.view(bits)) & ~(np.isnan(x) & np.isnan(y) if x.dtype.kind not in "iu" else False)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} differ; first at {np.argwhere(wrong)[0]}: " \
                            f"{x[tuple(np.argwhere(wrong)[0])]} for {y[tuple(np.argwhere(wrong)[0])]}"


def seed(*parts: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


SIZES = [(1, 1, 1), (5, 3, 2), (3, 7, 255), (4, 24, 256), (9, 17, 257), (2, 70, 600), (33, 10, 40), (6, 50, 16)]


@fused
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("layouts", ["NNN", "NTN", "TNN", "TTN", "NNT", "TNT", "GGG"])
def test_f32_bits_in_every_layout(path: str, layouts: str) -> None:
    """N: row-major, T: column-major, G: nothing contiguous."""
    sizes = SIZES if path in ("chosen", "n in lanes") else SIZES[2:6]
    for m, n, k in sizes:
        rng = seed(m, n, k)
        a, b = random(rng, (m, k), dt.float32), random(rng, (k, n), dt.float32)
        c = np.zeros((m, n), np.float32)
        x, y, z = (strided(v, (1, 0) if kind == "T" else (0, 1)) for v, kind in zip((a, b, c), layouts, strict=True))
        if layouts == "GGG":
            x, y, z = (np.repeat(v, 2, axis=1)[:, ::2] for v in (a, b, c))
        run(x, y, [z], dt.float32, dt.float32, choice=PATHS[path], threads=2)
        same(z, exact(a, b, dt.float32))


@fused
@pytest.mark.parametrize("path", ["chosen", "n in lanes", "all packed", "split"])
@pytest.mark.parametrize("k", [2047, 2049, 4096, 4100, 8300])
def test_f32_bits_at_block_borders(path: str, k: int) -> None:
    rng = seed(k)
    m, n = 3, 26
    a, b, c = random(rng, (m, k), dt.float32), random(rng, (k, n), dt.float32), np.zeros((m, n), np.float32)
    run(a, b, [c], dt.float32, dt.float32, choice=PATHS[path], threads=2)
    same(c, exact(a, b, dt.float32))


@fused
@pytest.mark.parametrize("m, n, k, layouts", [
    (3, 26, 31, "NN"), (3, 26, 33, "NT"), (34, 5, 65, "TN"), (1, 64, 256, "NT"), (3, 26, 300, "NT"),
    (2, 17, 4100, "NN"), (2, 32, 4128, "NT")])
def test_bf16_bits_at_block_borders(m: int, n: int, k: int, layouts: str) -> None:
    """Also where a weight is read in place and where k ends inside a tile or begins a super-block."""
    rng = seed(m, n, k)
    a, b = random(rng, (m, k), dt.bfloat16), random(rng, (k, n), dt.bfloat16)
    x, y = (strided(v, (1, 0) if kind == "T" else (0, 1)) for v, kind in zip((a, b), layouts, strict=True))
    for path in ("chosen", "m in lanes", "split"):
        c = np.zeros((m, n), np.float32)
        run(x, y, [c], dt.bfloat16, dt.float32, choice=PATHS[path], threads=2)
        same(c, exact(a, b, dt.float32))


@fused
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16, dt.int8])
@pytest.mark.parametrize("m, n, k", [(40, 112, 300), (21, 96, 301), (9, 150, 2308)])
def test_panels_that_their_first_tile_packs(dtype: dt.DType, m: int, n: int, k: int) -> None:
    """Whole ones and one at the edge, read by several tiles; pairs that k does not fill; one and two passes."""
    rng = seed(m, n, k)
    a, b = random(rng, (m, k), dtype), random(rng, (k, n), dtype)
    out = dt.int32 if dtype is dt.int8 else dtype
    for path in ("chosen", "n in lanes"):
        c = np.zeros((m, n), out.numpy)
        run(a, b, [c], dtype, out, choice=PATHS[path], threads=2)
        same(c, a.astype(np.int32) @ b.astype(np.int32) if dtype is dt.int8 else exact(a, b, out))


@fused
@pytest.mark.parametrize("path", ["chosen", "n in lanes", "tall"])
def test_f64_bits(path: str) -> None:
    for m, n, k in [(3, 5, 7), (9, 17, 260), (2, 40, 30)]:
        rng = seed(m, n, k)
        a, b, c = random(rng, (m, k), dt.float64), random(rng, (k, n), dt.float64), np.zeros((m, n))
        run(a, b, [c], dt.float64, dt.float64, choice=PATHS[path], threads=2)
        same(c, exact(a, b, dt.float64))


@fused
@pytest.mark.parametrize("dtype", [dt.bfloat16, dt.float16])
@pytest.mark.parametrize("layouts", ["NN", "NT", "TN"])
def test_16_bit_floats_accumulate_in_f32_and_round_once(dtype: dt.DType, layouts: str) -> None:
    for (m, n, k), out in itertools.product([(3, 40, 9), (1, 70, 300), (13, 29, 270)], (dtype, dt.float32)):
        rng = seed(m, n, k)
        a, b, c = random(rng, (m, k), dtype), random(rng, (k, n), dtype), np.zeros((m, n), out.numpy)
        x, y = (strided(v, (1, 0) if kind == "T" else (0, 1)) for v, kind in zip((a, b), layouts, strict=True))
        run(x, y, [c], dtype, out, threads=2)
        same(c, exact(a, b, out))


@fused
@pytest.mark.parametrize("special", [(2.0**-63 * 1.5, 2.0**-63, -(2.0**-63), 2.0**-63), (np.inf, 0, 1, 1),
                                     (-np.inf, 0, 1, 1), (np.inf, 1, 1, 1), (3.3e38, 1, 1, 1),
                                     (np.nan, 1, 1, 1)])
def test_whole_tiles_round_what_is_special_in_bf16(special: tuple[float, ...]) -> None:
    """One result that is subnormal (the sum of two blocks), NaN, infinite, or next to the largest: in a whole tile as
    in one at the edge, to the last bit of a NaN."""
    x, y, z, w = special
    a, b = np.ones((8, 512), np.float32), np.ones((512, 48), np.float32)
    a[3], b[:, 5] = 0, 0
    a[3, 0], b[0, 5], a[3, 300], b[300, 5] = x, y, z, w
    a, b = a.astype(dt.bfloat16.numpy), b.astype(dt.bfloat16.numpy)
    if np.isnan(x):
        a.view(np.uint16)[3, 0] = 0x7FE5  # results have no payloads
    whole, edge = np.zeros((8, 48), dt.bfloat16.numpy), np.zeros((7, 7), dt.bfloat16.numpy)
    run(a, b, [whole], dt.bfloat16, dt.bfloat16)
    run(a[:7], b[:, :7], [edge], dt.bfloat16, dt.bfloat16)
    same(whole, exact(a, b, dt.bfloat16))
    assert (whole[:7, :7].view(np.uint16) == edge.view(np.uint16)).all()


@fused
@pytest.mark.parametrize("layouts", ["NT", "TT"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16, dt.float16])
def test_few_rows_times_contiguous_columns(dtype: dt.DType, layouts: str) -> None:
    """A weight as ``Linear`` stores it, read in place: strips and squares that end early, one and many super-blocks."""
    for m, n, k in [(1, 33, 40), (3, 70, 257), (8, 64, 290), (2, 35, 4100), (5, 32, 8333)]:
        rng = seed(m, n, k)
        a, b = random(rng, (m, k), dtype), random(rng, (k, n), dtype)
        x, y = (strided(v, (1, 0) if kind == "T" else (0, 1)) for v, kind in zip((a, b), layouts, strict=True))
        for product in ((x, y), (y.T, x.T)):  # either operand may be the one of few rows
            swapped = product[0] is not x
            c = np.zeros((n, m) if swapped else (m, n), dtype.numpy)
            run(*product, [c], dtype, dtype, threads=2)
            same(c.T if swapped else c, exact(a, b, dtype))


@pytest.mark.parametrize("dtype", [dt.int8, dt.uint8, dt.int16, dt.int32])
def test_few_rows_of_integers_times_contiguous_columns(dtype: dt.DType) -> None:
    for m, n, k in [(1, 33, 130), (3, 70, 261), (8, 64, 4123)]:
        rng = seed(m, n, k)
        a, b = random(rng, (m, k), dtype), random(rng, (k, n), dtype)
        for x in (a, strided(a, (1, 0))):
            c = np.zeros((m, n), np.int32)
            run(x, strided(b, (1, 0)), [c], dtype, dt.int32, threads=2)
            with np.errstate(all="ignore"):
                same(c, np.matmul(a.astype(np.int32), b.astype(np.int32)))


@pytest.mark.parametrize("dtype, out", [
    (dt.int8, dt.int32), (dt.uint8, dt.int32), (dt.int8, dt.int8), (dt.int16, dt.int16), (dt.int32, dt.int32),
    (dt.int64, dt.int64), (dt.uint8, dt.uint8), (dt.int8, dt.int64), (dt.uint16, dt.uint32)])
@pytest.mark.parametrize("layouts", ["NN", "NT", "TN"])
def test_integers_wrap(dtype: dt.DType, out: dt.DType, layouts: str) -> None:
    for m, n, k in [(3, 40, 9), (1, 70, 3), (13, 29, 270)]:
        rng = seed(m, n, k)
        a, b, c = random(rng, (m, k), dtype), random(rng, (k, n), dtype), np.zeros((m, n), out.numpy)
        x, y = (strided(v, (1, 0) if kind == "T" else (0, 1)) for v, kind in zip((a, b), layouts, strict=True))
        run(x, y, [c], dtype, out, threads=2)
        with np.errstate(all="ignore"):
            same(c, np.matmul(a.astype(out.numpy), b.astype(out.numpy)))


@fused
@pytest.mark.parametrize("path", ["chosen", "m in lanes", "all packed"])
def test_batches_broadcast_and_permute(path: str) -> None:
    rng = seed("batch")
    a, b = random(rng, (2, 3, 5, 20), dt.float32), random(rng, (2, 3, 20, 34), dt.float32)
    c = strided(np.zeros((2, 3, 5, 34), np.float32), (0, 2, 1, 3))
    run(strided(a, (2, 0, 1, 3)), strided(b, (1, 0, 3, 2)), [c], dt.float32, dt.float32, choice=PATHS[path], threads=2)
    same(c, exact(a, b, dt.float32))
    shared = np.broadcast_to(b[:, :1], b.shape)
    run(a, shared, [c], dt.float32, dt.float32, choice=PATHS[path], threads=2)
    same(c, exact(a, np.ascontiguousarray(shared), dt.float32))


def test_empty_sizes() -> None:
    for m, n, k in [(0, 4, 3), (4, 0, 3), (5, 7, 0)]:
        c = np.full((m, n), 5, np.float32)
        run(np.ones((m, k), np.float32), np.ones((k, n), np.float32), [c], dt.float32, dt.float32)
        assert (c == 0).all()
    c = np.full((2, 3, 40), 5, np.float32)
    bias = np.arange(40, dtype=np.float32)
    run(np.ones((2, 3, 0), np.float32), np.ones((2, 0, 40), np.float32), [c], dt.float32, dt.float32,
        epilogue=bias_relu(dt.float32), inputs=(bias,))
    assert (c == bias).all()


# --- epilogues -----------------------------------------------------------------------------------

def bias_relu(dtype: dt.DType) -> Expression:
    add, largest = op(ROWS["add"]), op(ROWS["max"])
    sub = op(ROWS["sub"])
    return Expression((dtype, dtype), ((add, (0, 1)), (sub, (1, 1)), (largest, (2, 3))), (dtype,) * 3, (4,))


def tanh_of_product() -> Expression:
    return Expression((dt.float32,), ((op(ROWS["tanh"]), (0,)),), (dt.float32,), (1,))


def scaled_residual(dtype: dt.DType) -> Expression:
    """(result * s + residual, result as f32): two outputs, a scalar and a full input."""
    mul, add, to = op(ROWS["mul"]), op(ROWS["add"]), op(ROWS["cast"], dt.float32)
    return Expression((dtype,) * 3, ((mul, (0, 1)), (add, (3, 2)), (to, (0,))), (dtype, dtype, dt.float32), (4, 5))


@fused
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16])
@pytest.mark.parametrize("path", ["chosen", "n in lanes", "m in lanes", "tall", "split"])
@pytest.mark.parametrize("sizes", [(3, 40, 20), (13, 29, 270), (40, 9, 12), (26, 112, 270)])
def test_epilogues(dtype: dt.DType, path: str, sizes: tuple[int, int, int]) -> None:
    """On tiles at edges, and (the last sizes) on whole ones, which are finished in registers."""
    m, n, k = sizes
    rng = seed(sizes)
    a, b = random(rng, (m, k), dtype), random(rng, (k, n), dtype)
    product = exact(a, b, dtype)
    bias, column = random(rng, (n,), dtype), random(rng, (m, 1), dtype)
    add, mul = ELEMENTWISE["add"], ELEMENTWISE["mul"]
    for vector in (bias, column):
        c = np.zeros((m, n), dtype.numpy)
        run(a, b, [c], dtype, dtype, epilogue=bias_relu(dtype), inputs=(vector,), choice=PATHS[path], threads=2)
        same(c, ELEMENTWISE["max"](add(product, np.broadcast_to(vector, (m, n))), np.zeros_like(product)))
    scale, residual = random(rng, (1, 1), dtype), random(rng, (m, n), dtype)
    for order in ((0, 1), (1, 0)):
        c, wide = strided(np.zeros((m, n), dtype.numpy), order), np.zeros((m, n), np.float32)
        run(a, b, [c, wide], dtype, dtype, epilogue=scaled_residual(dtype), inputs=(scale, strided(residual, order)),
            choice=PATHS[path], threads=2)
        same(c, add(mul(product, np.broadcast_to(scale, (m, n))), residual))
        same(wide, cast(product, dt.float32))


# --- packed operands, threads, larger sizes --------------------------------------------------------

@fused
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int8])
@pytest.mark.parametrize("which", ["a", "b"])
def test_packed_operands(dtype: dt.DType, which: str) -> None:
    out = dt.int32 if dtype is dt.int8 else dtype
    for m, n, k in [(1, 50, 300), (20, 34, 5), (30, 100, 513)]:
        rng = seed(m, n, k)
        m, n = (m, n) if which == "b" else (n, m)
        a, b, c = random(rng, (m, k), dtype), random(rng, (k, n), dtype), np.zeros((m, n), out.numpy)
        problem = GemmProblem((), m, n, k, (), k, 1, (), n, 1, dtype, out, (Access((), n, 1),))
        layout = packed_layout(problem, which)
        assert layout is not None
        memory = np.zeros(layout.nbytes, np.uint8)
        free, along = (k, 1) if which == "a" else (1, n)
        calls = [pack_operand(layout, Operand(which), Operand("packed"), (), free, along)]
        left, right = (Operand("packed" if which == x else x) for x in "ab")
        found = gemm(problem, left, right, [], [Operand("c")], threads=2, packed_a=layout if which == "a" else None,
                     packed_b=layout if which == "b" else None)
        assert not isinstance(found, Refusal)
        Plan([*calls, *found], {"a": a, "b": b, "c": c, "packed": memory}, 2)()
        if dtype is dt.int8:
            same(c, a.astype(np.int32) @ b.astype(np.int32))
        else:
            same(c, exact(a, b, out))


@pytest.mark.parametrize("isa", ["", "sse2"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16])
def test_larger_sizes_are_close_and_do_not_depend_on_threads(isa: str, dtype: dt.DType) -> None:
    with override(ISA=isa):
        for m, n, k, lb in [(130, 200, 700, "N"), (64, 256, 784, "T"), (1, 1000, 500, "N"), (1, 1000, 500, "T"),
                            (20, 30, 9000, "N"), (7, 300, 90, "N")]:
            rng = seed(m, n, k)
            a, b = random(rng, (m, k), dtype), random(rng, (k, n), dtype)
            want = (torch.from_numpy(a.astype(np.float64)) @ torch.from_numpy(b.astype(np.float64))).numpy()
            results = []
            y = strided(b, (1, 0) if lb == "T" else (0, 1))
            for threads, choice in ((1, None), (2, None), (2, PATHS["all packed"]), (1, PATHS["m in lanes"])):
                c = np.zeros((m, n), dtype.numpy)
                run(a, y, [c], dtype, dtype, threads=threads, choice=choice)
                results.append(c)
            tolerance = {"f32": 2e-6, "f64": 1e-14, "bf16": 8e-3}[dtype.ir] * np.sqrt(k) * 4
            assert np.abs(results[0].astype(np.float64) - want).max() < tolerance
            for other in results[1:]:
                same(other, results[0])


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16])
def test_a_row_alone_is_the_row_in_a_batch(dtype: dt.DType) -> None:
    rng = seed("row")
    a, b = random(rng, (50, 300), dtype), random(rng, (300, 64), dtype)
    c = np.zeros((50, 64), dtype.numpy)
    run(a, b, [c], dtype, dtype, threads=2)
    for rows in (1, 3, 8, 9):
        part = np.zeros((rows, 64), dtype.numpy)
        run(a[:rows], b, [part], dtype, dtype, threads=2)
        same(part, c[:rows])


def test_refusals_say_why() -> None:
    access = (Access((), 4, 1),)
    problem = GemmProblem((), 4, 4, 4, (), 4, 1, (), 4, 1, dt.complex64, dt.complex64, access)
    found = gemm(problem, Operand("a"), Operand("b"), [], [Operand("c")])
    assert isinstance(found, Refusal) and "complex64" in found.reason


# --- other instruction sets: compiled, not run ------------------------------------------------------

_ISA_SCRIPT = """
import sys
from tests.ops.test_gemm_native import isa_report
isa_report(sys.argv[1], tuple(sys.argv[2:]))
"""


def isa_report(isa: str, extras: tuple[str, ...]) -> None:
    """Compile typical kernels for a target and check their inner loops; runs in a process of its own."""
    from gemel.engine.codegen import jit
    from tests.execute import kernel_text
    target = for_isa(isa, extras)
    if isa == "avx2":  # the scheduling model of the oldest x86-64 spills where those of machines with AVX2 do not
        target = replace(target, cpu="x86-64-v3")
    fma = {"sse2": "addps", "avx2": "vfmadd", "avx512": "vfmadd", "neon": "fmla"}[isa]
    expected = {dt.float32: fma}
    if "amx-bf16" in extras:
        expected[dt.bfloat16] = "tdpbf16ps"
    elif "avx512bf16" in extras:
        expected[dt.bfloat16] = "vdpbf16ps"
    if "avx512vnni" in extras or "avxvnni" in extras:
        expected[dt.int8] = "vpdpbusd"
    elif "dotprod" in extras:
        expected[dt.int8] = "sdot"
    elif isa != "neon":
        expected[dt.int8] = "pmaddwd"
    for dtype in (dt.float32, dt.float64, dt.bfloat16, dt.float16, dt.int8, dt.int32):
        out = dt.int32 if dtype is dt.int8 else dtype
        for m, b_k, b_n in ((40, 100, 1), (40, 1, 300), (2, 100, 1), (5, 1, 300)):
            problem = GemmProblem((), m, 100, 300, (), 300, 1, (), b_k, b_n, dtype, out, (Access((), 100, 1),))
            calls = gemm(problem, Operand("a"), Operand("b"), [], [Operand("c")], target=target)
            assert not isinstance(calls, Refusal), (dtype, calls)
            for call in calls:
                text = jit.assembly(kernel_text(call.spec, target), call.spec.name, target)
                if dtype in expected and m == 40 and call is calls[-1]:
                    check_inner_loop(text, expected[dtype], call.spec.name)
    if fma == "vfmadd":  # the constants of an epilogue do not push sums out of their registers
        problem = GemmProblem((), 40, 100, 300, (), 300, 1, (), 100, 1, dt.float32, dt.float32,
                              (Access((), 100, 1),), tanh_of_product())
        calls = gemm(problem, Operand("a"), Operand("b"), [], [Operand("c")], target=target)
        assert not isinstance(calls, Refusal), calls
        name = calls[-1].spec.name
        check_inner_loop(jit.assembly(kernel_text(calls[-1].spec, target), name, target), fma, name)


def inner_loops(text: str) -> list[list[str]]:
    """The instructions of the loops of one block: from a label to the jump back to it."""
    loops, label, lines = [], None, []
    for line in text.splitlines():
        line = line.split("//")[0].strip()
        if line.endswith(":"):
            label, lines = line[:-1], []
        elif line and not line.startswith((".", "#")):
            lines.append(line)
            if label and line.split()[-1].split(",")[-1] == label:
                loops.append(lines)
                label, lines = None, []
    return loops


def check_inner_loop(text: str, instruction: str, name: str) -> None:
    """The busiest innermost loop multiplies and adds, and leaves the stack alone.

    That of a tile that also packs what it reads runs once for each panel: there, pointers and what interleaves rows may
    lie on the stack.
    """
    loops = inner_loops(text)
    if instruction != "tdpbf16ps":
        loops = [lines for lines in loops if not any(line.startswith(("prefetcht0", "prfm")) for line in lines)]
    best = max(loops, key=lambda lines: sum(instruction in line for line in lines))
    count = sum(instruction in line for line in best)
    assert count >= (2 if instruction == "tdpbf16ps" else 8), f"{name}: {count} x {instruction}"
    # %rbp is a frame pointer where it has a negative displacement, and elsewhere a register like any other
    spills = [line for line in best if re.search(r"\(%rsp|-\d+\(%rbp\)|\[sp", line)
              and not line.startswith(("cmp", "tileload"))]  # tiles' addresses may lie in any register
    assert not spills, f"{name}: spills {spills}"


@pytest.mark.parametrize("target", [
    ("sse2",), ("avx2",), ("avx2", "avxvnni"), ("avx512",), ("avx512", "avx512bf16", "avx512vnni"),
    ("avx512", "amx-tile", "amx-bf16"),
    ("neon",), ("neon", "dotprod")], ids=" ".join)
def test_every_instruction_set_compiles(target: tuple[str, ...]) -> None:
    found = subprocess.run([sys.executable, "-c", _ISA_SCRIPT, *target], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]


# --- AMX on other machines ---------------------------------------------------------------------------

@pytest.mark.skipif(host().isa != "avx512", reason="kernels for AMX use AVX-512, too")
def test_tiles_in_software() -> None:
    """The kernels for AMX with their tile instructions in software: the oracle's bits, and no access out of bounds."""
    found = subprocess.run([sys.executable, "-c", "from tests.ops.test_gemm_native import tiles_report as t; t()"],
                           check=False, capture_output=True, text=True, env={**os.environ, "GEMEL_GUARD": "1"})
    assert found.returncode == 0, found.stderr[-3000:]


def tiles_report() -> None:
    from tests import execute, tiles
    text = execute.kernel_text
    with tiles.emulated(), mock.patch.object(execute, "kernel_text", lambda spec: tiles.in_software(text(spec))):
        assert in_tiles(dt.bfloat16.numpy)
        rng = seed("tiles")
        for m, k, n in ((16, 32, 32), (33, 31, 17), (9, 4200, 40), (130, 64, 7)):
            for layouts in ("NN", "TT"):
                a, b = (strided(random(rng, shape, dt.bfloat16), (1, 0) if kind == "T" else (0, 1), gap)
                        for shape, kind, gap in zip(((m, k), (k, n)), layouts, (0, m % 2), strict=True))
                c = np.zeros((m, n), dt.bfloat16.numpy)
                run(a, b, [c], dt.bfloat16, dt.bfloat16, threads=2)
                same(c, exact(a, b, dt.bfloat16))
        subnormal_sums()


@pytest.mark.skipif(not in_tiles(dt.bfloat16.numpy), reason="no AMX")
def test_tiles_take_and_give_subnormals_as_zeros() -> None:
    subnormal_sums()


def subnormal_sums() -> None:
    """Products and sums about the smallest normal number, 2**-126, and operands about it."""
    rng = seed("subnormal sums")

    def about(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        values = rng.choice([-1, 1], shape) * rng.uniform(1, 2, shape) * 2.0 ** rng.integers(low, high, shape)
        return values.astype(np.float32).astype(dt.bfloat16.numpy)

    flushed = 0
    for k in (1, 31, 300):
        for left, right in (((-66, -62), (-66, -62)), ((-128, -120), (-6, 4))):
            a, b, c = about((16, k), *left), about((k, 32), *right), np.zeros((16, 32), np.float32)
            run(a, b, [c], dt.bfloat16, dt.float32)
            same(c, exact(a, b, dt.float32))
            flushed += np.count_nonzero(c == 0)
    assert flushed > 100


@pytest.mark.skipif(not host().triple.startswith("x86_64"), reason="x86 only")
@pytest.mark.parametrize("shape", [(1, 40, 1), (7, 40, 5), (33, 17, 20)])
def test_f16_without_instructions_for_it(shape: tuple[int, int, int]) -> None:
    """The oldest x86-64 converts f16 by integer arithmetic; no library function is there to call."""
    m, k, n = shape
    rng = seed("f16", shape)
    a, b, c = random(rng, (m, k), dt.float16), random(rng, (k, n), dt.float16), np.zeros((m, n), np.float16)
    with override(ISA="sse2"):
        run(a, b, [c], dt.float16, dt.float16)
    np.testing.assert_allclose(c.astype(np.float64), a.astype(np.float64) @ b.astype(np.float64), 2e-3, 2e-3)
