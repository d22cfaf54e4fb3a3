"""Convolutions whose windows do not fit a thread's memory (kernels as large as images): by a copy of all windows.

Windows are copied to (image, group, position, contracted), the other operand to (group, lane, contracted), and the
contraction is an ordinary one.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ...ir.program import Var
from ...ir.types import tensor_type
from ..calls import Call, Operand, Schedule
from ..gemm import gemm
from ..gemm.problem import Access, GemmProblem
from ..group import Group
from ..index import Affine, Domain
from ..rowwise.schedule import Context, schedule_rowwise
from .window import Axis


def _copy(context: Context, source: Var, result: Var, to: Sequence[Affine], at: Sequence[Affine], d: Domain
          ) -> list[Call]:
    g = Group("rowwise", d, 0)
    g.index[result], g.phase[result] = tuple(to), 0
    g.reads[-1, 0] = context.resolve(d, source, tuple(at))
    g.stores.append(result)
    g.label = "unfold"
    return schedule_rowwise(g, context)


def _variables(d: Domain, sizes: Sequence[int]) -> list[Affine]:
    return list(d.axes(tuple(sizes)))


def _windows(context: Context, image: Var, axes: Sequence[Axis], groups: int, rows: bool
             ) -> tuple[Var, list[Call]]:
    """(image, group, positions.., taps.., channels); ``rows``: (group, image, positions.., channels, taps..)."""
    dtype, n = image.type.dtype, image.shape[0]
    axes = axes[3 - (image.type.ndim - 2):]
    padded = Var(tensor_type(dtype, (n, image.shape[1], *(a.size(a.out) for a in axes))))
    calls = _zeros(context, padded)
    d = Domain()
    clipped = []
    for axis in axes:  # sites that lie in the padded image
        first = max(0, -axis.first)
        last = min(axis.sites, axis.size(axis.out) - axis.first)
        clipped.append((first, max(0, last - first)))
    if all(count for _, count in clipped):
        variables = _variables(d, (n, image.shape[1], *(count for _, count in clipped)))
        to = [*variables[:2], *(v.shifted(first + a.first)
                                for v, a, (first, _) in zip(variables[2:], axes, clipped, strict=True))]
        at = [*variables[:2], *(v.shifted(first).scaled(a.step).shifted(a.skip)
                                for v, a, (first, _) in zip(variables[2:], axes, clipped, strict=True))]
        calls += _copy(context, image, padded, to, at, d)
    channels = image.shape[1] // groups
    outs, taps = [a.out for a in axes], [a.taps for a in axes]
    inner = [channels, *taps] if rows else [*taps, channels]
    lead = (groups, n) if rows else (n, groups)
    windows = Var(tensor_type(dtype, (*lead, *outs, *inner)))
    d = Domain()
    variables = _variables(d, windows.shape)
    positions, rest = variables[2:2 + len(axes)], variables[2 + len(axes):]
    channel, tap = (rest[0], rest[1:]) if rows else (rest[-1], rest[:-1])
    n_at, group = reversed(variables[:2]) if rows else variables[:2]
    at = [n_at, group.scaled(channels).plus(channel),
          *(p.scaled(a.stride).plus(t.scaled(a.tap)).shifted(a.origin)
            for p, t, a in zip(positions, tap, axes, strict=True))]
    return windows, calls + _copy(context, padded, windows, variables, at, d)


def _zeros(context: Context, result: Var) -> list[Call]:
    """Fill with zeros: a contraction of nothing."""
    dtype, size = result.type.dtype, result.type.size
    nothing = GemmProblem((), 1, size, 0, (), 0, 0, (), 0, 0, dtype, dtype, (Access((), 0, 1),))
    found = gemm(nothing, Operand(None), Operand(None), [], [Operand(result)], context.target, context.threads)
    assert isinstance(found, list)
    return found


def conv(context: Context, image: Var, weight: Var, axes: Sequence[Axis], groups: int, flip: bool,
         problem: GemmProblem, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> Schedule:
    """``conv`` and ``conv_transpose`` (``flip``); ``problem``: batch (1, images, groups), m, n, epilogue."""
    windows, calls = _windows(context, image, axes, groups, False)
    channels, taps = image.shape[1] // groups, weight.shape[2:]
    k = channels * math.prod(taps)
    d = Domain()
    packed = Var(tensor_type(image.type.dtype, (groups, problem.n, *taps, channels)))
    group, lane, *tap, channel = _variables(d, packed.shape)
    at = [group.scaled(channels).plus(channel), lane, *tap] if flip else [
        group.scaled(problem.n).plus(lane), channel, *tap]
    calls += _copy(context, weight, packed, [group, lane, *tap, channel], at, d)
    entry = problem.m * k
    found = gemm(replace(problem, k=k, a_batch=(0, groups * entry, entry), a_m=k, a_k=1,
                         b_batch=(0, 0, problem.n * k), b_k=1, b_n=k),
                 Operand(windows), Operand(packed), inputs, outputs, context.target, context.threads, chain=True)
    return calls + found if isinstance(found, list) else found


def weight_grad(context: Context, image: Var, gradient: Var, axes: Sequence[Axis], groups: int, problem: GemmProblem,
                inputs: Sequence[Operand], outputs: Sequence[Operand]) -> Schedule:
    """``conv_weight_grad``; ``problem``: batch (1, 1, groups), m, n, epilogue."""
    windows, calls = _windows(context, image, axes, groups, True)
    outs = gradient.shape[2:]
    k = gradient.shape[0] * math.prod(outs)
    d = Domain()
    packed = Var(tensor_type(image.type.dtype, (groups, problem.n, gradient.shape[0], *outs)))
    group, lane, n, *position = _variables(d, packed.shape)
    calls += _copy(context, gradient, packed, [group, lane, n, *position],
                   [n, group.scaled(problem.n).plus(lane), *position], d)
    found = gemm(replace(problem, k=k, a_batch=(0, 0, k * problem.m), a_m=1, a_k=problem.m,
                         b_batch=(0, 0, problem.n * k), b_k=1, b_n=k),
                 Operand(windows), Operand(packed), inputs, outputs, context.target, context.threads, chain=True)
    return calls + found if isinstance(found, list) else found
