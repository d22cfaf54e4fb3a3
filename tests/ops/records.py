"""One record per primitive: sample operands, attributes, and a reference in NumPy float64, SciPy or torch."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import torch

from gemel.engine.base import dtypes as dt
from gemel.engine.base.dtypes import DType
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.custom import CustomOp, register_custom
from gemel.engine.ir.program import Program
from gemel.engine.ir.types import TensorType, tensor_type
from tests.plans import program

Shape = tuple[int, ...]
Reference = Callable[..., Any]
MATRIX, EMPTY, SCALAR = (5, 33), (0, 4), ()
#: operand indices, and conditions, have a dtype of their own
INDEX, FLAG, START, KEY = "index", "flag", "start", "key"


@dataclass(frozen=True)
class Case:
    """Shapes of the operands (paired with INDEX, FLAG, START or KEY where the dtype is another); attributes."""

    shapes: tuple[Any, ...]
    attrs: Callable[[DType], tuple]


@dataclass(frozen=True)
class Record:
    """What a primitive is tested with.

    Args:
        name: the primitive. kinds: kinds of the dtypes that it is tested with (c: only through the interpreter).
        cases: sample operands; the first is tried in every layout, the others in two.
        reference: ``(*operands, *attributes) -> result(s)``; floats come as float64 and are rounded afterwards.
        approximate: the interpreter's bits are not the tiers' bits. slack: allowed error in epsilons of the dtype.
        host: NumPy runs it in every tier. domain: maps sample values into the domain.
    """

    name: str
    kinds: str
    cases: tuple[Case, ...]
    reference: Reference
    approximate: bool = False
    slack: float = 2
    host: bool = False
    domain: Callable[[np.ndarray], np.ndarray] | None = None


RECORDS: dict[str, Record] = {}


def _finite(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, 1)


def _unit(x: np.ndarray) -> np.ndarray:
    """-1, 1, and small numbers, so that products stay in range."""
    return np.where(np.abs(x.astype(np.float64)) < 1, 1, np.sign(x))


def case(*shapes: Any, attrs: Any = ()) -> Case:
    return Case(shapes, attrs if callable(attrs) else lambda dtype: attrs)


def record(name: str, kinds: str, cases: Sequence[Case], reference: Reference, **more: Any) -> None:
    assert name not in RECORDS
    RECORDS[name] = Record(name, kinds, tuple(cases), reference, **more)


def elementwise(arity: int, attrs: Any = ()) -> list[Case]:
    return [case(*(shape,) * arity, attrs=attrs) for shape in (MATRIX, EMPTY, SCALAR)]


# --- unary
def _unary(kinds: str, **rows: Reference) -> None:
    for name, reference in rows.items():
        record(name.removesuffix("_"), kinds, elementwise(1), reference)


def _approximate(kinds: str, **rows: Reference) -> None:
    for name, reference in rows.items():
        record(name, kinds, elementwise(1), reference, approximate=True, slack=8)


_unary("fiuc", neg=lambda x: -x, abs=np.abs)
_unary("fiu", sign=lambda x: np.where(np.isnan(x), 0, np.sign(x)) if x.dtype.kind == "f" else np.sign(x))
_unary("f", floor=np.floor, ceil=np.ceil, trunc=np.trunc, round=np.rint, sqrt=np.sqrt)
record("rsqrt", "f", elementwise(1), lambda x: 1 / np.sqrt(x))
_unary("iub", not_=lambda x: ~x)
_unary("fiubc", real=np.real, imag=np.imag, conj=np.conj, copy=lambda x: x)
_approximate("fc", exp=np.exp, exp2=np.exp2, expm1=np.expm1, log=np.log, log2=np.log2, log1p=np.log1p, sin=np.sin,
             cos=np.cos, tan=np.tan, asin=np.arcsin, acos=np.arccos, atan=np.arctan, sinh=np.sinh, cosh=np.cosh,
             tanh=np.tanh, sigmoid=lambda x: 1 / (1 + np.exp(-x)))
record("digamma", "f", elementwise(1), lambda x: torch.digamma(torch.from_numpy(x)).numpy(), approximate=True,
       slack=256)
_approximate("f", erf=scipy.special.erf,
             lgamma=lambda x: np.where(np.isnan(x), x, torch.lgamma(torch.from_numpy(x)).numpy()))
record("erfinv", "f", elementwise(1), lambda x: torch.erfinv(torch.from_numpy(x)).numpy(), approximate=True, slack=8)


# --- binary
def _binary(kinds: str, **rows: Reference) -> None:
    for name, reference in rows.items():
        record(name.removesuffix("_"), kinds, elementwise(2), reference)


def _whole(fn: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Reference:
    """Integer division is total: 0 where the divisor is 0."""
    def total(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f":
            return fn(x, y)
        return np.where(y == 0, 0, fn(x, np.where(y == 0, 1, y).astype(y.dtype)))
    return total


def _of_torch(fn: Callable[..., torch.Tensor], *operands: np.ndarray) -> np.ndarray:
    return fn(*(torch.from_numpy(np.array(x)) for x in operands)).numpy()


def _shift(fn: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, fill: Any) -> np.ndarray:
    inside = (y >= 0) & (y < 8 * x.itemsize)
    return np.where(inside, fn(x, np.where(inside, y, 0)), fill).astype(x.dtype)


_binary("fiuc", add=np.add, sub=np.subtract, mul=np.multiply)
_binary("fc", div=np.divide)
_binary("fiub", max=np.maximum, min=np.minimum)
_binary("iub", and_=np.bitwise_and, or_=np.bitwise_or, xor=np.bitwise_xor)
_binary("iu", shl=lambda x, y: _shift(np.left_shift, x, y, 0),
        shr=lambda x, y: _shift(np.right_shift, x, y, np.where(x < 0, -1, 0)))
_binary("fiub", eq=np.equal, ne=np.not_equal, lt=np.less, le=np.less_equal)
_binary("fiu", fmod=_whole(np.fmod), remainder=_whole(np.remainder),
        floor_divide=_whole(lambda x, y: x // y if x.dtype.kind == "u" else _of_torch(torch.floor_divide, x, y)))
record("pow", "f", elementwise(2), np.power, approximate=True, slack=8)
record("atan2", "f", elementwise(2), np.arctan2, approximate=True, slack=8)
record("complex", "r", elementwise(2), lambda x, y: x + 1j * y, host=True, domain=_finite)
record("select", "fiub", [case((shape, FLAG), shape, shape) for shape in (MATRIX, EMPTY, SCALAR)], np.where)


# --- conversions
def _cast(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Truncates, saturates, NaN gives 0."""
    if dtype.kind != "i" or x.dtype.kind != "f":
        return x != 0 if dtype.kind == "b" else x
    limits = np.iinfo(dtype.numpy)
    whole = np.trunc(np.nan_to_num(x, nan=0.0, posinf=1e9, neginf=-1e9))
    return np.clip(whole, limits.min, limits.max)


