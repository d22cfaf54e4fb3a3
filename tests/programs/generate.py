"""Random programs over all primitives: types, views, reductions, contractions, indexing, scans, control flow.

A program is grown value by value: a maker picks operands among the values that exist (or adds an input of the type
that it needs) and emits one operation, with the movement and conversions that make its operands fit. Values that
depend on an approximated function are *loose*: the interpreter's bits are not the native ones there, and only the
tiers are compared.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from gemel.engine.base import dtypes as dt
from gemel.engine.base.errors import GemelError
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.custom import CustomOp, register_custom
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import PRIMITIVES, ROWS
from gemel.engine.ir.program import Program, Var
from gemel.engine.ir.types import TensorType, tensor_type
from tests.plans import values

REAL = tuple(d for d in dt.ALL if not d.is_complex)
COMMON = (dt.float32,) * 6 + (dt.float64, dt.bfloat16, dt.float16, dt.int64, dt.int32, dt.bool_) + REAL
SIZES = (1, 1, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33)
APPROXIMATE = frozenset((
    "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "sigmoid", "erf", "erfinv", "lgamma", "digamma", "pow", "atan2"))
UNARY = [r.name for r in PRIMITIVES if r.kind == "unary"]
BINARY = [r.name for r in PRIMITIVES if r.kind == "binary" and r.name != "complex"]
MAX_SIZE = 20_000
HOST = frozenset(("complex", "custom"))
#: operations that are counted under the dtype of their second operand
SECOND = ("select", "check", "if", "while")
#: what complex numbers go through: operations that are continuous and defined everywhere
COMPLEX_UNARY = tuple(r.name for r in PRIMITIVES if r.kind == "unary" and r.name not in (
    "sign", "floor", "ceil", "trunc", "round", "sqrt", "rsqrt", "not"))
COMPLEX_BINARY = ("add", "sub", "mul", "div")
register_custom(CustomOp("tests::doubled", lambda arguments, types: types, lambda arguments, arrays: [
    arrays[0] + arrays[0]]))


def reached(program: Program) -> Counter:
    """(primitive, dtype) -> times, of what the outputs depend on; bodies of control operations included.

    The dtype is that of the first operand that is no condition, key or counter.
    """
    found: Counter = Counter()
    for e in program.live().equations:
        name, values = e.op.name, (*e.inputs, *e.outputs)
        at = min(len(values) - 1, len(e.inputs) if name == "random_bits" else name in SECOND)
        found[name, values[at].type.dtype.ir] += 1
        for inner in e.op.attrs.values:
            if isinstance(inner, Program):
                found += reached(inner)
    return found


class Grown:
    """A program with inputs for it.

    Attributes:
        program, arrays: the program, an array per input. loose: outputs whose bits the interpreter does not define.
        vague: outputs that NumPy computes from complex numbers, in bits that depend on strides.
        reached: (primitive, dtype) -> times. host: does NumPy run a part?
    """

    def __init__(self, g: Generator, outputs: list[Var]) -> None:
        self.program, self.arrays = g.b.build(outputs), g.arrays
        self.reached = reached(self.program)
        self.loose, self.vague = [v in g.loose for v in outputs], [v in g.vague for v in outputs]
        self.host = any(name in HOST for name, _ in self.reached)


class Generator:
    """Grows one program (or the body of a control operation, which cannot add inputs)."""

    def __init__(self, rng: np.random.Generator, depth: int = 0) -> None:
        self.rng, self.depth = rng, depth
        self.b = ProgramBuilder()
        self.pool: list[Var] = []
        self.loose: set[Var] = set()
        self.vague: set[Var] = set()
        self.complexes: list[Var] = []  # apart: what follows from them is compared roughly
        self.arrays: list[np.ndarray] = []

    # --- choices
    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        rank = int(self.rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 4])) if rank is None else rank
        shape = [self.one(SIZES) for _ in range(rank)]
        if rank and self.chance(0.12):
            shape[int(self.rng.integers(rank))] = self.one((0, 64, 257, 300, 530))
        while math.prod(shape) > 3000:
            shape[int(np.argmax(shape))] = 2
        return tuple(shape)

    def pick(self, fits: Callable[[Var], bool] = lambda v: True) -> Var | None:
        """A value, recent ones more often."""
        found = [v for v in self.pool if fits(v)]
        if not found:
            return None
        if self.chance(0.3):
            return self.one(found)
        return found[-min(len(found), int(self.rng.geometric(0.3)))]

    # --- values
    def input(self, t: TensorType, array: np.ndarray | None = None) -> Var | None:
        """A new input; None inside a body."""
        if self.depth:
            return None
        array = values(t.dtype, t.shape, self.rng) if array is None else array.astype(t.dtype.numpy)
        self.arrays.append(self.arranged(array))
        v = self.b.input(t)
        self.pool.append(v)
        return v

    def arranged(self, x: np.ndarray) -> np.ndarray:
        """The same values with other strides."""
        way = int(self.rng.integers(6))
        if x.ndim == 0 or not x.size:
            return x
        if way == 0:
            return np.ascontiguousarray(x.T).T
        if way == 1:
            return np.ascontiguousarray(x[::-1])[::-1]
        if way == 2:
            wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
            wide[..., 1::2] = x
            return wide[..., 1::2]
        if way == 3 and x.shape[0] > 1:
            return np.broadcast_to(np.ascontiguousarray(x[:1]), x.shape)
        return x

    def emit(self, name: str, *operands: Var, attrs: tuple = ()) -> Any:
        """Emit an operation; its results join the pool."""
        out = self.b.emit(op(ROWS[name], *attrs), *operands)
        self.note(name, out, operands)
        return out

    def note(self, name: str, out: Any, operands: tuple[Var, ...], loose: bool = False) -> None:
        results = out if isinstance(out, tuple) else (out,)
        loose = loose or name in APPROXIMATE or any(v in self.loose for v in operands)
        if name in ("dot", "conv", "conv_transpose", "conv_weight_grad") and operands[0].type.dtype is dt.bfloat16:
            loose = True  # the machine's dot instruction decides
        vague = name == "complex" or any(v in self.vague for v in operands)
        for v in results:
            if vague:
                self.vague.add(v)
                self.loose |= {v} if loose else set()
                self.complexes += [v] if v.type.dtype.is_complex else []
                continue
            self.pool.append(v)
            if loose:
                self.loose.add(v)

    def like(self, x: Var, t: TensorType) -> Var | None:
        """``x`` as a value of type ``t``: converted, reshaped, broadcast; None if it cannot be."""
        if x.type.shape != t.shape:
            if x.type.size == t.size:
                x = self.emit("reshape", x, attrs=(t.shape,))
            else:
                try:
                    x = self.emit("expand", x, attrs=(t.shape,))
                except GemelError:
                    return None
        return x if x.type.dtype is t.dtype else self.emit("cast", x, attrs=(t.dtype,))

    def other(self, t: TensorType) -> Var:
        """A value of type ``t``: an existing one, one made to fit, a new input, a constant."""
        found = [v for v in self.pool if v.type is t]
        if found and self.chance(0.6):
            return self.one(found)
        for _ in range(3):
            x = self.pick()
            fitted = self.like(x, t) if x is not None else None
            if fitted is not None:
                return fitted
        if self.chance(0.6):
            v = self.input(t)
            if v is not None:
                return v
        c = self.b.const(values(t.dtype, (), self.rng, 0.0)[()].item(), t.dtype)
        self.note("const", c, ())
        return self.emit("expand", c, attrs=(t.shape,)) if t.shape else c

    def scalar(self, number: int) -> Var:
        """An i64 scalar: a constant, an input, or computed."""
        way = int(self.rng.integers(3))
        if way == 0 and not self.depth:
            v = self.input(tensor_type(dt.int64), np.asarray(number))
            assert v is not None
            return v
        if way == 1:
            x = self.pick(lambda v: v.type.dtype is dt.int64 and v.type.shape == ())
            if x is not None:
                return x
        return self.b.const(number, dt.int64)

    # --- makers: each emits one operation, or raises GemelError, or does nothing
    def unary(self) -> None:
        x = self.pick()
        if x is not None:
            self.emit(self.one(UNARY), x)

    def binary(self) -> None:
        x = self.pick()
        if x is not None:
            name = self.one(BINARY)
            op(ROWS[name]).infer((x.type, x.type))  # before an operand is made for nothing
            y = self.other(x.type)
            self.emit(name, *((x, y) if self.chance(0.5) else (y, x)))

    def select(self) -> None:
        x = self.pick()
        if x is not None:
            self.emit("select", self.other(x.type.with_dtype(dt.bool_)), x, self.other(x.type))

    def normalized(self) -> None:
        """A value combined with its own reduction, broadcast back; often one of the two has been changed before."""
        x = self.pick(lambda v: v.type.ndim > 0 and 0 < v.type.size <= 3000 and v.type.dtype is not dt.bool_)
        if x is None:
            return
        shape, n = x.type.shape, x.type.ndim
        axes = tuple(i for i in range(n) if self.chance(0.5)) or (n - 1,)
        source = self.emit(self.one(UNARY), x) if self.chance(0.4) else x
        if source.type is not x.type:
            return
        total = self.emit(self.one(("reduce_sum", "reduce_max", "reduce_min")), source, attrs=(axes,))
        total = self.emit("reshape", total, attrs=(tuple(1 if i in axes else d for i, d in enumerate(shape)),))
        spread = self.emit("expand", total, attrs=(shape,))
        y = x if self.chance(0.5) else self.other(x.type)
        if self.chance(0.6):
            y = self.emit(self.one(UNARY), y)
        if y.type is x.type:
            self.emit(self.one(("add", "sub", "mul", "max")), *((spread, y) if self.chance(0.5) else (y, spread)))

    def window_twice(self) -> None:
        """Several operations on the same part of a value, whose whole may be needed, too."""
        x = self.pick(lambda v: v.type.ndim > 0 and v.type.size > 0)
        if x is None:
            return
        whole = self.emit(self.one(UNARY), x) if self.chance(0.5) else x
        part = self.move(whole)
        if part is None or part.type.dtype is dt.bool_:
            return
        first = self.emit(self.one(("neg", "abs", "copy")), part)
        self.emit(self.one(("add", "mul", "max", "lt")), first, part)

    def special(self) -> None:
        """Constants that rewrites look for: neutral elements, powers of two, the dtype's limits."""
        x = self.pick(lambda v: v.type.size <= 3000 and v.type.dtype is not dt.bool_)
        if x is None:
            return
        d = x.type.dtype
        numbers: tuple[Any, ...] = (0, 1, 2, -1) if d.is_integer else (
            0.0, -0.0, 1.0, -1.0, 2.0, 0.25, 2.0**-20, 2.0**14, -(2.0**-30), math.inf, math.nan)
        number = abs(self.one(numbers)) if d.kind == "u" else self.one(numbers)
        c = self.b.const(number, d)
        self.note("const", c, ())
        c = self.emit("expand", c, attrs=(x.type.shape,)) if x.type.shape else c
        name = self.one([n for n in ("add", "sub", "mul", "div", "max", "remainder") if n != "div" or d.kind == "f"])
        self.emit(name, *((x, c) if self.chance(0.7) else (c, x)))

    def cast(self) -> None:
        x = self.pick()
        if x is not None:
            self.emit("cast", x, attrs=(self.one(REAL),))

    def bitcast(self) -> None:
        """Not from floats, whose NaNs may have any bits; not to or from bool."""
        x = self.pick(lambda v: v.type.dtype.is_integer)
        if x is not None:
            same = [d for d in REAL if d.bits == x.type.dtype.bits and d is not dt.bool_]
            self.emit("bitcast", x, attrs=(self.one(same),))

    def movement(self) -> None:
        x = self.pick()
        for _ in range(int(self.rng.integers(1, 4))):
            if x is None:
                return
            x = self.move(x)

    def move(self, x: Var) -> Var | None:
        shape, n = x.type.shape, x.type.ndim
        name = self.one(("reshape", "permute", "expand", "slice", "flip", "pad", "dynamic_slice"))
        if name == "reshape":
            return self.emit("reshape", x, attrs=(self.reshaped(x.type.size),))
        if name == "permute":
            return self.emit("permute", x, attrs=(tuple(int(i) for i in self.rng.permutation(n)),))
        if name == "flip":
            return self.emit("flip", x, attrs=(tuple(i for i in range(n) if self.chance(0.5)),))
        if name == "expand":
            grown = tuple(self.one(SIZES) if d == 1 else d for d in shape)
            lead = tuple(self.one((1, 2, 3)) for _ in range(int(self.rng.integers(0, 2))))
            if n + len(lead) > 5 or math.prod(lead + grown) > MAX_SIZE:
                return None
            return self.emit("expand", x, attrs=(lead + grown,))
        if name == "slice":
            cuts = [sorted(int(i) for i in self.rng.integers(0, d + 1, 2)) for d in shape]
            if self.chance(0.8):  # seldom empty
                cuts = [[a, b] if a < b else [0, d] for (a, b), d in zip(cuts, shape, strict=True)]
            return self.emit("slice", x, attrs=(tuple(a for a, _ in cuts), tuple(b for _, b in cuts),
                                                tuple(self.one((1, 1, 2, 3)) for _ in shape)))
        if name == "pad":
            low, high = (tuple(int(self.rng.integers(0, 3)) for _ in shape) for _ in range(2))
            if math.prod(lo + d + hi for lo, d, hi in zip(low, shape, high, strict=True)) > MAX_SIZE:
                return None
            return self.emit("pad", x, self.other(tensor_type(x.type.dtype)), attrs=(low, high))
        window, step = self.window(shape)
        return self.emit("dynamic_slice", x, *(self.scalar(int(self.rng.integers(-2, d + 2))) for d in shape),
                         attrs=(window, step))

    def window(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        sizes, steps = [], []
        for d in shape:
            step = self.one((1, 1, 2))
            most = -(-d // step)
            sizes.append(int(self.rng.integers(1, most + 1)) if most else 0)
            steps.append(step)
        return tuple(sizes), tuple(steps)

    def reshaped(self, size: int) -> tuple[int, ...]:
        """A random shape with ``size`` elements."""
        if size == 0:
            return (0, self.one(SIZES))
        factors, shape = [], []
        left, p = size, 2
        while left > 1:
            while left % p == 0:
                factors.append(p)
                left //= p
            p += 1
        self.rng.shuffle(factors)
        while factors:
            count = int(self.rng.integers(1, len(factors) + 1))
            shape.append(math.prod(int(f) for f in factors[:count]))
            factors = factors[count:]
        for _ in range(int(self.rng.integers(0, 2))):
            shape.insert(int(self.rng.integers(len(shape) + 1)), 1)
        return tuple(int(d) for d in shape[:5]) if len(shape) <= 5 else (size,)

    def cat(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0 and v.type.size < MAX_SIZE // 4)
        if x is None:
            return
        axis = int(self.rng.integers(x.type.ndim))
        parts = [x]
        for _ in range(int(self.rng.integers(1, 3))):
            shape = tuple(self.one(SIZES) if i == axis else d for i, d in enumerate(x.type.shape))
            if math.prod(shape) <= MAX_SIZE // 4:
                parts.append(self.other(tensor_type(x.type.dtype, shape)))
        self.rng.shuffle(parts)  # type: ignore[arg-type]
        self.emit("cat", *parts, attrs=(axis,))

    def reduce(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is None:
            return
        name = self.one(("reduce_sum", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "argmax", "argmin"))
        n = x.type.ndim
        axes = tuple(i for i in range(n) if self.chance(0.5)) or (int(self.rng.integers(n)),)
        if x.type.dtype is dt.bool_ and name in ("reduce_sum", "reduce_prod"):
            return
        self.emit(name, x, attrs=(axes[0],) if name.startswith("arg") else (axes,))

    def scan(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is not None:
            name = self.one(("cumsum", "cumprod", "cummax", "cummin"))
            self.emit(name, x, attrs=(int(self.rng.integers(x.type.ndim)),))

    def sort(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is not None:
            self.emit("sort", x, attrs=(int(self.rng.integers(x.type.ndim)), self.chance(0.5)))

    def dot(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0 and v.type.dtype is not dt.bool_)
        if x is None:
            return
        shape, n = x.type.shape, x.type.ndim
        order = [int(i) for i in self.rng.permutation(n)]
        k = int(self.rng.integers(0, min(n, 2) + 1))
        contract, rest = order[:k], order[k:]
        batch = [i for i in rest if self.chance(0.3)]
        roles = [("c", i) for i in contract] + [("b", i) for i in batch] + [
            ("f", self.one((1, 2, 3, 5, 17))) for _ in range(int(self.rng.integers(0, 2)))]
        self.rng.shuffle(roles)
        roles = [(str(r), int(i)) for r, i in roles]
        y_shape = tuple(shape[i] if r != "f" else i for r, i in roles)
        free = math.prod(shape[i] for i in rest if i not in batch) * math.prod(i for r, i in roles if r == "f")
        if free * math.prod(shape[i] for i in batch) > MAX_SIZE or math.prod(y_shape) > MAX_SIZE:
            return
        y = self.other(tensor_type(x.type.dtype, y_shape))
        found = {(r, i): at for at, (r, i) in enumerate(roles) if r != "f"}
        self.emit("dot", x, y, attrs=(tuple(contract), tuple(found["c", i] for i in contract), tuple(batch),
                                      tuple(found["b", i] for i in batch), x.type.dtype))

    def conv(self) -> None:
        """A convolution and, sometimes, its gradients."""
        if self.depth:
            return
        dims = int(self.rng.integers(1, 3))
        dtype = self.one((dt.float32, dt.float32, dt.float64, dt.float16, dt.bfloat16))
        groups = self.one((1, 1, 2, 3))
        c, o = groups * self.one((1, 2, 4)), groups * self.one((1, 2, 5))
        size = tuple(self.one((3, 5, 8, 9)) for _ in range(dims))
        kernel = tuple(self.one((1, 2, 3)) for _ in range(dims))
        stride, dilation = (tuple(self.one((1, 1, 2)) for _ in range(dims)) for _ in range(2))
        padding = tuple((int(self.rng.integers(0, 3)), int(self.rng.integers(0, 3))) for _ in range(dims))
        x = self.other(tensor_type(dtype, (self.one((1, 2, 3)), c, *size)))
        w = self.other(tensor_type(dtype, (o, c // groups, *kernel)))
        y = self.emit("conv", x, w, attrs=(stride, padding, dilation, groups))
        g = self.other(y.type)
        self.emit("conv_transpose", g, w, attrs=(size, stride, padding, dilation, groups))
        self.emit("conv_weight_grad", x, g, attrs=(kernel, stride, padding, dilation, groups))

    def index_value(self, shape: tuple[int, ...], n: int) -> Var:
        """Integers around [0, n)."""
        dtype = self.one((dt.int64, dt.int32, dt.uint8, dt.int16))
        low = 0 if dtype.kind == "u" else -2
        v = self.input(tensor_type(dtype, shape), np.asarray(self.rng.integers(low, n + 2, shape)))
        return v if v is not None else self.other(tensor_type(dtype, shape))

    def take(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is None:
            return
        axis = int(self.rng.integers(x.type.ndim))
        shape = self.shape(int(self.rng.integers(0, 3)))
        if x.type.size * math.prod(shape) <= MAX_SIZE:
            self.emit("take", x, self.index_value(shape, x.type.shape[axis]), attrs=(axis,))

    def scatter(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is None:
            return
        axis = int(self.rng.integers(x.type.ndim))
        shape = self.shape(int(self.rng.integers(0, 3)))
        whole = x.type.shape[:axis] + shape + x.type.shape[axis + 1:]
        if math.prod(whole) > MAX_SIZE or x.type.ndim - 1 + len(shape) > 5:
            return
        index = self.index_value(shape, x.type.shape[axis])
        self.emit("scatter", x, index, self.other(tensor_type(x.type.dtype, whole)),
                  attrs=(axis, self.one(("set", "add", "mul", "max", "min"))))

    def dynamic_update(self) -> None:
        x = self.pick(lambda v: v.type.ndim > 0)
        if x is None:
            return
        window, step = self.window(x.type.shape)
        update = self.other(tensor_type(x.type.dtype, window))
        starts = [self.scalar(int(self.rng.integers(-2, d + 2))) for d in x.type.shape]
        self.emit("dynamic_update", x, update, *starts, attrs=(step,))

    def leaf(self) -> None:
        way = int(self.rng.integers(3))
        if way == 0:
            shape = self.shape(int(self.rng.integers(1, 4)))
            dtype = self.one([d for d in REAL if d is not dt.bool_])
            self.emit("iota", attrs=(dtype, shape, int(self.rng.integers(len(shape)))))
        elif way == 1:
            t = tensor_type(self.one(COMMON), self.shape())
            if t.size < 100:
                c = self.b.const(values(t.dtype, t.shape, self.rng), t.dtype)
                self.note("const", c, ())
        elif not self.depth:
            key, counter = (self.input(tensor_type(dt.uint64), self.rng.integers(0, 1 << 62, ())) for _ in range(2))
            assert key is not None and counter is not None
            self.emit("random_bits", key, counter, attrs=(self.one((dt.uint32, dt.uint64)), self.shape()))

    def check(self) -> None:
        """A condition that holds."""
        x = self.pick()
        if x is None:
            return
        c = self.other(tensor_type(dt.bool_, self.shape(1)))
        self.emit("check", self.emit("or", c, self.emit("not", c)), x, attrs=("never",))

    # --- what NumPy runs
    def custom(self) -> None:
        x = self.pick(lambda v: v.type.dtype.kind == "f")
        if x is not None:
            self.emit("custom", x, attrs=("tests::doubled", ()))

    def complex_numbers(self) -> None:
        if not self.complexes or self.chance(0.4):
            x = self.pick(lambda v: v.type.dtype in (dt.float32, dt.float64) and v.type.size <= 3000)
            if x is None:
                return
            self.emit("complex", x, self.other(x.type))
        for _ in range(int(self.rng.integers(1, 4))):
            x = self.one(self.complexes)
            if self.chance(0.6):
                self.emit(self.one(COMPLEX_UNARY), x)
            else:
                y = self.one([v for v in self.complexes if v.type is x.type])
                self.emit(self.one(COMPLEX_BINARY), x, y)

    # --- control flow
    def body(self, types: list[TensorType], results: list[TensorType | None], loose: bool) -> tuple[Program, bool]:
        """A random program from ``types`` to ``results`` (None: anything); is it loose?"""
        g = Generator(self.rng, self.depth + 1)
        g.pool = [g.b.input(t) for t in types]
        g.loose = set(g.pool) if loose else set()
        inputs = list(g.pool)
        for _ in range(int(self.rng.integers(1, 4))):
            g.step()
        outputs = []
        for t in results:
            found = [v for v in g.pool if (v.type is t if t is not None else v.type.size <= MAX_SIZE // 8)]
            outputs.append(found[-1] if found and self.chance(0.7) else self.one(found or inputs))
        return g.b.build(outputs), any(v in g.loose for v in outputs) or bool(g.loose)

    def operands(self, count: int) -> list[Var]:
        return [v for v in (self.pick(lambda v: v.type.size < 2000) for _ in range(count)) if v is not None]

    def if_(self) -> None:
        xs = self.operands(int(self.rng.integers(1, 4)))
        if not xs or self.depth > 1:
            return
        types = [v.type for v in xs]
        results: list[TensorType | None] = [self.one(types) for _ in range(int(self.rng.integers(1, 3)))]
        loose = any(v in self.loose for v in xs)
        (then, a), (otherwise, b) = self.body(types, results, loose), self.body(types, results, loose)
        predicate = self.other(tensor_type(dt.bool_))
        out = self.b.if_(predicate, then, otherwise, xs)
        self.note("if", out, (predicate, *xs), a or b)

    def while_(self) -> None:
        xs = self.operands(int(self.rng.integers(1, 3)))
        if not xs or self.depth > 1:
            return
        i64 = tensor_type(dt.int64)
        types = [i64, *(v.type for v in xs)]
        n_fixed = int(self.rng.integers(0, len(xs)))
        inner, loose = self.body(types, list(types[1:len(types) - n_fixed]), any(v in self.loose for v in xs))
        b = ProgramBuilder()
        inputs = [b.input(t) for t in types]
        counted = (b.add(inputs[0], b.const(1, dt.int64)), *b.inline(inner, inputs))
        body = b.build(counted)
        c = ProgramBuilder()
        inputs = [c.input(t) for t in types]
        condition = c.build([c.lt(inputs[0], c.const(int(self.rng.integers(-1, 5)), dt.int64))])
        start = self.b.const(0, dt.int64)
        out = self.b.while_(condition, body, [start, *xs], n_fixed)
        self.note("while", out, tuple(xs), loose)

    def loop(self) -> None:
        xs = self.operands(int(self.rng.integers(1, 4)))
        if not xs or self.depth > 1:
            return
        n_carried = int(self.rng.integers(0, len(xs) + 1))
        results: list[TensorType | None] = [v.type for v in xs[:n_carried]]
        results += [None] * int(self.rng.integers(0 if n_carried else 1, 3))
        types = [tensor_type(dt.int64), *(v.type for v in xs)]
        body, loose = self.body(types, results, any(v in self.loose for v in xs))
        out = self.b.loop(body, int(self.rng.integers(0, 5)), xs[:n_carried], xs[n_carried:])
        self.note("loop", out, tuple(xs), loose)

    def step(self) -> None:
        """One more operation, or none if the choice did not fit."""
        before = len(self.b.equations)
        try:
            self.one(MAKERS)(self)
        except GemelError:
            del self.b.equations[before:]
            made = {v for e in self.b.equations for v in e.outputs} | set(self.b.inputs)
            self.pool = [v for v in self.pool if v in made]
            self.complexes = [v for v in self.complexes if v in made]


#: maker -> how many of the drawing lots are its own
LOTS: dict[Callable[[Generator], None], int] = {
    Generator.unary: 5, Generator.binary: 6, Generator.movement: 5, Generator.reduce: 4, Generator.select: 1,
    Generator.cast: 2, Generator.bitcast: 1, Generator.cat: 1, Generator.scan: 1, Generator.sort: 1, Generator.dot: 2,
    Generator.conv: 1, Generator.take: 2, Generator.scatter: 2, Generator.dynamic_update: 1, Generator.normalized: 2,
    Generator.window_twice: 2, Generator.special: 2, Generator.custom: 1, Generator.complex_numbers: 1,
    Generator.leaf: 1, Generator.check: 1, Generator.if_: 1, Generator.while_: 1, Generator.loop: 1}
MAKERS = tuple(maker for maker, lots in LOTS.items() for _ in range(lots))


def grow(seed: int, steps: int = 9) -> Grown:
    """The program of a seed."""
    rng = np.random.default_rng(seed)
    g = Generator(rng)
    for _ in range(int(rng.integers(1, 4))):
        g.input(tensor_type(g.one(COMMON), g.shape()))
    for _ in range(steps):
        g.step()
    computed = [v for e in g.b.equations for v in e.outputs if v.type.size <= MAX_SIZE]
    used = {v for e in g.b.equations for v in e.inputs}
    outputs = [v for v in computed if v not in used]
    outputs += [v for v in computed if v in used and rng.random() < 0.15]
    outputs = outputs or g.pool[:1]
    return Grown(g, outputs)
