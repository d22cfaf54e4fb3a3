"""Convolutions against torch: ``python -m benchmarks.conv [case ...]``.

A case is ``op:NxCxHxW:OxK[:stride[:padding[:groups[:dtype]]]]`` with op ``f`` (conv), ``x`` (gradient in the input)
or ``w`` (gradient in the weight); several letters run several.
"""
from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.common import Peer, compare, timer
from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.device import memory
from gemel.engine.device.pool import cpu_count
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.types import tensor_type
from gemel.engine.passes import FUSED, run_passes
from gemel.engine.runtime.native_plan import NativePlan

DEFAULT = [
    "fw:64x1x28x28:32x3", "fxw:64x32x26x26:64x3",                                          # W6
    "fxw:8x64x56x56:64x3:1:1", "fxw:8x128x28x28:128x3:1:1", "fxw:8x256x14x14:256x3:1:1", "fxw:8x512x7x7:512x3:1:1",
    "f:1x64x56x56:64x3:1:1", "f:1x128x28x28:128x3:1:1", "f:1x256x14x14:256x3:1:1", "f:1x512x7x7:512x3:1:1",
    "fxw:8x64x56x56:128x3:2:1", "fw:8x3x224x224:64x7:2:3", "fxw:8x64x56x56:256x1", "fxw:8x1024x14x14:256x1",
    "fxw:8x256x56x56:512x1:2", "fxw:8x96x56x56:96x3:1:1:96", "fxw:8x144x56x56:144x3:2:1:144",
    "f:8x64x56x56:64x3:1:1:1:bfloat16",
]
OPS = {"f": "conv", "x": "conv_transpose", "w": "conv_weight_grad"}


def parse(case: str):
    """(ops, n, c, h, w, o, kernel, stride, padding, groups, dtype)."""
    ops, image, weight, *rest = case.split(":")
    rest += ["1", "0", "1", "float32"][len(rest):]
    n, c, h, w = map(int, image.split("x"))
    o, kernel = map(int, weight.split("x"))
    return ops, n, c, h, w, o, kernel, int(rest[0]), int(rest[1]), int(rest[2]), rest[3]


def plan(op, n, c, h, w, o, kernel, stride, padding, groups, dtype, layout="nchw"):
    """A runnable plan and its operations."""
    d, k = dt.BY_NAME[dtype], (kernel, kernel)
    out = [(s + 2 * padding - kernel) // stride + 1 for s in (h, w)]
    options = {"stride": (stride,) * 2, "padding": ((padding, padding),) * 2, "dilation": (1, 1), "groups": groups}
    x, weight, g = (n, c, h, w), (o, c // groups, *k), (n, o, *out)
    shapes, extra = {"conv": ((x, weight), {}), "conv_transpose": ((g, weight), {"size": (h, w)}),
                     "conv_weight_grad": ((x, g), {"kernel": k})}[op]
    b = ProgramBuilder()
    rng = np.random.default_rng(0)
    inputs, buffers = [], []
    for shape in shapes:
        stored = tuple(shape[i] for i in (0, 2, 3, 1)) if layout == "nhwc" else shape
        v = b.input(tensor_type(d, stored))
        buffers.append(memory.allocate(v.type.nbytes))
        memory.as_numpy(buffers[-1], d.numpy, stored)[...] = rng.standard_normal(stored).astype(np.float32)
        inputs.append(b.permute(v, (0, 3, 1, 2)) if layout == "nhwc" else v)
    result = getattr(b, op)(*inputs, **extra, **options)
    program = b.build([b.permute(result, (0, 2, 3, 1)) if layout == "nhwc" else result])
    native = NativePlan(run_passes(program, FUSED), [v.type for v in program.inputs], (), True)
    flops = 2 * n * out[0] * out[1] * o * (c // groups) * kernel * kernel
    return (lambda: native.run(buffers, [])), flops


def asker(torch: Peer, request: list) -> Callable[[int], float]:
    """A timer of torch's case, which is prepared anew: one process serves both layouts."""
    def ask(times: int) -> float:
        torch.ask({"case": request})
        return torch.ask({"run": times})
    return ask


def main() -> None:
    threads = cpu_count()
    with override(THREADS=threads):  # as the limit's plan has it: one pool for all
        run_cases(threads)


def run_cases(threads: int) -> None:
    torch = Peer("torch", sys.executable)
    print(f"{'case':44s} GFLOP/s (share of the multiply-add limit)")
    for case in [a for a in sys.argv[1:] if not a.startswith("-")] or DEFAULT:
        ops, *sizes = parse(case)
        for letter in ops:
            run, flops = plan(OPS[letter], *sizes)
            repeats = max(1, int(4e8 / flops))
            contestants = {"gemel": (timer(run), repeats)}
            if "--alone" not in sys.argv:
                for layout in ("nchw", "nhwc"):
                    contestants[f"torch {layout}"] = (asker(torch, [OPS[letter], *sizes, layout]), repeats)
            found = compare(contestants, flops, 9 if flops < 3e9 else 5, threads)
            print(f"{letter}:{case.split(':', 1)[1]:42s}" + "  ".join(
                f"{name} {rate / 1e9:6.1f} ({share:.3f}; best {best / 1e9:.1f})"
                for name, (rate, share, best) in found.items()), flush=True)
    torch.close()


if __name__ == "__main__":
    main()
