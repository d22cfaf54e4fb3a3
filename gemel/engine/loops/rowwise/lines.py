"""Loop order of ``point`` and ``row``: for each row, vectors along the vector variable."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir import Type, Val
from .emitter import Emitter, elem_of
from .form import FIXED
from .reductions import BLOCK, PARTIALS, Reduction, State, masked, reduction, tree

#: loop indices of a run of neighbours along the vector variable, and the reduction position at which it starts
Run = tuple[list[Val], Val]


class Lines(Emitter):
    """Emits one task per row (``row``), per chunk of a row (``point``), or per block of a row (``blocked``)."""

    def emit(self):
        k = self.k
        self.invariants()
        k.loop(k.begin, k.end, 1, (), self.task)
        return k.finish()

    def invariants(self) -> None:
        """Values that depend on no variable at all are computed once per call."""
        f = self.form
        for v in range(f.n_leaves + len(f.nodes)):
            if f.varying[v] == 0 and f.phase(v) == 0 and not (v < f.n_leaves and f.leaves[v].kind == "table"):
                self.offsets = [self.k.i64(0)] * f.n_classes
                self.row[v] = self.compute_row(v)
        self.invariant = dict(self.row)

    def compute_row(self, v: int) -> Val:
        """A value of the row, as a scalar, in the current block."""
        if v in self.row:
            return self.row[v]
        at = self.k.i64(0)
        if v < self.form.n_leaves:
            value = self.leaf(v, at, 1, None)
        else:
            value = self.node(v, self.compute_row, at, 1, None, None)
        self.row[v] = value
        return value

    def task(self, t: Val) -> None:
        k, f = self.k, self.form
        self.row = dict(self.invariant)
        row, part = t, k.i64(0)
        if f.chunked or f.blocked:
            per_row = self.param("tasks_per_row")
            row = k.udiv(t, per_row)
            part = t - row * per_row
        self.start_row(row)
        self.number = t
        lo = part * self.param("span") if f.chunked or f.blocked else k.i64(0)
        hi = k.smin(lo + self.param("span"), self.param("n")) if f.chunked or f.blocked else self.param("n")
        for phase in range(f.phases):
            self.phase = phase
            for v in self.form.outside(phase):
                self.compute_row(v)
            if self.form.reductions(phase):
                self.reducing_pass(lo, hi)
            elif self.form.element_stores(phase):
                self.plain_pass(lo, hi)
        if not f.blocked:
            self.row_stores()

    def row_stores(self) -> None:
        f = self.form
        for i, s in enumerate(f.stores):
            if not f.is_element_store(s):
                self.put(s, i, self.compute_row(s.value), self.k.i64(0), None)

    # --- passes over the row
    def elements(self, at: Val, lanes: int, mask: Val | None, run: Run | None = None):
        """``get(value)`` at vector position ``at``; computes each value once. ``run``: where ``at`` lies, if known."""
        k, f = self.k, self.form
        env: dict[int, Val] = {}
        extra: list[Val] | None = None
        position = at
        if f.loops:  # the linear position of the reduction -> loop indices and position along the vector variable
            extra, start = run or self.run_of(k.udiv(at, self.param("reduced")))
            position = at - start

        def get(v: int) -> Val:
            if v in env:
                return env[v]
            if not f.is_element(v):
                return self.row[v]
            slot = self.form.kept.get(v)
            if slot is not None and f.phase(v) < self.phase:
                value = self.load_kept(v, slot, at, lanes, mask)
            elif v < f.n_leaves:
                value = self.leaf(v, position, lanes, mask, extra)
            else:
                value = self.node(v, get, position, lanes, mask, extra)
                if slot is not None:
                    self.keep(slot, k.splat(value, lanes), at, mask)  # a later phase loads all lanes
            env[v] = value
            return value

        def finish() -> None:
            # all values first: a store may take over the memory of a leaf that another store still reads
            stores = [(i, f.stores[i]) for i in f.element_stores(self.phase)]
            values = [get(s.value) for _, s in stores]
            for (i, s), value in zip(stores, values, strict=True):
                # a store that does not move with the vector is one element: its neighbours are not ours to write
                self.put(s, i, value if s.inner == FIXED else k.splat(value, lanes), position, mask, extra)

        return get, finish

    def run_of(self, number: Val) -> Run:
        """Loop indices of a run of the vector variable, and the linear reduction position at which it starts."""
        return self.unflatten_loops(number), number * self.param("reduced")

    def runs(self, lo: Val, hi: Val, start: Sequence[Val], body: Callable[[Run, Val, Val, list[Val]], Sequence[Val]]
             ) -> list[Val]:
        """Carry ``start`` through ``body(run, first, last, carried)`` for each run that meets [lo, hi)."""
        k, length = self.k, self.param("reduced")

        def one(number: Val, *carried: Val) -> list[Val]:
            run = self.run_of(number)
            return list(body(run, k.smax(lo, run[1]), k.smin(hi, run[1] + length), list(carried)))
        return list(k.loop(k.udiv(lo, length), k.udiv(hi - 1, length) + 1, 1, start, one))

    def vectors(self, lo: Val, hi: Val, lanes: int, body: Callable[[Val, Val | None], None]) -> None:
        """``body(at, mask)`` for each vector of [lo, hi)."""
        k = self.k
        full = lo + k.and_(hi - lo, k.i64(-lanes))
        k.loop(lo, full, lanes, (), lambda at: body(at, None))
        left = hi - full
        k.if_(k.compare("sgt", left, k.i64(0)), lambda: body(full, self.tail_mask(lanes, left)))

    def keep(self, slot: int, value: Val, at: Val, mask: Val | None) -> None:
        k = self.k
        elem = elem_of(value)
        pointer = k.offset(self.scratch_row(slot, self.rounded(), k.scratch), at, elem)
        k.store(value if elem == value.type.elem else k.convert("zext", value, elem), pointer)

    def load_kept(self, v: int, slot: int, at: Val, lanes: int, mask: Val | None) -> Val:
        """Vectors are kept whole, so tails are read whole as well."""
        from ..elementwise import register_type
        k = self.k
        elem = register_type(self.form.dtype(v))
        stored = "i8" if elem == "i1" else elem
        value = k.load(k.offset(self.scratch_row(slot, self.rounded(), k.scratch), at, stored), Type(stored, lanes))
        return value if stored == elem else k.compare("ne", value, k.const(0, value.type))

    def rounded(self) -> Val:
        """Length of the row, rounded up to whole vectors."""
        k = self.k
        return k.and_(self.param("n") + 63, k.i64(-64))

    def plain_pass(self, lo: Val, hi: Val) -> None:
        lanes = self.form.lanes
        if not self.form.loops:
            self.vectors(lo, hi, lanes, lambda at, mask: self.elements(at, lanes, mask)[1]())
            return

        def run(where: Run, first: Val, last: Val, _: list[Val]) -> Sequence[Val]:
            self.vectors(first, last, lanes, lambda at, mask: self.elements(at, lanes, mask, where)[1]())
            return ()
        self.runs(lo, hi, (), run)

    def reducing_pass(self, lo: Val, hi: Val) -> None:
        """One pass that feeds the reductions of this phase (and writes the stores of this phase)."""
        k, f = self.k, self.form
        nodes = self.form.reductions(self.phase)
        kinds = [reduction(f.nodes[v - f.n_leaves].op.name, f.dtype(f.nodes[v - f.n_leaves].operands[0]))
                 for v in nodes]
        if f.single or f.blocked:
            states = self.block(nodes, kinds, lo, hi)
        else:
            states = self.blocks(nodes, kinds, lo, hi)
        for v, kind, state in zip(nodes, kinds, states, strict=True):
            if f.blocked:
                pointer = self.pointers[self.arguments.partials[v]]
                for s in state:
                    k.store(s, k.offset(pointer, self.number, s.type.elem))
            else:
                self.row[v] = kind.result(k, state)

    def block(self, nodes: list[int], kinds: list[Reduction], lo: Val, hi: Val) -> list[State]:
        """Reduce [lo, hi), at most a block: 16 partials in the lanes, then the tree."""
        k, f = self.k, self.form
        if f.ragged:
            alone = all(kind.needs_position for kind in kinds)
            return self.scalar_chain(nodes, kinds, lo, hi) if alone else self.ragged_block(nodes, kinds, lo, hi)
        start = [v for kind in kinds for v in kind.identity(k, PARTIALS)]

        def step(at: Val, mask: Val | None, carried: list[Val], run: Run | None = None) -> list[Val]:
            get, finish = self.elements(at, PARTIALS, mask, run)
            out: list[Val] = []
            rest = list(carried)
            for v, kind in zip(nodes, kinds, strict=True):
                old = tuple(rest[:len(kind.state)])
                del rest[:len(kind.state)]
                x = k.splat(get(f.nodes[v - f.n_leaves].operands[0]), PARTIALS)
                position = None
                if kind.needs_position:
                    position = k.binary("iadd", k.splat(at, PARTIALS), k.lane_ids(PARTIALS, "i64"))
                out += masked(k, mask, kind.combine(k, old, kind.element(k, x, position)), old)
            finish()
            return out

        if f.loops:  # runs of whole vectors
            def whole(run: Run, first: Val, last: Val, carried: list[Val]) -> Sequence[Val]:
                return k.loop(first, last, PARTIALS, carried, lambda at, *c: step(at, None, list(c), run))
            return self.trees(kinds, self.runs(lo, hi, start, whole))
        full = lo + k.and_(hi - lo, k.i64(-PARTIALS))
        sums = k.loop(lo, full, PARTIALS, start, lambda i, *c: step(i, None, list(c)))
        left = hi - full
        sums = k.if_(k.compare("sgt", left, k.i64(0)),
                     lambda: step(full, self.tail_mask(PARTIALS, left), list(sums)), lambda: sums)
        return self.trees(kinds, list(sums))

    def trees(self, kinds: list[Reduction], values: list[Val]) -> list[State]:
        found = []
        for kind in kinds:
            found.append(tree(self.k, kind, tuple(values[:len(kind.state)])))
            del values[:len(kind.state)]
        return found

    def scalar_chain(self, nodes: list[int], kinds: list[Reduction], lo: Val, hi: Val) -> list[State]:
        """Elements one by one, for reductions whose result is the same in any order."""
        k, f = self.k, self.form

        def one(i: Val, *carried: Val) -> list[Val]:
            get, finish = self.elements(i, 1, None)
            out: list[Val] = []
            for n, (v, kind) in enumerate(zip(nodes, kinds, strict=True)):
                old = (carried[2 * n], carried[2 * n + 1])
                x = get(f.nodes[v - f.n_leaves].operands[0])
                out += kind.combine(k, old, kind.element(k, x, i))
            finish()
            return out

        found = list(k.loop(lo, hi, 1, [v for kind in kinds for v in kind.identity(k, 1)], one))
        return [(found[2 * n], found[2 * n + 1]) for n in range(len(kinds))]

    def ragged_block(self, nodes: list[int], kinds: list[Reduction], lo: Val, hi: Val) -> list[State]:
        """Runs that end inside vectors: into a buffer of one block, side by side, then the block from the buffer."""
        k, f = self.k, self.form
        # a vector that is not full writes past its end: the next run overwrites that, or it is past the block's end
        buffers = [[k.stack(e, BLOCK + PARTIALS) for e in kind.state] for kind in kinds]

        def run(where: Run, first: Val, last: Val, _: list[Val]) -> Sequence[Val]:
            def vector(at: Val, mask: Val | None) -> None:
                get, finish = self.elements(at, PARTIALS, mask, where)
                position = k.binary("iadd", k.splat(at, PARTIALS), k.lane_ids(PARTIALS, "i64"))
                for v, kind, slots in zip(nodes, kinds, buffers, strict=True):
                    x = k.splat(get(f.nodes[v - f.n_leaves].operands[0]), PARTIALS)
                    for part, slot in zip(kind.element(k, x, position), slots, strict=True):
                        k.store(part, k.offset(slot, at - lo, part.type.elem))
                finish()
            self.vectors(first, last, PARTIALS, vector)
            return ()

        self.runs(lo, hi, (), run)
        return self.from_buffers(kinds, buffers, hi - lo)

    def from_buffers(self, kinds: list[Reduction], buffers: list[list[Val]], count: Val) -> list[State]:
        """Reduce up to 256 states that lie in memory."""
        k = self.k
        start = [v for kind in kinds for v in kind.identity(k, PARTIALS)]

        def step(at: Val, *carried: Val) -> list[Val]:
            mask = self.tail_mask(PARTIALS, count - at)
            out: list[Val] = []
            rest = list(carried)
            for kind, slots in zip(kinds, buffers, strict=True):
                old = tuple(rest[:len(kind.state)])
                del rest[:len(kind.state)]
                new = tuple(k.load(k.offset(slot, at, e), Type(e, PARTIALS))
                            for slot, e in zip(slots, kind.state, strict=True))
                out += masked(k, mask, kind.combine(k, old, new), old)
            return out

        return self.trees(kinds, list(k.loop(0, count, PARTIALS, start, step)))

    def blocks(self, nodes: list[int], kinds: list[Reduction], lo: Val, hi: Val) -> list[State]:
        """Block results to a buffer of at most 256, then the same rule once more."""
        k = self.k
        buffers = [[k.stack(e, BLOCK) for e in kind.state] for kind in kinds]

        def one(b: Val) -> None:
            first = b * BLOCK
            states = self.block(nodes, kinds, first, k.smin(first + BLOCK, hi))
            for state, slots in zip(states, buffers, strict=True):
                for part, slot in zip(state, slots, strict=True):
                    k.store(part, k.offset(slot, b, part.type.elem))

        n_blocks = k.udiv(hi + (BLOCK - 1), k.i64(BLOCK))
        k.loop(0, n_blocks, 1, (), one)
        return self.from_buffers(kinds, buffers, n_blocks)
