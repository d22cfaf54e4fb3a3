"""A group takes in another one that feeds it: what was computed before, and stored, is computed where it is needed."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.program import Equation, Var
from .group import ELEMENTWISE_KINDS, EPILOGUE, MAX_NODES, Group, is_elementwise
from .index import Index, count

if TYPE_CHECKING:
    from .fusion import Fusion


def absorb_others(f: Fusion, g: Group, e: Equation) -> None:
    """Merge other groups that feed ``e`` into ``g`` when all of their nodes fit its loops."""
    for position in range(len(e.inputs)):
        read = g.reads.get((len(g.nodes) - 1, position))  # ``e`` stays last: what is absorbed comes before
        if read is None:
            continue
        source, index = read
        other = f.home.get(source)
        if other is None or source in f.copies or other.kind != "rowwise":
            continue
        if g.kind == "rowwise" or g.kind in EPILOGUE and _fits_epilogue(f, g, other, source):
            _absorb(f, g, other, source, index)


def _fits_epilogue(f: Fusion, g: Group, other: Group, value: Var) -> bool:
    """Could ``other`` be part of an epilogue that alone needs its ``value``?"""
    return other.stores == [value] and f.readers[value] <= set(g.nodes) and all(
        e.op.row.kind in ELEMENTWISE_KINDS and not any(map(f.is_position, e.inputs)) for e in other.nodes)


def _absorb(f: Fusion, g: Group, other: Group, value: Var, index: Index) -> None:
    """Move the nodes of ``other`` into ``g``, where ``value`` is needed at ``index``; all or nothing.

    Only groups without reductions whose every node leads to ``value`` elementwise, and that no third group
    stands between.
    """
    if other is g or other.reduced is not None or f.depends(other, g):
        return
    for (node, position), (source, at) in g.reads.items():
        table = node >= 0 and position == 0 and g.nodes[node].op.name == "take"
        if (table and f.home.get(source) is other) or f.late_start(other, at):
            f.why(g, f"does not take group {other.rank}: its results must be in memory")
            return
    if f.below[other] & f.above[g]:
        f.why(g, f"does not take group {other.rank}: another group stands between")
        return
    places: dict[Var, Index] = {value: index}
    for e in reversed(other.nodes):
        at = places.get(e.output)
        if at is None or not is_elementwise(e) or (e.op.name == "random_bits" and any(a.dynamic for a in at)):
            return  # (a position in random bits is known when the kernel is made)
        for position, x in enumerate(e.inputs):
            where = f.operand_index(g, e, position, at)
            if where is None:
                continue
            source, pulled = f.peek(g.domain, x, where)
            if f.unplaced(source):
                behind = f.behind(source)
                if behind is not None and (behind in (g, other) or f.depends(behind, g)):
                    return
            if f.home.get(source) is other:
                known = places.get(source)
                if known is not None and g.domain.resolve_all(known) != g.domain.resolve_all(pulled):
                    return
                places[source] = pulled
    for source, at in g.reads.values():  # another node of the group may need the value somewhere else
        if f.home.get(source) is other and source not in f.copies and (
                source not in places or g.domain.resolve_all(places[source]) != g.domain.resolve_all(at)):
            f.why(g, f"does not take group {other.rank}: it is needed at several places")
            return
    if len(g.nodes) + len(other.nodes) > MAX_NODES or f.full(g, {v for v, _ in other.reads.values()}):
        return
    variables = set(f.ordered(g))
    rows = variables - set(g.reduced_variables())
    inside = {*g.nodes, *other.nodes}
    for v, at in places.items():
        used = {x for a in g.domain.resolve_all(at) for x, _ in a.terms}
        once = used in (variables, rows)  # a stored value must be computed exactly once per element or row
        if v in other.stores and not once:
            return
        if not (once and count(g.domain, list(used)) == v.type.size) and not f.readers[v] <= inside:
            f.why(g, f"does not take group {other.rank}: others need all of what is needed here in part")
            return
    _merge(f, g, other, places)


def _merge(f: Fusion, g: Group, other: Group, places: dict[Var, Index]) -> None:
    nodes, reads, stores = g.nodes, g.reads, g.stores
    # the absorbed nodes come first, but for an anchor: the group's own ones may use them
    head = 0 if g.anchor is None else 1
    g.nodes, g.reads = nodes[:head], {}
    for e in other.nodes:
        f.place(g, e, places[e.output])
    shift = len(other.nodes)
    g.nodes += nodes[head:]
    for (node, position), (source, index) in reads.items():
        if f.home.get(source) is g and source not in f.copies and node >= head:
            continue  # now computed here
        g.reads[node + shift if node >= head else node, position] = (source, index)
    g.stores = stores + [v for v in other.stores if v not in stores]
    g.sources.discard(other)
    for h in f.all:
        if other in h.sources:
            h.sources.discard(other)
            if h is not g:
                f.add_source(h, g)
    for source in other.sources:
        f.add_source(g, source)
    f.dead.add(other)
