"""Attention nodes that keep their name: which do, and their kernel calls.

A node keeps its name where its scores fit a thread's scratch memory block by block; :func:`refusal` says why not, and
its body is fused instead, to the same bits. Batch axes are those of the keys' heads, the query heads that share one,
and all others merged; operands that do not lie so, or whose rows are not contiguous, are copied first.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...base import dtypes as dt
from ...base import log
from ...base.dtypes import DType
from ...base.target import Target, host
from ...ir.op import Op
from ...ir.program import Var
from ...ir.types import TensorType, tensor_type
from ..assemble import copy_into
from ..calls import Call, KernelSpec
from ..contract import Array, array_at, merge
from ..gemm import arithmetic
from ..gemm.arithmetic import BLOCK, SUPER, Plain
from ..group import Group
from ..index import ZERO, Affine, Domain, Index
from ..rowwise.schedule import Context
from . import backward, forward
from .block import PARTIALS, Structure, shape_of

SCRATCH = 4 << 20     # of a thread
MOST_KEYS = 1 << 16   # a sum over more has a third level
LINE = 64


@dataclass(frozen=True)
class Sizes:
    """Sizes of an attention: queries and keys of a head, width of a query, of a value; heads of keys, queries each."""

    rows: int
    columns: int
    width: int
    depth: int
    heads: int
    group: int

    @staticmethod
    def of(q: TensorType, k: TensorType, v: TensorType) -> Sizes:
        heads = k.shape[-3]
        return Sizes(q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], heads, q.shape[-3] // max(1, heads))


def arithmetic_of(dtype: DType, target: Target) -> Plain | None:
    """The element-by-element arithmetic in which ``dot`` sums this dtype here; None: it has another."""
    found = arithmetic.choose(dtype, dt.compute_type(dtype), target)
    return found if isinstance(found, Plain) else None


def _lines(*regions: int) -> tuple[list[int], int]:
    """Offsets of regions of so many bytes, aligned to cache lines; bytes in all."""
    offsets, at = [], 0
    for nbytes in regions:
        offsets.append(at)
        at += -(-nbytes // LINE) * LINE
    return offsets, at


def _regions(n: Sizes, arith: Plain, target: Target) -> tuple[list[int], int]:
    """Offsets of panel, scores, sums, totals and divisors; bytes in all."""
    shape = shape_of(target, arith)
    row = shape.vectors * arith.lanes * arithmetic.nbytes(arith.acc)
    depth = -(-n.depth // shape.height) * shape.height
    return _lines(row * n.width, row * (n.columns + PARTIALS + shape.height), row * depth,
                  row * depth * (n.columns > SUPER), row)


def _square_regions(n: Sizes, arith: Plain, target: Target) -> tuple[list[int], int]:
    """Offsets of the regions of the backward kernel; bytes in all."""
    shape = shape_of(target, arith, True)
    size, lanes = arithmetic.nbytes(arith.acc), shape.vectors * arith.lanes
    width, depth = (-(-x // lanes) * lanes for x in (n.width, n.depth))
    inner = -(-n.width // shape.height) * shape.height
    keys, many = n.columns + shape.height, n.rows * n.group > SUPER
    counts = (BLOCK * n.width, BLOCK * n.depth, BLOCK * width, BLOCK * depth, (BLOCK + shape.height) * BLOCK,
              shape.height * lanes, BLOCK, BLOCK, inner * BLOCK, inner * BLOCK * (n.columns > SUPER),
              keys * width, keys * width * many, keys * depth, keys * depth * many)
    return _lines(*(size * x for x in counts))


def _refusal(op: Op, q: TensorType, k: TensorType, v: TensorType, mask: TensorType | None, draws: bool) -> str:
    """What both kernels refuse."""
    n, arith = Sizes.of(q, k, v), arithmetic_of(q.dtype, host())
    if draws:
        return "dropout draws a number for every weight"
    if 0 in (*q.shape, *k.shape, *v.shape):
        return "an operand is empty"
    if arith is None:
        return f"{q.dtype.name} is summed by instructions of its own"
    if n.rows < arith.lanes:
        return f"{n.rows} queries do not fill a vector"
    if mask is not None and any(m != 1 for m in mask.shape[:-3]) and q.ndim > 4:
        return "a mask with several batch axes"
    return ""


def refusal(op: Op, types: Sequence[TensorType]) -> str:
    """Why the body of this attention is better fused; empty if it has a kernel of its own."""
    q, k, v, _, *more = types
    found = _refusal(op, q, k, v, more[0] if op.attrs.masked else None, len(more) > op.attrs.masked)
    if found:
        return found
    n, target = Sizes.of(q, k, v), host()
    arith = arithmetic_of(q.dtype, target)
    if arith is None or n.width > SUPER or n.columns > MOST_KEYS or _regions(n, arith, target)[1] > SCRATCH:
        return f"scores of {n.columns} keys do not fit a thread's scratch memory"
    return ""


def backward_refusal(op: Op, types: Sequence[TensorType]) -> str:
    """Why the body of this derivative is better fused; empty if it has a kernel of its own."""
    _, q, k, v, _, _, _, *more = types
    found = _refusal(op, q, k, v, more[0] if op.attrs.masked else None, len(more) > op.attrs.masked)
    if found:
        return found
    n, target = Sizes.of(q, k, v), host()
    arith = arithmetic_of(q.dtype, target)
    if q.dtype is not dt.compute_type(q.dtype):
        return f"weights are rounded to {q.dtype.name} between their products"
    if n.group > 1 and n.rows % BLOCK:
        return f"blocks of {BLOCK} queries reach over heads of {n.rows}"
    if arith is None or max(n.width, n.depth) > SUPER or _square_regions(n, arith, target)[1] > SCRATCH:
        return f"gradients of {n.columns} keys do not fit a thread's scratch memory"
    return ""


REFUSALS = {"attention": refusal, "attention_backward": backward_refusal}


def keeps(op: Op, types: Sequence[TensorType]) -> bool:
    """Does a node keep its name? Says why not (``GEMEL_LOG=fuse``)."""
    reason = REFUSALS[op.name](op, types)
    if reason and log.on("fuse"):
        log.say("fuse", f"{op.name}: {reason}; its body is fused")
    return not reason


class Frame:
    """The loop variables of an attention, and its operands in them.

    Attributes:
        calls: copies that come first. arrays: by name; ``batch``: variables of the merged batch axes.
    """

    def __init__(self, g: Group, context: Context, q: TensorType, k: TensorType, v: TensorType) -> None:
        self.context, self.n, self.d = context, Sizes.of(q, k, v), Domain()
        n, d = self.n, self.d
        self.lead = [d.new(size) for size in q.shape[:-3]]
        self.head, self.member = d.new(n.heads), d.new(n.group)
        self.row, self.column, self.inner, self.outer = map(d.new, (n.rows, n.columns, n.width, n.depth))
        #: operands that must be contiguous along a variable
        self.dense = (("k", self.inner), ("v", self.outer), ("lse", self.row), ("inner", self.row))
        self.operands: dict[str, tuple[Var, Index]] = {}
        self.calls: list[Call] = []

    def index(self, *last: int, keys: bool = False) -> Index:
        """Index of a value: batch axes, heads (of keys or of queries), then these variables."""
        head = Affine(0, ((self.head, 1),)) if keys else Affine(0, ((self.head, self.n.group), (self.member, 1)))
        return (*(Affine(0, ((v, 1),)) for v in self.lead), head, *(Affine(0, ((v, 1),)) for v in last))

    def add(self, name: str, v: Var, index: Index) -> None:
        """An operand; axes of size 1 that meet longer ones are broadcast (masks)."""
        index = index[len(index) - v.type.ndim:]
        self.operands[name] = v, tuple(ZERO if size == 1 else a for size, a in zip(v.shape, index, strict=True))

    def arrays(self, written: Sequence[str]) -> dict[str, Array]:
        """Where all operands lie; after copies where strides do not describe that."""
        found = self._arrays(written, {})
        return found if found is not None else self._arrays(written, self._copied(written)) or {}

    def _arrays(self, written: Sequence[str], copies: dict[str, Var]) -> dict[str, Array] | None:
        d, found = self.d, {}
        for name, (v, index) in self.operands.items():
            if name in copies:
                found[name] = array_at(d, self.context, copies[name], index)
            elif name in written:
                found[name] = array_at(d, self.context, v, index)
            else:
                found[name] = array_at(d, self.context, *self.context.resolve(d, v, index))
        if d.splits:
            d.splits.clear()
            return None
        self.sizes = dict(enumerate(d.sizes))
        batch = merge([v for v in self.lead if self.sizes[v] != 1], self.sizes, list(found.values()))
        rows = all(self.sizes[v] == 1 or found[name].stride(v) == 1 for name, v in self.dense
                   if name in found)
        if len(batch) > 1 or not (rows or copies):
            return None
        self.batch = batch[0] if batch else None
        return found

    def _copied(self, written: Sequence[str]) -> dict[str, Var]:
        copies = {}
        for name, (v, _) in self.operands.items():
            if name not in (*written, "scale", "mask"):
                copies[name] = Var(tensor_type(v.type.dtype, v.shape))
                self.calls += copy_into(self.context, v, copies[name], tuple(range(v.type.ndim)))
        return copies

    def strides(self, array: Array | None, row: int, column: int | None) -> list[int]:
        """Strides of the three batch dimensions, of a row and of a column."""
        if array is None:
            return [0] * 5
        variables = (self.batch, self.head, self.member, row, column)
        return [array.stride(v) if v is not None else 0 for v in variables]

    @property
    def entries(self) -> tuple[int, int, int]:
        """Sizes of the batch dimensions."""
        return (self.sizes[self.batch] if self.batch is not None else 1), self.n.heads, self.n.group


def _structure(name: str, g: Group, f: Frame, arrays: dict[str, Array], target: Target) -> Structure:
    e = g.anchor
    assert e is not None
    dtype = e.inputs[0].type.dtype
    arith, mask = arithmetic_of(dtype, target), arrays.get("mask")
    assert arith is not None
    contiguous = {x: arrays[x].stride(v) == 1 or f.sizes[v] == 1 for x, v in (("q", f.inner), ("g", f.outer))
                  if x in arrays}
    return Structure(name, arith, shape_of(target, arith, name != "attention"), dtype, dt.compute_type(dtype),
                     contiguous["q"], e.op.attrs.causal, mask.dtype if mask is not None else None,
                     mask is not None and not mask.stride(f.row), contiguous.get("g", True))


def _flops(f: Frame, s: Structure, products: int) -> int:
    """Operations of ``products`` products of all scores that are seen, in blocks of queries."""
    n = f.n
    blocks = -(-n.rows // s.lanes)
    seen = sum(min(n.columns, (i + 1) * s.lanes) for i in range(blocks)) if s.causal else blocks * n.columns
    return math.prod(f.entries) * n.rows * seen * (n.width + n.depth) // blocks * products


def _label(f: Frame, what: str, dtype: DType) -> str:
    return f"{what} {'x'.join(map(str, f.entries))}x{f.n.rows}x{f.n.columns}x{f.n.width} {dtype.ir}"


def schedule_attention(g: Group, context: Context) -> list[Call]:
    """The call of the forward kernel."""
    e = g.anchor
    assert e is not None
    q, key, v, scale, *more = e.inputs
    f = Frame(g, context, q.type, key.type, v.type)
    f.add("q", q, f.index(f.row, f.inner))
    f.add("k", key, f.index(f.column, f.inner, keys=True))
    f.add("v", v, f.index(f.column, f.outer, keys=True))
    f.add("scale", scale, ())
    if more:
        f.add("mask", more[0], f.index(f.row, f.column))
    f.add("out", e.outputs[0], f.index(f.row, f.outer))
    f.add("lse", e.outputs[1], f.index(f.row))
    arrays = f.arrays(("out", "lse"))
    s, n = _structure("attention", g, f, arrays, context.target), f.n
    (_, *regions), _ = _regions(n, s.arith, context.target)
    batch = f.entries
    blocks = -(-n.rows // s.lanes)
    axes = {"q": (f.row, f.inner), "k": (f.column, f.inner), "v": (f.column, f.outer), "mask": (f.row, f.column),
            "out": (f.row, f.outer), "lse": (f.row, None)}
    params = [batch[1], batch[2], n.rows, n.columns, n.width, n.depth, blocks,
              *(x for name, (row, column) in axes.items() for x in f.strides(arrays.get(name), row, column)), *regions]
    names = [name for name in forward.OPERANDS if name in arrays]
    tasks = math.prod(batch) * blocks
    moved = sum(v.type.nbytes for v in (q, key, e.inputs[2], *more[:1], *e.outputs))
    return [*f.calls, Call(
        KernelSpec(f"attention{s.shape.height}x{s.shape.vectors}_{s.dtype.ir}" + "_causal" * s.causal, s.key,
                   forward.build(s)),
        [arrays[name].operand() for name in names], params, tasks, 1 if context.threads > 1 else tasks,
        (len(names) - 2, len(names) - 1), flops=_flops(f, s, 1), nbytes=moved, label=_label(f, "attention", s.dtype))]


def schedule_attention_backward(g: Group, context: Context) -> list[Call]:
    """The call of the backward kernel."""
    e = g.anchor
    assert e is not None
    cotangent, q, key, v, scale, lse, inner, *more = e.inputs
    f = Frame(g, context, q.type, key.type, v.type)
    axes = {"g": (f.row, f.outer), "q": (f.row, f.inner), "k": (f.column, f.inner), "v": (f.column, f.outer),
            "mask": (f.row, f.column), "lse": (f.row, None), "inner": (f.row, None), "dq": (f.row, f.inner),
            "dk": (f.column, f.inner), "dv": (f.column, f.outer)}
    values = {"g": cotangent, "q": q, "k": key, "v": v, "scale": scale, "lse": lse, "inner": inner,
              **({"mask": more[0]} if more else {}), **dict(zip(("dq", "dk", "dv"), e.outputs, strict=True))}
    for name, value in values.items():
        last = [x for x in axes.get(name, ()) if x is not None]
        f.add(name, value, f.index(*last, keys=name in ("k", "v", "dk", "dv")) if last else ())
    arrays = f.arrays(("dq", "dk", "dv"))
    s, n = _structure("attention_backward", g, f, arrays, context.target), f.n
    regions, _ = _square_regions(n, s.arith, context.target)
    width, depth = (-(-x // s.lanes) * s.lanes for x in (n.width, n.depth))
    params = [n.heads, n.group, n.rows, n.columns, n.width, n.depth, width, depth,
              *(x for name, (row, column) in axes.items() for x in f.strides(arrays.get(name), row, column)), *regions]
    names = [name for name in backward.OPERANDS if name in arrays]
    tasks = f.entries[0] * n.heads
    return [*f.calls, Call(
        KernelSpec(f"attention_backward{s.shape.height}x{s.shape.vectors}_{s.dtype.ir}" + "_causal" * s.causal, s.key,
                   backward.build(s)),
        [arrays[name].operand() for name in names], params, tasks, 1 if context.threads > 1 else tasks,
        tuple(range(len(names) - 3, len(names))), flops=5 * _flops(f, s, 1) // 2,
        nbytes=sum(v.type.nbytes for v in values.values()), label=_label(f, "attention backward", s.dtype))]
