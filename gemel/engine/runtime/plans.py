"""Plans of traces: what the plan cache holds, and how an entry runs in each tier."""
from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base import log
from ..base.errors import CheckError
from ..base.flags import flags
from ..device import memory
from ..device.memory import Buffer
from ..interpreter import evaluate
from ..ir.program import Program
from ..passes import FUSED, GENERIC, run_passes
from . import service
from .decode import decode
from .native_plan import NativePlan

HOT = 2  # runs after which a program gets a fused plan
HEAVY = 64 << 20  # bytes of a result from which on a program is fused at once


class Entry:
    """One trace with its plans.

    Attributes:
        program: what was recorded. donate: leaves whose memory may be reused. runs: how often it ran.
        updates: outputs that are the new values of tensors whose old values are donated leaves.
        generic, fused: the plans of the two tiers; both give the same bits.
        refusal: why there is no fused plan, if its compilation failed.
    """

    def __init__(self, trace, roots: list[int], donate: tuple[int, ...]) -> None:
        self.forms = tuple(v.form for v in trace.leaves)
        self.program: Program = decode(trace.code, [v.type for v in trace.leaves], [t for _, t in trace.scalars],
                                       roots, trace.sites)
        self.donate = donate
        self.updates = updates_of(trace, roots, donate)
        self.runs = 0
        self.generic: NativePlan | None = None
        self.fused: NativePlan | None = None
        self.requested = False
        self.refusal = ""

    def run(self, leaves: Sequence[Buffer], scalars: Sequence[Any]) -> list[tuple[Buffer, Any]]:
        """(buffer, form) of each output."""
        self.runs += 1
        tier = flags.TIER
        if tier == "interpreter":
            return interpret(self.program, self.forms, leaves, scalars)
        if flags.NAN:  # op by op, whatever the tier
            return self.build(GENERIC, False).run(leaves, scalars)
        if self.fused is not None and tier != "0":
            self.generic = None
            return self.fused.run(leaves, scalars)
        if tier == "1":
            self.fused = self.build(FUSED, True)
            return self.fused.run(leaves, scalars)
        if tier == "auto" and not self.requested and heavy(self.program):
            self.requested = True
            self.build_fused()
            if self.fused is not None:
                return self.fused.run(leaves, scalars)
        if tier == "auto" and self.runs >= HOT and not self.requested:
            self.requested = True
            service.submit(self.build_fused)
        if self.generic is None:
            self.generic = self.build(GENERIC, False)
        return self.generic.run(leaves, scalars)

    def build(self, passes, fused: bool) -> NativePlan:
        return NativePlan(run_passes(self.program, passes), self.forms, self.donate, fused, self.updates)

    def build_fused(self) -> None:
        """Prepare the fused plan (in the background, unless the program is heavy); the next run takes it."""
        try:
            self.fused = self.build(FUSED, True)
        except Exception as error:  # the generic plan keeps running: say why, lose nothing
            if service.closing:
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


def interpret(program: Program, forms: Sequence[Any], leaves: Sequence[Buffer], scalars: Sequence[Any]
              ) -> list[tuple[Buffer, Any]]:
    """Run ``program`` in NumPy; results are copied into fresh row-major buffers."""
    env: dict = {}
    for v, form, buffer in zip(program.inputs, forms, leaves, strict=False):
        dtype = v.type.dtype.numpy
        env[v] = (memory.as_numpy(buffer, dtype, v.type.shape) if form is v.type else
                  memory.as_numpy(buffer, dtype, v.type.shape, form.strides, form.offset))
    for v, number in zip(program.inputs[len(leaves):], scalars, strict=True):
        env[v] = np.asarray(number).astype(v.type.dtype.numpy)
    for e in program.equations:
        try:
            results = evaluate(e.op, [env[v] for v in e.inputs])
        except CheckError as error:
            raise failed_check(e, str(error)) from error
        env.update(zip(e.outputs, results, strict=True))
    found = []
    for v in program.outputs:
        buffer = memory.allocate(v.type.nbytes)
        memory.as_numpy(buffer, v.type.dtype.numpy, v.type.shape)[...] = env[v]
        found.append((buffer, v.type))
    return found


def failed_check(e, message: str = "") -> CheckError:
    """The error of a ``check`` equation (or of a composite that holds one), with the recorded line if it is known."""
    error = CheckError((message or e.op.attrs.message) + (f" (recorded at {e.site})" if e.site else ""))
    error.failed = e.op  # type: ignore[attr-defined]
    return error
