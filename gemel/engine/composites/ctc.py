"""Connectionist temporal classification (Graves et al., 2006): forward and backward variables in log space."""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, int64
from ..base.errors import UnsupportedError
from ..ir.builder import ProgramBuilder
from ..ir.types import tensor_type
from .base import composite


def _low(b, x):
    return b.full_like(x, -math.inf)


def _log_sum(b, *xs):
    """log of the sum of exp, elementwise; -inf where all are."""
    top = xs[0]
    for x in xs[1:]:
        top = b.max(top, x)
    safe = b.select(b.eq(top, _low(b, top)), b.full_like(top, 0), top)
    total = None
    for x in xs:
        e = b.exp(b.sub(x, safe))
        total = e if total is None else b.add(total, e)
    return b.add(b.log(total), safe)


def _moved(b, x, by):
    """(N, S) moved ``by`` places to the right (to the left if negative), -inf put in."""
    n, s = x.type.shape
    low, k = b.const(-math.inf, x.type.dtype), min(abs(by), s)
    if by > 0:
        return b.pad(b.slice(x, (0, 0), (n, s - k)), low, (0, k), (0, 0))
    return b.pad(b.slice(x, (0, k), (n, s)), low, (0, 0), (0, k))


def _extended(b, targets, blank):
    """(N, L) -> (N, 2 L + 1): a blank before, between and behind the labels."""
    n, length = targets.type.shape
    pairs = b.cat([b.full(blank, int64, (n, length, 1)), b.reshape(targets, (n, length, 1))], 2)
    return b.cat([b.reshape(pairs, (n, 2 * length)), b.full(blank, int64, (n, 1))], 1)


def _places(b, labels, n_classes):
    """Positions of the labels in rows of (N C)."""
    return b.add(b.mul(b.iota(int64, labels.type.shape, 0), b.full_like(labels, n_classes)), labels)


def _emitted(b, logp, labels):
    """(T, N, C) and (N, S) -> (T, N, S): the log probability of each label at each time."""
    t, n, c = logp.type.shape
    return b.take(b.reshape(logp, (t, n * c)), _places(b, labels, c), 1)


def _skips(b, labels, blank):
    """bool (N, S): may the label be reached from two places before (it is no blank, and another one)?"""
    n, s = labels.type.shape
    before = b.full(blank, int64, (n, min(2, s)))
    if s > 2:
        before = b.cat([before, b.slice(labels, (0, 0), (n, s - 2))], 1)
    return b.and_(b.ne(labels, b.full_like(labels, blank)), b.ne(labels, before))


def _column(b, x, shape):
    return b.expand(b.reshape(x, (x.type.shape[0], 1)), shape)


def _ends(b, lengths, shape):
    """bool (N, S): the last blank and the last label."""
    last = _column(b, b.mul(lengths, b.full_like(lengths, 2)), shape)
    place = b.iota(int64, shape, 1)
    return b.or_(b.eq(place, last), b.eq(place, b.sub(last, b.full_like(last, 1))))


def _at(b, emitted, time):
    """Row ``time`` of (T, N, S)."""
    zero, shape = b.const(0, int64), emitted.type.shape[1:]
    return b.reshape(b.dynamic_slice(emitted, [time, zero, zero], (1, *shape), (1, 1, 1)), shape)


def _body(types, write):
    """A loop body ``write(b, step, *operands)`` whose results are the new state and a copy of it to stack."""
    b = ProgramBuilder()
    state = write(b, b.input(tensor_type(int64, ())), *(b.input(t) for t in types))
    return b.build((state, state))


def _forward(b, emitted, skips, input_lengths):
    """alpha (T, N, S), the paths that have come to each label; and the state after the last time."""
    shape, trips = emitted.type.shape[1:], emitted.type.shape[0]
    place = b.iota(int64, shape, 1)
    dtype = emitted.type.dtype
    start = b.select(b.is_zero(place), b.full(0, dtype, shape), b.full(-math.inf, dtype, shape))

    def write(b, time, alpha, emitted, skips, lengths):
        two = b.select(skips, _moved(b, alpha, 2), _low(b, alpha))
        new = b.add(_at(b, emitted, time), _log_sum(b, alpha, _moved(b, alpha, 1), two))
        running = b.lt(b.expand(time, shape), _column(b, lengths, shape))
        return b.select(running, new, alpha)
    fixed = (emitted, skips, input_lengths)
    last, alpha = b.loop(_body((start.type, *(x.type for x in fixed)), write), trips, (start,), fixed)
    return alpha, last


