"""Windows: the part of an image that a task needs, copied into its scratch memory with zeros around it.

A window has axes (channel, depth, height, width), row-major. Along a spatial axis the image's *sites* lie at window
coordinates from ``first`` on; everything else is zero. Offsets into a window are sums of one number for the position
and one for the contracted element: both come from small tables, so that strides, dilation and the order of the
contraction cost the inner loop nothing.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..gemm.arithmetic import Arithmetic
from ..gemm.arrays import Parameters
from ..ir import KernelBuilder, Type, Val

AXES = range(3)

#: i64 parameters of a window; ``x``: source strides from site to site, ``size``: of the window
PARAMETERS = ("channels", "x_channel", *(f"{name}{i}" for name in ("first", "sites", "x", "size") for i in AXES))


@dataclass(frozen=True)
class Axis:
    """One spatial axis.

    Args:
        first, sites: window coordinate of the image's first site, how many follow each other.
        step: source elements (along the axis) from site to site. skip: source index of the first site.
        stride: window coordinates from one position to the next. tap: from one kernel tap to the next.
        origin: window coordinate of tap 0 for position 0. extent: window coordinates that one position sees.
        taps, out: kernel and output size.
    """

    first: int
    sites: int
    step: int
    skip: int
    stride: int
    tap: int
    origin: int
    extent: int
    taps: int
    out: int

    def size(self, block: int) -> int:
        """Window size for ``block`` positions."""
        return (block - 1) * self.stride + self.extent


def forward_axis(size: int, taps: int, out: int, stride: int, low: int, dilation: int) -> Axis:
    """Position ``o`` and tap ``t`` read input ``o * stride + t * dilation - low``."""
    if taps == 1 and stride > 1:  # only every stride-th element is ever read
        first = max(0, -(-low // stride))
        sites = max(0, min(out, (size - 1 + low) // stride + 1) - first)
        return Axis(first, sites, stride, first * stride - low if sites else 0, 1, 0, 0, 1, 1, out)
    return Axis(low, size, 1, 0, stride, dilation, 0, (taps - 1) * dilation + 1, taps, out)


def backward_axis(size: int, taps: int, out: int, low: int, dilation: int) -> Axis:
    """Input position ``i`` and tap ``t`` read the gradient at ``i + low - t * dilation``."""
    reach = (taps - 1) * dilation
    return Axis(reach - low, out, 1, 0, 1, -dilation, reach, reach + 1, taps, size)


@dataclass(frozen=True)
class Lines:
    """How lines of an image get into windows: dtype, and whether neighbouring sites are neighbours on both sides."""

    arith: Arithmetic
    target: Target
    dtype: DType
    contiguous: bool

    @property
    def elem(self) -> str:
        return element.memory(self.dtype)

    def clear(self, k: KernelBuilder, to: Val, count: Val) -> None:
        """Zeros; up to a vector more than ``count``."""
        panel = self.arith.panel
        k.loop(0, count, self.arith.lanes, nonempty=True,
               body=lambda at: k.store(k.const(0, Type(panel, self.arith.lanes)), k.offset(to, at, panel)))

    def copy(self, k: KernelBuilder, source: Val, into: Val, first: Val, last: Val, step: Val) -> None:
        """Sites ``first .. last`` of a line; ``step``: from site to site in memory.

        Writes zeros to less than a vector behind the last site: lines are copied in rising order.
        """
        elem, dtype, arith = self.elem, self.dtype, self.arith
        lanes = arith.lanes
        if not self.contiguous:
            def one(j: Val) -> None:
                value = element.load(k, k.offset(source, j * step, elem), dtype, 1)
                k.store(arith.to_panel(k, value, dtype), k.offset(into, j - first, arith.panel))
            k.loop(first, last, body=one)
            return
        source, count = k.offset(source, first, elem), k.smax(last - first, k.i64(0))
        whole = k.and_(count, k.i64(-lanes))

        def vector(j: Val) -> None:
            value = element.load(k, k.offset(source, j, elem), dtype, lanes)
            k.store(arith.to_panel(k, value, dtype), k.offset(into, j, arith.panel))
        k.loop(0, whole, lanes, body=vector)

        def rest() -> None:
            raw = element.load_part(k, k.offset(source, whole, elem), elem, lanes, count - whole, self.target)
            k.store(arith.to_panel(k, element.widen(k, raw, dtype), dtype), k.offset(into, whole, arith.panel))
        k.if_(k.compare("slt", whole, count), rest)


def sites(k: KernelBuilder, p: Parameters, i: int, start: Val) -> tuple[Val, Val]:
    """Of axis ``i``: the first site in a window that starts at coordinate ``start``, and the one behind the last."""
    first, last = (k.smax(x - p[f"first{i}"], k.i64(0)) for x in (start, start + p[f"size{i}"]))
    return first, k.smin(p[f"sites{i}"], last)


def fill(k: KernelBuilder, lines: Lines, p: Parameters, source: Val, start: Sequence[Val], to: Val) -> None:
    """Write the window whose first coordinates are ``start``; ``to`` has room for a vector behind it."""
    lines.clear(k, to, p["size0"] * p["size1"] * p["size2"] * p["channels"])
    ranges = [sites(k, p, i, start[i]) for i in AXES]
    panel = lines.arith.panel

    def place(i: int, j: Val) -> Val:
        return p[f"first{i}"] + j - start[i]

    def channel(c: Val) -> None:
        def depth(d: Val) -> None:
            def height(h: Val) -> None:
                line = k.offset(source, c * p["x_channel"] + d * p["x0"] + h * p["x1"], lines.elem)
                into = ((c * p["size0"] + place(0, d)) * p["size1"] + place(1, h)) * p["size2"] + place(2, ranges[2][0])
                lines.copy(k, line, k.offset(to, into, panel), *ranges[2], p["x2"])
            k.loop(*ranges[1], body=height)
        k.loop(*ranges[0], body=depth)
    k.loop(0, p["channels"], body=channel, nonempty=True)


def table(k: KernelBuilder, to: Val, sizes: Sequence[Val], strides: Sequence[Val], origin: Val) -> None:
    """Offsets ``origin + sum(index * stride)`` for all indices in row-major order, as i64 at ``to``."""
    def level(n: int, at: Val, number: Val) -> None:
        def step(i: Val) -> None:
            here, count = at + i * strides[n], number * sizes[n] + i
            if n + 1 == len(sizes):
                k.store(here, k.offset(to, count, "i64"))
            else:
                level(n + 1, here, count)
        k.loop(0, sizes[n], body=step)
    level(0, origin, k.i64(0))
