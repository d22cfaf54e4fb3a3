"""``vmap``: a function of one example becomes a function of a batch, without a loop."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..tensor.batching import Scope, enter, leave
from ..tensor.joining import cat
from .tree import Structure, flatten, is_tensor, spread

__all__ = ["vmap"]


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable[..., Any]:
    """A function that applies ``func`` to every example along an axis of its arguments, all at once.

    Args:
        func: a function of tensors (in nested tuples, lists, dicts) that returns such.
        in_dims: the batch axis of each argument; None: the argument is the same for all examples. An int holds for
            all arguments.
        out_dims: where the results have their batch axis.
        randomness: ``"error"``: drawing random numbers is an error; ``"same"``: one draw for all examples;
            ``"different"``: one for each.
        chunk_size: examples at a time, to save memory; None: all.
    Raises:
        ValueError: axes that do not fit the arguments, or differ in size. RuntimeError: the function looks at a value
        (``item()``), or draws random numbers under ``"error"``.

        >>> dot = gemel.func.vmap(lambda x, y: (x * y).sum())
        >>> dot(gemel.ones(3, 2), gemel.ones(3, 2))
        tensor([2., 2., 2.])

    torch: ``func.vmap``
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        dims = _checked_dims(in_dims, leaves, structure, args, name)
        named, named_structure = flatten(kwargs)
        leaves, dims = leaves + named, dims + [0 if is_tensor(x) else None for x in named]
        size = _size(leaves, dims)

        def run(part: list[Any], n: int) -> tuple[list[Any], Any, list[int]]:
            return _run(func, part, dims, n, structure, named_structure, out_dims, randomness, name)

        if chunk_size is None or chunk_size >= size:
            found, made, _ = run(leaves, size)
            return made.build(found)
        chunks = []
        for first in range(0, size, chunk_size):
            n = min(chunk_size, size - first)
            chunks.append(run([x if d is None else x.narrow(d, first, n)
                               for x, d in zip(leaves, dims, strict=True)], n))
        _, made, places = chunks[0]
        return made.build([cat([c[0][i] for c in chunks], at) for i, at in enumerate(places)])
    return batched


def _run(func: Callable[..., Any], leaves: list[Any], dims: list[Any], size: int, structure: Structure,
         named: Structure, out_dims: Any, randomness: str, name: str) -> tuple[list[Any], Structure, list[int]]:
    """The results of one chunk, their structure, and the place of their batch axes."""
    scope = Scope(size, randomness)
    with scope.open():
        inner = [x if d is None else enter(scope, x, d) for x, d in zip(leaves, dims, strict=True)]
        result = func(*structure.build(inner[:structure.size]), **named.build(inner[structure.size:]))
        outputs, made = flatten(result)
        for x in outputs:
            if not is_tensor(x):
                raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you "
                                 f"mean to set out_dims= to None for output?")
        places = _checked_out_dims(out_dims, outputs, made, name)
        return leave(scope, outputs, places), made, places


def _checked_dims(in_dims: Any, leaves: list[Any], structure: Structure, args: tuple, name: str) -> list[Any]:
    """The batch axis of each leaf, not negative."""
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple, list)) or isinstance(in_dims, bool):
        raise ValueError(f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the "
                         f"structure of inputs, got: {type(in_dims)}.")
    if not args:
        raise ValueError(f"{where}: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
                         f"function with no inputs. The latter is unsupported.")
    flat = spread(tuple(in_dims) if isinstance(in_dims, list) else in_dims, structure)
    if flat is None:
        raise ValueError(f"{where}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{flatten(in_dims)[1]} but inputs has structure {structure}.")
    found = []
    for d, x in zip(flat, leaves, strict=True):
        if d is None:
            found.append(None)
            continue
        if not isinstance(d, int):
            raise ValueError(f"{where}: Got in_dim={d} for an input but in_dim must be either an integer dimension or "
                             f"None.")
        if not is_tensor(x):
            raise ValueError(f"{where}: Got in_dim={d} for an input but the input is of type {type(x)}. We cannot "
                             f"vmap over non-Tensor arguments, please use None as the respective in_dim")
        if not -x.ndim <= d < x.ndim:
            raise ValueError(f"{where}: Got in_dim={d} for some input, but that input is a Tensor of dimensionality "
                             f"{x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}.")
        found.append(d % x.ndim)
    return found


def _size(leaves: list[Any], dims: list[Any]) -> int:
    sizes = [x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: at least one argument needs a batch axis: all in_dims are None")
    if any(n != sizes[0] for n in sizes):
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} "
                         f"for the mapped dimension")
    return sizes[0]


def _checked_out_dims(out_dims: Any, outputs: list[Any], made: Structure, name: str) -> list[int]:
    flat = spread(tuple(out_dims) if isinstance(out_dims, list) else out_dims, made)
    if flat is None and isinstance(out_dims, tuple) and len(out_dims) == 1 and len(outputs) == 1:
        flat = list(out_dims)
    if flat is None:
        raise ValueError(f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the "
                         f"structure of `outputs`. out_dims has structure {flatten(out_dims)[1]} but outputs has "
                         f"structure {made}.")
    found = []
    for d, x in zip(flat, outputs, strict=True):
        n = x.ndim + 1
        if not isinstance(d, int) or not -n <= d < n:
            raise ValueError(f"vmap({name}, ..., out_dims={out_dims})(<inputs>): Dimension out of range (expected to "
                             f"be in range of [-{n}, {n - 1}], but got {d})")
        found.append(d % n)
    return found
