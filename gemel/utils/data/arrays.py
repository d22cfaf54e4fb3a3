"""Between the tensors of samples and batches and the arrays that workers and gathers move."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.base.dtypes import DType
from ...engine.device import memory
from ...engine.runtime import executor
from ...tensor.conversion import _exported
from ...tensor.core import from_buffer


def contents(t: Any) -> np.ndarray:
    """The values of a tensor, to be read at once; memory that NumPy shares is not copied first."""
    alias = t._alias
    if alias is not None and alias.cell.foreign is not None:
        return _exported(t, "a batch of data")
    return executor.observe(t._read(), "a batch of data")


def empty(dtype: DType, shape: Sequence[int]) -> tuple[np.ndarray, Any]:
    """An array and the tensor over the same new memory: fill the one, then use the other."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = memory.allocate(size)
    return memory.as_numpy(buffer, dtype.numpy, tuple(shape)), from_buffer(buffer, dtype, shape)


def take_rows(t: Any, indices: Sequence[Any]) -> Any:
    """``stack([t[i] for i in indices])`` as one gather; None where it would not be the same."""
    if t._edge is not None:
        return None  # the gradient flows through the operations on each sample
    array = contents(t)
    try:
        at = np.asarray(indices)
    except ValueError:
        return None
    if at.ndim != 1 or at.dtype.kind not in "iu" or not at.size:
        return None
    n = array.shape[0]
    if at.min() < -n or at.max() >= n:
        return None  # sample by sample raises the error that names the index
    if at.min() < 0:
        at = at % n
    out, made = empty(t._value.type.dtype, (at.size, *array.shape[1:]))
    np.take(array, at, axis=0, out=out, mode="clip")
    return made


def stack_arrays(arrays: Sequence[np.ndarray], dtype: DType) -> Any:
    """A tensor of arrays of one shape, copied once."""
    out, made = empty(dtype, (len(arrays), *arrays[0].shape))
    np.stack(arrays, out=out)
    return made
