"""Fusion: which equations share a nest of loops.

In: a program of primitives and kept composites. Out: groups (see ``group``) in execution order; every value that
crosses groups is stored. Movement ops join no group: a reader pulls its index through them, so a permuted, sliced
or broadcast operand costs nothing; where that is impossible the movement's result is materialised by a copy.

A node joins the group of a producer when its loops are the group's loops: the index at which it needs every
value that the group computes is the index at which the group computes it. Every refusal has a reason
(``GEMEL_LOG=fuse``).
"""
from __future__ import annotations

import functools
import math
from collections.abc import Collection

import numpy as np

from ..base import log
from ..ir.program import Equation, Program, Var
from ..passes import STEPS
from .absorb import absorb_others
from .calls import Refusal
from .group import (
    ELEMENTWISE_KINDS,
    EPILOGUE,
    MAX_NODES,
    MOVEMENT,
    REDUCTIONS,
    Group,
    in_order,
    is_elementwise,
)
from .index import ZERO, Affine, Domain, Index, Start, _delinearize, linear, pull, push, reach

#: ops whose nested programs are lowered into the same table
CONTROL = frozenset(("if", "while", "loop", *STEPS))
#: operands of anchors that are only copied: a constant there needs no memory of its own
FILLS = frozenset((("pad", 1), ("scatter", 0), ("dynamic_update", 0)))

SHORT = 8  # elements that are walked together only in vectors with most lanes empty
MAX_ARRAYS = 40         # read or written by one group
ROW_BYTES = 1 << 19     # a row that is read in several phases must stay in cache
WEIGHT_BYTES = 1 << 16  # of a convolution's weight, from which on its gradient is stored before other arrays are met
MAX_ROW = 1 << 16       # elements reduced by one task
SCALAR_CHAIN = 24       # nodes of a 0-d expression that is computed again wherever it is used


