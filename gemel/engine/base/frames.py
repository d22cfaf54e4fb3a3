"""Tracebacks without our frames: an uncaught error ends at the user's line.

The hook only changes what is printed for an uncaught error; the exception itself keeps all frames for debuggers and
for code that catches it. ``GEMEL_FULL_TRACEBACK=1`` shows everything.
"""
from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from .flags import flags

_PACKAGE = __name__.partition(".")[0]


def is_ours(module: str) -> bool:
    """Is a module part of the framework?"""
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without frames of the framework; all of it where no other frame is left."""
    kept = []
    at = trace
    while at is not None:
        if not is_ours(at.tb_frame.f_globals.get("__name__", "")):
            kept.append(at)
        at = at.tb_next
    short: TracebackType | None = None
    for entry in reversed(kept):
        short = TracebackType(short, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return short or trace


def install() -> None:
    """Wrap ``sys.excepthook``, once."""
    before = sys.excepthook
    if getattr(before, "hides_frames", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        if not flags.FULL_TRACEBACK:
            at: BaseException | None = error
            while at is not None:  # causes and contexts are printed too
                at.__traceback__ = user_frames(at.__traceback__)
                at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
            trace = error.__traceback__
        return before(kind, error, trace)

    hook.hides_frames = True  # type: ignore[attr-defined]
    sys.excepthook = hook
