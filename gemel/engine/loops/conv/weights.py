"""Packing a weight into panels whose steps are (tap, channel), whatever its strides.

Vector panels hold lanes, scalar panels rows; both are called *members* here. A weight whose (channel, tap) run of a
member is contiguous is transposed in registers; others go element by element.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..calls import Call, KernelSpec, Operand
from ..gemm.arithmetic import Arithmetic, Plain
from ..gemm.arrays import Parameters
from ..gemm.operand import PackedLayout, panel_count
from ..gemm.transpose import transpose
from ..ir import Kernel, KernelBuilder, Type, Val

PARAMETERS = ("panels", "wide", "count", "taps", "channels", "entry", "w_group", "w_member", "w_channel",
              "taps1", "taps2", "w_tap0", "w_tap1", "w_tap2")


@dataclass(frozen=True)
class WeightStructure:
    """``wide``, ``narrow``: members of a panel in units of ``unit``; ``run``: (channel, tap) is contiguous."""

    arith: Arithmetic
    unit: int
    wide: int
    narrow: int
    dtype: DType
    run: bool

    @property
    def key(self) -> tuple:
        return ("conv_weights", self)


class _Writer:
    """Operands: weight, panels; a task is a panel."""

    def __init__(self, name: str, target: Target, structure: WeightStructure) -> None:
        self.k = k = KernelBuilder(name, target.native)
        self.s, self.arith = structure, structure.arith
        self.source, self.dest, self.p = k.arg(0), k.arg(1), Parameters(k, PARAMETERS)
        self.elem = element.memory(structure.dtype)
        k.loop(k.begin, k.end, body=self.task)

    def task(self, number: Val) -> None:
        k, p, s = self.k, self.p, self.s
        group = k.udiv(number, p["panels"])
        panel = number - group * p["panels"]
        units = panel * s.wide if s.wide == s.narrow else panel * s.wide - k.smax(k.i64(0), panel - p["wide"])
        self.first = units * s.unit
        self.width = k.i64(s.wide * s.unit) if s.wide == s.narrow else k.select(
            k.compare("slt", panel, p["wide"]), k.i64(s.wide * s.unit), k.i64(s.narrow * s.unit))
        self.base = k.offset(self.source, group * p["w_group"], self.elem)
        self.to = k.offset(self.dest, group * p["entry"] + self.first * (p["taps"] * p["channels"]), self.arith.panel)
        length = p["taps"] * p["channels"]
        if not s.run:
            k.loop(0, p["taps"], body=self.tap, nonempty=True)
            return
        lanes = self.arith.lanes
        rows = lanes if not s.unit % lanes else min(4, 128 // Type(self.arith.panel).bits)
        whole = k.select(k.compare("eq", k.i64(s.unit % rows), k.i64(0)), k.and_(length, k.i64(-lanes)), k.i64(0))
        if not s.unit % rows:
            k.loop(0, whole, lanes, body=lambda at: self.transposed(at, rows))
        k.loop(whole, length, body=self.element)

    def place(self, at: Val) -> Val:
        """Where element ``at`` of a member's run goes: its step's first member."""
        k, p = self.k, self.p
        channel = k.udiv(at, p["taps"])
        return k.offset(self.to, ((at - channel * p["taps"]) * p["channels"] + channel) * self.width, self.arith.panel)

    def row(self, i: Val) -> Val:
        k, p = self.k, self.p
        return k.offset(self.base, k.smin(self.first + i, p["count"] - 1) * p["w_member"], self.elem)

    def transposed(self, at: Val, rows: int) -> None:
        """A vector of every member's run."""
        k, dtype, arith = self.k, self.s.dtype, self.arith
        places = [self.place(at + i) for i in range(arith.lanes)]

        def some(first: Val) -> None:
            starts = [k.offset(self.row(first + i), at, self.elem) for i in range(rows)]
            vectors = [arith.to_panel(k, element.load(k, x, dtype, arith.lanes), dtype) for x in starts]
            for place, column in zip(places, transpose(k, vectors), strict=True):
                k.store(column, k.offset(place, first, arith.panel))
        k.loop(0, self.width, rows, body=some, nonempty=True)

    def element(self, at: Val) -> None:
        k, dtype, arith = self.k, self.s.dtype, self.arith
        place = self.place(at)

        def one(i: Val) -> None:
            value = element.load(k, k.offset(self.row(i), at, self.elem), dtype, 1)
            k.store(arith.to_panel(k, value, dtype), k.offset(place, i, arith.panel))
        k.loop(0, self.width, body=one, nonempty=True)

    def tap(self, tap: Val) -> None:
        k, p, dtype, arith = self.k, self.p, self.s.dtype, self.arith
        outer = k.udiv(tap, p["taps2"])
        depth = k.udiv(outer, p["taps1"])
        moved = (depth * p["w_tap0"] + (outer - depth * p["taps1"]) * p["w_tap1"]
                 + (tap - outer * p["taps2"]) * p["w_tap2"])
        base, group = k.offset(self.base, moved, self.elem), arith.group
        to = k.offset(self.to, tap * p["channels"] * self.width, arith.panel)

        def channel(c: Val) -> None:
            out = k.offset(to, c * self.width, arith.panel)

            def member(i: Val) -> None:
                at = k.smin(self.first + i, p["count"] - 1) * p["w_member"]
                for g in range(group):
                    value = element.load(k, k.offset(base, at + (c + g) * p["w_channel"], self.elem), dtype, 1)
                    slot = group - 1 - g if arith.exchanged else g
                    k.store(arith.to_panel(k, value, dtype), k.offset(out, i * group + slot, arith.panel))
            k.loop(0, self.width, body=member, nonempty=True)
        k.loop(0, p["channels"], group, body=channel, nonempty=True)


