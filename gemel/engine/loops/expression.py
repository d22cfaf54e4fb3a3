"""Fused elementwise expressions: what a schedule applies to register values.

An :class:`Expression` is the structure of an elementwise neighbourhood: dtypes of its inputs, nodes in order,
outputs. It is hashable (part of kernel keys) and knows nothing of shapes; schedules load its inputs however
their loops run and call :meth:`Expression.emit` on the values.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.dtypes import DType
from ..ir.op import Op
from .elementwise import lower
from .ir import KernelBuilder, Val
from .registers import constant


@dataclass(frozen=True)
class Expression:
    """An elementwise expression.

    Args:
        inputs: dtype of each input value.
        nodes: (op, operands) in order; operand ``i`` is input ``i`` or, from ``len(inputs)`` on, a node's result.
        dtypes: dtype of each node's result. outputs: which values come out.
    """

    inputs: tuple[DType, ...]
    nodes: tuple[tuple[Op, tuple[int, ...]], ...]
    dtypes: tuple[DType, ...]
    outputs: tuple[int, ...]

    def dtype(self, value: int) -> DType:
        n = len(self.inputs)
        return self.inputs[value] if value < n else self.dtypes[value - n]

    def emit(self, k: KernelBuilder, values: Sequence[Val]) -> list[Val]:
        """The outputs for these input values (register values; scalars are splat to the widest operand)."""
        env = list(values)
        for op, operands in self.nodes:
            if op.name == "const":
                dtype = op.attrs.type.dtype
                env.append(constant(k, dtype, np.frombuffer(op.attrs.data, dtype.numpy)[0].item()))
                continue
            vals = [env[i] for i in operands]
            lanes = max((v.type.lanes for v in vals), default=1)
            env.append(lower(k, op, [self.dtype(i) for i in operands], [k.splat(v, lanes) for v in vals]))
        return [env[i] for i in self.outputs]


def identity(dtype: DType) -> Expression:
    """The expression that passes its only input on."""
    return Expression((dtype,), (), (), (0,))
