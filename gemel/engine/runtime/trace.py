"""The running trace: every operation is recorded here; an observation flushes it.

A trace is a flat list: an op, then the numbers of its operands, then the next op. Operand ``i >= 0`` is the
``i``-th result of the trace, ``-1 - 2k`` leaf ``k`` (a value that has memory), ``-2 - 2k`` scalar ``k`` (a Python
number that is a runtime input of the plan). Since ops are interned, the list itself is the plan's key.

Nothing but list indices connects the entries, so a result that no handle holds any more is seen by its reference
count: exactly one reference is the trace's own. What is still held is a *root* of the flush.

Traces belong to threads. A value that is pending in another thread's trace makes that trace flush first.

A trace also knows which tensors were written while it was recorded, and what they held before (``undo``): if an
operation fails, a tensor whose new contents depend on it gets its old ones back.
"""
from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base import dtypes as dt
from ..base import log
from ..base.flags import flags
from ..device.memory import Buffer
from ..ir.builder import Builder, plain_op
from ..ir.op import Op
from ..ir.types import TensorType, tensor_type
from .failures import may_fail, results_of
from .marks import LIMIT, Cutter


class Layout:
    """How a buffer that is not row-major holds a value: strides and offset in elements; interned."""

    __slots__ = ("type", "strides", "offset")
    type: TensorType
    strides: tuple[int, ...]
    offset: int

    def __repr__(self) -> str:
        return f"{self.type}@{self.strides}+{self.offset}"


_layouts: dict[tuple, Layout] = {}


def layout(type: TensorType, strides: tuple[int, ...], offset: int = 0) -> Layout:
    key = (type, strides, offset)
    found = _layouts.get(key)
    if found is None:
        found = Layout()
        found.type, found.strides, found.offset = type, strides, offset
        found = _layouts.setdefault(key, found)
    return found


class Value:
    """An immutable value: pending in a trace, or in memory.

    Attributes:
        type: dtype and shape.
        buffer: its memory once flushed; a Python number for a scalar input; None while pending.
        form: the ``TensorType`` of a row-major buffer, else the :class:`Layout` (what a leaf puts into the key).
            None: no value, but what a tensor holds between a write to its storage and its next read.
        trace, index: where it is recorded (stale once that trace is closed).
        cell, version: weak reference to the storage cell that it was read from, and its count of tracked writes then.
        error: why it can never be computed (its flush failed), or None.
    """

    __slots__ = ("type", "buffer", "form", "trace", "index", "cell", "version", "__weakref__")
    type: TensorType
    buffer: Any
    form: Any
    trace: Trace | None
    index: int
    cell: Any
    version: int

    def __repr__(self) -> str:
        state = "pending" if self.buffer is None else "scalar" if self.buffer.__class__ is not Buffer else "ready"
        return f"<Value {self.type} {state}>"


#: how many forks, each as the child, this process has come out of
era = 0


class Trace:
    """What one thread has recorded since its last flush.

    ``lock`` is held while it is flushed. One of an earlier ``era`` may be held by a thread that does not exist here.
    """

    __slots__ = ("code", "values", "leaves", "scalars", "sites", "undo", "roots", "closed", "pinned", "limit", "lock",
                 "era", "fallible", "scanned")

    def __init__(self) -> None:
        self.code: list[Any] = []
        self.values: list[Value] = []
        self.leaves: list[Value] = []
        self.scalars: list[Any] = []
        self.sites: dict[int, str] = {}   # first result of an operation -> file:line, where it was noted
        self.undo: list[tuple[Callable[[], Any], Any]] = []  # written: who, and its contents before (see `note_write`)
        self.roots: list[int] = []        # results that the flush under way computes
        self.closed = False
        self.pinned = 0                   # bytes of leaf buffers kept alive by this trace
        self.limit = LIMIT                # number of results at which a cut is considered
        self.lock, self.era = threading.RLock(), era
        self.fallible, self.scanned = False, 0

    def may_fail(self) -> bool:
        """May an operation that has been recorded fail because of values?"""
        code = self.code
        if not self.fallible and self.scanned < len(code):
            self.fallible = any(may_fail(x) for x in set(code[self.scanned:]) if x.__class__ is not int)
            self.scanned = len(code)
        return self.fallible


