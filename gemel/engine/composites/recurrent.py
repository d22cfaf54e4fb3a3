"""Recurrent layers: what a cell does behind its two matrix products, and all steps of one direction of a layer.

``recurrent`` is one ``loop``: the products of all inputs with ``weight_ih`` come in as one operand, every turn
multiplies the state by ``weight_hh`` (packed once, in front of the loop) and applies the gates. Its derivative is a
loop in the opposite order that leaves the gradients of all gates; those of the weights are one matrix product each
over all steps (k rises with the step, then with the row of the batch).
"""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, int64
from ..base.errors import ShapeError
from ..ir.builder import ProgramBuilder
from ..ir.types import tensor_type
from .base import composite

#: mode -> number of gates
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


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


# --- one step ----------------------------------------------------------------------------------------

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


def _gates(b, product, bias, n):
    """The n parts of a product (or those parts) plus those of a bias, in the compute type.

    The parts are added apart: what reads a part cannot finish the product's tiles, which are stored as they are and
    added where the gates are computed.
    """
    parts = product if isinstance(product, list) else _parts(b, product, n)
    if bias is not None:
        parts = [b.add(p, b.expand(v, p.type.shape)) for p, v in zip(parts, _parts(b, bias, n), strict=True)]
    return [b.cast(p, compute_type(p.type.dtype)) for p in parts]


def _lstm(b, x, h, c, bias_x=None, bias_h=None):
    """Next h and c in the compute type, and what the derivative needs: i, f, g, o."""
    wide = compute_type(c.type.dtype)
    i, f, g, o = (b.add(p, q) for p, q in zip(_gates(b, x, bias_x, 4), _gates(b, h, bias_h, 4), strict=True))
    i, f, g, o = b.sigmoid(i), b.sigmoid(f), b.tanh(g), b.sigmoid(o)
    new = b.add(b.mul(f, b.cast(c, wide)), b.mul(i, g))
    return b.mul(o, b.tanh(new)), new, (i, f, g, o)


def _gru(b, x, h, state, bias_x=None, bias_h=None):
    """Next state in the compute type, and what the derivative needs: r, z, n and h_n."""
    wide = compute_type(state.type.dtype)
    xr, xz, xn = _gates(b, x, bias_x, 3)
    hr, hz, hn = _gates(b, h, bias_h, 3)
    r, z = b.sigmoid(b.add(xr, hr)), b.sigmoid(b.add(xz, hz))
    n = b.tanh(b.add(xn, b.mul(r, hn)))
    return b.add(n, b.mul(z, b.sub(b.cast(state, wide), n))), (r, z, n, hn)


@composite("lstm_gates", 3, n_outputs=2, check=_check_gates(4))
def lstm_gates(b, x, h, c):
    """c' = sigmoid(f) c + sigmoid(i) tanh(g) and sigmoid(o) tanh(c') of x + h = (i, f, g, o) (Hochreiter, 1997)"""
    dtype = x.type.dtype
    new, cell, _ = _lstm(b, x, h, c)
    return b.cast(new, dtype), b.cast(cell, dtype)


@composite("gru_gates", 3, check=_check_gates(3))
def gru_gates(b, x, h, state):
    """n + z (state - n) with r, z = sigmoid of sums, n = tanh(x_n + r h_n) (Cho et al., 2014)"""
    return b.cast(_gru(b, x, h, state)[0], x.type.dtype)


# --- all steps of a layer ------------------------------------------------------------------------------

def _at(b, stacked, step, part=0, n=1):
    """Row ``step`` of a stack of matrices, or of its columns one of ``n`` equal parts."""
    _, rows, columns = stacked.type.shape
    size = columns // n
    starts = [step, b.index_scalar(0), b.index_scalar(part * size)]
    return b.reshape(b.dynamic_slice(stacked, starts, (1, rows, size), (1, 1, 1)), (rows, size))


class _Fixed:
    """The fixed operands of a loop by name: ``value[name]`` outside, ``inside(b)[name]`` in its body."""

    def __init__(self, **values):
        self.values = {name: v for name, v in values.items() if v is not None}

    def inside(self, b):
        return {name: b.input(v.type) for name, v in self.values.items()}


