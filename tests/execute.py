"""Run a schedule's calls on this machine: for tests and benchmarks, without the tracer and the compiler.

``Plan(calls, arrays)`` compiles the kernels (one object per structural key and process), allocates the
temporaries, fills the argument tables of the native dispatcher and runs the calls through the worker pool.
"""
from __future__ import annotations

import array
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from gemel.engine.base.flags import override
from gemel.engine.base.target import host
from gemel.engine.codegen import jit
from gemel.engine.codegen.llvm import emit_module
from gemel.engine.device import native, pool
from gemel.engine.device.memory import Buffer, allocate
from gemel.engine.loops.calls import Call, KernelSpec, Temp

_kernels: dict[tuple, jit.Library] = {}


@functools.cache
def _runtime() -> jit.Library:
    return jit.Library(jit.compile_object(native.module_text(), "runtime"), native.SYMBOLS)


def kernel_text(spec: KernelSpec, target=None) -> str:
    """The LLVM text of a kernel."""
    target = target or host()
    return emit_module(spec.build(spec.name, target), target.attributes)


def compiled(spec: KernelSpec) -> int:
    """The address of a kernel, compiled on first use."""
    key = (host().key, spec.key)
    found = _kernels.get(key)
    if found is None:
        data = jit.compile_object(kernel_text(spec), spec.name)
        found = _kernels[key] = jit.Library(data, (spec.name,))
    return found.address[spec.name]


class Plan:
    """Calls bound to memory.

    Args:
        calls: the schedule. arrays: operand value -> NumPy array or device buffer.
        threads: of the pool; 0 takes the machine's.
    """

    def __init__(self, calls: list[Call], arrays: Mapping[Any, np.ndarray | Buffer], threads: int = 0) -> None:
        self.calls, self.threads = calls, threads
        self._keep: list[Any] = [arrays]
        slots: dict[int, int] = {}
        bases: list[int] = []
        steps: list[int] = []
        args: list[int] = []
        most = 1

        def slot(value: Any) -> int:
            found = slots.get(id(value))
            if found is None:
                memory = allocate(max(64, value.nbytes)) if isinstance(value, Temp) else arrays[value]
                self._keep += [value, memory]
                bases.append(memory.ctypes.data if isinstance(memory, np.ndarray) else memory.ptr)
                found = slots[id(value)] = len(bases) - 1
            return found

        for call in calls:
            assert all(isinstance(p, int) for p in call.params), call.params
            params = array.array("q", call.params or [0])
            self._keep.append(params)
            first = len(args) // native.ARG_WORDS
            for operand in call.operands:
                args += [slot(operand.value), operand.offset, 0]
            most = max(most, len(call.operands))
            steps += [native.CALL, compiled(call.spec), first, len(call.operands), params.buffer_info()[0],
                      call.tasks, call.grain, 0]
        steps += [native.STOP, 0, 0, 0, 0, 0, 0, 0]
        self._end = len(calls)
        tables = [array.array("q", t) for t in (steps, args or [0], bases or [0], [0] * 8, [0] * (most + 8), [0] * 8)]
        self._keep += tables
        self._tables = [t.buffer_info()[0] for t in tables]
        self._run = native.RUN(_runtime().address["gemel_run"])

    def __call__(self) -> None:
        """Run all calls once."""
        with override(THREADS=self.threads):
            workers = pool.pool(_runtime())
        steps, args, bases, dyn, argv, status = self._tables
        context = array.array("q", [steps, args, bases, dyn, argv, workers.address, workers.scratch[0].ptr, status,
                                    1 << 62, 0])
        with pool.run_lock:
            stopped = self._run(context.buffer_info()[0], 0)
        assert stopped == self._end, stopped