class _Local(threading.local):
    """Per-thread state of the recorder."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.cutter = Cutter()
        self.capture: Any = None      # the open ``capture.Capture``, if any
        self.whole = False            # no cut now: what is recorded belongs into one plan
        self.levels: list[Any] = []   # the ``batched.Level``s that are open, outermost first


local = _Local()


def consider_cut(trace: Trace) -> None:
    """The trace has become long or keeps much memory alive: cut it if this is a repeatable place."""
    if local.capture is not None or local.whole:
        return
    cutter = local.cutter
    heavy = trace.pinned > flags.PENDING_BYTES
    if cutter.due(trace.code, len(trace.values), heavy):
        assert flush is not None
        flush(trace, "the loop that is being recorded has gone round", False)
    elif trace.pinned > HOPELESS * flags.PENDING_BYTES:
        assert flush is not None
        flush(trace, "pending work keeps too much memory alive", False)
    trace.limit = cutter.at


def mark(reason: str) -> None:
    """A repeatable place (end of a backward pass, of a module's call): flush if much memory is pinned."""
    trace = local.trace
    if trace.pinned > flags.PENDING_BYTES and local.capture is None:
        assert flush is not None
        flush(trace, reason, False)


def hold(v: Value) -> None:
    """``v`` will be held for long (a parameter): while it is pending, its bytes count as pinned.

    A model's first parameters are computed before its last ones are recorded, and not together with its first step.
    """
    mark("many parameters are waiting for their first values")
    if v.buffer is None and v.trace is local.trace:
        local.trace.pinned += v.type.nbytes


def settle(reason: str) -> None:
    """Run what this thread has recorded: the end of an optimizer's step. A capture goes on recording."""
    if local.capture is None and local.trace.code:
        assert flush is not None
        flush(local.trace, reason, False)


def new_trace() -> Trace:
    """A trace for this thread, to be cut where its loop goes round."""
    trace = Trace()
    trace.limit = local.cutter.at
    return trace


HOPELESS = 4  # times PENDING_BYTES at which pending work is flushed wherever it stands


def ready(type: TensorType, buffer: Buffer, form: Any = None) -> Value:
    """A value whose memory is ``buffer``."""
    v = Value()
    v.type, v.buffer, v.form = type, buffer, form or type
    v.trace, v.index, v.cell, v.version = None, 0, None, 0
    return v


_scalar_type = functools.cache(tensor_type)


def scalar(number: Any, dtype: dt.DType) -> Value:
    """A runtime scalar input: its number is not part of the plan's key."""
    v = Value()
    v.type = v.form = _scalar_type(dtype)
    v.buffer, v.trace, v.index, v.cell, v.version = number, None, 0, None, 0
    return v


def adopt(trace: Trace, v: Value) -> int | None:
    """Make ``v`` an input of ``trace``; its number, or None if it stands for a batch (``batched``).

    The number is to be used at once: another thread may make the same value an input of its own trace.
    """
    buffer = v.buffer
    while buffer is None:
        if v.__class__ is not Value:
            return None
        other = v.trace
        assert failure is not None and flush is not None
        if other is None:
            raise failure(v)
        flush(other, "a value recorded by another thread is used here", True)
        buffer = v.buffer  # still None if that thread was interrupted: it is pending in a new trace
    if buffer.__class__ is Buffer:
        number = -1 - 2 * len(trace.leaves)
        trace.leaves.append(v)
        trace.pinned += buffer.nbytes
        if trace.pinned > flags.PENDING_BYTES:
            trace.limit = min(trace.limit, len(trace.values) + 1)  # look for a place to cut soon
    else:
        number = -2 - 2 * len(trace.scalars)
        trace.scalars.append((buffer, v.type))
    v.index, v.trace = number, trace  # drops what it was in before, and that may run anything
    return number


def record(op: Op, operands: Sequence[Value]) -> Any:
    """Record one operation; its result, or the tuple of its results.

    Type errors are raised here, before anything changes.
    """
    types = op.results.get(key := tuple([v.type for v in operands]))
    if types is None:
        types = op.infer(key)
    trace = local.trace
    if trace.closed:
        trace = local.trace = new_trace()
    entry: list[Any] = [op]
    for v in operands:
        number = v.index if v.trace is trace else adopt(trace, v)
        if number is None:
            return divert(op, operands)
        entry.append(number)
    values = trace.values
    if types.__class__ is not tuple:
        out = Value()
        out.type = out.form = types
        out.buffer = out.cell = None
        out.trace = trace
        out.index = len(values)
        trace.code += entry  # nothing comes between this line and the next: no interrupt, no other thread
        values.append(out)
    else:
        out = []
        number = len(values)
        for t in types:
            v = Value()
            v.type = v.form = t
            v.buffer = v.cell = None
            v.trace = trace
            v.index = number
            number += 1
            out.append(v)
        trace.code += entry
        values.extend(out)
        out = tuple(out)
    if trace.closed:  # another thread flushed this trace while the entry was being written
        return record(op, operands)
    if len(values) >= trace.limit or flags.LINES:
        recorded(trace, results_of(op))
    return out


def record_one(op: Op, v: Value) -> Any:
    """:func:`record` of an operation with one operand."""
    types = (v.type,)
    found = op.results.get(types) or op.infer(types)
    trace = local.trace
    if trace.closed or found.__class__ is tuple:
        return record(op, (v,))
    number = v.index if v.trace is trace else adopt(trace, v)
    if number is None:
        return divert(op, (v,))
    out = Value()
    out.type = out.form = found
    out.buffer = out.cell = None
    out.trace = trace
    values = trace.values
    out.index = len(values)
    trace.code += (op, number)
    values.append(out)
    if trace.closed:
        return record(op, (v,))
    if len(values) >= trace.limit or flags.LINES:
        recorded(trace)
    return out


def recorded(trace: Trace, results: int = 1) -> None:
    """After an operation of so many results: note its line, where lines are noted; cut the trace, where that is due."""
    if flags.LINES:
        trace.sites[len(trace.values) - results] = user_line()
    if len(trace.values) >= trace.limit:
        consider_cut(trace)


def note_write(holder: Callable[[], Any], old: Value | None, new: Value) -> None:
    """Note in the running trace that the object that ``holder`` returns held ``old`` and now holds ``new``.

    It is None if it is gone; else it has ``_contents()`` and ``_take_back(value)``. An old value of this trace is
    noted by its number: a value that is held is one whose memory cannot be reused. Another one is kept only if
    something recorded so far may fail.
    """
    trace = local.trace
    if old is None or new.trace is not trace or new.index < 0:
        return
    if old.trace is trace and (old.index >= 0 or old.index & 1):
        trace.undo.append((holder, old.index))
    elif trace.may_fail():
        trace.undo.append((holder, old))


def user_line() -> str:
    """``file:line`` of the innermost frame outside the framework."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("gemel."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"


_ADD = plain_op("add")


class TraceBuilder(Builder):
    """Writes into the running trace of this thread; its values are :class:`Value`."""

    def emit(self, the_op: Op, *operands: Value) -> Any:
        return record(the_op, operands)

    def add(self, x: Value, y: Value) -> Value:
        """What a backward pass records most: :func:`record` for two operands and one result."""
        found = _ADD.results.get((x.type, y.type))
        trace = local.trace
        if found is None or trace.closed or len(trace.values) + 1 >= trace.limit or flags.LINES:
            return record(_ADD, (x, y))
        left = x.index if x.trace is trace else adopt(trace, x)
        right = y.index if y.trace is trace else adopt(trace, y)
        if left is None or right is None:
            return divert(_ADD, (x, y))
        v = Value()
        v.type = v.form = found
        v.buffer = v.cell = None
        v.trace = trace
        values = trace.values
        v.index = len(values)
        trace.code += (_ADD, left, right)
        values.append(v)
        return record(_ADD, (x, y)) if trace.closed else v

    def start(self, n: int) -> Value:
        return scalar(n, dt.int64)


BUILDER = TraceBuilder()

def _unset(op: Op, operands: Sequence[Any]) -> Any:
    raise AssertionError("runtime.batched has not been imported")


#: records an operation on batched values; set by ``batched``
divert: Callable[[Op, Sequence[Any]], Any] = _unset

#: (trace, reason, does somebody wait for the results?) -> None; set by the executor
flush: Callable[[Trace, str, bool], None] | None = None
#: why a value can never be computed; set by the executor
failure: Callable[[Value], BaseException] | None = None


_LONG = 200  # results of a trace from which on NumPy compares faster than Python


def live_results(trace: Trace) -> list[int]:
    """Numbers of the results that someone besides the trace still holds.

    ``getrefcount`` sees the list's reference and its own argument; anything more is a handle: a tensor, a saved
    value of the tape, a local variable of a frame that is running.
    """
    counts = map(sys.getrefcount, trace.values)
    if len(trace.values) < _LONG:
        return [i for i, n in enumerate(counts) if n > 2]
    return np.flatnonzero(np.fromiter(counts, np.intp, len(trace.values)) > 2).tolist()


def note(topic: str, text: str) -> None:
    """Print under a log topic with the user's line."""
    if log.on(topic):
        log.say(topic, f"{text} (at {user_line()})")
