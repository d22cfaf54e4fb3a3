"""Python's collector of reference cycles: made to start less often, and asked when memory is scarce.

A training step records thousands of small objects and drops them all by reference counts. Python would start its
collector every 700 objects, and go through everything that the process holds every few steps, for nothing; measured
in ``docs/design/collector.md``.
"""
from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 10_000  # that are made and not dropped before the youngest generation is looked at: more than a step leaves


def relax() -> None:
    """Raise Python's first threshold to ``OBJECTS``; one that is higher, or 0 (switched off), stays."""
    first, *others = gc.get_threshold()
    if 0 < first < OBJECTS:
        gc.set_threshold(OBJECTS, *others)


def collect(young: bool = False) -> None:
    """Free cycles that nobody reaches, with the tensors that they hold; ``young``: the latest ones only."""
    gc.collect(1 if young else 2)


_lock = threading.Lock()
_pauses = 0  # that are under way


@contextmanager
def paused() -> Iterator[None]:
    """Python's collector does not start meanwhile; one that is switched off already stays so.

    A plan is made of a hundred thousand objects, hardly any of them for nothing.
    """
    global _pauses
    with _lock:
        mine = _pauses > 0 or gc.isenabled()
        if mine:
            _pauses += 1
            gc.disable()
    try:
        yield
    finally:
        if mine:
            with _lock:
                _pauses = max(0, _pauses - 1)
                if not _pauses:
                    gc.enable()


def _after_fork() -> None:
    """In a child: the threads that had paused it do not exist here."""
    global _lock, _pauses
    _lock = threading.Lock()
    if _pauses:
        _pauses = 0
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
