"""The native runtime: the plan dispatcher and the worker loop, as LLVM text, compiled once per machine.

A plan is a table of *steps* (``STEP_WORDS`` i64 words each); the dispatcher walks it. A CALL step names a kernel,
its arguments (slot of a base pointer + byte offset + dynamic offset), its i64 parameters and its number of tasks.
Tasks of one step are independent and may run on any thread; a step starts when the one before it has ended.

Each thread first takes the tasks of its own share, the same share in every step of equal size, so that a core finds in
its cache what it wrote last; then it helps with what is left of the others'.

Workers join a step by incrementing the low half of the pool's *ticket*, whose high half is a generation that is
odd while a step is open. The main thread takes tasks too; when none are left it closes the step and waits only
for the workers that had joined: one that sleeps, or that the system has suspended, delays nobody. Idle workers
spin for a while and then sleep on a futex.

On Linux the workers are kept off the CPU of the thread that runs or launches plans: where it has moved since the step
before, their affinity masks follow. Left to itself the system wakes a worker where its waker runs (a virtual CPU that
is idle counts as taken), and two threads then share one CPU for tens of milliseconds.

Kernels run under the pool's floating-point control word, whatever the program, or a library in it, has set on its
threads; those find their own again behind the plan (x86; elsewhere under what the thread has).

A plan may also be *launched*: its context goes into the pool's word ``waiting``, the first worker that sees it walks
the table, and ``flying`` says until when. The launching thread goes on; ``gemel_join`` lets it help as any other
thread does, and it walks the table itself where no worker has come to it.
"""
from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Sequence

from ..base.target import Target, host

# --- step table
STEP_WORDS = 8
OP, FUNCTION, ARGS, N_ARGS, PARAMS, TASKS, GRAIN, FLAGS = range(STEP_WORDS)
#: CALL a kernel; hand HOST steps to Python; JUMP to step FUNCTION, JUMP_UNLESS the bool at argument ARGS holds;
#: STORE the i64 FUNCTION at argument ARGS; NEXT: add PARAMS to the i64 at argument ARGS, jump to step FUNCTION
#: unless it is N_ARGS; DYN_SET dynamic offset ARGS to FUNCTION; DYN_READ: add PARAMS times the i64 at argument ARGS,
#: clamped to [0, TASKS], to dynamic offset N_ARGS; STOP
CALL, HOST, JUMP, JUMP_UNLESS, STORE, NEXT, DYN_SET, DYN_READ, STOP = range(9)
FLAG_CHECK, FLAG_LONG = 1, 2
#: words of one argument: base slot, byte offset, index of the dynamic offset (0 is always zero)
ARG_WORDS = 3

# --- context words of one run
CONTEXT = ("steps", "args", "bases", "dyn", "argv", "pool", "scratch", "status", "slice_ns", "pc")
NOT_LAUNCHED = -1 << 62  # what stands in ``pc`` until the plan has been launched
# --- pool words, each on a cache line of its own (8 words apart)
POOL = ("ticket", "sleepers", "stop", "job", "spins", "workers", "cpu", "places", "waiting", "flying", "halt",
        "control")
POOL_STRIDE = 8
#: words of the table at ``places`` (0: the system places the workers): a mask of the CPUs that they may use, then the
#: system's number of each. ``cpu``: the one that they keep off
MASK_WORDS = 16
#: floating-point control words of x86: no exception traps; denormal numbers are exact, or zeros
EXACT, FLUSHED = 0x1F80, 0x9FC0
PLACES = sys.platform.startswith("linux")


def pool_words(threads: int) -> int:
    """Words of a pool: the fields, then the next task of each thread's share."""
    return (len(POOL) + threads) * POOL_STRIDE


_SYS_FUTEX = {"x86_64": 202, "AMD64": 202, "aarch64": 98, "arm64": 98}


def _word(base: str, index: int, name: str) -> str:
    return f"  %{name} = getelementptr i64, ptr %{base}, i64 {index}"


def _pool_field(field: str) -> str:
    return f"  %p_{field} = getelementptr i64, ptr %pool, i64 {POOL.index(field) * POOL_STRIDE}"


def _pause(target: Target) -> str:
    if target.triple.startswith("x86_64"):
        return "  call void @llvm.x86.sse2.pause()"
    return '  call void asm sideeffect "yield", ""()'


