"""Derivatives compared with finite differences: ``gradcheck`` and ``gradgradcheck``, with torch's interface."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.runtime import executor
from ..tensor.core import from_array
from ..tensor.differentiate import grad, is_tensor
from ..tensor.grad_mode import enable_grad
from ..tensor.recording import TAPE, wrap
from . import functional
from .functional import _taped, unit

__all__ = ["gradcheck", "gradgradcheck", "GradcheckError"]


class GradcheckError(RuntimeError):
    """A derivative disagrees with finite differences. torch: ``autograd.gradcheck.GradcheckError``"""


def _array(t: Any) -> np.ndarray:
    return np.array(executor.observe(t._read(), "gradcheck"))


def _leaf(t: Any) -> Any:
    return t.detach().requires_grad_()


def _outputs(fn: Callable[..., Any], inputs: Sequence[Any]) -> list[Any]:
    out = fn(*inputs)
    found = list(out) if isinstance(out, (tuple, list)) else [out]
    return [o for o in found if is_tensor(o) and o._read().type.dtype.is_inexact]


def _inexact(x: Any) -> bool:
    return is_tensor(x) and x._read().type.dtype.is_inexact


def _numerical(fn: Callable[..., Any], inputs: list[Any], position: int, eps: float) -> list[np.ndarray]:
    """Per output, the Jacobian (inputs, outputs); for complex inputs d/dRe and -i d/dIm are combined as torch does."""
    base = _array(inputs[position])
    flat = base.reshape(-1)

    def evaluate(k: int, step: complex) -> list[np.ndarray]:
        moved = flat.copy()
        moved[k] += step
        xs = list(inputs)
        xs[position] = _leaf(wrap(from_array(moved.reshape(base.shape))))
        return [_array(o).reshape(-1) for o in _outputs(fn, xs)]

    def slope(k: int, step: complex) -> list[np.ndarray]:
        return [(hi - lo) / (2 * eps) for hi, lo in zip(evaluate(k, step), evaluate(k, -step), strict=True)]

    columns = [slope(k, eps) for k in range(flat.size)]
    if not np.iscomplexobj(base):
        return [np.stack(c) for c in zip(*columns, strict=True)]
    imaginary = [slope(k, 1j * eps) for k in range(flat.size)]
    # torch's gradient of a real output is dRe + i dIm
    return [np.stack(re) + 1j * np.stack(im)
            for re, im in zip(zip(*columns, strict=True), zip(*imaginary, strict=True), strict=True)]


def _analytical(outputs: list[Any], inputs: list[Any], position: int, number: int) -> np.ndarray:
    """The Jacobian (inputs, outputs) by backward passes, one per element of output ``number``."""
    x, out = inputs[position], outputs[number]
    size = out._read().type.size
    columns = []
    for j in range(size):
        g = None
        if out.requires_grad:
            g, = grad(out, x, unit(out, j), True, allow_unused=True)
        columns.append(np.zeros(x._read().type.size, x._read().type.dtype.numpy) if g is None
                       else _array(g).reshape(-1))
    return np.stack(columns, 1) if columns else np.zeros((x._read().type.size, 0))


def _real_view(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` with each complex output as two real ones."""
    def split(*xs: Any) -> list[Any]:
        found = []
        for o in _outputs(fn, xs):
            if o._read().type.dtype.is_complex:
                found += [_place(TAPE.real(_taped(o))), _place(TAPE.imag(_taped(o)))]
            else:
                found.append(o)
        return found
    return split


