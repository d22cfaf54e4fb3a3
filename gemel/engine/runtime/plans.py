"""Plans of traces: what the plan cache holds, and how an entry runs in each tier."""
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..base import log
from ..base.collector import paused
from ..base.flags import flags
from ..base.interrupts import undisturbed
from ..device.memory import Buffer
from ..ir.program import Program
from ..passes import FUSED, GENERIC, run_passes
from .decode import decode
from .failures import sites_of
from .interpreted import InterpretedPlan
from .runs import Commit

if TYPE_CHECKING:
    from .native_plan import NativePlan

_EQUATION_BYTES = 400  # of a recorded program, with its part of the key
HOT = 2  # runs after which a program gets a fused plan
HEAVY = 64 << 20  # bytes of a result from which on a program is fused at once


def native_plan(program: Program, *arguments: Any) -> NativePlan:
    """A new ``NativePlan``. What makes one, every schedule too, is imported with the first: not by ``import gemel``."""
    with undisturbed():  # half of an import cannot be repeated
        from .native_plan import NativePlan
    return NativePlan(program, *arguments)


def _service() -> ModuleType:
    """What compiles in the background, imported with the first plan, too."""
    with undisturbed():
        from . import service
    return service


class Entry:
    """One trace with its plans.

    Attributes:
        program: what was recorded. donate: leaves whose memory may be reused. runs: how often it ran.
        updates: outputs that are the new values of tensors whose old values are donated leaves.
        generic, fused: the plans of the two tiers; both give the same bits. interpreted: that of the interpreter.
        refusal: why there is no fused plan, if its compilation failed.
    """

    def __init__(self, trace, roots: list[int], donate: tuple[int, ...]) -> None:
        self.forms = tuple(v.form for v in trace.leaves)
        self.program: Program = decode(trace.code, [v.type for v in trace.leaves], [t for _, t in trace.scalars],
                                       roots, sites_of(trace.code, trace.sites))
        self.donate = donate
        self.updates = updates_of(trace, roots, donate)
        self.runs = 0
        self.generic: NativePlan | None = None
        self.fused: NativePlan | None = None
        self.interpreted: InterpretedPlan | None = None
        self.requested = 0  # the process that has asked for the fused plan: a forked child asks again
        self.refusal = ""
        #: about what the entry takes, and what the cache has counted for it
        self.nbytes = self.charged = 0
        self.used = 0  # when it was last looked up, by the cache's count
        self._weigh()

    def run(self, leaves: Sequence[Buffer], scalars: Sequence[Any], commit: Commit, wait: bool,
            values: Sequence[Any] = ()) -> None:
        """Compute the outputs and hand (buffer, form) of each to ``commit`` (see :meth:`NativePlan.run`)."""
        self.runs += 1
        if flags.TIER == "interpreter":
            if self.interpreted is None:
                self.interpreted = InterpretedPlan(self.program, self.forms, self.donate, self.updates)
            self.interpreted.run(leaves, scalars, commit)
        else:
            self.plan().run(leaves, scalars, commit, wait, values)

    def plan(self) -> NativePlan:
        """The plan of the tier that is to run now."""
        tier = flags.TIER
        if flags.NAN:  # op by op, whatever the tier; it may stop anywhere, so that nothing is donated
            return native_plan(run_passes(self.program, GENERIC), self.forms, (), False)
        if self.fused is not None and tier != "0":
            if self.generic is not None:
                self.generic = None
                self._weigh()
            return self.fused
        if tier == "1":
            self.fused = self.build(FUSED, True)
            self._weigh()
            return self.fused
        me = os.getpid()
        if tier == "auto" and self.requested != me:
            if heavy(self.program):
                self.build_fused()
                self.requested = me
                if self.fused is not None:
                    return self.fused
            elif self.runs >= HOT:
                self.requested = me
                _service().submit(self.build_fused)
        generic = self.generic  # which another thread may drop
        if generic is None:
            generic = self.generic = self.build(GENERIC, False)
            self._weigh()
        return generic

    def _weigh(self) -> None:
        self.nbytes = _EQUATION_BYTES * len(self.program.equations) + sum(
            plan.nbytes for plan in (self.generic, self.fused) if plan is not None)

    def build(self, passes, fused: bool) -> NativePlan:
        with paused():
            return native_plan(run_passes(self.program, passes), self.forms, self.donate, fused, self.updates)

    def build_fused(self) -> None:
        """Prepare the fused plan (in the background, unless the program is heavy); the next run takes it."""
        try:
            self.fused = self.build(FUSED, True)
            self._weigh()
        except Exception as error:  # the generic plan keeps running: say why, lose nothing
            if _service().closing:
                return
            self.refusal = str(error)
            sys.stderr.write(f"gemel: a fused plan could not be built, generic kernels go on: {error}\n")
            if log.on("compile"):
                log.say("compile", traceback.format_exc())


def heavy(program: Program) -> bool:
    """Would running op by op take longer than LLVM does, and hold several copies of something very large?"""
    large = [e for e in program.equations if any(v.type.nbytes >= HEAVY for v in e.outputs)]
    return len(large) > 1 or any(e.op.row.body is not None for e in large)


def updates_of(trace, roots: list[int], donate: tuple[int, ...]) -> dict[int, int]:
    """Position of each output that replaces the value of a storage -> the donated leaf that was its value before."""
    homes = {id(trace.leaves[k].cell): k for k in donate if trace.leaves[k].cell is not None}
    found: dict[int, tuple[int, int]] = {}  # leaf -> (version, -position): the last contents; not views of them
    for position, r in enumerate(roots):
        value = trace.values[r]
        k = homes.get(id(value.cell)) if value.cell is not None else None
        if k is not None and value.type is trace.leaves[k].type:
            found[k] = max(found.get(k, (-1, 0)), (value.version, -position))
    return {-position: k for k, (_, position) in found.items()}
