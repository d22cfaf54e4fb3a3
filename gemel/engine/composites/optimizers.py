"""Optimizer steps over all parameters at once: one node each, hyper-parameters as runtime scalars.

Operands: parameters, gradients, then the state tensors, each group in the order of the parameters; then the
scalars. Results: new parameters, then new state. The formulas are torch's.
"""
from __future__ import annotations

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
        g = b.neg(g) if maximize else g
        if decay:
            if decoupled:
                p = _times(b, p, keep)
            else:
                g = b.add(g, _times(b, p, weight_decay))
        m = b.add(m, _times(b, b.sub(g, m), rest1))
        v = b.add(_times(b, v, beta2), _times(b, b.mul(g, g), rest2))
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
