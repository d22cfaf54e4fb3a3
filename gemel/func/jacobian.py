"""Whole matrices of derivatives: ``jacrev``, ``jacfwd``, ``hessian``."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..engine.base.dtypes import int64
from ..tensor.recording import TAPE, TapedSpace
from .differentiate import _aux, _chosen, _split, jvp, vjp
from .tree import Structure, flatten, is_tensor
from .vmap import vmap

__all__ = ["jacrev", "jacfwd", "hessian"]


def _basis(leaves: list[Any]) -> list[Any]:
    """For tensors with n elements together: n examples, each one of all zeros but a single one."""
    sizes = [t._read().type.size for t in leaves]
    total, first, found = sum(sizes), 0, []
    for t, size in zip(leaves, sizes, strict=True):
        rows = TAPE.iota(int64, (total, size), 0)
        columns = TAPE.add(TAPE.iota(int64, (total, size), 1), TAPE.full(first, int64, (total, size)))
        ones = TAPE.cast(TAPE.eq(rows, columns), t.dtype)
        found.append(TapedSpace.tensor(TAPE.reshape(ones, (total, *t.shape))))
        first += size
    return found


def _pick(args: tuple, argnums: int | tuple[int, ...]) -> tuple[list[Any], Structure, Callable[[list[Any]], tuple]]:
    """Leaves of the differentiated arguments, their structure, and the arguments with others in their place."""
    places = _chosen(argnums, args)
    chosen: Any = tuple(args[n] for n in places) if isinstance(argnums, tuple) else args[places[0]]
    leaves, structure = flatten(chosen)
    for x in leaves:
        if not is_tensor(x):
            raise RuntimeError(f"Expected the differentiated arguments to hold Tensors only, got {type(x)}")

    def rebuild(new: list[Any]) -> tuple:
        parts = structure.build(new)
        found = list(args)
        for n, part in zip(places, parts if isinstance(argnums, tuple) else (parts,), strict=True):
            found[n] = part
        return tuple(found)
    return leaves, structure, rebuild


def _parts(whole: Any, like: list[Any], axis: int) -> list[Any]:
    """``whole``, whose ``axis`` counts the elements of all of ``like``, as one tensor for each, in their shapes."""
    found, first = [], 0
    for t in like:
        size = t._read().type.size
        part = whole.narrow(axis, first, size)
        shape = part.shape
        found.append(part.reshape(*shape[:axis], *t.shape, *shape[axis + 1:]))
        first += size
    return found


def jacrev(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False,
           chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``func``, by reverse mode: ``output.shape + input.shape``.

    Args:
        argnums: what to differentiate with respect to; a tuple gives a tuple of Jacobians.
        has_aux: ``func`` returns (output, others). chunk_size: rows at a time, to save memory; None: all at once.

        >>> gemel.func.jacrev(gemel.sin)(gemel.zeros(2))
        tensor([[1., 0.],
                [0., 1.]])

    torch: ``func.jacrev``
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        leaves, structure, rebuild = _pick(args, argnums)
        kept: list[Any] = []

        def run(*inputs: Any) -> Any:
            result, aux = _split(func(*rebuild(list(inputs)), **kwargs), has_aux, "jacrev")
            kept[:] = [flatten(result)[1]]
            return (flatten(result)[0], aux) if has_aux else flatten(result)[0]

        outputs, pull, *aux = vjp(run, *leaves, has_aux=has_aux)
        found = vmap(lambda *g: pull(list(g)), chunk_size=chunk_size)(*_basis(outputs))
        rows = [_parts(g, outputs, 0) for g in found]  # per input, per output
        made = [structure.build([row[i] for row in rows]) for i in range(len(outputs))]
        result = kept[0].build(made)
        return (result, *aux) if has_aux else result
    return jacobian


def jacfwd(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
           randomness: str = "error", chunk_size: int | None = None) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``func``, by forward mode: cheaper than :func:`jacrev` where there are
    fewer inputs than outputs.

    torch: ``func.jacfwd``
    """
    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        leaves, structure, rebuild = _pick(args, argnums)
        kept: list[Any] = []

        def run(*inputs: Any) -> Any:
            result, aux = _split(func(*rebuild(list(inputs)), **kwargs), has_aux, "jacfwd")
            kept[:] = [flatten(result)[1]]
            return (flatten(result)[0], aux) if has_aux else flatten(result)[0]

        def along(*tangents: Any) -> Any:
            _, found, *aux = jvp(run, tuple(leaves), tangents, has_aux=has_aux)
            return (found, aux[0]) if has_aux else found

        found = vmap(along, randomness=randomness, chunk_size=chunk_size)(*_basis(leaves))
        columns, aux = found if has_aux else (found, None)
        made = []
        for c in columns:  # (inputs, *output shape) -> (*output shape, inputs)
            last = c.permute(*range(1, c.ndim), 0)
            made.append(structure.build(_parts(last, leaves, last.ndim - 1)))
        result = kept[0].build(made)
        if not has_aux:
            return result
        parts, aux_structure = flatten(aux)
        return result, _aux(aux_structure.build([x[0] if is_tensor(x) else x for x in parts]), True)
    return jacobian


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the Hessian of ``func``: forward mode over reverse mode.

        >>> gemel.func.hessian(lambda x: (x ** 3).sum())(gemel.ones(2))
        tensor([[6., 0.],
                [0., 6.]])

    torch: ``func.hessian``
    """
    return jacfwd(jacrev(func, argnums), argnums)
