"""Optimizer steps over all parameters at once: one node each, hyper-parameters as runtime scalars.

Operands: parameters, gradients, then the state tensors, each group in the order of the parameters; then the
scalars. Results: new parameters, then new state. The formulas are torch's.
"""
from __future__ import annotations

import math

from ml_dtypes import finfo

from ..base.dtypes import bfloat16, compute_type, float32
from .base import composite


def _groups(operands, count: int, n: int):
    """``n`` groups of ``count`` tensors, and the scalars behind them."""
    return [operands[i * count:(i + 1) * count] for i in range(n)], operands[n * count:]


def _times(b, x, s):
    return b.call("mul_scalar", x, s)


@composite("sgd_step", -1, ("count", "momentum", "first", "nesterov", "maximize", "decay"), n_outputs=-1)
def sgd_step(b, *operands, count, momentum, first, nesterov, maximize, decay):
    """p -= lr * d with d = g + wd p, or with momentum m: buf = m buf + (1 - dampening) d

    Scalars: lr, weight_decay, momentum, 1 - dampening.
    """
    n = 3 if momentum and not first else 2
    groups, (lr, weight_decay, factor, undamped) = _groups(operands, count, n)
    params, bufs = [], []
    for i, (p, g) in enumerate(zip(groups[0], groups[1], strict=True)):
        d = b.neg(g) if maximize else g
        if decay:
            d = b.add(d, _times(b, p, weight_decay))
        if momentum:
            buf = d if first else b.add(_times(b, groups[2][i], factor), _times(b, d, undamped))
            bufs.append(buf)
            d = b.add(d, _times(b, buf, factor)) if nesterov else buf
        params.append(b.sub(p, _times(b, d, lr)))
    return (*params, *bufs)


def _moments(b, g, m, v, rest1, beta2, rest2):
    """Adam's running means of the gradient and of its square."""
    return (b.add(m, _times(b, b.sub(g, m), rest1)),
            b.add(_times(b, v, beta2), _times(b, b.mul(g, g), rest2)))


def _decayed(b, p, g, maximize, decay, decoupled, weight_decay, keep):
    """Parameter and gradient after weight decay, of either kind."""
    g = b.neg(g) if maximize else g
    if decay and decoupled:
        return _times(b, p, keep), g
    return p, b.add(g, _times(b, p, weight_decay)) if decay else g


@composite("adam_step", -1, ("count", "decoupled", "amsgrad", "maximize", "decay"), n_outputs=-1)
def adam_step(b, *operands, count, decoupled, amsgrad, maximize, decay):
    """Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019), torch's formulation

    Scalars: lr, weight_decay, 1 - lr*weight_decay, beta1, 1 - beta1, beta2, 1 - beta2, eps,
    step_size = lr / (1 - beta1^t), sqrt(1 - beta2^t).
    """
    n = 5 if amsgrad else 4
    groups, scalars = _groups(operands, count, n)
    lr, weight_decay, keep, beta1, rest1, beta2, rest2, eps, step_size, root2 = scalars
    params, firsts, seconds, maxima = [], [], [], []
    for i in range(count):
        p, g, m, v = (groups[j][i] for j in range(4))
        p, g = _decayed(b, p, g, maximize, decay, decoupled, weight_decay, keep)
        m, v = _moments(b, g, m, v, rest1, beta2, rest2)
        firsts.append(m)
        seconds.append(v)
        if amsgrad:
            v = b.max(groups[4][i], v)
            maxima.append(v)
        denominator = b.call("add_scalar", b.call("div_scalar", b.sqrt(v), root2), eps)
        params.append(b.sub(p, _times(b, b.div(m, denominator), step_size)))
    return (*params, *firsts, *seconds, *maxima)


@composite("rmsprop_step", -1, ("count", "momentum", "centered", "maximize", "decay"), n_outputs=-1)
def rmsprop_step(b, *operands, count, momentum, centered, maximize, decay):
    """RMSprop (Hinton, lecture 6e), torch's formulation

    Scalars: lr, weight_decay, alpha, 1 - alpha, eps, momentum.
    """
    n = 3 + bool(momentum) + bool(centered)
    groups, (lr, weight_decay, alpha, rest, eps, factor) = _groups(operands, count, n)
    params, squares, bufs, means = [], [], [], []
    for i in range(count):
        p, g, square = (groups[j][i] for j in range(3))
        g = b.neg(g) if maximize else g
        if decay:
            g = b.add(g, _times(b, p, weight_decay))
        square = b.add(_times(b, square, alpha), _times(b, b.mul(g, g), rest))
        squares.append(square)
        average = square
        if centered:
            mean = groups[-1][i]
            mean = b.add(mean, _times(b, b.sub(g, mean), rest))
            means.append(mean)
            average = b.sub(square, b.mul(mean, mean))
        step = b.div(g, b.call("add_scalar", b.sqrt(average), eps))
        if momentum:
            step = b.add(_times(b, groups[3][i], factor), step)
            bufs.append(step)
        params.append(b.sub(p, _times(b, step, lr)))
    return (*params, *squares, *bufs, *means)


