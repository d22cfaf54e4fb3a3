"""Compiled kernels: from a :class:`KernelSpec` to an address, through memory, disk cache and compiler."""
from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from ..base import log
from ..base.errors import CompileError
from ..base.forks import fork_lock
from ..base.target import host
from ..codegen import jit
from ..codegen.llvm import emit_module
from ..device import native
from ..loops.calls import KernelSpec
from ..loops.ir import print_kernel
from . import cache


@dataclass(slots=True)
class Counters:
    """Kernels that were compiled or loaded by this process."""

    compiles: int = 0
    loaded: int = 0
    compile_seconds: float = 0.0


counters = Counters()

#: number of ``forbid_compile()`` blocks that are open
compile_forbidden = 0

_addresses: dict[tuple, int] = {}
_libraries: list[jit.Library] = []
_lock = fork_lock("kernels", threading.RLock())


def symbol_of(spec: KernelSpec) -> str:
    """The symbol of a kernel: its readable name and a digest of its structure."""
    return f"{spec.name}_{hashlib.sha256(repr(spec.key).encode()).hexdigest()[:10]}"


def module_of(spec: KernelSpec, symbol: str, target=None) -> str:
    """LLVM text of a kernel."""
    target = target or host()
    kernel = spec.build(symbol, target)
    if log.on("loop"):
        log.say("loop", print_kernel(kernel))
    return emit_module(kernel, target.attributes)


def file_name(spec: KernelSpec) -> str:
    """Name of the kernel in the disk cache."""
    return cache.digest(f"{spec.key!r}|{host().key}")


def build_object(spec: KernelSpec) -> bytes:
    """Compile a kernel and put it into the disk cache."""
    if compile_forbidden:
        raise CompileError(f"kernel {spec.name!r} has to be compiled inside forbid_compile()")
    start = time.perf_counter()
    symbol = symbol_of(spec)
    data = jit.compile_object(module_of(spec, symbol), symbol)
    counters.compiles += 1
    seconds = time.perf_counter() - start
    counters.compile_seconds += seconds
    if log.on("compile"):
        log.say("compile", f"{symbol}: {seconds * 1e3:.1f} ms, {len(data)} bytes")
    cache.store(file_name(spec), data)
    return data


def accept(spec: KernelSpec, data: bytes) -> int:
    """Load the object code of a kernel; its address."""
    symbol = symbol_of(spec)
    library = jit.Library(data, (symbol,))
    with _lock:
        _libraries.append(library)
        counters.loaded += 1
        found = _addresses[spec.key] = library.address[symbol]
    return found


def load_cached(spec: KernelSpec) -> bool:
    """Is the kernel loaded, or can the disk cache give it?"""
    if spec.key in _addresses:
        return True
    data = cache.load(file_name(spec))
    if data is None:
        return False
    try:
        accept(spec, data)
    except CompileError:  # an object of another toolchain under our name
        return False
    return True


def address(spec: KernelSpec) -> int:
    """Address of the kernel's code; compiled in this process if no cache has it."""
    found = _addresses.get(spec.key)
    if found is not None:
        return found
    with _lock:
        if not load_cached(spec):
            accept(spec, build_object(spec))
        return _addresses[spec.key]


_runtime: jit.Library | None = None


def runtime_library() -> jit.Library:
    """The dispatcher and worker loop, compiled once per machine."""
    global _runtime
    if _runtime is None:
        with _lock:
            if _runtime is None:
                text = native.module_text()
                name = cache.digest(f"runtime|{text}|{host().key}")
                data = cache.load(name)
                if data is None:
                    data = jit.compile_object(text, "runtime")
                    cache.store(name, data)
                _runtime = jit.Library(data, native.SYMBOLS)
    return _runtime


def forget() -> None:
    """Drop the in-memory table, so that kernels come from disk or compiler again (tests)."""
    with _lock:
        _addresses.clear()
