"""Operands of every primitive, in float64 where it has a derivative: what the rule tests go through."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.engine.base import dtypes as dt
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.custom import CustomOp, register_custom
from gemel.engine.ir.op import Op, op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.types import TensorType, tensor_type

F8, I8 = tensor_type(dt.float64, (4,)), tensor_type(dt.int64)


@dataclass
class Sample:
    """One call: name, attributes, operands; ``smooth``: finite differences apply."""

    name: str
    attrs: tuple
    arrays: list[np.ndarray]
    smooth: bool = True
    label: str = ""

    @property
    def op(self) -> Op:
        return op(ROWS[self.name], *self.attrs)

    @property
    def id(self) -> str:
        return f"{self.name}{'-' + self.label if self.label else ''}"


def types_of(arrays: list[np.ndarray]) -> tuple[TensorType, ...]:
    return tuple(tensor_type(dt.from_numpy(a.dtype), a.shape) for a in arrays)


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return _rng().standard_normal(shape)


def between(low: float, high: float, *shape: int) -> np.ndarray:
    return _rng().uniform(low, high, shape)


def other(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape)


def apart(*shape: int) -> np.ndarray:
    """Values that are far from one another and from zero."""
    n = int(np.prod(shape))
    return (_rng().permutation(n) * 0.37 + 0.21).reshape(shape) - 0.37 * n / 2


def integers(low: int, high: int, *shape: int) -> np.ndarray:
    return _rng().integers(low, high, shape)


def _body(types: list[TensorType], write: Any) -> Any:
    b = ProgramBuilder()
    results = write(b, *[b.input(t) for t in types])
    return b.build(results if isinstance(results, tuple) else (results,))


def _outer(b: Any, arguments: tuple, operands: Any, results: Any, cotangents: Any) -> list:
    (x,), (g,) = operands, cotangents
    return [b.scale(b.mul(g, x), 2)]


if "test::square" not in __import__("gemel.engine.ir.custom", fromlist=["_REGISTRY"])._REGISTRY:
    register_custom(CustomOp("test::square", lambda arguments, types: (types[0],), lambda arguments, xs: [xs[0] ** 2],
                             _outer))

X = (3, 4)
UNARY = {
    "neg": normal(*X), "abs": apart(*X), "sqrt": between(0.3, 3, *X), "rsqrt": between(0.3, 3, *X),
    "exp": normal(*X), "exp2": normal(*X), "expm1": normal(*X), "log": between(0.2, 3, *X),
    "log2": between(0.2, 3, *X), "log1p": between(-0.5, 3, *X), "sin": normal(*X), "cos": normal(*X),
    "tan": between(-1, 1, *X), "asin": between(-0.8, 0.8, *X), "acos": between(-0.8, 0.8, *X), "atan": normal(*X),
    "sinh": normal(*X), "cosh": normal(*X), "tanh": normal(*X), "sigmoid": normal(*X), "erf": normal(*X),
    "erfinv": between(-0.8, 0.8, *X), "lgamma": between(0.4, 4, *X), "digamma": between(0.4, 4, *X),
    "real": normal(*X), "imag": normal(*X), "conj": normal(*X), "copy": normal(*X), "sign": apart(*X),
    "floor": apart(*X), "ceil": apart(*X), "trunc": apart(*X), "round": apart(*X),
}
BINARY = {
    "add": (normal(*X), other(*X)), "sub": (normal(*X), other(*X)), "mul": (normal(*X), other(*X)),
    "div": (normal(*X), apart(*X)), "pow": (between(0.3, 2, *X), other(*X)), "atan2": (apart(*X), other(*X)),
    "max": (apart(*X), other(*X)), "min": (apart(*X), other(*X)), "complex": (normal(*X), other(*X)),
    "floor_divide": (apart(*X), between(1.1, 1.3, *X)), "remainder": (apart(*X), between(1.1, 1.3, *X)),
    "fmod": (apart(*X), between(1.1, 1.3, *X)),
}
INTEGER = {name: (integers(0, 9, *X), integers(0, 5, 3, 4)) for name in ("and", "or", "xor", "shl", "shr")}
COMPARE = {name: (integers(0, 3, *X) * 1.0, integers(1, 3, *X) * 1.0) for name in ("eq", "ne", "lt", "le")}
WINDOW = ((2, 1), ((1, 0), (1, 2)), (1, 2))


def _control() -> list[Sample]:
    then = _body([F8, F8], lambda b, x, y: (b.mul(x, y), b.sin(x)))
    otherwise = _body([F8, F8], lambda b, x, y: (b.add(x, y), b.exp(y)))
    step = _body([I8, F8, F8], lambda b, i, x, w: (b.tanh(b.mul(x, w)), b.sin(x)))
    count = _body([F8, I8, F8], lambda b, x, i, w: b.lt(i, b.index_scalar(3)))
    turn = _body([F8, I8, F8], lambda b, x, i, w: (b.mul(b.sin(x), w), b.add(i, b.index_scalar(1))))
    operands = [normal(4), other(4)]
    return [
        Sample("if", (then, otherwise), [np.asarray(True), *operands], label="then"),
        Sample("if", (then, otherwise), [np.asarray(False), *operands], label="otherwise"),
        Sample("loop", (step, 3, 1, False), operands), Sample("loop", (step, 3, 1, True), operands, label="backwards"),
        Sample("loop", (step, 0, 1, False), operands, label="no-trips"),
        Sample("while", (count, turn, 1), [operands[0], np.asarray(0), operands[1]]),
        Sample("custom", ("test::square", ()), [normal(3)]),
        Sample("check", ("no",), [np.ones(X, bool), normal(*X)]),
    ]


def samples() -> list[Sample]:
    """At least one call of every primitive that has operands."""
    found = [Sample(n, (), [x]) for n, x in UNARY.items()]
    found += [Sample(n, (), list(xs)) for n, xs in BINARY.items()]
    found += [Sample(n, (), list(xs), False) for n, xs in (*INTEGER.items(), *COMPARE.items())]
    zeros = normal(2, 5)
    zeros[0, 2] = zeros[1, 0] = zeros[1, 3] = 0
    x = normal(2, 3, 4)
    g_shape = (2, 4, 3, 5)
    found += [
        Sample("not", (), [integers(0, 9, *X)], False),
        Sample("random_bits", (dt.uint64, (5,)), [np.asarray(3, np.uint64), np.asarray(9, np.uint64)], False),
        Sample("select", (), [apart(*X) > 0, normal(*X), other(*X)]),
        Sample("cast", (dt.float64,), [normal(*X)]), Sample("bitcast", (dt.int64,), [normal(*X)], False),
        Sample("reshape", ((4, 6),), [x]), Sample("permute", ((2, 0, 1),), [x]),
        Sample("expand", ((2, 3, 4),), [normal(3, 1)]), Sample("pad", ((1, 0), (0, 2)), [normal(*X), np.asarray(0.3)]),
        Sample("slice", ((0, 1), (3, 4), (2, 1)), [normal(*X)]), Sample("slice", ((1, 0), (3, 4), (1, 1)), [normal(*X)],
                                                                        label="dense"),
        Sample("flip", ((1,),), [normal(*X)]), Sample("cat", (1,), [normal(2, 3), other(2, 2)]),
        Sample("reduce_sum", ((0, 2),), [x]), Sample("reduce_prod", ((1,),), [zeros]),
        Sample("reduce_prod", ((0, 2),), [x], label="two-axes"),
        Sample("reduce_max", ((1,),), [apart(*X)]), Sample("reduce_min", ((0, 1),), [apart(*X)]),
        Sample("argmax", (1,), [apart(*X)], False), Sample("argmin", (0,), [apart(*X)], False),
        Sample("cumsum", (1,), [normal(*X)]), Sample("cumprod", (1,), [normal(*X)]),
        Sample("cumprod", (1,), [zeros], label="zeros"),
        Sample("cummax", (0,), [apart(*X)]), Sample("cummin", (1,), [apart(*X)]),
        Sample("sort", (1, True), [apart(*X)]),
        Sample("dot", ((2,), (1,), (0,), (2,), dt.float64), [normal(2, 3, 4), other(5, 4, 2)]),
        Sample("dot", ((0, 1), (1, 0), (), (), dt.float64), [normal(3, 4, 2), other(4, 3)], label="two-axes"),
        Sample("conv", (*WINDOW, 2), [normal(2, 4, 5, 5), other(6, 2, 3, 2)]),
        Sample("conv_transpose", ((5, 4), *WINDOW, 2), [normal(*g_shape), other(4, 3, 2, 2)]),
        Sample("conv_weight_grad", ((2, 2), *WINDOW, 2), [other(2, 6, 5, 4), normal(*g_shape)]),
        Sample("take", (1,), [x, integers(0, 3, 2, 2)]),
        Sample("take", (1,), [x, np.asarray([-1, 1, 4])], False, "outside"),
        *(Sample("scatter", (1, mode), [apart(2, 3, 4), np.asarray([[0, 2], [1, 2 - (mode == "set")]]),
                                        other(2, 2, 2, 4) + 3], mode != "set", mode)
          for mode in ("set", "add", "mul", "max", "min")),
        Sample("scatter", (1, "set"), [apart(2, 3, 4), np.asarray([2, 0]), other(2, 2, 4)], label="set-once"),
        Sample("scatter", (1, "add"), [apart(2, 3, 4), np.asarray([2, 5, -1]), other(2, 3, 4)], False, "outside"),
        Sample("dynamic_slice", ((2, 2), (1, 2)), [normal(3, 5), np.asarray(1), np.asarray(9)]),
        Sample("dynamic_update", ((1, 2),), [normal(3, 5), other(2, 2), np.asarray(-1), np.asarray(1)]),
        *_control(),
    ]
    return found
