"""Flushing a trace: find or build its plan, run it, put buffers where values were pending.

State changes only after success. If an operation fails (a check, a decomposition that does not converge), what depends
on it raises that error whenever it is observed; tensors that were written with it have their old contents again, and
everything else stays pending. If the flush is interrupted or memory runs out, all of it stays pending.
"""
from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base import log
from ..base.errors import OutOfMemoryError, SyncError
from ..base.flags import flags
from ..device import memory
from ..device.memory import Buffer
from . import trace as recorder
from .failures import again, dependents, entries
from .plan_cache import PlanCache
from .plans import Entry
from .runs import Results
from .trace import Trace, Value, live_results, local, new_trace

plans = PlanCache()
#: values that can never be computed -> the error to raise when they are observed
_failed: weakref.WeakKeyDictionary[Value, BaseException] = weakref.WeakKeyDictionary()
#: values that have been computed -> the line that recorded them, where lines are recorded
_made_at: weakref.WeakKeyDictionary[Value, str] = weakref.WeakKeyDictionary()
_LISTED = 10  # tensors that an out-of-memory error lists
#: traces that are being flushed -> the thread that does it, and what it flushes: a fork leaves the others' in the child
#: as they stand
_flushing: dict[Trace, tuple[int, Trace]] = {}


@dataclass(slots=True)
class Counters:
    """Observable effects of the executor; ``gemel.debug.counters()`` shows them."""

    flushes: int = 0
    syncs: int = 0
    plan_hits: int = 0
    plan_misses: int = 0


counters = Counters()  # an object: a class that changes costs every look at it


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


def flush(trace: Trace, reason: str, wait: bool = True) -> None:
    """Run what ``trace`` has recorded, as far as someone still holds its results.

    Args:
        wait: False: nobody looks at the results now, and they may still be computed when this returns.
    """
    if trace.era != recorder.era:
        _renew_lock(trace)
    with trace.lock:
        if trace.closed:
            return
        if local.capture is not None and local.capture.trace is trace:
            local.capture.broken = f"it needs a value while it is recorded ({reason} at {recorder.user_line()})"
        work = trace if local.trace is trace else Trace()
        try:
            _flushing[trace] = threading.get_ident(), work
            trace.closed = True
            if work is trace:
                local.trace = new_trace()
            else:
                _move(trace, work)
            work.roots = live_results(work)
            if work.roots:
                _run(work, reason, wait)
        except BaseException as error:
            if not work.values:
                work = trace
            try:
                _keep(trace, work, error)
            except KeyboardInterrupt:  # one more Ctrl-C, in one of the few places where that loop does not catch it
                _keep(trace, work, error)
            raise
        finally:
            _flushing.pop(trace, None)
            if trace.closed:
                _clear(trace)
                if work is not trace:
                    _clear(work)


def _keep(trace: Trace, work: Trace, error: BaseException) -> None:
    """After a failure: :func:`_restore`, however often Ctrl-C is pressed meanwhile. Values must not be lost."""
    while True:
        try:
            if trace.closed and not _finished(work):
                _restore(work, error)
            return
        except KeyboardInterrupt:
            continue


#: held while the lock of a trace is replaced
_renewing = threading.Lock()


def _renew_lock(trace: Trace) -> None:
    """In a forked child: whoever held the lock of a trace does not exist here."""
    with _renewing:
        if trace.era != recorder.era:
            trace.lock, trace.era = threading.RLock(), recorder.era


def _move(trace: Trace, to: Trace) -> None:
    """Move what another thread has recorded: it may be writing an entry, which it then records again elsewhere."""
    lists = trace.code, trace.values, trace.leaves, trace.scalars
    ends = list(map(len, lists))  # counted between two steps of that thread: they belong together, it only appends
    to.code, to.values, to.leaves, to.scalars = [x[:end] for x, end in zip(lists, ends, strict=True)]
    to.sites, to.undo, to.pinned = trace.sites, trace.undo, trace.pinned
    trace.code, trace.values, trace.leaves, trace.scalars, trace.sites = [], [], [], [], {}


def _finished(trace: Trace) -> bool:
    """Have all results been put where they belong? (They are put there in order.)"""
    return bool(trace.roots) and trace.values[trace.roots[-1]].buffer is not None


def _clear(trace: Trace) -> None:
    trace.code, trace.values, trace.leaves, trace.scalars = [], [], [], []
    trace.sites, trace.undo, trace.roots = {}, [], []


def _run(trace: Trace, reason: str, wait: bool) -> None:
    roots, buffers = trace.roots, [v.buffer for v in trace.leaves]
    donate = donatable(trace, buffers)
    key = (tuple(trace.code), tuple([v.form for v in trace.leaves]), tuple(roots), donate,
           tuple([t for _, t in trace.scalars]), flags.TIER)
    entry = plans.find(key)
    counters.flushes += 1
    if entry is None:
        counters.plan_misses += 1
        if log.on("cache"):
            recorder.note("cache", f"a trace has no plan yet: {plans.explain(key, trace.sites)}")
        entry = Entry(trace, roots, donate)
    else:
        counters.plan_hits += 1
    if log.on("trace"):
        log.say("trace", f"flush because {reason}: {len(trace.values)} results recorded, {len(roots)} wanted, "
                         f"{'new plan' if entry.runs == 0 else f'run {entry.runs + 1}'}\n{entry.program}")
    values = trace.values

    def commit(results: Results) -> None:
        for r, (buffer, form) in zip(roots, results, strict=True):
            v = values[r]
            v.form, v.buffer = form, buffer
        if trace.sites:
            _made_at.update({values[r]: _site_of(r, trace.sites) for r in roots})

    try:
        entry.run(buffers, [n for n, _ in trace.scalars], commit, wait, trace.leaves)
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"{error} {_largest()}") from None
    finally:
        if entry.nbytes != entry.charged:
            plans.charge(key, entry)


