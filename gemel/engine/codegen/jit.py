"""LLVM at work: module text -> object bytes -> callable code in this process.

Object bytes are what the disk cache stores; loading one takes a fraction of a millisecond. LLVM is imported on
first use.
"""
from __future__ import annotations

import atexit
import functools
import itertools
import threading

from ..base import log
from ..base.errors import CompileError
from ..base.forks import fork_lock
from ..base.interrupts import undisturbed
from ..base.target import Target, host

_lock = fork_lock("llvm", threading.RLock())
#: LLVM's own destructors run when the process ends: by then no other thread may be inside
atexit.register(_lock.acquire, timeout=30.0)
_serial = itertools.count()


@functools.lru_cache(maxsize=32)
def _machine(target: Target, jit: bool, level: int):
    import llvmlite.binding as llvm
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    triple = llvm.Target.from_triple(target.triple)
    return triple.create_target_machine(cpu=target.cpu, features=target.features, opt=level, jit=jit,
                                        reloc="default" if jit else "pic")


def _parse(text: str, name: str, machine, target: Target):
    import llvmlite.binding as llvm
    try:
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM refused kernel {name!r} (GEMEL_LOG=llvm prints it): {error}") from None
    return module


def compile_object(text: str, name: str, target: Target | None = None, level: int = 2) -> bytes:
    """Object code of a module.

    Args:
        text: LLVM IR. name: of the kernel, for messages. target: default: this machine, for loading here.
        level: code-generation effort, 0 to 3.
    Raises:
        CompileError: LLVM does not accept the text.
    """
    jit = target is None
    target = target or host()
    if log.on("llvm"):
        log.say("llvm", text)
    with _lock, undisturbed():
        return _emitted(text, name, target, jit, level)


def _emitted(text: str, name: str, target: Target, jit: bool, level: int) -> bytes:
    """Object code. What LLVM made for it is gone when this returns."""
    machine = _machine(target, jit, level)
    return machine.emit_object(_parse(text, name, machine, target))


def assembly(text: str, name: str, target: Target | None = None, level: int = 2) -> str:
    """Assembly text of a module, for looking at."""
    jit = target is None
    target = target or host()
    with _lock:
        machine = _machine(target, jit, level)
        return machine.emit_assembly(_parse(text, name, machine, target))


@functools.cache
def _lljit():
    import llvmlite.binding as llvm
    return llvm.create_lljit_compiler(_machine(host(), True, 2))


class Library:
    """Loaded code. Keep it alive as long as its functions may be called."""

    def __init__(self, data: bytes, symbols: tuple[str, ...]) -> None:
        with _lock, undisturbed():
            self._tracker = _linked(data, symbols)
        self.address: dict[str, int] = {s: self._tracker[s] for s in symbols}


def _linked(data: bytes, symbols: tuple[str, ...]):
    """What keeps the loaded code alive, and knows the addresses of its symbols."""
    import llvmlite.binding as llvm
    builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    try:
        return builder.link(_lljit(), f"gemel{next(_serial)}")
    except RuntimeError as error:
        raise CompileError(f"cannot load the compiled code of {symbols}: {error}") from None


def llvm_version() -> str:
    """The version of LLVM and of its wrapper, for cache keys."""
    import llvmlite
    import llvmlite.binding as llvm
    return f"{llvmlite.__version__}/{'.'.join(map(str, llvm.llvm_version_info))}"
