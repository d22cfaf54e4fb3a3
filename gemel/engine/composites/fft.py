"""Fourier transforms, with their derivatives: each is linear, and its adjoint is a transform again.

``scale`` is a number of the call (1, 1/n or 1/sqrt(n)): the transforms themselves are not normalized.
"""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..interpreter import fft as _host  # noqa: F401  (registers the operations)
from .base import composite


def _custom(b, name, x, *arguments):
    return b._("custom", x, attrs=(f"gemel::{name}", arguments))[0]


@composite("fft_c2c", 1, ("axes", "inverse", "scale"))
def fft_c2c(b, x, *, axes, inverse, scale):
    """sum over n of x[n] exp(-2 pi i k n / N); + for the inverse"""
    return _custom(b, "fft_c2c", x, axes, inverse, scale)


@vjp("fft_c2c")
def _fft_c2c(b, g, s):
    return (b.call("fft_c2c", g, axes=s.attrs.axes, inverse=not s.attrs.inverse, scale=s.attrs.scale),)


@composite("fft_r2c", 1, ("axes", "scale"))
def fft_r2c(b, x, *, axes, scale):
    """the first half, along the last of the axes, of the transform of real numbers"""
    return _custom(b, "fft_r2c", x, axes, scale)


@vjp("fft_r2c")
def _fft_r2c(b, g, s):
    """The real part of the inverse transform of what came back, zeros for the other half."""
    axes, shape = s.attrs.axes, s.types[0].shape
    high = [n - m if i == axes[-1] else 0 for i, (n, m) in enumerate(zip(shape, g.type.shape, strict=True))]
    whole = b.pad(g, b.const(0, g.type.dtype), [0] * len(shape), high)
    return (b.real(b.call("fft_c2c", whole, axes=axes, inverse=True, scale=s.attrs.scale)),)


@composite("fft_c2r", 1, ("axes", "size", "scale"))
def fft_c2r(b, x, *, axes, size, scale):
    """real numbers of ``size`` along the last axis, from the first half of their transform"""
    return _custom(b, "fft_c2r", x, axes, size, scale)


@vjp("fft_c2r")
def _fft_c2r(b, g, s):
    """The transform of what came back; what stands for two halves counts twice."""
    axes, n = s.attrs.axes, s.attrs.size
    found = b.call("fft_r2c", g, axes=axes, scale=s.attrs.scale)
    axis, size = axes[-1], found.type.shape[axes[-1]]
    doubled = n - size

    def part(start, stop):
        return b.slice(found, [start if i == axis else 0 for i in range(found.type.ndim)],
                       [stop if i == axis else m for i, m in enumerate(found.type.shape)])

    if not doubled:
        return (found,)
    middle = part(1, 1 + doubled)
    pieces = [part(0, 1), b.add(middle, middle)]
    if 1 + doubled < size:
        pieces.append(part(1 + doubled, size))
    return (b.cat(pieces, axis),)
