"""The meaning of every primitive, in NumPy: the reference that all native code is tested against.

It also runs what native code does not (complex numbers, opaque ops) and everything where no compiler exists.
"""
from .run import MEANING, evaluate, pauses, run

__all__ = ["MEANING", "evaluate", "pauses", "run"]
