"""The tape: autograd nodes, made as operations are recorded, and the engine that walks them backwards.

A node knows its op, the nodes that its operands came from (its *edges*) and what the op's rule declared to be
saved. ``backward`` runs the vjp rules of ``engine.autodiff`` on the recorder, so the backward pass is recorded
like everything else and compiled together with it; with ``create_graph`` the rules run on tensors instead, and
are themselves on the tape.
"""
from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from ..engine.autodiff.program import rule_of
from ..engine.autodiff.vjp import RULES, Rule, Saved
from ..engine.base.errors import UnsupportedError
from ..engine.ir.op import Op
from ..engine.ir.types import TensorType
from ..engine.runtime.pullback import idle_inputs, pullback_of
from ..engine.runtime.trace import BUILDER, Value, record
from .hooks import RemovableHandle


class Mode(threading.local):
    """Per-thread switches: ``grad`` (record on the tape), ``inference`` (tensors made here never need it)."""

    def __init__(self) -> None:
        self.grad = True
        self.inference = False


def _unset(*_: Any) -> Any:
    raise AssertionError("tensor.core has not been imported")


#: set by ``tensor.recording``: (value, edge) -> Tensor; by ``tensor.core``: (leaf, gradient): add to ``.grad``
make_tensor: Callable[[Any, Any], Any] = _unset
set_grad: Callable[[Any, Any], None] = _unset

mode = Mode()
_sequence = itertools.count(1).__next__


class Edge:
    """Where a gradient flows to: a :class:`Node`, or a leaf's :class:`Accumulate`."""

    __slots__ = ("seq", "hooks", "mark", "type")
    seq: int
    hooks: dict[int, Callable] | None
    mark: int                       # number of the latest search that has reached it
    type: TensorType                # type of the value whose gradient arrives

    def name(self) -> str:
        """torch's spelling: ``AddBackward0``."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    # --- the surface of ``torch.autograd.graph.Node``
    @property
    def next_functions(self) -> tuple:
        """(node, number of its result) for each operand; (None, 0) where no gradient is needed."""
        return ()

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` after the node ran; it may return other ``grad_inputs``."""
        return RemovableHandle.into(node_hooks.setdefault(self, NodeHooks()).after, hook)

    def register_prehook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before the node runs; it may return other ``grad_outputs``."""
        return RemovableHandle.into(node_hooks.setdefault(self, NodeHooks()).before, hook)


class NodeHooks:
    """Hooks on a whole node (those on one of its results are in ``Edge.hooks``)."""

    __slots__ = ("before", "after")

    def __init__(self) -> None:
        self.before: dict[int, Callable] = {}
        self.after: dict[int, Callable] = {}


class Accumulate(Edge):
    """Adds the gradient that reaches it to ``.grad`` of a leaf (which it does not keep alive: a tensor whose last
    handle is gone has nobody to read ``.grad``, and a reference back would make every leaf a cycle)."""

    __slots__ = ("_tensor", "post_hooks", "left", "__weakref__")

    def __init__(self, tensor: Any, type: TensorType) -> None:
        self._tensor, self.type = weakref.ref(tensor), type
        self.seq, self.hooks, self.mark = 0, None, 0
        self.post_hooks: dict[int, Callable] | None = None
        #: how the leaf has become another view of its storage in place (``t_``), and so left this place
        self.left: str | None = None

    def turned(self, type: TensorType, how: str) -> Accumulate:
        """The leaf's new place once it shows its elements in another order or shape; hooks go along."""
        new = Accumulate(self.tensor, type)
        new.hooks, new.post_hooks, self.left = self.hooks, self.post_hooks, how
        return new

    @property
    def tensor(self) -> Any:
        """The leaf, or None once it is gone."""
        return self._tensor()

    variable = tensor

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


