"""The vector mathematics against wider references: errors in ulp, special values, the same bits for every lane count.

``GEMEL_TEST_SLOW=1`` runs every f32 function of one argument on all 2^32 numbers (about a minute each).
"""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.special

from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.base.target import for_isa, host_features
from gemel.engine.codegen.jit import compile_object
from gemel.engine.loops import mathlib
from gemel.engine.loops.ir import KernelBuilder, Type, Val
from gemel.engine.loops.mathlib.common import Float

from .native import Native, assert_same_bits, module, ulp_error

SLOW = bool(os.environ.get("GEMEL_TEST_SLOW"))
Reference = Callable[..., Any]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _lgamma(x: np.ndarray) -> np.ndarray:
    return np.where(x == -np.inf, np.inf, scipy.special.gammaln(x))  # as in C99


def _erfinv(x: np.ndarray) -> np.ndarray:
    return np.copysign(scipy.special.erfinv(x), x)  # also of -0


@dataclass(frozen=True)
class Case:
    """What is known of a function.

    Args:
        f32, f64: largest error in ulp that its docstring states.
        reference: in f64, for f32 arguments. wide: in long double, for f64 arguments (None: mpmath, by name).
        usual: an interval that gets more samples.
        left, cancels: left of 0 the results are sums that may cancel; there ``left`` is the largest error, in units of
            the result or of the term ``cancels(x)``, whichever is larger.
    """

    f32: float
    f64: float
    reference: Reference
    wide: Reference | None = None
    usual: tuple[float, float] = (-4.0, 4.0)
    left: float | None = None
    cancels: Reference | None = None


def _numpy(f32: float, f64: float, fn: Reference, **more) -> Case:
    return Case(f32, f64, fn, fn, **more)


CASES: dict[str, Case] = {
    "exp": _numpy(0.93, 0.9, np.exp, usual=(-110, 90)), "exp2": _numpy(0.97, 1.0, np.exp2, usual=(-150, 130)),
    "expm1": _numpy(1.6, 1.9, np.expm1), "sinh": _numpy(1.7, 1.7, np.sinh), "cosh": _numpy(1.4, 1.4, np.cosh),
    "tanh": _numpy(1.6, 1.6, np.tanh), "sigmoid": _numpy(1.7, 1.7, _sigmoid),
    "log": _numpy(0.94, 0.9, np.log, usual=(0.4, 2)), "log2": _numpy(1.2, 1.3, np.log2, usual=(0.4, 2)),
    "log1p": _numpy(1.5, 0.9, np.log1p, usual=(-1, 2)),
    "sin": _numpy(1.6, 1.5, np.sin, usual=(-100, 100)), "cos": _numpy(1.6, 1.5, np.cos, usual=(-100, 100)),
    "tan": _numpy(1.3, 1.3, np.tan, usual=(-100, 100)),
    "asin": _numpy(1.2, 1.3, np.arcsin, usual=(-1, 1)), "acos": _numpy(1.3, 1.2, np.arccos, usual=(-1, 1)),
    "atan": _numpy(1.5, 1.6, np.arctan),
    "erf": Case(1.9, 1.7, scipy.special.erf), "erfinv": Case(1.4, 1.4, _erfinv, usual=(-1, 1)),
    "lgamma": Case(1.6, 1.4, _lgamma, usual=(-10, 10), left=1.8, cancels=lambda x: -x),
    "digamma": Case(1.6, 1.3, scipy.special.psi, usual=(-10, 10), left=1.5, cancels=lambda x: 1 - x),
}
MPMATH = {"erf": mp.erf, "erfinv": mp.erfinv, "lgamma": mp.loggamma, "digamma": mp.digamma}
DTYPES = {"f32": dt.float32, "f64": dt.float64}
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 1.5, -1.5])


def function(name: str, dtype: dt.DType, lanes: int = 16) -> Native:
    arguments = 2 if name in ("pow", "atan2") else 1
    return Native(getattr(mathlib, name), (dtype,) * arguments, dtype, lanes)


