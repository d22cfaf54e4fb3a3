"""``autograd.Function``: operations with a derivative written by the user, in tensor operations."""
from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..tensor.core import TensorCore, check_writable
from ..tensor.differentiate import is_tensor
from ..tensor.recording import TAPE, TapedSpace, wrap
from ..tensor.tape import FREED, Edge, Node, Select, _sequence, mode, unpacked, watchers

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class _Named:
    """Stands where a node has its op: a function has a name only."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class FunctionNode(Node):
    """The node of one call of a :class:`Function`; its operands are the arguments of the call."""

    __slots__ = ("function", "ctx", "count", "result_types")

    def __init__(self, function: type[Function], ctx: FunctionCtx, args: Sequence[Any]) -> None:
        self.function, self.ctx = function, ctx
        self.op = _Named(function.__name__)  # type: ignore[assignment]
        self.edges = tuple([a._edge if isinstance(a, TensorCore) else None for a in args])
        self.types = tuple([a._read().type if isinstance(a, TensorCore) else None for a in args])  # type: ignore
        self.inputs = self.outputs = self.hooks = None
        self.mark, self.freed, self.count = 0, False, 1
        self.result_types: list[Any] = []
        self.seq = _sequence()

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    @property
    def n_results(self) -> int:
        return self.count

    @property
    def saved_tensors(self) -> tuple:
        return self.ctx.saved_tensors

    def backward(self, b: Any, g: Any, space: Any) -> Sequence[Any]:
        if self.freed:
            raise RuntimeError(FREED)
        given = g if self.count > 1 else (g,)
        ctx = self.ctx
        grads = []
        for ct, t in zip(given, self.result_types, strict=True):
            if ct is not None:
                grads.append(space.tensor(ct))
            elif ctx._materialize and t is not None:
                grads.append(TapedSpace.tensor(TAPE.zeros(t)))
            else:
                grads.append(None)
        before = mode.grad
        mode.grad = space.taped
        try:
            found = self.function._backward()(ctx, *grads)
            return self.checked(found, space)
        finally:
            mode.grad = before

    def checked(self, found: Any, space: Any) -> list[Any]:
        """The gradients that the user's ``backward`` returned, one per argument, in ``space``."""
        grads = list(found) if isinstance(found, (tuple, list)) else [found]
        n = len(self.edges)
        if len(grads) > n and all(g is None for g in grads[n:]):
            grads = grads[:n]
        if len(grads) != n:
            raise RuntimeError(f"function {self.name()} returned an incorrect number of gradients "
                               f"(expected {n}, got {len(grads)})")
        return [self.one(i, g, space) for i, g in enumerate(grads)]

    def one(self, i: int, g: Any, space: Any) -> Any:
        if g is None:
            return None
        t = self.types[i]
        if t is None:
            raise RuntimeError(f"function {self.name()} returned a gradient different from None at position {i + 1}, "
                               f"but the corresponding forward input was not a Variable")
        if not isinstance(g, TensorCore):
            raise TypeError(f"{self.name()}: expected Variable or None (got {type(g).__name__})")
        if self.edges[i] is None:
            return None
        value = space.from_tensor(g)
        if value.type.shape != t.shape:
            if not _expandable(t.shape, value.type.shape):
                raise RuntimeError(f"Function {self.name()} returned an invalid gradient at index {i} - got "
                                   f"{list(value.type.shape)} but expected shape compatible with {list(t.shape)}")
            value = space.builder.sum_to(value, t.shape)
        return space.builder.cast(value, t.dtype)

    def release(self) -> None:
        if self.ctx._saved:
            self.ctx._saved = None
            self.freed = True


def _expandable(small: tuple[int, ...], big: tuple[int, ...]) -> bool:
    lead = len(big) - len(small)
    return lead >= 0 and all(a in (1, b) for a, b in zip(small, big[lead:], strict=True))


def _no_node() -> None:
    """The node of a call that is not on the tape."""


