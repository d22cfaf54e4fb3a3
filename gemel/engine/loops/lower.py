"""From a program to kernel calls: passes are done, groups are formed and scheduled, nothing is compiled yet.

The result is data: calls in order, where each output lies, the checks by number. The planner (``memory``) gives
every value its place; the runtime turns calls into the dispatcher's table.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..base import log
from ..base.errors import UnsupportedError
from ..base.target import Target
from ..ir.op import op
from ..ir.primitives import ROWS
from ..ir.program import Equation, Program, Var
from ..ir.types import row_major
from ..passes import FUSED, GENERIC, KEPT, STEPS, run_passes
from .assemble import schedule_cat, schedule_dynamic_update, schedule_pad
from .attention.schedule import keeps as keeps_attention
from .attention.schedule import schedule_attention, schedule_attention_backward
from .calls import Call, Temp
from .contract import schedule_dot
from .control import HostStep, Output, Step, schedule_if, schedule_loop, schedule_step, schedule_while
from .conv import schedule_conv, schedule_conv_transpose, schedule_conv_weight_grad
from .fusion import Fusion
from .group import MOVEMENT, Group
from .index import Affine, Domain, Index, offset_of
from .order import checks_first
from .rowwise.schedule import schedule_rowwise
from .scan import schedule_scan
from .scatter import schedule_scatter
from .sharing import rename, signature
from .sort import schedule_sort


@dataclass
class Lowered:
    """Steps in order; outputs; the equations of checks by number (from 1); states that bodies compute; constants that
    lie in memory."""

    program: Program
    steps: list[Step]
    outputs: list[Output]
    checks: list[Equation]
    carried: dict[Var, Var] = field(default_factory=dict)
    constants: dict[Var, bytes] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)


def schedule_const(g: Group, lowering: Lowering) -> list[Call]:
    """A constant of many elements: the plan holds it."""
    e = g.anchor
    assert e is not None
    lowering.constants[e.output] = e.op.attrs.data
    return []


#: group kind -> schedule(group, lowering) -> calls; anchors register theirs
SCHEDULES: dict[str, Callable[[Group, Lowering], Any]] = {
    "const": schedule_const, "rowwise": schedule_rowwise, "pad": schedule_pad, "cat": schedule_cat,
    "dynamic_update": schedule_dynamic_update, "dot": schedule_dot, "scatter": schedule_scatter, "sort": schedule_sort,
    "if": schedule_if, "while": schedule_while, "loop": schedule_loop,
    **dict.fromkeys(STEPS, schedule_step),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), schedule_scan),
    "attention": schedule_attention, "attention_backward": schedule_attention_backward,
    "conv": schedule_conv, "conv_transpose": schedule_conv_transpose, "conv_weight_grad": schedule_conv_weight_grad,
}

KEPT.update(dict.fromkeys(("attention", "attention_backward"), keeps_attention))


def with_stored_outputs(program: Program) -> Program:
    """The program with a ``copy`` for every output that would not lie in a buffer of its own.

    That is a view of a constant, of positions, or of a one-element input, which may be a scalar.
    """
    made_by, inputs = program.producers(), set(program.inputs)
    copies: list[Equation] = []
    outputs: list[Var] = []
    for v in program.outputs:
        root, e = v, made_by.get(v)
        while e is not None and e.op.name in MOVEMENT:
            root, e = e.inputs[0], made_by.get(e.inputs[0])
        if (e is None and root in inputs and root.type.size == 1 and root is not v) or (
                e is not None and e.op.name in ("const", "iota")):
            copy = Var(v.type)
            copies.append(Equation(op(ROWS["copy"]), (v,), (copy,)))
            v = copy
        outputs.append(v)
    return Program(program.inputs, (*program.equations, *copies), outputs) if copies else program


class Lowering:
    """One lowering run; also the ``Context`` of the schedules.

    Args:
        program: primitives and kept composites. forms: strides and offset of each input, or None for row-major.
        fused: specialised kernels (tier 1) or generic ones (tier 0). grouped: equations share loops, or have a kernel
            each; as ``fused`` unless given.
    """

    def __init__(self, program: Program, forms: dict[Var, tuple[tuple[int, ...], int]], target: Target, threads: int,
                 fused: bool, grouped: bool | None = None) -> None:
        self.program = program = with_stored_outputs(program)
        self.target, self.threads, self.fused = target, threads, fused
        self.grouped = fused if grouped is None else grouped
        self.forms = dict(forms)
        self.carried: dict[Var, Var] = {}
        self.constants: dict[Var, bytes] = {}
        self.apart: set[Equation] = set()  # anchors that turned out to be unable to take an epilogue
        self.fusion = self.fuse()
        self.checks: list[Equation] = []
        self.current: Group | None = None  # the group that is being scheduled
        self.fixed: frozenset[Var] = frozenset()  # inputs that are the same in every turn of the loop around
        self.scheduled: dict[tuple, tuple[list[Call], list[Any]]] = {}

    # --- Context
    def layout(self, v: Var) -> tuple[tuple[int, ...], int]:
        found = self.forms.get(v)
        return found if found is not None else (row_major(v.shape), 0)

    def chain(self, v: Var) -> list[Equation]:
        return self.fusion.chain(v)

    def path(self, v: Var) -> list[Equation]:
        return self.fusion.path(v)

    def inlined(self, v: Var) -> bool:
        return self.fusion.inlined(v)

    def ordered(self, g: Group) -> list[int]:
        return self.fusion.ordered(g)

    def equation(self, v: Var) -> Equation | None:
        return self.fusion.made_by.get(v)

    def check_number(self, e: Equation) -> int:
        if e not in self.checks:
            self.checks.append(e)
        return self.checks.index(e) + 1

    def resolve(self, domain: Domain, v: Var, index: Index) -> tuple[Var, Index]:
        assert self.current is not None
        return self.fusion.bound(domain, self.current, v, index)

    def pull_one(self, domain: Domain, e: Equation, index: Index) -> Index | None:
        return self.fusion.pull_one(domain, e, index)

    def start(self, v: Var, limit: int) -> Affine:
        return self.fusion.start(v, limit)

    def kept(self, v: Var) -> bool:
        return v in self.fixed

    def nested(self, program: Program, operands: list[Var], fixed: Sequence[Var] = (), grouped: bool = False
               ) -> tuple[list[Step], list[Output]]:
        """Steps of ``program`` on values of this lowering; checks and carried states are shared."""
        grouped = grouped or self.grouped
        body = _on(run_passes(program, FUSED if grouped else GENERIC), operands)
        forms = {v: self.forms[v] for v in operands if v in self.forms}
        inner = Lowering(body, forms, self.target, self.threads, self.fused, grouped)
        inner.checks, inner.carried, inner.constants = self.checks, self.carried, self.constants
        inner.fixed = frozenset(fixed)
        lowered = inner.run()
        return lowered.steps, lowered.outputs

    # --- the run
    def outputs(self) -> list[Output]:
        """Where each output lies; a view that cannot be described by strides was materialised by fusion."""
        found = []
        for v in self.program.outputs:
            domain = Domain()
            index = domain.axes(v.shape)
            source, at = self.fusion.peek(domain, v, index)
            strides, offset = self.layout(source)
            position = offset_of(domain, at, strides, offset)
            terms = dict(position.terms)
            axes = [next(iter(a.terms))[0] if a.terms else None for a in index]
            simple = not position.dynamic and not domain.splits
            assert simple, "fusion materialises outputs that are not plain views"
            found.append(Output(source, tuple(terms.get(a, 0) if a is not None else 0 for a in axes), position.const))
        return found

    def shared(self, g: Group) -> list[Call]:
        """Schedule a rowwise group, or take over the schedule of an equal one."""
        found = signature(g, self)
        if found is None:
            return schedule_rowwise(g, self)
        return self.once(*found, lambda: schedule_rowwise(g, self))

    def once(self, key: tuple, values: list[Any], schedule: Callable[[], Any]) -> Any:
        """What ``schedule`` gives, or, where an equal one has been asked for, its calls on these values."""
        earlier = self.scheduled.get(key)
        if earlier is not None:
            return rename(earlier[0], earlier[1], values)
        calls = schedule()
        if isinstance(calls, list) and all(isinstance(c, Call) and all(
                o.value in values or isinstance(o.value, Temp) for o in c.operands) for c in calls):
            self.scheduled[key] = calls, values
        return calls

    def fuse(self) -> Fusion:
        return Fusion(self.program, frozenset(SCHEDULES), self.grouped, self.apart)

    def run(self) -> Lowered:
        """Schedule all groups. What a schedule cannot do with its epilogue it does without: all is fused anew then."""
        while True:
            groups = self.fusion.groups()
            steps = self.steps(groups)
            if steps is not None:
                return Lowered(self.program, steps, self.outputs(), self.checks, self.carried, self.constants, groups)
            self.fusion = self.fuse()

    def steps(self, groups: list[Group]) -> list[Step] | None:
        """The groups' calls; None if one cannot take its epilogue, which is noted in ``apart``."""
        steps: list[Step] = []
        for g in groups:
            self.current = g
            schedule = SCHEDULES.get(g.kind)
            if schedule is None:
                assert g.anchor is not None
                reason = self.fusion.host_reason(g.anchor)
                steps.append(HostStep(g.anchor, tuple(g.reads[0, i][0] for i in range(len(g.anchor.inputs))), reason))
                continue
            calls = self.shared(g) if g.kind == "rowwise" else schedule(g, self)
            if not isinstance(calls, list):
                if g.anchor is None or len(g.nodes) == 1:
                    raise UnsupportedError(f"{g.name}: {calls.reason}")
                self.fusion.why(g, f"keeps to itself: {calls.reason}")
                self.apart.add(g.anchor)
                return None
            for call in calls:
                if isinstance(call, Call) and not call.origin:
                    call.origin = tuple(g.nodes)
            steps += calls
        return steps


