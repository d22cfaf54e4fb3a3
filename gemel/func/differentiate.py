"""Gradients and directional derivatives of functions: ``vjp``, ``grad``, ``jvp``, ``linearize``.

A transform puts fresh places of the tape (``Start``) on top of its inputs, runs the function, and differentiates
between those places and the results. What is below them (an outer transform, a ``requires_grad`` tensor that the
function closes over) sees the derivative as operations like any other, so transforms nest freely.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..tensor.differentiate import starts_of
from ..tensor.forward import Recording, push, reaches_before
from ..tensor.grad_mode import enable_grad
from ..tensor.recording import TAPE, Taped, TapedSpace, wrap
from ..tensor.tape import Edge, Start, ValueSpace, _sequence, mode, run_backward
from .tree import Structure, flatten, is_tensor

__all__ = ["vjp", "grad", "grad_and_value", "jvp", "linearize"]


class Scope:
    """Inputs of a transform on fresh places of the tape, and what of the results is seen from outside."""

    def __init__(self) -> None:
        self.begin = _sequence()
        self.keep = mode.grad

    def start(self, t: Any) -> Any:
        """The tensor at a fresh place."""
        value = t._read()
        if not value.type.dtype.is_inexact:
            raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients. Received: "
                               f"{value.type.dtype!r}")
        return wrap(value, Start(t._edge if self.keep else None, value.type))

    def on_tape(self, outputs: Sequence[Any]) -> bool:
        """Do the outputs depend on anything below this transform that is on the tape?"""
        return self.keep and reaches_before(self.begin, [t._edge for t in outputs])


def outside(t: Any, taped: bool) -> Any:
    """A result as it is seen from outside."""
    return t if not is_tensor(t) or t._edge is None or taped else wrap(t._read())


def _tensors(leaves: Sequence[Any], transform: str, what: str = "output of the function") -> list[Any]:
    for x in leaves:
        if not is_tensor(x):
            raise RuntimeError(f"{transform}: Expected all elements of the {what} to be Tensors, got {type(x)}")
    return list(leaves)


def _split(result: Any, has_aux: bool, transform: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"{transform}: output of function f should be a tuple: (output, aux) if has_aux is True. "
                           f"Received: {type(result)}")
    return result


def _aux(aux: Any, taped: bool) -> Any:
    leaves, structure = flatten(aux)
    return structure.build([outside(x, taped) for x in leaves])


# --- reverse mode -----------------------------------------------------------------------------------

def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``func(*primals)`` and the function that takes cotangents of it to cotangents of the primals.

    Args:
        primals: tensors, or nested tuples, lists and dicts of them. has_aux: ``func`` returns (output, other results).
    Returns:
        (output, vjp function), with ``has_aux`` (output, vjp function, aux). The function can be called repeatedly; it
        gives one cotangent per primal (not in a tuple for one primal).

        >>> y, pull = gemel.func.vjp(lambda x: x ** 2, gemel.tensor([1.0, 2.0]))
        >>> pull(gemel.ones(2))
        (tensor([2., 4.]),)

    torch: ``func.vjp``
    """
    scope = Scope()
    leaves, structure = flatten(primals)
    with enable_grad():
        inputs = [scope.start(t) for t in _tensors(leaves, "vjp", "primals")]
        result, aux = _split(func(*structure.build(inputs)), has_aux, "vjp")
    outputs, out_structure = flatten(result)
    _tensors(outputs, "vjp(f, *primals)")
    taped = scope.on_tape(outputs)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, given_structure = flatten(cotangents)
        if given_structure != out_structure:
            raise RuntimeError(f"Expected pytree structure of cotangents to be the same as pytree structure of outputs "
                               f"to the function. cotangents: {given_structure}, primal output: {out_structure}")
        keep = taped or any(is_tensor(g) and g._edge is not None for g in given)
        found = pull_back(outputs, given, inputs, mode.grad and keep if create_graph is None else create_graph,
                          retain_graph)
        return structure.build(found)

    primal_out = out_structure.build([outside(t, taped) for t in outputs])
    return (primal_out, vjp_fn, _aux(aux, taped)) if has_aux else (primal_out, vjp_fn)


def pull_back(outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any], taped: bool,
              keep: bool) -> list[Any]:
    """The cotangents of ``inputs`` (zeros where the outputs do not depend on one)."""
    pairs = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o._edge is not None]
    space: Any = TapedSpace if taped else ValueSpace
    found: dict[Edge, Any] = {}
    if pairs:
        starts = starts_of([o for o, _ in pairs], [g for _, g in pairs], space)
        found = run_backward(starts, space, keep or taped, [t._edge for t in inputs], accumulate=False, stop=True)
    results = [found.get(t._edge) for t in inputs]
    return [TapedSpace.tensor(TAPE.zeros(t._value.type)) if g is None else space.tensor(g)
            for g, t in zip(results, inputs, strict=True)]


def _chosen(argnums: int | tuple[int, ...], args: tuple) -> tuple[int, ...]:
    several = isinstance(argnums, tuple)
    if not several and not isinstance(argnums, int):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    found = argnums if isinstance(argnums, tuple) else (argnums,)
    if not found:
        raise RuntimeError("argnums must be non-empty")
    for n in found:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    places = tuple(n % len(args) for n in found)
    if len(set(places)) != len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return places


