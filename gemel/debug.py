"""Looking inside: counters, prohibitions, NaN hunting, profiles.

    >>> import gemel
    >>> with gemel.debug.counting() as seen:
    ...     y = (gemel.ones(3) + 1).sum().item()
    >>> seen["syncs"]
    1
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from .engine.base.flags import override
from .engine.device.memory import usage
from .engine.ir.program import Program
from .engine.runtime import cache, executor, kernels, runs, service
from .engine.runtime.decode import decode
from .tensor.core import TensorCore


def counters() -> dict[str, int | float]:
    """What the engine has done in this process.

    Returns:
        compiles, compile_seconds: kernels built by LLVM. kernels: distinct kernels loaded. calls: kernel calls run.
        bytes: what these had to read and write (calls, bytes: the body of a loop counts once), and what NumPy's
        operations had in the interpreter. cache_hits, cache_misses: of the disk cache. plan_hits, plan_misses: of the
        plan cache. flushes: traces run. launches: those that ran behind the program. syncs: observations. host_steps:
        operations that NumPy ran inside native plans. live_bytes, peak_bytes: tensor memory.
    """
    return {
        "compiles": kernels.counters.compiles, "compile_seconds": kernels.counters.compile_seconds,
        "kernels": kernels.counters.loaded, "calls": runs.counters.calls,
        "bytes": runs.counters.nbytes, "host_steps": runs.counters.host_steps,
        "cache_hits": cache.counters.hits, "cache_misses": cache.counters.misses,
        "plan_hits": executor.counters.plan_hits, "plan_misses": executor.counters.plan_misses,
        "flushes": executor.counters.flushes, "syncs": executor.counters.syncs,
        "launches": runs.counters.launches,
        "live_bytes": usage.live, "peak_bytes": usage.peak,
    }


@contextlib.contextmanager
def counting() -> Iterator[dict[str, int | float]]:
    """Count what happens in a block: the dict holds the differences once the block has ended."""
    before = counters()
    seen: dict[str, int | float] = {}
    try:
        yield seen
    finally:
        seen.update({name: value - before[name] for name, value in counters().items()})


@contextlib.contextmanager
def forbid_sync() -> Iterator[None]:
    """Raise ``SyncError`` when the value of a tensor is observed in this block (``item``, ``print``, ``numpy``)."""
    executor.sync_forbidden += 1
    try:
        yield
    finally:
        executor.sync_forbidden -= 1


@contextlib.contextmanager
def forbid_compile() -> Iterator[None]:
    """Raise ``CompileError`` when a kernel would have to be compiled in this block."""
    kernels.compile_forbidden += 1
    try:
        yield
    finally:
        kernels.compile_forbidden -= 1


@contextlib.contextmanager
def hunt_nan() -> Iterator[None]:
    """Run op by op and raise ``FloatingPointError`` at the first op that makes a NaN out of numbers.

    The message names the op, its types and the line that recorded it; works for compiled programs too.
    """
    with override(NAN=True, LINES=True):
        yield


def program(*tensors: TensorCore) -> Program:
    """The recorded program that will compute ``tensors``, which must be pending (not observed yet).

    >>> x = gemel.tensor([1.0, 2.0])
    >>> gemel.debug.program(x + x).show()
    (x0: f32[2]) {
      v1: f32[2] = add(x0, x0)
      return v1
    }

    Raises:
        ValueError: a tensor has its value already, or they are pending in different threads.
    """
    values = [t._read() for t in tensors]
    traces = {v.trace for v in values if v.buffer is None}
    if len(traces) != 1 or any(v.buffer is not None for v in values):
        raise ValueError("program() shows what is pending: at least one of these tensors has been computed already, "
                         "or they were recorded in different threads. Record the operations again, without printing")
    trace = traces.pop()
    assert trace is not None
    return decode(trace.code, [v.type for v in trace.leaves], [t for _, t in trace.scalars],
                  [v.index for v in values], trace.sites)


def wait_for_compilation(timeout: float | None = None) -> bool:
    """Wait until no fused plan is being prepared in the background; False if ``timeout`` seconds passed first."""
    return service.wait(timeout)


@dataclass(frozen=True)
class KernelTime:
    """One row of a profile: a kernel with all its calls that compute the same (``label``, where it says more)."""

    name: str
    label: str
    calls: int
    seconds: float
    flops: int
    nbytes: int


class Profile:
    """Time per kernel, gathered by :func:`profile`."""

    def __init__(self) -> None:
        self.rows: list[KernelTime] = []

    def __str__(self) -> str:
        total = sum(r.seconds for r in self.rows) or 1.0
        lines = [f"{'kernel':72s} {'calls':>6s} {'ms':>9s} {'share':>6s} {'GOP/s':>8s} {'GB/s':>7s}"]
        for r in self.rows:
            name = f"{r.name} {r.label}"
            lines.append(f"{name:72.72s} {r.calls:6d} {r.seconds * 1e3:9.3f} {r.seconds / total:6.1%} "
                         f"{r.flops / r.seconds / 1e9:8.1f} {r.nbytes / r.seconds / 1e9:7.1f}")
        return "\n".join(lines)


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """Time every kernel call in a block (each is run by itself: overlap and dispatch are not in the figures)."""
    result = Profile()
    runs.counters.profile = rows = {}
    try:
        yield result
    finally:
        result.rows = sorted((KernelTime(*names, *entry) for names, entry in rows.items()),
                             key=lambda r: -r.seconds)
        runs.counters.profile = None
