"""Passes: program in, program out. One per file, named, ordered here, verified in the tests."""
from __future__ import annotations

from collections.abc import Callable

from ..base import log
from ..base.flags import flags
from ..ir.program import Program
from ..ir.verify import verify
from .cse import cse
from .dce import dce
from .decompose import KEPT, STEPS, decompose, decompose_unknown
from .simplify import simplify

Pass = Callable[[Program], Program]

#: what a hot program goes through before fusion
FUSED: tuple[Pass, ...] = (decompose_unknown, simplify, cse, dce)
#: what a first-seen program goes through: only what is needed to run it op by op
GENERIC: tuple[Pass, ...] = (decompose, dce)


def run_passes(program: Program, passes: tuple[Pass, ...]) -> Program:
    """Apply ``passes`` in order."""
    for a_pass in passes:
        before = len(program)
        program = a_pass(program)
        if log.on("passes"):
            log.say("passes", f"{a_pass.__name__}: {before} -> {len(program)} equations")
        if flags.VERIFY:
            verify(program, a_pass.__name__)
    return program


__all__ = ["FUSED", "GENERIC", "KEPT", "STEPS", "run_passes"]