class Node(Edge):
    """One recorded operation.

    Attributes:
        op: the op. edges: one per operand, None where no gradient is needed.
        types: operand types. inputs, outputs: saved values (None once freed).
    """

    __slots__ = ("op", "edges", "types", "inputs", "outputs", "freed", "primals", "__weakref__")
    op: Op
    primals: tuple[Sequence[Value], Any]    # operands and result(s); only of nodes that forward mode has seen
    edges: tuple[Edge | None, ...]
    types: tuple[TensorType, ...]
    inputs: Any
    outputs: Any
    freed: bool

    def name(self) -> str:
        return "".join(p.capitalize() for p in self.op.name.split("_")) + "Backward0"

    @property
    def n_results(self) -> int:
        """Number of results of the operation."""
        return len(self.op.results[self.types]) if self.op.row.n_outputs != 1 else 1

    @property
    def next_functions(self) -> tuple:
        return tuple((e.node, e.index) if e.__class__ is Select else (e, 0)  # type: ignore[union-attr]
                     for e in self.edges)

    def saved(self, rule: Any, space: Any) -> Saved:
        """What the op saved, in ``space``; raises torch's errors for what was freed or overwritten."""
        if self.freed:
            raise RuntimeError(FREED)
        op = self.op
        inputs: Sequence[Any] = ()
        outputs: Sequence[Any] = ()
        if not space.taped:
            if self.inputs is not None:
                inputs = self._unpacked_inputs(idle_inputs(rule, [e is not None for e in self.edges]))
            if self.outputs is not None:
                outputs = [unpacked(v, op) for v in self.outputs]
            return Saved(op, self.types, inputs, outputs)
        wrap = space.wrap
        if self.inputs is not None:
            edges = self.edges
            where = range(len(edges)) if rule.every else rule.inputs
            found = self._unpacked_inputs(idle_inputs(rule, [e is not None for e in edges]))
            inputs = [wrap(v, edges[i]) for v, i in zip(found, where)]
        if self.outputs is not None:
            several = self.op.row.n_outputs != 1
            places = range(len(self.outputs)) if rule.outputs is True else rule.outputs
            outputs = [wrap(unpacked(v, op), Select(self, i, v.type) if several else self)
                       for i, v in zip(places, self.outputs, strict=True)]
        return Saved(op, self.types, inputs, outputs)

    def _unpacked_inputs(self, idle: list[bool] | None) -> list[Value]:
        """The saved operands; one that serves only cotangents that nobody wants may have been overwritten."""
        op = self.op
        if idle is None:
            return [unpacked(v, op) for v in self.inputs]
        return [v if skip and v.__class__ is not Packed else unpacked(v, op)
                for v, skip in zip(self.inputs, idle, strict=True)]

    @property
    def attrs(self) -> Any:
        """Attributes of the op: a node that has saved nothing is itself what its rule looks at."""
        return self.op.attrs

    def backward(self, b: Any, g: Any, space: Any) -> Sequence[Any]:
        """The cotangents of the operands, one per edge."""
        op = self.op
        rule = RULES.get(op.name) or rule_of(op)
        if rule is None:
            raise UnsupportedError(f"the derivative of {op.name!r} is not implemented")
        if op.row.body is None and not (rule.inputs or rule.outputs or rule.every):
            _light[op] = rule.rule
        if space.taped or op.row.body is None:
            if self.inputs is None and self.outputs is None and not self.freed:
                return rule.rule(b, g, self)  # type: ignore[arg-type]
            return rule.rule(b, g, self.saved(rule, space))
        if self.freed:
            raise RuntimeError(FREED)
        needed = tuple([e is not None for e in self.edges])
        found = pullback_of(op, rule, self.types, needed, g, self.inputs or (), self.outputs or ())
        values = [x for x in g if x is not None] if g.__class__ is tuple else [g]
        if self.inputs:
            values += self._unpacked_inputs(found.idle)
        if self.outputs:
            values += [unpacked(v, op) for v in self.outputs]
        return found.record(record, values)

    def release(self) -> None:
        """Free what was saved; numbers that torch keeps beside the graph stay, so that it can be gone through again."""
        if (self.inputs or self.outputs) and self.op.name not in _NUMBERS:
            self.inputs = self.outputs = None
            self.freed = True


#: rules of the primitives that save nothing, as far as they have been run: their nodes themselves are what they look at
_light: dict[Op, Rule] = {}
#: operations that save nothing but numbers: where a window starts, ``alpha``, a weight
_NUMBERS = frozenset(("dynamic_slice", "add_scaled", "lerp_scalar"))

