"""Schedules of ``conv`` and of its gradients in the input (``conv_transpose``) and in the weight.

All three are contractions of windows of an image with a second operand. What is broadcast comes from windows, what
lies in lanes are channels of the second operand; the epilogue finishes each register tile.

====================  ===================  ============================  =========================
op                    image                rows (broadcast)              k
====================  ===================  ============================  =========================
conv                  x                    positions                     taps, input channels
conv_transpose        g                    input positions               taps, output channels
conv_weight_grad      x                    input channels, taps          images, positions
====================  ===================  ============================  =========================

Strides, padding, dilation and layouts are parameters: one kernel serves every shape. (A ``conv_transpose`` has no
stride any more: ``passes.decompose``.) Nothing here changes a
result's bits. Declines: dtypes without native arithmetic, more than three spatial axes.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...base import dtypes as dt
from ...ir.program import Equation, Var
from ...ir.types import row_major, tensor_type
from ..assemble import copy_into
from ..calls import Call, KernelSpec, Operand, Refusal, Schedule, Temp
from ..contract import epilogue
from ..expression import identity
from ..gemm import arithmetic
from ..gemm.arithmetic import BLOCK, SUPER, Plain
from ..gemm.finish import Finish, kind_of
from ..gemm.operand import PackedLayout, panel_count
from ..gemm.pack import mode_of
from ..gemm.problem import Access, GemmProblem
from ..gemm.schedule import combine_call, gemm
from ..gemm.tile import Shape
from ..group import Group
from ..index import Affine, Domain, offset_of
from ..rowwise.schedule import Context, schedule_rowwise
from . import kernel, lines, positions, unfold, weight_grad
from .weights import pack_weights
from .window import AXES, Axis, backward_axis, forward_axis

WINDOW_BYTES = 384 << 10   # of one task: with a panel of weights, half of the second-level cache
SUMS_BYTES = 1 << 20       # unfinished tiles of a task
MOST_WINDOW = 2 << 20      # of one position: beyond, windows are copied to memory first
PASS = 1024                # of k, of a weight's gradient
POSITION_PASS = 1024       # of k, with positions in lanes
CHUNK_BYTES = 1 << 20      # panels of positions that a task packs
PLANES_BYTES = 1 << 20   # lines that a task copies
MOST_PLANES = 3 << 19      # of one panel of positions: beyond, it is packed
TASKS_PER_THREAD = 4
TASK_CYCLES = 50_000
ROWS = 512                 # positions of a task, about


@dataclass(frozen=True)
class _Array:
    """A tensor in memory with one stride per axis."""

    operand: Operand
    strides: tuple[int, ...]
    dtype: dt.DType


def _strided(context: Context, v: Var, calls: list[Call]) -> _Array:
    """``v`` as a strided array; copied first where the movement in front of it is not a strided view."""
    for _ in range(2):
        d = Domain()
        index = d.axes(v.shape)
        source, at = context.resolve(d, v, index)
        strides, offset = context.layout(source)
        position = offset_of(d, at, strides, offset)
        variables = [a.terms[0][0] if a.terms else None for a in index]
        if not any(n in d.splits for n in variables if n is not None):
            terms, size = dict(position.terms), v.type.dtype.itemsize
            operand = Operand(source, position.const * size, tuple((s, c * size) for s, c in position.dynamic))
            return _Array(operand, tuple(terms.get(n, 0) if n is not None else 0 for n in variables), v.type.dtype)
        copy = Var(v.type)
        calls += copy_into(context, v, copy, tuple(range(v.type.ndim)))
        v = copy
    raise AssertionError("a fresh copy is a strided array")


@dataclass(frozen=True)
class _Epilogue:
    """The epilogue's arrays: rows are positions (m), lanes channels (n), batch (1, image, group).

    ``writes``: how many of the operands, the last ones, are results. ``after``: copies of results to where they belong.
    """

    operands: list[Operand]
    accesses: list[Access]
    writes: int
    after: list[Call]
    problem: GemmProblem

    def finish(self, acc: str, swap: bool = False) -> Finish:
        """``swap``: channels are the rows of a tile, positions its lanes."""
        kinds = [kind_of(a.n, a.m) if swap else kind_of(a.m, a.n) for a in self.accesses]
        n = len(kinds) - self.writes
        return Finish(acc, self.problem.out, self.problem.expression, tuple(kinds[:n]), tuple(kinds[n:]))

    def params(self, swap: bool = False) -> list[int]:
        found: list[int] = []
        for a in self.accesses:
            found += [*a.batch, a.n, a.m] if swap else [*a.batch, a.m, a.n]
        return found

    @property
    def inputs(self) -> list[Operand]:
        return self.operands[:-self.writes]

    @property
    def outputs(self) -> list[Operand]:
        return self.operands[-self.writes:]


def _role_stride(d: Domain, at: Affine, variables: Sequence[int]) -> int | None:
    """The stride along variables (outermost first) walked as one; None if they cannot be."""
    terms, stride, size = dict(at.terms), None, 1
    for v in reversed(variables):
        mine = terms.get(v, 0)
        if stride is None:
            stride = mine
        elif mine != stride * size:
            return None
        size *= d.sizes[v]
    return 0 if stride is None else stride


def _epilogue(g: Group, context: Context, calls: list[Call], batch: tuple[int, int],
              roles: Sequence[tuple[int, ...]], groups_role: int, groups: int) -> _Epilogue:
    """Bring the epilogue's arrays to strides along the roles of the result's axes.

    Args:
        roles: axes of the result that make up the images, the lanes, the rows. groups_role: which of them the groups
            divide, and how many they are.
    """
    e = g.anchor
    assert e is not None
    d, result = g.domain, g.index[e.output]
    expression, reads, stores = epilogue(g, context)
    shape = e.output.shape
    after: list[Call] = []

    def strides(v: Var, index) -> tuple[Operand, list[int]] | None:
        layout, offset = context.layout(v)
        at = d.resolve(offset_of(d, index, layout, offset))
        found = []
        for axes in roles:
            leaves = [leaf for axis in axes for n, _ in result[axis].terms for leaf in d.leaves(n)]
            found.append(_role_stride(d, at, leaves))
        if None in found:
            return None
        size = v.type.dtype.itemsize
        return Operand(v, at.const * size, tuple((s, c * size) for s, c in at.dynamic)), found

    def copy(source: Var, at, to: Var, index) -> list[Call]:
        c = Group("rowwise", d, 0)
        c.index[to], c.phase[to] = index, 0
        c.reads[-1, 0] = (source, at)
        c.stores.append(to)
        c.label = "arrange"
        return schedule_rowwise(c, context)

    arrays: list[tuple[Operand, list[int]]] = []
    for v, index in reads:
        found = strides(v, index)
        if found is None:  # for example broadcast along one of the spatial axes
            dense = Var(tensor_type(v.type.dtype, shape))
            calls += copy(v, index, dense, result)
            found = strides(dense, result)
        assert found is not None
        arrays.append(found)
    for v in stores:
        found = strides(v, g.index[v])
        if found is None:
            dense = Var(tensor_type(v.type.dtype, shape))
            found = strides(dense, result)
            after += copy(dense, result, v, g.index[v])
        assert found is not None
        arrays.append(found)
    accesses: list[Access] = []
    for _, (image, lane, row) in arrays:
        count = math.prod(shape[a] for a in roles[groups_role]) // groups
        accesses.append(Access((0, image, (image, lane, row)[groups_role] * count), row, lane))
    n = len(reads)
    lanes, rows = (math.prod(shape[a] for a in roles[i]) // (groups if groups_role == i else 1) for i in (1, 2))
    problem = GemmProblem((1, *batch), rows, lanes, 0, (0, 0, 0), 0, 0, (0, 0, 0), 0, 0, e.inputs[0].type.dtype,
                          e.output.type.dtype, tuple(accesses[n:]), expression, tuple(accesses[:n]))
    return _Epilogue([o for o, _ in arrays], accesses, len(stores), after, problem)


def _writes(first: int, found: _Epilogue) -> tuple[int, ...]:
    n = first + len(found.operands)
    return tuple(range(n - found.writes, n))


def _three(values: Sequence, fill) -> tuple:
    """Spatial values for three axes: missing ones lead."""
    return (*(fill,) * (3 - len(values)), *values)


def _refusal(g: Group) -> Refusal | None:
    e = g.anchor
    assert e is not None
    dtype = e.inputs[0].type.dtype
    if dtype.kind not in "fiu":
        return Refusal(f"{e.op.name} of {dtype.name} has no native arithmetic")
    if e.inputs[0].type.ndim > 5:
        return Refusal(f"{e.op.name} with {e.inputs[0].type.ndim - 2} spatial axes: at most 3")
    return None


def _shape_of(context: Context, lanes: int, rows: int, arith: Plain) -> Shape:
    """The register tile that wastes least."""
    wide = context.target.registers == 32
    fused = arith.fused or arith.acc[0] == "i"
    options = ([Shape(8, 3), Shape(6, 4), Shape(7, 3), Shape(8, 1)] if wide else
               [Shape(4, 3), Shape(8, 1)] if fused else [Shape(4, 2), Shape(8, 1)])

    def cycles(shape: Shape) -> float:
        panels, full = panel_count(-(-lanes // arith.lanes), shape.vectors)
        tile = full * _tile(shape.height, shape.vectors) + (panels - full) * _tile(shape.height, shape.widths[-1])
        return -(-rows // shape.height) * tile
    return min(options, key=cycles)


def _tile(height: int, vectors: int) -> float:
    return max(height * vectors / 2, (height + vectors) / 2, 4.0)


def _blocks(axes: Sequence[Axis], channels: int, itemsize: int, wanted: int) -> tuple[int, int, int]:
    """Positions of a task along each axis; an axis is cut only where those before it have one position."""
    def size(block: Sequence[int]) -> int:
        return channels * itemsize * math.prod(a.size(n) for a, n in zip(axes, block, strict=True))

    block = [1, 1, 1]
    for i in reversed(AXES):
        most = axes[i].out
        def fits(n: int, i: int = i) -> bool:
            trial = [*block[:i], n, *block[i + 1:]]
            return size(trial) <= WINDOW_BYTES and math.prod(trial) <= wanted
        n = most
        if not fits(n):
            n = max([1] + [c for c in (-(-most // parts) for parts in range(2, most + 1)) if fits(c)][:1])
        block[i] = n
        if n < most:
            break
    return block[0], block[1], block[2]


def _conv_like(g: Group, context: Context, image: Var, weight: Var, axes: Sequence[Axis], groups: int,
               flip: bool) -> Schedule:
    """``conv`` (``flip`` False: lanes are the weight's first axis) and ``conv_transpose``."""
    e = g.anchor
    assert e is not None
    dtype, out = image.type.dtype, e.output
    arith = arithmetic.plain(dtype, dtype, context.target)
    assert arith is not None
    calls: list[Call] = []
    n, spatial = out.shape[0], tuple(range(2, out.type.ndim))
    found = _epilogue(g, context, calls, (n, groups), ((0,), (1,), spatial), 1, groups)
    channels, lanes = image.shape[1] // groups, out.shape[1] // groups
    area, taps = math.prod(a.out for a in axes), math.prod(a.taps for a in axes)
    if not out.type.size:
        return calls + found.after
    if not channels * taps:
        done = gemm(found.problem, Operand(None), Operand(None), found.inputs, found.outputs, context.target,
                    context.threads)
        return done if isinstance(done, Refusal) else calls + done + found.after
    shape = _shape_of(context, lanes, area, arith)
    k = taps * channels
    itemsize = arithmetic.nbytes(arith.panel)
    if channels * math.prod(a.size(1) for a in axes) * itemsize + 8 * k > MOST_WINDOW:
        done = unfold.conv(context, image, weight, axes, groups, flip, found.problem, found.inputs,
                           found.outputs)
        return done if isinstance(done, Refusal) else calls + done + found.after
    x, w = _strided(context, image, calls), _strided(context, weight, calls)
    side = _Side(e, x, w, tuple(axes), n, groups, channels, lanes, area, taps, flip)
    if (product := _pointwise(side, found.problem)) is not None:
        done = gemm(product, replace(x.operand, offset=x.operand.offset + _skipped(side)), w.operand, found.inputs,
                    found.outputs, context.target, context.threads, chain=True)
        return done if isinstance(done, Refusal) else calls + done + found.after
    tall = _position_shape(context, side, arith)
    if tall is not None:
        return calls + _positions(context, g, side, arith, tall, found) + found.after
    layout = PackedLayout("v", arith, shape, dtype, (groups,), lanes, k)
    memory = Temp(layout.nbytes)
    w_taps = _three(w.strides[2:], 0)
    lane, channel = (w.strides[1], w.strides[0]) if flip else (w.strides[0], w.strides[1])
    calls.append(pack_weights(layout, w.operand, Operand(memory), _three([a.taps for a in axes], 1), channels,
                              channel * channels if flip else lane * lanes, lane, channel, w_taps))

    cycles = 2 * n * groups * area * lanes * k / (4 * arith.lanes)
    wanted = _wanted(cycles, context.threads)
    block = _blocks(axes, channels, itemsize, max(shape.height, min(ROWS, -(-area // -(-wanted // (n * groups))))))
    counts = [-(-a.out // b) for a, b in zip(axes, block, strict=True)]
    panels, wide = panel_count(-(-lanes // arith.lanes), shape.vectors)
    entries = n * groups * math.prod(counts)
    parts = min(panels, -(-wanted // entries))
    part = -(-panels // parts)
    parts = -(-panels // part)

    sizes = [a.size(b) for a, b in zip(axes, block, strict=True)]
    plane = [sizes[1] * sizes[2], sizes[2], 1]
    rows = math.prod(block)
    tile = shape.height * shape.vectors * arith.lanes * arithmetic.nbytes(arith.acc)
    tiles = -(-rows // shape.height) * tile
    window = math.prod(sizes) * channels * itemsize + 64 * 8
    steps_at = -(-window // 64) * 64
    rows_at = -(-(steps_at + 8 * k) // 64) * 64
    sums_at = -(-(rows_at + 8 * rows) // 64) * 64
    x_spatial = _three(x.strides[2:], 0)
    values = {
        "channels": channels, "x_channel": x.strides[1], "groups": groups, "x_image": x.strides[0],
        "x_group": x.strides[1] * channels, "origin": sum(a.origin * s for a, s in zip(axes, plane, strict=True)),
        "steps": k, "pass": BLOCK, "panels": panels, "wide": wide, "parts": parts, "part": part, "lanes": lanes,
        "entry": layout.entry, "steps_at": steps_at, "rows_at": rows_at, "sums_at": sums_at,
        "totals_at": sums_at + tiles,
    }
    for i, axis in enumerate(axes):
        values |= {f"first{i}": axis.first, f"sites{i}": axis.sites,
                   f"x{i}": x_spatial[i] * axis.step, f"size{i}": sizes[i], f"blocks{i}": counts[i],
                   f"block{i}": block[i], f"out{i}": axis.out, f"stride{i}": axis.stride, f"tap{i}": axis.tap,
                   f"taps{i}": axis.taps}
    contiguous = x_spatial[2] * axes[2].step == 1
    structure = kernel.ConvStructure(arith, shape, dtype, contiguous, found.finish(arith.acc))
    tasks = entries * parts
    calls.append(Call(
        KernelSpec(f"{e.op.name}{shape.height}x{shape.vectors}_{dtype.ir}", structure.key, kernel.build(structure)),
        [replace(x.operand, offset=x.operand.offset + _skipped(side)), Operand(memory), *found.operands],
        [*(values[name] for name in kernel.PARAMETERS), *found.params()], tasks, _grain(tasks, cycles, context.threads),
        _writes(2, found), flops=2 * n * groups * area * lanes * k, nbytes=_traffic(g), label=_label(g)))
    return calls + found.after


@dataclass(frozen=True)
class _Side:
    """A convolution in numbers."""

    equation: Equation
    x: _Array
    w: _Array
    axes: tuple[Axis, ...]
    images: int
    groups: int
    channels: int
    lanes: int
    positions: int
    taps: int
    flip: bool

    @property
    def mode(self) -> str:
        step = self.x.strides[-1] * self.axes[2].step
        return "unit" if step * self.axes[2].stride == 1 else "pair" if (
            step == 1 and self.axes[2].stride == 2) else "gather"


def _skipped(side: _Side) -> int:
    """Bytes from the image's first element to the first one that is read."""
    x = side.x
    return sum(a.skip * s for a, s in zip(side.axes, _three(x.strides[2:], 0), strict=True)) * x.dtype.itemsize


def _pointwise(side: _Side, problem: GemmProblem) -> GemmProblem | None:
    """A kernel of size 1 over whole images, whose positions are walked as one: a product that copies nothing and packs
    no weights. None for others. ``problem``: its result and epilogue."""
    axes, x, w = side.axes, side.x.strides, side.w.strides
    if side.groups > 1 or side.taps > 1 or not all(
            a.stride == 1 and a.first == a.origin == 0 and a.sites == a.out for a in axes):
        return None
    along = _merged([a.out for a in axes], [s * a.step for s, a in zip(_three(x[2:], 0), axes, strict=True)])
    if along is None:
        return None
    lane, channel = (w[1], w[0]) if side.flip else (w[0], w[1])
    return replace(problem, k=side.channels, a_batch=(0, x[0], 0), a_m=along, a_k=x[1], b_batch=(0, 0, 0), b_k=channel,
                   b_n=lane)


def _position_shape(context: Context, side: _Side, arith: Plain) -> Shape | None:
    """The tile for positions in lanes; None where channels in lanes cost less."""
    wide, k = context.target.registers == 32, side.taps * side.channels
    depth, row, column = side.axes
    copies = side.positions // column.out * -(-column.out // arith.lanes) * k
    if depth.out == depth.taps == 1:  # a line is copied once for all row taps
        copies = copies // row.taps * min(row.taps, row.stride)
    pack = copies * {"unit": 4.0, "pair": 5.0, "gather": 24.0}[side.mode]

    def cycles(shape: Shape, lanes: int, rows: int) -> float:
        panels, full = panel_count(-(-lanes // arith.lanes), shape.vectors)
        tile = full * _tile(shape.height, shape.vectors) + (panels - full) * _tile(shape.height, shape.widths[-1])
        return -(-rows // shape.height) * (tile * k + panels * 60)

    options = [Shape(8, 3), Shape(8, 1)] if wide else [Shape(4, 3), Shape(8, 1)] if arith.fused else [
        Shape(4, 2), Shape(8, 1)]
    best = min(options, key=lambda s: cycles(s, side.positions, side.lanes))
    other = _shape_of(context, side.lanes, side.positions, arith)
    stores = side.lanes * side.positions
    here = 1.08 * cycles(best, side.positions, side.lanes) + pack + 0.2 * stores
    window = side.channels * row.out * row.stride * -(-column.out * column.stride // arith.lanes)
    there = 1.1 * cycles(other, side.lanes, side.positions) + 8.0 * window + 0.8 * stores
    return best if here <= there else None


@dataclass(frozen=True)
class _Planes:
    """The planes of a task's lines (``lines``).

    Args:
        values: parameters. nbytes: with the table behind them. fetched: cache lines of the image that a task copies.
    """

    values: dict[str, int]
    nbytes: int
    fetched: int


def _planes(side: _Side, shape: Shape, vectors: int, lanes: int, itemsize: int) -> _Planes | None:
    """For tasks of at most ``vectors`` vectors of positions; None where positions have depth."""
    depth, row, column = side.axes
    if depth.out != 1 or depth.taps != 1:
        return None
    positions = min(vectors * lanes, side.positions)
    count = min(row.out, (positions + column.out - 2) // column.out + 1)
    last = row.origin + max(0, (row.taps - 1) * row.tap)  # row of a position that its farthest tap sees
    reach, classes = last // row.stride, min(row.stride, last + 1)
    plane = (-(-((count + reach) * column.out + lanes) // lanes) | 1) * lanes  # odd: channels fall on different sets
    table = -(-(side.channels * classes * column.taps * plane + shape.vectors * lanes) * itemsize // 64) * 64
    x = _three(side.x.strides[2:], 0)
    values = {
        "x_row": x[1] * row.step, "x_column": x[2] * column.step, "rows": row.sites, "columns": column.sites,
        "width": column.out, "taps": row.taps, "column_taps": column.taps, "tap": row.tap, "column_tap": column.tap,
        "shift": row.origin, "first": row.first, "low": column.origin - column.first, "stride": row.stride,
        "column_stride": column.stride, "classes": classes, "reach": reach, "plane": plane, "table": table,
    }
    cursor = table + 8 * side.taps * side.channels
    fetched = side.channels * min(row.sites, (count + reach) * row.stride) * abs(x[1]) * side.x.dtype.itemsize // 64
    return _Planes(values | {"cursor": cursor}, cursor + 8, fetched + 1)


def _positions(context: Context, g: Group, side: _Side, arith: Plain, shape: Shape, found: _Epilogue) -> list[Call]:
    """Positions in lanes: the weight is packed as the scalar operand, tasks copy what positions see."""
    dtype, lanes, itemsize = side.x.dtype, arith.lanes, arithmetic.nbytes(arith.panel)
    k, axes = side.taps * side.channels, side.axes
    layout = PackedLayout("s", arith, shape, dtype, (side.groups,), side.lanes, k)
    memory = Temp(layout.nbytes)
    w = side.w.strides
    member, channel = (w[1], w[0]) if side.flip else (w[0], w[1])
    calls = [pack_weights(layout, side.w.operand, Operand(memory), _three([a.taps for a in axes], 1), side.channels,
                          channel * side.channels if side.flip else member * side.lanes, member, channel,
                          _three(w[2:], 0))]
    entries, steps = side.images * side.groups, layout.steps
    pass_steps = min(steps, POSITION_PASS)
    s_panels = -(-side.lanes // shape.height)
    v_panels, wide = panel_count(-(-side.positions // lanes), shape.vectors)
    panel_bytes = itemsize * shape.vectors * lanes * pass_steps
    tile = shape.height * shape.vectors * lanes * arithmetic.nbytes(arith.acc)
    cycles = 2 * entries * side.positions * side.lanes * k / (4 * lanes)
    wanted = -(-_wanted(cycles, context.threads) // entries)

    def planes_of(panels: int) -> _Planes | None:
        return _planes(side, shape, panels * shape.vectors, lanes, itemsize)
    chunks = min(v_panels, wanted)
    chunk = -(-v_panels // chunks)
    while chunk > 1 and (planes := planes_of(chunk)) and planes.nbytes > PLANES_BYTES:
        chunks += 1
        chunk = -(-v_panels // chunks)
    planes = planes_of(chunk)
    if planes is None or planes.nbytes > MOST_PLANES:
        planes, chunks = None, max(-(-v_panels * panel_bytes // CHUNK_BYTES), min(v_panels, wanted))
        chunk = -(-v_panels // chunks)
    parts = min(s_panels, -(-wanted // -(-v_panels // chunk)))
    if pass_steps < steps:
        parts = min(s_panels, max(parts, -(-s_panels * chunk * tile // SUMS_BYTES)))
    part = -(-s_panels // parts)
    chunks, parts = -(-v_panels // chunk), -(-s_panels // part)
    sums = -(-(planes.nbytes if planes else chunk * panel_bytes) // 64) * 64
    tiles = 1 if pass_steps >= steps else part * chunk
    x, spatial = side.x.strides, _three(side.x.strides[2:], 0)
    values = {
        "batch1": side.images, "batch2": side.groups, "s_count": side.lanes, "s_panels": s_panels, "s_parts": parts,
        "s_block": 1, "v_count": side.positions, "v_panels": v_panels, "v_wide": wide,
        "v_chunks": chunks, "v_group": chunks, "v_ahead": 0, "k": k, "steps": steps, "pass_steps": pass_steps,
        "s_batch0": 0, "s_batch1": 0, "s_batch2": layout.entry, "s_row": 0, "s_step": 0,
        "s_panel": shape.height * steps * arith.group,
        "v_batch0": 0, "v_batch1": x[0], "v_batch2": x[1] * side.channels, "v_free": 0, "v_step": 0, "sums": sums,
        "totals": sums + tiles * tile, "channels": side.channels, "x_channel": x[1],
    }
    what = (arith, shape, dtype, "packed", dtype, side.mode, found.finish(arith.acc, True))
    if planes is not None:
        structure = lines.LineStructure(*what)
        values |= planes.values | {"ahead": -(-planes.fetched // (part * chunk * -(-k // BLOCK)))}
        names, build = lines.PARAMETERS, lines.build(structure)
    else:
        structure = positions.PositionStructure(*what)
        names, build = positions.PARAMETERS, positions.build(structure)
        values |= {"out1": axes[1].out, "out2": axes[2].out, "taps1": axes[1].taps, "taps2": axes[2].taps}
        for i, axis in enumerate(axes):
            values |= {f"x{i}": spatial[i] * axis.step, f"in{i}": axis.sites, f"tap{i}": axis.tap,
                       f"low{i}": axis.origin - axis.first, f"stride{i}": axis.stride}
    tasks = entries * chunks * parts
    name = f"{side.equation.op.name}_{'lines' if planes else 'positions'}{shape.height}x{shape.vectors}_{dtype.ir}"
    calls.append(Call(
        KernelSpec(name, structure.key, build),
        [Operand(memory), replace(side.x.operand, offset=side.x.operand.offset + _skipped(side)), *found.operands],
        [*(values[name] for name in names), *found.params(True)], tasks,
        _grain(tasks, cycles, context.threads), _writes(2, found), flops=2 * entries * side.positions * side.lanes * k,
        nbytes=_traffic(g), label=_label(g)))
    return calls


def _wanted(cycles: float, threads: int) -> int:
    """How many tasks the whole call should have."""
    return 1 if threads <= 1 else max(1, min(threads * TASKS_PER_THREAD, int(cycles / TASK_CYCLES)))


def _grain(tasks: int, cycles: float, threads: int) -> int:
    """Tasks a thread takes at a time: enough to be worth the taking, no more."""
    if threads <= 1 or cycles < 2 * TASK_CYCLES:
        return tasks if threads <= 1 else -(-tasks // threads) if cycles > TASK_CYCLES / 2 else tasks
    return max(1, min(tasks // (threads * TASKS_PER_THREAD), int(TASK_CYCLES / 4 * tasks / cycles)))


def _traffic(g: Group) -> int:
    e = g.anchor
    assert e is not None
    return sum(v.type.nbytes for v in (*e.inputs, e.output))


def _label(g: Group) -> str:
    e = g.anchor
    assert e is not None
    x, y = ("x".join(map(str, v.shape)) for v in e.inputs)
    return f"{e.op.name} {x} {y} {e.inputs[0].type.dtype.ir}"


def schedule_conv(g: Group, context: Context) -> Schedule:
    """The calls of a convolution with its epilogue."""
    refusal, e = _refusal(g), g.anchor
    assert e is not None
    if refusal is not None:
        return refusal
    (x, w), a = e.inputs, e.op.attrs
    axes = [forward_axis(size, taps, out, s, low, d) for size, taps, out, s, (low, _), d in zip(
        _three(x.shape[2:], 1), _three(w.shape[2:], 1), _three(e.output.shape[2:], 1), _three(a.stride, 1),
        _three(a.padding, (0, 0)), _three(a.dilation, 1), strict=True)]
    return _conv_like(g, context, x, w, axes, a.groups, False)


def schedule_conv_transpose(g: Group, context: Context) -> Schedule:
    """The calls of a convolution's gradient in its input."""
    refusal, e = _refusal(g), g.anchor
    assert e is not None
    if refusal is not None:
        return refusal
    (y, w), a = e.inputs, e.op.attrs
    assert all(s == 1 for s in a.stride), a.stride  # a pass has taken strides apart
    axes = [backward_axis(size, taps, out, low, d) for size, taps, out, (low, _), d in zip(
        _three(e.output.shape[2:], 1), _three(w.shape[2:], 1), _three(y.shape[2:], 1),
        _three(a.padding, (0, 0)), _three(a.dilation, 1), strict=True)]
    return _conv_like(g, context, y, w, axes, a.groups, True)


def schedule_conv_weight_grad(g: Group, context: Context) -> Schedule:
    """The calls of a convolution's gradient in its weight."""
    refusal, e = _refusal(g), g.anchor
    assert e is not None
    if refusal is not None:
        return refusal
    (image, gradient), a, out = e.inputs, e.op.attrs, e.output
    dtype, groups = image.type.dtype, a.groups
    arith = arithmetic.plain(dtype, dtype, context.target)
    assert arith is not None
    calls: list[Call] = []
    found = _epilogue(g, context, calls, (1, groups), ((), (0,), tuple(range(1, out.type.ndim))), 1, groups)
    if not out.type.size:
        return calls + found.after
    channels, lanes = image.shape[1] // groups, gradient.shape[1] // groups
    n, sizes, outs = image.shape[0], _three(image.shape[2:], 1), _three(gradient.shape[2:], 1)
    stride, low, dilation = (_three(v, f) for v, f in (
        (a.stride, 1), ([p for p, _ in a.padding], 0), (a.dilation, 1)))
    taps = _three(a.kernel, 1)
    area = math.prod(outs)
    k = n * area
    if not k:
        done = gemm(found.problem, Operand(None), Operand(None), found.inputs, found.outputs, context.target,
                    context.threads)
        return done if isinstance(done, Refusal) else calls + done + found.after
    axes = [forward_axis(*v) for v in zip(sizes, taps, outs, stride, low, dilation, strict=True)]
    itemsize = arithmetic.nbytes(arith.panel)
    last = axes[2]
    pieces = -(-outs[2] // BLOCK)
    piece = -(-outs[2] // pieces)
    width = last.size(piece)
    pitch = width + (arith.lanes if pieces > 1 else 0)  # copying a piece may clear a vector behind it
    row = axes[1]
    sheet = row.size(row.out)

    def plane_of(length: int) -> int:
        """Elements of the plane of a channel (and tap along depth), for a pass of this length."""
        n_lines = min((length + outs[2] - 2) // outs[2] + 1, n * outs[0] * outs[1])
        count = n_lines if pieces == 1 else min(length // piece + length // outs[2] + 3, n_lines * pieces)
        sheets = (n_lines + row.out - 2) // row.out
        between = (n_lines - 1) * (row.stride - 1) + sheets * max(0, sheet - row.out * row.stride)  # lines not begun at
        return (count + (between + (row.taps - 1) * row.tap) * pieces) * pitch + arith.lanes

    def window_bytes(length: int) -> int:
        """Of one channel, for a pass of this length."""
        return taps[0] * plane_of(length) * itemsize

    n_taps = math.prod(taps)
    shape = _shape_of(context, lanes, channels * n_taps, arith)
    tile = shape.height * shape.vectors * arith.lanes * arithmetic.nbytes(arith.acc)
    if window_bytes(BLOCK) > MOST_WINDOW or tile * -(-n_taps // shape.height) > SUMS_BYTES:
        done = unfold.weight_grad(context, image, gradient, axes, groups, found.problem, found.inputs,
                                  found.outputs)
        return done if isinstance(done, Refusal) else calls + done + found.after
    x = _strided(context, image, calls)
    y = _strided(context, gradient, calls)
    along = _merged(gradient.shape[2:], y.strides[2:])
    if along is None:
        dense = Var(gradient.type)
        calls += copy_into(context, gradient, dense, tuple(range(gradient.type.ndim)))
        y, along = _Array(Operand(dense), row_major(gradient.shape), dtype), 1

    super_block = min(SUPER, -(-k // BLOCK) * BLOCK)
    parts = -(-k // SUPER)

    panels, wide = panel_count(-(-lanes // arith.lanes), shape.vectors)
    cycles = 2 * k * groups * channels * n_taps * lanes / (4 * arith.lanes)
    length = PASS
    while window_bytes(length) * channels > 2 * WINDOW_BYTES and length > BLOCK:
        length //= 2
    part, lane_part = _weight_grad_parts(
        channels, panels, groups * (k // super_block), groups * (k % super_block / super_block), context.threads,
        lambda part, wide: part <= max(1, 2 * WINDOW_BYTES // window_bytes(length)) and (
            part * wide == 1 or tile * -(-part * n_taps // shape.height) * wide <= SUMS_BYTES),
        lambda part, wide: super_block * (
            -(-part * n_taps // shape.height) * wide / panels * -(-lanes // arith.lanes) * shape.height / 2
            + part * taps[0] * 25.0 / outs[2]      # lines
            + wide / panels * lanes * 0.6))        # gradient
    channel_parts, lane_parts = -(-channels // part), -(-panels // lane_part)
    steps_at = -(-(window_bytes(length) * part + 64 * 8) // 64) * 64
    rows_at = steps_at + 8 * length
    panel_at = -(-(rows_at + 8 * part * n_taps) // 64) * 64
    cursor_at = panel_at + length * shape.vectors * arith.lanes * itemsize
    sums_at = cursor_at + 64
    fetched = 0  # bytes of what a pass reads; images of several passes come in long runs, which the machine sees
    if area <= length:
        gradients = lane_part * shape.vectors * arith.lanes * area
        fetched = length // area * dtype.itemsize * (part * math.prod(sizes) + gradients)
    ahead = -(-fetched // (64 * lane_part * -(-part * n_taps // shape.height) * -(-length // BLOCK)))
    x_spatial = _three(x.strides[2:], 0)
    values = {
        "supers": parts, "channel_parts": channel_parts, "channel_part": part, "lane_parts": lane_parts,
        "lane_part": lane_part, "panels": panels, "wide": wide, "channels": channels, "lanes": lanes,
        "positions": area, "k": k, "super": super_block, "pass": length, "out0": outs[0], "out1": outs[1],
        "out2": outs[2], "pieces": pieces, "piece": piece, "sheet": sheet, "pitch": pitch, "plane": plane_of(length),
        "x_image": x.strides[0], "x_group": x.strides[1] * channels,
        "x_channel": x.strides[1], "x0": x_spatial[0], "x1": x_spatial[1] * row.step, "x2": x_spatial[2] * last.step,
        "in0": sizes[0], "in1": row.sites, "first2": last.first, "sites2": last.sites, "size2": width,
        "stride0": stride[0], "stride1": row.stride, "stride2": last.stride, "low0": low[0], "low1": row.first,
        "dilation0": dilation[0], "dilation1": row.tap, "tap2": last.tap, "taps0": taps[0], "taps1": taps[1],
        "taps2": taps[2], "g_image": y.strides[0], "g_group": y.strides[1] * lanes, "g_lane": y.strides[1],
        "g_position": along, "steps_at": steps_at, "rows_at": rows_at, "panel_at": panel_at, "sums_at": sums_at,
        "ahead": ahead, "cursor_at": cursor_at,
    }
    contiguous = x_spatial[2] * last.step == 1
    finish, operands, params = found.finish(arith.acc), found.operands, found.params()
    writes = _writes(2, found)
    sums = None
    padded = -(-lanes // arith.lanes) * arith.lanes
    rows = channels * n_taps
    if parts > 1:
        acc = {"f32": dt.float32, "f64": dt.float64, "i32": dt.int32, "i64": dt.int64}[arith.acc]
        sums = Temp(parts * groups * rows * padded * acc.itemsize)
        finish = Finish(arith.acc, acc, identity(acc), (), ("vector",))
        operands, writes = [Operand(sums)], (2,)
        params = [0, groups * rows * padded, rows * padded, padded, 1]
    structure = weight_grad.WeightGradStructure(
        arith, shape, dtype, contiguous, mode_of(y.strides[1], along, lanes, area), finish)
    tasks = parts * groups * channel_parts * lane_parts
    skip = (row.skip * x_spatial[1] + last.skip * x_spatial[2]) * dtype.itemsize
    calls.append(Call(
        KernelSpec(f"conv_weight_grad{shape.height}x{shape.vectors}_{dtype.ir}", structure.key,
                   weight_grad.build(structure)),
        [replace(x.operand, offset=x.operand.offset + skip), y.operand, *operands],
        [*(values[name] for name in weight_grad.PARAMETERS), *params], tasks, _grain(tasks, cycles, context.threads),
        writes, flops=2 * k * groups * rows * lanes, nbytes=_traffic(g), label=_label(g)))
    if sums is not None:
        calls.append(combine_call(found.problem, arith, sums, parts, padded, found.inputs, found.outputs,
                                  context.threads))
    return calls + found.after


def _weight_grad_parts(channels: int, panels: int, full: int, rest: float, threads: int,
                       fits: Callable[[int, int], bool], cycles: Callable[[int, int], float]) -> tuple[int, int]:
    """Channels by panels of a task, such that the thread that has most to do is done soonest.

    Args:
        full: super-blocks of k that are whole, in all groups. rest: those that are not, as a share of whole ones.
        fits, cycles: of a task of so many channels and panels.
    """
    best, found = math.inf, (1, 1)
    most = 2 * TASKS_PER_THREAD * threads
    for part in sorted({-(-channels // n) for n in (*range(1, min(channels, most) + 1), channels)}):
        for wide in sorted({-(-panels // n) for n in (*range(1, min(panels, most) + 1), panels)}):
            pieces = -(-channels // part) * -(-panels // wide)
            rounds = -(-full * pieces // threads)
            beyond = max(0.0, rest * pieces - (rounds * threads - full * pieces))  # what idle threads do not take
            last = rest * math.ceil(beyond / rest / threads) if beyond else 0.0
            time = (rounds + last) * (cycles(part, wide) + 1000)
            if (fits(part, wide) or part == wide == 1) and time < best:
                best, found = time, (part, wide)
    return found


def _merged(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The stride along all axes walked as one; None if they cannot be."""
    stride, size = None, 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if stride is None:
            stride = s
        elif s != stride * size:
            return None
        size *= n
    return 1 if stride is None else stride