def _on(program: Program, operands: list[Var]) -> Program:
    """``program`` with fresh values, on ``operands`` in place of its inputs."""
    env = dict(zip(program.inputs, operands, strict=True))
    equations = []
    for e in program.equations:
        outputs = tuple([Var(v.type) for v in e.outputs])
        equations.append(Equation(e.op, [env[v] for v in e.inputs], outputs, e.site))
        env.update(zip(e.outputs, outputs, strict=True))
    return Program(operands, equations, [env[v] for v in program.outputs])


def lower(program: Program, forms: dict[Var, tuple[tuple[int, ...], int]], target: Target, threads: int,
          fused: bool) -> Lowered:
    """Schedule ``program``."""
    lowered = Lowering(program, forms, target, threads, fused).run()
    lowered.steps = checks_first(lowered.steps)
    if log.on("plan"):
        log.say("plan", listing(lowered))
    return lowered


def listing(lowered: Lowered) -> str:
    """One line per step."""
    lines = []
    for n, step in enumerate(lowered.steps):
        if isinstance(step, HostStep):
            lines.append(f"{n:4d} host {step.equation.op.name}: {step.reason}")
        elif not isinstance(step, Call):
            lines.append(f"{n:4d} {type(step).__name__.lower()}")
        else:
            lines.append(f"{n:4d} {step.spec.name}: {step.tasks} tasks by {step.grain}, {step.nbytes} bytes, "
                         f"{step.flops} ops")
    return "\n".join(lines)
