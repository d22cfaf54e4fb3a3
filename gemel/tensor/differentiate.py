"""``backward`` and ``grad``: from tensors to the tape's engine and back, with torch's checks."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.runtime.trace import mark as mark_trace
from .core import TensorCore
from .recording import TAPE, TapedSpace
from .tape import Accumulate, Edge, Select, ValueSpace, run_backward

Tensors = Any  # a tensor or a sequence of tensors


def is_tensor(x: Any) -> bool:
    return isinstance(x, TensorCore)


def as_tuple(x: Any) -> tuple:
    """A lone item as a tuple of one."""
    return tuple(x) if isinstance(x, (tuple, list)) or (not isinstance(x, TensorCore) and hasattr(x, "__iter__")) \
        else (x,)


def cotangents(outputs: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """One cotangent tensor per output (None: one, which must be implied), checked as torch does."""
    if len(outputs) != len(given):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    found = []
    for i, (out, g) in enumerate(zip(outputs, given, strict=True)):
        t = out._read().type
        if g is None:
            if out._edge is not None:
                if t.size != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                if not t.dtype.is_floating_point:
                    raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got "
                                       f"{t.dtype!r}")
            found.append(None)
            continue
        if not isinstance(g, TensorCore):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        got = g._read().type
        if got.shape != t.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {list(got.shape)} and "
                               f"output[{i}] has a shape of {list(t.shape)}.")
        if got.dtype.is_complex != t.dtype.is_complex:
            raise RuntimeError(f"For complex Tensors, both grad_output and output are required to have the same "
                               f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {got.dtype!r} and "
                               f"output[{i}] has a dtype of {t.dtype!r}.")
        found.append(g)
    return found


def starts_of(outputs: Sequence[Any], given: Sequence[Any], space: Any) -> list[tuple[Edge, Any]]:
    """Where a backward pass begins, with the cotangents in ``space``."""
    grads = cotangents(outputs, given)
    starts = []
    for i, (out, g) in enumerate(zip(outputs, grads, strict=True)):
        value = out._read()
        if out._edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            ct = space.builder.full_like(value, 1)
        else:
            ct = space.from_tensor(g)
            if ct.type.dtype is not value.type.dtype:
                ct = space.builder.cast(ct, value.type.dtype)
        starts.append((out._edge, ct))
    return starts


def backward(tensors: Tensors, grad_tensors: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, grad_variables: Any = None, inputs: Any = None) -> None:
    """Add the gradients of ``tensors`` to ``.grad`` of the leaves that they depend on.

    Args:
        tensors: what is differentiated. grad_tensors: their cotangents (None: 1, for scalars).
        retain_graph: keep what the operations saved, for another pass (default: ``create_graph``).
        create_graph: record the pass itself, for derivatives of higher order.
        inputs: accumulate into these only.

    torch: ``autograd.backward``
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError("`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                               "`backward()`. Please only use `grad_tensors`.")
        grad_tensors = grad_variables
    outputs = as_tuple(tensors)
    given = (None,) * len(outputs) if grad_tensors is None else as_tuple(grad_tensors)
    space = TapedSpace if create_graph else ValueSpace
    wanted = None
    if inputs is not None:
        targets = as_tuple(inputs)
        if not targets:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        for t in targets:
            if t.is_leaf and not t.requires_grad:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            t.retain_grad()
        wanted = [t._edge for t in targets]
    keep = create_graph if retain_graph is None else retain_graph
    starts = starts_of(outputs, given, space)
    run_backward(starts, space, keep, wanted)
    mark_trace("the end of a backward pass")


def grad(outputs: Tensors, inputs: Tensors, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Any, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, as tensors; no ``.grad`` changes.

    Args:
        outputs, inputs: tensors. grad_outputs: cotangents of the outputs (None: 1, for scalars).
        retain_graph: keep what was saved, for another pass (default: ``create_graph``).
        create_graph: put the gradients on the tape, for derivatives of higher order.
        only_inputs: accepted for old programs; other leaves never gather gradients here.
        allow_unused: give None for an input that the outputs do not depend on, instead of an error.
        is_grads_batched: ``grad_outputs`` have a leading batch axis, and so have the results.
        materialize_grads: zeros instead of None for unused inputs.

        >>> x = gemel.tensor(3.0, requires_grad=True)
        >>> gemel.autograd.grad(x ** 2, x)
        (tensor(6.),)

    torch: ``autograd.grad``
    """
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate "
                      "gradient for other parts of the graph, please use autograd.backward.", FutureWarning,
                      stacklevel=2)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, "
                         "but got: allow_unused=False.")
    outs, targets = as_tuple(outputs), as_tuple(inputs)
    given = (None,) * len(outs) if grad_outputs is None else as_tuple(grad_outputs)
    if not targets:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if is_grads_batched:
        return _batched_grad(outs, targets, given, retain_graph, create_graph, allow_unused, materialize_grads)
    space = TapedSpace if create_graph else ValueSpace
    starts = starts_of(outs, given, space)
    for t in targets:
        if t._read() is not None and t._edge is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    found = run_backward(starts, space, keep, [t._edge for t in targets], accumulate=False)
    results = []
    for t in targets:
        g = found.get(t._edge)
        if g is not None:
            results.append(space.tensor(g))
        elif materialize_grads:
            results.append(TapedSpace.tensor(TAPE.zeros(t._value.type)))
        elif allow_unused:
            results.append(None)
        else:
            raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. Set "
                               "allow_unused=True if this is the desired behavior.")
    return tuple(results)


def _batched_grad(outs: tuple, targets: tuple, given: tuple, *options: Any) -> tuple[Any, ...]:
    """``grad`` for every example of cotangents with a leading batch axis."""
    from .batching import Scope, enter, leave
    sizes = {g.shape[0] if is_tensor(g) and g.ndim else None for g in given}
    size = sizes.pop() if len(sizes) == 1 else None
    if size is None:
        raise RuntimeError("If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the "
                           "batch dimension: all must be tensors with one first size. Received: "
                           f"{[list(g.shape) if is_tensor(g) else g for g in given]}")
    retain_graph, create_graph, allow_unused, materialize = options
    scope = Scope(size)
    with scope.open():
        inner = [enter(scope, g, 0) for g in given]
        found = grad(outs, targets, inner, retain_graph, create_graph, allow_unused=allow_unused,
                     materialize_grads=materialize)
        whole = iter(leave(scope, [g for g in found if g is not None], [0] * len(found)))
    return tuple(None if g is None else next(whole) for g in found)


def grad_fn(t: Any) -> Any:
    """The node that made a tensor, or None for a leaf."""
    t._read()
    edge = t._edge
    if edge is None or edge.__class__ is Accumulate:
        return None
    return edge.node if edge.__class__ is Select else edge


def check_grad(t: Any, grad: Any) -> None:
    """Raise torch's errors for a value that cannot become ``t.grad``."""
    if grad is None:
        return
    if not isinstance(grad, TensorCore):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(grad).__name__}")
    if grad is t:
        raise RuntimeError("can't assign Variable as its own grad")
    want, got = t._read().type, grad._read().type
    if got.shape != want.shape:
        raise RuntimeError(f"attempting to assign a gradient of size '{list(got.shape)}' to a tensor of size "
                           f"'{list(want.shape)}'. Please ensure that the gradient and the tensor are the same size")
    if got.dtype is not want.dtype:
        raise RuntimeError(f"attempting to assign a gradient with dtype '{got.dtype.name}' to a tensor with dtype "
                           f"'{want.dtype.name}'. Please ensure that the gradient and the tensor have the same dtype")


def can_require_grad(dtype: dt.DType) -> bool:
    return dtype.is_inexact


def set_data(t: Any, new: Any) -> None:
    """``t.data = new``: ``t`` takes over the storage of ``new`` and keeps its place on the tape."""
    if not isinstance(new, TensorCore):
        raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
    value = new._read()
    if t._edge is not None and not can_require_grad(value.type.dtype):
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
    t._take_storage(new)
    edge = t._edge
    if isinstance(edge, Accumulate):
        edge.type = value.type