def _step(b, mode, x, product, states, biases, project):
    """One step: the next states, and what the derivative needs; ``x``: the gates' parts of the input's product."""
    dtype = product.type.dtype
    if mode == "LSTM":
        h, c, gates = _lstm(b, x, product, states[1], *biases)
        h = b.cast(h, dtype)
        if project is not None:
            h = b.dot(h, project, (1,), (1,))
        return [h, b.cast(c, dtype)], [*(b.cast(v, dtype) for v in gates), states[1]]
    if mode == "GRU":
        h, gates = _gru(b, x, product, states[0], *biases)
        return [b.cast(h, dtype)], [*(b.cast(v, dtype) for v in gates), states[0]]
    total = b.add(*(v if bias is None else b.add(v, b.expand(bias, v.type.shape))
                    for v, bias in zip((*x, product), biases, strict=True)))
    return [b.tanh(total) if mode == "RNN_TANH" else b.max(total, b.full_like(total, 0))], []


@composite("recurrent", -1, ("mode", "projected", "biased", "backwards"), n_outputs=-1)
def recurrent(b, x, w, h, *rest, mode, projected, biased, backwards):
    """All steps of one direction of a recurrent layer (Elman, 1990; Hochreiter, 1997; Cho et al., 2014)

    Operands: x W_ih^T (T, B, gates H), W_hh, first h, then W_hr, first c (LSTM), b_ih and b_hh, as far as present.
    Results: h of all steps, the last h, the last c (LSTM), and for the derivative the gates of all steps and the state
    that each step began with.
    """
    rest = list(rest)
    project, c, *biases = (rest.pop(0) if there else None for there in (projected, mode == "LSTM", biased, biased))
    states = [h] if c is None else [h, c]
    fixed = _Fixed(x=x, w=w, project=project, bias_x=biases[0], bias_h=biases[1])
    p = ProgramBuilder()
    at = p.input(tensor_type(int64))
    inner = [p.input(v.type) for v in states]
    f = fixed.inside(p)
    product = p.dot(inner[0], f["w"], (1,), (1,))
    inside = (f.get("bias_x"), f.get("bias_h"))
    parts = [_at(p, f["x"], at, i, GATES[mode]) for i in range(GATES[mode])]
    new, kept = _step(p, mode, parts, product, inner, inside, f.get("project"))
    found = b.loop(p.build([*new, new[0], *kept]), x.type.shape[0], states, list(fixed.values.values()), backwards)
    n = len(states)
    return found[n], *found[:n], *found[n + 1:]


def _through_sigmoid(b, g, y):
    return b.mul(g, b.mul(y, b.sub(b.full_like(y, 1), y)))


def _through_tanh(b, g, y):
    return b.mul(g, b.sub(b.full_like(y, 1), b.mul(y, y)))


def _sum(b, x, y):
    return x if y is None else b.add(x, y)


def _lstm_back(b, dh, dc, kept, more):
    """Cotangents of (gates, gates, states before) of a step, from those of its states and (``more``) of ``kept``."""
    i, f, g, o, c = kept
    tanh = b.tanh(b.add(b.mul(f, c), b.mul(i, g)))
    dc = b.add(dc, _through_tanh(b, b.mul(dh, o), tanh))
    di, df, dg, do = (_sum(b, d, e) for d, e in
                      zip((b.mul(dc, g), b.mul(dc, c), b.mul(dc, i), b.mul(dh, tanh)), more[:4], strict=True))
    gates = [_through_sigmoid(b, di, i), _through_sigmoid(b, df, f), _through_tanh(b, dg, g),
             _through_sigmoid(b, do, o)]
    return gates, gates, [None, _sum(b, b.mul(dc, f), more[4])]


def _gru_back(b, dh, kept, more):
    r, z, n, hn, h = kept
    dz, dn = b.mul(dh, b.sub(h, n)), b.mul(dh, b.sub(b.full_like(z, 1), z))
    dn = _through_tanh(b, _sum(b, dn, more[2]), n)
    dz = _through_sigmoid(b, _sum(b, dz, more[1]), z)
    dr = _through_sigmoid(b, _sum(b, b.mul(dn, hn), more[0]), r)
    return [dr, dz, dn], [dr, dz, _sum(b, b.mul(dn, r), more[3])], [_sum(b, b.mul(dh, z), more[4])]


