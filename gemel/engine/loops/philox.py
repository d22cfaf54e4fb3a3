"""Native form of ``random_bits``: Philox4x32-10 of each lane's logical index, the bits of ``interpreter/random``."""
from __future__ import annotations

from ..base.dtypes import DType
from .ir import KernelBuilder, Type, Val

# Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox(k: KernelBuilder, dtype: DType, index: Val, key: Val, counter: Val) -> Val:
    """Random lanes of uint32 or uint64.

    Args:
        index: i64 lanes, the logical index of each element. key, counter: i64 scalars of the draw.

    Words live in i64 lanes whose upper halves are zero: a product of two is one instruction (``vpmuludq``).
    """
    lanes = index.type.lanes
    t = Type("i64", lanes)
    low, shift = k.const(0xFFFFFFFF, t), k.const(32, t)
    m0, m1 = k.const(M0, t), k.const(M1, t)
    c0, c1 = k.and_(index, low), k.lshr(index, shift)
    c2 = k.splat(k.and_(counter, k.i64(0xFFFFFFFF)), lanes)
    c3 = k.splat(k.lshr(counter, k.i64(32)), lanes)
    k0, k1 = k.and_(key, k.i64(0xFFFFFFFF)), k.lshr(key, k.i64(32))
    for _ in range(ROUNDS):
        p0, p1 = k.imul(m0, c0), k.imul(m1, c2)
        c0 = k.xor(k.xor(k.lshr(p1, shift), c1), k.splat(k0, lanes))
        c2 = k.xor(k.xor(k.lshr(p0, shift), c3), k.splat(k1, lanes))
        c1, c3 = k.and_(p1, low), k.and_(p0, low)
        k0, k1 = (k.and_(k.iadd(word, k.i64(w)), k.i64(0xFFFFFFFF)) for word, w in ((k0, W0), (k1, W1)))
    if dtype.bits == 32:
        return k.convert("trunc", c0, "i32")
    return k.or_(c0, k.shl(c1, shift))