def _site_of(result: int, sites: dict[int, str]) -> str:
    """Where the operation was recorded that has this result."""
    while result not in sites and result:
        result -= 1
    return sites.get(result, "")


def _largest() -> str:
    """The largest tensors in memory by the line that made them, as far as lines are recorded."""
    held = sorted(((v.buffer.nbytes, v.type, site) for v, site in _made_at.items() if v.buffer.__class__ is Buffer),
                  key=lambda entry: -entry[0])
    if not held:
        return "GEMEL_LINES=1 lists the largest tensors by the line that made them."
    lines = [f"{nbytes / 2**20:.1f} MiB: {kind} made at {site or '?'}" for nbytes, kind, site in held[:_LISTED]]
    return "\n  ".join(["The largest tensors in memory:", *lines])


def _restore(trace: Trace, error: BaseException) -> None:
    """After a failure: poison what depends on a failed operation, make everything else pending again.

    Tensors that were written with what is poisoned get their old contents back. Interrupted, it can be started again.
    """
    dead = dependents(trace.code, error)
    poison = again(error) if dead else error
    fresh = Trace()
    fresh.leaves, fresh.scalars, fresh.pinned = trace.leaves, trace.scalars, trace.pinned
    number: dict[int, int] = {}  # result of the old trace -> of the new one
    for op, operands, results in entries(trace.code):
        if results.stop > len(trace.values):
            break  # its recording was cut short: by a fork, or by the thread that flushed
        if dead.intersection(results):
            continue
        fresh.code += [op, *(number[n] if n >= 0 else n for n in operands)]
        if results.start in trace.sites:
            fresh.sites[len(fresh.values)] = trace.sites[results.start]
        for r in results:
            v = trace.values[r]
            number[r] = v.index = len(fresh.values)
            v.trace, v.buffer = fresh, None
            fresh.values.append(v)
    for k, v in enumerate(fresh.leaves):  # another thread may have made it a leaf of its own trace since
        v.index, v.trace = -1 - 2 * k, fresh
    for n in dead:
        v = trace.values[n]
        _failed[v] = poison
        v.trace = None
    for holder, old in trace.undo:
        if old.__class__ is not int or old < 0:
            fresh.undo.append((holder, old))
        elif old in number:
            fresh.undo.append((holder, number[old]))
    if not local.trace.code:  # this thread's new trace is still empty: go on with the restored one
        local.trace = fresh
    if dead:
        _take_back(fresh)


def _take_back(trace: Trace) -> None:
    """Give every tensor that holds a poisoned value what it held before; ``undo`` then ends with what it holds."""
    kept: list[tuple[Callable[[], Any], Any]] = []
    for holder, old in reversed(trace.undo):
        written = holder()
        if written is None:
            continue
        contents = written._contents()
        if contents is None or contents.buffer is not None or contents.trace is not None or contents not in _failed:
            kept.append((holder, old))
            continue
        if old.__class__ is int:
            old = trace.values[old] if old >= 0 else trace.leaves[(-1 - old) // 2]
        written._take_back(old)
    trace.undo = kept[::-1]


def _after_fork() -> None:
    """In a child: what other threads were about to compute is pending again; they do not exist here."""
    global _renewing
    _renewing = threading.Lock()
    recorder.era += 1
    me = threading.get_ident()
    for trace, (thread, work) in list(_flushing.items()):
        if thread == me:
            trace.era = recorder.era
            continue
        trace.closed = True
        if not work.values:
            work = trace
        if not _finished(work):
            _restore(work, KeyboardInterrupt())
        _clear(trace)
        _clear(work)
        del _flushing[trace]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def materialize(v: Value, reason: str) -> Buffer:
    """The memory of ``v``, flushing its trace if it is pending."""
    buffer = v.buffer
    while buffer is None:
        if v.__class__ is not Value:
            raise RuntimeError(f"vmap: {reason} needs the value of a tensor that stands for one example of a batch. "
                               f"We do not support data-dependent control flow or .item(), .numpy(), printing and the "
                               f"like inside of vmap: return the tensor and look at it outside.")
        trace = v.trace
        if trace is None:
            raise failure(v)
        flush(trace, reason)
        buffer = v.buffer
        assert buffer is not None or v.trace is not trace, "a flush has lost a value"
    return buffer


def observe(v: Value, reason: str) -> np.ndarray:
    """The value as a NumPy array that shares its memory: a synchronisation."""
    if sync_forbidden:
        raise SyncError(f"{reason} needs the value of a tensor inside forbid_sync()")
    counters.syncs += 1
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


def failure(v: Value) -> BaseException:
    """The error of a value that can never be computed."""
    return again(_failed[v])


def clear_plans() -> None:
    """Forget all plans (tests)."""
    plans.clear()


recorder.flush = flush
recorder.failure = failure
