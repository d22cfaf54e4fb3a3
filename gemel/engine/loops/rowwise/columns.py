"""Loop order of ``col``: tiles of the vector variable; inside a tile the reduced loops, then vectors.

Partials, block results and values of a column live in scratch arrays as wide as the tile, so that every array is
walked row by row in memory order.
"""
from __future__ import annotations

from ..elementwise import register_type
from ..ir import Type, Val
from .emitter import Emitter, elem_of
from .form import REDUCED, VECTOR
from .reductions import BLOCK, PARTIALS, Reduction, State, reduction

TILE = 128  # columns of a task


class Columns(Emitter):
    """Emits one task per tile of columns, or per (tile, block of 256 reduced elements) when ``blocked``."""

    def emit(self):
        k = self.k
        k.loop(k.begin, k.end, 1, (), self.task)
        return k.finish()

    def task(self, t: Val) -> None:
        k, f = self.k, self.form
        self.row = {}
        self.slots = 0
        per_row = self.param("tasks_per_row")
        row = k.udiv(t, per_row)
        part = t - row * per_row
        block = k.i64(0)
        if f.blocked:  # tasks of a row: block by block, tile by tile
            tiles = k.udiv(self.param("n") + (TILE - 1), k.i64(TILE))
            block = k.udiv(part, tiles)
            part = part - block * tiles
            self.flat = row * k.udiv(per_row, tiles) + block
        self.start_row(row)
        self.first = part * TILE
        self.width = k.smin(self.param("n") - self.first, k.i64(TILE))
        total = self.param("reduced")
        lo = block * BLOCK if f.blocked else k.i64(0)
        hi = k.smin(lo + BLOCK, total) if f.blocked else total
        self.tiles: dict[int, Val] = {}  # value of a column -> its scratch array
        for phase in range(f.phases):
            self.phase = phase
            self.prepare(self.form.outside(phase))
            if self.form.reductions(phase):
                self.reducing_pass(lo, hi)
            elif self.form.element_stores(phase):
                k.loop(lo, hi, 1, (), lambda r: self.line(r, [], [], None))
        if not f.blocked:
            self.tile_stores()

    # --- scratch
    def array(self, elem: str, rows: int = 1) -> Val:
        """A scratch array of ``rows`` x TILE elements of up to 8 bytes."""
        at = self.slots
        self.slots += rows
        return self.k.offset(self.k.scratch, at * TILE * 8, "i8")

    def vectors(self, body) -> None:
        """``body(position in the tile, mask)`` over the columns of the tile."""
        k, lanes = self.k, self.form.lanes
        full = k.and_(self.width, k.i64(-lanes))
        k.loop(0, full, lanes, (), lambda j: body(j, None) and None)
        left = self.width - full

        def tail() -> None:
            body(full, self.tail_mask(lanes, left))
        k.if_(k.compare("sgt", left, k.i64(0)), tail)

    def save(self, value: Val, array: Val, j: Val) -> None:
        elem = elem_of(value)
        self.k.store(value if elem == value.type.elem else self.k.convert("zext", value, elem),
                     self.k.offset(array, j, elem))

    def fetch(self, v: int, array: Val, j: Val) -> Val:
        k = self.k
        elem = register_type(self.form.dtype(v))
        stored = "i8" if elem == "i1" else elem
        value = k.load(k.offset(array, j, stored), Type(stored, self.form.lanes))
        return value if stored == elem else k.compare("ne", value, k.const(0, value.type))

    # --- values of a column (or of the whole row): computed between phases
    def prepare(self, wanted: list[int]) -> None:
        """Compute values of columns into scratch arrays, values of the row into scalars."""
        f = self.form
        scalars = [v for v in wanted if not f.varying[v] & (VECTOR | REDUCED)]
        for v in scalars:
            self.scalar(v)
        columns = [v for v in wanted if f.varying[v] & VECTOR and v not in self.tiles]
        if not columns:
            return
        arrays = {v: self.array(register_type(f.dtype(v))) for v in columns}
        for v in self.below(columns):
            self.scalar(v)

        def body(j: Val, mask: Val | None) -> None:
            get = self.column_values(j, mask)
            for v, array in arrays.items():
                self.save(self.k.splat(get(v), f.lanes), array, j)

        self.vectors(body)
        self.tiles.update(arrays)

    def below(self, wanted: list[int]) -> list[int]:
        """Row values that the computation of these column values uses."""
        f = self.form
        found: dict[int, None] = {v: None for v in wanted if not f.varying[v] & VECTOR}
        stack = [v for v in wanted if v not in found]
        while stack:
            node = f.node(stack.pop())
            if node is None or f.is_reduction(f.n_leaves + f.nodes.index(node)):
                continue
            for o in node.operands:
                if o < f.n_leaves and f.leaves[o].kind == "table":
                    continue
                if f.varying[o] & VECTOR:
                    stack.append(o)
                else:
                    found[o] = None
        return list(found)

    def scalar(self, v: int) -> Val:
        if v not in self.row:
            at = self.k.i64(0)
            self.row[v] = (self.leaf(v, at, 1, None) if v < self.form.n_leaves else
                           self.node(v, self.scalar, at, 1, None, None))
        return self.row[v]

    def column_values(self, j: Val, mask: Val | None):
        """``get(value)`` for values of columns at tile position ``j``."""
        f = self.form
        env: dict[int, Val] = {}

        def get(v: int) -> Val:
            if v in env:
                return env[v]
            if v in self.tiles:
                value = self.fetch(v, self.tiles[v], j)
            elif not f.varying[v] & VECTOR:
                value = self.scalar(v)
            elif v < f.n_leaves:
                value = self.leaf(v, self.first + j, f.lanes, mask)
            else:
                value = self.node(v, get, self.first + j, f.lanes, mask, None)
            env[v] = value
            return value

        return get

    def tile_stores(self) -> None:
        f, k = self.form, self.k
        rows = [i for i, s in enumerate(f.stores) if not f.is_element_store(s)]
        if not rows:
            return
        for v in self.below([f.stores[i].value for i in rows]):
            self.scalar(v)

        def body(j: Val, mask: Val | None) -> None:
            get = self.column_values(j, mask)
            for i in rows:
                s = f.stores[i]
                self.put(s, i, k.splat(get(s.value), f.lanes), self.first + j, mask)

        self.vectors(body)

    # --- passes over the reduced loops
    def line(self, r: Val, nodes: list[int], kinds: list[Reduction], partial: list[list[Val]] | None) -> None:
        """One reduced position ``r``: all columns of the tile."""
        f, k = self.form, self.k
        extra = self.unflatten_loops(r)
        scalars: dict[int, Val] = {}

        def line_value(v: int) -> Val:
            """A value of this reduced position that is the same for all columns."""
            if not f.is_element(v):
                return self.row[v]
            if v not in scalars:
                at = k.i64(0)
                scalars[v] = (self.leaf(v, at, 1, None, extra) if v < f.n_leaves else
                              self.node(v, line_value, at, 1, None, extra))
            return scalars[v]

        for v in sorted(self.form.needed(self.phase)):
            if not f.varying[v] & VECTOR and not (v < f.n_leaves and f.leaves[v].kind == "table"):
                line_value(v)

        def body(j: Val, mask: Val | None) -> None:
            env: dict[int, Val] = dict(scalars)

            def get(v: int) -> Val:
                if v in env:
                    return env[v]
                if v in self.tiles:
                    value = self.fetch(v, self.tiles[v], j)
                elif v in self.row:
                    value = self.row[v]
                elif v < f.n_leaves:
                    value = self.leaf(v, self.first + j, f.lanes, mask, extra)
                else:
                    value = self.node(v, get, self.first + j, f.lanes, mask, extra)
                env[v] = value
                return value

            for n, v in enumerate(nodes):
                kind = kinds[n]
                assert partial is not None
                x = k.splat(get(f.nodes[v - f.n_leaves].operands[0]), f.lanes)
                new = kind.element(k, x, k.splat(r, f.lanes) if kind.needs_position else None)
                lane = k.and_(r, k.i64(PARTIALS - 1)) * TILE + j
                places = [k.offset(p, lane, e) for p, e in zip(partial[n], kind.state, strict=True)]
                old = tuple(k.load(p, Type(e, f.lanes)) for p, e in zip(places, kind.state, strict=True))
                for value, place in zip(kind.combine(k, old, new), places, strict=True):
                    k.store(value, place)
            # all values first: a store may take over the memory of a leaf that another store still reads
            stores = [(i, f.stores[i]) for i in f.element_stores(self.phase)]
            values = [k.splat(get(s.value), f.lanes) for _, s in stores]
            for (i, s), value in zip(stores, values, strict=True):
                self.put(s, i, value, self.first + j, mask, extra)

        self.vectors(body)

    def reducing_pass(self, lo: Val, hi: Val) -> None:
        k, f = self.k, self.form
        nodes = self.form.reductions(self.phase)
        kinds = [reduction(f.nodes[v - f.n_leaves].op.name, f.dtype(f.nodes[v - f.n_leaves].operands[0]))
                 for v in nodes]
        for operand in [f.nodes[v - f.n_leaves].operands[0] for v in nodes]:
            if not f.is_element(operand) and not f.varying[operand] & VECTOR:  # a constant is summed
                self.scalar(operand)
        partial = [[self.array(e, PARTIALS) for e in kind.state] for kind in kinds]
        results = [[self.array(e) for e in kind.state] for kind in kinds]
        if f.single or f.blocked:
            self.block(nodes, kinds, partial, lo, hi, results, None)
        else:
            blocks = [[self.array(e, BLOCK) for e in kind.state] for kind in kinds]
            n_blocks = k.udiv(hi + (BLOCK - 1), k.i64(BLOCK))
            k.loop(0, n_blocks, 1, (), lambda b: self.block(
                nodes, kinds, partial, b * BLOCK, k.smin(b * BLOCK + BLOCK, hi), blocks, b))
            self.second_level(kinds, partial, blocks, n_blocks, results)
        self.finish_reductions(nodes, kinds, results)

    def block(self, nodes, kinds, partial, lo: Val, hi: Val, results, row: Val | None) -> None:
        """Reduce rows [lo, hi) into row ``row`` of ``results``."""
        self.clear(kinds, partial)
        self.k.loop(lo, hi, 1, (), lambda r: self.line(r, nodes, kinds, partial))
        self.trees(kinds, partial, results, row)

    def clear(self, kinds: list[Reduction], partial) -> None:
        k, lanes = self.k, self.form.lanes

        def body(i: Val) -> None:
            for kind, slots in zip(kinds, partial, strict=True):
                for value, slot, e in zip(kind.identity(k, lanes), slots, kind.state, strict=True):
                    k.store(value, k.offset(slot, i, e))
        k.loop(0, PARTIALS * TILE, lanes, (), body)

    def trees(self, kinds: list[Reduction], partial, results, row: Val | None) -> None:
        """Combine the 16 partials of every column by halving."""
        k, lanes = self.k, self.form.lanes
        width = k.and_(self.width + (lanes - 1), k.i64(-lanes))

        def body(j: Val) -> None:
            for kind, slots, out in zip(kinds, partial, results, strict=True):
                states: list[State] = [
                    tuple(k.load(k.offset(slot, j + lane * TILE, e), Type(e, lanes))
                          for slot, e in zip(slots, kind.state, strict=True)) for lane in range(PARTIALS)]
                while len(states) > 1:
                    half = len(states) // 2
                    states = [kind.combine(k, states[i], states[i + half]) for i in range(half)]
                for value, slot, e in zip(states[0], out, kind.state, strict=True):
                    at = j if row is None else row * TILE + j
                    k.store(value, k.offset(slot, at, e))
        k.loop(0, width, lanes, (), body)

    def second_level(self, kinds, partial, blocks, n_blocks: Val, results) -> None:
        """The same rule over the block results of every column."""
        k, lanes = self.k, self.form.lanes
        width = k.and_(self.width + (lanes - 1), k.i64(-lanes))
        self.clear(kinds, partial)

        def add(b: Val) -> None:
            def body(j: Val) -> None:
                lane = k.and_(b, k.i64(PARTIALS - 1)) * TILE + j
                for kind, slots, rows in zip(kinds, partial, blocks, strict=True):
                    places = [k.offset(p, lane, e) for p, e in zip(slots, kind.state, strict=True)]
                    old = tuple(k.load(p, Type(e, lanes)) for p, e in zip(places, kind.state, strict=True))
                    new = tuple(k.load(k.offset(p, b * TILE + j, e), Type(e, lanes))
                                for p, e in zip(rows, kind.state, strict=True))
                    for value, place in zip(kind.combine(k, old, new), places, strict=True):
                        k.store(value, place)
            k.loop(0, width, lanes, (), body)

        k.loop(0, n_blocks, 1, (), add)
        self.trees(kinds, partial, results, None)

    def finish_reductions(self, nodes, kinds, results) -> None:
        """Turn states into values of the columns, or write them as partial results of a block."""
        k, f = self.k, self.form
        arrays = {v: self.array(register_type(f.dtype(v))) for v in nodes}

        def body(j: Val, mask: Val | None) -> None:
            for v, kind, slots in zip(nodes, kinds, results, strict=True):
                state = tuple(k.load(k.offset(slot, j, e), Type(e, f.lanes))
                              for slot, e in zip(slots, kind.state, strict=True))
                if not f.blocked:
                    self.save(kind.result(k, state), arrays[v], j)
                    continue
                at = self.flat * self.param("n") + self.first + j
                pointer = k.offset(self.pointers[self.arguments.partials[v]], at, state[0].type.elem)
                if mask is None:
                    k.store(state[0], pointer)
                else:
                    k.masked_store(state[0], pointer, mask)

        self.vectors(body)
        if not f.blocked:
            self.tiles.update(arrays)
