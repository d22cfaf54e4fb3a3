"""Forward mode: tangents are pushed along the tape, from where a transform took hold to the results.

While :class:`Recording` is open, every node also keeps its operands and results. ``push`` then goes through the nodes
in the order of their recording and applies the rules of ``engine.autodiff.jvp``; since these are written with the
taped builder, a derivative of the derivative is on the tape as well.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.autodiff.forward import tangents_of
from .recording import TAPE, Taped, TapedSpace
from .tape import Accumulate, Edge, Node, Select, Start, mode, run_backward, watchers


def _keep(n: Node, operands: Any, out: Any) -> None:
    n.primals = (operands, out)


class Recording:
    """In this block nodes keep what a forward derivative needs."""

    def __enter__(self) -> None:
        watchers.append(_keep)
        self.grad, mode.grad = mode.grad, True

    def __exit__(self, *exception: Any) -> None:
        watchers.remove(_keep)
        mode.grad = self.grad


def _between(outputs: Sequence[Edge], given: dict[Edge, Any]) -> list[Edge]:
    """What lies between the given edges and the outputs, in the order of recording."""
    seen: set[Edge] = set()
    stack = [e for e in outputs if e not in given]
    found: list[Edge] = []
    while stack:
        e: Any = stack.pop()
        if e in seen or e.__class__ is Accumulate:
            continue
        seen.add(e)
        found.append(e)
        before = (e.node,) if e.__class__ is Select else e.edges
        stack += [x for x in before if x is not None and x not in given]
    found.sort(key=lambda e: (e.node.seq, 1) if e.__class__ is Select else (e.seq, 0))  # type: ignore[attr-defined]
    return found


def reaches_before(begin: int, edges: Sequence[Edge | None]) -> bool:
    """Does the tape lead from the edges to a leaf, or to anything older than node number ``begin``?"""
    seen: set[Edge] = set()
    stack: list[Any] = [e for e in edges if e is not None]
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.__class__ is Accumulate or e.seq < begin:
            return True
        stack += [e.node] if e.__class__ is Select else [x for x in e.edges if x is not None]
    return False


def push(outputs: Sequence[Edge | None], given: dict[Edge, Taped]) -> list[Taped | None]:
    """The tangents of outputs from those at the given edges; None where they do not depend on them."""
    known: dict[Any, Any] = dict(given)
    for e in _between([e for e in outputs if e is not None], given):
        if e.__class__ is Select:
            results = known.get(e.node)  # type: ignore[attr-defined]
            known[e] = results[e.index] if results.__class__ is list else results  # type: ignore[attr-defined]
        elif e.__class__ is Start:
            below = e.edges[0]  # type: ignore[attr-defined]
            known[e] = known.get(below) if below is not None else None
        else:
            known[e] = _through(e, [known.get(x) if x is not None else None for x in e.edges])  # type: ignore
    return [known.get(e) if e is not None else None for e in outputs]


def _through(n: Any, tangents: list[Any]) -> Any:
    """The tangent of a node's result, or the list of those of its results; None: all zero."""
    if all(t is None for t in tangents):
        return None
    if not hasattr(n, "primals") or n.__class__ is not Node:
        return _by_transpose(n, tangents)
    operands, out = n.primals
    several = out.__class__ is tuple
    inputs = [Taped(v, e) for v, e in zip(operands, n.edges, strict=True)]
    outputs = [Taped(v, Select(n, i, v.type)) for i, v in enumerate(out)] if several else [Taped(out, n)]
    found = tangents_of(TAPE, n.op, inputs, outputs, tangents)
    return list(found) if several else found[0]


def _by_transpose(n: Any, tangents: list[Any]) -> Any:
    """The derivative of a node that has a backward only: backward is linear, and is differentiated once more."""
    types = n.result_types
    cotangents: list[Any] = [None if t is None else _started(TAPE.zeros(t)) for t in types]
    single = len(types) == 1
    with _grad_on():
        grads = n.backward(TAPE, cotangents[0] if single else tuple(cotangents), TapedSpace)
        starts = [(g.edge, t) for g, t in zip(grads, tangents, strict=True)
                  if g is not None and t is not None and g.edge is not None]
        wanted = [c.edge for c in cotangents if c is not None]
        found = run_backward(starts, TapedSpace, True, wanted, accumulate=False, stop=True) if starts else {}
    results = [None if c is None else found.get(c.edge) for c in cotangents]
    return results[0] if single else results


class _grad_on:
    """Gradients on, for this block."""

    def __enter__(self) -> None:
        self.before, mode.grad = mode.grad, True

    def __exit__(self, *exception: Any) -> None:
        mode.grad = self.before


def _started(x: Taped) -> Taped:
    return Taped(x.value, Start(x.edge, x.type))
