"""Modules as functions of their parameters: ``functional_call``, ``stack_module_state``."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..tensor.joining import stack
from .tree import is_tensor

__all__ = ["functional_call", "stack_module_state"]


def _merged(given: Any) -> dict[str, Any]:
    """One dict from one or several."""
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, Sequence) and all(isinstance(d, Mapping) for d in given):
        found: dict[str, Any] = {}
        for d in given:
            for name, t in d.items():
                if name in found:
                    raise ValueError(f"{[name]} appeared in multiple dictionaries; behavior of functional call is "
                                     f"ambiguous")
                found[name] = t
        return found
    raise ValueError(f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
                     f"{type(given)}")


def _places(module: Any) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer lives: full name -> (dict, key); shared ones under all their names."""
    found = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key, t in table.items():
                if t is not None:
                    found[f"{prefix}.{key}" if prefix else key] = (table, key)
    return found


@contextmanager
def _replaced(module: Any, state: dict[str, Any], tie_weights: bool, strict: bool) -> Iterator[None]:
    places = _places(module)
    unexpected = [n for n in state if n not in places]
    missing = [n for n in places if n not in state]
    if strict and (unexpected or missing):
        raise RuntimeError(f"Error(s) in loading parameters and buffers: unexpected key(s): {unexpected}, missing "
                           f"key(s): {missing}")
    if unexpected:
        raise KeyError(f"the module has no parameter or buffer named {unexpected[0]!r}")
    before = {n: table[key] for n, (table, key) in places.items()}
    new = dict(state)
    if tie_weights:
        for name, t in state.items():
            for other, old in before.items():
                if old is before[name] and other not in state:
                    new[other] = t
                elif old is before[name] and state.get(other, t) is not t:
                    raise ValueError(f"functional_call got multiple values for keys {sorted((name, other))}, which are "
                                     f"tied. Consider using tie_weights=False")
    for t in new.values():
        if not is_tensor(t):
            raise TypeError(f"{t!r} is not an instance of Tensor")
    try:
        for name, t in new.items():
            table, key = places[name]
            table[key] = t
        yield
        for name in new:  # a buffer that the call has put another tensor for is handed back to the caller
            table, key = places[name]
            if isinstance(state, dict) and name in state and table[key] is not new[name]:
                state[name] = table[key]
    finally:
        for name, (table, key) in places.items():
            table[key] = before[name]


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False) -> Any:
    """Call a module with other parameters and buffers than its own.

    Args:
        module: the module; it is left as it was.
        parameter_and_buffer_dicts: full name -> tensor, or several such dicts without common names.
        args: positional arguments (a lone one need not be a tuple). kwargs: keyword arguments.
        tie_weights: what is shared in the module stays shared. strict: all parameters and buffers must be given.

        >>> model = gemel.nn.Linear(2, 1)
        >>> zeros = {n: gemel.zeros_like(p) for n, p in model.named_parameters()}
        >>> gemel.func.functional_call(model, zeros, gemel.ones(1, 2))
        tensor([[0.]])

    torch: ``func.functional_call``
    """
    given = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, _merged(parameter_and_buffer_dicts), tie_weights, strict):
        return module(*given, **(kwargs or {}))


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of modules of one kind, each stacked along a new first axis: for ``vmap`` over them.

    Returns: (parameters, buffers), by name; the parameters are leaves that require gradients as those of the models.

    torch: ``func.stack_module_state``
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    params = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    found = {}
    for name, first in params[0].items():
        several = [p[name] for p in params]
        if any(p.requires_grad is not first.requires_grad for p in several):
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        found[name] = stack([p.detach() for p in several]).requires_grad_(first.requires_grad)
    return found, {name: stack([b[name] for b in buffers]) for name in buffers[0]}