def _sleep() -> list[str]:
    """Wait until the generation changes: a futex on Linux, a short sleep elsewhere."""
    number = _SYS_FUTEX.get(platform.machine())
    if sys.platform.startswith("linux") and number:
        # the generation is the high half of the little-endian ticket
        return ["  %gen_ptr = getelementptr i32, ptr %p_ticket, i64 1",
                "  %seen32 = trunc i64 %seen to i32",
                f"  %w = call i64 (i64, ...) @syscall(i64 {number}, ptr %gen_ptr, i64 128, i32 %seen32, "
                "i64 0, i64 0, i64 0)"]
    return ["  %w = call i32 @usleep(i32 100)"]


def _address(name: str) -> list[str]:
    """Address of the argument that the step's ARGS word names, as ``%{name}_at``."""
    n = name
    return [f"  %{n}_w = mul i64 %f_args, {ARG_WORDS}", f"  %{n}_p = getelementptr i64, ptr %args, i64 %{n}_w",
            f"  %{n}_p1 = getelementptr i64, ptr %{n}_p, i64 1", f"  %{n}_slot = load i64, ptr %{n}_p",
            f"  %{n}_off = load i64, ptr %{n}_p1", f"  %{n}_bp = getelementptr ptr, ptr %bases, i64 %{n}_slot",
            f"  %{n}_base = load ptr, ptr %{n}_bp", f"  %{n}_at = getelementptr i8, ptr %{n}_base, i64 %{n}_off"]


def _wake() -> list[str]:
    number = _SYS_FUTEX.get(platform.machine())
    if sys.platform.startswith("linux") and number:
        return ["  %gen_ptr = getelementptr i32, ptr %p_ticket, i64 1",
                f"  %w = call i64 (i64, ...) @syscall(i64 {number}, ptr %gen_ptr, i64 129, i32 1000, "
                "i64 0, i64 0, i64 0)"]
    return []


def has_control(target: Target) -> bool:
    """Is there a floating-point control word that plans set?"""
    return target.triple.startswith("x86_64")


def _control(target: Target) -> list[str]:
    """This thread computes under the pool's control word from here on."""
    return ["  call void @llvm.x86.sse.ldmxcsr(ptr %p_control)"] if has_control(target) else []


def _under_control(target: Target, name: str, taken: str, find: Sequence[str], body: str) -> list[str]:
    """The function ``name``, which calls ``body`` under the pool's control word; ``find`` defines ``%p_control``."""
    keep = ["  %kept = alloca i32, align 4", "  call void @llvm.x86.sse.stmxcsr(ptr %kept)"]
    back = ["  call void @llvm.x86.sse.ldmxcsr(ptr %kept)"]
    if not has_control(target):
        keep = back = []
    return [f"define i64 @{name}({taken}) nounwind {{", "entry:", *keep, *find, *_control(target),
            f"  %result = call i64 @{body}({taken})", *back, "  ret i64 %result", "}"]


def _place() -> list[str]:
    """The workers are to keep off the CPU where this thread runs."""
    return ["  call void @place(ptr %pool)"] if PLACES else []


_KEEP_OFF = f"""
declare i32 @sched_getcpu()
declare i32 @sched_setaffinity(i32, i64, ptr)
define internal void @keep_off(ptr %places, i64 %helpers, i64 %cpu) nounwind noinline {{
entry:
  %mask = alloca [{MASK_WORDS} x i64], align 8
  %known = icmp ult i64 %cpu, {64 * MASK_WORDS}
  br i1 %known, label %copy, label %out
copy:
  %i = phi i64 [ 0, %entry ], [ %i1, %copy ]
  %from = getelementptr i64, ptr %places, i64 %i
  %to = getelementptr i64, ptr %mask, i64 %i
  %all = load i64, ptr %from
  store i64 %all, ptr %to
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {MASK_WORDS}
  br i1 %more, label %copy, label %clear
clear:
  %number = lshr i64 %cpu, 6
  %low = and i64 %cpu, 63
  %bit = shl i64 1, %low
  %others = xor i64 %bit, -1
  %word = getelementptr i64, ptr %mask, i64 %number
  %old = load i64, ptr %word
  %new = and i64 %old, %others
  store i64 %new, ptr %word
  br label %one
one:
  %n = phi i64 [ 0, %clear ], [ %n1, %one ]
  %at = add i64 %n, {MASK_WORDS}
  %p = getelementptr i64, ptr %places, i64 %at
  %id = load i64, ptr %p
  %id32 = trunc i64 %id to i32
  %ignored = call i32 @sched_setaffinity(i32 %id32, i64 {8 * MASK_WORDS}, ptr %mask)
  %n1 = add i64 %n, 1
  %left = icmp ult i64 %n1, %helpers
  br i1 %left, label %one, label %out
out:
  ret void
}}
define internal void @place(ptr %pool) nounwind {{
entry:
{_pool_field("places")}
{_pool_field("cpu")}
{_pool_field("workers")}
  %places = load ptr, ptr %p_places
  %placed = icmp ne ptr %places, null
  br i1 %placed, label %where, label %out
where:
  %cpu32 = call i32 @sched_getcpu()
  %cpu = sext i32 %cpu32 to i64
  %was = load i64, ptr %p_cpu
  %moved = icmp ne i64 %cpu, %was
  br i1 %moved, label %away, label %out
away:
  store i64 %cpu, ptr %p_cpu
  %helpers = load i64, ptr %p_workers
  call void @keep_off(ptr %places, i64 %helpers, i64 %cpu)
  br label %out
out:
  ret void
}}"""


