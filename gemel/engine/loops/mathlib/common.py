"""What the formulas of the vector mathematics share: constants, bit access, polynomials, double-length sums.

A formula is written once for f32 and f64 and for any number of lanes: ``Float`` holds what differs. It uses
only correctly rounded operations, ``fma``, selects and integer instructions, so a lane's bits do not depend on
the number of lanes or on the target.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir import KernelBuilder, Type, Val

Pair = tuple[Val, Val]
"""A sum ``high + low`` that is kept unevaluated: high is the sum rounded, low what that drops."""

#: number of coefficients from which a polynomial is evaluated as a tree
LONG = 9


def two_sum(k: KernelBuilder, x: Val, y: Val) -> Pair:
    """``x + y`` exactly (Knuth, TAOCP 2, 4.2.2)."""
    total = k.fadd(x, y)
    part = k.fsub(total, x)
    return total, k.fadd(k.fsub(x, k.fsub(total, part)), k.fsub(y, part))


def fast_two_sum(k: KernelBuilder, x: Val, y: Val) -> Pair:
    """``x + y`` exactly where ``|x| >= |y|`` (Dekker 1971)."""
    total = k.fadd(x, y)
    return total, k.fsub(y, k.fsub(total, x))


def fma(k: KernelBuilder, x: Val, y: Val, z: Val) -> Val:
    """``x * y + z`` rounded once, also on targets without the instruction.

    There f32 goes by way of f64: the product is exact, and the sum, given an odd last bit where it is inexact, rounds
    to f32 as the exact value does (Boldo and Melquiond 2008). f64 is left to the C library.
    """
    if "fma" in k.native or x.type.elem == "f64":
        return k.fma(x, y, z)
    x, y, z = (k.convert("fpext", v, "f64") for v in (x, y, z))
    total, error = two_sum(k, k.fmul(x, y), z)
    bits = k.bitcast(total, "i64")
    one, zero = k.const(1, bits.type), k.const(0, bits.type)
    step = k.select(k.compare("slt", k.xor(bits, k.bitcast(error, "i64")), zero), k.const(-1, bits.type), one)
    inexact = k.compare("one", error, k.const(0.0, error.type))
    even = k.compare("eq", k.and_(bits, one), zero)
    odd = k.iadd(bits, k.select(k.and_(inexact, even), step, zero))
    return k.convert("fptrunc", k.bitcast(odd, "f64"), "f32")


class Float:
    """Writes formulas over values of one floating-point type into a kernel.

    Attributes:
        elem: ``f32`` or ``f64``. mantissa: stored bits of the significand. bias: of the exponent field.
        magic: ``1.5 * 2^mantissa``; ``x + magic`` has the nearest integer of x in its low bits.
    """

    def __init__(self, k: KernelBuilder, type: Type) -> None:
        self.k, self.type, self.elem = k, type, type.elem
        self.double = type.elem == "f64"
        self.mantissa, self.bias = (52, 1023) if self.double else (23, 127)
        self.int_type = Type("i64" if self.double else "i32", type.lanes)
        self.magic = 1.5 * 2.0**self.mantissa
        self.tiny = 2.0 ** (1 - self.bias)  # smallest normal number

    # --- constants and bits
    def number(self, value: float) -> Val:
        return self.k.const(value, self.type)

    def integer(self, value: int) -> Val:
        return self.k.const(value, self.int_type)

    def bits(self, x: Val) -> Val:
        return self.k.bitcast(x, self.int_type.elem)

    def from_bits(self, bits: Val) -> Val:
        return self.k.bitcast(bits, self.elem)

    def sign_bits(self, x: Val) -> Val:
        """The sign of x, all other bits 0."""
        return self.k.and_(self.bits(x), self.integer(-(1 << (self.int_type.bits - 1))))

    def shift_left(self, bits: Val, count: int) -> Val:
        return self.k.shl(bits, self.integer(count))

    def shift_right(self, bits: Val, count: int) -> Val:
        return self.k.lshr(bits, self.integer(count))

    # --- arithmetic with Python numbers
    def fma(self, x: Val | float, y: Val | float, z: Val | float) -> Val:
        return fma(self.k, *(v if isinstance(v, Val) else self.number(v) for v in (x, y, z)))

    def add(self, x: Val, y: Val | float) -> Val:
        return self.k.fadd(x, y if isinstance(y, Val) else self.number(y))

    def sub(self, x: Val | float, y: Val) -> Val:
        return self.k.fsub(x if isinstance(x, Val) else self.number(x), y)

    def mul(self, x: Val, y: Val | float) -> Val:
        return self.k.fmul(x, y if isinstance(y, Val) else self.number(y))

    def div(self, x: Val | float, y: Val) -> Val:
        return self.k.fdiv(x if isinstance(x, Val) else self.number(x), y)

    def is_(self, predicate: str, x: Val, y: Val | float) -> Val:
        return self.k.compare(predicate, x, y if isinstance(y, Val) else self.number(y))

    def select(self, condition: Val, x: Val | float, y: Val | float) -> Val:
        return self.k.select(condition, *(v if isinstance(v, Val) else self.number(v) for v in (x, y)))

    def at_most(self, x: Val, limit: float) -> Val:
        """min(x, limit); NaN stays."""
        return self.select(self.is_("ogt", x, limit), limit, x)

    def at_least(self, x: Val, limit: float) -> Val:
        """max(x, limit); NaN stays."""
        return self.select(self.is_("olt", x, limit), limit, x)

    def polynomial(self, x: Val, table: Mapping[str, Sequence[float]], *before: float) -> Val:
        """``before[0] + before[1] x + ... + x^len(before) (c[0] + c[1] x + ...)``.

        Horner's rule for the two lowest powers, where rounding counts; above, a long polynomial is a tree (Estrin),
        because a chain of as many fused operations would wait for itself.
        """
        coefficients = (*before, *table[self.elem])
        horner = 2 if len(coefficients) >= LONG else len(coefficients) - 1
        level: list[Val | float] = list(coefficients[horner:])
        power = x
        while len(level) > 1:
            pairs: list[Val | float] = [self.fma(b, power, a) for a, b in zip(level[::2], level[1::2], strict=False)]
            level = pairs + level[2 * len(pairs):]
            power = self.mul(power, power) if len(level) > 1 else power
        total = level[0]
        for c in coefficients[horner - 1::-1]:
            total = self.fma(total, x, c)
        assert isinstance(total, Val)
        return total

    def any(self, mask: Val) -> Val:
        """Does the condition hold in any lane?"""
        lanes = mask.type.lanes
        return mask if lanes == 1 else self.k.intrinsic(f"llvm.vector.reduce.or.v{lanes}i1", Type("i1"), mask)

    # --- pieces
    def scale(self, x: Val, steps: Val) -> Val:
        """``x * 2^n`` rounded once, also into the subnormals and to infinity.

        ``steps`` holds ``n + 2 bias`` in its low ``31 - mantissa`` bits. Two factors, each half of the exponent,
        are normal numbers for ``|n| <= 2 bias``; for x near 1 the first product is exact.
        """
        half = self.shift_right(steps, 1)
        first = self.from_bits(self.shift_left(half, self.mantissa))
        second = self.from_bits(self.shift_left(self.k.isub(steps, half), self.mantissa))
        return self.mul(self.mul(x, first), second)
