"""A fused group: nodes that run in one nest of loops, over one domain.

``kind`` says which schedule runs it:

- ``rowwise``: elementwise nodes and reductions over the same variables (``reduced``), in any number of phases;
- an *anchor* (``dot``, ``conv``, ...): one node with a schedule of its own, plus elementwise nodes on its result
  (its epilogue).

Every node's results carry the index, in domain variables, at which the loops compute them.
"""
from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir.program import Equation, Var
from .index import Domain, Index

ELEMENTWISE_KINDS = frozenset(("unary", "binary", "select", "cast"))
MOVEMENT = frozenset(("reshape", "permute", "expand", "slice", "flip", "dynamic_slice"))
REDUCTIONS = frozenset(("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "argmax", "argmin"))
#: ops with a schedule of their own that accept elementwise consumers on their result
EPILOGUE = frozenset(("dot", "conv", "conv_transpose", "conv_weight_grad"))
MAX_NODES = 160  # of one group


def is_elementwise(e: Equation) -> bool:
    """Ops whose result at an index needs its operands at that index (or, for ``take``, at one read from memory)."""
    return e.op.row.kind in ELEMENTWISE_KINDS or e.op.name in ("check", "take", "random_bits")


@dataclass(eq=False)
class Group:
    """A group under construction, then as scheduled.

    Attributes:
        kind: see the module. domain: the loop variables.
        nodes: equations in order (movement ops are not among them).
        index: for each value computed in the group, its index in the domain.
        operands: for each reduction's result, the index of its operand.
        phase: for each value, the number of reductions on the longest path to it.
        reduced: variables that are reduced over, outermost first, or None.
        reads: for each (node, operand position) that comes from memory: source value and index.
        stores: values that must be written to memory.
        anchor: the node with a schedule of its own, if any.
        rank: position in execution order; a group may only read from groups of lower rank.
    """

    kind: str
    domain: Domain
    rank: int
    nodes: list[Equation] = field(default_factory=list)
    index: dict[Var, Index] = field(default_factory=dict)
    operands: dict[Var, Index] = field(default_factory=dict)
    phase: dict[Var, int] = field(default_factory=dict)
    reduced: tuple[int, ...] | None = None
    reads: dict[tuple[int, int], tuple[Var, Index]] = field(default_factory=dict)
    stores: list[Var] = field(default_factory=list)
    anchor: Equation | None = None
    sources: set[Group] = field(default_factory=set)  # groups whose stores this one reads
    label: str = ""

    __hash__ = object.__hash__

    @property
    def name(self) -> str:
        """Readable name: the ops in order."""
        if self.label:
            return self.label
        names = [e.op.name.removeprefix("reduce_") for e in self.nodes]
        text = "_".join(names[:6]) + (f"_and{len(names) - 6}" if len(names) > 6 else "")
        return text or "copy"

    def variables(self) -> list[int]:
        """All unsplit variables of the domain with more than one iteration."""
        d = self.domain
        return [v for v in range(len(d.sizes)) if v not in d.splits and d.sizes[v] != 1]

    def reduced_variables(self) -> list[int]:
        """Unsplit reduced variables, outermost first."""
        return [leaf for v in self.reduced or () for leaf in self.domain.leaves(v)]


def in_order(groups: Sequence[Group], dead: set[Group]) -> list[Group]:
    """``groups`` so that each comes after what it reads; among those that are ready, the one started first."""
    waiting = {g: len([s for s in g.sources if s not in dead]) for g in groups}
    readers: dict[Group, list[Group]] = {}
    for g in groups:
        for s in g.sources:
            readers.setdefault(s, []).append(g)
    heap = [(g.rank, g) for g in groups if waiting[g] == 0]
    heapq.heapify(heap)
    found = []
    while heap:
        _, g = heapq.heappop(heap)
        found.append(g)
        for r in readers.get(g, ()):
            waiting[r] -= 1
            if waiting[r] == 0:
                heapq.heappush(heap, (r.rank, r))
    assert len(found) == len(groups), "fusion made a circle"
    return found
