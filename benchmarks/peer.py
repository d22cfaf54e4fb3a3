"""A peer framework in a process of its own: reads one JSON request a line, answers with one JSON line.

    PEER_PYTHON benchmarks/peer.py jax|tf|torch|numpy

Requests: ``{"case": [...]}`` prepares a case, ``{"run": n}`` runs it n times and answers the seconds taken.
Cases: ``["gemm", m, n, k, a_layout, b_layout, dtype]`` with layouts ``N`` (row-major) or ``T``; torch also has
``[op, n, c, h, w, o, kernel, stride, pad, groups, dtype, layout]`` with op ``conv``, ``conv_transpose`` (gradient in
the input) or ``conv_weight_grad``, and layout ``nchw`` or ``nhwc``.
"""
from __future__ import annotations

import json
import sys
import time

import numpy as np


def gemm_numpy(m, n, k, la, lb, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k) if la == "N" else (k, m)).astype(np.float32)
    b = rng.standard_normal((k, n) if lb == "N" else (n, k)).astype(np.float32)
    return a, b


def jax_case(kind, *args):
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
    _, _, _, la, lb, dtype = args
    a, b = (jnp.asarray(x).astype(dtype) for x in gemm_numpy(*args))
    f = jax.jit(lambda x, y: (x if la == "N" else x.T) @ (y if lb == "N" else y.T))
    return lambda: f(a, b).block_until_ready()


def torch_case(kind, *args):
    import torch
    if kind != "gemm":
        return torch_conv(kind, *args)
    m, n, _, la, lb, dtype = args
    a, b = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in gemm_numpy(*args))
    a, b = (a if la == "N" else a.T), (b if lb == "N" else b.T)
    out = torch.empty((m, n), dtype=a.dtype)
    return lambda: torch.mm(a, b, out=out)


def tf_case(kind, *args):
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]
    _, _, _, la, lb, dtype = args
    a, b = (tf.cast(tf.constant(x), dtype) for x in gemm_numpy(*args))
    f = tf.function(lambda x, y: tf.matmul(x, y, transpose_a=la == "T", transpose_b=lb == "T"))
    return lambda: f(a, b)


def numpy_case(kind, *args):
    m, n, _, la, lb, _ = args
    a, b = gemm_numpy(*args)
    a, b = (a if la == "N" else a.T), (b if lb == "N" else b.T)
    out = np.empty((m, n), np.float32)
    return lambda: np.matmul(a, b, out=out)


def torch_conv(kind, n, c, h, w, o, kh, stride, pad, groups, dtype, layout):
    import torch
    import torch.nn.functional as F
    torch.manual_seed(0)
    order = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    x = torch.randn(n, c, h, w, dtype=getattr(torch, dtype)).to(memory_format=order)
    wt = torch.randn(o, c // groups, kh, kh, dtype=getattr(torch, dtype)).to(memory_format=order)
    y = F.conv2d(x, wt, stride=stride, padding=pad, groups=groups)
    if kind == "conv":
        return lambda: F.conv2d(x, wt, stride=stride, padding=pad, groups=groups)
    g = torch.randn_like(y)
    mask = {"conv_transpose": [True, False, False], "conv_weight_grad": [False, True, False]}[kind]
    back = torch.ops.aten.convolution_backward
    return lambda: back(g, x, wt, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask)


def main() -> None:
    make = {"jax": jax_case, "torch": torch_case, "tf": tf_case, "numpy": numpy_case}[sys.argv[1]]
    run = list
    for line in sys.stdin:
        request = json.loads(line)
        if "case" in request:
            run = make(*request["case"])
            run()
            print(json.dumps("ready"), flush=True)
            continue
        start = time.perf_counter()
        for _ in range(request["run"]):
            run()
        print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