record("cast", "fiub", [*elementwise(1, (dt.int16,)), *elementwise(1, (dt.float32,)), *elementwise(1, (dt.bool_,))],
       _cast)
_UNSIGNED = {8: dt.uint8, 16: dt.uint16, 32: dt.uint32, 64: dt.uint64}
record("bitcast", "iu", elementwise(1, lambda dtype: (_UNSIGNED[dtype.bits],)), lambda x, dtype: x.view(dtype.numpy))

# --- movement
record("reshape", "fiub", [case(MATRIX, attrs=((11, 5, 3),)), case(EMPTY, attrs=((7, 0),)), case((), attrs=((1, 1),))],
       lambda x, shape: x.reshape(shape))
record("permute", "fiub", [case((3, 5, 4), attrs=((2, 0, 1),)), case(EMPTY, attrs=((1, 0),)), case((), attrs=((),))],
       lambda x, axes: x.transpose(axes))
record("expand", "fiub", [case((3, 1), attrs=((2, 3, 7),)), case((0, 1), attrs=((0, 5),)), case((), attrs=((4,),))],
       np.broadcast_to)
record("slice", "fiub", [case(MATRIX, attrs=((1, 2), (5, 30), (2, 3))), case(EMPTY, attrs=((0, 1), (0, 3), (1, 1)))],
       lambda x, a, b, s: x[tuple(slice(*t) for t in zip(a, b, s, strict=True))])