def _descent(b, p, g, maximize, decay, weight_decay):
    """The direction to go down: the gradient (or its opposite) with the L2 penalty."""
    g = b.neg(g) if maximize else g
    return b.add(g, _times(b, p, weight_decay)) if decay else g


@composite("adagrad_step", -1, ("count", "maximize", "decay"), n_outputs=-1)
def adagrad_step(b, *operands, count, maximize, decay):
    """Adagrad (Duchi et al., 2011), torch's formulation

    Scalars: lr / (1 + (t - 1) lr_decay), weight_decay, eps.
    """
    (params, grads, sums), (lr, weight_decay, eps) = _groups(operands, count, 3)
    new, totals = [], []
    for p, g, total in zip(params, grads, sums, strict=True):
        g = _descent(b, p, g, maximize, decay, weight_decay)
        total = b.add(total, b.mul(g, g))
        totals.append(total)
        new.append(b.sub(p, _times(b, b.div(g, b.call("add_scalar", b.sqrt(total), eps)), lr)))
    return (*new, *totals)


@composite("adadelta_step", -1, ("count", "maximize", "decay"), n_outputs=-1)
def adadelta_step(b, *operands, count, maximize, decay):
    """Adadelta (Zeiler, 2012), torch's formulation

    Scalars: lr, weight_decay, rho, 1 - rho, eps.
    """
    (params, grads, squares, deltas), (lr, weight_decay, rho, rest, eps) = _groups(operands, count, 4)
    new, means, moves = [], [], []
    for p, g, square, moved in zip(params, grads, squares, deltas, strict=True):
        g = _descent(b, p, g, maximize, decay, weight_decay)
        square = b.add(_times(b, square, rho), _times(b, b.mul(g, g), rest))
        root = b.sqrt(b.call("add_scalar", square, eps))
        move = b.mul(b.div(b.sqrt(b.call("add_scalar", moved, eps)), root), g)
        means.append(square)
        moves.append(b.add(_times(b, moved, rho), _times(b, b.mul(move, move), rest)))
        new.append(b.sub(p, _times(b, move, lr)))
    return (*new, *means, *moves)


@composite("adamax_step", -1, ("count", "maximize", "decay"), n_outputs=-1)
def adamax_step(b, *operands, count, maximize, decay):
    """Adamax (Kingma and Ba, 2015), torch's formulation

    Scalars: lr / (1 - beta1^t), weight_decay, 1 - beta1, beta2, eps.
    """
    (params, grads, firsts, norms), (lr, weight_decay, rest, beta2, eps) = _groups(operands, count, 4)
    new, means, tops = [], [], []
    for p, g, m, norm in zip(params, grads, firsts, norms, strict=True):
        g = _descent(b, p, g, maximize, decay, weight_decay)
        m = b.add(m, _times(b, b.sub(g, m), rest))
        norm = b.max(_times(b, norm, beta2), b.call("add_scalar", b.abs(g), eps))
        means.append(m)
        tops.append(norm)
        new.append(b.sub(p, _times(b, b.div(m, norm), lr)))
    return (*new, *means, *tops)


def _switch(b, flag, x, y):
    """``x`` where the scalar ``flag`` is above zero, else ``y``: a choice that changes from step to step."""
    return b.select(b.expand(b.gt(flag, b.const(0, flag.type.dtype)), x.type.shape), x, y)


@composite("nadam_step", -1, ("count", "decoupled", "maximize", "decay"), n_outputs=-1)
def nadam_step(b, *operands, count, decoupled, maximize, decay):
    """NAdam (Dozat, 2016), torch's formulation

    Scalars: weight_decay, 1 - lr*weight_decay, 1 - beta1, beta2, 1 - beta2, eps, 1 - beta2^t,
    -lr (1 - mu_t) / (1 - prod mu), -lr mu_{t+1} / (1 - mu_{t+1} prod mu).
    """
    groups, (weight_decay, keep, rest1, beta2, rest2, eps, bias2, by_g, by_m) = _groups(operands, count, 4)
    new, firsts, seconds = [], [], []
    for p, g, m, v in zip(*groups, strict=True):
        p, g = _decayed(b, p, g, maximize, decay, decoupled, weight_decay, keep)
        m, v = _moments(b, g, m, v, rest1, beta2, rest2)
        firsts.append(m)
        seconds.append(v)
        denominator = b.call("add_scalar", b.sqrt(b.call("div_scalar", v, bias2)), eps)
        p = b.add(p, _times(b, b.div(g, denominator), by_g))
        new.append(b.add(p, _times(b, b.div(m, denominator), by_m)))
    return (*new, *firsts, *seconds)


