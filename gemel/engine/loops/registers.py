"""How elements of each dtype are held in registers, and how they get there from memory and back.

    dtype        in registers                               in memory
    f64, f32     f64, f32                                   the same
    f16, bf16    f32, always a value that f16 / bf16 has    16 bits
    integers     an integer of that width                   the same
    bool         i1                                         one byte, 0 or 1

An op on a 16-bit float computes in f32 and rounds to the grid of the 16-bit type at once (``round_to``), so a fused
chain gives the bits of its ops run one by one.
"""
from __future__ import annotations

from collections.abc import Callable

from ..base import dtypes as dt
from ..base.dtypes import DType
from ..base.errors import UnsupportedError
from .ir import KernelBuilder, Type, Val

_REGISTER = {dt.float64: "f64", dt.float32: "f32", dt.float16: "f32", dt.bfloat16: "f32", dt.bool_: "i1"}
_MEMORY = {dt.float64: "f64", dt.float32: "f32"}


def register_type(dtype: DType) -> str:
    """Element type of a register value of ``dtype``; complex dtypes have none."""
    if dtype.is_complex:
        raise UnsupportedError(f"native kernels do not hold {dtype.name}; the interpreter runs it")
    return _REGISTER.get(dtype) or f"i{dtype.bits}"


def memory_type(dtype: DType) -> str:
    """Element type with which ``dtype`` is loaded and stored."""
    return _MEMORY.get(dtype) or f"i{dtype.bits}"


def constant(k: KernelBuilder, dtype: DType, value: float | bool, lanes: int = 1) -> Val:
    """A number as a register value, rounded to ``dtype``."""
    if dtype is dt.bool_:
        value = int(bool(value))
    elif dtype in (dt.float16, dt.bfloat16):
        value = float(dtype.numpy.type(value))
    return k.const(value, Type(register_type(dtype), lanes))


# --- rounding to 16-bit floats -------------------------------------------------------------------

def round_to(k: KernelBuilder, dtype: DType, x: Val, arithmetic: bool = False) -> Val:
    """An f32 value rounded to the nearest value of a 16-bit float type, ties to even; other dtypes: x itself.

    ``arithmetic``: x is the result of one arithmetic instruction on such values. If it is NaN, the low half of its
    bits is then zero, and bf16 needs no test for NaN.
    """
    if dtype is dt.bfloat16:
        return _round_to_bf16(k, x, arithmetic)
    if dtype is dt.float16:
        if "f16" in k.native:
            return k.convert("fpext", k.convert("fptrunc", x, "f16"), "f32")
        return _round_to_f16(k, x)
    return x


def _int(x: Val) -> Type:
    return Type("i32", x.type.lanes)


def _round_to_bf16(k: KernelBuilder, x: Val, arithmetic: bool) -> Val:
    t = _int(x)
    bits = k.bitcast(x, "i32")
    even = k.and_(k.lshr(bits, k.const(16, t)), k.const(1, t))
    rounded = k.iadd(bits, k.iadd(even, k.const(0x7FFF, t)))
    result = k.bitcast(k.and_(rounded, k.const(0xFFFF0000, t)), "f32")
    if arithmetic:
        return result
    return k.select(k.compare("uno", x, x), k.const(float("nan"), x.type), result)


def _round_to_f16(k: KernelBuilder, x: Val) -> Val:
    """For targets without the instruction. Below 2^-14 f16 is a fixed-point type: adding 1/2 rounds to its 2^-24."""
    t = _int(x)
    size = k.fabs(x)
    bits = k.bitcast(size, "i32")
    even = k.and_(k.lshr(bits, k.const(13, t)), k.const(1, t))
    rounded = k.bitcast(k.and_(k.iadd(bits, k.iadd(even, k.const(0xFFF, t))), k.const(-0x2000, t)), "f32")
    half = k.const(0.5, x.type)
    small = k.fsub(k.fadd(size, half), half)
    result = k.select(k.compare("olt", size, k.const(2.0**-14, x.type)), small, rounded)
    result = k.select(k.compare("oge", result, k.const(65536.0, x.type)), k.const(float("inf"), x.type), result)
    result = k.copysign(result, x)
    return k.select(k.compare("uno", x, x), k.const(float("nan"), x.type), result)


# --- memory representation -----------------------------------------------------------------------

def from_memory(k: KernelBuilder, dtype: DType, raw: Val) -> Val:
    """The register value of loaded elements."""
    if dtype is dt.bool_:
        return k.compare("ne", raw, k.const(0, raw.type))
    if dtype is dt.bfloat16:
        wide = k.convert("zext", raw, "i32")
        return k.bitcast(k.shl(wide, k.const(16, wide.type)), "f32")
    if dtype is dt.float16:
        return k.convert("fpext", k.bitcast(raw, "f16"), "f32") if "f16" in k.native else f16_of_bits(k, raw)
    return raw


def to_memory(k: KernelBuilder, dtype: DType, x: Val) -> Val:
    """What to store for a register value."""
    if dtype is dt.bool_:
        return k.convert("zext", x, "i8")
    if dtype is dt.bfloat16:
        bits = k.bitcast(x, "i32")
        return k.convert("trunc", k.lshr(bits, k.const(16, bits.type)), "i16")
    if dtype is dt.float16:
        return k.bitcast(k.convert("fptrunc", x, "f16"), "i16") if "f16" in k.native else _f32_to_f16_bits(k, x)
    return x


