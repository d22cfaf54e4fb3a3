"""Activation checkpointing: keep the inputs of a function, compute again what its backward pass needs.

torch: ``torch.utils.checkpoint``
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from ..engine.runtime.trace import settle
from ..tensor.core import TensorCore
from ..tensor.grad_mode import enable_grad, is_grad_enabled
from ..tensor.random import fork_rng, get_rng_state, set_rng_state
from ..tensor.recording import wrap
from ..tensor.saved_hooks import saved_tensors_hooks

__all__ = ["checkpoint", "checkpoint_sequential", "CheckpointError", "noop_context_fn"]

Contexts = tuple[AbstractContextManager, AbstractContextManager]


class CheckpointError(RuntimeError):
    """The recomputation saved other tensors than the first computation."""


class _Enough(Exception):
    """All that was saved has been computed again."""


def noop_context_fn() -> Contexts:
    """Two contexts that do nothing: around the forward pass and around the recomputation."""
    return nullcontext(), nullcontext()


class _Frame:
    """One checkpointed call.

    Attributes:
        types: of what the first computation saved, in order. found: what was computed again, by number.
    """

    def __init__(self, run: Callable[[], Any], context: AbstractContextManager, check: bool, early_stop: bool,
                 rng: Any) -> None:
        self.run, self.context, self.check, self.early_stop, self.rng = run, context, check, early_stop, rng
        self.types: list[Any] = []
        self.found: dict[int, Any] = {}

    def pack(self, t: Any) -> int:
        self.types.append(t._read().type)
        return len(self.types) - 1

    def unpack(self, number: int) -> Any:
        if number not in self.found:
            self.recompute()
        return self.found.pop(number)

    def recompute(self) -> None:
        settle("a checkpoint is computed again")  # the first computation must not be kept for the second
        fresh: dict[int, Any] = {}

        def keep(t: Any) -> Any:
            fresh[len(fresh)] = wrap(t._read())
            if self.early_stop and len(fresh) == len(self.types):
                raise _Enough
            return t

        with fork_rng(enabled=self.rng is not None):
            if self.rng is not None:
                set_rng_state(self.rng)
            with suppress(_Enough), enable_grad(), saved_tensors_hooks(keep, lambda t: t), self.context:
                self.run()
        if len(fresh) != len(self.types):
            raise CheckpointError(f"gemel.utils.checkpoint: A different number of tensors was saved during the "
                                  f"original forward and recomputation. Number of tensors saved during forward: "
                                  f"{len(self.types)}. Number of tensors saved during recomputation: {len(fresh)}.")
        if self.check:
            for i, (t, want) in enumerate(zip(fresh.values(), self.types, strict=True)):
                if t._read().type is not want:
                    raise CheckpointError(f"gemel.utils.checkpoint: Recomputed values for the following tensors have "
                                          f"different metadata than during the forward pass: tensor at position {i}: "
                                          f"saved {want}, recomputed {t._read().type}")
        self.found = fresh


def _detached(x: Any) -> Any:
    if not isinstance(x, TensorCore):
        return x
    t: Any = x
    return t.detach().requires_grad_(t.requires_grad)


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               context_fn: Callable[[], Contexts] = noop_context_fn, determinism_check: str = "default",
               debug: bool = False, early_stop: bool = True, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, keeping for the backward pass only its arguments.

    What the backward pass needs of the values in between is computed again when it comes to it, with the random
    numbers of the first time (unless ``preserve_rng_state=False``).

    Args:
        function: must do the same each time it is called. use_reentrant: both of torch's variants are this one.
        context_fn: gives the contexts for the computation and the recomputation.
        determinism_check: ``"default"`` compares the types of what is computed again, ``"none"`` does not.
        debug: accepted. early_stop: end the recomputation with the last tensor that is needed.
    Raises:
        CheckpointError: the recomputation saves other tensors.

        >>> x = gemel.ones(3, requires_grad=True)
        >>> gemel.utils.checkpoint.checkpoint(lambda x: x.sin().exp().sum(), x).backward()

    torch: ``utils.checkpoint.checkpoint``
    """
    preserve = kwargs.pop("preserve_rng_state", True)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'] but got {determinism_check}")
    first, second = context_fn()
    if not is_grad_enabled():
        with first:
            return function(*args, **kwargs)
    inputs = tuple(map(_detached, args)), {k: _detached(v) for k, v in kwargs.items()}
    frame = _Frame(lambda: function(*inputs[0], **inputs[1]), second, determinism_check == "default", early_stop,
                   get_rng_state() if preserve else None)
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
                          **kwargs: Any) -> Any:
    """Run functions (or a ``Sequential``) one after the other in ``segments`` checkpointed groups; the last is not.

    torch: ``utils.checkpoint.checkpoint_sequential``
    """
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps: Sequence[Callable[[Any], Any]] = list(functions.children() if hasattr(functions, "children") else functions)

    def run(start: int, end: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for step in steps[start:end]:
                x = step(x)
            return x
        return forward

    size, end = len(steps) // segments, 0
    for start in range(0, size * (segments - 1), size) if size else ():
        end = start + size
        input = checkpoint(run(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return run(end, len(steps))(input)
