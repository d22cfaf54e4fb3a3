"""Index algebra: where in a value an iteration reads.

A fused group iterates over a :class:`Domain` of loop variables. The index of a value is one :class:`Affine`
expression in those variables per logical axis. Movement ops are maps between indices: ``pull`` goes from the
index of an op's result to the index of its operand, ``push`` the other way where the op is a bijection. A reshape
that splits an axis may split a loop variable; the domain remembers the split and every expression is resolved
through it when read. So no movement op costs a kernel unless sizes do not divide.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..ir.op import Op
from ..ir.types import Shape, row_major


class Start(NamedTuple):
    """Where a window starts, known at run time: an i64 scalar in memory, clamped to [0, limit]."""

    value: Any
    limit: int


class Affine:
    """``const + sum(coef * variable) + sum(coef * start)``; immutable."""

    __slots__ = ("const", "terms", "dynamic")

    def __init__(self, const: int = 0, terms: tuple[tuple[int, int], ...] = (), dynamic: tuple = ()) -> None:
        self.const, self.terms, self.dynamic = const, terms, dynamic

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and (self.const, self.terms, self.dynamic) == (
            other.const, other.terms, other.dynamic)

    def __hash__(self) -> int:
        return hash((self.const, self.terms, self.dynamic))

    def __repr__(self) -> str:
        parts = [f"{c}*d{v}" if c != 1 else f"d{v}" for v, c in self.terms]
        parts += [f"{c}*?" for _, c in self.dynamic]
        return "+".join(parts + ([str(self.const)] if self.const or not parts else []))

    def scaled(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        return Affine(self.const * factor, tuple([(v, c * factor) for v, c in self.terms]),
                      tuple([(s, c * factor) for s, c in self.dynamic]))

    def plus(self, other: Affine) -> Affine:
        if not (other.terms or other.dynamic):
            return self if other.const == 0 else Affine(self.const + other.const, self.terms, self.dynamic)
        if not (self.terms or self.dynamic) and self.const == 0:
            return other
        terms = dict(self.terms)
        for v, c in other.terms:
            terms[v] = terms.get(v, 0) + c
        dynamic = dict(self.dynamic)
        for s, c in other.dynamic:
            dynamic[s] = dynamic.get(s, 0) + c
        return Affine(self.const + other.const, tuple(sorted((v, c) for v, c in terms.items() if c)),
                      tuple(dynamic.items()))

    def shifted(self, n: int) -> Affine:
        return self if n == 0 else Affine(self.const + n, self.terms, self.dynamic)


ZERO = Affine()
Index = tuple[Affine, ...]


class Domain:
    """Loop variables with their sizes; a variable may have been split into (outer, inner)."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.splits: dict[int, tuple[int, int]] = {}

    def new(self, size: int) -> int:
        """A fresh variable."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def axes(self, shape: Shape) -> Index:
        """One fresh variable per axis; axes of size 1 need none."""
        return tuple([ZERO if n == 1 else Affine(0, ((self.new(n), 1),)) for n in shape])

    def resolve(self, a: Affine) -> Affine:
        """``a`` in the variables that have not been split."""
        splits = self.splits
        if not splits or not any(v in splits for v, _ in a.terms):
            return a
        out = Affine(a.const, (), a.dynamic)
        for v, c in a.terms:
            if v in splits:
                outer, inner = splits[v]
                part = Affine(0, ((outer, c * self.sizes[inner]), (inner, c)))
                out = out.plus(self.resolve(part))
            else:
                out = out.plus(Affine(0, ((v, c),)))
        return out

    def resolve_all(self, index: Index) -> Index:
        return tuple([self.resolve(a) for a in index])

    def split(self, v: int, inner_size: int) -> None:
        """Split variable ``v`` into outer * inner_size + inner."""
        outer = self.new(self.sizes[v] // inner_size)
        inner = self.new(inner_size)
        self.splits[v] = (outer, inner)

    def leaves(self, v: int) -> list[int]:
        """The unsplit variables that ``v`` consists of, outermost first (size 1 left out)."""
        if v not in self.splits:
            return [v] if self.sizes[v] != 1 else []
        outer, inner = self.splits[v]
        return self.leaves(outer) + self.leaves(inner)


def linear(index: Index, shape: Shape) -> Affine:
    """Row-major position of ``index`` in ``shape``."""
    total = ZERO
    for a, stride in zip(index, row_major(shape), strict=True):
        total = total.plus(a.scaled(stride))
    return total


def _extent(domain: Domain, terms: Sequence[tuple[int, int]]) -> int:
    """Largest value of a sum of terms with non-negative coefficients."""
    return sum(c * (domain.sizes[v] - 1) for v, c in terms)


def _delinearize(domain: Domain, position: Affine, shape: Shape) -> Index | None:
    """The index whose row-major position is ``position``; None if it is not affine even after splits."""
    if 0 in shape:
        return (ZERO,) * len(shape)
    if position.dynamic or position.const:
        return None if len([n for n in shape if n != 1]) > 1 else tuple(
            [position if n != 1 else ZERO for n in shape])
    for _ in range(64):  # every round splits a variable; sizes are finite
        position = domain.resolve(position)
        result: list[Affine] = []
        rest = sorted(((c, v) for v, c in position.terms if domain.sizes[v] != 1), reverse=True)
        again = False
        for n, stride in zip(shape, row_major(shape), strict=True):
            if n == 1:
                result.append(ZERO)
                continue
            mine: list[tuple[int, int]] = []
            while rest and rest[0][0] >= stride:
                c, v = rest[0]
                if c < 0 or c % stride:
                    return None
                if c // stride * (domain.sizes[v] - 1) > n - 1:
                    # the variable reaches beyond this axis: its outer part belongs to the axis before
                    return None
                mine.append((v, c // stride))
                rest.pop(0)
            low = _extent(domain, [(v, c) for c, v in rest])
            if low >= stride:
                # some lower variable crosses the boundary of this axis: split it there
                c, v = next(((c, v) for c, v in rest if c * domain.sizes[v] > stride), (-1, -1))
                if c < 0 or stride % c or domain.sizes[v] % (stride // c):
                    return None
                domain.split(v, stride // c)
                again = True
                break
            if _extent(domain, mine) > n - 1:
                return None
            result.append(Affine(0, tuple(sorted(mine))))
        if not again:
            return tuple(result) if not rest else None
    return None


def reach(n: int, step: int) -> int:
    """Elements of an axis that a window of ``n`` every ``step`` spans."""
    return (n - 1) * step + 1 if n else 0


def pull(domain: Domain, op: Op, index: Index, operand: Shape, result: Shape, starts: Sequence[Affine] = ()
         ) -> Index | None:
    """Index of the operand of a movement op, given the index of its result.

    Args:
        starts: for ``dynamic_slice``, where its window starts along each axis.
    Returns:
        None when the index is not affine (the operand must then be copied first).
    """
    a, name = op.attrs, op.name
    if name == "reshape":
        return _delinearize(domain, linear(domain.resolve_all(index), result), operand)
    if name == "permute":
        found = [ZERO] * len(index)
        for i, axis in enumerate(a.axes):
            found[axis] = index[i]
        return tuple(found)
    if name == "expand":
        lead = len(result) - len(operand)
        return tuple([ZERO if n == 1 else i for n, i in zip(operand, index[lead:], strict=True)])
    if name == "slice":
        return tuple([i.scaled(step).shifted(start) for i, start, step in zip(index, a.start, a.step, strict=True)])
    if name == "flip":
        return tuple([i.scaled(-1).shifted(n - 1) if axis in a.axes else i
                      for axis, (i, n) in enumerate(zip(index, operand, strict=True))])
    if name == "dynamic_slice":
        return tuple([i.scaled(step).plus(s) for i, step, s in zip(index, a.step, starts, strict=True)])
    return None


def push(domain: Domain, op: Op, index: Index, operand: Shape, result: Shape) -> Index | None:
    """Index of the result of a movement op that is a bijection, given the index of its operand."""
    if op.name == "reshape":
        return _delinearize(domain, linear(domain.resolve_all(index), operand), result)
    if op.name == "permute":
        return tuple([index[axis] for axis in op.attrs.axes])
    return None


def offset_of(domain: Domain, index: Index, strides: Shape, start: int = 0) -> Affine:
    """Element offset of ``index`` in a buffer with these strides."""
    total = Affine(start)
    for i, stride in zip(index, strides, strict=True):
        total = total.plus(domain.resolve(i).scaled(stride))
    return total


def count(domain: Domain, variables: Sequence[int]) -> int:
    """Number of iterations of these variables."""
    return math.prod(domain.sizes[v] for v in variables)
