"""The graph that a backward pass walks: nodes, hooks on them, hooks on saved tensors.

torch: ``torch.autograd.graph``
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..tensor.differentiate import grad_fn
from ..tensor.hooks import RemovableHandle
from ..tensor.saved_hooks import disable_saved_tensors_hooks, saved_tensors_hooks
from ..tensor.tape import Accumulate, Edge, Select

__all__ = ["Node", "GradientEdge", "get_gradient_edge", "saved_tensors_hooks", "save_on_cpu",
           "disable_saved_tensors_hooks", "register_multi_grad_hook", "increment_version"]

#: what ``grad_fn`` is: ``name()``, ``next_functions``, ``register_hook``, ``register_prehook``
Node = Edge


class GradientEdge(NamedTuple):
    """A place on the tape: a node and the number of its result. torch: ``graph.GradientEdge``"""

    node: Any
    output_nr: int


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The place of a tensor on the tape. torch: ``graph.get_gradient_edge``"""
    tensor._read()
    edge = tensor._edge
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    if isinstance(edge, Accumulate):
        return GradientEdge(edge, 0)
    return GradientEdge(grad_fn(tensor), edge.index if isinstance(edge, Select) else 0)


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors on the CPU (they are there already: the tensors are kept as they are).

    torch: ``graph.save_on_cpu``
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cpu") -> None:
        super().__init__(lambda t: t, lambda t: t)


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., None], *, mode: str = "all") -> Any:
    """Call ``fn`` when the gradients of several tensors are there.

    Args:
        mode: ``"all"``: ``fn(list of gradients)`` once all tensors that a backward pass reaches have theirs (here:
            once each tensor has been reached); ``"any"``: ``fn(gradient)`` at the first.

    torch: ``graph.register_multi_grad_hook``
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    grads: list[Any] = [None] * len(tensors)
    seen: set[int] = set()

    def hook_of(i: int) -> Callable[[Any], None]:
        def hook(g: Any) -> None:
            if mode == "any":
                if not seen:
                    fn(g)
                seen.add(i)
            else:
                grads[i] = g
                seen.add(i)
                if len(seen) == len(tensors):
                    found = list(grads)
                    grads[:] = [None] * len(tensors)
                    seen.clear()
                    fn(found)
                return
            if len(seen) == len(tensors):
                seen.clear()
        return hook

    return _Handles([t.register_hook(hook_of(i)) for i, t in enumerate(tensors)])


class _Handles:
    """Several hooks, removed together."""

    def __init__(self, handles: list[RemovableHandle]) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def increment_version(tensor: Any) -> None:
    """Count a write to ``tensor`` that autograd has not seen. torch: ``graph.increment_version``"""
    for t in tensor if isinstance(tensor, (tuple, list)) else (tensor,):
        t._shared().cell.tracked += 1