record("flip", "fiub", [case(MATRIX, attrs=((0, 1),)), case(EMPTY, attrs=((1,),))], np.flip)
record("pad", "fiub", [case(MATRIX, (), attrs=((1, 0), (2, 3))), case(EMPTY, (), attrs=((1, 1), (0, 1)))],
       lambda x, value, low, high: np.pad(x, tuple(zip(low, high, strict=True)), constant_values=value))
record("cat", "fiub", [case(MATRIX, (2, 33), attrs=(0,)), case((4, 3), (4, 0), (4, 5), attrs=(1,))],
       lambda *xs: np.concatenate(xs[:-1], xs[-1]))


# --- reductions, scans, sort
def _reduced(fn: Callable[..., np.ndarray]) -> Reference:
    return lambda x, axes: fn(x, axis=axes, dtype=x.dtype) if fn in (np.sum, np.prod) else fn(x, axis=axes)


REDUCED = [case((4, 3, 33), attrs=((2,),)), case((4, 33), attrs=((0,),)), case((3, 5, 7), attrs=((0, 2),)),
           case((2, 300), attrs=((1,),)), case((0, 3), attrs=((1,),))]
record("reduce_sum", "fiu", [*REDUCED, case((0, 3), attrs=((0,),))], _reduced(np.sum), slack=64)
record("reduce_prod", "fiu", [*REDUCED, case((0, 3), attrs=((0,),))], _reduced(np.prod), slack=512,
       domain=_unit)
record("reduce_max", "fiub", REDUCED, _reduced(np.max))
record("reduce_min", "fiub", REDUCED, _reduced(np.min))
ALONG = [case((4, 33), attrs=(1,)), case((4, 33), attrs=(0,)), case((3, 300), attrs=(1,)), case((0, 3), attrs=(1,))]
record("argmax", "fiub", ALONG, np.argmax)
record("argmin", "fiub", ALONG, np.argmin)
record("cumsum", "fiu", ALONG, lambda x, axis: np.cumsum(x, axis, x.dtype), slack=64)
record("cumprod", "fiu", ALONG, lambda x, axis: np.cumprod(x, axis, x.dtype), slack=512,
       domain=_unit)
record("cummax", "fiu", ALONG, np.maximum.accumulate)
record("cummin", "fiu", ALONG, np.minimum.accumulate)


