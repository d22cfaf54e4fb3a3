"""The arithmetic of one contraction step: how products are formed and summed, per dtype and instruction set.

An arithmetic says what elements packed panels hold, how many k one step consumes (``group``) and whether they lie
in reverse order within a step (``exchanged``), and emits the loads and the multiply-add. Everything else of this
package is the same for every dtype.

====================  ======================================  ==========================================
arithmetic            operands                                one step
====================  ======================================  ==========================================
:class:`Plain`        f32, f64; bf16, f16 (summed in f32);    one k: fused multiply-add, or multiply and
                      integers (wrapping)                     add where there is no fused one
:class:`Pairs`        i8, u8 (summed in i32)                  two k: 16-bit multiply, add neighbours
:class:`Bytes`        i8 (summed in i32)                      four k: byte dot product (VNNI, dotprod)
:class:`Bf16Pairs`    bf16 (summed in f32)                    two k: bf16 dot product (AVX-512)
:class:`Tiles`        bf16 (summed in f32)                    32 k: tiles of 16 x 16 sums (AMX), see ``tiles``
====================  ======================================  ==========================================

Only :class:`Plain` reads operands in place; the others need packed panels.

The bf16 dot product of x86 multiplies and adds the upper element of each pair first, then the lower one, each
with one rounding. Panels therefore hold every pair with its elements exchanged, and the sums are those of the chain
in rising k, except that the instruction takes and gives subnormal numbers as zeros.
"""
from __future__ import annotations

from dataclasses import dataclass

from ...base import dtypes as dt
from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import KernelBuilder, Type, Val
from .problem import accumulator

BLOCK, SUPER = 256, 4096  # the canonical order's block and super-block of k
TILE_K, TILE_BLOCK = 32, 256  # k of one tile instruction; k between two visits to its sums