class FunctionCtx:
    """What ``forward`` leaves for ``backward``; any attribute may be set on it.

    Attributes:
        needs_input_grad: per argument, whether its gradient is needed.
    """

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Any, ...] = ()
        self._saved: Any = None
        self._dirty: tuple[Any, ...] = ()
        self._flat: tuple[Any, ...] = ()
        self._materialize = True
        self._node: Any = _no_node  # weak: the node holds its context
        self._for_forward: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Save tensors (inputs, outputs, or others; None is passed through) for :attr:`saved_tensors`."""
        for t in tensors:
            if t is not None and not isinstance(t, TensorCore):
                raise TypeError(f"save_for_backward can only save variables, but argument {tensors.index(t)} is of "
                                f"type {type(t).__name__}")
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Save tensors for ``jvp``, where they are in :attr:`saved_tensors`."""
        self._for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The saved tensors; raises if they were written since, or freed by an earlier backward pass."""
        if self._saved is None:
            node = self._node()
            if node is not None and node.freed:
                raise RuntimeError(FREED)
            return tuple(self._to_save) or tuple(self._for_forward)
        node = self._node()
        return tuple(s.restore(node) if s is not None else None for s in self._saved)

    saved_variables = saved_tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Declare the inputs that ``forward`` wrote in place; they must be returned as outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Declare outputs that have no gradient."""
        self._flat = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Does ``backward`` get zeros (the default) or None for outputs without a gradient?"""
        self._materialize = value


class _SavedTensor:
    """A saved tensor: its value, and where it stands on the tape (an output of the node: by number)."""

    __slots__ = ("value", "edge", "output")

    def __init__(self, t: Any, output: int | None) -> None:
        self.value, self.edge = t._read(), t._edge if output is None else None
        self.output = output

    def restore(self, node: FunctionNode) -> Any:
        value = unpacked(self.value, node.op)
        edge: Edge | None = self.edge
        if self.output is not None:
            edge = node if node.count == 1 else Select(node, self.output, value.type)
            if node.result_types[self.output] is None:
                edge = None
        return wrap(value, edge)


class Function:
    """Base of operations whose derivative you write yourself.

    Define ``forward(ctx, *args)`` (or ``forward(*args)`` with ``setup_context(ctx, inputs, output)``) and
    ``backward(ctx, *grads)``, both static, and call ``apply``. Inside, any tensor operation may be used; the
    operations of ``backward`` are on the tape when a second derivative is wanted.

        >>> class Cube(gemel.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         x, = ctx.saved_tensors
        ...         return g * x * x * 3
        >>> x = gemel.tensor(2.0, requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad
        tensor(12.)

    Optional statics: ``jvp(ctx, *tangents)`` for forward mode (else it follows from ``backward``), and
    ``vmap(info, in_dims, *args) -> (output, out_dims)`` (else ``forward`` is batched operation by operation).

    torch: ``autograd.Function``
    """

    #: torch needs this to batch a function automatically; here it is always possible
    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{type(self).__name__} should not be instantiated. Methods on autograd functions are all "
                           f"static, so you should invoke them on the class itself: {type(self).__name__}.apply(...)")

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The operation itself; runs off the tape."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Save what ``backward`` needs, when ``forward`` takes no ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """One gradient (or None) per argument of ``forward``."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom "
                                  "autograd.Function to use it with backward mode AD.")

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """One tangent per output, from those of the arguments."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with "
                                  "forward mode AD.")

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *args: Any) -> Any:
        """The operation on batched arguments: returns (output, out_dims)."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod "
                                  "or set generate_vmap_rule=True.")

    @classmethod
    def _backward(cls) -> Callable[..., Any]:
        has_vjp = cls.vjp is not Function.vjp
        if has_vjp and cls.backward is not Function.backward:
            raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You "
                               "should only implement one of them.")
        return cls.vjp if has_vjp else cls.backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and put the call on the tape."""
        if kwargs:
            raise TypeError(f"{cls.__name__}.apply takes positional arguments only. Received: {sorted(kwargs)}")
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple([is_tensor(a) and a.requires_grad for a in args])
        recorded = mode.grad and any(ctx.needs_input_grad)
        node = FunctionNode(cls, ctx, args) if recorded else None
        before = mode.grad
        mode.grad = False
        try:
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        finally:
            mode.grad = before
        several = isinstance(result, (tuple, list))
        outputs = list(result) if several else [result]
        finished = _finish(ctx, node, args, outputs)
        return tuple(finished) if several else finished[0]


def _finish(ctx: FunctionCtx, node: FunctionNode | None, args: Sequence[Any], outputs: list[Any]) -> list[Any]:
    """Give the outputs their place on the tape, and save what is to be saved."""
    for t in ctx._dirty:
        if not any(t is o for o in outputs):
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. "
                               "The inputs that are modified inplace must all be outputs of the Function.")
        if node is not None:
            check_writable(t)
    results = []
    number = 0
    places: dict[int, int] = {}
    if node is not None:
        node.count = sum(isinstance(o, TensorCore) for o in outputs)
    for out in outputs:
        if not isinstance(out, TensorCore):
            results.append(out)
            continue
        value = out._read()
        flat = any(out is t for t in ctx._flat) or not value.type.dtype.is_inexact
        edge: Edge | None = None
        if node is not None:
            places[id(out)] = number
            node.result_types.append(None if flat else value.type)
            if not flat:
                edge = node if node.count == 1 else Select(node, number, value.type)
                node.type = value.type
        results.append(_placed(out, edge, args, ctx._dirty))
        number += 1
    if node is not None:
        ctx._saved = [None if t is None else _SavedTensor(t, places.get(id(t))) for t in ctx._to_save]
        ctx._to_save = ()
        ctx._node = weakref.ref(node)
        _pack(ctx)
        if watchers:
            for watch in watchers:
                watch(node, (), ())
    return results


def _pack(ctx: FunctionCtx) -> None:
    """Pass what is saved through the hooks that are active (``saved_tensors_hooks``)."""
    from ..tensor.saved_hooks import pack
    for s in ctx._saved:
        if s is not None:
            s.value = pack(s.value)


def _placed(out: Any, edge: Edge | None, args: Sequence[Any], dirty: Sequence[Any]) -> Any:
    """``out`` at ``edge`` of the tape: itself if the function made it or wrote it, another handle if it is an input."""
    if any(out is t for t in dirty):
        if edge is not None:
            out._edge = edge
            if out._alias is not None and out._alias.is_base:
                out._alias.domain.edge = edge
        return out
    if any(out is a for a in args) or out._alias is not None or out._edge is not None:
        return wrap(out._read(), edge)
    out._edge = edge
    return out


class _Twice(Function):
    """Passes tensors through; its derivative is the error of ``once_differentiable``."""

    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Any:
        return tensors[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a ``backward`` that is not itself differentiable: a second derivative raises ``RuntimeError``.

    torch: ``autograd.function.once_differentiable``
    """
    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        before = mode.grad
        mode.grad = False
        try:
            found = backward(ctx, *grads)
        finally:
            mode.grad = before
        tied = [g for g in grads if is_tensor(g) and g.requires_grad]
        if not before or not tied:
            return found
        several = isinstance(found, (tuple, list))
        marked = [_Twice.apply(g, *tied) if isinstance(g, TensorCore) else g for g in (found if several else (found,))]
        return tuple(marked) if several else marked[0]
    return wrapper


