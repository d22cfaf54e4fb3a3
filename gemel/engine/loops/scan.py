"""Schedule of running sums, products, maxima and minima.

In: a ``scan`` equation. Out: one call. The axis is walked in rising order, as the interpreter does, so the bits do
not depend on how the rest is shared: where elements beside the axis are neighbours, a task is a tile of columns
and vectors run across them, their running values in scratch memory; else a task is a group of eight rows whose
chains of additions overlap.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..base import dtypes as dt
from ..base.dtypes import DType
from ..base.target import Target
from .calls import Call, KernelSpec, Operand
from .elementwise import load_element, lower_name, memory_type, register_type, round_to, store_element
from .group import Group
from .ir import Kernel, KernelBuilder, Type, Val
from .rowwise.reductions import extreme_identity
from .rowwise.schedule import Context, share
from .strided import dense, parts

TILE = 256   # columns of a task
ROWS = 8     # rows of a task


@dataclass(frozen=True)
class _Scan:
    """Structure of a kernel: the op, the element type, and whether vectors run across columns."""

    name: str
    dtype: DType
    columns: bool

    @property
    def wide(self) -> DType:
        """The type in which values accumulate."""
        extreme = self.name in ("cummax", "cummin")
        return self.dtype if extreme else dt.compute_type(self.dtype)

    @property
    def combine(self) -> str:
        """The elementwise op between the running value and an element."""
        name = {"cumsum": "add", "cumprod": "mul", "cummax": "max", "cummin": "min"}[self.name]
        return {"add": "or", "mul": "and"}.get(name, name) if self.dtype is dt.bool_ else name

    @property
    def identity(self) -> float | int:
        if self.dtype is dt.bool_:
            return int(self.name in ("cumprod", "cummin"))
        if self.name == "cumsum":
            return -0.0 if self.dtype.kind == "f" else 0
        return 1 if self.name == "cumprod" else extreme_identity(self.dtype, self.name == "cummax")


def schedule_scan(g: Group, context: Context) -> list[Call]:
    """The call of a scan."""
    e = g.anchor
    assert e is not None
    x, axis = e.inputs[0], e.op.attrs.axis
    if not x.type.size:
        return []
    source = parts(context, x, axis, axis + 1)
    lead, n, inner = source.sizes
    scan = _Scan(e.op.name, x.type.dtype, inner > 1)
    per_lead = -(-inner // TILE) if scan.columns else 1
    tasks = lead * per_lead if scan.columns else -(-lead // ROWS)
    work, nbytes = x.type.size, 2 * x.type.nbytes
    params = [lead, n, inner, per_lead, source.strides[0], source.strides[1], n * inner, inner]
    call = Call(KernelSpec(f"{scan.name}_{'columns' if scan.columns else 'rows'}_{scan.dtype.ir}", ("scan", scan),
                           lambda symbol, target: _build(symbol, target, scan)),
                [source.operand, Operand(e.output)], params, tasks, share(tasks, work, nbytes, context.threads), (1,),
                ((1, 0),) if dense(source) else (), work, nbytes)
    return [*source.calls, call]


def _build(symbol: str, target: Target, scan: _Scan) -> Kernel:
    k = KernelBuilder(symbol, target.native)
    source, result = k.arg(0), k.arg(1)
    lead, n, inner, per_lead, x_lead, x_step, y_lead, y_step = (k.param(i) for i in range(8))
    elem, wide = memory_type(scan.dtype), register_type(scan.wide)
    held = "i8" if wide == "i1" else wide  # in scratch memory

    def advance(old: Val, x: Val) -> Val:
        return lower_name(k, scan.combine, scan.wide, old, x)

    def put(value: Val, place: Val) -> None:
        rounded = value if scan.wide is scan.dtype else round_to(k, scan.dtype, value)
        store_element(k, scan.dtype, rounded, place)

    def tile(t: Val) -> None:
        row = k.udiv(t, per_lead)
        lo = (t - row * per_lead) * TILE
        width = k.smin(inner - lo, k.i64(TILE))
        lanes = 16 if scan.wide.bits <= 32 else 8
        full = k.and_(width, k.i64(-lanes))
        x0, y0 = row * x_lead + lo, row * y_lead + lo
        k.loop(0, TILE, lanes, body=lambda j: k.store(
            k.const(scan.identity, Type(held, lanes)), k.offset(k.scratch, j, held)))

        def step(i: Val) -> None:
            xi, yi = x0 + i * x_step, y0 + i * y_step

            def some(j: Val, count: int) -> None:
                place = k.offset(k.scratch, j, held)
                old = k.load(place, Type(held, count))
                old = k.compare("ne", old, k.const(0, old.type)) if held != wide else old
                new = advance(old, load_element(k, scan.dtype, k.offset(source, xi + j, elem), count))
                k.store(k.convert("zext", new, held) if held != wide else new, place)
                put(new, k.offset(result, yi + j, elem))

            k.loop(0, full, lanes, body=lambda j: some(j, lanes))
            k.loop(full, width, 1, body=lambda j: some(j, 1))

        k.loop(0, n, 1, body=step)

    def rows(first: Val, count: int) -> None:
        starts = [(k.i64(0) + (first + r) * x_lead, (first + r) * y_lead) for r in range(count)]

        def step(i: Val, *running: Val) -> list[Val]:
            found = []
            for old, (x0, y0) in zip(running, starts, strict=True):
                new = advance(old, load_element(k, scan.dtype, k.offset(source, x0 + i * x_step, elem)))
                put(new, k.offset(result, y0 + i * y_step, elem))
                found.append(new)
            return found

        k.loop(0, n, 1, [k.const(scan.identity, Type(wide))] * count, step)

    def group(t: Val) -> None:
        first = t * ROWS
        whole = k.compare("sle", first + ROWS, lead)
        k.if_(whole, lambda: rows(first, ROWS), lambda: k.loop(first, lead, 1, body=lambda r: rows(r, 1)))

    k.loop(k.begin, k.end, 1, body=tile if scan.columns else group)
    return k.finish()
