"""Compilation beside the running program: helper processes for LLVM, a thread that prepares fused plans.

``compile_many`` spreads kernels over helper processes and returns when all are in the cache. ``submit`` queues the
building of a plan; the result is swapped in between two runs. A helper that dies (LLVM aborts on its own failed
assertions) costs one plan, never the program: the error names the kernel and the generic kernels keep running.
"""
from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..base import log
from ..base.errors import CompileError
from ..base.flags import flags
from ..base.target import Target, host
from ..device.pool import cpu_count
from ..loops.calls import KernelSpec
from . import cache, kernels
from .compile_helper import read_frame, write_frame


class Helper:
    """One helper process."""

    def __init__(self) -> None:
        import subprocess

        import llvmlite
        environment = dict(os.environ)
        environment["PYTHONPATH"] = str(Path(llvmlite.__file__).parent.parent)
        script = Path(__file__).with_name("compile_helper.py")
        # a session of its own: the terminal's Ctrl-C is for the program, which goes on and needs its helpers
        self.process = subprocess.Popen([sys.executable, "-S", str(script)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment, start_new_session=True)
        self.pid = os.getpid()

    def compile(self, text: str, name: str, target: Target, jit: bool = True, level: int = 2) -> bytes:
        """Object code of ``text``; ``CompileError`` if LLVM refuses it or dies of it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            write_frame(self.process.stdin, [
                target.triple.encode(), target.cpu.encode(), target.features.encode(), b"1" if jit else b"0",
                str(level).encode(), text.encode()])
            status, payload = read_frame(self.process.stdout)
        except (EOFError, OSError):
            code = self.process.wait()
            raise CompileError(f"the compile helper died (status {code}) on kernel {name!r}; "
                               f"GEMEL_LOG=llvm prints its code") from None
        if status != b"ok":
            raise CompileError(f"LLVM refused kernel {name!r}: {payload.decode()}")
        return payload

    def disown(self) -> None:
        """In a forked child: let go of the parent's pipes, or the helper would not see it end.

        The file objects may be locked by threads that do not exist here: only the descriptors are exchanged.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                os.dup2(nowhere, stream.fileno(), inheritable=False)
        os.close(nowhere)

    def close(self) -> None:
        """End the process: it has nothing to lose."""
        if self.pid == os.getpid() and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


_idle: queue.LifoQueue[Helper] = queue.LifoQueue()
_started: list[Helper] = []
_inherited: list[Helper] = []  # a forked child keeps its parent's: closing their files could wait for dead threads
_lock = threading.Lock()


def helper_count() -> int:
    """How many helpers may run; 0: kernels are compiled in this process."""
    if closing:
        return 0
    return flags.HELPERS if flags.HELPERS >= 0 else min(4, cpu_count())


def _borrow() -> Helper:
    while True:
        try:
            h = _idle.get_nowait()
        except queue.Empty:
            break
        if h.pid == os.getpid() and h.process.poll() is None:
            return h
    with _lock:
        if closing:
            raise CompileError("the program is ending")
        h = Helper()
        _started.append(h)
        return h


def compile_text(text: str, name: str, target: Target | None = None, jit: bool = True) -> bytes:
    """Compile in a helper process."""
    h = _borrow()
    try:
        data = h.compile(text, name, target or host(), jit)
    except CompileError:
        if h.process.poll() is None:
            _idle.put(h)
        raise
    except BaseException:  # an interrupt in the middle of a frame: this helper's answers would be those of others
        h.process.kill()
        raise
    _idle.put(h)
    return data


def _compile(spec: KernelSpec) -> None:
    start = time.perf_counter()
    symbol = kernels.symbol_of(spec)
    data = compile_text(kernels.module_of(spec, symbol), symbol)
    kernels.counters.compiles += 1
    seconds = time.perf_counter() - start
    kernels.counters.compile_seconds += seconds
    if log.on("compile"):
        log.say("compile", f"{symbol}: {seconds * 1e3:.1f} ms in a helper, {len(data)} bytes")
    kernels.accept(spec, data)
    cache.store(kernels.file_name(spec), data)


def compile_many(specs: Sequence[KernelSpec], least: int = 1) -> None:
    """Load every kernel that a cache has; if none has ``least`` or more, the helpers compile those in parallel."""
    missing = [s for s in {s.key: s for s in specs}.values() if not kernels.load_cached(s)]
    if len(missing) < least:
        return
    if kernels.compile_forbidden:
        raise CompileError(f"{len(missing)} kernels have to be compiled inside forbid_compile(): "
                           f"{', '.join(s.name for s in missing[:8])}")
    workers = min(helper_count(), len(missing))
    if workers == 0:
        for s in missing:
            kernels.address(s)
        return
    errors: list[BaseException] = []
    jobs = iter(missing)
    turn = threading.Lock()

    def work() -> None:
        while not errors:
            with turn:
                spec = next(jobs, None)
            if spec is None:
                return
            try:
                _compile(spec)
            except Exception as error:  # raised where the plan is built
                errors.append(error)

    threads = [threading.Thread(target=work, name=f"gemel-compile-{i}", daemon=True) for i in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


# --- plans in the background -----------------------------------------------------------------------

_jobs: queue.Queue[Callable[[], None]] = queue.Queue()
_worker: threading.Thread | None = None
_worker_pid = 0
_pending = 0
_quiet = threading.Condition()


def submit(job: Callable[[], None]) -> None:
    """Run ``job`` in the background thread; it must deal with its own errors."""
    global _worker, _worker_pid, _pending
    with _quiet:
        if _worker is None or _worker_pid != os.getpid():
            _worker = threading.Thread(target=_serve, name="gemel-planner", daemon=True)
            _worker_pid = os.getpid()
            _pending = 0
            _worker.start()
        _pending += 1
    _jobs.put(job)


def _serve() -> None:
    global _pending
    while True:
        job = _jobs.get()
        try:
            job()
        finally:
            with _quiet:
                _pending -= 1
                _quiet.notify_all()


def wait(timeout: float | None = None) -> bool:
    """Wait until no plan is being prepared; False if ``timeout`` seconds passed first."""
    with _quiet:
        return _quiet.wait_for(lambda: _pending == 0, timeout)


def _forget() -> None:
    """In a forked child: helpers and threads are the parent's, and its locks may have been held."""
    global _lock, _quiet, _jobs, _idle, _worker, _pending
    _lock, _quiet, _jobs, _idle = threading.Lock(), threading.Condition(), queue.Queue(), queue.LifoQueue()
    _worker, _pending = None, 0
    for h in _started:
        h.disown()
    _inherited.extend(_started)
    _started.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

#: the interpreter is going: plans in preparation fail, and nobody will miss them
closing = False


def _close() -> None:
    global closing
    with _lock:
        closing = True
    for h in _started:
        h.close()


atexit.register(_close)
