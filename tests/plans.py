"""Run a program in every tier on NumPy arrays, without the tensor API; compare bits."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gemel.engine import interpreter
from gemel.engine.base import dtypes as dt
from gemel.engine.base.dtypes import DType
from gemel.engine.device import memory
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.program import Program
from gemel.engine.ir.types import TensorType
from gemel.engine.passes import FUSED, GENERIC, run_passes
from gemel.engine.runtime import runs
from gemel.engine.runtime.native_plan import NativePlan
from gemel.engine.runtime.trace import layout


def program(types: Sequence[TensorType], body: Callable[..., Any]) -> Program:
    """The program that ``body(builder, *inputs)`` writes."""
    b = ProgramBuilder()
    found = body(b, *[b.input(t) for t in types])
    return b.build(found if isinstance(found, (tuple, list)) else (found,))


def place(array: np.ndarray) -> tuple[memory.Buffer, Any]:
    """(buffer, form) that hold an array with the strides it has: broadcast and reversed axes stay what they are."""
    from gemel.engine.base.dtypes import from_numpy
    from gemel.engine.ir.types import tensor_type
    t = tensor_type(from_numpy(array.dtype), array.shape)
    size = array.itemsize
    if array.flags.c_contiguous or not array.size:
        buffer = memory.allocate(array.nbytes)
        memory.as_numpy(buffer, array.dtype, array.shape)[...] = array
        return buffer, t
    strides = tuple(s // size if n != 1 else 0 for s, n in zip(array.strides, array.shape, strict=True))
    low = sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True) if s > 0)
    buffer = memory.allocate((high - low + 1) * size)
    view = memory.as_numpy(buffer, array.dtype, array.shape, strides, -low)
    unique = tuple(slice(0, 1) if s == 0 else slice(None) for s in strides)  # a broadcast axis is written once
    view[unique] = array[unique]
    return buffer, layout(t, strides, -low)


class Native:
    """A plan and what it gave.

    Args:
        donate: inputs whose memory results may take. updates: output -> the donated input that it replaces.
        scalars: so many of the last inputs are runtime scalars. behind: run it behind the program, where that can be.
    Attributes:
        plan: the plan. outputs: its results as arrays. host_steps: operations that NumPy ran.
    """

    def __init__(self, p: Program, arrays: Sequence[np.ndarray], fused: bool, donate: tuple[int, ...] = (),
                 updates: dict[int, int] | None = None, scalars: int = 0, behind: bool = False) -> None:
        count = len(arrays) - scalars
        self.placed = [place(a) for a in arrays[:count]]
        self.plan = NativePlan(run_passes(p, FUSED if fused else GENERIC), [f for _, f in self.placed], donate, fused,
                               updates)
        before = runs.counters.host_steps
        results = self.plan.run([b for b, _ in self.placed], [a.item() for a in arrays[count:]],
                                wait=not behind)
        self.host_steps = runs.counters.host_steps - before
        self.outputs = [array_of(buffer, form, v.type) for (buffer, form), v in zip(results, p.outputs, strict=True)]

    def input(self, p: Program, k: int) -> np.ndarray:
        """What is in the memory of input ``k`` now."""
        return array_of(*self.placed[k], p.inputs[k].type)

    @property
    def kernels(self) -> list[str]:
        return [c.spec.name for c in self.plan.calls]


def array_of(buffer: memory.Buffer, form: Any, t: TensorType) -> np.ndarray:
    """A result as an array (a copy)."""
    if form is t:
        return memory.as_numpy(buffer, t.dtype.numpy, t.shape).copy()
    return memory.as_numpy(buffer, t.dtype.numpy, t.shape, form.strides, form.offset).copy()


def bits(x: np.ndarray) -> np.ndarray:
    """The bits of an array, with one pattern for every NaN."""
    if x.dtype.kind in "iub":
        return x
    if x.dtype.kind == "c":
        return np.stack([bits(x.real), bits(x.imag)])
    with np.errstate(invalid="ignore"):
        nan = np.isnan(x.astype(np.float64))
    return np.where(nan, -1, np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}").reshape(x.shape))


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal dtype, shape and bits?"""
    return x.dtype == y.dtype and x.shape == y.shape and bool(np.array_equal(bits(x), bits(y)))


def interpret(p: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The meaning of a program, contractions in their canonical order."""
    return [np.asarray(x) for x in interpreter.run(p, arrays, exact=True)]


def check(p: Program, arrays: Sequence[np.ndarray], ulps: int = 0, host: bool = False) -> tuple[Native, Native]:
    """Interpreter, tier 0 and tier 1 agree: bit for bit, or the interpreter within ``ulps``; nothing runs in NumPy."""
    expected = interpret(p, arrays)
    generic, fused = Native(p, arrays, False), Native(p, arrays, True)
    for n, (meant, zero, one) in enumerate(zip(expected, generic.outputs, fused.outputs, strict=True)):
        assert same_bits(zero, one), f"output {n}: the tiers differ\n{p}\n{zero}\n{one}"
        if ulps and meant.dtype.kind == "f" or meant.dtype == dt.bfloat16.numpy and ulps:
            assert zero.dtype == meant.dtype and zero.shape == meant.shape
            worst = distance(zero, meant)
            assert worst <= ulps, f"output {n}: {worst} ulps from the interpreter\n{p}\n{meant}\n{zero}"
        else:
            assert same_bits(zero, meant), f"output {n} differs from the interpreter\n{p}\n{meant}\n{zero}"
    if not host:
        assert generic.host_steps == fused.host_steps == 0, f"NumPy ran a part of\n{p}"
    return generic, fused


def distance(x: np.ndarray, y: np.ndarray) -> int:
    """Largest distance of two float arrays in representable numbers; NaN equals NaN only."""
    def ordered(a: np.ndarray) -> np.ndarray:
        raw = np.ascontiguousarray(a).view(f"i{a.dtype.itemsize}").astype(object)
        low = -(1 << (8 * a.dtype.itemsize - 1))
        return np.where(raw < 0, low - raw, raw)
    if not x.size:
        return 0
    nx, ny = np.isnan(x.astype(np.float64)), np.isnan(y.astype(np.float64))
    if not np.array_equal(nx, ny):
        return 1 << 62
    gap = np.abs(ordered(x) - ordered(y))
    return int(np.max(np.where(nx.reshape(gap.shape), 0, gap)))


def values(dtype: DType, shape: tuple[int, ...], rng: np.random.Generator, special: float = 0.05) -> np.ndarray:
    """Small numbers, many of them equal, with some NaN, infinities and signed zeros."""
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(0 if dtype.kind == "u" else -100, 100, shape)).astype(dtype.numpy)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype.numpy)
    x = np.where(rng.random(shape) < 0.5, np.round(rng.standard_normal(shape) * 4) / 2, rng.standard_normal(shape))
    for value in (np.nan, np.inf, -np.inf, -0.0, 0.0):
        x = np.where(rng.random(shape) < special / 2, value, x)
    return np.asarray(x).astype(dtype.numpy)