def _launched(target: Target, fields: list[str]) -> list[str]:
    """``advance`` (walk a launched plan for a slice; is it over?), ``gemel_launch`` and ``gemel_join``."""
    return [
        "define internal i1 @advance(ptr %pool, ptr %ctx, ptr %scratch, i64 %me) nounwind {", *fields,
        _word("ctx", CONTEXT.index("pc"), "p_pc"), "  %from = load i64, ptr %p_pc",
        "  %at = call i64 @walk(ptr %ctx, i64 %from, ptr %scratch, i64 %me)",
        _word("ctx", CONTEXT.index("steps"), "p_steps"), "  %steps = load ptr, ptr %p_steps",
        f"  %first = mul i64 %at, {STEP_WORDS}", f"  %word = add i64 %first, {OP}",
        "  %p_op = getelementptr i64, ptr %steps, i64 %word", "  %op = load i64, ptr %p_op",
        f"  %ended = icmp eq i64 %op, {STOP}",
        "  %halt = load atomic i64, ptr %p_halt seq_cst, align 8", "  %halted = icmp ne i64 %halt, 0",
        "  %over = or i1 %ended, %halted",
        "  br i1 %over, label %land, label %out",
        "land:", "  store atomic i64 0, ptr %p_flying seq_cst, align 8", "  br label %out",
        "out:", "  ret i1 %over", "}",
        "define void @gemel_launch(ptr %ctx, i64 %start) nounwind {", "entry:",
        _word("ctx", CONTEXT.index("pool"), "p_pool"), "  %pool = load ptr, ptr %p_pool", *fields,
        *_place(), _word("ctx", CONTEXT.index("pc"), "p_pc"), "  store i64 %start, ptr %p_pc",
        "  store atomic i64 1, ptr %p_flying seq_cst, align 8",
        "  %plan = ptrtoint ptr %ctx to i64",
        "  store atomic i64 %plan, ptr %p_waiting seq_cst, align 8",
        "  %bump = atomicrmw add ptr %p_ticket, i64 8589934592 seq_cst",  # for those that are about to sleep
        "  %asleep = load atomic i64, ptr %p_sleepers seq_cst, align 8",
        "  %any = icmp ne i64 %asleep, 0",
        "  br i1 %any, label %wake, label %out",
        "wake:", *_wake(), "  br label %out",
        "out:", "  ret void", "}",
        # 1: the launched plan is over; 0: this thread has helped for a slice
        *_under_control(target, "gemel_join", "ptr %pool, ptr %scratch, i64 %slice_ns", [_pool_field("control")],
                        "join"),
        "define internal i64 @join(ptr %pool, ptr %scratch, i64 %slice_ns) nounwind {", "entry:", *fields, *_place(),
        "  %t0 = call i64 @now_ns()",
        "  br label %look",
        "look:",
        "  %n = phi i64 [ 0, %entry ], [ %n1, %rest ], [ %n1, %doze ], [ 0, %worked ]",
        "  %last = phi i64 [ 0, %entry ], [ %last, %rest ], [ %last, %doze ], [ %seen, %worked ]",
        "  %flying = load atomic i64, ptr %p_flying seq_cst, align 8",
        "  %up = icmp ne i64 %flying, 0",
        "  br i1 %up, label %mine, label %over",
        "mine:",
        "  %plan = load atomic i64, ptr %p_waiting seq_cst, align 8",
        "  %any_plan = icmp ne i64 %plan, 0",
        "  br i1 %any_plan, label %claim, label %help",
        "claim:",
        "  %claimed = cmpxchg ptr %p_waiting, i64 %plan, i64 0 seq_cst seq_cst",
        "  %got = extractvalue { i64, i1 } %claimed, 1",
        "  br i1 %got, label %fly, label %help",
        "fly:",
        "  %ctx = inttoptr i64 %plan to ptr",
        "  %ended = call i1 @advance(ptr %pool, ptr %ctx, ptr %scratch, i64 0)",
        "  br i1 %ended, label %over, label %pause",
        "pause:",  # whoever comes next walks on
        "  store atomic i64 %plan, ptr %p_waiting seq_cst, align 8",
        "  ret i64 0",
        "help:",
        "  %ticket = load atomic i64, ptr %p_ticket seq_cst, align 8",
        "  %seen = lshr i64 %ticket, 32",
        "  %odd = and i64 %seen, 1", "  %open = icmp eq i64 %odd, 1", "  %new = icmp ne i64 %seen, %last",
        "  %go = and i1 %open, %new",
        "  br i1 %go, label %enter, label %idle",
        "enter:",
        "  %plus = add i64 %ticket, 1",
        "  %pair = cmpxchg ptr %p_ticket, i64 %ticket, i64 %plus seq_cst seq_cst",
        "  %won = extractvalue { i64, i1 } %pair, 1",
        "  br i1 %won, label %work, label %idle",
        "work:",
        "  call void @run_tasks(ptr %pool, ptr %scratch, i64 0)",
        "  %left = atomicrmw sub ptr %p_ticket, i64 1 seq_cst",
        "  %t1 = call i64 @now_ns()", "  %spent = sub i64 %t1, %t0", "  %late = icmp sgt i64 %spent, %slice_ns",
        "  br i1 %late, label %tired, label %worked",
        "worked:", "  br label %look",
        "idle:",
        "  %n1 = add i64 %n, 1",
        "  %limit = load i64, ptr %p_spins", "  %long = icmp sgt i64 %n1, %limit",
        "  br i1 %long, label %nap, label %spin",
        "spin:", _pause(target), "  br label %rest",
        "rest:", "  br label %look",
        "nap:",
        "  %slept = call i32 @usleep(i32 50)",
        "  %t2 = call i64 @now_ns()", "  %spent2 = sub i64 %t2, %t0", "  %late2 = icmp sgt i64 %spent2, %slice_ns",
        "  br i1 %late2, label %tired, label %doze",
        "doze:", "  br label %look",
        "tired:", "  ret i64 0",
        "over:", "  ret i64 1", "}"]


