"""Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in NumPy.

Element ``i`` of a draw is word 0 (and 1) of ``philox(counter words = (i lo, i hi, c lo, c hi), key)``: a
function of the key, the draw's counter and the logical index alone.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.custom import CustomOp, register_custom

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox(index: np.ndarray, counter: int, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four u32 words for each u64 ``index``."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c0, c1 = index & low, index >> shift
    c2 = np.full_like(index, counter & 0xFFFFFFFF)
    c3 = np.full_like(index, counter >> 32)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(M0) * c0, np.uint64(M1) * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_bits(attrs, key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """The ``random_bits`` primitive."""
    index = np.arange(int(np.prod(attrs.shape, dtype=np.int64)), dtype=np.uint64)
    w0, w1, _, _ = philox(index, int(counter), int(key))
    words = w0 if attrs.dtype.bits == 32 else w0 | (w1 << np.uint64(32))
    return words.astype(attrs.dtype.numpy).reshape(attrs.shape)


def _poisson(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Poisson numbers with rates in f64, element after element from NumPy's stream of (key, counter)."""
    key, counter, rate = arrays
    stream = np.random.Generator(np.random.Philox(key=int(key), counter=[0, 0, 0, int(counter)]))
    return [stream.poisson(rate).astype(np.float64)]


register_custom(CustomOp("gemel::poisson", lambda arguments, types: (types[2],), _poisson))
