"""Errors in the user's terms. Each is also the built-in type that torch raises, so ``except`` clauses carry over."""
from __future__ import annotations


class GemelError(Exception):
    """Base of the errors that Gemel defines."""


class ShapeError(GemelError, RuntimeError):
    """Shapes do not fit the operation; the message holds every shape, the axis and a fix."""


class DTypeError(GemelError, RuntimeError):
    """Element types do not fit the operation."""


class DeviceError(GemelError, RuntimeError):
    """A device is unknown, unavailable, or tensors of one call lie on different devices."""


class CheckError(GemelError, IndexError, RuntimeError):
    """A condition on values, found when the recorded program ran; the message names the recorded line."""


class OutOfMemoryError(GemelError, MemoryError, RuntimeError):
    """The plan needs more memory than the budget allows; nothing was written."""


class VerifyError(GemelError, AssertionError):
    """A program breaks a rule of the IR (a fault of a pass, never of the user)."""


class CompileError(GemelError, RuntimeError):
    """The code generator or LLVM refused a kernel; the message names the kernel."""


class SyncError(GemelError, RuntimeError):
    """A value was observed inside ``forbid_sync()``."""


class UnsupportedError(GemelError, NotImplementedError, RuntimeError):
    """A capability that does not exist (yet); the message names it."""
