"""Jacobians, Hessians and products with them, of a function at a point.

The functional transforms of ``gemel.func`` compose better; these have the interface of
``torch.autograd.functional``: inputs and outputs are tensors or tuples of tensors.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..tensor.differentiate import grad, is_tensor
from ..tensor.grad_mode import enable_grad, set_grad_enabled
from ..tensor.recording import TAPE, Taped, TapedSpace
from ..tensor.tape import mode

__all__ = ["vjp", "jvp", "jacobian", "hessian", "hvp", "vhp"]

Tensors = Any


# --- tensors by way of the builder ----------------------------------------------------------------

def _taped(t: Any) -> Taped:
    return Taped(t._read(), t._edge)


def zeros_like(t: Any) -> Any:
    return TapedSpace.tensor(TAPE.zeros(t._read().type))


def reshape(t: Any, shape: tuple[int, ...]) -> Any:
    return TapedSpace.tensor(TAPE.reshape(_taped(t), shape))


def stack_rows(rows: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Tensors one below the other, the whole in ``shape``."""
    flat = [TAPE.reshape(_taped(r), (1, r._read().type.size)) for r in rows]
    whole = TAPE.cat(flat, 0) if len(flat) > 1 else flat[0] if flat else None
    if whole is None:
        raise RuntimeError("the jacobian of an empty output is not defined")
    return TapedSpace.tensor(TAPE.reshape(whole, shape))


def unit(t: Any, position: int) -> Any:
    """Zeros of the type of ``t`` with a one at a flat position."""
    type = t._read().type
    index = TAPE.iota(_int64(), (type.size,), 0)
    hit = TAPE.eq(index, TAPE.full(position, _int64(), (type.size,)))
    return TapedSpace.tensor(TAPE.reshape(TAPE.cast(hit, type.dtype), type.shape))


def _int64() -> Any:
    from ..engine.base.dtypes import int64
    return int64


# --- checks ---------------------------------------------------------------------------------------

def _as_tuple(x: Any, what: str, function: str) -> tuple[bool, tuple]:
    several = isinstance(x, tuple)
    found = x if several else (x,)
    for i, t in enumerate(found):
        if not is_tensor(t):
            where = f"value at index {i} has type {type(t)}" if several else f"given {what} has type {type(t)}"
            raise TypeError(f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but the "
                            f"{where}.")
    return several, found


def _unpack(results: tuple, several: bool) -> Any:
    return results if several else results[0]


def _prepare(inputs: tuple, create_graph: bool, need_graph: bool = True) -> tuple:
    """Fresh places on the tape for the inputs (connected to the old ones with ``create_graph``)."""
    found = []
    for t in inputs:
        if create_graph and t.requires_grad:
            found.append(TapedSpace.tensor(TAPE.copy(_taped(t))))
        else:
            found.append(t.detach().requires_grad_(need_graph))
    return tuple(found)


def _finish(results: tuple, create_graph: bool) -> tuple:
    return results if create_graph else tuple(t.detach() for t in results)


def _check_v(v: tuple, other: tuple, several: bool) -> None:
    if len(v) != len(other):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(other)} but got {len(v)}." if several
                           else "The given v should contain a single Tensor.")
    for i, (a, b) in enumerate(zip(v, other, strict=True)):
        got, want = a._read().type.shape, b._read().type.shape
        if got != want:
            raise RuntimeError(f"{f'Entry {i} in ' if several else ''}v has invalid size: should be {list(want)} "
                               f"but got {list(got)}.")


def _check_strict(tensors: Sequence[Any], message: Callable[[int], str], strict: bool) -> None:
    if strict:
        for i, t in enumerate(tensors):
            if t is None or not t.requires_grad:
                raise RuntimeError(message(i))


def _no_gradient(i: int) -> str:
    return (f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in a "
            f"differentiable manner from the input when running in strict mode.")


def _independent(i: int) -> str:
    return (f"The output of the user-provided function is independent of input {i}. This is not allowed in strict "
            f"mode.")


