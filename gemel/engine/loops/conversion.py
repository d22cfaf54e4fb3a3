"""Native form of ``cast`` and ``bitcast``, between all dtypes but the complex ones."""
from __future__ import annotations

from ..base import dtypes as dt
from ..base.dtypes import DType
from .ir import KernelBuilder, Type, Val
from .mathlib.common import Float
from .registers import f16_of_bits, from_memory, memory_type, register_type, round_to, to_memory
from .rounding import floor, trunc


def cast(k: KernelBuilder, source: DType, target: DType, x: Val) -> Val:
    """Convert the value of a register of dtype ``source``.

    Float to integer truncates, saturates, and gives 0 for NaN; integers wrap; anything but zero is True. A float
    is rounded once (integers become 16-bit floats by way of f32, as in torch).
    """
    if source is target:
        return x
    if target is dt.bool_:
        zero = k.const(0, x.type)
        return k.compare("une" if x.type.is_float else "ne", x, zero)
    if source is dt.bool_:
        return _from_bool(k, target, x)
    if source.kind == "f":
        return _from_float(k, source, target, x)
    signed = source.kind == "i"
    elem = register_type(target)
    if target.kind == "f":
        return round_to(k, target, k.convert("sitofp" if signed else "uitofp", x, elem))
    return k.convert("trunc" if target.bits < source.bits else "sext" if signed else "zext", x, elem)


def _from_bool(k: KernelBuilder, target: DType, x: Val) -> Val:
    t = Type(register_type(target), x.type.lanes)
    return k.select(x, k.const(1, t), k.const(0, t))


def _from_float(k: KernelBuilder, source: DType, target: DType, x: Val) -> Val:
    elem = register_type(target)
    if target.kind != "f":
        return _saturate(k, target, x)
    if target is dt.float64:
        return k.convert("fpext", x, elem)
    if source is not dt.float64:
        return round_to(k, target, x)
    return k.convert("fptrunc", x, elem) if target is dt.float32 else round_to(k, target, _narrow_to_odd(k, x))


def _narrow_to_odd(k: KernelBuilder, x: Val) -> Val:
    """f64 to f32, where an inexact result gets an odd last bit.

    Rounded again to a type with at least two bits fewer, it gives the bits of a single rounding (Boldo and
    Melquiond, "When double rounding is odd", 2005).
    """
    near = k.convert("fptrunc", x, "f32")
    back = k.convert("fpext", near, "f64")
    bits = k.bitcast(near, "i32")
    t = Type("i32", x.type.lanes)
    away = k.compare("ogt", k.fabs(back), k.fabs(x))
    toward_zero = k.isub(bits, k.select(away, k.const(1, t), k.const(0, t)))
    inexact = k.select(k.compare("one", back, x), k.const(1, t), k.const(0, t))
    return k.bitcast(k.or_(toward_zero, inexact), "f32")


def _saturate(k: KernelBuilder, target: DType, x: Val) -> Val:
    """Float to integer. LLVM's saturating conversion goes lane by lane on x86; this one does not."""
    signed = target.kind == "i"
    if "saturate" in k.native:
        return k.convert("fptosi" if signed else "fptoui", x, register_type(target))
    f = Float(k, x.type)
    x = f.select(k.compare("ord", x, x), x, 0.0)
    low, end = (-(2.0 ** (target.bits - 1)), 2.0 ** (target.bits - 1)) if signed else (0.0, 2.0**target.bits)
    gap = max(1.0, end * 2.0 ** -(f.mantissa + 1))  # from ``end`` to the float below whose integer part fits
    inside = f.at_most(f.at_least(x, low), end - gap)
    if target.bits < 32 or (signed and target.bits == 32):
        result = k.convert("trunc", k.convert("fptosi_inside", inside, "i32"), register_type(target))
    else:
        result = _to_wide_integer(k, target, inside)
    if gap == 1.0:
        return result
    return k.select(f.is_("oge", x, end), k.const(int(end) - 1, result.type), result)


def _to_wide_integer(k: KernelBuilder, target: DType, x: Val) -> Val:
    """f32 or f64 inside the range of uint32, int64 or uint64."""
    x = trunc(k, k.convert("fpext", x, "f64"))
    f = Float(k, x.type)
    if target.bits == 32:
        return k.convert("trunc", f.bits(f.add(x, 2.0**52)), "i32")
    # two digits of 32 bits; the upper one signed where the target is
    high = floor(k, f.mul(x, 2.0**-32))
    low = f.fma(high, -(2.0**32), x)
    high_bits = f.shift_left(f.bits(f.add(high, f.magic)), 32)
    return k.or_(high_bits, k.and_(f.bits(f.add(low, 2.0**52)), f.integer(0xFFFFFFFF)))


def bitcast(k: KernelBuilder, source: DType, target: DType, x: Val) -> Val:
    """The same bits as in memory, as a register of another dtype of that width."""
    if source is target:
        return x
    raw = k.bitcast(to_memory(k, source, x), memory_type(target))
    if target is dt.float16 and raw.type.lanes == 1:
        # by integer arithmetic: where LLVM 22 has f16 registers (Sapphire Rapids), it has no code for a condition
        # whose bits are taken as a single f16
        return f16_of_bits(k, raw)
    return from_memory(k, target, raw)