def _run_tasks() -> str:
    """``run_tasks``: take tasks of the open step, of this thread's share first, until none is left."""
    return f"""
define internal void @run_tasks(ptr %pool, ptr %scratch, i64 %me) nounwind {{
entry:
{_pool_field("job")}
{_pool_field("workers")}
  %job = load ptr, ptr %p_job
{_word("job", 0, "p_fn")}
  %fn = load ptr, ptr %p_fn
{_word("job", 1, "p_argv")}
  %argv = load ptr, ptr %p_argv
{_word("job", 2, "p_params")}
  %params = load ptr, ptr %p_params
{_word("job", 3, "p_tasks")}
  %tasks = load i64, ptr %p_tasks
{_word("job", 4, "p_grain")}
  %grain = load i64, ptr %p_grain
{_word("job", 5, "p_units")}
  %units = load i64, ptr %p_units
  %workers = load i64, ptr %p_workers
  %threads = add i64 %workers, 1
  br label %share
share:
  %away = phi i64 [ 0, %entry ], [ %away1, %next ]
  %far = add i64 %me, %away
  %round = icmp sge i64 %far, %threads
  %back = sub i64 %far, %threads
  %whose = select i1 %round, i64 %back, i64 %far
  %after = add i64 %whose, 1
  %ahead = mul i64 %after, %units
  %limit = udiv i64 %ahead, %threads
  %slot = add i64 %whose, {len(POOL)}
  %word = mul i64 %slot, {POOL_STRIDE}
  %p_next = getelementptr i64, ptr %pool, i64 %word
  br label %look
look:
  %seen = load atomic i64, ptr %p_next monotonic, align 8
  %some = icmp slt i64 %seen, %limit
  br i1 %some, label %take, label %next
take:
  %unit = atomicrmw add ptr %p_next, i64 1 seq_cst
  %mine = icmp slt i64 %unit, %limit
  br i1 %mine, label %work, label %next
work:
  %t = mul i64 %unit, %grain
  %u = add i64 %t, %grain
  %past = icmp sgt i64 %u, %tasks
  %end = select i1 %past, i64 %tasks, i64 %u
  call void %fn(ptr %argv, ptr %params, i64 %t, i64 %end, ptr %scratch)
  br label %look
next:
  %away1 = add i64 %away, 1
  %all = icmp sge i64 %away1, %threads
  br i1 %all, label %out, label %share
out:
  ret void
}}"""


