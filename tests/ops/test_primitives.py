"""Every primitive, by its record: dtypes x layouts x tiers against NumPy float64, SciPy and torch."""
from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.base.dtypes import DType
from gemel.engine.interpreter.elementwise import narrow
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import PRIMITIVES, ROWS
from gemel.engine.ir.types import tensor_type
from tests.plans import Native, interpret, same_bits, values

from .records import FLAG, INDEX, KEY, RECORDS, START, Case, Record

OF_KIND = {
    "f": (dt.float32, dt.float64, dt.bfloat16, dt.float16), "i": (dt.int8, dt.int16, dt.int32, dt.int64),
    "u": (dt.uint8, dt.uint16, dt.uint32, dt.uint64), "b": (dt.bool_,), "c": (dt.complex64, dt.complex128),
    "r": (dt.float32, dt.float64),
    "k": (dt.uint64,)}
PAIRS = [pytest.param(r, d, id=f"{r.name}-{d.name}") for r in RECORDS.values() for k in r.kinds for d in OF_KIND[k]]
LAYOUTS = ("contiguous", "transposed", "strided", "negative", "broadcast")


def test_every_primitive_has_a_record() -> None:
    assert [r.name for r in PRIMITIVES if r.name not in RECORDS] == []
    assert [name for name in RECORDS if ROWS[name] not in PRIMITIVES] == []


def arranged(x: np.ndarray, layout: str) -> np.ndarray:
    """The same values (``broadcast``: their first row again and again) with other strides."""
    if not x.ndim or not x.size or layout == "contiguous":
        return x
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "negative":
        return np.ascontiguousarray(np.flip(x))[(slice(None, None, -1),) * x.ndim]
    if layout == "broadcast":
        return np.broadcast_to(x[:1], x.shape)
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
    wide[..., 1::2] = x
    return wide[..., 1::2]


def operands(record: Record, case: Case, dtype: DType, rng: np.random.Generator) -> list[np.ndarray]:
    found = []
    for shape in case.shapes:
        role = None
        if len(shape) == 2 and isinstance(shape[1], str):
            shape, role = shape
        if role == INDEX:
            found.append(np.asarray(rng.integers(-2, 9, shape), np.int64))
        elif role == START:
            found.append(np.asarray(rng.integers(-1, 4)))
        elif role == KEY:
            found.append(np.asarray(rng.integers(0, 1 << 62), np.uint64))
        elif role == FLAG:
            held = record.name == "check"
            found.append(np.asarray(rng.random(shape) < 0.5) | held)
        else:
            x = values(dtype, shape, rng)
            if record.name == "erfinv":
                x = np.asarray(x.astype(np.float64) / 4).astype(x.dtype)
            found.append(x if record.domain is None else np.asarray(record.domain(x)).astype(x.dtype))
    return found


def expected(record: Record, arrays: list[np.ndarray], attrs: tuple, results: list[np.ndarray]) -> list[np.ndarray]:
    """The reference, rounded to the dtypes of the results."""
    wide = [x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
            if x.dtype.kind not in "iub" else x for x in arrays]
    with np.errstate(all="ignore"):
        found = record.reference(*wide, *attrs)
        found = found if isinstance(found, tuple) else (found,)
        return [narrow(np.asarray(x), r.dtype) for x, r in zip(found, results, strict=True)]


def epsilon(dtype: np.dtype) -> float:
    if dtype == dt.bfloat16.numpy:
        return 2.0**-7
    return float(np.finfo(dtype).eps)


def assert_close(got: np.ndarray, meant: np.ndarray, slack: float, what: str) -> None:
    assert got.dtype == meant.dtype and got.shape == meant.shape, what
    if got.dtype.kind in "iub":
        np.testing.assert_array_equal(got, meant, what)
        return
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    tolerance = slack * epsilon(got.dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got.astype(wide), meant.astype(wide), tolerance, tolerance, err_msg=what)