def samples(case: Case, dtype: dt.DType, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of every exponent and sign, subnormals, the edges of the range, and an interval of interest."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype.numpy)
    exponents = rng.integers(info.minexp - info.nmant, info.maxexp, count)
    wide = np.ldexp(rng.uniform(1, 2, count), exponents) * rng.choice([-1, 1], count)
    edges = np.array([info.max, info.tiny, info.smallest_subnormal, 1 + info.eps, 1 - info.epsneg])
    usual = rng.uniform(*case.usual, 4 * count)
    with np.errstate(over="ignore"):
        return np.concatenate([SPECIAL, edges, -edges, wide, usual]).astype(dtype.numpy)


def mp_reference(name: str, x: np.ndarray) -> np.ndarray:
    def one(v: float) -> np.longdouble:
        pole = name in ("lgamma", "digamma") and v <= 0 and v == np.floor(v)
        if not np.isfinite(v) or v == 0 or (name == "erfinv" and abs(v) >= 1) or pole:
            return np.longdouble(CASES[name].reference(np.float64(v)))
        with mp.workdps(40):
            return np.longdouble(mp.nstr(mp.re(MPMATH[name](mp.mpf(v))), 25))
    return np.array([one(float(v)) for v in x], np.longdouble)


def check(name: str, x: np.ndarray, got: np.ndarray, expected: np.ndarray, limit: float) -> None:
    case = CASES[name]
    assert np.all((np.signbit(got) == np.signbit(expected)) | (expected != 0)), f"{name} of {x[expected == 0]}"
    for left in (False, True):
        at, limit = expected, case.left if left and case.left else limit
        if left and case.cancels:
            with np.errstate(all="ignore"):
                term = np.abs(case.reference(case.cancels(x.astype(np.float64))))
            at = np.fmax(np.abs(expected), np.where(np.isfinite(term), term, 0))
        error = np.where((x < 0) == left, ulp_error(got, expected, at), 0)
        worst = int(np.argmax(error))
        assert error[worst] <= limit, f"{name}({x[worst]!r}) is off by {error[worst]:.2f} ulp"


@pytest.mark.parametrize("name", CASES)
def test_error_f32(name: str) -> None:
    case = CASES[name]
    x = samples(case, dt.float32, 50_000)
    got = function(name, dt.float32)(x)
    with np.errstate(all="ignore"):
        expected = case.reference(x.astype(np.float64))
    check(name, x, got, expected, case.f32)


@pytest.mark.parametrize("name", CASES)
def test_error_f64(name: str) -> None:
    case = CASES[name]
    x = samples(case, dt.float64, 20_000 if case.wide else 400)
    got = function(name, dt.float64, 4)(x)
    with np.errstate(all="ignore"):
        expected = case.wide(x.astype(np.longdouble)) if case.wide else mp_reference(name, x)
    check(name, x, got, expected, case.f64)


@pytest.mark.parametrize("elem", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_huge_angles(name: str, elem: str) -> None:
    """Arguments whose distance from a multiple of pi/2 is tiny, and the largest numbers."""
    dtype, case = DTYPES[elem], CASES[name]
    rng = np.random.default_rng(1)
    multiples = np.rint(rng.uniform(1, 2.0 ** rng.uniform(1, 30, 300))) * (np.pi / 2)
    large = np.ldexp(rng.uniform(1, 2, 200), rng.integers(17, np.finfo(dtype.numpy).maxexp, 200))
    x = np.concatenate([multiples, large, [6381956970095103 * 2.0**797] if elem == "f64" else []]).astype(dtype.numpy)
    with mp.workprec(1300):
        expected = np.array([np.longdouble(mp.nstr(getattr(mp, name)(mp.mpf(float(v))), 25)) for v in x])
    check(name, x, function(name, dtype, 4)(x), expected, case.f32 if elem == "f32" else case.f64)


def _pairs(dtype: dt.DType) -> tuple[np.ndarray, np.ndarray]:
    info = np.finfo(dtype.numpy)
    values = np.array([0.0, np.inf, np.nan, 1.0, 0.5, 2.0, 3.0, 2.5, 1e-3, info.max, info.smallest_subnormal,
                       2.0**info.nmant, 2.0**info.nmant + 1, 2.0 ** (info.nmant + 1), 2.0 ** (info.nmant - 1) + 0.5])
    x, y = np.meshgrid(np.concatenate([values, -values]), np.concatenate([values, -values]))
    return x.ravel().astype(dtype.numpy), y.ravel().astype(dtype.numpy)


def _check_pairs(name: str, dtype: dt.DType, x: np.ndarray, y: np.ndarray, limit: float) -> None:
    wide = np.float64 if dtype is dt.float32 and name != "pow" else np.longdouble
    fn = np.power if name == "pow" else np.arctan2
    got = function(name, dtype, 8)(x, y)
    with np.errstate(all="ignore"):
        expected = fn(x.astype(wide), y.astype(wide))
    error = ulp_error(got, expected)
    worst = int(np.argmax(error))
    assert error[worst] <= limit, f"{name}({x[worst]!r}, {y[worst]!r}) is off by {error[worst]:.2f} ulp"
    signs = np.signbit(got) == np.signbit(expected)
    assert np.all(signs | np.isnan(expected))


@pytest.mark.parametrize("elem", DTYPES)
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_pairs_special(name: str, elem: str) -> None:
    _check_pairs(name, DTYPES[elem], *_pairs(DTYPES[elem]), limit=1.6)


@pytest.mark.parametrize("elem", DTYPES)
def test_pow(elem: str) -> None:
    """Bases of every size with results of every size, and bases close to 1."""
    dtype, count = DTYPES[elem], 20_000
    info = np.finfo(dtype.numpy)
    rng = np.random.default_rng(2)
    exponents = rng.integers(info.minexp - info.nmant, info.maxexp, count)
    near_one = 1 + np.ldexp(rng.uniform(-0.5, 0.5, count), -rng.integers(0, info.nmant, count))
    base = np.concatenate([np.ldexp(rng.uniform(1, 2, count), exponents), near_one, rng.uniform(0, 10, count)])
    base = base.astype(dtype.numpy)
    results = rng.uniform(info.minexp - info.nmant - 2, info.maxexp + 1, base.size)
    with np.errstate(all="ignore"):
        y = (results / np.log2(base.astype(np.float64))).astype(dtype.numpy)
    _check_pairs("pow", dtype, base, y, limit=1.3)


@pytest.mark.parametrize("elem", DTYPES)
def test_atan2(elem: str) -> None:
    dtype, case = DTYPES[elem], Case(1.0, 1.0, np.arctan)
    y, x = samples(case, dtype, 20_000, seed=3), samples(case, dtype, 20_000, seed=4)
    _check_pairs("atan2", dtype, y, x, limit=1.6)


@pytest.mark.parametrize("elem", DTYPES)
@pytest.mark.parametrize("name", mathlib.__all__)
def test_bits_do_not_depend_on_lanes(name: str, elem: str) -> None:
    dtype = DTYPES[elem]
    case = CASES.get(name, Case(0, 0, np.abs))
    operands = [samples(case, dtype, 500, seed=n) for n in range(2 if name in ("pow", "atan2") else 1)]
    scalar = function(name, dtype, 1)(*operands)
    for lanes in (4, 16):
        assert_same_bits(function(name, dtype, lanes)(*operands), scalar, *operands)


@pytest.mark.parametrize("name, x, expected", [
    ("lgamma", [0.0, -0.0, -1.0, -2.0, np.inf, -np.inf, np.nan], [np.inf] * 6 + [np.nan]),
    ("lgamma", [-0.5, -1.5, -2.5, -100.5], [1.2655121, 0.86004704, -0.05624372, -364.90097]),
    ("digamma", [0.0, -0.0, -1.0, np.inf, -np.inf, np.nan], [-np.inf, np.inf, np.nan, np.inf, np.nan, np.nan]),
    ("digamma", [-0.5, -1.5, -2.5, -1e-3], [0.03648998, 0.70315664, 1.1031566, 999.42114]),
])
def test_gamma_functions_left_of_zero(name: str, x: list[float], expected: list[float]) -> None:
    got = function(name, dt.float32, 4)(np.array(x, np.float32))
    np.testing.assert_allclose(got, np.array(expected, np.float32), rtol=1e-6)


@pytest.mark.parametrize("isa", ["sse2", "avx512", "neon"])
@pytest.mark.parametrize("elem", DTYPES)
def test_compiles_for(isa: str, elem: str) -> None:
    dtype, target = DTYPES[elem], for_isa(isa)
    for name in mathlib.__all__:
        arguments = (dtype,) * (2 if name in ("pow", "atan2") else 1)
        text = module(f"k_{name}", getattr(mathlib, name), arguments, dtype, target.lanes(dtype.bits), target)
        assert compile_object(text, name, target)


@pytest.mark.skipif(not host_features().get("sse2"), reason="x86 only")
@pytest.mark.parametrize("name", mathlib.__all__)
def test_bits_without_fma(name: str) -> None:
    case = CASES.get(name, Case(0, 0, np.abs))
    operands = [samples(case, dt.float32, 500, seed=n) for n in range(2 if name in ("pow", "atan2") else 1)]
    with override(ISA="sse2"):
        got = function(name, dt.float32, 4)(*operands)
    assert_same_bits(got, function(name, dt.float32, 4)(*operands), *operands)


def error_kernel(name: str) -> Native:
    """The error in ulp of the f32 function, where its f64 form (tested above against wider ones) is the reference."""
    fn, cancels = getattr(mathlib, name), CASES[name].cancels

    def error(k: KernelBuilder, x: Val) -> Val:
        f = Float(k, Type("f64", x.type.lanes))
        wide_x = k.convert("fpext", x, "f64")
        got, exact = fn(k, x), fn(k, wide_x)
        wide, rounded = k.convert("fpext", got, "f64"), k.convert("fptrunc", exact, "f32")
        size = k.fabs(exact)
        if cancels is not None:
            term = k.fabs(fn(k, f.sub(1.0 if cancels(0.0) else 0.0, wide_x)))
            size = k.select(k.and_(f.is_("olt", wide_x, 0.0), k.compare("ogt", term, size)), term, size)
        exponent = k.and_(f.bits(size), f.integer(0x7FF << 52))
        smallest = f.integer((1023 - 126) << 52)
        exponent = k.select(k.compare("slt", exponent, smallest), smallest, exponent)
        unit = f.from_bits(k.isub(exponent, f.integer(23 << 52)))
        ulps = k.fdiv(k.fabs(k.fsub(wide, exact)), unit)
        both_nan = k.and_(k.compare("uno", got, got), k.compare("uno", rounded, rounded))
        equal = k.and_(k.compare("oeq", got, rounded), f.is_("oeq", k.fabs(wide), np.inf))
        ulps = f.select(k.compare("uno", ulps, ulps), np.inf, ulps)
        return k.convert("fptrunc", f.select(k.or_(both_nan, equal), 0.0, ulps), "f32")

    return Native(error, [dt.float32], dt.float32, 8)


@pytest.mark.skipif(not SLOW, reason="all 2^32 numbers: GEMEL_TEST_SLOW=1")
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_float(name: str, negative: bool) -> None:
    case, kernel, chunk = CASES[name], error_kernel(name), 1 << 20
    worst, at = -1.0, np.float32(0)
    for start in range(negative << 31, (1 + negative) << 31, chunk):
        x = np.arange(start, start + chunk, dtype=np.uint32).view(np.float32)
        error = kernel(x)
        i = int(error.argmax())
        if error[i] > worst:
            worst, at = float(error[i]), x[i]
    print(f"{name}: {worst:.3f} ulp at {at!r}")
    assert worst <= (case.left if negative and case.left else case.f32)