def f16_of_bits(k: KernelBuilder, raw: Val) -> Val:
    """Exponent and significand read as an f32 are too small by 2^112, also for subnormals."""
    wide = k.convert("zext", raw, "i32")
    t = wide.type
    magnitude = k.shl(k.and_(wide, k.const(0x7FFF, t)), k.const(13, t))
    value = k.fmul(k.bitcast(magnitude, "f32"), k.const(2.0**112, Type("f32", t.lanes)))
    special = k.bitcast(k.or_(magnitude, k.const(0x7F800000, t)), "f32")
    value = k.select(k.compare("oge", value, k.const(65536.0, value.type)), special, value)
    sign = k.shl(k.and_(wide, k.const(0x8000, t)), k.const(16, t))
    return k.bitcast(k.or_(k.bitcast(value, "i32"), sign), "f32")


def _f32_to_f16_bits(k: KernelBuilder, x: Val) -> Val:
    """Inverse of ``f16_of_bits``, for values that f16 has."""
    t = _int(x)
    size = k.fabs(x)
    bits = k.lshr(k.bitcast(k.fmul(size, k.const(2.0**-112, x.type)), "i32"), k.const(13, t))
    special = k.select(k.compare("uno", x, x), k.const(0x7E00, t), k.const(0x7C00, t))
    bits = k.select(k.compare("olt", size, k.const(65536.0, x.type)), bits, special)
    sign = k.and_(k.lshr(k.bitcast(x, "i32"), k.const(16, t)), k.const(0x8000, t))
    return k.convert("trunc", k.or_(bits, sign), "i16")


# --- access --------------------------------------------------------------------------------------

def load_element(k: KernelBuilder, dtype: DType, pointer: Val, lanes: int = 1, mask: Val | None = None) -> Val:
    """``lanes`` consecutive elements; where the mask is off, memory is not touched and the value is 0."""
    t = Type(memory_type(dtype), lanes)
    if mask is None:
        raw = k.load(pointer, t)
    elif lanes == 1:
        raw, = k.if_(mask, lambda: [k.load(pointer, t)], lambda: [k.const(0, t)])
    elif _masks_vectors(k, t):
        raw = k.masked_load(pointer, mask, k.const(0, t))
    else:
        raw = _load_lanes(k, t, pointer, mask)
    return from_memory(k, dtype, raw)


def store_element(k: KernelBuilder, dtype: DType, value: Val, pointer: Val, mask: Val | None = None,
                  attr: str | None = None) -> None:
    """Store a register value to consecutive elements; where the mask is off, memory is not touched.

    ``attr``: as for ``KernelBuilder.store``, without a mask.
    """
    raw = to_memory(k, dtype, value)
    if mask is None:
        k.store(raw, pointer, attr)
    elif raw.type.lanes == 1:
        k.if_(mask, lambda: k.store(raw, pointer))
    elif _masks_vectors(k, raw.type):
        k.masked_store(raw, pointer, mask)
    else:
        _store_lanes(k, raw, pointer, mask)


def _masks_vectors(k: KernelBuilder, t: Type) -> bool:
    """Has the target masked access to such elements? LLVM writes a branch per lane where it has not."""
    return ("mask32" if t.bits >= 32 else "mask8") in k.native


def _each_active(k: KernelBuilder, mask: Val, body: Callable[[Val], None]) -> None:
    """A loop over the lanes whose mask is on: slower than 16 branches in a row, and compiled in a tenth of the time."""
    lanes = mask.type.lanes
    active = k.stack("i8", lanes)
    k.store(k.convert("zext", mask, "i8"), active)

    def lane(i: Val) -> None:
        on = k.load(k.offset(active, i, "i8"), Type("i8"))
        k.if_(k.compare("ne", on, k.const(0, on.type)), lambda: body(i))

    k.loop(0, lanes, body=lane, nonempty=True)


def _load_lanes(k: KernelBuilder, t: Type, pointer: Val, mask: Val) -> Val:
    found = k.stack(t.elem, t.lanes)
    k.store(k.const(0, t), found)
    _each_active(k, mask, lambda i: k.store(
        k.load(k.offset(pointer, i, t.elem), Type(t.elem)), k.offset(found, i, t.elem)))
    return k.load(found, t)


def _store_lanes(k: KernelBuilder, raw: Val, pointer: Val, mask: Val) -> None:
    t = raw.type
    values = k.stack(t.elem, t.lanes)
    k.store(raw, values)
    _each_active(k, mask, lambda i: k.store(
        k.load(k.offset(values, i, t.elem), Type(t.elem)), k.offset(pointer, i, t.elem)))


def gather_element(k: KernelBuilder, dtype: DType, pointer: Val, elements: Val, mask: Val | None = None) -> Val:
    """Lane l is ``pointer[elements[l]]`` (0 where the mask is off)."""
    lanes = elements.type.lanes
    if lanes == 1:
        return load_element(k, dtype, k.offset(pointer, elements, memory_type(dtype)), 1, mask)
    t = Type(memory_type(dtype), lanes)
    mask = k.const(1, Type("i1", lanes)) if mask is None else mask
    return from_memory(k, dtype, k.gather(pointer, elements, mask, k.const(0, t)))


def scatter_element(k: KernelBuilder, dtype: DType, value: Val, pointer: Val, elements: Val,
                    mask: Val | None = None) -> None:
    """``pointer[elements[l]] = value[l]`` in rising l, where the mask is on."""
    lanes = elements.type.lanes
    if lanes == 1:
        store_element(k, dtype, value, k.offset(pointer, elements, memory_type(dtype)), mask)
        return
    mask = k.const(1, Type("i1", lanes)) if mask is None else mask
    k.scatter(to_memory(k, dtype, value), pointer, elements, mask)
