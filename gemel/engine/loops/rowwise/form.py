"""The structure of a rowwise kernel: everything that decides its code, and nothing that is a size.

A kernel walks *rows*: the outer variables, flattened into tasks. Inside a row it runs over the *vector variable*
in explicit vectors, and over the remaining reduced variables in loops. Three modes:

- ``point``: no reductions; the vector variable is a kept one.
- ``row``: the vector variable is (the innermost) reduced one; results of reductions are scalars of the row.
- ``col``: the vector variable is kept, all reduced variables are loops; results of reductions are vectors.

Arrays are addressed by *stride classes*: arrays with equal strides over all variables share their address
arithmetic. Extents and strides are i64 parameters, in the order of :func:`param_names`.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...base.dtypes import DType
from ...ir.op import Op

OUTER, VECTOR, REDUCED = 1, 2, 4  # what a value varies with

# how the elements of an array lie along the vector variable
FIXED = 0        # one for all lanes
UNIT = 1         # neighbours
ANY = 2          # a stride that is a parameter
EVERY_OTHER = 3  # every second element
REPEATED = 4     # neighbours, each for ``pair`` lanes
PAIRED = 5       # a stride from pair to pair and one inside it, both parameters

#: ops in whose favour a value is kept for a later phase instead of being computed again
EXPENSIVE = frozenset((
    "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "sigmoid", "erf", "erfinv", "lgamma", "digamma", "pow", "atan2", "div", "sqrt", "rsqrt", "fmod", "remainder",
    "floor_divide", "random_bits", "take"))


@dataclass(frozen=True)
class Leaf:
    """A value that comes from outside the kernel's arithmetic.

    Args:
        kind: ``load`` (an array), ``table`` (the array of a take), ``index`` (a position computed from the loop
            variables), ``const``.
        dtype: its dtype. cls: stride class. inner: how it lies along the vector variable (``FIXED`` ...).
        varies: OUTER | VECTOR | REDUCED. op: the const op.
    """

    kind: str
    dtype: DType
    cls: int = -1
    inner: int = 0
    varies: int = 0
    op: Op | None = None


@dataclass(frozen=True)
class Node:
    """One operation on values; value ``i`` is leaf ``i`` or, from ``len(leaves)`` on, a node's result."""

    op: Op
    operands: tuple[int, ...]
    dtype: DType
    varies: int   # OUTER | VECTOR | REDUCED
    phase: int


@dataclass(frozen=True)
class Store:
    """A value written to memory; ``varies``: which variables its address depends on."""

    value: int
    dtype: DType
    cls: int
    inner: int
    varies: int


