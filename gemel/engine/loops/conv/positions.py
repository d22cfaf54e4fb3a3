"""Convolutions with positions in lanes: the contraction kernel with panels of windows, packed by each task.

The weight is the scalar operand, in packed panels; the vector operand is the image: a panel holds, for each tap and
channel, what a run of positions sees there, zeros outside the image. It is copied straight from the image, line by
line of positions, a vector at a time under a mask, so that no padded or unfolded image ever exists.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.target import Target
from .. import element
from ..gemm import kernel, pack
from ..gemm.arrays import by_tasks
from ..ir import Kernel, KernelBuilder, Type, Val

#: how neighbouring positions lie in an image's line: next to each other, at every second place, anywhere
MODES = ("unit", "pair", "gather")

PARAMETERS = (*kernel.PARAMETERS, "channels", "x_channel", "x0", "x1", "x2", "in0", "in1", "in2", "out1", "out2",
              "taps1", "taps2", "tap0", "tap1", "tap2", "low0", "low1", "low2", "stride0", "stride1", "stride2")


@dataclass(frozen=True)
class PositionStructure(kernel.Structure):
    """A contraction's structure whose ``v_mode`` is one of ``MODES``."""

    @property
    def key(self) -> tuple:
        return ("conv_positions", self)


class _Writer(kernel.Writer):
    parameters = PARAMETERS
    fetches = False  # weights are small

    def pack_panel(self, panel: Val) -> None:
        k, p, arith = self.k, self.p, self.arith
        lane = self.unit_of(panel) * arith.lanes
        self.lane, self.row = lane, self.vectors_of(panel) * arith.lanes
        self.to = self.scratch_panel(panel)
        end = k.smin(lane + self.row, p["v_count"])
        first, last = self.first * arith.group, k.smin(p["k"], self.pass_end * arith.group)

        def tap(number: Val) -> None:
            begin = number * p["channels"]
            channels = k.smax(first, begin) - begin, k.smin(last, begin + p["channels"]) - begin
            at = k.offset(self.to, (begin - first) * self.row, arith.panel)  # as if channel 0 were there
            outer = k.udiv(number, p["taps2"])
            depth = k.udiv(outer, p["taps1"])
            shifts = [p[f"low{i}"] + t * p[f"tap{i}"] for i, t in enumerate(
                (depth, outer - depth * p["taps1"], number - outer * p["taps2"]))]
            k.loop(k.udiv(lane, p["out2"]), k.udiv(end - 1, p["out2"]) + 1, nonempty=True,
                   body=lambda line: self.line(line, end, shifts, channels, at))
        k.loop(k.udiv(first, p["channels"]), k.udiv(last - 1, p["channels"]) + 1, body=tap, nonempty=True)

    def line(self, line: Val, end: Val, shifts: list[Val], channels: tuple[Val, Val], to: Val) -> None:
        """The part of one line of positions that lies in the panel, for one tap and its channels."""
        k, p, lanes = self.k, self.p, self.arith.lanes
        begin = line * p["out2"]
        first, last = k.smax(self.lane, begin) - begin, k.smin(end, begin + p["out2"]) - begin
        depth = k.udiv(line, p["out1"])
        d, h = depth * p["stride0"] + shifts[0], (line - depth * p["out1"]) * p["stride1"] + shifts[1]
        inside = k.and_(k.compare("ult", d, p["in0"]), k.compare("ult", h, p["in1"]))
        there = k.select(inside, p["in2"], k.i64(0))  # sites of this line that exist
        source = d * p["x0"] + h * p["x1"]

        def vector(column: Val) -> None:
            site = column * p["stride2"] + shifts[2]
            self.copy(site, there, last - column, source + site * p["x2"], channels,
                      k.offset(to, (begin + column - self.lane) * self.arith.group, self.arith.panel))
        k.loop(first, last, lanes, body=vector, nonempty=True)

    def copy(self, site: Val, there: Val, count: Val, source: Val, channels: tuple[Val, Val], to: Val) -> None:
        """One vector of positions, of every channel; ``site``: of the first, ``there``: how many sites exist."""
        k, p, arith, mode = self.k, self.p, self.arith, self.s.v_mode
        lanes, group, dtype = arith.lanes, arith.group, self.s.v_dtype
        elem = element.memory(dtype)
        span = 2 if mode == "pair" else 1
        stored = k.compare("slt", k.lane_ids(lanes, "i32"), _number(k, count, lanes))
        masks = lane_masks(k, mode, lanes, site, there, count, p["stride2"])

        def load(at: Val, whole: bool) -> Val:
            return load_sites(k, mode, k.offset(self.v_base, at, elem), None if whole else masks, elem, lanes,
                              p["stride2"] * p["x2"])

        def each(whole: bool) -> None:
            def channel(c: Val) -> None:
                raw = [load(source + (c + i) * p["x_channel"], whole) for i in range(group)]
                values = [arith.to_panel(k, element.widen(k, x, dtype), dtype) for x in raw]
                out = k.offset(to, c * self.row, arith.panel)
                if group == 1:
                    value, = values
                else:
                    order = list(reversed(values)) if arith.exchanged else values
                    value = k.bitcast(pack.interleave(k, order), "i32")
                k.store(value, out) if whole else k.masked_store(value, out, stored)
            k.loop(*channels, group, body=channel, nonempty=True)

        if mode == "gather":
            each(False)
            return
        full = k.and_(k.compare("sle", k.i64(0), site), k.compare("sle", site + span * lanes, there))
        k.if_(k.and_(full, k.compare("sge", count, k.i64(lanes))), lambda: each(True), lambda: each(False))


