"""Steps of recurrent networks: what comes after the two matrix products of a step; and the steps of a sequence."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from ..base.errors import ShapeError
from .base import composite


@composite("pieces", 1, ("sizes",), n_outputs=-1)
def pieces(b, x, *, sizes):
    """x cut along axis 0: one node for all pieces, so that their gradients are joined once"""
    found, at, rest = [], 0, x.type.shape[1:]
    for n in sizes:
        found.append(b.slice(x, (at, *(0,) * len(rest)), (at + n, *rest)))
        at += n
    return tuple(found)


@vjp("pieces")
def _pieces(b, g, s):
    return (b.cat(list(g), 0),)


def _check_gates(n):
    def check(attrs, x, h, state):
        if x is not h or x.ndim != state.ndim or x.shape[-1] != n * state.shape[-1]:
            raise ShapeError(f"gates of a recurrent cell: expected twice {n} x {state.shape[-1]} columns. Received: "
                             f"{x}, {h}, state {state}")
    return check


def _parts(b, x, n):
    """The n parts of the last axis."""
    *lead, total = x.type.shape
    k = total // n
    low = (0,) * len(lead)
    return [b.slice(x, (*low, i * k), (*lead, (i + 1) * k)) for i in range(n)]


@composite("lstm_gates", 3, n_outputs=2, check=_check_gates(4))
def lstm_gates(b, x, h, c):
    """c' = sigmoid(f) c + sigmoid(i) tanh(g) and sigmoid(o) tanh(c') of x + h = (i, f, g, o) (Hochreiter, 1997)"""
    dtype, wide = x.type.dtype, compute_type(x.type.dtype)
    i, f, g, o = _parts(b, b.add(b.cast(x, wide), b.cast(h, wide)), 4)
    new = b.add(b.mul(b.sigmoid(f), b.cast(c, wide)), b.mul(b.sigmoid(i), b.tanh(g)))
    return b.cast(b.mul(b.sigmoid(o), b.tanh(new)), dtype), b.cast(new, dtype)


@composite("gru_gates", 3, check=_check_gates(3))
def gru_gates(b, x, h, state):
    """n + z (state - n) with r, z = sigmoid of sums, n = tanh(x_n + r h_n) (Cho et al., 2014)"""
    dtype, wide = x.type.dtype, compute_type(x.type.dtype)
    xr, xz, xn = _parts(b, b.cast(x, wide), 3)
    hr, hz, hn = _parts(b, b.cast(h, wide), 3)
    z = b.sigmoid(b.add(xz, hz))
    n = b.tanh(b.add(xn, b.mul(b.sigmoid(b.add(xr, hr)), hn)))
    return b.cast(b.add(n, b.mul(z, b.sub(b.cast(state, wide), n))), dtype)