@composite("radam_step", -1, ("count", "decoupled", "maximize", "decay"), n_outputs=-1)
def radam_step(b, *operands, count, decoupled, maximize, decay):
    """RAdam (Liu et al., 2019), torch's formulation

    Scalars: lr, weight_decay, 1 - lr*weight_decay, 1 - beta1, beta2, 1 - beta2, eps, 1 - beta1^t, sqrt(1 - beta2^t),
    the rectification, and whether it applies (else the step has no denominator).
    """
    groups, scalars = _groups(operands, count, 4)
    lr, weight_decay, keep, rest1, beta2, rest2, eps, bias1, root2, rectification, rectified = scalars
    new, firsts, seconds = [], [], []
    for p, g, m, v in zip(*groups, strict=True):
        p, g = _decayed(b, p, g, maximize, decay, decoupled, weight_decay, keep)
        m, v = _moments(b, g, m, v, rest1, beta2, rest2)
        firsts.append(m)
        seconds.append(v)
        plain = _times(b, b.call("div_scalar", m, bias1), lr)
        adaptive = b.call("rdiv_scalar", b.call("add_scalar", b.sqrt(v), eps), root2)
        new.append(b.sub(p, _switch(b, rectified, _times(b, b.mul(plain, adaptive), rectification), plain)))
    return (*new, *firsts, *seconds)


@composite("asgd_step", -1, ("count", "maximize", "decay"), n_outputs=-1)
def asgd_step(b, *operands, count, maximize, decay):
    """Averaged SGD (Polyak and Juditsky, 1992), torch's formulation

    Scalars: weight_decay, 1 - lambd*eta, eta, mu, and whether averaging has begun (else the average is the parameter).
    """
    (params, grads, averages), (weight_decay, keep, eta, mu, begun) = _groups(operands, count, 3)
    new, means = [], []
    for p, g, mean in zip(params, grads, averages, strict=True):
        g = _descent(b, p, g, maximize, decay, weight_decay)
        p = b.sub(_times(b, p, keep), _times(b, g, eta))
        new.append(p)
        means.append(_switch(b, begun, b.add(mean, _times(b, b.sub(p, mean), mu)), p))
    return (*new, *means)


@composite("rprop_step", -1, ("count", "maximize"), n_outputs=-1)
def rprop_step(b, *operands, count, maximize):
    """Rprop (Riedmiller and Braun, 1993), torch's formulation

    Scalars: etaminus, etaplus, the least and the largest step.
    """
    groups, (minus, plus, least, largest) = _groups(operands, count, 4)
    new, kept, sizes = [], [], []
    for p, g, before, size in zip(*groups, strict=True):
        g = b.neg(g) if maximize else g
        agreement, zero = b.mul(g, before), b.full_like(g, 0)
        turned = b.lt(agreement, zero)
        shape, dtype = p.type.shape, p.type.dtype
        factor = b.select(turned, b.expand(b.cast(minus, dtype), shape),
                          b.select(b.gt(agreement, zero), b.expand(b.cast(plus, dtype), shape), b.full_like(p, 1)))
        size = b.call("clamp_scalar", b.mul(size, factor), least, largest)
        g = b.select(turned, zero, g)
        new.append(b.sub(p, b.mul(b.sign(g), size)))
        kept.append(g)
        sizes.append(size)
    return (*new, *kept, *sizes)


def _root_mean_square(b, x):
    """sqrt(mean x^2), 0-d and in the compute type."""
    wide = compute_type(x.type.dtype)
    norm = b.call("norm", x, p=2.0, axes=tuple(range(x.type.ndim)), keep=False)
    return b.div(b.cast(norm, wide), b.const(math.sqrt(x.type.size), wide))