FREED = ("Trying to backward through the graph a second time (or directly access saved tensors after they have "
         "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
         "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if "
         "you need to access saved tensors after calling backward.")

#: hooks on nodes (``grad_fn.register_hook``); few have any, so they are kept beside
node_hooks: weakref.WeakKeyDictionary[Edge, NodeHooks] = weakref.WeakKeyDictionary()
#: called with each new node, its operands and its result(s): saved-tensor hooks, anomaly and forward mode
watchers: list[Callable[[Node, Sequence[Value], Any], None]] = []


class Start(Edge):
    """Where a transform (``gemel.func``) takes hold of a tensor: the identity, on top of the tensor's own place."""

    __slots__ = ("edges", "__weakref__")

    def __init__(self, below: Edge | None, type: TensorType) -> None:
        self.edges, self.type = (below,), type
        self.seq, self.hooks, self.mark = _sequence(), None, 0

    def name(self) -> str:
        return "Start"

    @property
    def next_functions(self) -> tuple:
        return tuple((e.node, e.index) if e.__class__ is Select else (e, 0)  # type: ignore[union-attr]
                     for e in self.edges)

    def backward(self, b: Any, g: Any, space: Any) -> Sequence[Any]:
        return (g,)

    def release(self) -> None:
        """Nothing is saved."""


class Select(Edge):
    """Result ``index`` of a node with several results."""

    __slots__ = ("node", "index", "__weakref__")

    def __init__(self, node: Node, index: int, type: TensorType) -> None:
        self.node, self.index, self.type = node, index, type
        self.seq, self.hooks, self.mark = _sequence(), None, 0

    def name(self) -> str:
        return self.node.name()

    @property
    def next_functions(self) -> tuple:
        return self.node.next_functions


def make_node(op: Op, operands: Sequence[Value], edges: Sequence[Edge | None], out: Any) -> Edge | list[Select]:
    """The node of a recorded op; for several results, one :class:`Select` each."""
    rule = RULES.get(op.name) or rule_of(op)
    n = Node()
    n.op, n.edges, n.types = op, tuple(edges), tuple([v.type for v in operands])
    n.inputs = n.outputs = n.hooks = None
    n.mark, n.freed = 0, False
    several = out.__class__ is tuple
    if rule is not None:
        if rule.every:
            n.inputs = list(operands)
        elif rule.inputs:
            n.inputs = [operands[i] for i in rule.inputs if i < len(operands)]
        if rule.outputs:
            chosen = rule.outputs
            n.outputs = [out] if not several else list(out) if chosen is True else [out[i] for i in chosen]
    n.seq = _sequence()
    n.type = out[0].type if several else out.type
    if watchers:
        for watch in watchers:
            watch(n, operands, out)
    return [Select(n, i, v.type) for i, v in enumerate(out)] if several else n


class Packed:
    """A saved value that a pack hook has put elsewhere; ``unpack()`` gives its tensor back."""

    __slots__ = ("unpack", "type")

    def __init__(self, unpack: Callable[[], Any], type: TensorType) -> None:
        self.unpack, self.type = unpack, type


def unpacked(v: Any, op: Op) -> Value:
    """The saved value; raises torch's error if the tensor it was read from has been written since."""
    if v.__class__ is Packed:
        return v.unpack()._read()
    cell = v.cell
    if cell is not None and cell.tracked != v.version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{v.type.dtype!r} {list(v.type.shape)}], saved by {op.name!r}, is at version {cell.tracked}; "
            f"expected version {v.version} instead. Hint: write a clone (x.clone()), or use the out-of-place form.")
    return v


# --- the engine -----------------------------------------------------------------------------------

_passes = itertools.count(1).__next__
_engine_lock = threading.RLock()


def _after_fork() -> None:
    """In a forked child: a pass that another thread was in does not exist here."""
    global _engine_lock
    _engine_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

#: called after each node has run with (node, its cotangents, space): anomaly mode
checks: list[Callable[[Node, Sequence[Any], Any], None]] = []


