"""A tiny program through the whole native path, for ``gemel doctor``."""
from __future__ import annotations

import numpy as np

from ..base import dtypes as dt
from ..device import memory
from ..ir.builder import ProgramBuilder
from ..ir.types import tensor_type
from ..passes import GENERIC, run_passes
from .native_plan import NativePlan


def add_one() -> tuple[memory.Buffer, np.dtype, tuple[int, ...]]:
    """Ones plus one, by a compiled kernel: (buffer, dtype, shape)."""
    t = tensor_type(dt.float32, (1000,))
    b = ProgramBuilder()
    x = b.input(t)
    program = run_passes(b.build([b.add(x, b.full(1.0, dt.float32, t.shape))]), GENERIC)
    ones = memory.allocate(t.nbytes)
    memory.as_numpy(ones, t.dtype.numpy, t.shape)[...] = 1.0
    ((buffer, _),) = NativePlan(program, [t], (), False).run([ones], [])
    return buffer, t.dtype.numpy, t.shape
