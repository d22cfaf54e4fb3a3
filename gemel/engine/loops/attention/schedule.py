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
from ..gemm.arithmetic import SUPER, Plain
from ..group import Group
from ..index import ZERO, Affine, Domain, Index
from ..rowwise.schedule import Context
from . import forward
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


def refusal(op: Op, types: Sequence[TensorType]) -> str:
    """Why the body of this attention is better fused; empty if it has a kernel of its own."""
    q, k, v = types[:3]
    target = host()
    n = Sizes.of(q, k, v)
    arith = arithmetic_of(q.dtype, target)
    if len(types) > 4 + op.attrs.masked:
        return "dropout draws a number for every weight"
    if 0 in (*q.shape, *k.shape, *v.shape):
        return "an operand is empty"
    if arith is None:
        return f"{q.dtype.name} is summed by instructions of its own"
    if n.rows < arith.lanes:
        return f"{n.rows} queries do not fill a vector"
    if n.width > SUPER or n.columns > MOST_KEYS or _regions(n, arith, target)[1] > SCRATCH:
        return f"scores of {n.columns} keys do not fit a thread's scratch memory"
    if op.attrs.masked and any(m != 1 for m in types[4].shape[:-3]) and q.ndim > 4:
        return "a mask with several batch axes"
    return ""


def keeps(op: Op, types: Sequence[TensorType]) -> bool:
    """Does a node keep its name? Says why not (``GEMEL_LOG=fuse``)."""
    reason = refusal(op, types)
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
        self.dense = (("k", self.inner), ("v", self.outer))  # operands that must be contiguous along a variable
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
        rows = all(self.sizes[v] == 1 or found[name].stride(v) == 1 for name, v in self.dense)
        if len(batch) > 1 or not (rows or copies):
            return None
        self.batch = batch[0] if batch else None
        return found

    def _copied(self, written: Sequence[str]) -> dict[str, Var]:
        copies = {}
        for name, (v, _) in self.operands.items():
            if name not in written and v.type.ndim == len(self.lead) + 3:
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


def schedule_attention(g: Group, context: Context) -> list[Call]:
    """The call of the forward kernel."""
    e = g.anchor
    assert e is not None
    q, key, v, scale, *more = e.inputs
    masked = e.op.attrs.masked
    f = Frame(g, context, q.type, key.type, v.type)
    f.add("q", q, f.index(f.row, f.inner))
    f.add("k", key, f.index(f.column, f.inner, keys=True))
    f.add("v", v, f.index(f.column, f.outer, keys=True))
    f.add("scale", scale, ())
    if masked:
        f.add("mask", more[0], f.index(f.row, f.column))
    f.add("out", e.outputs[0], f.index(f.row, f.outer))
    f.add("lse", e.outputs[1], f.index(f.row))
    arrays = f.arrays(("out", "lse"))
    n, target, dtype = f.n, context.target, q.type.dtype
    arith = arithmetic_of(dtype, target)
    assert arith is not None
    mask = arrays.get("mask")
    s = Structure("attention", arith, shape_of(target, arith), dtype, dt.compute_type(dtype),
                  arrays["q"].stride(f.inner) == 1 or n.width == 1, e.op.attrs.causal,
                  more[0].type.dtype if masked else None, mask is not None and not mask.stride(f.row))
    (_, scores, sums, totals, divisors), _ = _regions(n, arith, target)
    batch = f.entries
    blocks = -(-n.rows // s.lanes)
    axes = {"q": (f.row, f.inner), "k": (f.column, f.inner), "v": (f.column, f.outer), "mask": (f.row, f.column),
            "out": (f.row, f.outer), "lse": (f.row, None)}
    params = [batch[1], batch[2], n.rows, n.columns, n.width, n.depth, blocks,
              *(x for name, (row, column) in axes.items() for x in f.strides(arrays.get(name), row, column)),
              scores, sums, totals, divisors]
    names = [name for name in forward.OPERANDS if name in arrays]
    tasks = math.prod(batch) * blocks
    seen = sum(min(n.columns, (i + 1) * s.lanes) for i in range(blocks)) if s.causal else blocks * n.columns
    flops = 2 * math.prod(batch) * n.rows * seen * (n.width + n.depth) // blocks
    size = dtype.itemsize * math.prod(batch)
    nbytes = size * (n.rows * (n.width + n.depth) + n.columns * (n.width + n.depth) // n.group)
    label = f"attention {'x'.join(map(str, batch))}x{n.rows}x{n.columns}x{n.width} {dtype.ir}"
    return [*f.calls, Call(
        KernelSpec(f"attention{s.shape.height}x{s.shape.vectors}_{dtype.ir}" + "_causal" * s.causal, s.key,
                   forward.build(s)),
        [arrays[name].operand() for name in names], params, tasks, 1 if context.threads > 1 else tasks,
        (len(names) - 2, len(names) - 1), flops=flops, nbytes=nbytes, label=label)]