def reachable(starts: Sequence[Edge], mark: int) -> list[Edge]:
    """All edges that gradients can reach, in the order of their processing (latest first)."""
    found: list[Edge] = []
    stack = list(starts)
    while stack:
        e = stack.pop()
        if e.mark == mark:
            continue
        e.mark = mark
        found.append(e)
        if e.__class__ is Select:
            stack.append(e.node)  # type: ignore[attr-defined]
        elif e.__class__ is not Accumulate:
            stack += [x for x in e.edges if x is not None]  # type: ignore[attr-defined]
    found.sort(key=attrgetter("seq"), reverse=True)
    return found


def leading_to(order: list[Edge], wanted: Sequence[Edge]) -> set[Edge]:
    """Those of ``order`` from which a wanted edge can be reached."""
    useful = set(wanted)
    results = {(e.node, e.index) for e in wanted if e.__class__ is Select}  # type: ignore[attr-defined]
    for e in reversed(order):
        kind = e.__class__
        if kind is Select:
            if e.node in useful or (e.node, e.index) in results:  # type: ignore[attr-defined]
                useful.add(e)
        elif kind is not Accumulate and any(x in useful for x in e.edges):  # type: ignore[attr-defined]
            useful.add(e)
    return useful


class ValueSpace:
    """Gradients as plain values: an ordinary backward pass, not itself on the tape."""

    builder: Any = BUILDER
    taped = False

    @staticmethod
    def wrap(v: Value, edge: Edge | None) -> Value:
        return v

    @staticmethod
    def tensor(g: Any) -> Any:
        """The gradient as a tensor, for hooks and ``.grad``."""
        return make_tensor(g, None)

    @staticmethod
    def from_tensor(t: Any) -> Value:
        return t._read()


def run_backward(starts: Sequence[tuple[Edge, Any]], space: Any, keep: bool,
                 wanted: Sequence[Edge] | None = None, accumulate: bool = True,
                 stop: bool = False) -> dict[Edge, Any]:
    """Walk the tape from ``starts``.

    Args:
        starts: (edge, cotangent in ``space``). space: :class:`ValueSpace` or the tensors' space.
        keep: retain what nodes saved. wanted: edges whose cotangents to return; only nodes that lead to them run.
        accumulate: add to leaves' ``.grad``. stop: go no further than the wanted edges.
    """
    b = space.builder
    add = b.add
    captured: dict[Edge, Any] = {}
    pending: dict[Edge, Any] = {}           # cotangents gathered so far; of a node with several results: their list
    ready: list[tuple[int, Edge]] = []      # heap: what was recorded last is run first, so all its readers have run
    leaves: list[Accumulate] = []
    wanted_set = set(wanted) if wanted is not None else ()
    #: a result of several has an edge per reader: the user's, and one for each time that the operation saved it
    same = {(e.node, e.index): e for e in wanted_set if e.__class__ is Select}  # type: ignore[attr-defined]
    useful = None if wanted is None else leading_to(reachable([e for e, _ in starts], _passes()), wanted)

    def give(e: Any, g: Any) -> None:
        if useful is None or e in useful:
            pending[e] = g
            if e.__class__ is Accumulate:
                leaves.append(e)
            else:
                heappush(ready, (-e.seq, e))

    hooked = len(node_hooks) > 0
    grad_before = mode.grad
    with _engine_lock:
        mode.grad = space.taped
        try:
            for e, g in starts:
                if e in pending:
                    pending[e] = add(pending[e], g)
                else:
                    give(e, g)
            while ready:
                e: Any = heappop(ready)[1]
                g = pending.pop(e)
                if g.__class__ is list:
                    g = tuple(g)
                elif e.hooks:
                    g = run_hooks(e.hooks, g, space)
                if wanted_set:
                    asked = same.get((e.node, e.index)) if e.__class__ is Select else e if e in wanted_set else None
                    if asked is not None:
                        captured[asked] = add(captured[asked], g) if asked in captured else g
                        if stop:
                            continue
                if e.__class__ is Select:
                    node = e.node
                    results = pending.get(node)
                    if results is None:
                        if useful is not None and node not in useful:
                            continue
                        results = pending[node] = [None] * node.n_results
                        heappush(ready, (-node.seq, node))
                    before = results[e.index]
                    results[e.index] = g if before is None else add(before, g)
                    continue
                if useful is not None and e in wanted_set and not any(to in useful for to in e.edges):
                    continue  # nobody asks for what lies beyond
                light = None
                if hooked and e in node_hooks:
                    grads = run_hooked(e, b, g, space)
                elif e.__class__ is Node and (light := _light.get(e.op)) is not None:
                    grads = light(b, g, e)
                else:
                    grads = e.backward(b, g, space)
                if checks:
                    for check in checks:
                        check(e, grads, space)
                if not keep and light is None:
                    e.release()
                for to, d in zip(e.edges, grads):  # as many; strict=True takes as long as all else here
                    if to is None or d is None:
                        continue
                    before = pending.get(to)
                    if before is not None:
                        pending[to] = add(before, d)
                    elif useful is None and to.__class__ is not Accumulate:  # as ``give`` does
                        pending[to] = d
                        heappush(ready, (-to.seq, to))
                    else:
                        give(to, d)
            for leaf in leaves:
                g = pending.pop(leaf)
                if leaf.left is not None:
                    raise RuntimeError(
                        f"invalid gradient at a leaf: it is the gradient of what the leaf was before {leaf.left}() "
                        f"made another view of it in place. Gradient: {list(g.type.shape)}. Hint: call {leaf.left}() "
                        f"before the leaf is used, or use {leaf.left.removesuffix('_')}().")
                if leaf.hooks:
                    g = run_hooks(leaf.hooks, g, space)
                if leaf in wanted_set:
                    captured[leaf] = g
                if accumulate:
                    accumulate_grad(leaf, g, space)
        finally:
            mode.grad = grad_before
    return captured