def grad_and_value(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar ``func``, and its value: (gradient, value).

    Args: as of :func:`grad`. With ``has_aux``: (gradient, (value, aux)). torch: ``func.grad_and_value``
    """
    @functools.wraps(func)
    def with_value(*args: Any, **kwargs: Any) -> Any:
        scope = Scope()
        places = _chosen(argnums, args)
        inside = list(args)
        inputs: list[Any] = []
        structures: list[Structure] = []
        with enable_grad():
            for n in places:
                leaves, structure = flatten(args[n])
                started = [scope.start(t) for t in _tensors(leaves, "grad_and_value", "differentiated arguments")]
                inside[n] = structure.build(started)
                inputs += started
                structures.append(structure)
            result, aux = _split(func(*inside, **kwargs), has_aux, "grad_and_value")
        if not is_tensor(result):
            raise RuntimeError(f"Expected f(*args) to return a Tensor, got {type(result)}")
        if result.ndim != 0:
            raise RuntimeError(f"Expected f(*args) to return a scalar tensor. Got tensor with {result.ndim} dims. "
                               f"Maybe you wanted to use the vjp or jacrev APIs instead?")
        taped = scope.on_tape([result])
        found = pull_back([result], [None], inputs, taped, False)
        grads = []
        for structure in structures:
            grads.append(structure.build(found[:structure.size]))
            found = found[structure.size:]
        value = outside(result, taped)
        if has_aux:
            value = (value, _aux(aux, taped))
        return (tuple(grads) if isinstance(argnums, tuple) else grads[0]), value
    return with_value


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar ``func`` with respect to its argument(s) ``argnums``.

    Args:
        func: returns a tensor of one element without axes; with ``has_aux`` (output, other results).
        argnums: positions; a tuple gives a tuple of gradients. Each argument may be a nested structure of tensors.

        >>> gemel.func.grad(gemel.func.grad(lambda x: x ** 3))(gemel.tensor(2.0))
        tensor(12.)

    torch: ``func.grad``
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found
    return gradient


# --- forward mode -----------------------------------------------------------------------------------

def _tangents(leaves: Sequence[Any], tangents: Any, structure: Structure, transform: str) -> list[Any]:
    given, given_structure = flatten(tangents)
    if given_structure != structure:
        raise RuntimeError(f"{transform}: Expected primals and tangents to have the same python structure. For "
                           f"example, if primals is a tuple of 3 tensors, tangents also must be. Got primals with "
                           f"structure {structure} and tangents with structure {given_structure}")
    for p, t in zip(leaves, _tensors(given, transform, "tangents"), strict=True):
        if p.shape != t.shape or p.dtype is not t.dtype:
            raise RuntimeError(f"{transform}: a tangent must have the shape and dtype of its primal. Received: "
                               f"{list(t.shape)} {t.dtype!r} for {list(p.shape)} {p.dtype!r}")
    return given


def push_forward(outputs: Sequence[Any], inputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """Tangents of the outputs, as tensors; zeros where they do not depend on the inputs."""
    given = {x._edge: Taped(t._read(), t._edge) for x, t in zip(inputs, tangents, strict=True)}
    found = push([t._edge for t in outputs], given)
    return [TapedSpace.tensor(TAPE.zeros(t._read().type) if d is None else d)
            for d, t in zip(found, outputs, strict=True)]


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """``func(*primals)`` and its derivative along ``tangents``.

    Args:
        primals, tangents: tuples, of one structure, shapes and dtypes. has_aux: ``func`` returns (output, others).
    Returns:
        (output, tangent of the output), with ``has_aux`` and aux.

        >>> gemel.func.jvp(gemel.sin, (gemel.tensor(0.0),), (gemel.tensor(1.0),))
        (tensor(0.), tensor(1.))

    torch: ``func.jvp``
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(f"jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to "
                           f"call f(*primals). Received: {type(primals)}")
    scope = Scope()
    leaves, structure = flatten(primals)
    _tensors(leaves, "jvp(f, primals, tangents)", "primals")
    given = _tangents(leaves, tangents, structure, "jvp(f, primals, tangents)")
    with Recording():
        inputs = [scope.start(t) for t in leaves]
        result, aux = _split(func(*structure.build(inputs)), has_aux, "jvp")
        outputs, out_structure = flatten(result)
        _tensors(outputs, "jvp(f, primals, tangents)")
        taped = scope.on_tape(outputs) or scope.keep and any(t._edge is not None for t in given)
        if strict:
            _check_dependence(push([t._edge for t in outputs], {x._edge: Taped(x._value, None) for x in inputs}))
        mode.grad = taped
        found = push_forward(outputs, inputs, given)
    primal_out = out_structure.build([outside(t, taped) for t in outputs])
    tangent_out = out_structure.build([outside(t, taped) for t in found])
    return (primal_out, tangent_out, _aux(aux, taped)) if has_aux else (primal_out, tangent_out)


def _check_dependence(found: Sequence[Any]) -> None:
    if any(t is None for t in found):
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
                           "This is not allowed with strict=True.")


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """``func(*primals)`` and the function that takes tangents of the primals to the tangent of the output.

    The function runs only the derivative, as often as it is called. torch: ``func.linearize``
    """
    scope = Scope()
    leaves, structure = flatten(primals)
    _tensors(leaves, "linearize", "primals")
    with Recording():
        inputs = [scope.start(t) for t in leaves]
        outputs, out_structure = flatten(func(*structure.build(inputs)))
    _tensors(outputs, "linearize")
    taped = scope.on_tape(outputs)

    def jvp_fn(*tangents: Any) -> Any:
        given = _tangents(leaves, tangents, structure, "linearize")
        before = mode.grad
        mode.grad = before and (taped or any(t._edge is not None for t in given))
        try:
            found = push_forward(outputs, inputs, given)
            keep = mode.grad
        finally:
            mode.grad = before
        return out_structure.build([outside(t, keep) for t in found])

    return out_structure.build([outside(t, taped) for t in outputs]), jvp_fn
