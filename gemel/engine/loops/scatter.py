"""Schedule of ``scatter``: updates combined into rows of a value, rising source index for every row.

In: a ``scatter`` equation. Out: the base (a fill or a copy, skipped where the result takes over its memory), then
one call. A task owns a part of the result: a tile of the elements behind the axis, for one place before it, and,
where that gives the threads too little to share, a range of destination rows. It walks all indices in rising order
and applies those that fall into its part, so the order of additions does not depend on threads.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..base import dtypes as dt
from ..base.dtypes import DType
from ..base.target import Target
from .assemble import whole
from .calls import Call, KernelSpec, Operand
from .elementwise import load_element, lower_name, memory_type, store_element
from .group import Group
from .ir import Kernel, KernelBuilder, Type, Val
from .rowwise.schedule import SHARE_WORK, Context, share
from .strided import parts

TILE = 128         # elements behind the axis of one task, at least
RANGE_WORK = 4096  # indices that are worth walking twice, to share the work


@dataclass(frozen=True)
class _Scatter:
    """Structure of a kernel: how to combine, element type, index type, and whether rows are single elements."""

    mode: str
    dtype: DType
    index: DType
    single: bool

    @property
    def combine(self) -> str:
        if self.dtype is dt.bool_:
            return {"add": "or", "mul": "and"}.get(self.mode, self.mode)
        return self.mode


def schedule_scatter(g: Group, context: Context) -> list[Call]:
    """The calls of a scatter."""
    e = g.anchor
    assert e is not None
    x, index, updates = e.inputs
    out, axis = e.output, e.op.attrs.axis
    if not out.type.size:
        return []
    calls = whole(context, x, out, "scatter_base")
    if not index.type.size:
        return calls
    rows = parts(context, updates, axis, axis + index.type.ndim)
    picks = parts(context, index, 0, index.type.ndim, dense_inner=False)
    lead, count, inner = rows.sizes
    n = out.shape[axis]
    work, nbytes = updates.type.size, 3 * updates.type.nbytes
    wanted = 4 * context.threads if work >= SHARE_WORK and context.threads > 1 else 1
    tile = max(TILE, -(-inner // max(1, wanted // lead)))
    tiles = -(-inner // tile)
    ranges = min(context.threads, n) if lead * tiles < wanted and count >= RANGE_WORK and wanted > 1 else 1
    tasks = lead * tiles * ranges
    scatter = _Scatter(e.op.attrs.mode, x.type.dtype, index.type.dtype, inner == 1)
    params = [n, count, inner, tile, tiles, ranges, -(-n // ranges), rows.strides[0], rows.strides[1],
              picks.strides[1]]
    call = Call(KernelSpec(f"scatter_{scatter.mode}_{scatter.dtype.ir}", ("scatter", scatter),
                           lambda symbol, target: _build(symbol, target, scatter)),
                [picks.operand, rows.operand, Operand(out)], params, tasks, 1 if wanted > 1 else share(
                    tasks, work, nbytes, context.threads), (2,), (), work, nbytes)
    return [*calls, *rows.calls, *picks.calls, call]


def _build(symbol: str, target: Target, scatter: _Scatter) -> Kernel:
    k = KernelBuilder(symbol, target.native)
    dtype = scatter.dtype
    index, updates, result = k.arg(0), k.arg(1), k.arg(2)
    n, count, inner, tile, tiles, ranges, span, u_lead, u_step, i_step = (k.param(i) for i in range(10))
    elem, index_elem = memory_type(dtype), memory_type(scatter.index)
    lanes = 16 if dtype.bits <= 32 else 8

    def element(to: Val, source: Val, j: Val, width: int) -> None:
        place = k.offset(result, to + j, elem)
        new = load_element(k, dtype, k.offset(updates, source + j, elem), width)
        if scatter.mode != "set":
            new = lower_name(k, scatter.combine, dtype, load_element(k, dtype, place, width), new)
        store_element(k, dtype, new, place)

    def task(t: Val) -> None:
        per_lead = tiles * ranges
        lead = k.udiv(t, per_lead)
        rest = t - lead * per_lead
        column = k.udiv(rest, ranges)
        lo = column * tile
        hi = k.smin(lo + tile, inner)
        first = (rest - column * ranges) * span
        last = k.smin(first + span, n)
        full = lo + k.and_(hi - lo, k.i64(-lanes))
        to_lead, from_lead = lead * (n * inner), lead * u_lead

        def row(j: Val) -> None:
            at = k.load(k.offset(index, j * i_step, index_elem), Type(index_elem))
            at = k.convert("zext" if scatter.index.kind == "u" else "sext", at, "i64")
            inside = k.and_(k.compare("sge", at, first), k.compare("slt", at, last))

            def write() -> None:
                to, source = to_lead + at * inner, from_lead + j * u_step
                if scatter.single:
                    element(to, source, k.i64(0), 1)
                    return
                k.loop(lo, full, lanes, body=lambda i: element(to, source, i, lanes))
                k.loop(full, hi, 1, body=lambda i: element(to, source, i, 1))

            k.if_(inside, write)

        k.loop(0, count, 1, body=row)

    k.loop(k.begin, k.end, 1, body=task)
    return k.finish()