def _gradients(outputs: Sequence[Any], inputs: Sequence[Any], cts: Sequence[Any] | None, create_graph: bool,
               retain: bool | None = None) -> tuple:
    """``grad`` of those outputs that are on the tape; None for what does not depend."""
    given = cts if cts is not None else (None,) * len(outputs)
    pairs = [(o, c) for o, c in zip(outputs, given, strict=True) if o is not None and o.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    return grad([o for o, _ in pairs], inputs, [c for _, c in pairs], retain, create_graph, allow_unused=True)


def _filled(grads: Sequence[Any], like: Sequence[Any], strict: bool, message: Callable[[int], str]) -> tuple:
    found = []
    for i, (g, t) in enumerate(zip(grads, like, strict=True)):
        if g is None and strict:
            raise RuntimeError(message(i))
        found.append(zeros_like(t) if g is None else g)
    return tuple(found)


def _evaluate(func: Callable[..., Any], inputs: tuple, function: str, strict: bool) -> tuple[bool, tuple]:
    several, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", function)
    _check_strict(outputs, _no_gradient, strict)
    return several, outputs


def _scalar_only(several: bool, outputs: tuple, function: str) -> None:
    if several:
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if outputs[0]._read().type.size != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")


def _vector(v: Any, of: tuple, several: bool, create_graph: bool, function: str, missing: str) -> tuple | None:
    if v is None:
        if len(of) != 1 or of[0]._read().type.size != 1:
            raise RuntimeError(missing)
        return None
    _, vs = _as_tuple(v, "v", function)
    vs = _prepare(vs, create_graph, False)
    _check_v(vs, of, several)
    return vs


_INPUT_MISSING = ("The vector v can only be None if the input to the user-provided function is a single Tensor with a "
                  "single element.")


# --- products -------------------------------------------------------------------------------------

def vjp(func: Callable[..., Any], inputs: Tensors, v: Tensors = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """``(func(*inputs), v^T J)``: the product of a vector with the Jacobian of ``func``.

    Args:
        inputs: a tensor or tuple of tensors. v: of the outputs' shapes; may be left out for a scalar output.
        create_graph: keep the results on the tape. strict: raise when an input does not matter.

    torch: ``autograd.functional.vjp``
    """
    with enable_grad():
        several_in, ins = _as_tuple(inputs, "inputs", "vjp")
        ins = _prepare(ins, create_graph)
        several, outputs = _evaluate(func, ins, "vjp", strict)
        vs = _vector(v, outputs, several, create_graph, "vjp",
                     "The vector v can only be None if the user-provided function returns a single Tensor with a "
                     "single element.")
    with set_grad_enabled(create_graph or mode.grad):
        found = _filled(_gradients(outputs, ins, vs, create_graph), ins, strict, _independent)
    return _unpack(_finish(outputs, create_graph), several), _unpack(_finish(found, create_graph), several_in)


def jvp(func: Callable[..., Any], inputs: Tensors, v: Tensors = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """``(func(*inputs), J v)``: the product of the Jacobian of ``func`` with a vector.

    Computed as the derivative of the (linear) backward pass with respect to its cotangent; only what the product
    needs is run. torch: ``autograd.functional.jvp``
    """
    with enable_grad():
        several_in, ins = _as_tuple(inputs, "inputs", "jvp")
        ins = _prepare(ins, create_graph)
        vs = _vector(v, ins, several_in, create_graph, "jvp", _INPUT_MISSING)
        several, outputs = _evaluate(func, ins, "jvp", strict)
        cts = tuple(zeros_like(t).requires_grad_() for t in outputs)
        grads = _gradients(outputs, ins, cts, True)
        _check_strict(grads, lambda i: f"The gradient with respect to input {i} is independent of the inputs of the "
                                       f"user-provided function. This is not allowed in strict mode.", strict)
        found = _filled(_gradients(grads, cts, _matching(vs, grads), create_graph), outputs, strict,
                        lambda i: f"The gradient with respect to the input is independent of entry {i} in the "
                                  f"grad_outputs when using the double backward trick to compute forward mode "
                                  f"gradients. This is not allowed in strict mode.")
    return _unpack(_finish(outputs, create_graph), several), _unpack(_finish(found, create_graph), several)


def _matching(vs: tuple | None, grads: tuple) -> tuple | None:
    return vs if vs is None else tuple(vs[:len(grads)])


def vhp(func: Callable[..., Any], inputs: Tensors, v: Tensors = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """``(func(*inputs), v^T H)``: the product of a vector with the Hessian of a scalar function.

    torch: ``autograd.functional.vhp``
    """
    with enable_grad():
        several_in, ins = _as_tuple(inputs, "inputs", "vhp")
        ins = _prepare(ins, create_graph)
        vs = _vector(v, ins, several_in, create_graph, "vhp", _INPUT_MISSING)
        several, outputs = _evaluate(func, ins, "vhp", strict)
        _scalar_only(several, outputs, "vhp")
        slopes = _gradients(outputs, ins, None, True)
        _check_strict(slopes, _independent, strict)
    with set_grad_enabled(create_graph or mode.grad):
        found = _filled(_gradients(slopes, ins, vs, create_graph), ins, strict,
                        lambda i: f"The jacobian of the user-provided function is independent of input {i}. This is "
                                  f"not allowed in strict mode.")
    return _unpack(_finish(outputs, create_graph), several), _unpack(_finish(found, create_graph), several_in)


def hvp(func: Callable[..., Any], inputs: Tensors, v: Tensors = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """``(func(*inputs), H v)``: the product of the Hessian of a scalar function with a vector.

    The Hessian is symmetric where second derivatives are continuous, but not at kinks: so this is the derivative of
    the gradient along ``v``, not :func:`vhp`. torch: ``autograd.functional.hvp``
    """
    with enable_grad():
        several_in, ins = _as_tuple(inputs, "inputs", "hvp")
        ins = _prepare(ins, create_graph)
        vs = _vector(v, ins, several_in, create_graph, "hvp", _INPUT_MISSING)
        several, outputs = _evaluate(func, ins, "hvp", strict)
        _scalar_only(several, outputs, "hvp")
        slopes = _gradients(outputs, ins, None, True)
        _check_strict(slopes, _independent, strict)
        cts = tuple(zeros_like(t).requires_grad_() for t in ins)
        double = _gradients(slopes, ins, cts, True)
        found = _filled(_gradients(double, cts, vs, create_graph), ins, strict,
                        lambda i: f"The hessian of the user-provided function is independent of entry {i} in the "
                                  f"grad_jacobian. This is not allowed in strict mode as it prevents from using the "
                                  f"double backward trick to replace forward mode AD.")
    return _unpack(_finish(outputs, create_graph), several), _unpack(_finish(found, create_graph), several_in)


# --- whole matrices -------------------------------------------------------------------------------

def jacobian(func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:
    """The Jacobian of ``func``: for output ``o`` and input ``i`` a tensor of shape ``o.shape + i.shape``.

    Args:
        vectorize: one batched backward pass instead of one pass per element of the output.
        strategy: ``"reverse-mode"``, or ``"forward-mode"`` (with ``vectorize``), cheaper for few inputs.

        >>> gemel.autograd.functional.jacobian(lambda x: x ** 2, gemel.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])

    torch: ``autograd.functional.jacobian``
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function '
                             'has more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, '
                             'prefer to use "reverse-mode".')
    several_in, ins = _as_tuple(inputs, "inputs", "jacobian")
    if strategy == "forward-mode":
        return _forward_jacobian(func, ins, several_in, create_graph, strict)
    if vectorize and strict:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported "
                           "together. Please either set `strict=False` or `vectorize=False`.")
    with enable_grad():
        ins = _prepare(ins, create_graph)
        several, outputs = _evaluate(func, ins, "jacobian", strict)
        rows = tuple(_rows(i, out, ins, create_graph, strict, vectorize) for i, out in enumerate(outputs))
    found = tuple(_unpack(_finish(row, create_graph), several_in) for row in rows)
    return _unpack(found, several)


def _rows(number: int, out: Any, ins: tuple, create_graph: bool, strict: bool, vectorize: bool) -> tuple:
    """d out / d inputs, each of shape ``out.shape + input.shape``."""
    size, shape = out._read().type.size, out._read().type.shape
    if vectorize and out.requires_grad and size:
        units = stack_rows([unit(out, j) for j in range(size)], (size, *shape))
        found = grad(out, ins, units, True, create_graph, allow_unused=True, is_grads_batched=True)
        return tuple(_blank(out, t) if g is None else reshape(g, shape + t._read().type.shape)
                     for g, t in zip(found, ins, strict=True))
    columns: list[list[Any]] = [[] for _ in ins]
    for j in range(size):
        slopes = _gradients((out,), ins, (unit(out, j),), create_graph, True)
        for k, (g, t) in enumerate(zip(slopes, ins, strict=True)):
            if g is None and strict:
                raise RuntimeError(f"Output {number} of the user-provided function is independent of input {k}. This "
                                   f"is not allowed in strict mode.")
            if strict and create_graph and g is not None and not g.requires_grad:
                raise RuntimeError(f"The jacobian of the user-provided function is independent of input {number}. This "
                                   f"is not allowed in strict mode when create_graph=True.")
            columns[k].append(zeros_like(t) if g is None else g)
    return tuple(stack_rows(c, shape + t._read().type.shape) if c else _blank(out, t)
                 for c, t in zip(columns, ins, strict=True))


def _blank(out: Any, t: Any) -> Any:
    type = t._read().type
    return TapedSpace.tensor(TAPE.zeros(type.with_shape(out._read().type.shape + type.shape)))


def _forward_jacobian(func: Callable[..., Any], ins: tuple, several_in: bool, create_graph: bool, strict: bool) -> Any:
    if strict or create_graph:
        name = "strict" if strict else "create_graph"
        kind = RuntimeError if strict else NotImplementedError
        raise kind(f'torch.autograd.functional.jacobian: `{name}=True` and `strategy="forward-mode"` are not supported '
                   f'together (yet). Please either set `{name}=False` or `strategy="reverse-mode"`.')
    columns: list[list[list[Any]]] = []     # input, element, output
    several, outputs = False, ()
    for k, t in enumerate(ins):
        columns.append([])
        for j in range(t._read().type.size):
            v = tuple(unit(x, j) if i == k else zeros_like(x) for i, x in enumerate(ins))
            out, tangents = jvp(func, ins, v if several_in else v[0])
            several = isinstance(out, tuple)
            outputs = out if several else (out,)
            columns[-1].append(list(tangents if several else (tangents,)))
    rows = []
    for o, out in enumerate(outputs):
        row = []
        for k, t in enumerate(ins):
            shape = out._read().type.shape
            flat = stack_rows([c[o] for c in columns[k]], (t._read().type.size, out._read().type.size))
            turned = TapedSpace.tensor(TAPE.permute(_taped(flat), (1, 0)))
            row.append(reshape(turned, shape + t._read().type.shape))
        rows.append(_unpack(_finish(tuple(row), False), several_in))
    return _unpack(tuple(rows), several)


def hessian(func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The matrix of second derivatives of a function with one element as result.

    For inputs ``i`` and ``j``, a tensor of shape ``i.shape + j.shape``. torch: ``autograd.functional.hessian``
    """
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    several, ins = _as_tuple(inputs, "inputs", "hessian")

    def slope(*xs: Any) -> tuple:
        def scalar(*ys: Any) -> Any:
            many, out = _as_tuple(func(*ys), "outputs of the user-provided function", "hessian")
            _check_strict(out, _no_gradient, strict)
            _scalar_only(many, out, "hessian")
            return reshape(out[0], ())
        found = jacobian(scalar, xs, create_graph=True)
        _check_strict(found, lambda i: f"While computing the hessian, found that the jacobian of the user-provided "
                                       f"function with respect to input {i} is independent of the input. This is not "
                                       f"allowed in strict mode. You should ensure that your function is twice "
                                       f"differentiable and that the jacobian depends on the inputs (this would be "
                                       f"violated by a linear function for example).", strict)
        return found

    found = jacobian(slope, ins, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0][0]
