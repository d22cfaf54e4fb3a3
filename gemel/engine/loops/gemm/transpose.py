"""Transposing small matrices in registers."""
from __future__ import annotations

from collections.abc import Sequence

from ..ir import KernelBuilder, Val


def _interleave(k: KernelBuilder, x: Val, y: Val, unit: int, high: bool) -> Val:
    """Alternate the elements of the lower (upper) halves of ``x`` and ``y``, within each group of ``unit`` lanes."""
    lanes, half = x.type.lanes, unit // 2
    picked = []
    for group in range(0, lanes, unit):
        for i in range(half):
            at = group + i + (half if high else 0)
            picked += [at, lanes + at]
    return k.shuffle(x, y, picked)


def transpose(k: KernelBuilder, rows: Sequence[Val]) -> list[Val]:
    """Columns of the matrix whose rows these vectors are.

    Within 128-bit groups by interleaving (one instruction a vector on every machine), then whole groups are
    joined. Limits: the number of rows is that of the lanes, or of the elements in 128 bits.
    """
    lanes = rows[0].type.lanes
    unit = min(lanes, 128 // rows[0].type.bits)
    stacks = len(rows) // unit
    assert len(rows) == stacks * unit and stacks in (1, lanes // unit)
    columns: list[list[Val]] = []  # [stack][q]: group g holds column g * unit + q of the stack's rows
    for start in range(0, len(rows), unit):
        part, half = list(rows[start:start + unit]), unit // 2
        span = half
        while span:
            part = [_interleave(k, part[i], part[i + half], unit, high) for i in range(half) for high in (False, True)]
            span //= 2
        columns.append(part)
    groups = lanes // unit
    if stacks == 1:
        return [k.shuffle(columns[0][q], None, range(g * unit, (g + 1) * unit)) if groups > 1 else columns[0][q]
                for g in range(groups) for q in range(unit)]
    result: list[Val] = [rows[0]] * lanes
    even, odd = [*range(0, groups, 2)], [*range(1, groups, 2)]

    def picked(x: Val, y: Val, which: list[int]) -> Val:
        """These groups of ``x``, then of ``y``: one instruction."""
        return k.shuffle(x, y, [start + g * unit + i for start in (0, lanes) for g in which for i in range(unit)])

    for q in range(unit):
        found = {0: [columns[s][q] for s in range(stacks)]}  # low bits of the group -> what is left to join
        bit = 1
        while bit < groups:
            found = {at + own * bit: [picked(x, y, which) for x, y in zip(parts[::2], parts[1::2], strict=True)]
                     for at, parts in found.items() for own, which in ((0, even), (1, odd))}
            bit *= 2
        for g, (column,) in found.items():
            result[g * unit + q] = column
    return result