def _number(k: KernelBuilder, x: Val, lanes: int) -> Val:
    """A number to compare lane numbers with, in 32 bits: sites and counts are smaller."""
    return k.splat(k.convert("trunc", x, "i32"), lanes)


def lane_masks(k: KernelBuilder, mode: str, lanes: int, site: Val, there: Val, count: Val, stride: Val) -> list[Val]:
    """For each load of a vector of positions, which lanes exist in an image's line.

    Args:
        site: of the first position. there: how many sites the line has. count: of positions. stride: of sites.
    """
    ids = k.lane_ids(lanes, "i32")

    def between(ids: Val, low: Val, high: Val) -> Val:
        return k.and_(k.compare("sge", ids, _number(k, low, lanes)), k.compare("slt", ids, _number(k, high, lanes)))

    if mode == "gather":
        stored = k.compare("slt", ids, _number(k, count, lanes))
        return [k.and_(between(k.imul(ids, _number(k, stride, lanes)), k.i64(0) - site, there - site), stored)]
    return [between(ids, k.i64(0) - site - i * lanes, there - site - i * lanes)
            for i in range(2 if mode == "pair" else 1)]


def load_sites(k: KernelBuilder, mode: str, at: Val, masks: list[Val] | None, elem: str, lanes: int,
               stride: Val) -> Val:
    """What a vector of positions sees, zero where the masks are off; no masks: everything exists.

    Args:
        at: place of the first position's site. stride: elements from one position's site to the next one's.
    """
    zero = k.const(0, Type(elem, lanes))
    if mode == "gather":
        assert masks is not None
        return k.gather(at, k.imul(k.lane_ids(lanes), k.splat(stride, lanes)), masks[0], zero)
    places = [k.offset(at, i * lanes, elem) for i in range(2 if mode == "pair" else 1)]
    parts = [k.load(x, zero.type) for x in places] if masks is None else [
        k.masked_load(x, mask, zero) for x, mask in zip(places, masks, strict=True)]
    return parts[0] if len(parts) == 1 else k.shuffle(parts[0], parts[1], range(0, 2 * lanes, 2))


def build(structure: PositionStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure: operands are the packed weight, the image, then the epilogue's arrays."""
    return by_tasks(_Writer, structure)
