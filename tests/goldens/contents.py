"""What every golden file holds, by a formula: numbers that every dtype holds, and the shapes that break loaders."""
from __future__ import annotations

import numpy as np

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
          "complex64")
SHAPES = {"scalar": (), "empty": (0, 3), "vector": (5,), "matrix": (3, 4), "filters": (2, 3, 1, 2)}


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The entry's values in float64 (complex128 for complex)."""
    n = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    if dtype == "bool":
        return n % 3 == 1
    if dtype.startswith("complex"):
        return n / 4 - 1j * n
    if "float" in dtype:
        return n / 4 - 2
    return n + 1 if dtype == "uint8" else n - 3