def _worker(target: Target, fields: list[str]) -> str:
    """``gemel_worker``: the life of a worker."""
    return "\n".join([
        "define void @gemel_worker(ptr %pool, ptr %scratch, i64 %me) nounwind {", "entry:", *fields,
        "  br label %idle",
        "idle:",
        "  %last = phi i64 [ 0, %entry ], [ %last_next, %idle_again ]",
        "  br label %spin",
        "spin:",
        "  %n = phi i64 [ 0, %idle ], [ %n1, %keep ]",
        "  %ticket = load atomic i64, ptr %p_ticket seq_cst, align 8",
        "  %seen = lshr i64 %ticket, 32",
        "  %odd = and i64 %seen, 1",
        "  %open = icmp eq i64 %odd, 1",
        "  %new = icmp ne i64 %seen, %last",
        "  %go = and i1 %open, %new",
        "  br i1 %go, label %join, label %wait",
        "wait:",
        "  %plan = load atomic i64, ptr %p_waiting seq_cst, align 8",
        "  %any_plan = icmp ne i64 %plan, 0",
        "  br i1 %any_plan, label %claim, label %still",
        "claim:",
        "  %claimed = cmpxchg ptr %p_waiting, i64 %plan, i64 0 seq_cst seq_cst",
        "  %got = extractvalue { i64, i1 } %claimed, 1",
        "  br i1 %got, label %fly, label %idle_again",
        "fly:",
        "  %ctx = inttoptr i64 %plan to ptr", *_control(target),
        "  %over = call i1 @advance(ptr %pool, ptr %ctx, ptr %scratch, i64 %me)",
        "  br i1 %over, label %idle_again, label %fly",
        "still:",
        "  %stop = load atomic i64, ptr %p_stop seq_cst, align 8",
        "  %stopping = icmp ne i64 %stop, 0",
        "  br i1 %stopping, label %leave, label %nap",
        "nap:",
        "  %n1 = add i64 %n, 1",
        "  %limit = load i64, ptr %p_spins",
        "  %tired = icmp sgt i64 %n1, %limit",
        "  br i1 %tired, label %sleep, label %rest",
        "rest:", _pause(target), "  br label %keep",
        "keep:", "  br label %spin",
        "sleep:",
        "  %s0 = atomicrmw add ptr %p_sleepers, i64 1 seq_cst",
        "  %check = load atomic i64, ptr %p_ticket seq_cst, align 8",
        "  %same = icmp eq i64 %check, %ticket",
        "  %stop2 = load atomic i64, ptr %p_stop seq_cst, align 8",
        "  %run_on = icmp eq i64 %stop2, 0",
        "  %doze = and i1 %same, %run_on",
        "  br i1 %doze, label %futex, label %awake",
        "futex:", *_sleep(), "  br label %awake",
        "awake:",
        "  %s1 = atomicrmw sub ptr %p_sleepers, i64 1 seq_cst",
        "  br label %idle_again",
        "join:",
        "  %plus = add i64 %ticket, 1",
        "  %pair = cmpxchg ptr %p_ticket, i64 %ticket, i64 %plus seq_cst seq_cst",
        "  %won = extractvalue { i64, i1 } %pair, 1",
        "  br i1 %won, label %work, label %idle_again",
        "work:", *_control(target),
        "  call void @run_tasks(ptr %pool, ptr %scratch, i64 %me)",
        "  %left = atomicrmw sub ptr %p_ticket, i64 1 seq_cst",
        "  br label %idle_again",
        "idle_again:",
        "  %last_next = phi i64 [ %last, %awake ], [ %last, %join ], [ %seen, %work ], [ %last, %claim ], "
        "[ %last, %fly ]",
        "  br label %idle",
        "leave:", "  ret void", "}"])


