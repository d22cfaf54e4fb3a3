"""Capturing what a piece of Python records: the trace, and every storage and gradient that it writes.

While a :class:`Capture` is open its thread's trace is not cut; an observation that flushes it breaks the capture, and
everything goes on as if there were none.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .trace import LIMIT, Trace, Value, local

UNLIMITED = 1 << 62


class Capture:
    """What one stretch of recording did.

    Attributes:
        trace: where it was recorded.
        writes: tensors and storages that were written, in order, with the value that each held before.
        grads: leaves whose ``.grad`` was set or cleared, in order.
        live: scalars that must be asked for again at every replay, with the function that gives their numbers.
        broken: why the stretch is not one program; empty if it is.
    """

    def __init__(self) -> None:
        self.trace = Trace()
        self.trace.limit = UNLIMITED
        self.writes: dict[Any, Value | None] = {}
        self.grads: dict[Any, None] = {}
        self.live: list[tuple[list[Value], Callable[[], Sequence[Any]]]] = []
        self.broken = ""

    def __enter__(self) -> Capture:
        if local.trace.code:
            self.broken = "operations were pending before it"
        else:
            local.trace = self.trace
        local.capture = self
        return self

    def __exit__(self, *error: Any) -> None:
        local.capture = None
        self.trace.limit = LIMIT
        if error[0] is not None:
            self.broken = f"it raised {error[1]!r}"