@pytest.mark.parametrize(("record", "dtype"), PAIRS)
def test_primitive(record: Record, dtype: DType) -> None:
    rng = np.random.default_rng(7)
    b = ProgramBuilder()
    arrays: list[np.ndarray] = []
    parts: list[tuple[str, list[np.ndarray], tuple, int]] = []  # what, operands, attributes, number of results
    outputs: list[Any] = []
    for n, case in enumerate(record.cases):
        sample = operands(record, case, dtype, rng)
        attrs = case.attrs(dtype)
        for layout in LAYOUTS[:1] if not sample else LAYOUTS if n == 0 else (LAYOUTS[0], LAYOUTS[1 + n % 4]):
            placed = [arranged(x, layout) for x in sample]
            made = b.emit(op(ROWS[record.name], *attrs), *[
                b.input(tensor_type(dt.from_numpy(x.dtype), x.shape)) for x in placed])
            made = made if isinstance(made, tuple) else (made,)
            arrays += placed
            outputs += made
            parts.append((f"{record.name} {dtype.name} {layout} {[x.shape for x in placed]}", placed, attrs, len(made)))
    p = b.build(outputs)
    meant = interpret(p, arrays)
    at = 0
    for what, placed, attrs, count in parts:
        results = meant[at:at + count]
        for got, right in zip(results, expected(record, placed, attrs, results), strict=True):
            assert_close(got, right, record.slack, what)
        at += count
    tiers = [Native(p, arrays, fused) for fused in (False, True)]
    names = [what for what, _, _, count in parts for _ in range(count)]
    for what, right, zero, one in zip(names, meant, *(t.outputs for t in tiers), strict=True):
        assert same_bits(zero, one), f"{what}: the tiers differ\n{zero}\n{one}"
        if record.approximate and right.dtype.kind == "f" or (
                record.name in ("dot", "conv", "conv_transpose", "conv_weight_grad") and dtype is dt.bfloat16):
            assert_close(zero, right, record.slack, what)
        else:
            assert same_bits(zero, right), f"{what}: not the interpreter's bits\n{zero}\n{right}"
    if not (record.host or dtype.is_complex):
        assert not any(t.host_steps for t in tiers), "NumPy ran a part"


# --- the edges of a dtype ------------------------------------------------------------------------------

def edges(dtype: DType) -> np.ndarray:
    """Signed zeros, infinities, NaN, subnormal and extreme numbers, and a few in between."""
    info = ml_dtypes.finfo(dtype.numpy)
    one = np.array([0, np.inf, 1, 0.5, 2, 3, 1.5], np.float64).astype(dtype.numpy)
    more = np.array([info.smallest_subnormal, info.tiny, info.max, info.eps], dtype.numpy)
    half = np.array([info.tiny], dtype.numpy) / dtype.numpy.type(2)
    return np.concatenate([one, more, half, -one, -more, -half, np.array([np.nan], dtype.numpy)])


@pytest.mark.parametrize("dtype", OF_KIND["f"], ids=str)
def test_edges(dtype: DType) -> None:
    """Elementwise functions at the edges, in every tier: NaN, infinities and signs of zeros are the reference's."""
    x = edges(dtype)
    first, second = (g.ravel() for g in np.meshgrid(x, x))
    records = [r for r in RECORDS.values() if "f" in r.kinds and ROWS[r.name].kind in ("unary", "binary")]
    b = ProgramBuilder()
    inputs = [b.input(tensor_type(dtype, a.shape)) for a in (x, first, second)]
    made = [b.emit(op(ROWS[r.name]), *(inputs[:1] if ROWS[r.name].arity == 1 else inputs[1:])) for r in records]
    p = b.build(made)
    arrays = [arranged(a, "strided") for a in (x, first, second)]
    tiers = [interpret(p, arrays), Native(p, arrays, False).outputs, Native(p, arrays, True).outputs]
    for r, *results in zip(records, *tiers, strict=True):
        operands = [a.astype(np.float64) for a in ((x,) if ROWS[r.name].arity == 1 else (first, second))]
        with np.errstate(all="ignore"):
            want = np.asarray(r.reference(*operands))
        assert same_bits(results[1], results[2]), f"{r.name}: the tiers differ"
        for got in results:
            check_edges(r, dtype, got, want, operands)


#: where the reference is not the meaning: fmod's and remainder's quotients beyond f64, the poles of the gamma functions
LOOSE = frozenset(("fmod", "remainder", "floor_divide", "lgamma", "digamma"))


def check_edges(r: Record, dtype: DType, got: np.ndarray, want: np.ndarray, operands: list[np.ndarray]) -> None:
    if got.dtype.kind == "b":
        np.testing.assert_array_equal(got, want, r.name)
        return
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
    if r.name in LOOSE:
        usual = np.all([np.isfinite(a) & (np.abs(a) < 100) & (np.abs(a) > 0.01) & (a > 0) for a in operands], 0)
    else:
        usual = np.ones(got.shape, bool)
    mine, its = got.astype(np.float64), rounded.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(mine - want) / np.maximum(np.abs(want), float(ml_dtypes.finfo(dtype.numpy).tiny))
        near = error <= r.slack * epsilon(got.dtype)  # of a number just below the largest: an infinity is near, too
        near |= np.isinf(mine) & (np.abs(want) > float(ml_dtypes.finfo(dtype.numpy).max) * (1 - 4 * epsilon(got.dtype)))
    right = np.isnan(mine) & np.isnan(its) | (mine == its) | near
    signs = np.signbit(mine) == np.signbit(its)
    wrong = np.flatnonzero(usual & ~(right & (signs | (mine != 0) | np.isnan(mine))))
    assert not wrong.size, f"{r.name} {dtype}: " + "; ".join(
        f"f({', '.join(repr(float(a[i])) for a in operands)}) = {got[i]!r}, not {rounded[i]!r}" for i in wrong[:6])