def _backward(b, emitted, skips, ends, input_lengths):
    """beta (T, N, S): the paths that lead on from each label, its own emission included."""
    shape, trips = emitted.type.shape[1:], emitted.type.shape[0]
    start = b.full(-math.inf, emitted.type.dtype, shape)

    def write(b, time, beta, emitted, skips, ends, lengths):
        two = _moved(b, b.select(skips, beta, _low(b, beta)), -2)
        on = _log_sum(b, beta, _moved(b, beta, -1), two)
        left = b.sub(_column(b, lengths, shape), b.expand(time, shape))
        first = b.select(ends, b.full_like(beta, 0), _low(b, beta))
        new = b.add(_at(b, emitted, time), b.select(b.eq(left, b.full_like(left, 1)), first, on))
        return b.select(b.gt(left, b.full_like(left, 0)), new, _low(b, beta))
    fixed = (emitted, skips, ends, input_lengths)
    body = _body((start.type, *(x.type for x in fixed)), write)
    return b.loop(body, trips, (start,), fixed, backwards=True)[1]


@composite("ctc_loss", 4, ("blank",), n_outputs=2)
def ctc_loss(b, logp, targets, input_lengths, target_lengths, *, blank):
    """-log p(targets) of each sequence from logp (T, N, C), targets (N, L); and the forward variables (T, N, S)"""
    dtype = logp.type.dtype
    labels = _extended(b, targets, blank)
    emitted = _emitted(b, b.cast(logp, compute_type(dtype)), labels)
    alpha, last = _forward(b, emitted, _skips(b, labels, blank), input_lengths)
    ending = b.select(_ends(b, target_lengths, last.type.shape), last, _low(b, last))
    top = b.reduce_max(ending, (1,))
    safe = b.select(b.eq(top, _low(b, top)), b.full_like(top, 0), top)
    total = b.reduce_sum(b.exp(b.sub(ending, _column(b, safe, ending.type.shape))), (1,))
    return b.cast(b.neg(b.add(b.log(total), safe)), dtype), alpha


@vjp("ctc_loss", inputs=(0, 1, 2, 3), outputs=(0, 1))
def _ctc_loss(b, g, s):
    """torch's gradient, which takes for granted that logp is a log_softmax: p - posterior."""
    if g[1] is not None:  # of what the first derivative has saved
        raise UnsupportedError("the second derivative of ctc_loss is not implemented (nor is it in torch)")
    logp, targets, input_lengths, target_lengths = s.inputs
    loss, alpha = s.outputs
    dtype, wide = logp.type.dtype, compute_type(logp.type.dtype)
    t, n, c = logp.type.shape
    logp = b.cast(logp, wide)
    labels = _extended(b, targets, s.attrs.blank)
    shape = alpha.type.shape
    emitted = _emitted(b, logp, labels)
    beta = _backward(b, emitted, _skips(b, labels, s.attrs.blank), _ends(b, target_lengths, shape[1:]), input_lengths)

    def rows(x, like):
        return b.expand(b.reshape(x, (1, n, 1)), like)
    path = b.add(b.sub(b.add(alpha, beta), emitted), rows(b.cast(loss, wide), shape))
    share = b.select(b.eq(emitted, _low(b, emitted)), b.full_like(path, 0), b.exp(path))
    posterior = b.scatter(b.full(0, wide, (t, n * c)), _places(b, labels, c), share, 1, "add")
    whole = logp.type.shape
    weight = rows(b.cast(g[0], wide), whole)
    slope = b.mul(b.sub(b.exp(logp), b.reshape(posterior, (t, n, c))), weight)
    running = b.lt(b.iota(int64, whole, 0), rows(input_lengths, whole))
    wanted = b.and_(running, b.not_(b.is_zero(weight)))  # an infinite loss that was replaced by 0 sends nothing back
    return b.cast(b.select_or_zero(wanted, slope), dtype), None, None, None
