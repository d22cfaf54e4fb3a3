"""Tensors in and out of ``vmap``: one example of a batch, with its place on the tape.

Inside, operations and their nodes are those of one example, on values that stand for the whole batch. On the way out
the nodes made inside are closed into one :class:`BatchNode`, whose backward runs them on batched cotangents; the
gradients of tensors that the function closes over are summed over the examples.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.ir.types import TensorType
from ..engine.runtime import batched
from ..engine.runtime.batched import Level
from ..engine.runtime.trace import BUILDER
from .recording import TAPE, Taped, wrap
from .tape import FREED, Accumulate, Edge, Node, Select, Start, _sequence, run_backward


class Entry(Start):
    """Where a batched tensor enters: below it the whole batch, above it one example."""

    __slots__ = ("level",)

    def __init__(self, below: Edge, type: TensorType, level: Level) -> None:
        super().__init__(below, type)
        self.level = level


class Scope(Level):
    """One application of ``vmap`` to tensors. ``begin``: the number of the first node made inside."""

    __slots__ = ("begin",)

    def __init__(self, size: int, randomness: str = "error") -> None:
        super().__init__(size, randomness)
        self.begin = _sequence()


def _front(x: Taped, dim: int) -> Taped:
    return TAPE.permute(x, (dim, *(i for i in range(x.type.ndim) if i != dim)))


def enter(scope: Scope, t: Any, dim: int) -> Any:
    """One example of a tensor that is batched along ``dim`` (not negative)."""
    x = _enter(scope, _front(Taped(t._read(), t._edge), dim))
    return wrap(x.value, x.edge)


def _enter(scope: Scope, x: Taped) -> Taped:
    value = batched.enter(scope, x.value)
    return Taped(value, None if x.edge is None else Entry(x.edge, value.type, scope))


def leave(scope: Scope, tensors: Sequence[Any], dims: Sequence[int]) -> list[Any]:
    """All examples of each tensor, the batch axis at its ``dims`` (not negative)."""
    found = _leave(scope, [Taped(t._read(), t._edge) for t in tensors])
    return [wrap(x.value, x.edge) for x in
            (TAPE.permute(x, (*range(1, dim + 1), 0, *range(dim + 1, x.type.ndim)))
             for x, dim in zip(found, dims, strict=True))]


def _leave(scope: Scope, xs: Sequence[Taped]) -> list[Taped]:
    """All examples, batch axis in front."""
    found: list[Taped] = []
    inside: list[tuple[int, Edge]] = []
    for i, x in enumerate(xs):
        if x.edge is not None and _is_inside(scope, x.edge):
            inside.append((i, x.edge))
            found.append(Taped(batched.leave(scope, x.value), None))
        else:
            found.append(TAPE.expand(x, (scope.size, *x.type.shape)) if x.edge is not None
                         else Taped(batched.leave(scope, x.value), None))
    if inside:
        node = BatchNode(scope, [e for _, e in inside], [found[i].type for i, _ in inside])
        for k, (i, _) in enumerate(inside):
            found[i].edge = Select(node, k, found[i].type)
    return found


def _is_inside(scope: Scope, e: Edge) -> bool:
    return e.__class__ is not Accumulate and e.seq >= scope.begin


def _frontier(scope: Scope, edges: Sequence[Edge]) -> list[Edge]:
    """The entries of the scope, and the edges of what its function closes over."""
    seen: set[Edge] = set()
    stack: list[Any] = list(edges)
    found: list[Edge] = []
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if not _is_inside(scope, e) or e.__class__ is Entry and e.level is scope:
            found.append(e)
        else:
            stack += [e.node] if e.__class__ is Select else [x for x in e.edges if x is not None]
    return found


class _Named:
    """What a node is called."""

    name = "vmap"


class BatchNode(Node):
    """The operations inside one ``vmap``, from outside: results and operands are whole batches."""

    __slots__ = ("scope", "inner", "frontier", "result_types")

    def __init__(self, scope: Scope, inner: list[Edge], types: list[TensorType]) -> None:
        self.scope, self.inner, self.result_types = scope, inner, types
        self.frontier = _frontier(scope, inner)
        self.op = _Named()  # type: ignore[assignment]
        self.edges = tuple([e.edges[0] if e.__class__ is Entry and e.level is scope else e  # type: ignore
                            for e in self.frontier])
        self.types = tuple([e.type for e in self.frontier])
        self.inputs = self.outputs = self.hooks = None
        self.mark, self.freed, self.type = 0, False, types[0]
        self.seq = _sequence()

    def name(self) -> str:
        return "VmapBackward"

    @property
    def n_results(self) -> int:
        return len(self.inner)

    def backward(self, b: Any, g: Any, space: Any) -> Sequence[Any]:
        if self.freed:
            raise RuntimeError(FREED)
        scope = self.scope
        given = g if g.__class__ is tuple else (g,)
        with scope.open():
            starts = [(e, _enter(scope, ct) if space.taped else batched.enter(scope, ct))
                      for e, ct in zip(self.inner, given, strict=True) if ct is not None]
            found = run_backward(starts, space, True, self.frontier, accumulate=False, stop=True)
            grads: list[Any] = [found.get(e) for e in self.frontier]
            here = [i for i, d in enumerate(grads) if d is not None]
            whole = (_leave(scope, [grads[i] for i in here]) if space.taped
                     else [batched.leave(scope, grads[i], BUILDER) for i in here])
        for i, d in zip(here, whole, strict=True):
            e = self.frontier[i]
            grads[i] = d if e.__class__ is Entry and e.level is scope else b.reduce_sum(d, (0,))  # type: ignore
        return grads

    def release(self) -> None:
        if self.inner:
            self.inner, self.freed = [], True
