"""Timing side by side: ours, the machine's limits and peers in processes of their own, interleaved.

Every round times each contestant once, one after the other; what is reported is the median over the rounds of
each one's rate and of its ratio to the machine's limit in the same round.
"""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gemel.engine.base.target import host
from gemel.engine.loops.calls import Call, KernelSpec, Operand
from gemel.engine.loops.ir import KernelBuilder, Type
from tests.execute import Plan

PAUSE = 0.03  # seconds between samples: the threads of whoever ran last stop spinning
HERE = os.path.dirname(os.path.abspath(__file__))


class Peer:
    """A framework in another process; ``GEMEL_PEER_<NAME>`` is the Python that has it."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        env.update(TF_CPP_MIN_LOG_LEVEL="3", JAX_PLATFORMS="cpu", MALLOC_MMAP_THRESHOLD_="4294967296",
                   MALLOC_TRIM_THRESHOLD_="8589934592", OPENBLAS_THREAD_TIMEOUT="18")
        self.process = subprocess.Popen([python, os.path.join(HERE, "peer.py"), name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)

    def ask(self, request: dict):
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"peer {self.name} died on {request}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def peers(names: list[str]) -> list[Peer]:
    """The peers whose Python is known."""
    found = []
    for name in names:
        python = os.environ.get(f"GEMEL_PEER_{name.upper()}") or (sys.executable if name == "numpy" else None)
        if python:
            found.append(Peer(name, python))
    return found


def timer(run: Callable[[], None]) -> Callable[[int], float]:
    """Seconds that ``n`` calls take."""
    def seconds(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            run()
        return time.perf_counter() - start
    return seconds


def _limit_kernel(name, target):
    k = KernelBuilder(name)
    vector = Type("f32", target.lanes(32))
    count = 12 if target.registers == 16 else 24
    x = k.load(k.arg(0), vector)

    def task(_t):
        sums = k.loop(0, k.param(0), 1, [x] * count, lambda _i, *acc: [k.fma(a, x, x) for a in acc], nonempty=True)
        total = sums[0]
        for s in sums[1:]:
            total = k.fadd(total, s)
        spot = k.stack("f32", target.lanes(32))
        k.store(total, spot)
        k.store(k.load(spot, vector), k.arg(1))
    k.loop(k.begin, k.end, body=task)
    return k.finish()


def fma_limit(threads: int) -> tuple[Callable[[int], float], float]:
    """A timer of register-only multiply-adds on all threads, and the operations of one run."""
    target = host()
    n, count, lanes = 500_000, 12 if target.registers == 16 else 24, target.lanes(32)
    x = np.full(lanes, 0.5, np.float32)
    call = Call(KernelSpec("fma_limit", ("fma_limit",), _limit_kernel), [Operand("x"), Operand("y")], [n],
                threads, 1, (1,))
    plan = Plan([call], {"x": x, "y": np.zeros(64 * threads, np.float32)}, threads)
    return timer(plan), 2.0 * n * count * lanes * threads


def memory_limit(threads: int) -> float:
    """Bytes a second that ``c = a + b`` moves on all threads, with arrays far larger than any cache."""
    parts = [[np.ones(1 << 24, np.float32) for _ in range(3)] for _ in range(threads)]
    with ThreadPoolExecutor(threads) as workers:
        def run() -> float:
            start = time.perf_counter()
            list(workers.map(lambda p: np.add(p[0], p[1], out=p[2]), parts))
            return time.perf_counter() - start
        return threads * 3 * parts[0][0].nbytes / min(run() for _ in range(6))


def compare(contestants: dict[str, tuple[Callable[[int], float], int]], work: float, rounds: int,
            threads: int) -> dict[str, tuple[float, float, float]]:
    """name -> (median rate, median share of the limit, best rate), in units of ``work`` a second."""
    limit, flops = fma_limit(threads)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    shares: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        time.sleep(PAUSE)
        limit(3)
        top = flops * 3 / limit(3)
        for name, (run, n) in contestants.items():
            time.sleep(PAUSE)
            run(n)  # a processor that slept takes milliseconds to reach its clock
            rate = work * n / run(n)
            rates[name].append(rate)
            shares[name].append(rate / top)
    return {name: (statistics.median(rates[name]), statistics.median(shares[name]), max(rates[name]))
            for name in contestants}
