"""The worker pool: threads that sit in a native loop and join the steps of a running plan.

One pool per process, started at the first plan that can use it. It honours the affinity mask and the cgroup's
CPU quota, rebuilds itself after a fork, and is stopped before the interpreter goes away. Its workers leave the CPU to
the thread that runs the plan (see ``native``).
"""
from __future__ import annotations

import array
import atexit
import os
import threading

from ..base import log
from ..base.flags import flags
from ..base.forks import fork_lock
from ..base.target import host
from . import guard, native, stream
from .memory import Buffer, allocate
from .stream import run_lock

SCRATCH_BYTES = 4 << 20  # private memory of a thread: packed panels, row temporaries
_SPINS = 20_000          # about 0.2 ms of spinning before a worker sleeps


def cpu_count() -> int:
    """CPUs this process may use: ``GEMEL_THREADS``, else affinity mask and cgroup quota."""
    if flags.THREADS > 0:
        return flags.THREADS
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        log.say("plan", "no cgroup CPU quota to read") if log.on("plan") else None
    return max(1, count)


class Pool:
    """The words shared with the native code, the scratch memory of each thread, and the threads."""

    def __init__(self, library, setting: int) -> None:
        self.library = library
        self.setting = setting  # GEMEL_THREADS when it was made
        self.threads = threads = cpu_count()
        self.words = array.array("q", bytes(8 * native.pool_words(threads)))
        self.address = self.words.buffer_info()[0]
        self._set("spins", _SPINS)
        self._set("control", _control)
        self.scratch: list[Buffer] = [allocate(SCRATCH_BYTES) for _ in range(threads)]
        self.workers: list[threading.Thread] = []
        self.launch = native.LAUNCH(library.address["gemel_launch"])
        self._join = native.JOIN(library.address["gemel_join"])

    def _set(self, field: str, value: int) -> None:
        self.words[native.POOL.index(field) * native.POOL_STRIDE] = value

    def flying(self) -> bool:
        """Is a launched plan still running?"""
        return self.words[native.POOL.index("flying") * native.POOL_STRIDE] != 0

    def help(self, slice_ns: int) -> bool:
        """Work on a launched plan for so long at most; is it over?"""
        return self._join(self.address, self.scratch[0].ptr, slice_ns) != 0

    def halt(self) -> None:
        """Let a launched plan end at its next pause."""
        self._set("halt", 1)

    def poison(self) -> None:
        """Overwrite what earlier plans left in the scratch memory; no plan may be running."""
        for block in self.scratch:
            guard.poison(block.ptr, block.nbytes)

    def start(self) -> None:
        """Start the workers (all threads but the calling one)."""
        for n in range(1, self.threads):
            worker = threading.Thread(target=self._work, args=(n,), name=f"gemel-worker-{n}", daemon=True)
            worker.start()
            self.workers.append(worker)
        self._set("workers", len(self.workers))
        self._place()

    def _place(self) -> None:
        """Let the native code move the workers, if there are CPUs to choose from."""
        allowed = os.sched_getaffinity(0) if native.PLACES else set()
        if not self.workers or len(allowed) < 2 or max(allowed) >= 64 * native.MASK_WORDS:
            return
        words = [0] * native.MASK_WORDS
        for cpu in allowed:
            words[cpu // 64] |= 1 << cpu % 64
        self.places = array.array("Q", [*words, *(worker.native_id or 0 for worker in self.workers)])
        self._set("cpu", -1)
        self._set("places", self.places.buffer_info()[0])

    def _work(self, n: int) -> None:
        """Life of worker ``n``. Its frame holds the pool: the words that it looks at outlive it."""
        native.WORKER(self.library.address["gemel_worker"])(self.address, self.scratch[n].ptr, n)

    def stop(self) -> None:
        """Let the workers leave their loop and wait for them; harmless when none run."""
        self._set("places", 0)  # the system gives their numbers to others
        if self.workers:
            native.STOP_POOL(self.library.address["gemel_stop"])(self.address)
            for worker in self.workers:
                worker.join()
            self.workers.clear()


_pool: Pool | None = None
_control = native.EXACT  # the floating-point control word of all kernels
_change = fork_lock("pool", threading.RLock())  # held while the pool is replaced: the planner's thread asks for it too
_EXIT_WAIT = 30.0  # seconds that the end of the program waits for the step that runs in another thread
#: the thread that is ending the program, else 0; the plans of all others stop where they are
leaving = 0


def pool(library) -> Pool:
    """The process's pool, started on first use and again after a fork or a change of ``GEMEL_THREADS``."""
    found = _pool
    if found is not None and found.setting == flags.THREADS:
        return found
    with _change:
        return _replace(library, flags.THREADS)


def _replace(library, setting: int) -> Pool:
    global _pool
    if _pool is None or _pool.setting != setting:
        if _pool is not None:
            _pool.stop()
        _pool = Pool(library, setting)
        if not leaving:
            _pool.start()
    return _pool


def flush_denormals(on: bool) -> bool:
    """Are denormal numbers zeros, for all kernels from here on? False where the machine has no such setting.

    The plan in flight ends as it began.
    """
    global _control
    if not native.has_control(host()):
        return not on
    with run_lock, _change:
        stream.land()
        _control = native.FLUSHED if on else native.EXACT
        if _pool is not None:
            _pool._set("control", _control)
    return True


def rest() -> None:
    """Stop the workers; the next plan starts them again. A process that forks soon takes no other thread along."""
    global _pool
    with run_lock, _change:
        stream.land()
        if _pool is not None:
            _pool.stop()
            _pool = None


def _after_fork() -> None:
    """In a forked child: its parent's workers do not exist here."""
    global _pool
    if _pool is not None:
        _pool.workers.clear()
        _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def gone() -> bool:
    """Is the program ending, so that this thread's plan is to stop?"""
    return leaving != 0 and leaving != threading.get_ident()


def shutdown() -> None:
    """The program ends: let no other thread run a plan any more, and stop the workers.

    Threads that are not daemons have ended by now. A daemon's plan stops at its next pause; ``run_lock`` is never
    given back, so that none is inside native code when its memory goes. This thread can still run plans, alone.
    """
    global _pool, leaving
    leaving = threading.get_ident()
    if not run_lock.acquire(timeout=_EXIT_WAIT):
        return
    try:
        stream.land()
    except KeyboardInterrupt:
        stream.abandon()
    if _pool is not None:
        _pool.stop()
        _pool = None


atexit.register(shutdown)
