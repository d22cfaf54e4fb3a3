"""A program as one operation: what ``compile`` records."""
from __future__ import annotations

from .base import composite


@composite("call", -1, ("program",), n_outputs=-1)
def call(b, *operands, program):
    """the results of a program"""
    return b.inline(program, operands)
