"""L-BFGS: a loop over tensor operations, as in torch; every evaluation of the closure is observed."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tensor.creation import zeros
from ..tensor.grad_mode import enable_grad, no_grad
from ..tensor.joining import cat
from .optimizer import Optimizer, check_rate, number_of

__all__ = ["LBFGS"]


def _cubic_interpolate(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float,
                       bounds: tuple[float, float] | None = None) -> float:
    """The minimum, within the bounds, of the cubic with these values and slopes at two points."""
    low, high = bounds or (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    if x1 <= x2:
        at = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        at = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(at, low), high)


#: a point of a line search: step, loss, gradient, slope along the direction
_Point = tuple[float, float, Any, float]


def _bracket(evaluate: Callable[[float], _Point], start: _Point, t: float, c1: float, c2: float,
             limit: int) -> tuple[list[_Point], bool, int, int]:
    """An interval that holds a point with the Wolfe conditions: its ends, whether one is that point, and the numbers
    of evaluations and of rounds."""
    _, f, _, slope = start
    before, new = start, evaluate(t)
    evaluations, rounds = 1, 0
    while rounds < limit:
        if new[1] > f + c1 * new[0] * slope or (rounds > 1 and new[1] >= before[1]):
            return [before, new], False, evaluations, rounds
        if abs(new[3]) <= -c2 * slope:
            return [new], True, evaluations, rounds
        if new[3] >= 0:
            return [before, new], False, evaluations, rounds
        least, most = new[0] + 0.01 * (new[0] - before[0]), new[0] * 10
        t = _cubic_interpolate(before[0], before[1], before[3], new[0], new[1], new[3], bounds=(least, most))
        before, new = new, evaluate(t)
        evaluations += 1
        rounds += 1
    return [start, new], False, evaluations, rounds


def _strong_wolfe(evaluate: Callable[[float], _Point], start: _Point, t: float, longest: float, c1: float = 1e-4,
                  c2: float = 0.9, tolerance_change: float = 1e-9, max_ls: int = 25) -> tuple[_Point, int]:
    """A point along the direction that fulfils the strong Wolfe conditions, and the number of evaluations.

    Nocedal and Wright, algorithms 3.5 and 3.6, as minFunc's and torch's: an interval, then smaller ones.
    ``longest`` is the largest element of the direction.
    """
    _, f, _, slope = start
    ends, done, evaluations, rounds = _bracket(evaluate, start, t, c1, c2, max_ls)
    stuck = False
    low, high = (0, 1) if ends[0][1] <= ends[-1][1] else (1, 0)
    while not done and rounds < max_ls:
        left, right = sorted(e[0] for e in ends)
        if (right - left) * longest < tolerance_change:
            break
        t = _cubic_interpolate(ends[0][0], ends[0][1], ends[0][3], ends[1][0], ends[1][1], ends[1][3])
        margin = 0.1 * (right - left)
        close = min(right - t, t - left) < margin  # to an end: go to a tenth of the way if it happens twice
        if close and (stuck or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            stuck = False
        else:
            stuck = close
        new = evaluate(t)
        evaluations += 1
        rounds += 1
        if new[1] > f + c1 * t * slope or new[1] >= ends[low][1]:
            ends[high] = new
            low, high = (0, 1) if ends[0][1] <= ends[1][1] else (1, 0)
            continue
        if abs(new[3]) <= -c2 * slope:
            done = True
        elif new[3] * (ends[high][0] - ends[low][0]) >= 0:
            ends[high] = ends[low]
        ends[low] = new
    return ends[low], evaluations


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, 1989): directions from the last changes of the gradient, ``p += t * d`` with ``d = -H
    g``, several steps a call. The closure is called at every evaluation.

    Args:
        params: parameters of one group. lr: first length of a step. max_iter: iterations of a call. max_eval:
        evaluations of a call (None: ``max_iter * 5 // 4``). tolerance_grad: stop when no element of the gradient is
        larger. tolerance_change: stop when loss or parameters change less. history_size: changes that are kept.
        line_search_fn: ``"strong_wolfe"``, or None for steps of length ``lr``.
    Raises: ValueError for several groups or a negative learning rate; RuntimeError for another line search.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.tensor([3.0, -2.0]))
    >>> opt = optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = ((p - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure).item()
    13.0
    >>> closure().item() < 1e-12
    True

    torch: ``torch.optim.LBFGS``
    """

    def __init__(self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        check_rate(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change, "history_size": history_size, "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def step(self, closure: Callable[[], Any]) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Minimise for at most ``max_iter`` iterations.

        Args:
            closure: computes the loss and its gradients. Returns: the loss before.
        """
        return super().step(closure)

    # --- all parameters as one vector
    def _flat_grad(self) -> Any:
        grads = [zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.reshape(-1)
                 for p in self.param_groups[0]["params"]]
        return cat(grads, 0)

    def _move(self, t: float, d: Any) -> None:
        start = 0
        for p in self.param_groups[0]["params"]:
            n = p.numel()
            p.add_(d[start:start + n].view_as(p), alpha=t)
            start += n

    def _search(self, closure: Callable[[], Any], start: _Point, t: float, d: Any, limit: int) -> tuple[_Point, int]:
        held = [p.clone() for p in self.param_groups[0]["params"]]

        def evaluate(t: float) -> _Point:
            self._move(t, d)
            with enable_grad():
                loss = float(closure())
            grad = self._flat_grad()
            for p, old in zip(self.param_groups[0]["params"], held, strict=True):
                p.copy_(old)
            return t, loss, grad, number_of(grad.dot(d))

        return _strong_wolfe(evaluate, start, t, number_of(d.abs().max()), max_ls=limit)

    def _direction(self, state: dict[str, Any], grad: Any, history: int) -> Any:
        """``-H g`` from the kept changes of gradient and parameters (the two-loop recursion)."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return grad.neg()
        y, s = grad.sub(state["prev_flat_grad"]), state["d"].mul(state["t"])
        ys = y.dot(s)
        dirs, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        if number_of(ys) > 1e-10:
            if len(dirs) == history:
                for kept in (dirs, steps, ro):
                    kept.pop(0)
            dirs.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / y.dot(y)
        al = state.setdefault("al", [None] * history)
        q = grad.neg()
        for i in range(len(dirs) - 1, -1, -1):
            al[i] = steps[i].dot(q) * ro[i]
            q = q - dirs[i] * al[i]
        r = q * state["H_diag"]
        for i in range(len(dirs)):
            r = r + steps[i] * (al[i] - dirs[i].dot(r) * ro[i])
        return r

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        self._opt_called = True
        with no_grad():
            return self._minimize(closure)

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        params = group["params"]
        lr, history, search = number_of(group["lr"]), group["history_size"], group["line_search_fn"]
        if any(p.is_complex() for p in params):
            raise ValueError("LBFGS of complex parameters is not implemented: optimize their real and imaginary parts")
        state = self.state[params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        loss, grad = float(first), self._flat_grad()
        evaluations = 1
        state["func_evals"] += 1
        if number_of(grad.abs().max()) <= group["tolerance_grad"]:
            return first
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self._direction(state, grad, history)
            state.update(d=d, prev_flat_grad=grad, prev_loss=loss)
            t = min(1.0, 1.0 / number_of(grad.abs().sum())) * lr if state["n_iter"] == 1 else lr
            state["t"] = t
            slope = number_of(grad.dot(d))
            if slope > -group["tolerance_change"]:
                break
            more, before = 0, loss
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                limit = group["max_eval"] - evaluations
                (t, loss, grad, _), more = self._search(closure, (0.0, loss, grad, slope), t, d, limit)
                state["t"] = t
                self._move(t, d)
            else:
                self._move(t, d)
                if n != group["max_iter"]:  # not after the last one: nobody would use it
                    with enable_grad():
                        loss = float(closure())
                    grad = self._flat_grad()
                    more = 1
            evaluations += more
            state["func_evals"] += more
            if (n == group["max_iter"] or evaluations >= group["max_eval"]
                    or number_of(grad.abs().max()) <= group["tolerance_grad"]
                    or number_of(d.mul(t).abs().max()) <= group["tolerance_change"]
                    or abs(loss - before) < group["tolerance_change"]):
                break
        return first