def _stop(fields: list[str]) -> str:
    """``gemel_stop``: let the workers leave."""
    return "\n".join([
        "define void @gemel_stop(ptr %pool) nounwind {", "entry:", *fields,
        "  store atomic i64 1, ptr %p_stop seq_cst, align 8",
        "  %bump = atomicrmw add ptr %p_ticket, i64 8589934592 seq_cst",  # two generations: still closed
        *_wake(), "  ret void", "}"])


def _parallel(target: Target, fields: list[str]) -> str:
    """``parallel``: open a step, work on it, close it and wait for those that have joined."""
    return "\n".join([
        "define internal void @parallel(ptr %pool, ptr %scratch, i64 %me) nounwind {", "entry:", *fields,
        "  %job = load ptr, ptr %p_job", _word("job", 5, "p_units"), "  %units = load i64, ptr %p_units",
        "  %helpers = load i64, ptr %p_workers", "  %threads = add i64 %helpers, 1",
        "  br label %deal",
        "deal:",  # where each thread's share begins
        "  %who = phi i64 [ 0, %entry ], [ %who1, %deal ]",
        "  %ahead = mul i64 %who, %units", "  %first = udiv i64 %ahead, %threads",
        f"  %slot = add i64 %who, {len(POOL)}", f"  %at = mul i64 %slot, {POOL_STRIDE}",
        "  %p_next = getelementptr i64, ptr %pool, i64 %at",
        "  store atomic i64 %first, ptr %p_next monotonic, align 8",
        "  %who1 = add i64 %who, 1", "  %left = icmp slt i64 %who1, %threads",
        "  br i1 %left, label %deal, label %dealt",
        "dealt:",
        "  %worker = icmp ne i64 %me, 0",  # one that walks a launched plan stays where it is
        "  br i1 %worker, label %begin, label %place",
        "place:", *_place(), "  br label %begin",
        "begin:",
        "  %open = atomicrmw add ptr %p_ticket, i64 4294967296 seq_cst",
        "  %asleep = load atomic i64, ptr %p_sleepers seq_cst, align 8",
        "  %any = icmp ne i64 %asleep, 0",
        "  br i1 %any, label %wake, label %work",
        "wake:", *_wake(), "  br label %work",
        "work:",
        "  call void @run_tasks(ptr %pool, ptr %scratch, i64 %me)",
        "  %close = atomicrmw add ptr %p_ticket, i64 4294967296 seq_cst",
        "  br label %join",
        "join:",
        "  %now = load atomic i64, ptr %p_ticket seq_cst, align 8",
        "  %active = and i64 %now, 4294967295",
        "  %done = icmp eq i64 %active, 0",
        "  br i1 %done, label %out, label %rest",
        "rest:", _pause(target), "  br label %join",
        "out:", "  ret void", "}"])