def _sorted(x: np.ndarray, axis: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    values, order = torch.sort(torch.from_numpy(np.array(x)), stable=True, dim=axis, descending=descending)
    return values.numpy(), order.numpy()


record("sort", "fi", [case((4, 33), attrs=(1, False)), case((33, 3), attrs=(0, True)), case((0, 3), attrs=(1, False))],
       _sorted)


# --- contractions
def _dot(x: np.ndarray, y: np.ndarray, xc: Shape, yc: Shape, xb: Shape, yb: Shape, dtype: DType) -> np.ndarray:
    letters = iter("abcdefghijklmnop")
    left = [next(letters) for _ in range(x.ndim)]
    right = [next(letters) for _ in range(y.ndim)]
    for i, j in (*zip(xc, yc, strict=True), *zip(xb, yb, strict=True)):
        right[j] = left[i]
    out = [left[i] for i in xb] + [a for i, a in enumerate(left) if i not in xc + xb]
    out += [a for j, a in enumerate(right) if j not in yc + yb]
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", x, y)


record("dot", "fiu", [
    case((9, 17), (17, 20), attrs=lambda d: ((1,), (0,), (), (), d)),
    case((2, 5, 8), (2, 8, 3), attrs=lambda d: ((2,), (1,), (0,), (0,), d)),
    case((4, 300), (300,), attrs=lambda d: ((1,), (0,), (), (), d)),
    case((3, 0), (0, 4), attrs=lambda d: ((1,), (0,), (), (), d)),
    case((4,), (3,), attrs=lambda d: ((), (), (), (), d))], _dot, slack=256, domain=_finite)
STRIDE, PADDING, DILATION = (2, 1), ((1, 1), (0, 2)), (1, 2)


def _conv(x: np.ndarray, w: np.ndarray, stride: Shape, padding: Any, dilation: Shape, groups: int) -> torch.Tensor:
    (top, bottom), (left, right) = padding
    wide = torch.nn.functional.pad(torch.as_tensor(x), (left, right, top, bottom))
    return torch.nn.functional.conv2d(wide, torch.as_tensor(w), None, stride, 0, dilation, groups)


def _input_grad(g: np.ndarray, w: np.ndarray, size: Shape, *attrs: Any) -> np.ndarray:
    x = torch.zeros(g.shape[0], w.shape[1] * attrs[-1], *size, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(_conv(x, w, *attrs), x, torch.from_numpy(np.array(g)))[0].numpy()  # type: ignore[arg-type]


def _weight_grad(x: np.ndarray, g: np.ndarray, kernel: Shape, *attrs: Any) -> np.ndarray:
    w = torch.zeros(g.shape[1], x.shape[1] // attrs[-1], *kernel, dtype=torch.float64, requires_grad=True)
    y = _conv(np.array(x), w, *attrs)  # type: ignore[arg-type]
    return torch.autograd.grad(y, w, torch.from_numpy(np.array(g)))[0].numpy()


_CONV = (STRIDE, PADDING, DILATION, 2)
record("conv", "f", [case((2, 4, 7, 6), (6, 2, 3, 2), attrs=_CONV)],
       lambda x, w, *a: _conv(np.array(x), np.array(w), *a).numpy(), slack=256, domain=_finite)
record("conv_transpose", "f", [case((2, 6, 4, 6), (6, 2, 3, 2), attrs=((7, 6), *_CONV))], _input_grad,
       slack=256, domain=_finite)
record("conv_weight_grad", "f", [case((2, 4, 7, 6), (2, 6, 4, 6), attrs=((3, 2), *_CONV))], _weight_grad,
       slack=512, domain=_finite)


# --- indexing
def _take(x: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    return np.take(x, np.clip(index, 0, x.shape[axis] - 1), axis)


def _scatter(x: np.ndarray, index: np.ndarray, updates: np.ndarray, axis: int, mode: str) -> np.ndarray:
    out = np.array(np.moveaxis(x, axis, 0))
    rows = np.moveaxis(updates, range(axis, axis + index.ndim), range(index.ndim)).reshape(index.size, *out.shape[1:])
    combine = {"set": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[mode]
    for i, row in zip(index.ravel(), rows, strict=True):
        if 0 <= i < len(out):
            out[i] = combine(out[i], row)
    return np.moveaxis(out, 0, axis)


def _clamped(start: Any, n: int, step: int, size: int) -> slice:
    at = min(max(int(start), 0), size - ((n - 1) * step + 1))
    return slice(at, at + (n - 1) * step + 1, step)


def _window(x: np.ndarray, *rest: Any) -> np.ndarray:
    *starts, shape, step = rest
    return x[tuple(_clamped(*t) for t in zip(starts, shape, step, x.shape, strict=True))]


def _update(x: np.ndarray, update: np.ndarray, *rest: Any) -> np.ndarray:
    *starts, step = rest
    out = np.array(x)
    out[tuple(_clamped(*t) for t in zip(starts, update.shape, step, x.shape, strict=True))] = update
    return out


record("take", "fiub", [case(MATRIX, ((4, 3), INDEX), attrs=(0,)), case(MATRIX, ((7,), INDEX), attrs=(1,)),
                        case((6,), ((), INDEX), attrs=(0,)), case(MATRIX, ((0,), INDEX), attrs=(0,))], _take)
record("scatter", "fiu", [
    *(case(MATRIX, ((7,), INDEX), (7, 33), attrs=(0, mode)) for mode in ("set", "add", "mul", "max")),
    case(MATRIX, ((2, 3), INDEX), (5, 2, 3), attrs=(1, "min")),
    case(MATRIX, ((0,), INDEX), (5, 0), attrs=(1, "add"))], _scatter, slack=64)
record("dynamic_slice", "fiub", [case(MATRIX, ((), START), ((), START), attrs=((2, 9), (2, 3)))], _window)
record("dynamic_update", "fiub", [case(MATRIX, (2, 9), ((), START), ((), START), attrs=((2, 3),))], _update)


# --- leaves
def _philox(key: int, counter: int, dtype: DType, shape: Shape) -> np.ndarray:
    """Philox4x32-10 with Python's integers, from the paper."""
    mask, words = 0xFFFFFFFF, []
    for i in range(int(np.prod(shape))):
        a, b, c, d = i & mask, i >> 32, int(counter) & mask, int(counter) >> 32
        k, m = int(key) & mask, int(key) >> 32
        for _ in range(10):
            p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = (q >> 32) ^ b ^ k, q & mask, (p >> 32) ^ d ^ m, p & mask
            k, m = (k + 0x9E3779B9) & mask, (m + 0xBB67AE85) & mask
        words.append(a if dtype.bits == 32 else a | b << 32)
    return np.array(words, dtype.numpy).reshape(shape)


def _iota(dtype: DType, shape: Shape, axis: int) -> np.ndarray:
    return np.broadcast_to(np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


NUMBERS = np.arange(6).reshape(2, 3)
record("const", "fiub", [case(attrs=lambda d: (tensor_type(d, (2, 3)), NUMBERS.astype(d.numpy).tobytes())),
                         case(attrs=lambda d: (tensor_type(d, ()), np.ones((), d.numpy).tobytes()))],
       lambda t, data: NUMBERS if t.shape else np.ones(()))
record("iota", "fiu", [case(attrs=lambda d: (d, (4, 5), 1)), case(attrs=lambda d: (d, (4, 5), 0)),
                         case(attrs=lambda d: (d, (2, 700), 1))], _iota)
record("random_bits", "k", [case(((), KEY), ((), KEY), attrs=(dt.uint32, (5, 7))),
                            case(((), KEY), ((), KEY), attrs=(dt.uint64, (19,)))], _philox)


# --- control
def _step(dtype: DType, shape: Shape = MATRIX) -> Program:
    def body(b: ProgramBuilder, i: Any, x: Any) -> Any:
        return b.add(x, b.expand(b.cast(i, dtype), shape)), b.reduce_max(x, (0,))
    return program([tensor_type(dt.int64), tensor_type(dtype, shape)], body)


def _branch(dtype: DType, name: str) -> Program:
    return program([tensor_type(dtype, MATRIX)], lambda b, x: b.unary(name, x))


def _looped(x: np.ndarray, body: Any, trips: int, n_carried: int, backwards: bool) -> tuple[np.ndarray, np.ndarray]:
    rows = {}
    for i in reversed(range(trips)) if backwards else range(trips):
        rows[i] = x.max(0)
        x = x + i
    return x, np.stack([rows[i] for i in range(trips)])


def _until(dtype: DType) -> tuple:
    counter, t = tensor_type(dt.int64), tensor_type(dtype, MATRIX)
    condition = program([counter, t], lambda b, i, x: b.lt(i, b.const(3, dt.int64)))
    body = program([counter, t], lambda b, i, x: (b.add(i, b.const(1, dt.int64)), b.neg(x)))
    return condition, body, 0


def _half(arguments: tuple, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    return types


register_custom(CustomOp("tests::twice", _half, lambda arguments, arrays: [arrays[0] + arrays[0]]))
record("if", "f", [case(((), FLAG), MATRIX, attrs=lambda d: (_branch(d, "neg"), _branch(d, "abs")))],
       lambda holds, x, then, otherwise: -x if holds else np.abs(x))
record("while", "f", [case(((), START), MATRIX, attrs=_until)],
       lambda i, x, *_: (max(int(i), 3), x if (3 - int(i)) % 2 == 0 or int(i) >= 3 else -x))
record("loop", "f", [case(MATRIX, attrs=lambda d: (_step(d), 3, 1, False)),
                     case(MATRIX, attrs=lambda d: (_step(d), 3, 1, True))], _looped, slack=8)
record("custom", "f", [case(MATRIX, attrs=("tests::twice", ()))], lambda x, *_: x + x, host=True)
record("check", "fiub", [case((MATRIX, FLAG), MATRIX, attrs=("never",))], lambda holds, x, message: x)