@dataclass(frozen=True)
class Plain:
    """Element by element, in the accumulator's type.

    Args:
        acc: element type of sums and of packed panels. lanes: accumulators in one vector.
        fused: multiply-adds round once (floats).
    """

    acc: str
    lanes: int
    fused: bool = True
    group = 1
    depth = 1
    block = BLOCK
    exchanged = False

    @property
    def panel(self) -> str:
        return self.acc

    def to_panel(self, k: KernelBuilder, value: Val, dtype: DType) -> Val:
        """An element (or vector of them) in register representation as panels hold it."""
        return _widen_integer(k, value, dtype, self.acc)

    def load_vector(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        """One vector of the vector operand: of a packed panel, or of ``dtype`` in place."""
        if dtype is None:
            return k.load(pointer, Type(self.panel, self.lanes))
        return self.to_panel(k, element.load(k, pointer, dtype, self.lanes), dtype)

    def load_scalar(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        """One element of the scalar operand in every lane."""
        if dtype is None:
            return k.splat(k.load(pointer, Type(self.panel)), self.lanes)
        if dtype is dt.bfloat16:  # widened after the broadcast: no detour through an integer register
            raw = k.bitcast(k.splat(k.load(pointer, Type("i16")), 2 * self.lanes), "i32")
            return k.bitcast(k.and_(raw, k.const(0xFFFF0000, raw.type)), "f32")
        return k.splat(self.to_panel(k, element.load(k, pointer, dtype, 1), dtype), self.lanes)

    def multiply_add(self, k: KernelBuilder, s: Val, v: Val, acc: Val) -> Val:
        if acc.type.is_float:
            return k.fma(s, v, acc) if self.fused else k.fadd(acc, k.fmul(s, v))
        return k.iadd(acc, k.imul(s, v))


@dataclass(frozen=True)
class Pairs:
    """8-bit integers as pairs of 16-bit ones: products of neighbours are added exactly into 32 bits.

    Args:
        lanes: accumulators in one vector. intrinsic: the machine's instruction, or empty: plain vector code.
    """

    lanes: int
    intrinsic: str
    group = 2
    depth = 1
    block = BLOCK
    exchanged = False
    acc = "i32"
    panel = "i16"

    def to_panel(self, k: KernelBuilder, value: Val, dtype: DType) -> Val:
        return _widen_integer(k, value, dtype, "i16")

    def load_vector(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.load(pointer, Type("i16", 2 * self.lanes))

    def load_scalar(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.bitcast(k.splat(k.load(pointer, Type("i32")), self.lanes), "i16")

    def multiply_add(self, k: KernelBuilder, s: Val, v: Val, acc: Val) -> Val:
        if self.intrinsic:
            return k.iadd(acc, k.intrinsic(self.intrinsic, Type("i32", self.lanes), s, v))
        for start in (0, 1):
            x, y = (k.convert("sext", k.shuffle(side, None, range(start, 2 * self.lanes, 2)), "i32")
                    for side in (s, v))
            acc = k.iadd(acc, k.imul(x, y))
        return acc


@dataclass(frozen=True)
class Bytes:
    """Signed bytes, four products a lane.

    Args:
        lanes: accumulators in one vector. intrinsic: the instruction, or empty: plain vector code.
        biased: the instruction takes unsigned scalars: they are packed with 128 added, and 128 times the sum of
            the vector operand, kept by one more accumulator a vector, is taken off at the end of a block.
    """

    lanes: int
    intrinsic: str
    biased: bool
    group = 4
    depth = 1
    block = BLOCK
    exchanged = False
    acc = "i32"
    panel = "i8"

    def to_panel(self, k: KernelBuilder, value: Val, dtype: DType) -> Val:
        return value

    def load_vector(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.load(pointer, Type("i8", 4 * self.lanes))

    def load_scalar(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.bitcast(k.splat(k.load(pointer, Type("i32")), self.lanes), "i8")

    def multiply_add(self, k: KernelBuilder, s: Val, v: Val, acc: Val) -> Val:
        if self.intrinsic:
            return k.intrinsic(self.intrinsic, acc.type, acc, s, v)
        for start in range(4):
            x, y = (k.shuffle(side, None, range(start, 4 * self.lanes, 4)) for side in (s, v))
            x = k.convert("zext" if self.biased else "sext", x, "i32")
            acc = k.iadd(acc, k.imul(x, k.convert("sext", y, "i32")))
        return acc

    def bias(self, k: KernelBuilder) -> Val:
        """The scalar operand of the correcting accumulator: 128 everywhere."""
        return k.const(-128, Type("i8", 4 * self.lanes))


@dataclass(frozen=True)
class Bf16Pairs:
    """The bf16 dot product of AVX-512: two products a lane, the upper one first; subnormals are zeros."""

    lanes: int
    intrinsic: str
    group = 2
    depth = 1
    block = BLOCK
    acc = "f32"
    panel = "i16"
    exchanged = True

    def to_panel(self, k: KernelBuilder, value: Val, dtype: DType) -> Val:
        return element.narrow(k, value, dtype)

    def load_vector(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.load(pointer, Type("i16", 2 * self.lanes))

    def load_scalar(self, k: KernelBuilder, pointer: Val, dtype: DType | None) -> Val:
        return k.bitcast(k.splat(k.load(pointer, Type("i32")), self.lanes), "i16")

    def multiply_add(self, k: KernelBuilder, s: Val, v: Val, acc: Val) -> Val:
        if self.intrinsic:
            return k.intrinsic(self.intrinsic, acc.type, acc, k.bitcast(s, "bf16"), k.bitcast(v, "bf16"))
        for start in (1, 0):
            x, y = (element.widen(k, k.shuffle(side, None, range(start, 2 * self.lanes, 2)), dt.bfloat16)
                    for side in (s, v))
            acc = k.fma(x, y, acc)
        return acc


@dataclass(frozen=True)
class Tiles:
    """bf16 in the tile registers of AMX; what it emits is in ``tiles``. Panels hold pairs, as for ``Bf16Pairs``."""

    lanes: int = 16
    group = 2
    depth = TILE_K // 2
    block = TILE_BLOCK
    acc = "f32"
    panel = "i16"
    exchanged = False

    def to_panel(self, k: KernelBuilder, value: Val, dtype: DType) -> Val:
        return element.narrow(k, value, dtype)


#: what sums step by step in registers
Stepwise = Plain | Pairs | Bytes | Bf16Pairs
Arithmetic = Stepwise | Tiles


def steps_of(arith: Arithmetic, k: int) -> int:
    """Steps of a panel of ``k``: whole groups, in whole tiles."""
    return -(-k // (arith.group * arith.depth)) * arith.depth


def _widen_integer(k: KernelBuilder, value: Val, dtype: DType, elem: str) -> Val:
    if not dtype.is_integer or value.type.elem == elem:
        return value
    return k.convert("sext" if dtype.is_signed else "zext", value, elem)


def vector(arith: Arithmetic) -> Type:
    """The type of one vector of sums."""
    return Type(arith.acc, arith.lanes)


def zero(k: KernelBuilder, arith: Arithmetic) -> Val:
    return k.const(0, vector(arith))


def add(k: KernelBuilder, x: Val, y: Val) -> Val:
    return k.fadd(x, y) if x.type.is_float else k.iadd(x, y)


def nbytes(elem: str) -> int:
    """Bytes of one element in memory."""
    return Type(elem).bits // 8


def plain(dtype: DType, out: DType, target: Target) -> Plain | None:
    """The element-by-element arithmetic of a dtype; None for bool and complex."""
    if dtype.kind not in "fiu":
        return None
    acc = accumulator(dtype, out)
    return Plain(element.memory(acc), target.lanes(acc.bits), target.has_fma)


_PMADDWD = {"sse2": "llvm.x86.sse2.pmadd.wd", "avx2": "llvm.x86.avx2.pmadd.wd",
            "avx512": "llvm.x86.avx512.pmaddw.d.512"}


def choose(dtype: DType, out: DType, target: Target) -> Arithmetic | None:
    """The fastest arithmetic for packed operands on this machine; None for bool and complex."""
    lanes = target.lanes(32)
    if dtype in (dt.int8, dt.uint8) and out.bits <= 32:
        if dtype is dt.int8 and target.isa == "avx512" and "avx512vnni" in target.extras:
            return Bytes(lanes, "llvm.x86.avx512.vpdpbusd.512", True)
        if dtype is dt.int8 and target.isa == "avx2" and "avxvnni" in target.extras:
            return Bytes(lanes, "llvm.x86.avx512.vpdpbusd.256", True)
        if dtype is dt.int8 and target.isa == "neon" and "dotprod" in target.extras:
            return Bytes(lanes, "llvm.aarch64.neon.sdot.v4i32.v16i8", False)
        if target.isa in _PMADDWD:
            return Pairs(lanes, _PMADDWD[target.isa])
    if dtype is dt.bfloat16 and target.isa == "avx512" and "amx-bf16" in target.extras:
        return Tiles()
    if dtype is dt.bfloat16 and target.has_fast_bf16_dot:
        return Bf16Pairs(lanes, "llvm.x86.avx512bf16.dpbf16ps.512")
    return plain(dtype, out, target)
