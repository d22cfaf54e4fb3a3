"""Locks that a fork waits for, taken in one order.

A forked child has one thread. A lock that another thread held at that moment would stay held in it for ever, so the
forking thread takes every such lock first, and both sides release them. A thread that holds one of them may ask for a
later one, never for an earlier one.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

#: outermost first: a plan runs; the pool changes; the table of kernels; LLVM; the table of plans; who shares a storage;
#: the allocator; its blocks between guard pages; random numbers
ORDER = ("run", "pool", "kernels", "llvm", "plans", "sharing", "memory", "guard", "random")

_locks: dict[str, Any] = {}
_then: dict[str, Callable[[], None]] = {}


def fork_lock(name: str, lock: Any, held: Callable[[], None] | None = None) -> Any:
    """Let forks wait for ``lock``, which stands where ``ORDER`` has its name, and then call ``held``; returns it."""
    assert name in ORDER and name not in _locks, name
    _locks[name] = lock
    if held is not None:
        _then[name] = held
    return lock


def _hold() -> None:
    for name in ORDER:
        if name in _locks:
            _locks[name].acquire()
        if name in _then:
            _then[name]()


def _release() -> None:
    for name in reversed(ORDER):
        if name in _locks:
            _locks[name].release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