@dataclass(frozen=True)
class Form:
    """A rowwise kernel.

    Args:
        mode: ``point``, ``row`` or ``col``. lanes: of a vector.
        classes: per stride class, whether it varies with (each outer variable.., each reduced loop variable..).
        outer, loops: number of outer variables and of reduced loop variables.
        chunked: the vector variable is cut into chunks, which are tasks (``point``).
        blocked: a task reduces one block of 256 and stores its partial result (``row``, ``col``).
        single: at most one block of 256 is reduced. stream: stores bypass the cache.
        ragged: runs along the vector variable end inside vectors (``row``).
        pair: the vector variable is two, walked as one: the inner one has this many elements (0: it is one).
    """

    mode: str
    lanes: int
    leaves: tuple[Leaf, ...]
    nodes: tuple[Node, ...]
    stores: tuple[Store, ...]
    n_classes: int
    outer: int
    loops: int
    chunked: bool = False
    blocked: bool = False
    single: bool = False
    ragged: bool = False
    stream: bool = False
    pair: int = 0

    @cached_property
    def n_leaves(self) -> int:
        return len(self.leaves)

    def dtype(self, value: int) -> DType:
        return self.leaves[value].dtype if value < self.n_leaves else self.nodes[value - self.n_leaves].dtype

    def node(self, value: int) -> Node | None:
        return self.nodes[value - self.n_leaves] if value >= self.n_leaves else None

    def phase(self, value: int) -> int:
        node = self.node(value)
        return node.phase if node else 0

    def is_reduction(self, value: int) -> bool:
        node = self.node(value)
        return node is not None and (node.op.row.kind == "reduce")

    @cached_property
    def varying(self) -> dict[int, int]:
        """Per value: what it varies with (leaves by the classes they use)."""
        found = {}
        for i, leaf in enumerate(self.leaves):
            found[i] = leaf.varies
        for i, node in enumerate(self.nodes):
            found[self.n_leaves + i] = node.varies
        return found

    def is_element(self, value: int) -> bool:
        """Is it computed for every element (``point``: inside the vector loop; else: inside the reduced loops)?"""
        return bool(self.varying[value] & (VECTOR if self.mode == "point" else
                                           VECTOR | REDUCED if self.mode == "row" else REDUCED))

    def is_element_store(self, s: Store) -> bool:
        """Is it written inside the loops (else once per row, or per column of a tile)?"""
        return self.mode == "point" or bool(s.varies & (VECTOR | REDUCED if self.mode == "row" else REDUCED))

    # --- what each phase does
    def reductions(self, phase: int) -> list[int]:
        """Reduction nodes that consume elements in this phase."""
        return [self.n_leaves + i for i, n in enumerate(self.nodes)
                if n.op.row.kind == "reduce" and n.phase == phase + 1]

    def element_stores(self, phase: int) -> list[int]:
        """Stores inside the loops of this phase."""
        return [i for i, s in enumerate(self.stores) if self.is_element_store(s) and self.phase(s.value) == phase]

    @cached_property
    def kept(self) -> dict[int, int]:
        """Costly elements that a later phase needs again, each with its slot in scratch memory.

        What no earlier phase computes is not there to be kept.
        """
        found: dict[int, int] = {}
        if self.mode == "row" and not self.ragged:
            for phase in range(1, self.phases):
                for v in sorted(self._needed(phase, found)):
                    node = self.node(v)
                    if node and node.phase < phase and node.op.name in EXPENSIVE and v not in found and (
                            v in self._needed(node.phase, found)):
                        found[v] = len(found)
        return found

    def needed(self, phase: int) -> set[int]:
        """Element values that a phase computes or loads, not looking behind kept ones."""
        return self._needed(phase, self.kept)

    def _needed(self, phase: int, kept: dict[int, int]) -> set[int]:
        stack = [self.nodes[v - self.n_leaves].operands[0] for v in self.reductions(phase)]
        stack += [self.stores[i].value for i in self.element_stores(phase)]
        found: set[int] = set()
        while stack:
            v = stack.pop()
            if v in found or not self.is_element(v):
                continue
            found.add(v)
            node = self.node(v)
            if node and node.op.row.kind != "reduce" and not (v in kept and node.phase < phase):
                stack += node.operands
        return found

    def outside(self, phase: int) -> list[int]:
        """Values computed once per row (or column) that the elements of this phase use."""
        found: dict[int, None] = {}
        for v in sorted(self.needed(phase)):
            node = self.node(v)
            if node and not (v in self.kept and node.phase < phase):
                found.update((o, None) for o in node.operands if not self.is_element(o))
        used = [self.stores[i].value for i in self.element_stores(phase)]
        used += [self.nodes[v - self.n_leaves].operands[0] for v in self.reductions(phase)]
        found.update((v, None) for v in used if not self.is_element(v))
        return [v for v in found if v >= self.n_leaves or self.leaves[v].kind != "table"]

    @cached_property
    def phases(self) -> int:
        """Number of passes over a row."""
        reductions = [n.phase for i, n in enumerate(self.nodes) if self.is_reduction(self.n_leaves + i)]
        last = [self.phase(s.value) + 1 for s in self.stores if self.is_element_store(s)]
        return max([*reductions, *last, 0])


def param_names(form: Form) -> list[tuple]:
    """The i64 parameters of a kernel, in order.

    ``n``: extent of the vector variable (``row``: of the whole reduction). ``tasks_per_row``, ``span``: tasks of
    one row and how much of the vector variable each covers. ``check``: number of a check node.
    """
    names: list[tuple] = [("n",), ("tasks_per_row",), ("span",)]
    names += [("extent", d) for d in range(1, form.outer)]
    names += [("loop", i) for i in range(form.loops)]
    if form.mode != "point":
        names += [("reduced",)]
    for c in range(form.n_classes):
        names += [("outer", c, d) for d in range(form.outer)]
        names += [("loop_stride", c, i) for i in range(form.loops)]
        names += [("vector", c), *([("pair", c)] if form.pair else [])]
    names += [("start", i) for i, leaf in enumerate(form.leaves) if leaf.kind == "index"]
    for i, node in enumerate(form.nodes):
        if node.op.name == "take":
            names += [("take_stride", i), ("take_limit", i)]
        if node.op.name == "check":
            names += [("check", i)]
    return names


@dataclass(frozen=True)
class Arguments:
    """Positions of a kernel's pointer arguments: loaded leaves, stores, partial results, the status word."""

    leaves: dict[int, int]      # leaf -> position
    stores: tuple[int, ...]     # per store
    partials: dict[int, int]    # reduction node -> position (``blocked``)
    status: int                 # -1: no check in the kernel

    @property
    def count(self) -> int:
        return len(self.leaves) + len(self.stores) + len(self.partials) + (self.status >= 0)


def arguments(form: Form) -> Arguments:
    leaves = [i for i, leaf in enumerate(form.leaves) if leaf.kind in ("load", "table")]
    at = len(leaves)
    stores = tuple(range(at, at + len(form.stores)))
    at += len(stores)
    reductions = [form.n_leaves + i for i in range(len(form.nodes))
                  if form.blocked and form.is_reduction(form.n_leaves + i)]
    partials = {v: at + i for i, v in enumerate(reductions)}
    at += len(partials)
    return Arguments({v: i for i, v in enumerate(leaves)}, stores, partials,
                     at if any(n.op.name == "check" for n in form.nodes) else -1)
