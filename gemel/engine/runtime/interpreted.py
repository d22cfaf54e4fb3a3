"""A plan without native code: NumPy computes one equation after the other.

It keeps the promises of a native plan. Memory that nobody will read again is written in place: a window of it at once
(a slice of a cache: as many bytes as the slice has), a whole new value when everything has been computed. What a window
held is put aside until the results are where they belong; whatever fails or interrupts the run before puts it back.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.errors import CheckError
from ..device import memory
from ..device.memory import Buffer
from ..device.pool import gone
from ..device.stream import run_lock
from ..interpreter import evaluate, pauses
from ..interpreter.structural import updated_window
from ..ir.program import Equation, Program, Var
from .failures import failed_check, refused
from .runs import Commit, Results, counters

Array = np.ndarray
Saved = list[tuple[Array, Array]]  # windows of reused memory that have been written, and what they held


class InterpretedPlan:
    """A program with the forms of its inputs, run by NumPy.

    Args:
        donate: inputs whose memory may be reused. updates: outputs that are to be where a donated input is.
    """

    def __init__(self, program: Program, forms: Sequence[Any], donate: tuple[int, ...], updates: dict[int, int]
                 ) -> None:
        self.program, self.forms, self.updates = program, forms, updates
        self.donated = {program.inputs[k]: k for k in donate}
        last = {v: n for n, e in enumerate(program.equations) for v in (*e.inputs, *e.outputs)}
        for v in program.outputs:
            last.pop(v, None)
        #: values that nobody needs behind each equation
        self.dying: list[list[Var]] = [[] for _ in program.equations]
        for v, n in last.items():
            self.dying[n].append(v)

    def run(self, leaves: Sequence[Buffer], scalars: Sequence[Any], commit: Commit) -> None:
        """Compute the outputs and hand (buffer, form) of each to ``commit`` (see :meth:`NativePlan.run`)."""
        saved: Saved = []
        done, interrupt = False, None
        with run_lock:  # a fork waits: no child sees half of a run
            try:
                env = self._inputs(leaves, scalars)
                homes = dict(self.donated)
                for n, e in enumerate(self.program.equations):
                    _stop_if_gone()
                    self._step(n, e, env, homes, saved)
                results, late = self._results(leaves, env, homes)
                del env
                while not done:
                    try:
                        for target, source in late:
                            target[...] = source
                        commit(results)
                        done = True
                    except KeyboardInterrupt as signal:  # reused memory is being written: to the end, then
                        interrupt = signal
            except BaseException:
                while saved and not done:
                    try:
                        window, before = saved[-1]
                        window[...] = before
                        saved.pop()
                    except KeyboardInterrupt:
                        continue
                raise
        if interrupt is not None:
            try:
                raise interrupt
            finally:
                del interrupt, results, late  # its traceback holds this frame

    def _inputs(self, leaves: Sequence[Buffer], scalars: Sequence[Any]) -> dict[Var, Array]:
        inputs = self.program.inputs
        env = {}
        for v, form, buffer in zip(inputs, self.forms, leaves, strict=False):
            dtype = v.type.dtype.numpy
            env[v] = (memory.as_numpy(buffer, dtype, v.type.shape) if form is v.type else
                      memory.as_numpy(buffer, dtype, v.type.shape, form.strides, form.offset))
        for v, number in zip(inputs[len(leaves):], scalars, strict=True):
            env[v] = np.asarray(number).astype(v.type.dtype.numpy)
        return env

    def _step(self, n: int, e: Equation, env: dict[Var, Array], homes: dict[Var, int], saved: Saved) -> None:
        """Run one equation. ``homes``: values that lie in the memory of a donated input."""
        arrays = [env[v] for v in e.inputs]
        if e.op.name == "dynamic_update" and self._overwritable(n, e, env, homes):
            window = updated_window(e.op.attrs, *arrays)
            saved.append((window, window.copy()))
            window[...] = arrays[1]
            whole, = e.outputs
            env[whole], homes[whole] = arrays[0], homes.pop(e.inputs[0])
            counters.nbytes += 2 * window.nbytes
        else:
            try:
                results = evaluate(e.op, arrays)
            except CheckError as error:
                raise failed_check(e, str(error)) from error
            except MemoryError:
                raise
            except Exception as error:
                refused(e, error)
                raise
            env.update(zip(e.outputs, results, strict=True))
            counters.nbytes += _moved(arrays, results)
        for v in self.dying[n]:
            env.pop(v, None)

    def _overwritable(self, n: int, e: Equation, env: dict[Var, Array], homes: dict[Var, int]) -> bool:
        """Does nobody but this ``dynamic_update`` need the memory of the donated input that its operand lies in?"""
        whole, dying = e.inputs[0], self.dying[n]
        if whole not in homes or whole not in dying:
            return False
        array = env[whole]
        return not any(np.may_share_memory(array, x) for v, x in env.items() if v is not whole and v not in dying)

    def _results(self, leaves: Sequence[Buffer], env: dict[Var, Array], homes: dict[Var, int]
                 ) -> tuple[Results, list[tuple[Array, Array]]]:
        """Buffers and forms of the outputs, and what is still to be written into reused memory: (target, source)."""
        found: list[Any] = []
        late: list[tuple[Array, Array]] = []
        there = {homes[v] for v in self.program.outputs if v in homes}
        for position, v in enumerate(self.program.outputs):
            k = homes.get(v)
            if k is not None and k in there:  # written window by window
                there.remove(k)
                found.append((leaves[k], v.type))
                continue
            k = self.updates.get(position)
            if k is None or any(homes.get(o) == k for o in self.program.outputs):
                buffer = memory.allocate(v.type.nbytes)
                memory.as_numpy(buffer, v.type.dtype.numpy, v.type.shape)[...] = env[v]
            else:
                buffer = leaves[k]
                late.append((memory.as_numpy(buffer, v.type.dtype.numpy, v.type.shape), env[v]))
            counters.nbytes += 2 * v.type.nbytes
            found.append((buffer, v.type))
        targets = [target for target, _ in late]
        return found, [(target, source.copy() if any(np.may_share_memory(source, t) for t in targets) else source)
                       for target, source in late]


def _stop_if_gone() -> None:
    """The program ends: its daemon threads leave what they compute."""
    if gone():
        raise SystemExit


pauses.append(_stop_if_gone)


def _moved(arrays: Sequence[Array], results: Sequence[Array]) -> int:
    """Bytes that an operation reads and writes; none where its result is a view."""
    if all(any(np.may_share_memory(r, x) for x in arrays) for r in results):
        return 0
    return sum(x.nbytes for x in arrays) + sum(r.nbytes for r in results)