def _rnn_back(b, mode, dh, h):
    if mode == "RNN_TANH":
        return _through_tanh(b, dh, h)
    zero = b.full_like(dh, 0)
    return b.select(b.le(h, zero), zero, dh)


@vjp("recurrent", inputs=(1, 2, 3), outputs=True)
def _recurrent(b, g, s):
    a, (w, h0, *more) = s.attrs, s.inputs
    project = more[0] if a.projected else None
    mode, lstm = a.mode, a.mode == "LSTM"
    hs, n = s.outputs[0], 1 + lstm
    residuals = s.outputs[1 + n:]
    dtype = hs.type.dtype
    wide = compute_type(dtype)
    steps, batch = hs.type.shape[:2]
    extra = {f"more{i}": v for i, v in enumerate(g[1 + n:])}
    fixed = _Fixed(w=w, project=project, g=g[0], hs=None if residuals else hs, **extra,
                   **{f"kept{i}": v for i, v in enumerate(residuals)})
    states = [b.zeros(o.type.with_dtype(wide)) if d is None else b.cast(d, wide)
              for d, o in zip(g[1:1 + n], s.outputs[1:1 + n], strict=True)]

    p = ProgramBuilder()
    at = p.input(tensor_type(int64))
    inner = [p.input(v.type) for v in states]
    f = fixed.inside(p)

    def here(name):
        return p.cast(_at(p, f[name], at), wide) if name in f else None
    dh = _sum(p, inner[0], here("g"))
    rounded = p.cast(dh, dtype)
    kept = [here(f"kept{i}") for i in range(len(residuals))]
    added = [here(f"more{i}") for i in range(len(residuals))]
    if lstm:
        dm = dh if project is None else p.dot(rounded, f["project"], (1,), (0,), dtype=wide)
        by_x, by_h, before = _lstm_back(p, dm, inner[1], kept, added)
    elif mode == "GRU":
        by_x, by_h, before = _gru_back(p, dh, kept, added)
    else:
        by_x = by_h = [_rnn_back(p, mode, dh, here("hs"))]
        before = [None]
    gates = [p.cast(p.cat(by_x, 1), dtype)]
    if by_h is not by_x:
        gates.append(p.cast(p.cat(by_h, 1), dtype))
    before = [_sum(p, p.dot(gates[-1], f["w"], (1,), (0,), dtype=wide), before[0]), *before[1:]]
    parts = [*gates, *([rounded] if project is not None else [])]
    found = b.loop(p.build([*before, *parts]), steps, states, list(fixed.values.values()), not a.backwards)
    firsts = [b.cast(v, dtype) for v in found[:n]]
    dx, dp = found[n], found[n + len(gates) - 1]

    grads = [dx, _weight(b, dp, hs, h0, residuals[-1] if mode == "GRU" else None, a.backwards), firsts[0]]
    if project is not None:
        i, f_, g_, o, c = (b.cast(v, wide) for v in residuals)
        hidden = b.cast(b.mul(o, b.tanh(b.add(b.mul(f_, c), b.mul(i, g_)))), dtype)
        grads.append(b.dot(found[-1], hidden, (0, 1), (0, 1)))
    if lstm:
        grads.append(firsts[1])
    if a.biased:
        by_h = b.reduce_sum(dp, (0, 1))
        grads += [by_h if dx is dp else b.reduce_sum(dx, (0, 1)), by_h]
    return grads


def _weight(b, dp, hs, h0, before, backwards):
    """Gradient of W_hh: the gates of each step times the h that it began with, summed over steps and rows."""
    if before is not None:
        return b.dot(dp, before, (0, 1), (0, 1))
    steps, batch, width = hs.type.shape
    rows = dp.type.shape[2]
    first = steps - 1 if backwards else 0
    begun = b.dot(b.reshape(b.slice(dp, (first, 0, 0), (first + 1, batch, rows)), (batch, rows)), h0, (0,), (0,))
    if steps == 1:
        return begun
    ahead, behind = ((0, 1) if backwards else (1, 0))
    later = b.slice(dp, (ahead, 0, 0), (ahead + steps - 1, batch, rows))
    sooner = b.slice(hs, (behind, 0, 0), (behind + steps - 1, batch, width))
    return b.add(b.dot(later, sooner, (0, 1), (0, 1)), begun)
