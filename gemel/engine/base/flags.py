"""Flags: every environment variable that Gemel reads, one row each.

A flag says at its definition whether it changes generated code (then it is part of every cache key). The
values are read once at import; ``flags.override(name=value)`` changes them for a ``with`` block (tests,
debugging).
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    name: str
    parse: Callable[[str], Any]
    default: Any
    keyed: bool  # does it change generated code, hence enter the cache key?
    doc: str


def _bool(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _words(text: str) -> frozenset[str]:
    return frozenset(w for w in text.replace(";", ",").split(",") if w)


def _bytes(text: str) -> int:
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    text = text.strip().lower().removesuffix("b")
    return int(float(text[:-1]) * units[text[-1]]) if text and text[-1] in units else int(text or 0)


FLAGS = (
    Flag("LOG", _words, frozenset(), False,
         "comma-separated topics to print: trace, fuse, loop, llvm, compile, sync, cache, plan, memory"),
    Flag("TIER", str, "auto", False,
         "auto: generic kernels first, fused ones when hot; 0: generic only; 1: fused at once; interpreter: NumPy"),
    Flag("THREADS", int, 0, False, "worker threads for kernels; 0 takes the CPUs of the cgroup and affinity mask"),
    Flag("CACHE", str, "", False, "folder of compiled kernels; empty: the user's cache folder; 'off': no disk cache"),
    Flag("CACHE_BYTES", _bytes, 1 << 30, False, "the disk cache is trimmed to this many bytes (suffixes k, m, g)"),
    Flag("ISA", str, "", True, "instruction set to generate for, instead of the host's best: sse2, avx2, avx512, ..."),
    Flag("MEMORY", _bytes, 0, False, "memory budget in bytes; 0: what the cgroup or machine allows"),
    Flag("PENDING_BYTES", _bytes, 256 << 20, False, "flush at the next mark when pending work pins more than this"),
    Flag("PLAN_BYTES", _bytes, 512 << 20, False,
         "plans that have not run for longest are forgotten when all together take more than this"),
    Flag("NAN", _bool, False, False, "hunt NaNs: run op by op, stop at the first op that makes one"),
    Flag("LINES", _bool, False, False, "record the source line of every op (also switched on by NaN hunting)"),
    Flag("FULL_TRACEBACK", _bool, False, False, "keep Gemel's own frames in tracebacks"),
    Flag("HELPERS", int, -1, False, "compile helper processes; -1: one per CPU, 0: compile in this process"),
    Flag("GUARD", _bool, False, False,
         "memory between guard pages, poisoned: stops a kernel at its first access out of bounds; slow"),
    Flag("VERIFY", _bool, False, False, "verify programs after every pass (the tests switch it on)"),
)


class _Values:
    """Current values of the flags, as attributes in lower case."""

    LOG: frozenset[str]
    TIER: str
    THREADS: int
    CACHE: str
    CACHE_BYTES: int
    ISA: str
    MEMORY: int
    PENDING_BYTES: int
    PLAN_BYTES: int
    NAN: bool
    LINES: bool
    FULL_TRACEBACK: bool
    HELPERS: int
    GUARD: bool
    VERIFY: bool

    def __init__(self) -> None:
        for flag in FLAGS:
            text = os.environ.get(f"GEMEL_{flag.name}")
            try:
                value = flag.default if text is None else flag.parse(text)
            except (ValueError, KeyError):
                raise ValueError(f"GEMEL_{flag.name}={text!r} is not valid: {flag.doc}") from None
            setattr(self, flag.name, value)


flags = _Values()


@contextlib.contextmanager
def override(**values: Any) -> Iterator[None]:
    """Set flags for a block: ``with override(TIER="interpreter"): ...``."""
    known = {flag.name for flag in FLAGS}
    if unknown := set(values) - known:
        raise TypeError(f"unknown flags {sorted(unknown)}; the flags are {sorted(known)}")
    before = {name: getattr(flags, name) for name in values}
    try:
        for name, value in values.items():
            setattr(flags, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(flags, name, value)


def code_key() -> tuple:
    """The flags that change generated code, for cache keys."""
    return tuple((flag.name, getattr(flags, flag.name)) for flag in FLAGS if flag.keyed)