def _place(t: Any) -> Any:
    return wrap(t.value, t.edge)


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
              check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Compare the derivatives of ``func`` with finite differences; True if they agree.

    Args:
        func: takes tensors, returns a tensor or a tuple. inputs: float64 (or complex128) tensors; those that require
            gradients are checked.
        eps: step of the differences. atol, rtol: tolerances. raise_exception: raise instead of returning False.
        nondet_tol: how far two backward passes may differ. check_forward_ad: also check ``func.jvp``.
        check_batched_grad: also check batched cotangents. check_undefined_grad: also pass None for some cotangents.
        fast_mode: compare along one random direction instead of element by element.

    Raises ``GradcheckError``, ``ValueError`` when no input requires a gradient.

        >>> x = gemel.tensor([0.3, 1.5], dtype=gemel.float64, requires_grad=True)
        >>> gemel.autograd.gradcheck(lambda x: x * x, x)
        True

    torch: ``autograd.gradcheck``
    """
    xs = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    try:
        with enable_grad():
            _check(func, xs, eps, atol, rtol, nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad,
                   check_forward_ad or check_batched_forward_grad, check_backward_ad, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(func, xs, eps, atol, rtol, nondet_tol, undefined, dtypes, batched, forward, backward, fast) -> None:
    checked = [i for i, x in enumerate(xs) if is_tensor(x) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have "
                         "requires_grad=True.")
    for i in checked:
        if xs[i]._read().type.dtype not in (dt.float64, dt.complex128):
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This "
                          f"check will likely fail if all the inputs are not of double precision floating point or "
                          f"complex. ", UserWarning, stacklevel=3)
        xs[i].retain_grad()
    fn = _real_view(func)
    outputs = fn(*xs)
    if not any(o.requires_grad for o in outputs):
        _check_flat(fn, xs, checked, outputs, eps)
        return
    for i in checked:
        numerical = _numerical(fn, [x.detach() if is_tensor(x) else x for x in xs], i, eps)
        for o in range(len(outputs)):
            if backward:
                analytical = _analytical(outputs, xs, i, o)
                again = _analytical(outputs, xs, i, o)
                if not np.allclose(analytical, again, rtol=0, atol=nondet_tol, equal_nan=True):
                    raise GradcheckError(f"Backward is not reentrant, i.e., running backward with same input and "
                                         f"grad_output multiple times gives different values, although analytical "
                                         f"gradient matches numerical gradient.The tolerance for nondeterminism was "
                                         f"{nondet_tol}.")
                _compare(analytical, numerical[o], o, i, atol, rtol, fast, "")
            if forward:
                _compare(_forward(func, fn, xs, i, o), numerical[o], o, i, atol, rtol, fast,
                         "while considering forward mode AD, ")
    if dtypes:
        _check_dtypes(outputs, [xs[i] for i in checked])
    if undefined:
        _check_undefined(outputs, [xs[i] for i in checked])
    if batched:
        _check_batched(outputs, [xs[i] for i in checked])


def _compare(a: np.ndarray, n: np.ndarray, o: int, i: int, atol: float, rtol: float, fast: bool, mode: str) -> None:
    if fast:
        rng = np.random.default_rng(0)
        u, v = rng.random(a.shape[0]), rng.random(a.shape[1])
        left, right = u @ a @ v, u @ n @ v
        if not np.allclose(left, right, rtol=rtol, atol=atol * max(1.0, u.sum() * v.sum()), equal_nan=True):
            raise GradcheckError(f"{mode}Jacobian mismatch for output {o} with respect to input {i},\n"
                                 f"numerical:{right}\nanalytical:{left}\nThe above quantities relating the numerical "
                                 f"and analytical jacobians are computed in fast mode.")
        return
    if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
        raise GradcheckError(f"{mode}Jacobian mismatch for output {o} with respect to input {i},\n"
                             f"numerical:{n}\nanalytical:{a}\n")


def _check_flat(fn, xs, checked, outputs, eps) -> None:
    """Outputs off the tape must not depend on the inputs."""
    for i in checked:
        for n in _numerical(fn, [x.detach() if is_tensor(x) else x for x in xs], i, eps):
            if np.any(n != 0):
                raise GradcheckError("Numerical gradient for function expected to be zero")
    del outputs


def _forward(func, fn, xs, i: int, o: int) -> np.ndarray:
    """The Jacobian (inputs, outputs) by forward mode, one tangent per element of input ``i``."""
    rows = []
    x = xs[i]
    plain = [t.detach() if is_tensor(t) else t for t in xs]
    for k in range(x._read().type.size):
        def of_input(y: Any) -> tuple:
            args = list(plain)
            args[i] = y
            return tuple(fn(*args))
        _, tangents = functional.jvp(of_input, (plain[i],), (unit(plain[i], k),))
        rows.append(_array(tangents[o]).reshape(-1))
    found = np.stack(rows)
    if x._read().type.dtype.is_complex:
        raise GradcheckError("forward mode of complex inputs is compared by gradcheck through real views only")
    return found


def _check_dtypes(outputs, inputs) -> None:
    found = grad(outputs, inputs, [_random_like(o, 1) for o in outputs], True, allow_unused=True)
    for g, x in zip(found, inputs, strict=True):
        if g is not None and (g._read().type is not x._read().type):
            raise GradcheckError(f"grad is incorrect type: {g._read().type}, expected {x._read().type}")


def _check_undefined(outputs, inputs) -> None:
    """A cotangent that is missing is a zero."""
    live = [o for o in outputs if o.requires_grad]
    for skip in range(len(live)):
        zeros = [_random_like(o, 2) for o in live]
        kept = [(o, c) for j, (o, c) in enumerate(zip(live, zeros, strict=True)) if j != skip]
        if not kept:
            continue
        filled = [c if j != skip else _place(TAPE.zeros(c._read().type)) for j, c in enumerate(zeros)]
        a = grad([o for o, _ in kept], inputs, [c for _, c in kept], True, allow_unused=True)
        b = grad(live, inputs, filled, True, allow_unused=True)
        for x, y in zip(a, b, strict=True):
            left = 0.0 if x is None else _array(x)
            right = 0.0 if y is None else _array(y)
            if not np.allclose(left, right, equal_nan=True):
                raise GradcheckError("Expected backward function to handle undefined output grads. Please look at "
                                     "'Notes about undefined output gradients' in 'tools/autograd/derivatives.yaml'")


def _check_batched(outputs, inputs) -> None:
    for o in outputs:
        if not o.requires_grad:
            continue
        cts = [_random_like(o, 3), _random_like(o, 4)]
        each = [grad(o, inputs, c, True, allow_unused=True) for c in cts]
        both = wrap(from_array(np.stack([_array(c) for c in cts])))
        together = grad(o, inputs, both, True, allow_unused=True, is_grads_batched=True)
        for k, g in enumerate(together):
            if g is None:
                continue
            if not np.allclose(_array(g), np.stack([_array(e[k]) for e in each]), equal_nan=True):
                raise GradcheckError(f"gradcheck failed while testing batched gradient computation: input {k}")


def _random_like(t: Any, seed: int) -> Any:
    type = t._read().type
    rng = np.random.default_rng(seed)
    values = rng.random(type.shape)
    if type.dtype.is_complex:
        values = values + 1j * rng.random(type.shape)
    return wrap(from_array(np.asarray(values).astype(type.dtype.numpy)))


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
                  atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
                  raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
                  check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_fwd_over_rev: bool = False,
                  check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False) -> bool:
    """Compare second derivatives with finite differences of first ones. torch: ``autograd.gradgradcheck``"""
    xs = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    outputs = _outputs(func, xs)
    if grad_outputs is None:
        cts = [_leaf(_random_like(o, 5 + i)) for i, o in enumerate(outputs)]
    else:
        cts = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    n = len(cts)

    def first(*args: Any) -> tuple:
        args, given = args[:-n], args[-n:]
        ins = [_place(TAPE.copy(_taped(x))) if _inexact(x) and x.requires_grad else
               _leaf(x) if _inexact(x) and xs[i].requires_grad else x for i, x in enumerate(args)]
        targets = [t for t, x in zip(ins, xs, strict=True) if is_tensor(x) and x.requires_grad]
        outs = _outputs(func, ins)
        pairs = [(o, c) for o, c in zip(outs, given, strict=True) if o.requires_grad]
        found = grad([o for o, _ in pairs], targets, [c for _, c in pairs], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first, [*xs, *cts], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad,
                     check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad, fast_mode=fast_mode,
                     check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, masked=masked)