class Fusion:
    """State of one fusion run; ``groups()`` gives the result."""

    def __init__(self, program: Program, schedules: frozenset[str], enabled: bool = True,
                 apart: Collection[Equation] = ()) -> None:
        self.program = program
        self.schedules = schedules            # group kinds that run natively
        self.enabled = enabled
        self.apart = apart                    # anchors that take no epilogue
        self.made_by = program.producers()
        self.moving = {e for e in program.equations if e.op.name in MOVEMENT and not (
            e.inputs and e.inputs[0].type.dtype.is_complex)}
        self.inputs = set(program.inputs)
        self.home: dict[Var, Group] = {}      # computed value -> the group that computes it
        self.all: list[Group] = []
        self.above: dict[Group, int] = {}     # group -> bit set of the groups it depends on
        self.below: dict[Group, int] = {}     # group -> bit set of the groups that depend on it
        self.copies: dict[Var, Group] = {}    # movement result that had to be materialised -> its copy
        self.dead: set[Group] = set()
        self.pinned: set[Var] = set()         # values that must be in memory whoever reads them

    def host_reason(self, e: Equation) -> str:
        """Why NumPy must run ``e``; empty if native code does."""
        if e.op.name == "const":
            return ""
        if any(v.type.dtype.is_complex for v in (*e.inputs, *e.outputs)):
            return "complex numbers run in NumPy"
        if is_elementwise(e) or e.op.name in REDUCTIONS or e.op.name in MOVEMENT:
            return ""
        if e.op.name not in self.schedules:
            return f"{e.op.name} has no native schedule"
        return ""

    # --- sources of values
    def chain(self, v: Var) -> list[Equation]:
        """The movement ops between ``v`` and what it is a view of, nearest to ``v`` first."""
        found: list[Equation] = []
        while (e := self.made_by.get(v)) in self.moving and v not in self.copies:
            assert e is not None
            found.append(e)
            v = e.inputs[0]
        return found

    def path(self, v: Var) -> list[Equation]:
        """As ``chain``, also past movement results that have been copied to memory."""
        found: list[Equation] = []
        while (e := self.made_by.get(v)) in self.moving:
            assert e is not None
            found.append(e)
            v = e.inputs[0]
        return found

    def is_movement(self, e: Equation) -> bool:
        return e in self.moving

    def is_position(self, v: Var) -> bool:
        """Is ``v`` made of loop positions (an ``iota``)?"""
        e = self.made_by.get(self.peek_root(v))
        return e is not None and e.op.name == "iota"

    def is_const(self, v: Var) -> bool:
        e = self.made_by.get(v)
        return e is not None and e.op.name == "const"

    def pull_one(self, domain: Domain, e: Equation, index: Index) -> Index | None:
        starts: list[Affine] = []
        if e.op.name == "dynamic_slice":
            a = e.op.attrs
            starts = [self.start(s, d - reach(n, step)) for s, d, n, step in
                      zip(e.inputs[1:], e.inputs[0].shape, a.shape, a.step, strict=True)]
        return pull(domain, e.op, index, e.inputs[0].shape, e.output.shape, starts)

    def start(self, v: Var, limit: int) -> Affine:
        """Where a window starts: a constant, or read from memory when the plan runs; clamped to [0, limit]."""
        e = self.made_by.get(v)
        if limit == 0:
            return ZERO
        if e is not None and e.op.name == "const":
            return Affine(min(max(int(np.frombuffer(e.op.attrs.data, np.int64)[0]), 0), limit))
        return Affine(0, (), ((Start(v, limit), 1),))

    def need_starts(self, g: Group, index: Index) -> None:
        """The starts in ``index`` must be in memory before ``g`` runs."""
        for a in index:
            for (v, _), _ in a.dynamic:
                self.need_start(g, v)

    def need_start(self, g: Group, v: Var) -> None:
        if v in self.inputs or self.is_const(v):
            return
        if self.chain(v):
            self.materialize(v)
        elif self.inlined(v):
            self.materialize_inlined(v)
        self.store(v)
        self.add_source(g, self.copies.get(v) or self.home[v])

    def late_start(self, g: Group, index: Index) -> bool:
        """Is a start in ``index`` computed in ``g``, or after it?"""
        for a in index:
            for (v, _), _ in a.dynamic:
                home = self.behind(v)
                if home is g or (home is not None and self.depends(home, g)):
                    return True
        return False

    def source(self, domain: Domain, v: Var, index: Index) -> tuple[Var, Index]:
        """What is really read when ``v`` is needed at ``index``: a value and its index."""
        for e in self.chain(v):
            below = self.pull_one(domain, e, index)
            if below is None:
                self.materialize(v)
                return v, index
            v, index = e.inputs[0], below
        return v, index

    def inlined(self, v: Var) -> bool:
        """Is ``v`` computed again wherever it is used (a constant, an index, a 0-d expression of inputs)?

        Generic kernels read constants from memory: a mean over another number of elements is no other kernel.
        """
        e = self.made_by.get(v)
        if e is None:
            return False
        if self.is_movement(e):
            return False
        if e.op.name == "iota":
            return not v.type.dtype.is_complex
        if e.op.name == "const":
            return self.enabled and v.type.size == 1 and not v.type.dtype.is_complex
        return self.enabled and v.type.size == 1 and self._scalar_chain(v, SCALAR_CHAIN) >= 0

    def _scalar_chain(self, v: Var, budget: int) -> int:
        """Nodes left of ``budget`` after computing the 0-d value from inputs and constants; negative: too many."""
        e = self.made_by.get(v)
        if e is None:
            return budget
        if e.op.name == "const":
            return budget
        if self.is_movement(e):  # not out of something larger: where it lies there would be lost
            return self._scalar_chain(e.inputs[0], budget) if e.inputs[0].type.size == 1 else -1
        if e.op.row.kind not in ELEMENTWISE_KINDS or v.type.size != 1 or self.host_reason(e):
            return -1
        budget -= 1
        for x in e.inputs:
            if budget < 0 or x.type.size != 1:
                return -1
            budget = self._scalar_chain(x, budget)
        return budget

    @functools.cached_property
    def readers(self) -> dict[Var, set[Equation | None]]:
        """Value -> the equations that read it, themselves or through movement; None among them: it is an output."""
        found: dict[Var, set[Equation | None]] = {v: set() for e in self.program.equations for v in e.outputs}
        users = [(x, e) for e in self.program.equations if not self.is_movement(e) for x in e.inputs]
        users += [(start, None) for e in self.program.equations if self.is_movement(e) for start in e.inputs[1:]]
        for x, e in (*users, *((v, None) for v in self.program.outputs)):
            path = self.path(x)
            root = path[-1].inputs[0] if path else x
            if root in found:
                found[root].add(e)
        return found

    # --- dependencies between groups
    def bit(self, g: Group) -> int:
        return 1 << g.rank

    def depends(self, g: Group, on: Group) -> bool:
        """Does ``g`` need, directly or not, something that ``on`` stores?"""
        return bool(self.above[g] & self.bit(on))

    def add_source(self, g: Group, source: Group) -> None:
        """``g`` reads what ``source`` stores; keeps the transitive closure in both directions."""
        if source is g or source in g.sources:
            return
        g.sources.add(source)
        if not self.enabled:  # groups stay in program order: nobody asks
            return
        above, below = self.above[source] | self.bit(source), self.below[g] | self.bit(g)
        for h in self.members(above & ~self.above[g]):
            self.below[h] |= below
        for h in self.members(below):
            self.above[h] |= above

    def members(self, mask: int) -> list[Group]:
        """The groups of a bit set."""
        found = []
        while mask:
            low = mask & -mask
            found.append(self.all[low.bit_length() - 1])
            mask ^= low
        return found

    def new_group(self, kind: str, anchor: Equation | None = None) -> Group:
        g = Group(kind, Domain(), len(self.all), anchor=anchor)
        self.all.append(g)
        self.above[g] = self.below[g] = 0
        return g

    def store(self, v: Var, pinned: bool = True) -> None:
        """``v`` must be in memory; unless ``pinned`` only as long as another group reads it there."""
        if pinned:
            self.pinned.add(v)
        g = self.copies.get(v) or self.home.get(v)
        if g is not None and v not in g.stores:
            g.stores.append(v)

    def materialize(self, v: Var) -> None:
        """Write the result of a movement op to memory, by a copy of its own."""
        if v in self.copies or v in self.inputs:
            return
        e = self.made_by[v]
        g = self.new_group("rowwise")
        index = g.domain.axes(v.shape)
        below = self.pull_one(g.domain, e, index)
        if below is None:  # a reshape whose sizes do not divide: walk the operand; its order is the result's
            g.domain = Domain()
            below = g.domain.axes(e.inputs[0].shape)
            index = (*(ZERO,) * (len(v.shape) - 1), linear(below, e.inputs[0].shape))
        g.index[v], g.phase[v] = index, 0
        self.read(g, -1, 0, e.inputs[0], below)
        self.copies[v] = g
        g.stores.append(v)
        self.why(g, f"{e.op.name} is not a strided view here: it is copied")

    # --- reading
    def read(self, g: Group, node: int, position: int, v: Var, index: Index) -> None:
        """Node ``node`` of ``g`` reads ``v`` from memory at ``index``."""
        source, at = self.source(g.domain, v, index)
        g.reads[node, position] = (source, at)
        self.need_starts(g, at)
        if source in self.inputs:
            return
        if self.inlined(source):
            if not any(a.dynamic for a in at):
                self.inline(g, source, at)
                return
            self.materialize_inlined(source)
        self.store(source, pinned=False)
        home = self.copies.get(source) or self.home.get(source)
        assert home is not None, f"{self.made_by[source]} has no group yet"
        self.add_source(g, home)

    def why(self, g: Group, reason: str) -> None:
        if log.on("fuse"):
            log.say("fuse", f"group {g.rank} ({g.name}): {reason}")

    # --- joining
    def index_in(self, g: Group, e: Equation) -> Index | Refusal:
        """The index at which ``e``'s result (for reductions: its operand) would be computed in ``g``."""
        guess: Index | None = None
        shape = e.inputs[0].shape if e.op.name in REDUCTIONS else e.output.shape
        for x in e.inputs[1:] if e.op.name == "take" else e.inputs:
            path = self.chain(x)
            root = path[-1].inputs[0] if path else x
            if self.home.get(root) is not g or root in self.copies:
                continue
            index: Index | None = g.index[root]
            broadcast = False
            for step in reversed(path):
                if step.op.name == "expand":
                    index = self.push_expand(g, index, step.inputs[0].shape, step.output.shape)
                    broadcast = True
                else:
                    index = push(g.domain, step.op, index, step.inputs[0].shape, step.output.shape)
                if index is None:
                    break
            if index is None or len(index) != len(shape) or e.op.name == "take":
                continue
            if not broadcast:
                return index
            guess = guess or index
        return guess if guess is not None else Refusal("no operand leads to the same loops")

    def push_expand(self, g: Group, index: Index, before, after) -> Index | None:
        """Broadcast axes run over the group's variables that the operand does not depend on."""
        d = g.domain
        index = d.resolve_all(index)
        used = {v for a in index for v, _ in a.terms}
        free = [v for v in self.ordered(g) if v not in used]
        lead = len(after) - len(before)
        spread = [i for i, n in enumerate(after) if n != 1 and (i < lead or before[i - lead] == 1)]
        sizes = tuple(after[i] for i in spread)
        position, stride, total = ZERO, 1, math.prod(sizes)
        # the free variables must cover exactly the broadcast axes
        chosen: list[int] = []
        for v in reversed(free):
            if stride == total:
                break
            chosen.append(v)
            position = position.plus(Affine(0, ((v, stride),)))
            stride *= d.sizes[v]
        every = set(self.ordered(g))
        if stride != total or {*used, *chosen} not in (every, every - set(g.reduced_variables())):
            return None  # (or it would be computed again and again)
        fresh = _delinearize(d, position, sizes)
        if fresh is None:
            return None
        by_axis = dict(zip(spread, fresh, strict=True))
        return tuple([by_axis.get(i, index[i - lead] if i >= lead else ZERO) for i in range(len(after))])

    def ordered(self, g: Group) -> list[int]:
        """Unsplit variables: kept ones first, then reduced ones, each outermost first."""
        reduced = g.reduced_variables()
        roots = [v for v in range(len(g.domain.sizes)) if not self._is_part(g.domain, v)]
        every = [leaf for v in roots for leaf in g.domain.leaves(v)]
        return [v for v in every if v not in reduced] + reduced

    @staticmethod
    def _is_part(d: Domain, v: int) -> bool:
        return any(v in pair for pair in d.splits.values())

    def fits(self, g: Group, e: Equation, index: Index) -> Refusal | None:
        """Why ``e`` cannot be computed in ``g`` at ``index``, or None if it can."""
        d = g.domain
        phase = 0
        fresh: list[tuple[Var, Index]] = []
        operands = list(enumerate(e.inputs))
        for position, x in operands:
            at = self.operand_index(g, e, position, index)
            if at is None:
                continue
            source, pulled = self.peek(d, x, at)
            if self.late_start(g, pulled):
                return Refusal(f"{e.op.name} reads a window whose start this group computes")
            if self.inlined(source):
                continue
            if self.unplaced(source):
                behind = self.behind(source)
                if behind is not None and (behind is g or self.depends(behind, g)):
                    return Refusal(f"{e.op.name} needs a copy of a result of this group")
            home = self.copies.get(source) or self.home.get(source)
            if home is g:
                if source in self.copies or d.resolve_all(pulled) != d.resolve_all(g.index[source]):
                    return Refusal(f"{e.op.name} needs {source.type} at another index than it is computed")
                phase = max(phase, g.phase[source])
            elif home is not None and self.depends(home, g):
                return Refusal(f"{e.op.name} also needs a result of group {home.rank}, which comes after")
            else:
                fresh.append((source, pulled))
        if e.op.name == "take":
            home = self.behind(e.inputs[0])
            if home is g or (home is not None and self.depends(home, g)):
                return Refusal("take reads a table that this group computes")
        if len(g.nodes) >= MAX_NODES or self.full(g, {v for v, _ in fresh}):
            return Refusal("the group is full")
        if g.kind != "rowwise":
            if e.op.row.kind not in ELEMENTWISE_KINDS or any(map(self.is_position, e.inputs)):
                return Refusal(f"{e.op.name} cannot be an epilogue")
            if g.kind == "conv_weight_grad" and e.output.type.nbytes > WEIGHT_BYTES and any(
                    v.type.size == e.output.type.size for v, _ in fresh):
                return Refusal("the kernel would read and write another large array in short pieces, along the "
                               "weight's first axis")
            return None
        return self.fits_phases(g, e, index, phase)

    @staticmethod
    def full(g: Group, more: set[Var]) -> bool:
        """Would ``g`` touch too many arrays with ``more`` sources?"""
        if len(g.reads) + len(more) + len(g.stores) <= MAX_ARRAYS:
            return False
        return len({v for v, _ in g.reads.values()} | more) + len(g.stores) > MAX_ARRAYS

    def fits_phases(self, g: Group, e: Equation, index: Index, phase: int) -> Refusal | None:
        """Do the reductions of the group and ``e`` share their variables, and does a row stay in cache?"""
        d = g.domain
        used = {v for a in d.resolve_all(index) for v, _ in a.terms}
        if e.op.name in REDUCTIONS:
            reduced = self.reduction_variables(g, e, index)
            if reduced is None:
                return Refusal("the reduced axes are not loop variables of their own")
            if g.reduced is not None and reduced != tuple(g.reduced_variables()):
                return Refusal("the group reduces over other axes")
            if set(self.ordered(g)) - used:
                return Refusal("the reduction does not run over all of the group's loops")
            inner = d.sizes[reduced[-1]] if reduced else 1
            if 1 < inner < SHORT and math.prod(d.sizes[v] for v in reduced) >= SHORT * SHORT and (
                    inner < e.inputs[0].shape[max(e.op.attrs.axes if e.op.name.startswith("reduce")
                                                  else (e.op.attrs.axis,))]):
                return Refusal(f"the group walks the reduced axis in pieces of {inner}: too short for vectors")
            spread = phase > 0
            args = {x.op.name.startswith("arg") for x in (e, *g.nodes) if x.op.name in REDUCTIONS}
            if len(args) > 1 and math.prod(d.sizes[v] for v in reduced) > MAX_ROW:
                return Refusal("long reductions of different kinds are done apart")
        else:
            spread = phase > 0 and bool(used & set(g.reduced_variables()))
        if not spread:
            return None
        reduced = set(g.reduced_variables())
        extent = math.prod(d.sizes[v] for v in reduced)
        rows = {s for s, at in g.reads.values() if any(v in reduced for a in d.resolve_all(at) for v, _ in a.terms)}
        arrays = len(rows) + 1
        if extent > MAX_ROW or extent * arrays * 4 > ROW_BYTES:
            return Refusal(f"a row of {extent} elements does not stay in cache between phases")
        return None

    def reduction_variables(self, g: Group, e: Equation, index: Index) -> tuple[int, ...] | None:
        """The variables of the reduced axes, outermost first; None if a kept axis shares one."""
        d = g.domain
        index = d.resolve_all(index)
        axes = e.op.attrs.axes if e.op.name.startswith("reduce") else (e.op.attrs.axis,)
        kept = {v for i, a in enumerate(index) if i not in axes for v, _ in a.terms}
        found: list[int] = []
        for axis in sorted(axes):
            a = index[axis]
            size = e.inputs[0].shape[axis]
            if a.const or a.dynamic:
                return None
            stride = 1
            mine: list[int] = []
            for v, c in sorted(a.terms, key=lambda t: t[1]):
                if c != stride or v in kept:
                    return None
                mine.append(v)
                stride *= d.sizes[v]
            if stride != size:
                return None
            found += reversed(mine)
        return tuple(found)

    def operand_index(self, g: Group, e: Equation, position: int, index: Index) -> Index | None:
        """Index of an operand of ``e`` when ``e``'s result (operand, for reductions) is at ``index``."""
        name = e.op.name
        if name == "random_bits":
            return ()
        if name == "take":
            if position == 0:
                return None
            axis = e.op.attrs.axis
            return index[axis:axis + len(e.inputs[1].shape)]
        return index

    def peek(self, d: Domain, v: Var, index: Index) -> tuple[Var, Index]:
        """As ``source``, without materialising anything: stops where a pull fails."""
        for e in self.chain(v):
            below = self.pull_one(d, e, index)
            if below is None:
                return v, index
            v, index = e.inputs[0], below
        return v, index

    def unplaced(self, v: Var) -> bool:
        """Is ``v`` a movement result that would have to be copied first?"""
        e = self.made_by.get(v)
        return e is not None and v not in self.copies and self.is_movement(e)

    def behind(self, v: Var) -> Group | None:
        """The group that puts into memory what ``v`` is a view of: what a copy of ``v`` would read."""
        root = self.peek_root(v)
        return self.copies.get(root) or self.home.get(root)

    def bound(self, d: Domain, g: Group, v: Var, index: Index) -> tuple[Var, Index]:
        """What anchor group ``g`` was bound to for operand ``v``: later copies of movement results do not matter."""
        sources = {source for source, _ in g.reads.values()}
        for e in self.path(v):
            if v in sources:
                break
            below = self.pull_one(d, e, index)
            if below is None:
                break
            v, index = e.inputs[0], below
        return v, index

    def peek_root(self, v: Var) -> Var:
        path = self.chain(v)
        return path[-1].inputs[0] if path else v

    def place(self, g: Group, e: Equation, index: Index) -> None:
        """Put ``e`` into ``g``; ``index`` as given by ``index_in``."""
        d = g.domain
        node = len(g.nodes)
        g.nodes.append(e)
        phase = 0
        for position, x in enumerate(e.inputs):
            at = self.operand_index(g, e, position, index)
            if at is None:  # the table of a take: read at an index known only at run time
                self.read_table(g, node, x, index, e)
                continue
            phase = max(phase, self.bind(g, node, position, x, at))
        if e.op.name in REDUCTIONS:
            reduced = self.reduction_variables(g, e, index)
            assert reduced is not None
            if g.reduced is None:
                g.reduced = reduced
            axes = e.op.attrs.axes if e.op.name.startswith("reduce") else (e.op.attrs.axis,)
            g.operands[e.output] = index
            index = tuple([a for i, a in enumerate(d.resolve_all(index)) if i not in axes])
            phase += 1
        out = e.output
        g.index[out], g.phase[out] = index, phase
        self.home[out] = g

    def bind(self, g: Group, node: int, position: int, x: Var, at: Index) -> int:
        """Connect an operand: to a value of the group, to an inlined expression, or to memory; its phase."""
        source, index = self.source(g.domain, x, at)
        if self.inlined(source) and any(a.dynamic for a in index):
            self.materialize_inlined(source)  # a position that depends on a runtime start
        elif self.inlined(source):
            self.inline(g, source, index)
            g.reads.pop((node, position), None)
            return 0
        if self.home.get(source) is g and source not in self.copies:
            return g.phase[source]
        self.read(g, node, position, source, index)
        return 0

    def inline(self, g: Group, v: Var, index: Index) -> None:
        """Compute a constant, an index or a 0-d expression inside ``g`` (scheduled from ``inlined`` values)."""
        e = self.made_by[v]
        for x in e.inputs:
            root = self.peek_root(x)
            if self.inlined(root):
                self.inline(g, root, ())
            elif root not in self.inputs:
                self.store(root)
                home = self.copies.get(root) or self.home[root]
                self.add_source(g, home)

    def read_table(self, g: Group, node: int, x: Var, index: Index, e: Equation) -> None:
        """The first operand of ``take``: its axis comes from the index operand, the others from the loops."""
        axis, n = e.op.attrs.axis, len(e.inputs[1].shape)
        at = (*index[:axis], ZERO, *index[axis + n:])
        source, pulled = self.table_source(g.domain, x, at, axis)
        g.reads[node, 0] = (source, pulled)
        self.need_starts(g, pulled)
        if source not in self.inputs:
            self.store(source)
            self.add_source(g, self.copies.get(source) or self.home[source])

    def table_source(self, d: Domain, x: Var, at: Index, axis: int) -> tuple[Var, Index]:
        """Tables are read as they lie; a movement in between, or an inlined value, is materialised."""
        if self.chain(x):
            self.materialize(x)
        elif self.inlined(x):
            self.materialize_inlined(x)
        return x, at

    # --- the run
    def candidates(self, e: Equation) -> list[Group]:
        """Groups that compute an operand of ``e``; those that no other can absorb first, then larger and later ones."""
        found: dict[Group, None] = {}
        for x in e.inputs:
            root = self.peek_root(x)
            g = self.home.get(root)
            if g is not None and root not in self.copies and (
                    g.kind == "rowwise" or g.kind in EPILOGUE and g.anchor not in self.apart):
                found[g] = None
        return sorted(found, reverse=True,
                      key=lambda g: (g.kind != "rowwise" or g.reduced is not None, len(g.nodes), g.rank))

    def fuse(self, e: Equation) -> None:
        """Find a home for an elementwise op or a reduction."""
        if self.enabled and not self.host_reason(e):
            for g in self.candidates(e):
                index = self.index_in(g, e)
                if isinstance(index, Refusal):
                    self.why(g, f"does not take {e.op.name}: {index.reason}")
                    continue
                refusal = self.fits(g, e, index)
                if refusal is None:
                    self.place(g, e, index)
                    absorb_others(self, g, e)
                    return
                self.why(g, f"does not take {e.op.name}: {refusal.reason}")
        g = self.new_group("host" if self.host_reason(e) else "rowwise", e if self.host_reason(e) else None)
        if g.kind == "host":
            self.place_anchor(g, e)
            return
        shape = e.inputs[0].shape if e.op.name in REDUCTIONS else e.output.shape
        self.place(g, e, g.domain.axes(shape))

    def place_anchor(self, g: Group, e: Equation) -> None:
        """An op with a schedule of its own: operands come from memory, as strided views where that is possible."""
        g.nodes.append(e)
        for position, x in enumerate(e.inputs):
            if e.op.name == "dynamic_update" and position > 1 and g.kind != "host":
                self.need_start(g, x)
                continue
            source = self.anchor_source(g, x)
            g.reads[0, position] = (source, ())
            if source in self.inputs:
                continue
            if g.kind != "host" and (e.op.name, position) in FILLS and source.type.size == 1 and self.is_const(source):
                continue  # the schedule writes the constant itself
            if self.inlined(source):
                self.materialize_inlined(source)
            self.store(source)
            self.add_source(g, self.copies.get(source) or self.home[source])
        for n, out in enumerate(e.outputs):
            g.index[out] = g.domain.axes(out.shape) if n == 0 else ()
            g.phase[out] = 0
            self.home[out] = g

    def anchor_source(self, g: Group, x: Var) -> Var:
        """Anchors read a value through movement ops by themselves; the value must be in memory."""
        domain = Domain()
        if g.kind == "host" or (g.kind in CONTROL and not self.plain_view(domain, x)):
            if self.chain(x):
                self.materialize(x)
            return x
        source, at = self.source(domain, x, domain.axes(x.shape))
        self.need_starts(g, at)
        return source

    def plain_view(self, domain: Domain, x: Var) -> bool:
        """Do strides alone describe ``x``, of something in memory? (Jumps and starts read a single element itself.)"""
        if x.type.size == 1:
            return not self.chain(x)
        source, at = self.peek(domain, x, domain.axes(x.shape))
        return not (self.unplaced(source) or self.inlined(source) or domain.splits or any(a.dynamic for a in at))

    def materialize_inlined(self, v: Var) -> None:
        """A constant or 0-d expression that must be in memory after all."""
        if v in self.home or v in self.copies:
            return
        e = self.made_by[v]
        g = self.new_group("rowwise")
        index = g.domain.axes(v.shape)
        if e.op.row.kind != "leaf":
            self.place(g, e, index)
            return
        g.index[v], g.phase[v] = index, 0
        g.reads[-1, 0] = (v, index)
        self.copies[v] = g
        g.stores.append(v)

    def groups(self) -> list[Group]:
        """The groups, in an order in which each comes after what it reads."""
        for e in self.program.equations:
            if self.is_movement(e) or all(map(self.inlined, e.outputs)):
                continue
            if is_elementwise(e) or e.op.name in REDUCTIONS:
                self.fuse(e)
            else:
                g = self.new_group("host" if self.host_reason(e) else e.op.name, e)
                self.place_anchor(g, e)
        for v in self.program.outputs:
            self.output(v)
        found = [g for g in self.all if g not in self.dead]
        for g in found:
            self.follow_copies(g)
        self.drop_stores(found)
        return in_order(found, self.dead)

    def follow_copies(self, g: Group) -> None:
        """An anchor's schedule looks its operands up again: what has been copied meanwhile is read from the copy."""
        for x in g.anchor.inputs if g.anchor is not None else ():
            copy = self.copies.get(self.peek_root(x))
            if copy is not None:
                self.add_source(g, copy)

    def output(self, v: Var) -> None:
        """An output must lie in memory, as a plain strided view of something stored."""
        domain = Domain()
        source, at = self.source(domain, v, domain.axes(v.shape))
        if domain.splits or any(a.dynamic for a in at) or self.inlined(source):
            self.materialize(v) if self.chain(v) else self.materialize_inlined(v)
            source = v
        if source not in self.inputs:
            self.store(source)

    def drop_stores(self, groups: list[Group]) -> None:
        """What was stored for a reader that has moved into the same group since need not be in memory."""
        wanted = set(self.pinned)
        for g in groups:
            wanted.update(v for v, _ in g.reads.values() if self.home.get(v) is not g or v in self.copies)
        for g in groups:
            g.stores = [v for v in g.stores if v in wanted or v in self.copies] or g.stores
