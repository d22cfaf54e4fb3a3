"""From a fused group to calls of rowwise kernels.

Strategy: collapse loop variables that every array walks contiguously; make the variable along which most bytes
are neighbours the vector variable (that decides the mode); give tasks enough work to share. Reductions that are
long, or too few to occupy the threads, are done in two calls: partial results per block of 256, then the rest.
Limits: argmax and argmin are not cut into blocks; rows of several phases are limited by fusion.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...base import dtypes as dt
from ...base.target import Target
from ...ir.op import Op
from ...ir.op import op as intern
from ...ir.primitives import ROWS
from ...ir.program import Equation, Var
from ..calls import Call, KernelSpec, Operand, Temp
from ..group import Group
from ..index import Affine, Domain, Index, linear, offset_of
from .columns import TILE, Columns
from .form import (
    ANY,
    EVERY_OTHER,
    FIXED,
    OUTER,
    PAIRED,
    REDUCED,
    REPEATED,
    UNIT,
    VECTOR,
    Form,
    Leaf,
    Node,
    Store,
    arguments,
    param_names,
)
from .lines import Lines
from .reductions import BLOCK

MAX_REDUCED = BLOCK * BLOCK  # elements that one task reduces: it holds the results of 256 blocks
TASK_BYTES = 1 << 15      # memory traffic that is worth a task of its own
SHARE_WORK = 1 << 14      # element operations below which a call is not shared between threads
STREAM_BYTES = 24 << 20   # results of this size leave the cache anyway: their stores bypass it


class Context(Protocol):
    """What a schedule asks of its surroundings."""

    target: Target
    threads: int
    fused: bool

    def layout(self, v: Var) -> tuple[tuple[int, ...], int]:
        """Strides and offset, in elements, of a value in memory."""
        ...

    def kept(self, v: Var) -> bool:
        """Is the value the same in every turn of the loop around?"""
        ...

    def path(self, v: Var) -> list[Equation]:
        """The movement ops between ``v`` and what it is a view of, nearest to ``v`` first."""
        ...

    def inlined(self, v: Var) -> bool: ...
    def ordered(self, g: Group) -> list[int]: ...
    def check_number(self, e: Equation) -> int: ...
    def equation(self, v: Var) -> Equation | None: ...
    def resolve(self, domain: Domain, v: Var, index: Index) -> tuple[Var, Index]:
        """What must be read from memory to have ``v`` at ``index``."""
        ...

    def pull_one(self, domain: Domain, e: Equation, index: Index) -> Index | None:
        """Index of the operand of a movement, given that of its result."""
        ...

    def start(self, v: Var, limit: int) -> Affine:
        """A window start, clamped to [0, limit], as an affine expression."""
        ...

    def once(self, key: tuple, values: list[Any], schedule: Callable[[], Any]) -> Any:
        """What ``schedule`` gives, or, where an equal one has been asked for, its calls on these values."""
        ...


@dataclass
class _Array:
    """An access to memory (or a position) in loop variables."""

    at: Affine
    itemsize: int
    source: Var | None = None


class _Builder:
    """Collects leaves, nodes and stores of one group."""

    def __init__(self, g: Group, context: Context) -> None:
        self.g, self.context = g, context
        self.leaves: list[tuple[str, dt.DType, _Array | None, Op | None]] = []
        self.leaf_ids: dict[tuple, int] = {}
        self.nodes: list[tuple[Op, tuple[Any, ...], dt.DType, int, Equation | None]] = []
        self.values: dict[Var, tuple[str, int]] = {}
        self.inline_values: dict[Var, tuple[str, int]] = {}
        self.stores: list[tuple[Var, tuple[str, int], _Array]] = []

    def leaf(self, kind: str, dtype: dt.DType, array: _Array | None, op: Op | None = None) -> tuple[str, int]:
        key = (kind, dtype, array.at if array else None, array.source if array else None, op)
        n = self.leaf_ids.get(key)
        if n is None:
            n = self.leaf_ids[key] = len(self.leaves)
            self.leaves.append((kind, dtype, array, op))
        return "leaf", n

    def load(self, v: Var, index, kind: str = "load") -> tuple[str, int]:
        strides, offset = self.context.layout(v)
        at = offset_of(self.g.domain, index, strides, offset)
        return self.leaf(kind, v.type.dtype, _Array(at, v.type.dtype.itemsize, v))

    def inline(self, v: Var, index) -> tuple[str, int]:
        """A constant, a loop position, or a 0-d expression."""
        e = self.context.equation(v)
        assert e is not None
        if e.op.name == "const":
            return self.leaf("const", v.type.dtype, None, e.op)
        if e.op.name == "iota":
            at = self.g.domain.resolve(index[e.op.attrs.axis])
            return self.leaf("index", v.type.dtype, _Array(at, 0))
        found = self.inline_values.get(v)
        if found is None:
            operands = tuple([self.scalar_operand(x) for x in e.inputs])
            found = self.inline_values[v] = self.node(e.op, operands, v.type.dtype, 0, None)
        return found

    def scalar_operand(self, x: Var) -> tuple[str, int]:
        path = self.context.path(x)
        root = path[-1].inputs[0] if path else x
        if self.context.inlined(root):
            return self.inline(root, (Affine(),) * root.type.ndim)
        return self.load(root, (Affine(),) * root.type.ndim)

    def node(self, op: Op, operands: tuple, dtype: dt.DType, phase: int, e: Equation | None) -> tuple[str, int]:
        self.nodes.append((op, operands, dtype, phase, e))
        return "node", len(self.nodes) - 1

    def build(self) -> None:
        g = self.g
        for n, e in enumerate(g.nodes):
            if e.op.name in ("const", "iota"):  # one that must be in memory: the store of what is inlined elsewhere
                self.values[e.output] = self.inline(e.output, g.index[e.output])
                continue
            operands = []
            for position, x in enumerate(e.inputs):
                operands.append(self.operand(n, position, x, e))
            if e.op.name == "random_bits":
                at = g.domain.resolve(linear(g.domain.resolve_all(g.index[e.output]), e.output.shape))
                operands.append(self.leaf("index", dt.uint64, _Array(at, 0)))
            self.values[e.output] = self.node(e.op, tuple(operands), e.output.type.dtype, g.phase[e.output], e)
        for v in g.stores:
            strides, offset = self.context.layout(v)
            at = offset_of(g.domain, g.index[v], strides, offset)
            if v in self.values:
                value = self.values[v]
            else:  # a copy: the store of what it reads
                source, index = g.reads[-1, 0]
                inlined = self.context.inlined(source) and not any(a.dynamic for a in index)
                value = self.inline(source, index) if inlined else self.load(source, index)
            self.stores.append((v, value, _Array(at, v.type.dtype.itemsize)))

    def operand(self, n: int, position: int, x: Var, e: Equation) -> tuple[str, int]:
        g = self.g
        read = g.reads.get((n, position))
        if read is not None:
            source, index = read
            if e.op.name == "take" and position == 0:
                return self.load(source, index, "table")
            return self.load(source, index)
        path = self.context.path(x)
        root = path[-1].inputs[0] if path else x
        if root in self.values:
            return self.values[root]
        index = self.inline_index(e, position, x)
        for step in path:
            below = self.context.pull_one(g.domain, step, index)
            assert below is not None
            index = below
        return self.inline(root, index)

    def inline_index(self, e: Equation, position: int, x: Var):
        """Index at which an inlined operand is needed."""
        g = self.g
        if e.op.name == "random_bits":
            return ()
        index = g.operands.get(e.output)
        if index is not None:
            return index
        index = g.index[e.output]
        if e.op.name == "take":
            axis = e.op.attrs.axis
            return index[axis:axis + x.type.ndim]
        return index

    def arrays(self) -> list[_Array]:
        return [a for _, _, a, _ in self.leaves if a is not None] + [a for _, _, a in self.stores]


def _collapse(variables: list[int], sizes: dict[int, int], arrays: list[_Array]) -> list[int]:
    """Merge neighbours that every array walks as one; ``sizes`` and the arrays are updated."""
    variables = list(variables)
    i = 0
    while i + 1 < len(variables):
        a, b = variables[i], variables[i + 1]
        coefs = [(dict(x.at.terms).get(a, 0), dict(x.at.terms).get(b, 0)) for x in arrays]
        if all(ca == cb * sizes[b] for ca, cb in coefs):
            sizes[b] *= sizes[a]
            for x in arrays:
                x.at = Affine(x.at.const, tuple((v, c) for v, c in x.at.terms if v != a), x.at.dynamic)
            variables.pop(i)
            i = max(i - 1, 0)
        else:
            i += 1
    return variables


def schedule_rowwise(g: Group, context: Context) -> list[Call]:
    """The calls of a ``rowwise`` group."""
    b = _Builder(g, context)
    b.build()
    arrays = b.arrays()
    reduced_all = g.reduced_variables()
    every = context.ordered(g)
    sizes = {v: g.domain.sizes[v] for v in every}
    if 0 in g.domain.sizes or not (b.stores or any(e.op.name == "check" for e in g.nodes)):
        return []  # nothing to compute, or nothing that is read: a window's start that is clamped to one place
    main = max((a for _, _, a in b.stores), key=lambda a: len(a.at.terms), default=_Array(Affine(), 0))
    rank = dict(main.at.terms)
    kept = sorted((v for v in every if v not in reduced_all), key=lambda v: -abs(rank.get(v, 0)))
    kept = _collapse(kept, sizes, arrays)
    reduced = _collapse(reduced_all, sizes, arrays)
    vector = _vector_variable(kept, reduced, sizes, arrays)
    if not reduced:
        mode, outer, loops = "point", [v for v in kept if v != vector], []
    elif vector in reduced:
        mode, outer, loops = "row", kept, reduced[:-1]
    else:
        mode, outer, loops = "col", [v for v in kept if v != vector], reduced
    pair = _pair(b, outer, vector, sizes, main) if mode == "point" and context.fused else None
    return _Plan(b, context, mode, [v for v in outer if v != pair], loops, vector, sizes, pair).calls()


def _vector_variable(kept: list[int], reduced: list[int], sizes: dict[int, int], arrays: list[_Array]) -> int | None:
    """The variable along which most bytes are neighbours; reduced ones only if they are innermost."""
    score: dict[int, float] = {}
    for a in arrays:
        count = math.prod(sizes[v] for v, _ in a.at.terms if v in sizes)
        for v, c in a.at.terms:
            if c == 1 and v in sizes:
                score[v] = score.get(v, 0) + count * a.itemsize * min(1.0, sizes[v] / 16)
    allowed = [*kept, *reduced[-1:]]
    if not allowed:
        return None
    return max(allowed, key=lambda v: (score.get(v, 0), v in reduced, sizes[v]))


def _pair(b: _Builder, outer: list[int], vector: int | None, sizes: dict[int, int], main: _Array) -> int | None:
    """A variable of two or four elements to walk together with the vector variable: the result is dense in both.

    Only some of the operands are; what repeats or skips is put in order in registers, where it would be gathered
    and scattered along one of the two alone.
    """
    if vector is None or any(op.name in ("take", "random_bits") for op, *_ in b.nodes):
        return None
    along = dict(main.at.terms)
    stored = [dict(a.at.terms) for _, _, a in b.stores]
    return next((v for v in outer if sizes[v] in (2, 4) and along.get(v) == 1 and along.get(vector) == sizes[v]
                 and all(v in terms and vector in terms for terms in stored)), None)


def share(tasks: int, work: int, nbytes: int, threads: int) -> int:
    """Tasks that one thread takes at a time: all of them when the work is too small to share."""
    if work < SHARE_WORK or threads == 1:
        return max(1, tasks)
    small = max(1, TASK_BYTES * tasks // max(nbytes, 1))
    return max(1, min(tasks, max(min(small, -(-tasks // threads)), max(1, tasks // (4 * threads)) // 4)))


class _Plan:
    """Turns collected accesses into a :class:`Form`, parameters and calls."""

    def __init__(self, b: _Builder, context: Context, mode: str, outer: list[int], loops: list[int],
                 vector: int | None, sizes: dict[int, int], pair: int | None = None) -> None:
        self.b, self.context, self.mode = b, context, mode
        self.outer, self.loops, self.vector, self.sizes, self.pair = outer, loops, vector, sizes, pair
        self.classes: dict[tuple, int] = {}
        self.n = (sizes[vector] if vector is not None else 1) * (sizes[pair] if pair is not None else 1)
        self.rows = math.prod(sizes[v] for v in outer)
        self.reduced = math.prod(sizes[v] for v in loops) * (self.n if mode == "row" else 1)

    def strides(self, at: Affine) -> tuple[int, ...]:
        """Along the outer variables, the loops, the vector variable, and inside its pairs."""
        terms: dict[int | None, int] = dict(at.terms)  # type: ignore[arg-type]
        return tuple([terms.get(v, 0) for v in (*self.outer, *self.loops, self.vector, self.pair)])

    def cls(self, at: Affine) -> tuple[int, int, int]:
        """(stride class, inner kind, what it varies with)."""
        s = self.strides(at)
        c = self.classes.setdefault(s, len(self.classes))
        *_, step, inside = s
        varies = (OUTER if any(s[:len(self.outer)]) else 0) | (VECTOR if step or inside else 0) | (
            REDUCED if any(s[len(self.outer):-2]) or (self.mode == "row" and step) else 0)
        return c, self.lie(step, inside), varies

    def lie(self, step: int, inside: int) -> int:
        """How an array with these strides lies along the vector variable."""
        if step == inside == 0:
            return FIXED
        if self.pair is not None:
            if (step, inside) == (self.sizes[self.pair], 1):
                return UNIT
            return REPEATED if (step, inside) == (1, 0) else PAIRED
        return UNIT if step == 1 else EVERY_OTHER if step == 2 and self.context.fused else ANY

    def form(self) -> Form:
        b = self.b
        n_leaves = len(b.leaves)
        leaves = []
        for kind, dtype, array, op in b.leaves:
            if array is None:
                leaves.append(Leaf(kind, dtype, op=op))
                continue
            c, inner, varies = self.cls(array.at)
            leaves.append(Leaf(kind, dtype, c, inner, varies))
        varying = [leaf.varies for leaf in leaves]

        def number(ref: tuple[str, int]) -> int:
            return ref[1] if ref[0] == "leaf" else n_leaves + ref[1]

        nodes = []
        for op, operands, dtype, phase, _ in b.nodes:
            ids = tuple(number(o) for o in operands)
            varies = 0
            for i in ids:
                varies |= varying[i]
            if op.row.kind == "reduce":
                varies &= ~REDUCED
                varies = varies & ~VECTOR if self.mode == "row" else varies | VECTOR  # ``col`` keeps one per column
                varies |= OUTER if self.outer else 0
            varying.append(varies)
            nodes.append(Node(_code_op(op), ids, dtype, varies, phase))
        stores = []
        for v, value, array in b.stores:
            c, inner, varies = self.cls(array.at)
            stores.append(Store(number(value), v.type.dtype, c, inner, varies))
        widest = max([d.bits for d in (*(leaf.dtype for leaf in leaves), *(n.dtype for n in nodes))], default=32)
        lanes = 16 if self.mode == "row" or widest <= 32 else 8
        return Form(self.mode, lanes, tuple(leaves), tuple(nodes), tuple(stores), len(self.classes),
                    len(self.outer), len(self.loops), pair=0 if self.pair is None else self.sizes[self.pair])

    # --- calls
    def calls(self) -> list[Call]:
        form = self.form()
        reductions = [n for n in form.nodes if n.op.row.kind == "reduce"]
        if self.mode == "row" and self.loops and self.sizes[self.vector] % 16:  # type: ignore[index]
            form = replace(form, ragged=True)
        if reductions:
            args = [n.op.name in ("argmax", "argmin") for n in reductions]
            single = self.reduced <= BLOCK or all(args)  # the first of equals is so in any order
            if not single and not any(args) and form.phases == 1 and self._worth_blocks():
                return self.blocked(replace(form, blocked=True))
            assert single or self.reduced <= MAX_REDUCED, "fusion keeps long reductions of several kinds apart"
            form = replace(form, single=single)
        return [self.call(form)]

    def _worth_blocks(self) -> bool:
        """Too few tasks for the threads, or a reduction too long for one task."""
        tasks = self.rows if self.mode == "row" else self.rows * -(-self.n // TILE)
        return self.reduced > 65536 or (tasks < 4 * self.context.threads and tasks * self.reduced > 4 * SHARE_WORK
                                        and self.context.threads > 1) or (tasks == 1 and self.reduced > 4 * SHARE_WORK)

    def work(self) -> tuple[int, int]:
        """(element operations, bytes that must move)."""
        every = self.rows * self.n * math.prod(self.sizes[v] for v in self.loops)
        nbytes = 0
        for _, _, a, _ in self.b.leaves:
            if a is not None and a.itemsize:
                nbytes += a.itemsize * math.prod(self.sizes[v] for v, _ in a.at.terms)
        for _, _, a in self.b.stores:
            nbytes += a.itemsize * math.prod(self.sizes[v] for v, _ in a.at.terms)
        return every * max(1, len(self.b.nodes)), nbytes

    def call(self, form: Form, partials: list[Temp] | None = None) -> Call:
        work, nbytes = self.work()
        names = param_names(form)
        values: dict[tuple, int] = {("n",): self.n if self.mode != "row" else self.reduced, ("reduced",): (
            self.reduced if self.mode == "col" else self.n)}
        n_blocks = -(-self.reduced // BLOCK)
        if self.mode == "point":
            span, per_row = self._chunks(form, work)
            form = replace(form, chunked=per_row > 1)
            tasks = self.rows * per_row
        elif self.mode == "row":
            span, per_row = BLOCK, n_blocks if form.blocked else 1
            tasks = self.rows * per_row
        else:
            span, per_row = TILE, -(-self.n // TILE) * (n_blocks if form.blocked else 1)
            tasks = self.rows * per_row
        values[("tasks_per_row",)], values[("span",)] = per_row, span
        self._fill(values)
        if form.mode != "col" and nbytes > STREAM_BYTES and self._streams(form):
            form = replace(form, stream=True)
        params = [values[name] for name in names]
        grain = share(tasks, work, nbytes, self.context.threads)
        return self._make(form, params, tasks, grain, work, nbytes, partials or [])

    def _chunks(self, form: Form, work: int) -> tuple[int, int]:
        """Cut long rows so that there are tasks to share; a chunk is a multiple of 64 elements."""
        if work < SHARE_WORK or self.n < 2048:
            return self.n, 1
        wanted = max(1, 8 * self.context.threads // max(1, self.rows))
        span = -(-self.n // wanted)
        span = max(1024, min(-(-span // 64) * 64, 1 << 16))
        return span, -(-self.n // span)

    def _streams(self, form: Form) -> bool:
        """May every full vector be stored past the cache? Only aligned, contiguous results that nobody reads here."""
        found = [(s, a.at) for s, (_, _, a) in zip(form.stores, self.b.stores, strict=True) if form.is_element_store(s)]
        return bool(found) and all(
            s.inner == UNIT and s.dtype.bits >= 32 and at.const % 16 == 0
            and not any(c % 16 for v, c in at.terms if v not in (self.vector, self.pair)) for s, at in found)

    def _fill(self, values: dict[tuple, int]) -> None:
        """Extents, strides, and what single nodes need."""
        for d, v in enumerate(self.outer):
            values["extent", d] = self.sizes[v]
        for i, v in enumerate(self.loops):
            values["loop", i] = self.sizes[v]
        for strides, c in self.classes.items():
            for d in range(len(self.outer)):
                values["outer", c, d] = strides[d]
            for i in range(len(self.loops)):
                values["loop_stride", c, i] = strides[len(self.outer) + i]
            values["vector", c], values["pair", c] = strides[-2:]
        for i, (kind, _, array, _) in enumerate(self.b.leaves):
            if kind == "index":
                assert array is not None
                values["start", i] = array.at.const
        for i, (op, operands, _, _, e) in enumerate(self.b.nodes):
            if op.name == "take":
                table = self.b.leaves[operands[0][1]][2]
                assert table is not None and table.source is not None
                strides, _ = self.context.layout(table.source)
                values["take_stride", i] = strides[op.attrs.axis]
                values["take_limit", i] = table.source.shape[op.attrs.axis] - 1
            if op.name == "check":
                assert e is not None
                values["check", i] = self.context.check_number(e)

    def _make(self, form: Form, params: list[int], tasks: int, grain: int, work: int, nbytes: int,
              partials: list[Temp]) -> Call:
        args = arguments(form)
        operands: list[Operand] = []
        for leaf in sorted(args.leaves, key=lambda v: args.leaves[v]):
            array = self.b.leaves[leaf][2]
            assert array is not None and array.source is not None
            operands.append(_operand(array.source, array))
        for v, _, array in self.b.stores:
            operands.append(_operand(v, array))
        operands += [Operand(t) for t in partials]
        writes = tuple(range(len(args.leaves), len(operands)))
        if args.status >= 0:
            operands.append(Operand("status"))
        return Call(_spec(form, self.b.g.name), operands, params, tasks, grain, writes,
                    self._inplace(form, args), flops=work, nbytes=nbytes, check=args.status >= 0)

    def _inplace(self, form: Form, args) -> tuple[tuple[int, int], ...]:
        """(store, load) argument pairs of equal address in every task, where no later phase reads the load.

        The store must go to another address in every iteration: what is stored again has been read before.
        """
        pairs = []
        if form.blocked:
            return ()
        extents = [self.sizes[v] if v is not None else 1 for v in (*self.outer, *self.loops, self.vector, self.pair)]
        for i, s in enumerate(form.stores):
            if not form.is_element_store(s):
                continue
            steps = self.strides(self.b.stores[i][2].at)
            if any(n > 1 and not step for n, step in zip(extents, steps, strict=True)):
                continue
            phase = form.phase(s.value)
            for leaf, position in args.leaves.items():
                info = form.leaves[leaf]
                if info.kind != "load" or info.cls != s.cls or info.dtype.bits != s.dtype.bits:
                    continue
                if self.b.leaves[leaf][2].at != self.b.stores[i][2].at:  # type: ignore[union-attr]
                    continue
                later = any(leaf in form.needed(p) for p in range(phase + 1, form.phases))
                if not later:
                    pairs.append((args.stores[i], position))
        return tuple(pairs)

    # --- two-level reductions
    def blocked(self, form: Form) -> list[Call]:
        """Partial results per block, then their reduction together with what depends on it."""
        row_stores = [i for i, s in enumerate(form.stores) if not form.is_element_store(s)]
        n_blocks = -(-self.reduced // BLOCK)
        # first call: element stores and partial results
        needed = [i for i, n in enumerate(form.nodes) if n.phase == 0 or n.op.row.kind == "reduce"]
        first = _restrict(self.b, needed, [i for i in range(len(form.stores)) if i not in row_stores])
        plan = _Plan(first, self.context, self.mode, self.outer, self.loops, self.vector, self.sizes)
        first_form = replace(plan.form(), blocked=True, ragged=form.ragged)
        reductions = [i for i, n in enumerate(first_form.nodes) if n.op.row.kind == "reduce"]
        temps, wides = [], []
        for i in reductions:
            wide = _partial_dtype(first_form.dtype(first_form.nodes[i].operands[0]))
            count = self.rows * n_blocks * (self.n if self.mode == "col" else 1)
            temps.append(Temp(count * wide.itemsize))
            wides.append(wide)
        calls = [plan.call(first_form, temps)]
        second = self._second(form, row_stores, temps, wides, n_blocks)
        return calls + second

    def _second(self, form: Form, row_stores: list[int], temps: list[Temp], wides: list[dt.DType], n_blocks: int
                ) -> list[Call]:
        """Reduce the partials over the blocks; then the nodes after the reduction, and their stores."""
        old = self.b
        new = _Builder(old.g, self.context)
        block = -1  # a variable of its own for the blocks
        sizes = {v: self.sizes[v] for v in self.outer} | {block: n_blocks}
        vector = self.vector if self.mode == "col" else block
        if self.mode == "col":
            sizes[self.vector] = self.n  # type: ignore[index]
        inner = [(self.vector, 1)] if self.mode == "col" else []
        step = self.n if self.mode == "col" else 1
        terms = [*inner, (block, step)]
        stride = step * n_blocks
        for v in reversed(self.outer):
            terms.append((v, stride))
            stride *= self.sizes[v]
        at = Affine(0, tuple(sorted(terms)))  # type: ignore[arg-type]
        mapping: dict[tuple[str, int], tuple[str, int]] = {}
        order = [i for i, n in enumerate(form.nodes) if n.op.row.kind == "reduce"]
        for i, temp, wide in zip(order, temps, wides, strict=True):
            op, _, dtype, phase, e = old.nodes[i]
            load = new.leaf("load", wide, _Array(Affine(at.const, at.terms), wide.itemsize, temp))  # type: ignore[arg-type]
            name = {"reduce_max": "reduce_max", "reduce_min": "reduce_min"}.get(op.name, op.name)
            total = new.node(intern(ROWS[name], (0,)), (load,), wide, 1, None)
            if wide is not dtype:
                total = new.node(intern(ROWS["cast"], dtype), (total,), dtype, 1, None)
            mapping["node", i] = total

        def convert(ref: tuple[str, int]) -> tuple[str, int]:
            if ref in mapping:
                return mapping[ref]
            if ref[0] == "leaf":
                kind, dtype, array, op = old.leaves[ref[1]]
                found = new.leaf(kind, dtype, _Array(array.at, array.itemsize, array.source) if array else None, op)
            else:
                op, operands, dtype, phase, e = old.nodes[ref[1]]
                found = new.node(op, tuple(convert(o) for o in operands), dtype, phase, e)
            mapping[ref] = found
            return found

        for i in row_stores:
            v, value, array = old.stores[i]
            new.stores.append((v, convert(value), array))
        if self.mode == "col":
            plan = _Plan(new, self.context, "col", self.outer, [block], vector, sizes)
        else:
            plan = _Plan(new, self.context, "row", self.outer, [], block, sizes)
        second = plan.form()
        if n_blocks > MAX_REDUCED:
            return plan.blocked(replace(second, blocked=True))
        return [plan.call(replace(second, single=n_blocks <= BLOCK))]


def _restrict(b: _Builder, nodes: list[int], stores: list[int]) -> _Builder:
    """The builder with only these nodes and stores, leaves renumbered by use."""
    new = _Builder(b.g, b.context)
    mapping: dict[tuple[str, int], tuple[str, int]] = {}

    def convert(ref: tuple[str, int]) -> tuple[str, int]:
        if ref not in mapping:
            if ref[0] == "leaf":
                kind, dtype, array, op = b.leaves[ref[1]]
                mapping[ref] = new.leaf(kind, dtype, array, op)
            else:
                op, operands, dtype, phase, e = b.nodes[ref[1]]
                mapping[ref] = new.node(op, tuple(convert(o) for o in operands), dtype, phase, e)
        return mapping[ref]

    for i in nodes:
        if b.nodes[i][0].row.kind == "reduce":
            convert(("node", i))
    for i in stores:
        v, value, array = b.stores[i]
        new.stores.append((v, convert(value), array))
    return new


def _code_op(op: Op) -> Op:
    """The op as far as code depends on it: reduced axes do not matter to a kernel."""
    if op.row.kind == "reduce":
        return intern(op.row, (0,) if op.name.startswith("reduce") else 0)
    if op.name == "take":
        return intern(op.row, 0)
    if op.name == "check":
        return intern(op.row, "")
    if op.name == "random_bits":
        return intern(op.row, op.attrs.dtype, ())
    return op


def _partial_dtype(dtype: dt.DType) -> dt.DType:
    """Memory type of a partial result."""
    return dt.uint8 if dtype is dt.bool_ else dt.compute_type(dtype)


def _operand(value: Any, array: _Array) -> Operand:
    size = array.itemsize
    return Operand(value, array.at.const * size, tuple((s, c * size) for s, c in array.at.dynamic))


def _spec(form: Form, name: str) -> KernelSpec:
    emitter = Columns if form.mode == "col" else Lines
    return KernelSpec(f"{form.mode}_{name}"[:60], ("rowwise", form),
                      lambda symbol, target: emitter(symbol, form, target).emit())
