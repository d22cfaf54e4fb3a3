"""Matrix products against peers: ``python -m benchmarks.gemm [case ...]``; a case is ``MxNxK[:layouts[:dtype]]``."""
from __future__ import annotations

import sys

import numpy as np

from benchmarks.common import compare, peers, timer
from gemel.engine.base import dtypes as dt
from gemel.engine.device.pool import cpu_count
from gemel.engine.loops.calls import Operand, Refusal
from gemel.engine.loops.gemm import Access, GemmProblem, gemm
from tests.execute import Plan

DEFAULT = ["128x128x128", "256x256x256", "512x512x512", "1024x1024x1024", "2048x2048x2048", "32x3072x768",
           "64x256x784:NT", "256x784x64:TN", "1024x3072x768", "1024x50257x768:NT", "1x4096x4096", "1x4096x4096:NT"]


def problem(m, n, k, la, lb, d):
    a_m, a_k = (k, 1) if la == "N" else (1, m)
    b_k, b_n = (n, 1) if lb == "N" else (1, k)
    return GemmProblem((), m, n, k, (), a_m, a_k, (), b_k, b_n, d, d, (Access((), n, 1),))


def main() -> None:
    threads = cpu_count()
    others = peers(["jax", "tf", "torch", "numpy"])
    for case in sys.argv[1:] or DEFAULT:
        sizes, layouts, dtype = (case.split(":") + ["NN", "float32"])[:3] if case.count(":") != 1 else (
            *case.split(":"), "float32")
        m, n, k = map(int, sizes.split("x"))
        d = dt.BY_NAME[dtype]
        rng = np.random.default_rng(0)
        a = rng.standard_normal((m, k) if layouts[0] == "N" else (k, m)).astype(d.numpy)
        b = rng.standard_normal((k, n) if layouts[1] == "N" else (n, k)).astype(d.numpy)
        c = np.empty((m, n), d.numpy)
        calls = gemm(problem(m, n, k, layouts[0], layouts[1], d), Operand("a"), Operand("b"), [], [Operand("c")],
                     threads=threads)
        assert not isinstance(calls, Refusal), calls
        run = Plan(calls, {"a": a, "b": b, "c": c}, threads)
        flops = 2 * m * n * k
        repeats = max(1, int(4e8 / flops))
        contestants = {"gemel": (timer(run), repeats)}
        for peer in others:
            if peer.name == "numpy" and dtype != "float32":
                continue
            peer.ask({"case": ["gemm", m, n, k, *layouts, dtype]})
            contestants[peer.name] = ((lambda times, peer=peer: peer.ask({"run": times})), repeats)
        found = compare(contestants, flops, 15 if flops < 3e9 else 7, threads)
        print(f"{case:24s}" + "  ".join(
            f"{name} {rate / 1e9:6.1f} ({share:.3f}; best {best / 1e9:.1f})"
            for name, (rate, share, best) in found.items()), flush=True)
    for peer in others:
        peer.close()


if __name__ == "__main__":
    main()
