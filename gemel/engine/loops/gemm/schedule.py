"""From a contraction to kernel calls: orientation, tile, packing, blocking, tasks.

The two operands play different parts: the *vector* operand's own dimension lies in the lanes of registers, the
*scalar* operand's elements are broadcast. Either of m and n may be the vector dimension (the result is then stored
transposed); the cheapest combination of orientation and tile by the estimate in :class:`_Side` wins:

- tiles are padded to whole vectors and rows, so a dimension of 10 is better broadcast than laid in 8-wide vectors;
- the vector operand is packed (cheap where its own dimension is contiguous, three times as dear where k is); the
  scalar operand is read in place where k is contiguous and packed elsewhere;
- a result whose vector dimension is not contiguous costs a small transposition for each tile.

A few rows times a matrix with contiguous rows have a kernel of their own (``rows``), and times one with contiguous
columns (``columns``). Contractions with little result and long k are split at super-blocks, each an entry of one more
batch dimension, and added up (``combine``).

Nothing here changes a result's bits: every choice sums in the same order.

A large operand is packed and used piece by piece: the copy stays in the last-level cache and memory does not hold it
twice.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...base import dtypes as dt
from ...base.dtypes import DType
from ...base.target import Target, host
from ...ir.op import op
from ...ir.primitives import ROWS
from .. import element
from ..calls import Call, KernelSpec, Operand, Refusal, Schedule, Temp
from . import arithmetic, columns, combine, kernel, pack, rows
from .arithmetic import SUPER, TILE_K, Arithmetic, Plain, Stepwise, Tiles
from .cut import Work, choose_cut
from .finish import Finish, kind_of
from .kernel import Structure
from .operand import PackedLayout, pack_operand, panel_count
from .problem import MAX_BATCH, Access, Expression, GemmProblem, accumulator
from .tile import Shape

TILE_ROWS_BYTES = 256 << 10  # a block of scalar panels of tiles: half of the second-level cache
SCRATCH = 3 << 20          # of a thread's scratch memory, that the kernel for few rows takes at most
PASS = 2048                # k of one pass
TASKS_PER_THREAD = 4       # so that a thread that is disturbed delays the others little
LINE_BYTES, L1_SETS, L1_WAYS = 64, 64, 8
IN_PLACE_BYTES = 128 << 10 # a scalar operand up to this extent is read in place whatever its strides
TASK_CYCLES = 12_000       # a task worth sharing: some times what waking a worker that spins costs
PIECE = 32 << 20           # a packed copy of more bytes than this is made and used piece by piece
FEW_LANES = 64             # rows of tiles, and rows that are widened, are read in place for so few lanes

NEAR_BYTES = 2 << 20       # an operand up to this size is packed from the second-level caches;
FAR_CYCLES = 0.5           # others cost so much more an element, four times that where the copy goes back there

#: cycles an element costs, measured on AVX2 and on AVX-512
PACK_CYCLES = {"free": 0.3, "k": 0.5, "any": 2.0}
PACKING_TILE_CYCLES = 0.1  # the same where the first tile that reads a panel packs it
STORE_CYCLES = {"vector": 0.2, "row": 0.1, "column": 0.8, "any": 2.0}
TILE_CYCLES = 40           # around the inner loop of a tile


def shapes(target: Target, arith: Arithmetic) -> tuple[Shape, ...]:
    """The register tiles to choose from."""
    if isinstance(arith, Tiles):
        return (Shape(32, 2), Shape(16, 2))
    if target.registers == 32:
        if isinstance(arith, arithmetic.Bytes) and arith.biased:
            return (Shape(8, 2), Shape(4, 2), Shape(8, 1))
        return (Shape(8, 3), Shape(4, 3), Shape(8, 1))
    if not isinstance(arith, Plain) or not (arith.fused or arith.acc[0] == "i"):
        return (Shape(4, 2), Shape(8, 1))
    return (Shape(4, 3), Shape(8, 1))


@dataclass(frozen=True)
class Choice:
    """What the estimate decides; tests and benchmarks may give one to force a path.

    Args:
        swap: m is the vector dimension. shape: the tile. v_mode: ``direct``, ``packed`` (by a call of its own) or
            ``task`` (each task packs what it needs). s_packed: pack the scalar operand first.
        rows, columns: use the kernel for few rows of that name. split: super-blocks are summed apart.
    """

    swap: bool
    shape: Shape
    v_mode: str = "task"
    s_packed: bool = False
    rows: bool = False
    columns: bool = False
    split: bool = False


@dataclass(frozen=True)
class _Side:
    """One operand in its part: its size, strides and where it comes from."""

    operand: Operand
    batch: tuple[int, ...]
    count: int
    free: int
    along: int
    dtype: DType


def _sides(problem: GemmProblem, a: Operand, b: Operand, swap: bool) -> tuple[_Side, _Side]:
    """The scalar and the vector operand."""
    p = problem
    left = _Side(a, p.a_batch, p.m, p.a_m, p.a_k, p.dtype)
    right = _Side(b, p.b_batch, p.n, p.b_n, p.b_k, p.dtype)
    return (right, left) if swap else (left, right)


def _lay(access: Access, swap: bool) -> tuple[int, int]:
    """Strides along tile rows and lanes."""
    return (access.n, access.m) if swap else (access.m, access.n)


def _in_place(side: _Side, k: int, arith: Arithmetic, height: int, across: int) -> bool:
    """Is the scalar operand read where it is? Along k, or while the caches hold all it touches.

    ``height``: of the tile. ``across``: lanes of the other operand.
    """
    if isinstance(arith, Tiles):  # whole tiles, each read few times
        return side.along == 1 and not k % TILE_K and not side.count % height and across <= FEW_LANES
    if not isinstance(arith, Plain):
        return False
    if element.memory(side.dtype) != arith.panel and across > FEW_LANES:  # each is widened again by every tile
        return False
    if side.along == 1:
        return True
    extent = (abs(side.free) * (side.count - 1) + abs(side.along) * (k - 1)) * side.dtype.itemsize
    return extent <= IN_PLACE_BYTES and _spread_over_sets(abs(side.along) * side.dtype.itemsize, k)


def _spread_over_sets(step: int, k: int) -> bool:
    """Do ``k`` reads ``step`` bytes apart stay in the first-level cache? Strides of powers of two share few sets."""
    lines = step // LINE_BYTES
    return step % LINE_BYTES != 0 or k <= L1_WAYS * (L1_SETS // math.gcd(L1_SETS, lines))


def _tile_cycles(height: int, vectors: int, arith: Arithmetic) -> float:
    """Cycles of one step: two multiply-adds or two loads a cycle, four cycles from one multiply-add to the next."""
    if isinstance(arith, Tiles):  # 16 cycles of an instruction of 16 steps, 8 of a tile's load
        return max(height // 16 * vectors, (height // 16 + vectors) / 2)
    return max(height * vectors / 2, (height + vectors) / 2, 4.0)


def _task_pack(mode: str, arith: Arithmetic) -> float:
    """Cycles an element of the vector operand costs where each task packs what it needs."""
    return PACKING_TILE_CYCLES if mode == "free" and not isinstance(arith, Tiles) else PACK_CYCLES[mode]


def estimate(problem: GemmProblem, choice: Choice, arith: Arithmetic, s_ready: bool = False,
             v_ready: bool = False) -> float:
    """Cycles of one batch entry on one thread. ``s_ready``, ``v_ready``: that operand comes packed."""
    dummy = Operand(None)
    s, v = _sides(problem, dummy, dummy, choice.swap)
    steps, height, width = arithmetic.steps_of(arith, problem.k), choice.shape.height, choice.shape.vectors
    panels, wide = panel_count(-(-v.count // arith.lanes), width)
    step = wide * _tile_cycles(height, width, arith) + (panels - wide) * _tile_cycles(
        height, choice.shape.widths[-1], arith)
    s_panels = -(-s.count // height)
    total = s_panels * (step * steps + panels * TILE_CYCLES)
    if not v_ready:
        total += _task_pack(pack.mode_of(v.free, v.along, v.count, problem.k), arith) * v.count * problem.k
    s_mode = pack.mode_of(s.free, s.along, s.count, problem.k)
    if not (s_ready or _in_place(s, problem.k, arith, height, v.count)):
        twice = 2 if isinstance(arith, Tiles) else 1  # tiles are packed by a call of their own, through memory
        total += twice * PACK_CYCLES[s_mode] * s.count * problem.k
    for access in (*problem.inputs, *problem.outputs):
        total += STORE_CYCLES[kind_of(*_lay(access, choice.swap))] * s.count * v.count
    return total


def choose(problem: GemmProblem, arith: Arithmetic, target: Target, threads: int,
           packed_a: PackedLayout | None = None, packed_b: PackedLayout | None = None,
           kept: tuple[bool, bool] = (False, False)) -> Choice:
    """The path by the estimate."""
    p = problem
    simple = not (isinstance(arith, Tiles) or packed_a or packed_b) and arithmetic.plain(p.dtype, p.out, target)
    if simple and p.dtype.bits >= 16:
        for swap, few, many, contiguous in ((False, p.m, p.n, p.b_n), (True, p.n, p.m, p.a_m)):
            if few <= rows.MOST_ROWS and contiguous == 1 and many >= 4 * arith.lanes:
                return Choice(swap, shapes(target, arith)[0], rows=True)
    if not (isinstance(arith, Tiles) or packed_a or packed_b) and p.k >= 2 * arith.lanes:
        for swap, few, many, free, along in ((False, p.m, p.n, p.b_n, p.b_k), (True, p.n, p.m, p.a_m, p.a_k)):
            height = next((h for h in columns.HEIGHTS if h >= few), 0)
            if height and along == 1 != free and many >= 2 * arith.lanes and columns.scratch_bytes(
                    arith, height, arithmetic.steps_of(arith, p.k)) <= SCRATCH:
                return Choice(swap, shapes(target, arith)[0], columns=True)
    options = []
    for swap in (False, True):
        s_layout, v_layout = (packed_b, packed_a) if swap else (packed_a, packed_b)
        if s_layout and s_layout.side != "s" or v_layout and v_layout.side != "v":
            continue
        for shape in shapes(target, arith):
            if any(layout and layout.shape != shape for layout in (s_layout, v_layout)):
                continue
            choice = Choice(swap, shape)
            s_kept, v_kept = kept[swap], kept[not swap]
            options.append((estimate(p, choice, arith, bool(s_layout) or s_kept, bool(v_layout) or v_kept), choice))
    choice = min(options, key=lambda option: option[0])[1]
    s, v = _sides(p, Operand(None), Operand(None), choice.swap)
    s_layout, v_layout = (packed_b, packed_a) if choice.swap else (packed_a, packed_b)
    return replace(choice, v_mode="packed" if v_layout or kept[not choice.swap] else "task",
                   s_packed=bool(s_layout) or not _in_place(s, p.k, arith, choice.shape.height, v.count))


def _pad(values: Sequence[int], fill: int) -> tuple[int, ...]:
    return (fill,) * (MAX_BATCH - len(values)) + tuple(values)


def _batch(prefix: str, strides: Sequence[int]) -> dict[str, int]:
    return {f"{prefix}{i}": x for i, x in enumerate(_pad(strides, 0))}


def _finish(problem: GemmProblem, acc: str, swap: bool) -> Finish:
    kinds = [kind_of(*_lay(x, swap)) for x in (*problem.inputs, *problem.outputs)]
    n = len(problem.inputs)
    return Finish(acc, problem.out, problem.expression, tuple(kinds[:n]), tuple(kinds[n:]))


def _array_params(problem: GemmProblem, swap: bool) -> list[int]:
    params: list[int] = []
    for access in (*problem.inputs, *problem.outputs):
        params += [*_pad(access.batch, 0), *_lay(access, swap)]
    return params


def _traffic(problem: GemmProblem) -> int:
    """Bytes that must move at least once."""
    p, entries = problem, math.prod(problem.batch)
    total = entries * (p.m + p.n) * p.k * p.dtype.itemsize
    dtypes = (*p.expression.inputs[1:], *(p.expression.dtype(o) for o in p.expression.outputs))
    for access, dtype in zip((*p.inputs, *p.outputs), dtypes, strict=True):
        total += entries * (p.m if access.m else 1) * (p.n if access.n else 1) * dtype.itemsize
    return total


def _label(problem: GemmProblem) -> str:
    batch = "".join(f"{b}x" for b in problem.batch)
    return f"dot {batch}{problem.m}x{problem.n}x{problem.k} {problem.dtype.ir}"


def _wanted_tasks(cycles: float, threads: int) -> int:
    """How many tasks the whole call should have."""
    if threads <= 1:
        return 1
    return max(1, min(threads * TASKS_PER_THREAD, int(cycles / TASK_CYCLES)))


def gemm(problem: GemmProblem, a: Operand, b: Operand, inputs: Sequence[Operand], outputs: Sequence[Operand],
         target: Target | None = None, threads: int = 1, packed_a: PackedLayout | None = None,
         packed_b: PackedLayout | None = None, choice: Choice | None = None, chain: bool = False,
         kept: tuple[bool, bool] = (False, False)) -> Schedule:
    """The calls that compute a contraction.

    Args:
        problem: what. a, b: its operands (packed bytes where ``packed_a``/``packed_b`` says how). inputs,
            outputs: the epilogue's arrays. target: default: this machine. threads: that will share the calls.
        choice: force a path (tests, benchmarks). chain: sum in chains of rising k whatever the machine has, as
            convolutions do. kept: the operands that are the same in every turn of a loop around: the call that packs
            them is moved out of it, so it costs nothing.
    Returns:
        calls in order, empty where the result is; or why this contraction has no native schedule.
    """
    target = target or host()
    p = problem
    if len(p.batch) > MAX_BATCH:
        return Refusal(f"dot with {len(p.batch)} batch dimensions that do not merge: at most {MAX_BATCH}")
    arith = (arithmetic.plain if chain else arithmetic.choose)(p.dtype, p.out, target)
    if arith is None or (p.dtype.kind == "f") != (p.out.kind == "f") or not (p.out.is_integer or p.out.kind == "f"):
        return Refusal(f"dot of {p.dtype.name} to {p.out.name} has no native arithmetic")
    if not (math.prod(p.batch) and p.m and p.n):
        return []
    if p.k == 0:
        return [combine_call(p, arith, Temp(64), 0, 0, inputs, outputs, threads)]
    whole = choice is not None or any(kept)
    choice = choice or choose(p, arith, target, threads, packed_a, packed_b, kept)
    if isinstance(arith, Tiles):
        choice = _tile_choice(p, choice, arith, target)
    elif not isinstance(arith, Plain):
        choice = replace(choice, s_packed=True)
    if choice.rows:
        plain = arithmetic.plain(p.dtype, p.out, target)
        assert plain is not None
        return [_rows(p, plain, choice, a, b, inputs, outputs, threads)]
    if choice.columns:
        assert not isinstance(arith, Tiles)
        return [_columns(p, arith, choice, a, b, inputs, outputs, threads)]
    cycles = estimate(p, choice, arith) * math.prod(p.batch)
    if not (packed_a or packed_b) and (choice.split or _worth_splitting(p, choice, arith, cycles, threads)):
        return _split(p, arith, a, b, inputs, outputs, target, threads, choice)
    if not (packed_a or packed_b or whole):
        if _long(p, arith, choice):
            return _by_super_blocks(p, a, b, inputs, outputs, target, threads, choice, chain)
        if choice.s_packed:
            return _by_rows(p, arith, choice, a, b, inputs, outputs, target, threads)
    return _tiled(p, arith, choice, a, b, inputs, outputs, target, threads, packed_a, packed_b)


def _packed_bytes(side: _Side, which: str, p: GemmProblem, arith: Arithmetic, shape: Shape) -> int:
    real = tuple(size for size, stride in zip(p.batch, side.batch, strict=True) if stride)
    return PackedLayout(which, arith, shape, side.dtype, real, side.count, p.k).nbytes


def _long(p: GemmProblem, arith: Arithmetic, choice: Choice) -> bool:
    """Is the vector operand long, and a packed copy so large that sums between super-blocks take much less?"""
    _, v = _sides(p, Operand(None), Operand(None), choice.swap)
    if p.k <= SUPER or choice.v_mode != "task" or accumulator(p.dtype, p.out) is not p.out:
        return False
    copy = _packed_bytes(v, "v", p, arith, choice.shape)
    return copy > PIECE and copy > 4 * math.prod(p.batch) * p.m * p.n * p.out.itemsize


def _by_super_blocks(p: GemmProblem, a: Operand, b: Operand, inputs: Sequence[Operand], outputs: Sequence[Operand],
                     target: Target, threads: int, choice: Choice, chain: bool) -> Schedule:
    """One contraction per super-block of k, one after the other, each added to the sums before: the canonical order.

    The epilogue belongs to the last one; the sums wait in memory.
    """
    size, calls, last = p.dtype.itemsize, [], (p.k - 1) // SUPER * SUPER
    sums = Operand(Temp(math.prod(p.batch) * p.m * p.n * p.out.itemsize))
    rows_of = (p.n, 1) if not choice.swap else (1, p.m)
    batch, entry = [], p.m * p.n
    for count in reversed(p.batch):
        batch.insert(0, entry)
        entry *= count
    at = Access(tuple(batch), *rows_of)
    for first in range(0, p.k, SUPER):
        expression = p.expression if first == last else None
        piece = replace(p, k=min(SUPER, p.k - first), epilogue=_after(p.out, expression) if first else expression,
                        inputs=(at,) * bool(first) + (p.inputs if first == last else ()),
                        outputs=p.outputs if first == last else (at,))
        found = gemm(piece, _moved(a, first * p.a_k * size), _moved(b, first * p.b_k * size),
                     [*([sums] if first else []), *(inputs if first == last else [])],
                     outputs if first == last else [sums], target, threads, choice=choice, chain=chain)
        assert not isinstance(found, Refusal)
        calls += found
    return calls


def _after(dtype: DType, expression: Expression | None) -> Expression:
    """An epilogue (None: nothing) of the sum of its second and first input; its further inputs follow."""
    add = (op(ROWS["add"]), (1, 0))
    if expression is None:
        return Expression((dtype, dtype), (add,), (dtype,), (2,))
    n = len(expression.inputs)

    def moved(i: int) -> int:
        return n + 1 if i == 0 else i + 1 if i < n else i + 2

    nodes = [(the_op, tuple(map(moved, operands))) for the_op, operands in expression.nodes]
    return Expression((dtype, *expression.inputs), (add, *nodes), (dtype, *expression.dtypes),
                      tuple(map(moved, expression.outputs)))


def _by_rows(p: GemmProblem, arith: Arithmetic, choice: Choice, a: Operand, b: Operand, inputs: Sequence[Operand],
             outputs: Sequence[Operand], target: Target, threads: int) -> Schedule:
    """Parts of the scalar operand whose packed copies are small, one after the other."""
    s, _ = _sides(p, a, b, choice.swap)
    pieces = -(-_packed_bytes(s, "s", p, arith, choice.shape) // PIECE)
    panels = -(-s.count // choice.shape.height)
    rows_of = -(-panels // pieces) * choice.shape.height
    calls: list[Call] = []
    dtypes = (*p.expression.inputs[1:], *(p.expression.dtype(o) for o in p.expression.outputs))
    for first in range(0, s.count, rows_of):
        count = min(rows_of, s.count - first)
        piece = replace(p, n=count) if choice.swap else replace(p, m=count)
        scalars = _moved(s.operand, first * s.free * s.dtype.itemsize)
        arrays = [_moved(x, first * _lay(access, choice.swap)[0] * dtype.itemsize) for x, access, dtype in zip(
            (*inputs, *outputs), (*p.inputs, *p.outputs), dtypes, strict=True)]
        found = _tiled(piece, arith, choice, a if choice.swap else scalars, scalars if choice.swap else b,
                       arrays[:len(inputs)], arrays[len(inputs):], target, threads, None, None)
        assert not isinstance(found, Refusal)
        calls += found
    return calls


def _tile_choice(p: GemmProblem, choice: Choice, arith: Tiles, target: Target) -> Choice:
    """A choice, possibly forced for other arithmetics, as tiles can take it."""
    options = shapes(target, arith)
    shape = choice.shape if choice.shape in options else options[0]
    s, v = _sides(p, Operand(None), Operand(None), choice.swap)
    v_mode = "task" if choice.v_mode == "direct" else choice.v_mode
    return replace(choice, shape=shape, rows=False, columns=False, v_mode=v_mode,
                   s_packed=choice.s_packed or not _in_place(s, p.k, arith, shape.height, v.count))


def _worth_splitting(problem: GemmProblem, choice: Choice, arith: Arithmetic, cycles: float, threads: int) -> bool:
    """Would threads idle, and is k long enough to occupy them?"""
    if problem.k <= SUPER or len(problem.batch) == MAX_BATCH or threads == 1:
        return False
    s, v = _sides(problem, Operand(None), Operand(None), choice.swap)
    tiles = -(-s.count // choice.shape.height) * -(-v.count // (arith.lanes * choice.shape.vectors))
    return tiles * math.prod(problem.batch) < _wanted_tasks(cycles, threads)


def _split(p: GemmProblem, arith: Arithmetic, a: Operand, b: Operand, inputs: Sequence[Operand],
           outputs: Sequence[Operand], target: Target, threads: int, choice: Choice) -> Schedule:
    """One contraction per super-block, side by side, then their sum in order."""
    acc = {"f32": dt.float32, "f64": dt.float64, "i32": dt.int32, "i64": dt.int64}[arith.acc]
    lanes = -(-p.n // arith.lanes) * arith.lanes
    part = math.prod(p.batch) * p.m * lanes
    parts = -(-p.k // SUPER)
    sums = Temp(parts * part * acc.itemsize)
    rows_of, entry = lanes, p.m * lanes
    batch: list[int] = []
    for size in reversed(p.batch):
        batch.insert(0, entry)
        entry *= size
    whole = p.k // SUPER
    forced = replace(choice, split=False)
    calls: list[Call] = []
    for count, first in ((whole, 0), (parts - whole, whole)):
        if not count:
            continue
        k = SUPER if first == 0 and whole else p.k - whole * SUPER
        size = p.dtype.itemsize
        piece = replace(p, batch=(count, *p.batch), k=k, a_batch=(SUPER * p.a_k, *p.a_batch),
                        b_batch=(SUPER * p.b_k, *p.b_batch), out=acc, epilogue=None, inputs=(),
                        outputs=(Access((part, *batch), rows_of, 1),))
        left, right = (_moved(x, first * SUPER * stride * size) for x, stride in ((a, p.a_k), (b, p.b_k)))
        found = gemm(piece, left, right, [], [Operand(sums, first * part * acc.itemsize)], target, threads,
                     choice=forced, chain=isinstance(arith, Plain))
        assert not isinstance(found, Refusal)
        calls += found
    return [*calls, combine_call(p, arith, sums, parts, lanes, inputs, outputs, threads)]


def _moved(operand: Operand, more: int) -> Operand:
    """The operand moved by a number of bytes."""
    return Operand(operand.value, operand.offset + more, operand.dynamic)


def combine_call(p: GemmProblem, arith: Arithmetic, sums: Temp, parts: int, lanes: int, inputs: Sequence[Operand],
             outputs: Sequence[Operand], threads: int) -> Call:
    structure = combine.CombineStructure(arith.lanes, _finish(p, arith.acc, False))
    entries, batch = math.prod(p.batch), _pad(p.batch, 1)
    values = {"batch1": batch[1], "batch2": batch[2], "parts": parts, "part": entries * p.m * lanes, "rows": p.m,
              "lanes": p.n, "stride": lanes}
    tasks = entries * p.m
    return Call(KernelSpec(f"gemm_combine_{arith.acc}", structure.key, combine.build(structure)),
                [Operand(sums), *inputs, *outputs],
                [*(values[x] for x in combine.PARAMETERS), *_array_params(p, False)],
                tasks, _grain(tasks, p.n * (parts + 2), threads), _writes(1, p), _inplace(1, p),
                label=_label(p) + " sum")


def _writes(first: int, p: GemmProblem) -> tuple[int, ...]:
    n = first + len(p.inputs)
    return tuple(range(n, n + len(p.outputs)))


def _inplace(first: int, p: GemmProblem) -> tuple[tuple[int, int], ...]:
    """Outputs that may take over an input of the epilogue: both are walked alike, and each element once."""
    outputs = [(access, p.expression.dtype(o)) for access, o in zip(p.outputs, p.expression.outputs, strict=True)]
    found = []
    for i, (access, dtype) in enumerate(zip(p.inputs, p.expression.inputs[1:], strict=True)):
        found += [(first + len(p.inputs) + o, first + i) for o, (other, its) in enumerate(outputs)
                  if other == access and its.itemsize == dtype.itemsize]
    return tuple(found)


def _grain(tasks: int, cycles: float, threads: int) -> int:
    """Tasks a thread takes at a time, for tasks of about so many cycles: enough to be worth the taking, no more."""
    if threads <= 1 or tasks * cycles < 2 * TASK_CYCLES:
        return tasks
    return max(1, min(tasks // (threads * TASKS_PER_THREAD), int(TASK_CYCLES / 4 / max(1.0, cycles))))


def _rows(p: GemmProblem, arith: Plain, choice: Choice, a: Operand, b: Operand, inputs: Sequence[Operand],
          outputs: Sequence[Operand], threads: int) -> Call:
    s, v = _sides(p, a, b, choice.swap)
    height = next(h for h in rows.HEIGHTS if h >= s.count)
    structure = rows.RowsStructure(arith, height, s.dtype, v.dtype, _finish(p, arith.acc, choice.swap))
    entries = math.prod(p.batch)
    most = SCRATCH // rows.scratch_bytes(arith, height, 1 - rows.PAD) - rows.PAD
    wanted = -(-_wanted_tasks(entries * v.count * p.k * max(0.5, height / 8), threads) // entries)
    run = min(rows.RUN_BYTES // v.dtype.itemsize, -(-v.count * entries // threads))
    chunk = max(4 * arith.lanes, min(most, 4096, max(run, -(-v.count // wanted))))
    chunk = -(-chunk // arith.lanes) * arith.lanes
    chunks = -(-v.count // chunk)
    batch = _pad(p.batch, 1)
    values = {"batch1": batch[1], "batch2": batch[2], "s_count": s.count, "v_count": v.count, "v_chunks": chunks,
              "v_chunk": chunk, "k": p.k, **_batch("s_batch", s.batch), "s_row": s.free, "s_step": s.along,
              **_batch("v_batch", v.batch), "v_step": v.along}
    tasks = entries * chunks
    return Call(KernelSpec(f"gemm_rows{height}_{p.dtype.ir}", structure.key, rows.build(structure)),
                [s.operand, v.operand, *inputs, *outputs],
                [*(values[x] for x in rows.PARAMETERS), *_array_params(p, choice.swap)],
                tasks, _grain(tasks, chunk * p.k, threads), _writes(2, p), _inplace(2, p), flops=p.flops,
                nbytes=_traffic(p), label=_label(p))


def _columns(p: GemmProblem, arith: Stepwise, choice: Choice, a: Operand, b: Operand, inputs: Sequence[Operand],
             outputs: Sequence[Operand], threads: int) -> Call:
    s, v = _sides(p, a, b, choice.swap)
    height = next(h for h in columns.HEIGHTS if h >= s.count)
    structure = columns.ColumnsStructure(arith, height, s.dtype, "k" if s.along == 1 or p.k == 1 else "any", v.dtype,
                                         _finish(p, arith.acc, choice.swap))
    entries, steps = math.prod(p.batch), arithmetic.steps_of(arith, p.k)
    wanted = -(-_wanted_tasks(entries * v.count * steps * max(0.5, height / 8), threads) // entries)
    strips = -(-v.count // arith.lanes)
    chunks = min(strips, wanted)
    chunk = -(-strips // chunks) * arith.lanes
    chunks = -(-v.count // chunk)
    batch, row = _pad(p.batch, 1), columns.packed_row(arith, steps)
    values = {"batch1": batch[1], "batch2": batch[2], "s_count": s.count, "v_count": v.count, "v_chunks": chunks,
              "v_chunk": chunk, "k": p.k, "steps": steps, **_batch("s_batch", s.batch), "s_row": s.free,
              "s_step": s.along, **_batch("v_batch", v.batch), "v_free": v.free, "row": row,
              "sums": -(-height * row * arithmetic.nbytes(arith.panel) // 64) * 64}
    tasks = entries * chunks
    return Call(KernelSpec(f"gemm_columns{height}_{p.dtype.ir}", structure.key, columns.build(structure)),
                [s.operand, v.operand, *inputs, *outputs],
                [*(values[x] for x in columns.PARAMETERS), *_array_params(p, choice.swap)],
                tasks, _grain(tasks, chunk * steps, threads), _writes(2, p), _inplace(2, p), flops=p.flops,
                nbytes=_traffic(p), label=_label(p))


def packed_layout(problem: GemmProblem, which: str, target: Target | None = None, threads: int = 1
                  ) -> PackedLayout | None:
    """How operand ``a`` or ``b`` would best be packed ahead of time; None where packing does not pay.

    The layout depends on the sizes of that operand alone (besides dtypes and machine), so that one packed weight
    serves every batch size.
    """
    target = target or host()
    p = problem
    arith = arithmetic.choose(p.dtype, p.out, target)
    if arith is None or p.k == 0:
        return None
    batch, strides, count = (p.batch, p.a_batch, p.m) if which == "a" else (p.batch, p.b_batch, p.n)
    real = tuple(size for size, stride in zip(batch, strides, strict=True) if stride)
    if count < 2 * arith.lanes:
        return None
    return PackedLayout("v", arith, shapes(target, arith)[0], p.dtype, real, count, p.k)


def _packed(side: _Side, which: str, p: GemmProblem, arith: Arithmetic, shape: Shape
            ) -> tuple[PackedLayout, Temp, Call]:
    real = [i for i, stride in enumerate(side.batch) if stride and p.batch[i] > 1]
    layout = PackedLayout(which, arith, shape, side.dtype, tuple(p.batch[i] for i in real), side.count, p.k)
    memory = Temp(layout.nbytes)
    call = pack_operand(layout, side.operand, Operand(memory), tuple(side.batch[i] for i in real), side.free,
                        side.along)
    return layout, memory, call


def _packed_batch(layout: PackedLayout, side: _Side, batch: tuple[int, ...]) -> list[int]:
    """Strides of all batch dimensions in a packed operand."""
    strides, own = [0] * len(batch), list(layout.batch_strides())
    for i in reversed(range(len(batch))):
        if side.batch[i] and batch[i] > 1 and own:
            strides[i] = own.pop()
    return strides


def _tiled(p: GemmProblem, arith: Arithmetic, choice: Choice, a: Operand, b: Operand, inputs: Sequence[Operand],
           outputs: Sequence[Operand], target: Target, threads: int, packed_a: PackedLayout | None,
           packed_b: PackedLayout | None) -> Schedule:
    shape, lanes, group = choice.shape, arith.lanes, arith.group
    s, v = _sides(p, a, b, choice.swap)
    s_layout, v_layout = (packed_b, packed_a) if choice.swap else (packed_a, packed_b)
    entries, steps = math.prod(p.batch), arithmetic.steps_of(arith, p.k)
    panel_bytes = arithmetic.nbytes(arith.panel) * group

    pass_steps = min(steps, PASS // group)
    s_panels = -(-s.count // shape.height)
    v_panels, v_wide = panel_count(-(-v.count // lanes), shape.vectors)
    # a chunk's vector panels come from the second-level cache as fast as products need them: going through all of them
    # for one scalar panel writes the result along its rows. Tiles are faster, and a vector panel waits for them nearby
    s_block = max(1, TILE_ROWS_BYTES // (pass_steps * shape.height * panel_bytes)) if isinstance(arith, Tiles) else 1
    tile = shape.height * shape.vectors * lanes * arithmetic.nbytes(arith.acc)

    cycles = estimate(p, choice, arith) * entries
    packs = pack.mode_of(v.free, v.along, v.count, p.k)
    packed = shape.vectors * lanes * p.k if choice.v_mode == "task" else 0
    far = FAR_CYCLES if v.count * p.k * v.dtype.itemsize > NEAR_BYTES else 0.0
    cut = choose_cut(Work(
        entries, v_panels, s_panels, shape.vectors, v_wide,
        _tile_cycles(shape.height, shape.vectors, arith) * steps + TILE_CYCLES,
        packed * (PACK_CYCLES[packs] + 4 * far), packed * (_task_pack(packs, arith) + far),
        shape.height * steps * panel_bytes, shape.height * pass_steps * panel_bytes,
        pass_steps * shape.vectors * lanes * panel_bytes,
        tile if pass_steps < steps else 0, target), threads if cycles >= 2 * TASK_CYCLES else 1)
    chunk, part = cut.chunk, cut.part
    chunks, parts = -(-v_panels // chunk), -(-s_panels // part)

    calls: list[Call] = []
    s_mode = "k" if s.along == 1 else "any"
    s_panel, s_strides = 0, list(s.batch)
    if choice.s_packed:
        s_mode = "packed"
        if s_layout is None:
            s_layout, memory, call = _packed(s, "s", p, arith, shape)
            s = replace(s, operand=Operand(memory))
            calls.append(call)
        s_panel, s_strides = shape.height * steps * group, _packed_batch(s_layout, s, p.batch)
    v_mode = "packed" if cut.packed else choice.v_mode
    v_strides = list(v.batch)
    if v_mode == "packed":
        if v_layout is None:
            v_layout, memory, call = _packed(v, "v", p, arith, shape)
            v = replace(v, operand=Operand(memory))
            calls.append(call)
        v_strides = _packed_batch(v_layout, v, p.batch)
    elif v_mode == "task":
        v_mode = packs

    packed_here = chunk * shape.vectors * lanes * pass_steps * panel_bytes if v_mode in pack.MODES else 0
    sums = -(-packed_here // 64) * 64
    tiles = min(s_block, part) if pass_steps >= steps else part * chunk
    batch = _pad(p.batch, 1)
    values = {
        "batch1": batch[1], "batch2": batch[2],
        "s_count": s.count, "s_panels": s_panels, "s_parts": parts, "s_block": s_block,
        "v_count": v.count, "v_panels": v_panels, "v_wide": v_wide, "v_chunks": chunks,
        "v_group": -(-chunks // threads) if cut.shared else chunks,
        "v_ahead": -(-arith.block // part) if far and chunk == 1 else 0,  # rows a tile fetches of the next chunk
        "k": p.k, "steps": steps, "pass_steps": pass_steps,
        **_batch("s_batch", s_strides), "s_row": s.free, "s_step": s.along, "s_panel": s_panel,
        **_batch("v_batch", v_strides), "v_free": v.free, "v_step": v.along,
        "sums": sums, "totals": sums + tiles * tile,
    }
    structure = Structure(arith, shape, s.dtype, s_mode, v.dtype, v_mode, _finish(p, arith.acc, choice.swap))
    tasks = entries * chunks * parts
    calls.append(Call(
        KernelSpec(f"gemm{shape.height}x{shape.vectors}_{p.dtype.ir}_{s_mode}_{v_mode}", structure.key,
                   kernel.build(structure)),
        [s.operand, v.operand, *inputs, *outputs],
        [*(values[x] for x in kernel.PARAMETERS), *_array_params(p, choice.swap)],
        tasks, _grain(tasks, cycles / tasks, threads), _writes(2, p), _inplace(2, p), flops=p.flops,
        nbytes=_traffic(p), label=_label(p)))
    return calls

