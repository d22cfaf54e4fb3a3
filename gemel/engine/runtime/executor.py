"""Flushing a trace: find or build its plan, run it, put buffers where values were pending.

State changes only after success. If a check fails, what depends on it raises that error whenever it is observed;
everything else stays pending. If the flush is interrupted or memory runs out, all of it stays pending.
"""
from __future__ import annotations

import sys
import weakref
from collections import OrderedDict
from typing import Any

import numpy as np

from ..autodiff.program import body_of
from ..base import log
from ..base.errors import SyncError
from ..base.flags import flags
from ..device import memory
from ..device.memory import Buffer
from ..ir.op import Op
from . import trace as recorder
from .plans import Entry
from .trace import Trace, Value, live_results, local, new_trace

PLAN_CACHE_ENTRIES = 4096

_plans: OrderedDict[tuple, Entry] = OrderedDict()
#: values that can never be computed -> the error to raise when they are observed
_failed: weakref.WeakKeyDictionary[Value, BaseException] = weakref.WeakKeyDictionary()


class Counters:
    """Observable effects of the executor; ``gemel.debug.counters()`` shows them."""

    flushes = 0
    syncs = 0
    plan_hits = 0
    plan_misses = 0


#: number of ``forbid_sync()`` blocks that are open
sync_forbidden = 0


def donatable(trace: Trace, buffers: list[Any]) -> tuple[int, ...]:
    """Leaves whose memory nobody will read after this flush, so that a result may take it over.

    Results are row-major, so only the memory of a leaf that is row-major, too, has place for one: that of a leaf whose
    rows are all the same row (a view that outlived its base) has not.

    Args:
        buffers: those of the leaves; nothing else but the leaves holds them where they may be taken.
    """
    # counted from ``map`` over a list: its reference and the list's, whatever a release of Python does for calls
    held = list(map(sys.getrefcount, buffers))
    return tuple([k for k, n in enumerate(map(sys.getrefcount, trace.leaves)) if n == 2 and held[k] == 3
                  and trace.leaves[k].form is trace.leaves[k].type
                  and not buffers[k].foreign and not buffers[k].exports])


def flush(trace: Trace, reason: str) -> None:
    """Run what ``trace`` has recorded, as far as someone still holds its results."""
    with trace.lock:
        if trace.closed:
            return
        if local.capture is not None and local.capture.trace is trace:
            local.capture.broken = f"it needs a value while it is recorded ({reason} at {recorder.user_line()})"
        trace.closed = True
        if local.trace is trace:
            local.trace = new_trace()
        try:
            roots = live_results(trace)
            if roots:
                _run(trace, roots, reason)
        except BaseException as error:
            _restore(trace, error)
            raise
        finally:
            if trace.closed:
                _clear(trace)


def _clear(trace: Trace) -> None:
    trace.code, trace.values, trace.leaves, trace.scalars, trace.sites = [], [], [], [], {}


def _run(trace: Trace, roots: list[int], reason: str) -> None:
    buffers = [v.buffer for v in trace.leaves]
    donate = donatable(trace, buffers)
    key = (tuple(trace.code), tuple([v.form for v in trace.leaves]), tuple(roots), donate,
           tuple([t for _, t in trace.scalars]), flags.TIER)
    entry = _plans.get(key)
    Counters.flushes += 1
    if entry is None:
        Counters.plan_misses += 1
        entry = _plans[key] = Entry(trace, roots, donate)
        if len(_plans) > PLAN_CACHE_ENTRIES:
            _plans.popitem(last=False)
    else:
        Counters.plan_hits += 1
        _plans.move_to_end(key)
    if log.on("trace"):
        log.say("trace", f"flush because {reason}: {len(trace.values)} results recorded, {len(roots)} wanted, "
                         f"{'new plan' if entry.runs == 0 else f'run {entry.runs + 1}'}\n{entry.program}")
    results = entry.run(buffers, [n for n, _ in trace.scalars])
    values = trace.values
    for r, (buffer, form) in zip(roots, results, strict=True):
        v = values[r]
        v.form, v.buffer = form, buffer


