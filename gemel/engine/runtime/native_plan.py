"""A plan as a table, and how it runs.

Building turns calls and a memory placement into the dispatcher's arrays; running fills in base pointers and
scalars, walks the table natively, and hands host steps to NumPy. The dispatcher comes back to Python at least
every ``SLICE_NS``, so that Ctrl-C is noticed; once donated memory has been written the plan is finished first, and
its results are where they belong before ``KeyboardInterrupt`` goes on its way.

A plan whose results nobody waits for is *launched* where it can be: the workers walk its table while the program
records on (see ``device.stream``).
"""
from __future__ import annotations

import array
import ctypes
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..base import log
from ..base.flags import flags
from ..base.target import host
from ..device import memory, native, stream
from ..device.memory import Buffer
from ..device.pool import Pool, gone, pool
from ..device.stream import run_lock
from ..interpreter import evaluate
from ..ir.program import Program, Var
from ..ir.types import row_major
from ..loops.calls import Assign, Call, Jump, Label, Marker, Next
from ..loops.control import HostStep
from ..loops.index import Start
from ..loops.lower import Lowered, lower
from ..loops.memory_plan import LEAVES, SCALARS, Placement, plan_memory
from . import kernels, service
from .failures import failed_check, refused
from .packed import packings
from .runs import Commit, Results, counters
from .trace import Layout, Value, layout

SLICE_NS = 50_000_000
LONG_WORK = 1 << 24  # operations of a step after which the clock is looked at
WORTH_LAUNCHING = 1 << 17  # bytes moved and operations of a plan that is worth a launch
MANY = 8  # generic kernels that are worth the start of helpers; a single one is compiled in half of their start
_PLAN_BYTES, _CALL_BYTES, _EQUATION_BYTES = 8192, 900, 500
_PC = native.CONTEXT.index("pc")

_STRUCT = {"f32": "f4x", "f64": "d", "i64": "q", "i32": "i4x", "i16": "h6x", "i8": "b7x", "u8": "B7x", "u16": "H6x",
           "u32": "I4x", "u64": "Q", "bool": "?7x"}


@dataclass(slots=True)
class _Arena:
    """The one arena of the device, shared by all plans.

    It grows when a plan needs more, and shrinks when none of the latest ``WINDOW`` runs needed a half of it: a first
    step, or a program that is not run any more, does not hold memory for good.

    ``depth``: plans that are being run, one inside the other: what NumPy does for a plan, a signal handler and a
    finalizer may compute, too. Plans inside have memory of their own.
    """

    WINDOW: ClassVar[int] = 64
    buffer: Buffer | None = None
    needed: int = 0  # most that a run of this window asked for
    runs: int = 0
    depth: int = 0


_arena = _Arena()


def arena(nbytes: int) -> Buffer:
    """The arena for a run that needs ``nbytes``; inside a running plan another block."""
    a, found = _arena, _arena.buffer
    if a.depth > 1:
        return memory.allocate(max(nbytes, memory.ALIGNMENT))
    a.needed, a.runs = max(a.needed, nbytes), a.runs + 1
    if a.runs >= a.WINDOW:
        if found is not None and found.nbytes > max(2 * a.needed, 1 << 20):
            found = a.buffer = None
        nbytes = max(nbytes, a.needed)
        a.needed = a.runs = 0
    if found is None or found.nbytes < nbytes:
        a.buffer = None  # give the old one back first: the two must not add up
        del found
        found = a.buffer = memory.allocate(max(nbytes, 1 << 16))
    return found


def _filled(data: bytes) -> Buffer:
    """A buffer that holds these bytes."""
    buffer = memory.allocate(len(data))
    memory.as_numpy(buffer, np.dtype(np.uint8), (len(data),))[...] = np.frombuffer(data, np.uint8)
    return buffer


Buffers = list[Any]  # memory by slot: None where the plan has words of its own


@dataclass(slots=True)
class Ahead:
    """How a plan runs behind the program.

    Attributes:
        start: the row from which on nothing can fail. steps, context: a table of the rows in front of it, which run
            first; empty if there are none.
    """

    start: int
    steps: array.array
    context: array.array


