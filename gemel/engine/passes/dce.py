"""Dead code elimination: drop equations whose results nothing needs.

Every primitive is pure, so an equation is needed only through its results. A ``check`` guards the value that it
passes on and goes with it.
"""
from __future__ import annotations

from ..ir.program import Program


def dce(program: Program) -> Program:
    """The program without equations that no output depends on."""
    return program.live()