def _walk() -> str:
    """``walk``: walk a table from a row on, to its end, to what Python has to do, or for a slice of time."""
    loads = []
    for i, name in enumerate(CONTEXT):
        if name == "scratch":
            continue  # that of the thread that walks
        loads += [_word("ctx", i, f"p_{name}"),
                  f"  %{name} = load {'i64' if name in ('slice_ns', 'pc') else 'ptr'}, ptr %p_{name}"]
    step_fields = [f"  %q_{n} = getelementptr i64, ptr %row, i64 {i}" for n, i in
                   (("op", OP), ("fn", FUNCTION), ("args", ARGS), ("nargs", N_ARGS), ("params", PARAMS),
                    ("tasks", TASKS), ("grain", GRAIN), ("flags", FLAGS))]
    return "\n".join([
        "define internal i64 @walk(ptr %ctx, i64 %start, ptr %scratch, i64 %me) nounwind {", "entry:", *loads,
        "  %job = alloca [6 x i64], align 64",
        "  %pool_job = getelementptr i64, ptr %pool, i64 " + str(POOL.index("job") * POOL_STRIDE),
        "  store ptr %job, ptr %pool_job",
        "  %p_workers = getelementptr i64, ptr %pool, i64 " + str(POOL.index("workers") * POOL_STRIDE),
        "  %workers = load i64, ptr %p_workers",
        "  %t0 = call i64 @now_ns()",
        "  br label %fetch",
        "fetch:",
        "  %step = phi i64 [ %start, %entry ], [ %pc_next, %next ]",
        f"  %at = mul i64 %step, {STEP_WORDS}",
        "  %row = getelementptr i64, ptr %steps, i64 %at",
        *step_fields,
        "  %op = load i64, ptr %q_op",
        "  %f_args = load i64, ptr %q_args", "  %f_nargs = load i64, ptr %q_nargs",
        "  %f_fn = load i64, ptr %q_fn", "  %f_params = load i64, ptr %q_params",
        "  %pc1 = add i64 %step, 1",
        f"  switch i64 %op, label %give [ i64 {CALL}, label %resolve i64 {JUMP}, label %jump "
        f"i64 {JUMP_UNLESS}, label %unless i64 {STORE}, label %store i64 {NEXT}, label %count "
        f"i64 {DYN_SET}, label %dynset i64 {DYN_READ}, label %dynread ]",
        "give:", "  store i64 %step, ptr %p_pc", "  ret i64 %step",
        # resolve the argument pointers
        "resolve:",
        "  %has = icmp sgt i64 %f_nargs, 0",
        "  br i1 %has, label %one, label %launch",
        "one:",
        "  %i = phi i64 [ 0, %resolve ], [ %i1, %one ]",
        "  %a = add i64 %f_args, %i",
        f"  %aw = mul i64 %a, {ARG_WORDS}",
        "  %ap = getelementptr i64, ptr %args, i64 %aw",
        "  %ap1 = getelementptr i64, ptr %ap, i64 1", "  %ap2 = getelementptr i64, ptr %ap, i64 2",
        "  %slot = load i64, ptr %ap", "  %off = load i64, ptr %ap1", "  %di = load i64, ptr %ap2",
        "  %bp = getelementptr ptr, ptr %bases, i64 %slot", "  %base = load ptr, ptr %bp",
        "  %dp = getelementptr i64, ptr %dyn, i64 %di", "  %doff = load i64, ptr %dp",
        "  %moved = getelementptr i8, ptr %base, i64 %off",
        "  %final = getelementptr i8, ptr %moved, i64 %doff",
        "  %vp = getelementptr ptr, ptr %argv, i64 %i", "  store ptr %final, ptr %vp",
        "  %i1 = add i64 %i, 1",
        "  %more = icmp slt i64 %i1, %f_nargs",
        "  br i1 %more, label %one, label %launch",
        "launch:",
        "  %tasks = load i64, ptr %q_tasks", "  %grain = load i64, ptr %q_grain",
        "  %fn = inttoptr i64 %f_fn to ptr", "  %params = inttoptr i64 %f_params to ptr",
        "  %many = icmp sgt i64 %tasks, %grain",
        "  %help = icmp sgt i64 %workers, 0",
        "  %share = and i1 %many, %help",
        "  br i1 %share, label %spread, label %alone",
        "alone:",
        "  call void %fn(ptr %argv, ptr %params, i64 0, i64 %tasks, ptr %scratch)",
        "  br label %after",
        "spread:",
        "  store i64 %f_fn, ptr %job",
        "  %j1 = getelementptr i64, ptr %job, i64 1", "  store ptr %argv, ptr %j1",
        "  %j2 = getelementptr i64, ptr %job, i64 2", "  store i64 %f_params, ptr %j2",
        "  %j3 = getelementptr i64, ptr %job, i64 3", "  store i64 %tasks, ptr %j3",
        "  %j4 = getelementptr i64, ptr %job, i64 4", "  store i64 %grain, ptr %j4",
        "  %more_tasks = add i64 %tasks, %grain", "  %up = sub i64 %more_tasks, 1", "  %units = udiv i64 %up, %grain",
        "  %j5 = getelementptr i64, ptr %job, i64 5", "  store i64 %units, ptr %j5",
        "  call void @parallel(ptr %pool, ptr %scratch, i64 %me)",
        "  br label %after",
        "after:",
        "  %flags = load i64, ptr %q_flags",
        "  %plain = icmp eq i64 %flags, 0",
        "  br i1 %plain, label %tick, label %special",
        "special:",
        f"  %chk = and i64 %flags, {FLAG_CHECK}",
        "  %is_chk = icmp ne i64 %chk, 0",
        "  %st = load i64, ptr %status",
        "  %bad = icmp ne i64 %st, 0",
        "  %fail = and i1 %is_chk, %bad",
        "  br i1 %fail, label %failed, label %clock",
        "failed:", "  %neg = xor i64 %step, -1", "  store i64 %neg, ptr %p_pc", "  ret i64 %neg",
        "tick:",
        "  %low = and i64 %step, 31",
        "  %due = icmp eq i64 %low, 31",
        "  br i1 %due, label %clock, label %next",
        "clock:",
        "  %pc_after = phi i64 [ %pc1, %special ], [ %pc1, %tick ], [ %f_fn, %jump ], [ %u_where, %unless ], "
        "[ %c_where, %count ]",
        "  %t1 = call i64 @now_ns()",
        "  %spent = sub i64 %t1, %t0",
        "  %over = icmp sgt i64 %spent, %slice_ns",
        "  br i1 %over, label %pause, label %next",
        "pause:", "  store i64 %pc_after, ptr %p_pc", "  ret i64 %pc_after",
        "jump:", "  br label %clock",
        "unless:", *_address("u"),
        "  %flag = load i8, ptr %u_at",
        "  %zero = icmp eq i8 %flag, 0",
        "  %u_where = select i1 %zero, i64 %f_fn, i64 %pc1",
        "  br label %clock",
        "store:", *_address("s"), "  store i64 %f_fn, ptr %s_at", "  br label %next",
        "count:", *_address("c"),
        "  %c_old = load i64, ptr %c_at", "  %c_new = add i64 %c_old, %f_params", "  store i64 %c_new, ptr %c_at",
        "  %again = icmp ne i64 %c_new, %f_nargs",
        "  %c_where = select i1 %again, i64 %f_fn, i64 %pc1", "  br label %clock",
        "dynset:",
        "  %sa = getelementptr i64, ptr %dyn, i64 %f_args", "  store i64 %f_fn, ptr %sa", "  br label %next",
        "dynread:", *_address("d"),
        "  %limit_p = getelementptr i64, ptr %row, i64 " + str(TASKS), "  %limit = load i64, ptr %limit_p",
        "  %d_raw = load i64, ptr %d_at",
        "  %d_low = icmp slt i64 %d_raw, 0", "  %d_up = select i1 %d_low, i64 0, i64 %d_raw",
        "  %d_high = icmp sgt i64 %d_up, %limit", "  %d_in = select i1 %d_high, i64 %limit, i64 %d_up",
        "  %d_move = mul i64 %d_in, %f_params",
        "  %da = getelementptr i64, ptr %dyn, i64 %f_nargs", "  %dv = load i64, ptr %da",
        "  %dn = add i64 %dv, %d_move", "  store i64 %dn, ptr %da", "  br label %next",
        "next:",
        "  %pc_next = phi i64 [ %pc1, %tick ], [ %pc_after, %clock ], [ %pc1, %store ], [ %pc1, %dynset ], "
        "[ %pc1, %dynread ]",
        "  br label %fetch", "}"])


