"""Elements in memory and in registers: loads and stores of every dtype, whole vectors or their first lanes.

In registers 16-bit floats are f32 and bools are i1; in memory bf16 lives in i16 and bools in i8.
"""
from __future__ import annotations

from ..base import dtypes as dt
from ..base.dtypes import DType
from ..base.target import Target
from .ir import KernelBuilder, Type, Val
from .registers import f16_of_bits, round_to, to_memory

_MEMORY = {dt.bfloat16: "i16", dt.bool_: "i8"}
_REGISTER = {dt.bfloat16: "f32", dt.float16: "f32", dt.bool_: "i1"}


def memory(dtype: DType) -> str:
    """Loop-IR element type that stores ``dtype``."""
    return _MEMORY.get(dtype) or (f"f{dtype.bits}" if dtype.kind == "f" else f"i{dtype.bits}")


def register(dtype: DType) -> str:
    """Loop-IR element type of ``dtype`` in registers."""
    return _REGISTER.get(dtype) or memory(dtype)


def widen(k: KernelBuilder, raw: Val, dtype: DType) -> Val:
    """Memory representation to register representation."""
    if dtype is dt.bfloat16:
        wide = k.convert("zext", raw, "i32")
        return k.bitcast(k.shl(wide, k.const(16, wide.type)), "f32")
    if dtype is dt.float16:
        return k.convert("fpext", raw, "f32") if "f16" in k.native else f16_of_bits(k, k.bitcast(raw, "i16"))
    if dtype is dt.bool_:
        return k.compare("ne", raw, k.const(0, raw.type))
    return raw


def narrow(k: KernelBuilder, value: Val, dtype: DType) -> Val:
    """Register representation to memory representation: 16-bit floats round to nearest even."""
    if dtype is dt.bfloat16:
        lanes = value.type.lanes
        bits = k.bitcast(value, "i32")
        wide = Type("i32", lanes)
        odd = k.and_(k.lshr(bits, k.const(16, wide)), k.const(1, wide))
        rounded = k.lshr(k.iadd(bits, k.iadd(odd, k.const(0x7FFF, wide))), k.const(16, wide))
        sign = k.and_(k.lshr(bits, k.const(16, wide)), k.const(0x8000, wide))
        quiet = k.or_(sign, k.const(0x7FC0, wide))
        nan = k.compare("uno", value, value)
        return k.convert("trunc", k.select(nan, quiet, rounded), "i16")
    if dtype is dt.float16:
        if "f16" in k.native:
            return k.convert("fptrunc", value, "f16")
        return k.bitcast(to_memory(k, dtype, round_to(k, dtype, value)), "f16")
    if dtype is dt.bool_:
        return k.convert("zext", value, "i8")
    return value


def load(k: KernelBuilder, pointer: Val, dtype: DType, lanes: int) -> Val:
    """``lanes`` consecutive elements, in register representation."""
    return widen(k, k.load(pointer, Type(memory(dtype), lanes)), dtype)


def store(k: KernelBuilder, value: Val, pointer: Val, dtype: DType) -> None:
    """Consecutive elements from register representation."""
    k.store(narrow(k, value, dtype), pointer)


def _maskable(elem: str, target: Target) -> bool:
    """Does the machine load and store part of a vector of ``elem`` in one instruction?"""
    bits = Type(elem).bits
    return target.isa == "avx512" or (target.isa == "avx2" and bits >= 32)


def _mask(k: KernelBuilder, elem: str, lanes: int, count: Val) -> Val:
    """Lanes below ``count``."""
    width = f"i{min(32, Type(elem).bits) if Type(elem).bits < 64 else 64}"
    limit = k.convert("trunc", count, width)
    return k.compare("slt", k.lane_ids(lanes, width), k.splat(limit, lanes))


def load_part(k: KernelBuilder, pointer: Val, elem: str, lanes: int, count: Val, target: Target) -> Val:
    """The first ``count`` (0 <= count < lanes) elements, the rest zero; memory beyond them is not touched."""
    vector = Type(elem, lanes)
    if _maskable(elem, target):
        return k.masked_load(pointer, _mask(k, elem, lanes, count), k.const(0, vector))
    spare = k.stack(elem, lanes)
    k.store(k.const(0, vector), spare)
    k.loop(0, count, body=lambda i: k.store(k.load(k.offset(pointer, i, elem), Type(elem)), k.offset(spare, i, elem)))
    return k.load(spare, vector)


def store_part(k: KernelBuilder, raw: Val, pointer: Val, count: Val, target: Target) -> None:
    """The first ``count`` lanes of a value in memory representation."""
    elem, lanes = raw.type.elem, raw.type.lanes
    if _maskable(elem, target):
        k.masked_store(raw, pointer, _mask(k, elem, lanes, count))
        return
    spare = k.stack(elem, lanes)
    k.store(raw, spare)
    k.loop(0, count, body=lambda i: k.store(k.load(k.offset(spare, i, elem), Type(elem)), k.offset(pointer, i, elem)))

