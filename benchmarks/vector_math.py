"""The vector mathematics against glibc's libmvec, in loops over 2,048 elements that stay in the first-level cache.

    python benchmarks/vector_math.py [NAME ...]

Prints nanoseconds per element of both, interleaved minima, and their ratio (below 1: ours is faster). x86-64 with
AVX2 and glibc 2.35 or later. ``sigmoid`` is put beside libmvec's exp, the nearest that it has.
"""
from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

import numpy as np

from gemel.engine.base.target import host
from gemel.engine.codegen.jit import Library, compile_object
from gemel.engine.codegen.llvm import emit_module
from gemel.engine.loops import mathlib
from gemel.engine.loops.ir import KernelBuilder, Type, Val

SIZE, LANES, REPEATS, ROUNDS = 2048, 16, 100, 60
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
RANGES = {"log": (0.1, 4), "log2": (0.1, 4), "log1p": (0.1, 4), "asin": (-0.9, 0.9), "acos": (-0.9, 0.9)}
PEERS = {"sigmoid": "exp"}
NAMES = ("exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh",
         "cosh", "tanh", "sigmoid", "erf", "pow")


def kernel(name: str, fn: Callable[..., Val], elem: str, arguments: int) -> Callable[..., float]:
    """Nanoseconds per element of ``fn`` over the given arrays, the best of a few runs."""
    k = KernelBuilder(name, host().native)
    pointers, vector = [k.arg(i) for i in range(arguments + 1)], Type(elem, LANES)

    def step(i: Val) -> None:
        values = [k.load(k.offset(p, i, elem), vector) for p in pointers[:-1]]
        k.store(fn(k, *values), k.offset(pointers[-1], i, elem))

    k.loop(0, k.param(0), body=lambda _: k.loop(k.begin, k.end, LANES, body=step))
    library = Library(compile_object(emit_module(k.finish(), host().attributes), name), (name,))
    call = _SIGNATURE(library.address[name])

    def measure(*arrays: np.ndarray) -> float:
        _ = library  # the code lives as long as the function
        table = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        repeats = (ctypes.c_int64 * 1)(REPEATS)
        best = np.inf
        for _ in range(3):
            start = time.perf_counter_ns()
            call(ctypes.addressof(table), ctypes.addressof(repeats), 0, SIZE, None)
            best = min(best, time.perf_counter_ns() - start)
        return best / REPEATS / SIZE

    return measure


def libmvec(name: str, elem: str, arguments: int) -> Callable[..., Val]:
    """The same over vectors of 32 bytes, by calls into libmvec."""
    lanes = 8 if elem == "f32" else 4
    symbol = f"_ZGVdN{lanes}{'v' * arguments}_{name}{'f' if elem == 'f32' else ''}"

    def fn(k: KernelBuilder, *values: Val) -> Val:
        def split(x: Val) -> list[Val]:
            return [x] if x.type.lanes == lanes else [part for half in k.halves(x) for part in split(half)]
        parts = [k.intrinsic(symbol, Type(elem, lanes), *xs) for xs in zip(*map(split, values), strict=True)]
        while len(parts) > 1:
            parts = [k.shuffle(a, b, range(2 * a.type.lanes)) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return fn


def main() -> None:
    ctypes.CDLL("libmvec.so.1", mode=ctypes.RTLD_GLOBAL)
    print(f"{'':8s}{'ours':>8s}{'libmvec':>9s}{'ratio':>7s}")
    for elem, dtype in (("f32", np.float32), ("f64", np.float64)):
        for name in sys.argv[1:] or NAMES:
            arguments = 2 if name in ("pow", "atan2") else 1
            ours = kernel(f"ours_{name}_{elem}", getattr(mathlib, name), elem, arguments)
            theirs = kernel(f"theirs_{name}_{elem}", libmvec(PEERS.get(name, name), elem, arguments), elem, arguments)
            low, high = RANGES.get(name, (-4.0, 4.0))
            arrays = [np.linspace(low, high, SIZE).astype(dtype) for _ in range(arguments + 1)]
            if name == "pow":
                arrays[0] = np.abs(arrays[0])
            pairs = [(ours(*arrays), theirs(*arrays)) for _ in range(ROUNDS)]
            a, b = (min(column) for column in zip(*pairs, strict=True))
            print(f"{name:8s}{a:8.3f}{b:9.3f}{a / b:7.2f}  {elem}")


if __name__ == "__main__":
    main()
