"""Compile an elementwise function of register values into a callable on arrays, for the tests of native forms."""
from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from gemel.engine.base.dtypes import DType
from gemel.engine.base.target import Target, host
from gemel.engine.codegen.jit import Library, compile_object
from gemel.engine.codegen.llvm import emit_module
from gemel.engine.loops.elementwise import load_element, memory_type, store_element
from gemel.engine.loops.ir import KernelBuilder, Val

Function = Callable[..., Val]
_serial = itertools.count()
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def module(name: str, fn: Function, inputs: Sequence[DType], output: DType, lanes: int, target: Target) -> str:
    """LLVM text of a kernel that applies ``fn(k, *values)`` to arrays whose length is a multiple of ``lanes``."""
    k = KernelBuilder(name, target.native)
    pointers = [k.arg(i) for i in range(len(inputs) + 1)]

    def body(i: Val) -> None:
        values = [load_element(k, d, k.offset(p, i, memory_type(d)), lanes)
                  for d, p in zip(inputs, pointers, strict=False)]
        store_element(k, output, fn(k, *values), k.offset(pointers[-1], i, memory_type(output)))

    k.loop(k.begin, k.end, lanes, body=body)
    return emit_module(k.finish(), target.attributes)


class Native:
    """A compiled kernel: call it with arrays."""

    def __init__(self, fn: Function, inputs: Sequence[DType], output: DType, lanes: int) -> None:
        name = f"kernel{next(_serial)}"
        text = module(name, fn, inputs, output, lanes, host())
        self.library = Library(compile_object(text, name), (name,))
        self.function = _SIGNATURE(self.library.address[name])
        self.output, self.lanes = output, lanes

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        size = arrays[0].size
        whole = -(-size // self.lanes) * self.lanes
        padded = [np.concatenate([a, np.ones(whole - size, a.dtype)]) if whole > size else np.ascontiguousarray(a)
                  for a in arrays]
        result = np.empty(whole, self.output.numpy)
        pointers = [a.ctypes.data for a in (*padded, result)]
        table = (ctypes.c_void_p * len(pointers))(*pointers)
        self.function(ctypes.addressof(table), None, 0, whole, None)
        return result[:size]


def bits(x: np.ndarray) -> np.ndarray:
    """The bits of an array, with one pattern for every NaN."""
    if x.dtype.kind in "iub":
        return x
    width = x.dtype.itemsize * 8
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(x), -1, x.view(f"i{width // 8}"))


def assert_same_bits(got: np.ndarray, expected: np.ndarray, *operands: np.ndarray) -> None:
    assert got.dtype == expected.dtype
    wrong = np.flatnonzero(bits(got) != bits(expected))
    assert wrong.size == 0, "; ".join(
        f"f({', '.join(repr(x[i]) for x in operands)}) = {got[i]!r}, expected {expected[i]!r}" for i in wrong[:5])


def ulp_error(got: np.ndarray, reference: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
    """|got - reference| in units in the last place of got's type at the reference (which is wider), or at ``at``."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(np.abs(reference if at is None else at))[1] - 1, info.minexp)
        unit = np.ldexp(np.ones_like(reference), exponent - info.nmant)
        error = np.abs(got.astype(reference.dtype) - reference) / unit
        rounded = reference.astype(got.dtype)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error = np.where(same & ~np.isfinite(got), 0, error)
    return np.where(np.isnan(error), np.inf, error).astype(np.float64)