def run_hooks(hooks: dict[int, Callable], g: Any, space: Any) -> Any:
    """Pass the gradient through the hooks; one that returns a tensor replaces it."""
    for hook in list(hooks.values()):
        replaced = hook(space.tensor(g))
        if replaced is not None:
            g = _replacement(replaced, g, space)
    return g


def _replacement(new: Any, old: Any, space: Any) -> Any:
    if not hasattr(new, "_read"):
        raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
    t, was = new._read().type, old.type
    if t.shape != was.shape:
        raise RuntimeError(f"hook has changed the size of value: was {list(was.shape)}, got {list(t.shape)}")
    if t.dtype is not was.dtype:
        raise RuntimeError(f"hook has changed the type of value (was {was.dtype!r} got {t.dtype!r})")
    return space.from_tensor(new)


def run_hooked(e: Node, b: Any, g: Any, space: Any) -> Sequence[Any]:
    """Run a node that has hooks of its own."""
    hooks = node_hooks[e]

    def tensors(values: Sequence[Any]) -> tuple:
        return tuple(space.tensor(v) if v is not None else None for v in values)

    def values(tensors: Any) -> tuple:
        found = tensors if isinstance(tensors, (tuple, list)) else (tensors,)
        return tuple(space.from_tensor(t) if t is not None else None for t in found)

    several = g.__class__ is tuple
    for hook in list(hooks.before.values()):
        replaced = hook(tensors(g if several else (g,)))
        if replaced is not None:
            g = values(replaced) if several else values(replaced)[0]
    grads = tuple(e.backward(b, g, space))
    for hook in list(hooks.after.values()):
        replaced = hook(tensors(grads), tensors(g if several else (g,)))
        if replaced is not None:
            grads = values(replaced)
    return grads


def accumulate_grad(e: Accumulate, g: Any, space: Any) -> None:
    """``leaf.grad += g``."""
    t = e.tensor
    if t is None:
        return
    if t._edge is not e:
        t._read()
        if t._edge is None:  # its ``requires_grad`` was switched off meanwhile
            return
        if t._edge.__class__ is not Accumulate:
            raise RuntimeError("leaf variable has been moved into the graph interior")
    set_grad(t, space.tensor(g))
    if e.post_hooks:
        for hook in list(e.post_hooks.values()):
            hook(t)