@composite("adafactor_step", -1, ("count", "factored", "own_eps", "maximize", "decay"), n_outputs=-1)
def adafactor_step(b, *operands, count, factored, own_eps, maximize, decay):
    """Adafactor (Shazeer and Stern, 2018), torch's formulation

    State: the means of the squares along rows and columns (``factored``), or of each element.
    Scalars: 1 - lr*weight_decay, t^beta2_decay, min(lr, 1/sqrt(t)), eps1 (``own_eps``: that of the dtype
    instead), eps2, d.
    """
    groups, (keep, rest, rho, eps1, eps2, d) = _groups(operands, count, 4 if factored else 3)
    if own_eps:
        eps1 = b.const(finfo(groups[0][0].type.dtype.numpy).eps, eps1.type.dtype)
    new, states = [], [[] for _ in groups[2:]]
    for p, g, *held in zip(*groups, strict=True):
        g = b.neg(g) if maximize else g
        alpha = b.mul(b.max(_root_mean_square(b, p), eps2), rho)
        if decay:
            p = _times(b, p, keep)
        if factored:
            for i, axis in enumerate((g.type.ndim - 1, g.type.ndim - 2)):
                norm = b.call("norm", g, p=2.0, axes=(axis,), keep=True)
                wide = compute_type(g.type.dtype)
                mean = b.call("div_scalar", b.mul(norm, norm), b.const(g.type.shape[axis], wide))
                held[i] = b.call("lerp_scalar", held[i], mean, rest)
            row, column = held
            whole = b.call("mean", row, axes=(g.type.ndim - 2,), keep=True)
            outer = b.mul(b.expand(row, g.type.shape), b.expand(column, g.type.shape))
            whole = b.call("clamp_min_scalar", whole, eps1)
            variance = b.div(outer, b.expand(whole, g.type.shape))
        else:
            variance = held[0] = b.call("lerp_scalar", held[0], b.mul(g, g), rest)
        for all_of, value in zip(states, held, strict=True):
            all_of.append(value)
        least = b.mul(eps1, eps1)
        update = b.mul(b.rsqrt(b.call("clamp_min_scalar", variance, least)), g)
        one = b.const(1, alpha.type.dtype)
        clipped = b.max(one, b.div(_root_mean_square(b, update), d))
        new.append(b.sub(p, _times(b, update, b.div(alpha, clipped))))
    return (*new, *(value for all_of in states for value in all_of))


@composite("muon_step", -1, ("count", "nesterov", "iterations", "adjust"), n_outputs=-1)
def muon_step(b, *operands, count, nesterov, iterations, adjust):
    """Muon (Jordan et al., 2024), torch's formulation: momentum, orthogonalised by Newton-Schulz in bfloat16

    Scalars: lr (times a ratio that ``adjust`` makes of the parameter's shape), 1 - lr*weight_decay, momentum,
    1 - momentum, a, b, c, eps.
    """
    groups, (lr, keep, momentum, rest, c1, c3, c5, eps) = _groups(operands, count, 3)
    new, buffers = [], []
    for p, g, buffer in zip(*groups, strict=True):
        rows, columns = p.type.shape
        ratio = 0.2 * math.sqrt(max(rows, columns)) if adjust else math.sqrt(max(1, rows / columns))
        buffer = b.call("lerp_scalar", buffer, g, rest)
        buffers.append(buffer)
        x = b.call("lerp_scalar", g, buffer, momentum) if nesterov else buffer
        x = b.cast(_orthogonal(b, b.cast(x, bfloat16), [b.cast(c, float32) for c in (c1, c3, c5, eps)], iterations),
                   p.type.dtype)
        rate = b.mul(lr, b.const(ratio, lr.type.dtype))
        new.append(b.sub(_times(b, p, keep), _times(b, x, rate)))
    return (*new, *buffers)


def _orthogonal(b, x, coefficients, iterations):
    """x <- a x + (b x x^T + c (x x^T)^2) x, from x / |x|: singular values go to about one."""
    c1, c3, c5, eps = coefficients
    tall = x.type.shape[0] > x.type.shape[1]
    x = b.permute(x, (1, 0)) if tall else x
    norm = b.call("clamp_min_scalar", b.call("norm", x, p=2.0, axes=(0, 1), keep=False), eps)
    x = b.div(x, b.expand(norm, x.type.shape))
    for _ in range(iterations):
        gram = b.dot(x, x, (1,), (1,))
        square = b.dot(gram, gram, (1,), (0,), dtype=float32)
        polynomial = b.cast(b.add(b.mul(b.cast(gram, float32), b.expand(c3, gram.type.shape)),
                                  b.mul(square, b.expand(c5, gram.type.shape))), bfloat16)
        product = b.dot(polynomial, x, (1,), (0,), dtype=float32)
        x = b.cast(b.add(b.mul(b.cast(x, float32), b.expand(c1, x.type.shape)), product), bfloat16)
    return b.permute(x, (1, 0)) if tall else x