class NativePlan:
    """The dispatcher's table for one program with given input forms and donations."""

    def __init__(self, program: Program, forms: Sequence[Any], donate: tuple[int, ...], fused: bool,
                 updates: dict[int, int] | None = None) -> None:
        n_leaves = len(forms)
        self.n_leaves = n_leaves
        self.pool = pool(kernels.runtime_library())
        strides = {v: (f.strides, f.offset) for v, f in zip(program.inputs, forms, strict=False)
                   if isinstance(f, Layout)}
        self.lowered: Lowered = lower(program, strides, host(), self.pool.threads, fused)
        self.placement: Placement = plan_memory(self.lowered, n_leaves, donate, updates)
        self.forms = {k: f for k, f in enumerate(forms) if isinstance(f, Layout)}
        self.scalar_types = [v.type for v in program.inputs[n_leaves:]]
        service.compile_many([s.spec for s in self.lowered.steps if isinstance(s, Call)], 1 if fused else MANY)
        self._build(donate)
        self.lowered.groups.clear()  # how the calls came about: half of a plan's memory
        tables = self.steps, self.args, self.params, self.argv, self.dyn, self.bases
        self.traffic = sum(c.nbytes for c in self.calls)  # bytes that a run reads and writes (bodies of loops: once)
        self.ahead = self._ahead()
        #: about what the plan takes: measured per plan, call and equation
        self.nbytes = (_PLAN_BYTES + _CALL_BYTES * len(self.calls)
                       + _EQUATION_BYTES * len(self.lowered.program.equations)
                       + sum(t.itemsize * len(t) for t in tables) + sum(b.nbytes for b in self.constants))

    # --- building
    def _build(self, donate: tuple[int, ...]) -> None:
        place, lowered = self.placement.place, self.lowered
        scalar_number = {v: k for k, v in enumerate(lowered.program.inputs[self.n_leaves:])}
        steps, args = array.array("q"), array.array("q")
        self.dynamic: list[tuple] = [()]  # dynamic offsets: entry 0 is always zero
        self.host: dict[int, HostStep] = {}
        self.calls: list[Call] = []
        self.call_at: dict[int, Call] = {}
        labels: dict[Label, int] = {}
        jumps: list[tuple[int, Label]] = []

        def argument(value: Any, offset: int = 0, dynamic: int = 0) -> int:
            """Number of a new argument."""
            slot, start = place[value]
            args.extend((slot, start + offset, dynamic))
            return len(args) // native.ARG_WORDS - 1

        def word(value: Any) -> int:
            """Number of an argument at a scalar that the dispatcher itself reads."""
            slot, _ = place[value]
            form = self.forms.get(slot - LEAVES)
            return argument(value, form.offset * value.type.dtype.itemsize if form is not None else 0)

        def marker(step: Marker) -> None:
            if isinstance(step, Label):
                labels[step] = len(rows)
            elif isinstance(step, Jump):
                jumps.append((len(rows), step.target))
                if step.unless is None:
                    rows.append([native.JUMP, 0, 0, 0, 0, 0, 0, 0])
                else:
                    rows.append([native.JUMP_UNLESS, 0, word(step.unless), 0, 0, 0, 0, 0])
            elif isinstance(step, Assign):
                rows.append([native.STORE, step.number, word(step.value), 0, 0, 0, 0, 0])
            elif isinstance(step, Next):
                jumps.append((len(rows), step.target))
                rows.append([native.NEXT, 0, word(step.value), step.end, step.step, 0, 0, 0])

        def offset_entry(dynamic: tuple[tuple[Start, int], ...]) -> int:
            """Number of the dynamic offset of an operand; starts in memory are read in front of the call."""
            if not dynamic or dynamic in self.dynamic:
                n = self.dynamic.index(dynamic)
            else:
                n = len(self.dynamic)
                self.dynamic.append(dynamic)
            if not all(s.value in scalar_number for s, _ in dynamic) and n not in fresh:
                fresh.add(n)
                rows.append([native.DYN_SET, 0, n, 0, 0, 0, 0, 0])
                rows.extend([native.DYN_READ, 0, word(s.value), n, c, s.limit, 0, 0] for s, c in dynamic)
            return n

        params = array.array("q")
        rows: list[list[int]] = []
        most = 1
        first_donated = None
        for n, step in enumerate(lowered.steps):
            if n == self.placement.first_donated:
                first_donated = len(rows)
            if n in self.placement.skipped:
                continue
            if isinstance(step, HostStep):
                self.host[len(rows)] = step
                rows.append([native.HOST, 0, 0, 0, 0, 0, 0, 0])
                continue
            if not isinstance(step, Call):
                marker(step)
                continue
            if step.tasks <= 0:
                continue
            fresh: set[int] = set()
            moved = [offset_entry(o.dynamic) for o in step.operands]
            start = len(args) // native.ARG_WORDS
            for o, entry in zip(step.operands, moved, strict=True):
                argument(o.value, o.offset, entry)
            flag = (native.FLAG_CHECK if step.check else 0) | (native.FLAG_LONG if step.flops > LONG_WORK else 0)
            rows.append([native.CALL, kernels.address(step.spec), start, len(step.operands), len(params) * 8,
                         step.tasks, max(1, step.grain), flag])
            self.calls.append(step)
            self.call_at[len(rows) - 1] = step
            params.extend(step.params)
            most = max(most, len(step.operands))
        self.stop = len(rows)
        rows.append([native.STOP, 0, 0, 0, 0, 0, 0, 0])
        self.first_donated = self.stop if first_donated is None else first_donated
        for n, label in jumps:
            rows[n][native.FUNCTION] = labels[label]
        self.params = params or array.array("q", [0])
        base = self.params.buffer_info()[0]
        for row in rows:
            if row[native.OP] == native.CALL:
                row[native.PARAMS] += base
            steps.extend(row)
        self.steps, self.args = steps, args or array.array("q", [0, 0, 0])
        self.argv = array.array("q", bytes(8 * most))
        self.dyn = array.array("q", bytes(8 * len(self.dynamic)))
        #: dynamic offsets that follow from scalars: (entry, ((scalar number, limit, bytes per unit), ...))
        self.moves = [(n, tuple((scalar_number[s.value], s.limit, c) for s, c in terms)) for n, terms in
                      enumerate(self.dynamic) if terms and all(s.value in scalar_number for s, _ in terms)]
        self.status = array.array("q", [0])
        n_slots = LEAVES + self.n_leaves + len(self.placement.owners) + len(self.placement.constants)
        straight = next((n for n, row in enumerate(rows) if row[native.OP] not in (native.CALL, native.HOST)), 0)
        self.packings = list(packings(place, self.call_at, donate, self.n_leaves, straight, n_slots))
        self._move_packed()
        self.idle = self.spared = 0  # calls that a run leaves out, and the bytes that they would move
        self.ended = True  # the run before
        n_slots += len(self.packings)
        self.bases = array.array("q", bytes(8 * n_slots))
        self.scalar_format = struct.Struct("<" + "".join(_STRUCT[t.dtype.ir] for t in self.scalar_types))
        self.scalars = array.array("q", bytes(8 * max(1, len(self.scalar_types))))
        #: memory in the order of the slots behind the leaves: the constants, then the bytes of what a run allocates
        self.constants = [_filled(lowered.constants[v]) for _, v in self.placement.constants]
        self.owned = [size for _, size in self.placement.owners]
        self.set_bases = struct.Struct(f"{n_slots}q").pack_into
        self.words = self.status.buffer_info()[0], self.scalars.buffer_info()[0]

        def at(a: array.array) -> int:
            return a.buffer_info()[0]

        self.context = array.array("q", [
            at(self.steps), at(self.args), at(self.bases), at(self.dyn), at(self.argv), self.pool.address,
            self.pool.scratch[0].ptr, at(self.status), SLICE_NS, 0])
        self.context_address = at(self.context)
        self.run_native = native.RUN(self.pool.library.address["gemel_run"])
        self.scalar_results: list[Var] = []  # they get slots behind all others
        self.results = [self._result(o) for o in lowered.outputs]

    def _move_packed(self) -> None:
        """Give the copies of leaves that may be kept base pointers of their own."""
        slots = {self.call_at[p.row].operands[1].value: p.slot for p in self.packings}
        for row, call in self.call_at.items() if slots else ():
            for n, o in enumerate(call.operands, self.steps[row * native.STEP_WORDS + native.ARGS]):
                if o.value in slots:
                    at = n * native.ARG_WORDS
                    self.args[at], self.args[at + 1] = slots[o.value], o.offset

    def _result(self, o) -> tuple[int, Any]:
        """(slot of the buffer, form) of an output."""
        slot, offset = self.placement.place[o.value]
        if slot == SCALARS:  # a scalar input is itself a result: it gets a buffer
            self.scalar_results.append(o.value)
            slot = len(self.bases) + len(self.scalar_results) - 1
        v = next(v for v, out in zip(self.lowered.program.outputs, self.lowered.outputs, strict=True) if out is o)
        plain = tuple(s if n != 1 else 0 for s, n in zip(row_major(v.shape), v.shape, strict=True))
        if o.offset == 0 and o.strides == plain:
            return slot, v.type
        return slot, layout(v.type, o.strides, o.offset)

    def _ahead(self) -> Ahead | None:
        """How the plan may run behind the program: it asks nothing of Python, and what may fail comes first."""
        checks = [at for at, call in self.call_at.items() if call.check]
        start = max(checks, default=-1) + 1
        calls = [call for at, call in self.call_at.items() if at >= start]
        work = sum(c.nbytes + c.flops for c in calls)
        if self.host or work < WORTH_LAUNCHING or checks and len(self.call_at) != self.stop:
            return None
        if not checks:
            return Ahead(0, array.array("q"), array.array("q"))
        steps = self.steps[:start * native.STEP_WORDS] + array.array("q", [native.STOP, *[0] * (native.STEP_WORDS - 1)])
        return Ahead(start, steps, array.array("q", [steps.buffer_info()[0], *self.context[1:]]))

    # --- running
    def run(self, leaves: Sequence[Buffer], scalars: Sequence[Any], commit: Commit | None = None,
            wait: bool = True, values: Sequence[Value] = ()) -> Results:
        """Run the plan; (buffer, form) of each output.

        Nothing is written to donated memory unless all checks pass and all memory is there. ``commit`` gets the
        results while no other plan can run: an interrupt is raised either before the first donated write, or after
        ``commit`` has returned (which may be called again if the interrupt came into it).

        Args:
            wait: False: the program goes on without the results, and the plan may still run when this returns.
            values: what the leaves are the memory of; without them nothing that is packed is kept.
        """
        with run_lock:
            inner = _arena.depth > 0
            _arena.depth += 1  # what comes in between from here on, a signal handler say, runs inside
            try:
                if (now := pool(self.pool.library)) is not self.pool:
                    self._use(now)
                if inner:
                    return self._run_inside(leaves, scalars, commit)
                return self._run(leaves, scalars, commit, wait, values)
            finally:
                _arena.depth -= 1

    def _run_inside(self, leaves: Sequence[Buffer], scalars: Sequence[Any], commit: Commit | None) -> Results:
        """Run while a plan is interrupted; it may be this one."""
        stream.land()
        # what a run writes
        outer = self.bases, self.dyn, self.argv, self.scalars, self.status, self.context, self.steps
        kept, idle = [table[:] for table in outer], (self.idle, self.spared)
        try:
            return self._run(leaves, scalars, commit, True, ())
        finally:
            for table, before in zip(outer, kept, strict=True):
                table[:] = before
            self.idle, self.spared = idle

    def _run(self, leaves: Sequence[Buffer], scalars: Sequence[Any], commit: Commit | None, wait: bool,
             values: Sequence[Value]) -> Results:
        behind = [*leaves, *self.constants, *map(memory.allocate, self.owned)]
        space = arena(self.placement.arena)
        buffers: Buffers = [space, None, None, *behind]
        bases = space.ptr, *self.words, *[b.ptr for b in behind]
        may_launch = not wait and self.ahead is not None and self._may_launch(leaves)
        stream.land()  # the one in flight may be this plan: its tables are free from here on
        if self.packings:
            packed = self._packed(values)
            buffers += packed
            bases += tuple([space.ptr + p.at if b is None else b.ptr
                            for p, b in zip(self.packings, packed, strict=True)])
        self.set_bases(self.bases, 0, *bases)
        if scalars:
            self.scalar_format.pack_into(self.scalars, 0, *scalars)
            for i, terms in self.moves:
                self.dyn[i] = sum([min(max(scalars[s], 0), limit) * c for s, limit, c in terms])
        if self.scalar_results:
            self._copy_scalars(buffers)
        self.status[0] = self.context[_PC] = 0
        if flags.GUARD and _arena.depth == 1:
            self.pool.poison()
        singly = counters.profile is not None or flags.NAN or flags.GUARD and log.on("plan")
        if may_launch and not singly:
            interrupt = self._launch(buffers, commit)
        else:
            interrupt = self._walk_to_end(buffers, commit, self._singles() if singly else None)
        self.ended = True
        counters.calls += len(self.calls) - self.idle
        counters.nbytes += self.traffic - self.spared
        if interrupt is not None:
            try:
                raise interrupt
            finally:
                del interrupt, buffers, behind  # its traceback holds this frame
        return self._results(buffers)

    def _packed(self, values: Sequence[Value]) -> Buffers:
        """Where the copies of packed leaves are in this run (None: in the arena); those that are there stay."""
        self.idle, self.spared = 0, 0
        found: Buffers = []
        for p in self.packings:
            if values:
                if not self.ended:
                    p.doubt()
                p.meet(values[p.leaf])
            buffer, done = (p.buffer, p.done) if values else (None, False)
            at = p.row * native.STEP_WORDS
            self.steps[at + native.OP] = native.JUMP if done else native.CALL
            self.steps[at + native.FUNCTION] = p.row + 1 if done else p.function
            self.idle += done
            self.spared += done * self.call_at[p.row].nbytes
            found.append(buffer)
        if values:
            self.ended = False
        return found

    def _results(self, buffers: Buffers) -> Results:
        return [(buffers[slot], form) for slot, form in self.results]

    def _may_launch(self, leaves: Sequence[Buffer]) -> bool:
        """Are there workers, and is all memory ours alone?"""
        return bool(self.pool.workers) and not [b for b in leaves if b.foreign or b.exports]

    def _launch(self, buffers: Buffers, commit: Commit | None) -> KeyboardInterrupt | None:
        """Let the workers run it, and hand the results on at once; the interrupt that is to be raised then.

        What nobody holds any more while it runs is safe: free memory is written only by those who wait for the plan.
        """
        ahead = self.ahead
        assert ahead is not None
        if ahead.start:
            ahead.context[_PC] = 0
            self._walk(ahead.context, ahead.start, buffers)
        self.context[_PC] = native.NOT_LAUNCHED
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                if self.context[_PC] == native.NOT_LAUNCHED:
                    stream.launch(self, self.pool, ahead.start)
                if commit is not None:
                    commit(self._results(buffers))
                break
            except KeyboardInterrupt as signal:
                if self.context[_PC] == native.NOT_LAUNCHED:
                    raise
                stream.announce(self, self.pool)
                interrupt = signal
        counters.launches += 1
        if log.on("plan"):
            log.say("plan", f"{len(self.calls)} steps run behind the program")
        return interrupt

    def _walk_to_end(self, buffers: Buffers, commit: Commit | None, tables: tuple[array.array, array.array] | None
                     ) -> KeyboardInterrupt | None:
        """Run it here, step by step where there are ``tables`` for that; the interrupt that is to be raised then."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                if tables is None:
                    self._walk(self.context, self.stop, buffers)
                else:
                    self._walk_singly(tables, buffers)
                if commit is not None:
                    commit(self._results(buffers))
                return interrupt
            except KeyboardInterrupt as signal:
                at = self.context[_PC]
                if tables is not None and tables[1][_PC] == 2 * at + 1:
                    at += 1  # this step has run
                if at <= self.first_donated and at != self.stop:
                    raise
                interrupt = signal  # donated memory has been written: go on from there

    def _copy_scalars(self, buffers: Buffers) -> None:
        """Results that are scalar inputs."""
        for v in self.scalar_results:
            buffer = memory.allocate(v.type.nbytes)
            memory.as_numpy(buffer, v.type.dtype.numpy, ())[...] = self._array(v, buffers)
            buffers.append(buffer)

    def _walk(self, context: array.array, stop: int, buffers: Buffers) -> None:
        """Walk the table of ``context``, from where it stands to row ``stop``."""
        run, address = self.run_native, context.buffer_info()[0]
        while True:
            run(address, context[_PC])
            at = context[_PC]
            if at == stop:
                return
            if at < 0:
                raise self._failed()
            if gone():
                raise SystemExit
            step = self.host.get(at)
            if step is not None:
                self._run_host(step, buffers)
                context[_PC] = at + 1

    def _walk_singly(self, tables: tuple[array.array, array.array], buffers: Buffers) -> None:
        """As :meth:`_walk`, one step at a time, with the clock, a look for NaNs or a line of the log between them.

        ``tables``: one that stops after every step, and its context; that also says whether an interrupted step has
        run.
        """
        context, singles = self.context, tables[1]
        address = singles.buffer_info()[0]
        while (at := context[_PC]) != self.stop:
            step, call = self.host.get(at), self.call_at.get(at)
            if step is not None:
                self._run_host(step, buffers)
                context[_PC] = at + 1
                continue
            if call is None or self.steps[at * native.STEP_WORDS + native.OP] == native.JUMP:  # or it is left out
                context[_PC] = self._control(at)
                continue
            if log.on("plan"):
                log.say("plan", f"step {at}: {call.spec.name}")
            start = time.perf_counter()
            if singles[_PC] != 2 * at + 1:
                self.run_native(address, 2 * at)
            seconds = time.perf_counter() - start
            if singles[_PC] < 0:
                raise self._failed()
            context[_PC] = at + 1
            singles[_PC] = 0
            if counters.profile is not None:
                row = counters.profile.setdefault((call.spec.name, call.label), [0, 0.0, 0, 0])
                for i, more in enumerate((1, seconds, call.flops, call.nbytes)):
                    row[i] += more
            if flags.NAN:
                self._look_for_nan(call, buffers)

    def _control(self, at: int) -> int:
        """What the dispatcher does at a row that is no call; the row that comes next."""
        width = native.STEP_WORDS
        op, target, argument, n, factor, limit, _, _ = self.steps[at * width:(at + 1) * width]
        if op == native.DYN_SET:
            self.dyn[argument] = target
            return at + 1
        if op == native.JUMP:
            return target
        slot, offset, _ = self.args[argument * native.ARG_WORDS:(argument + 1) * native.ARG_WORDS]
        if op == native.JUMP_UNLESS:
            return at + 1 if ctypes.c_uint8.from_address(self.bases[slot] + offset).value else target
        number = ctypes.c_int64.from_address(self.bases[slot] + offset)
        if op == native.STORE:
            number.value = target
        elif op == native.DYN_READ:
            self.dyn[n] += min(max(number.value, 0), limit) * factor
        else:
            number.value += factor
            return target if number.value != n else at + 1
        return at + 1

    def _singles(self) -> tuple[array.array, array.array]:
        """A table that stops after every step, and its context."""
        width = native.STEP_WORDS
        stop = array.array("q", [native.STOP] + [0] * (width - 1))
        table = array.array("q")
        for at in range(self.stop):
            table.extend(self.steps[at * width:(at + 1) * width])
            table.extend(stop)
        context = array.array("q", self.context)
        context[0] = table.buffer_info()[0]
        return table, context

    def _look_for_nan(self, call: Call, buffers: Buffers) -> None:
        """Raise if the call wrote a NaN although nothing that it read has one."""
        def has_nan(i: int) -> bool:
            v = call.operands[i].value
            if not isinstance(v, Var) or call.operands[i].dynamic or not v.type.dtype.is_floating_point:
                return False
            return bool(np.isnan(self._array(v, buffers).astype(np.float64)).any())

        if any(has_nan(i) for i in call.writes) and not any(
                has_nan(i) for i in range(len(call.operands)) if i not in call.writes):
            origin = call.origin[0] if call.origin else None
            where = f" recorded at {origin.site}" if origin is not None and origin.site else ""
            raise FloatingPointError(f"the first NaN is made by {origin!r}{where}, from operands without NaN")

    def _failed(self) -> BaseException:
        return failed_check(self.lowered.checks[self.status[0] - 1])

    def _run_host(self, step: HostStep, buffers: Buffers) -> None:
        counters.host_steps += 1
        try:
            results = evaluate(step.equation.op, [self._array(v, buffers) for v in step.reads])
        except MemoryError:
            raise
        except Exception as error:  # what depends on this operation fails with it, and nothing else
            refused(step.equation, error)
            raise
        for v, r in zip(step.equation.outputs, results, strict=True):
            if v in self.placement.place:
                self._array(v, buffers)[...] = r

    def _array(self, v: Var, buffers: Buffers) -> np.ndarray:
        """A value of the plan as NumPy sees it."""
        slot, offset = self.placement.place[v]
        dtype = v.type.dtype.numpy
        if slot == SCALARS:
            return np.frombuffer(self.scalars, np.uint8)[offset:offset + dtype.itemsize].view(dtype).reshape(())
        buffer = buffers[slot]
        form = self.forms.get(slot - LEAVES)
        if form is not None:
            return memory.as_numpy(buffer, dtype, v.type.shape, form.strides, form.offset)
        return memory.as_numpy(buffer, dtype, v.type.shape, None, offset // dtype.itemsize if dtype.itemsize else 0)

    def _use(self, other: Pool) -> None:
        """Run with ``other``: the pool has been replaced, or this is a forked child, where its workers do not exist."""
        self.pool = other
        self.context[native.CONTEXT.index("pool")] = other.address
        self.context[native.CONTEXT.index("scratch")] = other.scratch[0].ptr
        self.ahead = self._ahead()