def pack_weights(layout: PackedLayout, source: Operand, dest: Operand, taps: tuple[int, int, int], channels: int,
                 group: int, member: int, channel: int, tap: tuple[int, int, int]) -> Call:
    """The call that packs a weight.

    Args:
        layout: its batch is the groups, its k is taps times channels. source, dest: the weight, and
            ``layout.nbytes`` of memory. group, member, channel, tap: the weight's strides.
    """
    groups, n_taps, shape = layout.batch[0], taps[0] * taps[1] * taps[2], layout.shape
    run = isinstance(layout.arith, Plain) and (channels == 1 or channel == n_taps) and all(
        s == w or n == 1 for n, s, w in zip(taps, tap, (taps[1] * taps[2], taps[2], 1), strict=True))
    if layout.side == "v":
        panels, wide = panel_count(-(-layout.count // layout.arith.lanes), shape.vectors)
        structure = WeightStructure(layout.arith, layout.arith.lanes, shape.vectors, shape.widths[-1], layout.dtype,
                                    run)
    else:
        panels, wide = -(-layout.count // shape.height), 0
        structure = WeightStructure(layout.arith, shape.height, 1, 1, layout.dtype, run)
    found = {"panels": panels, "wide": wide, "count": layout.count, "taps": n_taps, "channels": channels,
             "entry": layout.entry, "w_group": group, "w_member": member, "w_channel": channel, "taps1": taps[1],
             "taps2": taps[2], "w_tap0": tap[0], "w_tap1": tap[1], "w_tap2": tap[2]}
    tasks = groups * panels
    grain = max(1, (32 << 10) // max(1, layout.nbytes // tasks))

    def build(name: str, target: Target) -> Kernel:
        return _Writer(name, target, structure).k.finish()
    make: Callable[[str, Target], Kernel] = build
    return Call(KernelSpec(f"conv_weights_{layout.dtype.ir}", structure.key, make), [source, dest],
                [found[x] for x in PARAMETERS], tasks, grain, (1,), nbytes=2 * layout.nbytes, packs=True,
                label="pack weights")