def _restore(trace: Trace, error: BaseException) -> None:
    """After a failure: poison what depends on a failed check, make everything else pending again."""
    dead: set[int] = set()
    if hasattr(error, "failed"):
        dead = _dependents(trace, error)
        for n in dead:
            v = trace.values[n]
            v.trace = None
            _failed[v] = error
    fresh = Trace()
    fresh.leaves, fresh.scalars, fresh.pinned = trace.leaves, trace.scalars, trace.pinned
    renumbered: dict[int, int] = {}
    for op, operands, results in entries(trace.code):
        if dead.intersection(results):
            continue
        fresh.code += [op, *(renumbered[n] if n >= 0 else n for n in operands)]
        for r in results:
            v = trace.values[r]
            renumbered[r] = v.index = len(fresh.values)
            v.trace = fresh
            fresh.values.append(v)
    for v in fresh.leaves:
        v.trace = fresh
    if not local.trace.code:  # this thread's new trace is still empty: go on with the restored one
        local.trace = fresh


def entries(code: list[Any]) -> list[tuple[Op, list[int], range]]:
    """(op, operand numbers, result numbers) of each entry of a trace's code."""
    starts = [i for i, x in enumerate(code) if x.__class__ is not int]
    found = []
    count = 0
    for i, at in enumerate(starts):
        end = starts[i + 1] if i + 1 < len(starts) else len(code)
        op = code[at]
        n = op.row.n_outputs if op.row.n_outputs >= 0 else _results(op)
        found.append((op, code[at + 1:end], range(count, count + n)))
        count += n
    return found


def _results(op: Op) -> int:
    """Number of results of an op whose attributes decide it: all its inferences agree on it."""
    return len(next(iter(op.results.values())))


def _dependents(trace: Trace, error: BaseException) -> set[int]:
    """Results that depend on the check or host operation that failed (the first of its kind, as recorded)."""
    dead: set[int] = set()
    culprit = getattr(error, "failed", None)
    for op, operands, results in entries(trace.code):
        failed = not dead and _holds(op, culprit)
        if failed or dead.intersection(operands):
            dead.update(results)
    return dead


def _holds(op: Op, check: Op | None) -> bool:
    """Is ``op`` the check, or a composite with it in its body?"""
    if op is check:
        return True
    return op.row.body is not None and any(
        _holds(e.op, check) for types in tuple(op.results) for e in body_of(op, types).equations)


def materialize(v: Value, reason: str) -> Buffer:
    """The memory of ``v``, flushing its trace if it is pending."""
    buffer = v.buffer
    if buffer is None:
        if v.__class__ is not Value:
            raise RuntimeError(f"vmap: {reason} needs the value of a tensor that stands for one example of a batch. "
                               f"We do not support data-dependent control flow or .item(), .numpy(), printing and the "
                               f"like inside of vmap: return the tensor and look at it outside.")
        if v.trace is None:
            raise _failed[v]
        flush(v.trace, reason)
        buffer = v.buffer
    return buffer


def observe(v: Value, reason: str) -> np.ndarray:
    """The value as a NumPy array that shares its memory: a synchronisation."""
    if sync_forbidden:
        raise SyncError(f"{reason} needs the value of a tensor inside forbid_sync()")
    Counters.syncs += 1
    recorder.note("sync", reason)
    buffer = materialize(v, reason)
    if buffer.__class__ is not Buffer:  # a scalar input
        return np.asarray(buffer, v.type.dtype.numpy)
    return to_array(buffer, v.type, v.form)


def to_array(buffer: Buffer, type, form) -> np.ndarray:
    """The buffer as a NumPy array of ``type``."""
    if form is type:
        return memory.as_numpy(buffer, type.dtype.numpy, type.shape)
    return memory.as_numpy(buffer, type.dtype.numpy, type.shape, form.strides, form.offset)


def clear_plans() -> None:
    """Forget all plans (tests)."""
    _plans.clear()


recorder.flush = flush
recorder.failure = _failed.__getitem__
