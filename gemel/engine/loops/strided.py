"""Operands of schedules that walk along one axis: a value as (lead, middle, inner) with one stride each.

Movement in front of the operand becomes strides where each of the three parts is walked as one; else the operand
is copied into row-major order first.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.program import Var
from .assemble import copy_into
from .calls import Call, Operand
from .index import Domain, offset_of
from .rowwise.schedule import Context


@dataclass
class Parts:
    """A value in memory, its axes in three parts.

    Attributes:
        operand: where it starts. sizes, strides: elements and element strides of lead, middle and inner.
        calls: the copy that had to come first, if any.
    """

    operand: Operand
    sizes: tuple[int, int, int]
    strides: tuple[int, int, int]
    calls: list[Call]


def parts(context: Context, v: Var, first: int, last: int, dense_inner: bool = True) -> Parts:
    """``v`` with lead axes [0, first), middle axes [first, last) and the inner rest.

    ``dense_inner``: inner elements must be neighbours.
    """
    shape = v.shape
    bounds = ((0, first), (first, last), (last, len(shape)))
    lead, middle, inner = (math.prod(shape[a:b]) for a, b in bounds)
    sizes = (lead, middle, inner)
    d = Domain()
    index = d.axes(shape)
    source, at = context.resolve(d, v, index)
    strides, offset = context.layout(source)
    position = offset_of(d, at, strides, offset)
    terms = dict(position.terms)
    walked = []
    for a, b in bounds:
        variables = [leaf for i in index[a:b] for x, _ in i.terms for leaf in d.leaves(x)]
        walked.append(_one_stride([(d.sizes[x], terms.get(x, 0)) for x in variables]))
    if all(s is not None for s in walked) and (inner == 1 or walked[2] == 1 or not dense_inner):
        size = v.type.dtype.itemsize
        operand = Operand(source, position.const * size, tuple((s, c * size) for s, c in position.dynamic))
        return Parts(operand, sizes, (walked[0], walked[1], walked[2]), [])  # type: ignore[arg-type]
    copy = Var(v.type)
    calls = copy_into(context, v, copy, tuple(range(len(shape))))
    return Parts(Operand(copy), sizes, (middle * inner, inner, 1), calls)


def dense(p: Parts) -> bool:
    """Is it row-major?"""
    lead, middle, inner = p.sizes
    return all(n == 1 or s == step for n, s, step in zip(p.sizes, p.strides, (middle * inner, inner, 1), strict=True))


def _one_stride(variables: Sequence[tuple[int, int]]) -> int | None:
    """The stride at which (size, stride) variables, outermost first, are walked as one; None if they are not."""
    if not variables:
        return 0
    size, stride = variables[-1]
    for n, s in reversed(variables[:-1]):
        if s != stride * size:
            return None
        size *= n
    return stride
