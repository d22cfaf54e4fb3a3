"""What a contraction schedule is asked for: sizes, strides, dtypes and the fused epilogue, as plain data.

All strides count elements. A batch dimension with stride 0 in an operand is a broadcast.
"""
from __future__ import annotations

from dataclasses import dataclass, field

from ...base import dtypes as dt
from ...base.dtypes import DType
from ..expression import Expression, identity

MAX_BATCH = 3  # batch dimensions that kernels address; more must be merged or looped over by the caller


@dataclass(frozen=True)
class Access:
    """How one array is addressed by (batch.., m, n): an epilogue's input or output, or the result.

    Args:
        batch: stride of each batch dimension. m, n: stride of a row and of a column; 0 broadcasts.
    """

    batch: tuple[int, ...]
    m: int
    n: int


@dataclass(frozen=True)
class GemmProblem:
    """``result[b.., m, n] = epilogue(sum over k of a[b.., m, k] * b[b.., k, n], inputs...)``.

    Args:
        batch: sizes of the batch dimensions, at most ``MAX_BATCH``.
        m, n, k: sizes.
        a_batch, a_m, a_k: strides of the left operand. b_batch, b_k, b_n: strides of the right operand.
        dtype: of both operands. out: of the contraction's result, to which the accumulator is rounded once,
            before the epilogue sees it.
        outputs: where each of the epilogue's outputs goes.
        epilogue: its input 0 is the contraction's result, the others are ``inputs``; None passes the result on.
        inputs: how each further input of the epilogue is addressed.
    """

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a_batch: tuple[int, ...]
    a_m: int
    a_k: int
    b_batch: tuple[int, ...]
    b_k: int
    b_n: int
    dtype: DType
    out: DType
    outputs: tuple[Access, ...]
    epilogue: Expression | None = None
    inputs: tuple[Access, ...] = field(default=())

    @property
    def expression(self) -> Expression:
        return identity(self.out) if self.epilogue is None else self.epilogue

    @property
    def flops(self) -> int:
        count = 2 * self.m * self.n * self.k
        for size in self.batch:
            count *= size
        return count


def accumulator(dtype: DType, out: DType) -> DType:
    """The type in which products are summed: f32 for 16-bit floats, at least 32 bits for integers."""
    if dtype.is_integer:
        return dt.int64 if out.bits == 64 else dt.int32
    return dt.compute_type(dtype)