def _run(target: Target) -> list[str]:
    """``gemel_run``: walk a table on the calling thread."""
    find = [_word("ctx", CONTEXT.index("pool"), "p_pool"), "  %pool = load ptr, ptr %p_pool", _pool_field("control")]
    return [
        "define internal i64 @run(ptr %ctx, i64 %start) nounwind {",
        _word("ctx", CONTEXT.index("scratch"), "p_scratch"), "  %scratch = load ptr, ptr %p_scratch",
        "  %at = call i64 @walk(ptr %ctx, i64 %start, ptr %scratch, i64 0)", "  ret i64 %at", "}",
        *_under_control(target, "gemel_run", "ptr %ctx, i64 %start", find, "run")]


_NOW = """define internal i64 @now_ns() nounwind {
  %ts = alloca [2 x i64], align 8
  %r = call i32 @clock_gettime(i32 1, ptr %ts)
  %s = load i64, ptr %ts
  %p = getelementptr i64, ptr %ts, i64 1
  %n = load i64, ptr %p
  %b = mul i64 %s, 1000000000
  %t = add i64 %b, %n
  ret i64 %t
}"""


def module_text(target: Target | None = None) -> str:
    """LLVM text of ``SYMBOLS``."""
    target = target or host()
    fields = [_pool_field(f) for f in POOL]
    declares = ["declare i64 @syscall(i64, ...)", "declare i32 @usleep(i32)", "declare i32 @clock_gettime(i32, ptr)"]
    if target.triple.startswith("x86_64"):
        declares += ["declare void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse.ldmxcsr(ptr)",
                     "declare void @llvm.x86.sse.stmxcsr(ptr)"]
    return "\n".join([_run_tasks(), _worker(target, fields), _stop(fields), *([_KEEP_OFF] if PLACES else []),
                      _parallel(target, fields), _walk(), *_run(target), *_launched(target, fields), _NOW, *declares,
                      ""])


SYMBOLS = ("gemel_run", "gemel_launch", "gemel_join", "gemel_worker", "gemel_stop")
RUN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
LAUNCH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
JOIN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
STOP_POOL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
