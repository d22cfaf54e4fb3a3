"""The stream of the device: at most one plan that runs behind the program, which goes on recording.

A plan that was *launched* is walked by the pool's workers. Its results are put where they belong at once; whoever
touches memory that the plan uses waits until it has *landed*: NumPy (``memory.as_numpy``), the next plan, memory that
goes back to the system, a fork, the end of the pool. A thread that waits helps. Only plans that cannot fail are
launched, and none that uses memory which others see.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Container
from typing import Any, Protocol

from ..base.forks import fork_lock
from ..base.interrupts import undisturbed


class Workers(Protocol):
    """What the stream asks of a pool."""

    def launch(self, context: int, start: int, /) -> None:
        """Let the workers walk a table from row ``start`` on."""

    def flying(self) -> bool:
        """Do they?"""
        ...

    def help(self, slice_ns: int) -> bool:
        """Work with them; are they done?"""
        ...

    def halt(self) -> None:
        """Let them stop at their next pause."""


_SLICE_NS = 50_000_000  # after which a waiting thread looks for signals
_POLL = 20e-6  # seconds between two looks of a thread that may not help

#: addresses that the plan in flight uses, and more; empty when no plan is in flight
bases: Container[int] = ()
_plan: Any = None  # whose tables it walks
_pool: Workers | None = None
_number = 0  # of launches so far


def launch(plan: Any, pool: Workers, start: int) -> None:
    """Let the workers of ``pool`` walk the table of ``plan`` from row ``start`` on.

    The caller holds ``run_lock``, and no plan is in flight. The plan's ``bases`` are its addresses. Its context holds
    ``NOT_LAUNCHED`` until it has been launched, however this ends; an interrupt may then have come before the last
    line (see :func:`announce`).
    """
    global _number
    announce(plan, pool)  # whatever computes between these lines (a signal handler, a finalizer) waits for it
    pool.launch(plan.context_address, start)
    announce(plan, pool)  # or has taken it for one that has landed
    _number += 1


def announce(plan: Any, pool: Workers) -> None:
    """From here on ``plan`` is waited for."""
    global bases, _plan, _pool
    _plan, _pool, bases = plan, pool, plan.bases


def land() -> None:
    """Help the plan in flight to its end; the caller holds ``run_lock``."""
    global bases, _plan, _pool
    pool = _pool
    if pool is None:
        return
    while not pool.help(_SLICE_NS):
        continue  # a signal is noticed here
    bases, _plan, _pool = (), None, None


def _land_undisturbed() -> None:
    """:func:`land` before a fork, from which no exception gets out."""
    with undisturbed():
        land()


def wait() -> None:
    """Wait for the plan in flight, whatever locks the caller holds."""
    if run_lock.acquire(blocking=False):
        try:
            land()
        finally:
            run_lock.release()
        return
    pool, number = _pool, _number
    while pool is not None and number == _number and pool.flying():  # the workers get it to its end without any lock
        time.sleep(_POLL)


def abandon() -> None:
    """Let the plan in flight end where it stands: the program ends. The caller holds ``run_lock``."""
    if _pool is not None:
        _pool.halt()
        land()


#: held while a plan runs or is launched; a fork waits for it, and for the plan in flight: no child has half of a step
run_lock = fork_lock("run", threading.RLock(), held=_land_undisturbed)
