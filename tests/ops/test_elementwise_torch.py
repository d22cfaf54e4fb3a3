"""The interpreter's elementwise ops, which the native forms are tested against, agree with PyTorch.

They differ on purpose in few places, which ``compared`` leaves out and explains.
"""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from gemel.engine.base.dtypes import DType
from gemel.engine.interpreter.elementwise import cast

from .native import assert_same_bits
from .test_elementwise_native import APPROXIMATE, EXACT, REAL, accepts, meaning, operands, values

TORCH = {
    "max": torch.maximum, "min": torch.minimum, "not": torch.bitwise_not, "and": torch.bitwise_and,
    "or": torch.bitwise_or, "xor": torch.bitwise_xor, "shl": torch.bitwise_left_shift, "shr": torch.bitwise_right_shift,
}
NAMES = sorted(n for n in [*EXACT, *APPROXIMATE] if hasattr(torch, n) and n not in ("select", "copy") or n in TORCH)


def to_torch(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if x.dtype == ml_dtypes.bfloat16 \
        else torch.from_numpy(x)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if x.dtype is torch.bfloat16 else x.numpy()


def compared(name: str, dtype: DType, arrays: list[np.ndarray]) -> np.ndarray:
    """The elements on which the two must agree."""
    everything = np.ones(arrays[0].size, bool)
    if name in ("floor_divide", "remainder", "fmod") and dtype.is_integer:
        # torch raises for 0 and leaves the one overflow open
        overflow = (arrays[0] == np.iinfo(dtype.numpy).min) & (arrays[1] + arrays[1].dtype.type(1) == 0)
        return (arrays[1] != 0) & ~overflow
    if name == "floor_divide" and dtype.bits == 16 and dtype.kind == "f":
        return ~everything  # torch rounds each step, the primitive only the result
    if name == "sign" and dtype.kind == "f":
        return ~np.isnan(arrays[0])  # torch gives 0 for NaN, the primitive keeps NaN
    if name in ("fmod", "remainder"):
        with np.errstate(all="ignore"):  # torch gives NaN where the quotient overflows
            ratio = np.abs(arrays[0].astype(np.float64) / arrays[1].astype(np.float64))
        return (ratio < 1000) | ~np.isfinite(arrays[0].astype(np.float64))
    return everything


@pytest.mark.parametrize("name", NAMES)
def test_meaning(name: str) -> None:
    fn = TORCH.get(name) or getattr(torch, name)
    for dtype in REAL:
        if not accepts(name, dtype):
            continue
        arrays = operands(name, dtype)
        keep = compared(name, dtype, arrays)
        arrays = [a[keep] for a in arrays]
        try:
            expected = to_numpy(fn(*map(to_torch, arrays)).contiguous())
        except (RuntimeError, NotImplementedError):  # not offered for this dtype, as most of unsigned
            continue
        got = meaning(name, arrays)
        if name in EXACT and name not in ("sqrt", "rsqrt"):  # torch's vectorised roots are not always the nearest
            assert_same_bits(got, expected, *arrays)
        else:
            rtol = {2: 0.02, 4: 2e-6, 8: 1e-10}[dtype.itemsize]
            np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol, 1e-6)


@pytest.mark.parametrize("source", REAL, ids=str)
def test_cast(source: DType) -> None:
    """Floats that the target holds; beyond, torch leaves the result open. f64 to 16 bits: random numbers, no ties."""
    for target in REAL:
        x = values(source)
        if source.kind == "f" and target.is_integer:
            limits = np.iinfo(target.numpy)
            wide = x.astype(np.float64)
            x = x[(wide > limits.min) & (wide < float(limits.max))]
        expected = to_numpy(to_torch(x).to(getattr(torch, target.name)))
        with np.errstate(all="ignore"):
            assert_same_bits(cast(x, target), expected, x)
