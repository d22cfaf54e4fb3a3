"""Adding up the super-blocks of a contraction that was split along k, then finishing.

Partial sums lie as (part, batch entry, row, lane) in the accumulator's type, lanes padded to whole vectors. They
are added in rising order of parts, which is the canonical order; with no part at all (k = 0) the sums are zero.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.target import Target
from ..ir import Kernel, KernelBuilder, Type, Val
from . import arithmetic
from .arrays import Arrays, Parameters, entry_of
from .finish import Finish, Tile, emit_finish

STRIP = 64  # lanes that are finished together
PARAMETERS = ("batch1", "batch2", "parts", "part", "rows", "lanes", "stride")


@dataclass(frozen=True)
class CombineStructure:
    lanes: int
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("gemm_combine", self)


def build(structure: CombineStructure) -> Callable[[str, Target], Kernel]:
    """The kernel: operands are the partial sums, then the epilogue's arrays; a task is a row."""
    def make(name: str, target: Target) -> Kernel:
        k = KernelBuilder(name)
        f, lanes = structure.finish, structure.lanes
        p, partial = Parameters(k, PARAMETERS), k.arg(0)
        arrays = Arrays(k, f, 1, len(PARAMETERS))
        kind = Type(f.acc, lanes)
        buffer = k.stack(f.acc, STRIP)

        def task(number: Val) -> None:
            entry = k.udiv(number, p["rows"])
            row = number - entry * p["rows"]
            bases = arrays.at(entry_of(k, entry, p))

            def strip(first: Val) -> None:
                count = k.smin(k.i64(STRIP), p["lanes"] - first)

                def vector(lane: Val) -> None:
                    at = k.offset(partial, number * p["stride"] + first + lane, f.acc)
                    start = k.if_(k.compare("sgt", p["parts"], k.i64(0)), lambda: [k.load(at, kind)],
                                  lambda: [k.const(0, kind)])
                    total, = k.loop(1, p["parts"], 1, start, lambda n, value: [
                        arithmetic.add(k, value, k.load(k.offset(at, n * p["part"], f.acc), kind))])
                    k.store(total, k.offset(buffer, lane, f.acc))
                k.loop(0, count, lanes, body=vector, nonempty=True)
                emit_finish(k, f, target, lanes, Tile(buffer, STRIP, 1, STRIP, k.i64(1), count),
                            *arrays.places(bases, row, first))

            k.loop(0, p["lanes"], STRIP, body=strip, nonempty=True)

        k.loop(k.begin, k.end, body=task)
        return k.finish()
    return make
