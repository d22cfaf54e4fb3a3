"""Methods that have to do with the tape."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from . import differentiate
from .alias import DATA, DETACHED
from .core import Info, set_grad, take_along
from .hooks import RemovableHandle
from .recording import apply_named
from .tape import Accumulate, Select


def _info(t: Any) -> Info:
    if t._info is None:
        t._info = Info()
    return t._info


class AutogradMethods:
    __slots__ = ()

    # --- state
    @property
    def requires_grad(self: Any) -> bool:
        """Are gradients computed for this tensor?

        Set it on leaves only: results of operations have it when an operand has it.
        """
        self._read()
        return self._edge is not None

    @requires_grad.setter
    def requires_grad(self: Any, flag: bool) -> None:
        self._read()
        if self._edge is not None and self._edge.__class__ is not Accumulate:
            if not flag:
                raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                                   "computed variable in a subgraph that doesn't require differentiation use "
                                   "var_no_grad = var.detach().")
            return
        if flag and not differentiate.can_require_grad(self._value.type.dtype):
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients. "
                               f"Received: {self._value.type.dtype!r}")
        if bool(flag) == (self._edge is not None):
            return
        self._edge = Accumulate(self, self._value.type) if flag else None
        if self._alias is not None and self._alias.is_base:
            self._alias.domain.edge = self._edge
            if flag:
                take_along(self)

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        """Set :attr:`requires_grad` in place and return the tensor.

        Raises ``RuntimeError`` for integers, and when switching it off on the result of an operation.

            >>> gemel.ones(2).requires_grad_().requires_grad
            True

        torch: ``Tensor.requires_grad_``
        """
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self: Any) -> bool:
        """True unless an operation on the tape made this tensor."""
        return differentiate.grad_fn(self) is None

    @property
    def grad_fn(self: Any) -> Any:
        """The node of the tape that made this tensor; None for a leaf."""
        return differentiate.grad_fn(self)

    @property
    def output_nr(self: Any) -> int:
        """Which of its node's results this tensor is."""
        self._read()
        return self._edge.index if self._edge.__class__ is Select else 0

    # --- gradients
    @property
    def grad(self: Any) -> Any:
        """The gradient gathered by ``backward()``, or None."""
        info = self._info
        found = info.grad if info is not None else None
        if found is None and self._edge is not None and not self.is_leaf and not self.retains_grad:
            warnings.warn("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
                          "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
                          "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor.",
                          UserWarning, stacklevel=2)
        return found

    @grad.setter
    def grad(self: Any, grad: Any) -> None:
        differentiate.check_grad(self, grad)
        set_grad(self, grad)

    @grad.deleter
    def grad(self: Any) -> None:
        if self._info is not None:
            self._info.grad = None

    def backward(self: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
                 inputs: Any = None) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf that it depends on.

        Args:
            gradient: cotangent of this tensor; may be left out for a scalar.
            retain_graph: keep what operations saved, for another pass (default: ``create_graph``).
            create_graph: record the pass on the tape, for derivatives of higher order.
            inputs: accumulate into these tensors only.

            >>> x = gemel.tensor([1.0, 2.0], requires_grad=True)
            >>> (x * x).sum().backward()
            >>> x.grad
            tensor([2., 4.])

        torch: ``Tensor.backward``
        """
        differentiate.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def retain_grad(self: Any) -> None:
        """Let ``backward`` fill ``.grad`` of this tensor, although it is not a leaf. torch: ``Tensor.retain_grad``"""
        self._read()
        if self._edge is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf or self.retains_grad:
            return
        info = _info(self)
        info.retains_grad = True
        edge = self._edge
        if edge.hooks is None:
            edge.hooks = {}
        edge.hooks[_RETAIN] = _Retain(info)

    @property
    def retains_grad(self: Any) -> bool:
        """Does ``backward`` fill ``.grad`` of this non-leaf tensor?"""
        return self._info is not None and self._info.retains_grad

    # --- hooks
    def register_hook(self: Any, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call ``hook(grad)`` whenever the gradient of this tensor is computed; what it returns replaces it.

        Returns a handle with ``remove()``. Raises ``RuntimeError`` if the tensor requires no gradient.

            >>> x = gemel.tensor(2.0, requires_grad=True)
            >>> handle = x.register_hook(lambda g: g * 10)
            >>> (x * 3).backward()
            >>> x.grad
            tensor(30.)

        torch: ``Tensor.register_hook``
        """
        self._read()
        if self._edge is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        edge = self._edge
        if edge.hooks is None:
            edge.hooks = {}
        handle = RemovableHandle.into(edge.hooks, hook)
        if _RETAIN in edge.hooks:  # it runs last
            edge.hooks[_RETAIN] = edge.hooks.pop(_RETAIN)
        return handle

    def register_post_accumulate_grad_hook(self: Any, hook: Callable[[Any], None]) -> RemovableHandle:
        """Call ``hook(tensor)`` after a gradient was added to ``.grad`` of this leaf.

        torch: ``Tensor.register_post_accumulate_grad_hook``
        """
        self._read()
        if self._edge is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._edge.__class__ is not Accumulate:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._edge.post_hooks is None:
            self._edge.post_hooks = {}
        return RemovableHandle.into(self._edge.post_hooks, hook)

    # --- leaving the tape
    def detach(self: Any) -> Any:
        """The same storage, off the tape: the result never requires a gradient. torch: ``Tensor.detach``"""
        return self._same_storage(DETACHED)

    def detach_(self: Any) -> Any:
        """Take this tensor off the tape in place; it becomes a leaf. torch: ``Tensor.detach_``"""
        self._read()
        alias = self._alias
        if alias is not None and alias.is_view:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._edge = None
        if alias is not None:
            alias.domain.edge = None
        return self

    @property
    def data(self: Any) -> Any:
        """The same storage, off the tape, and unseen by the checks for in-place writes. torch: ``Tensor.data``"""
        return self._same_storage(DATA)

    @data.setter
    def data(self: Any, new: Any) -> None:
        differentiate.set_data(self, new)

    @property
    def _version(self: Any) -> int:
        """Number of in-place writes to the storage that autograd has counted."""
        return self._alias.cell.tracked if self._alias is not None else 0

    def is_inference(self: Any) -> bool:
        """False: tensors made in ``inference_mode`` are normal tensors here. torch: ``Tensor.is_inference``"""
        return False


_RETAIN = -1  # key of the hook of ``retain_grad``, among hooks with handles


class _Retain:
    """Puts the gradient into ``.grad``, adding to what is there."""

    __slots__ = ("info",)

    def __init__(self, info: Info) -> None:
        self.info = info

    def __call__(self, g: Any) -> None:
        old = self.info.grad
        self.info.grad = g if old is None else apply_named("add", old, g)
