"""What both loop orders share: addresses, leaves, nodes, values kept between phases."""
from __future__ import annotations

from typing import Any

from ...base import dtypes as dt
from ...base.target import Target
from ..conversion import cast
from ..elementwise import load_element, lower, memory_type, philox, register_type, store_element
from ..ir import KernelBuilder, Type, Val
from .form import EVERY_OTHER, FIXED, PAIRED, REDUCED, REPEATED, UNIT, VECTOR, Form, arguments, param_names


class Emitter:
    """Writes the kernel of a :class:`Form`.

    Values of a row (``self.row``) are scalars, or, in ``col`` mode, live in scratch arrays of the tile.
    """

    def __init__(self, name: str, form: Form, target: Target) -> None:
        self.k = KernelBuilder(name, target.native)
        self.form = form
        self.names = {n: i for i, n in enumerate(param_names(form))}
        self.arguments = arguments(form)
        self.row: dict[int, Val] = {}      # values that are not computed per element
        self.offsets: list[Val] = []       # per class: element offset of the row
        # pointers and parameters are loaded first, outside all loops
        self.pointers = [self.k.arg(i) for i in range(self.arguments.count)]
        self.params = [self.k.param(n) for n in range(len(self.names))]

    # --- parameters and addresses
    def param(self, *name: Any) -> Val:
        return self.params[self.names[name]]

    def unflatten(self, row: Val) -> list[Val]:
        """Indices of the outer variables of a row number, outermost first."""
        k, outer = self.k, self.form.outer
        if outer <= 1:
            return [row] if outer else []
        found: list[Val] = []
        for d in range(outer - 1, 0, -1):
            extent = self.param("extent", d)
            quotient = k.udiv(row, extent)
            found.append(row - quotient * extent)
            row = quotient
        found.append(row)
        return found[::-1]

    def start_row(self, row: Val) -> None:
        """Compute the offset of each stride class for this row."""
        indices = self.unflatten(row)
        self.offsets = []
        for c in range(self.form.n_classes):
            total = self.k.i64(0)
            for d, i in enumerate(indices):
                total = total + i * self.param("outer", c, d)
            self.offsets.append(total)

    def loop_offset(self, cls: int, indices: list[Val]) -> Val:
        """Offset of the reduced loop variables."""
        total = self.k.i64(0)
        for i, v in enumerate(indices):
            total = total + v * self.param("loop_stride", cls, i)
        return total

    def unflatten_loops(self, position: Val) -> list[Val]:
        """Indices of the reduced loop variables of a linear position, outermost first."""
        k, n = self.k, self.form.loops
        found: list[Val] = []
        for i in range(n - 1, 0, -1):
            extent = self.param("loop", i)
            quotient = k.udiv(position, extent)
            found.append(position - quotient * extent)
            position = quotient
        return [*([position] if n else []), *found[::-1]]

    # --- leaves and nodes
    def leaf(self, v: int, at: Val, lanes: int, mask: Val | None, extra: list[Val] | None = None) -> Val:
        """A leaf at vector position ``at`` (and reduced loop indices ``extra``)."""
        f, k = self.form, self.k
        leaf = f.leaves[v]
        if leaf.kind == "const":
            import numpy as np
            value = np.frombuffer(leaf.op.attrs.data, leaf.dtype.numpy)[0]  # type: ignore[union-attr]
            return k.const(float(value) if leaf.dtype.kind == "f" else int(value), Type(register_type(leaf.dtype)))
        inner = leaf.inner if leaf.varies & VECTOR else 0
        offset = self.offsets[leaf.cls] if f.outer else k.i64(0)
        if extra and leaf.varies & REDUCED:
            offset = offset + self.loop_offset(leaf.cls, extra)
        if leaf.kind == "index":
            offset = offset + self.param("start", v)
            if not inner:
                return self.index_value(offset, v)
            first = offset + self.along(leaf.cls, inner, at)
            if lanes == 1:
                return self.index_value(first, v)
            return self.index_value(k.binary("iadd", k.splat(first, lanes), self.spread(leaf.cls, inner, lanes)), v)
        pointer = self.pointers[self.arguments.leaves[v]]
        start = k.offset(pointer, offset + self.along(leaf.cls, inner, at), memory_type(leaf.dtype))
        if not inner:
            return load_element(k, leaf.dtype, start, 1)
        if inner == UNIT or lanes == 1:
            return load_element(k, leaf.dtype, start, lanes, mask)
        if inner == EVERY_OTHER:
            return self.every_other(leaf.dtype, start, lanes, mask)
        if inner == REPEATED:
            return self.repeated(leaf.dtype, start, lanes, mask)
        return self.gathered(leaf.dtype, start, self.spread(leaf.cls, inner, lanes), mask)

    def index_value(self, position: Val, v: int) -> Val:
        """A loop position as a value of the leaf's dtype."""
        dtype = self.form.leaves[v].dtype
        return position if register_type(dtype) == "i64" else cast(self.k, dt.int64, dtype, position)

    def along(self, cls: int, inner: int, at: Val) -> Val:
        """Elements from the row's first to the one at vector position ``at``."""
        k, pair = self.k, self.form.pair
        if inner in (FIXED, UNIT):
            return at if inner else k.i64(0)
        if not pair:
            return at * self.param("vector", cls)
        number = k.lshr(at, k.i64(pair.bit_length() - 1))
        step = number if inner == REPEATED else number * self.param("vector", cls)
        inside = k.and_(at, k.i64(pair - 1))  # zero at the start of a vector
        return step + inside * self.param("pair", cls) if inner == PAIRED else step

    def spread(self, cls: int, inner: int, lanes: int) -> Val:
        """Elements from the first lane to each, where they are not neighbours in memory; as i64."""
        k, pair, ids = self.k, self.form.pair, self.k.lane_ids(lanes, "i64")
        if inner == UNIT:
            return ids
        if not pair:
            return k.binary("imul", ids, k.splat(self.param("vector", cls), lanes))
        number = k.lshr(ids, k.const(pair.bit_length() - 1, ids.type))
        inside = k.and_(ids, k.const(pair - 1, ids.type))
        return k.binary("iadd", k.binary("imul", number, k.splat(self.param("vector", cls), lanes)),
                        k.binary("imul", inside, k.splat(self.param("pair", cls), lanes)))

    def every_other(self, dtype, start: Val, lanes: int, mask: Val | None) -> Val:
        """Elements 0, 2, 4 ... by two loads, the second of which ends at the last element that is needed."""
        k = self.k
        upper = lanes - 1

        def part(first: int) -> Val:
            wanted = mask and k.shuffle(mask, None, [(first + i + 1) // 2 for i in range(lanes)])
            return load_element(k, dtype, k.offset(start, first, memory_type(dtype)), lanes, wanted)
        picked = [i if i < lanes else lanes + i - upper for i in range(0, 2 * lanes, 2)]
        return k.shuffle(part(0), part(upper), picked)

    def repeated(self, dtype, start: Val, lanes: int, mask: Val | None) -> Val:
        """Neighbours, each in as many lanes as a pair has."""
        k, pair = self.k, self.form.pair
        few = load_element(k, dtype, start, lanes // pair, mask and k.shuffle(mask, None, range(0, lanes, pair)))
        return k.shuffle(few, None, [i // pair for i in range(lanes)])

    def gathered(self, dtype, base: Val, positions: Val, mask: Val | None) -> Val:
        from ..elementwise import from_memory
        k, lanes = self.k, positions.type.lanes
        on = mask if mask is not None else k.const(1, Type("i1", lanes))
        raw = k.gather(base, positions, on, k.const(0, Type(memory_type(dtype), lanes)))
        return from_memory(k, dtype, raw)

    def node(self, v: int, get, at: Val, lanes: int, mask: Val | None, extra: list[Val] | None) -> Val:
        """Compute node ``v``; ``get(value)`` gives its operands."""
        f, k = self.form, self.k
        node = f.node(v)
        assert node is not None
        name = node.op.name
        if name == "take":
            return self.take(v, node, get, at, lanes, mask, extra)
        vals = [get(o) for o in node.operands]
        width = max((x.type.lanes for x in vals), default=1)
        if name == "random_bits":
            key, counter, position = vals
            return philox(k, node.dtype, position, key, counter)
        if name == "check":
            self.check(v, vals[0], mask)
            return vals[1]
        if node.op.row.kind != "cast":
            vals = [k.splat(x, width) for x in vals]
        return lower(k, node.op, [f.dtype(o) for o in node.operands], vals)

    def take(self, v: int, node, get, at: Val, lanes: int, mask: Val | None, extra: list[Val] | None) -> Val:
        """table[.., clamp(index), ..]: the index picks along one axis, the loops along the others."""
        f, k = self.form, self.k
        table, index = node.operands
        leaf = f.leaves[table]
        number = v - f.n_leaves
        stride, limit = self.param("take_stride", number), self.param("take_limit", number)
        chosen = get(index)
        if chosen.type.elem != "i64":
            chosen = k.convert("zext" if f.dtype(index).kind == "u" else "sext", chosen, "i64")
        width = chosen.type.lanes
        chosen = k.smin(k.smax(chosen, k.const(0, chosen.type)), k.splat(limit, width))
        offset = self.offsets[leaf.cls] if f.outer else k.i64(0)
        if extra and leaf.varies & REDUCED:
            offset = offset + self.loop_offset(leaf.cls, extra)
        pointer = self.pointers[self.arguments.leaves[table]]
        elem = memory_type(leaf.dtype)
        along = leaf.inner if leaf.varies & VECTOR else 0
        if width == 1:
            offset = offset + chosen * stride
            if not along:
                return load_element(k, leaf.dtype, k.offset(pointer, offset, elem), 1)
            start = k.offset(pointer, offset + self.along(leaf.cls, along, at), elem)
            if along == UNIT or lanes == 1:
                return load_element(k, leaf.dtype, start, lanes, mask)
            return self.gathered(leaf.dtype, start, self.spread(leaf.cls, along, lanes), mask)
        positions = k.binary("imul", chosen, k.splat(stride, width))
        if along:
            positions = k.binary("iadd", positions, self.spread(leaf.cls, along, width))
            offset = offset + self.along(leaf.cls, along, at)
        return self.gathered(leaf.dtype, k.offset(pointer, offset, elem), positions, mask)

    def check(self, v: int, holds: Val, mask: Val | None) -> None:
        """Set the plan's status word if the condition fails on an active lane."""
        k = self.k
        bad = k.xor(holds, k.const(1, holds.type))
        if mask is not None and bad.type.lanes > 1:
            bad = k.and_(bad, mask)
        if bad.type.lanes > 1:
            wide = k.convert("zext", bad, "i8")
            bits = k.bitcast(wide, f"i{8 * bad.type.lanes}")
            any_bad = k.compare("ne", bits, k.const(0, bits.type))
        else:
            any_bad = bad
        number = self.param("check", v - self.form.n_leaves)
        k.if_(any_bad, lambda: k.store(number, self.pointers[self.arguments.status]) or ())

    def put(self, store, index: int, value: Val, at: Val, mask: Val | None, extra: list[Val] | None = None) -> None:
        """Write one store at vector position ``at``."""
        f, k = self.form, self.k
        pointer = self.pointers[self.arguments.stores[index]]
        elem = memory_type(store.dtype)
        offset = self.offsets[store.cls] if f.outer else k.i64(0)
        if extra:
            offset = offset + self.loop_offset(store.cls, extra)
        start = k.offset(pointer, offset + self.along(store.cls, store.inner, at), elem)
        if store.inner == UNIT:
            stream = "nontemporal" if f.stream and mask is None and value.type.lanes > 1 else None
            store_element(k, store.dtype, value, start, mask, stream)
            return
        if store.inner == FIXED or value.type.lanes == 1:
            first = k.extract(value, 0)  # a single element: nothing beside it may be touched
            store_element(k, store.dtype, first, start, None)
            return
        from ..elementwise import to_memory
        lanes = value.type.lanes
        on = mask if mask is not None else k.const(1, Type("i1", lanes))
        k.scatter(to_memory(k, store.dtype, value), start, self.spread(store.cls, store.inner, lanes), on)

    # --- scratch
    def scratch_row(self, slot: int, elements: Val, base: Val) -> Val:
        """Start of scratch array ``slot``; each has room for ``elements`` values of 8 bytes."""
        return self.k.offset(base, elements * (8 * slot), "i8")

    def tail_mask(self, lanes: int, left: Val) -> Val:
        """Lanes below ``left``."""
        k = self.k
        short = k.convert("trunc", left, "i32")
        return k.compare("slt", k.lane_ids(lanes, "i32"), k.splat(short, lanes))


def elem_of(value: Val) -> str:
    """Memory form of a register value kept in scratch (i1 as i8)."""
    return "i8" if value.type.elem == "i1" else value.type.elem


