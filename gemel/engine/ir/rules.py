"""Result types: the dtype and shape rules of the primitives, as small functions used by the table.

They check what the IR requires and raise in the user's terms. Operands of elementwise primitives have one
shape: promotion and broadcasting are made explicit (``cast``, ``expand``) before an op is recorded.
"""
from __future__ import annotations

import math

from ..base import dtypes as dt
from ..base.errors import DTypeError, ShapeError
from .op import Attrs
from .types import TensorType, parse_type, tensor_type


def _same(name: str, *types: TensorType) -> TensorType:
    first = types[0]
    for other in types[1:]:
        if other is first:
            continue
        if other.shape != first.shape:
            raise ShapeError(f"{name}: operands must have one shape. Received: {first} and {other}")
        raise DTypeError(f"{name}: operands must have one dtype. Received: {first} and {other}")
    return first


def like_operand(kinds: str):
    """Elementwise on one or more operands of a type whose kind is in ``kinds``; the result has that type."""
    def rule(attrs: Attrs, *types: TensorType) -> TensorType:
        first = _same("elementwise op", *types)
        if first.dtype.kind not in kinds:
            raise DTypeError(f"not implemented for {first.dtype.name}: expects "
                             f"{' or '.join(_KIND_NAMES[k] for k in kinds)}. Received: {first}")
        return first
    return rule


_KIND_NAMES = {"f": "floating point", "i": "signed integers", "u": "unsigned integers", "b": "bool", "c": "complex"}


def absolute(attrs: Attrs, x: TensorType) -> TensorType:
    return x.with_dtype(dt.component(x.dtype))


def compare(attrs: Attrs, x: TensorType, y: TensorType) -> TensorType:
    return _same("comparison", x, y).with_dtype(dt.bool_)


def select(attrs: Attrs, condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype is not dt.bool_:
        raise DTypeError(f"select: the condition must be bool. Received: {condition}")
    _same("select", condition.with_dtype(x.dtype), x)
    return _same("select", x, y)


def cast(attrs: Attrs, x: TensorType) -> TensorType:
    return x.with_dtype(attrs.dtype)


def bitcast(attrs: Attrs, x: TensorType) -> TensorType:
    if attrs.dtype.bits != x.dtype.bits:
        raise DTypeError(f"bitcast needs types of one width. Received: {x} to {attrs.dtype.name}")
    return x.with_dtype(attrs.dtype)


def make_complex(attrs: Attrs, re: TensorType, im: TensorType) -> TensorType:
    first = _same("complex", re, im)
    if first.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"complex: parts must be float32 or float64. Received: {re} and {im}")
    return first.with_dtype(dt.complex64 if first.dtype is dt.float32 else dt.complex128)


# --- leaves --------------------------------------------------------------------------------------

def const(attrs: Attrs) -> TensorType:
    return parse_type(attrs.type) if isinstance(attrs.type, str) else attrs.type


def iota(attrs: Attrs) -> TensorType:
    if not 0 <= attrs.axis < len(attrs.shape):
        raise ShapeError(f"iota: axis {attrs.axis} is outside of shape {attrs.shape}")
    return tensor_type(attrs.dtype, attrs.shape)


def random_bits(attrs: Attrs, key: TensorType, counter: TensorType) -> TensorType:
    for t in (key, counter):
        if t.dtype is not dt.uint64 or t.shape != ():
            raise DTypeError(f"random_bits: key and counter are u64 scalars. Received: {key} and {counter}")
    if attrs.dtype not in (dt.uint32, dt.uint64):
        raise DTypeError(f"random_bits gives uint32 or uint64. Received: {attrs.dtype.name}")
    return tensor_type(attrs.dtype, attrs.shape)


# --- movement ------------------------------------------------------------------------------------

def reshape(attrs: Attrs, x: TensorType) -> TensorType:
    if math.prod(attrs.shape) != x.size:
        raise ShapeError(f"shape '{list(attrs.shape)}' is invalid for input of size {x.size}. "
                         f"Received a tensor of shape {list(x.shape)}")
    return x.with_shape(attrs.shape)


def permute(attrs: Attrs, x: TensorType) -> TensorType:
    if sorted(attrs.axes) != list(range(x.ndim)):
        raise ShapeError(f"permute: {attrs.axes} is not an order of the {x.ndim} axes of {list(x.shape)}")
    return x.with_shape(tuple(x.shape[a] for a in attrs.axes))


def expand(attrs: Attrs, x: TensorType) -> TensorType:
    """Right-aligned broadcast, as ``numpy.broadcast_to``."""
    lead = len(attrs.shape) - x.ndim
    if lead < 0 or any(s not in (1, d) for s, d in zip(x.shape, attrs.shape[lead:], strict=True)):
        raise ShapeError(f"cannot broadcast a tensor of shape {list(x.shape)} to {list(attrs.shape)}: "
                         f"sizes must match or be 1, aligned at the right")
    return x.with_shape(attrs.shape)


def pad(attrs: Attrs, x: TensorType, value: TensorType) -> TensorType:
    """``low``/``high`` elements of ``value`` before/after each axis (>= 0)."""
    if not len(attrs.low) == len(attrs.high) == x.ndim or any(n < 0 for n in attrs.low + attrs.high):
        raise ShapeError(f"pad: needs one non-negative width per axis and side. Received: low={attrs.low} "
                         f"high={attrs.high} for shape {list(x.shape)}")
    if value.shape != () or value.dtype is not x.dtype:
        raise DTypeError(f"pad: the value must be a {x.dtype.name} scalar. Received: {value}")
    return x.with_shape(tuple(lo + n + hi for lo, n, hi in zip(attrs.low, x.shape, attrs.high, strict=True)))


def slice_(attrs: Attrs, x: TensorType) -> TensorType:
    shape = []
    for axis, (start, stop, step) in enumerate(zip(attrs.start, attrs.stop, attrs.step, strict=True)):
        if not (0 <= start <= stop <= x.shape[axis] and step >= 1):
            raise ShapeError(f"slice [{start}:{stop}:{step}] is outside of axis {axis} of shape {list(x.shape)}")
        shape.append(-(-(stop - start) // step))
    return x.with_shape(tuple(shape))


def flip(attrs: Attrs, x: TensorType) -> TensorType:
    _axes_of("flip", attrs.axes, x)
    return x


def cat(attrs: Attrs, *xs: TensorType) -> TensorType:
    first = xs[0]
    for other in xs[1:]:
        if other.dtype is not first.dtype:
            raise DTypeError(f"cat: operands must have one dtype. Received: {', '.join(map(str, xs))}")
        if other.ndim != first.ndim or any(
            a != b for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if i != attrs.axis
        ):
            raise ShapeError(f"Sizes of tensors must match except in dimension {attrs.axis}. "
                             f"Received: {', '.join(str(list(x.shape)) for x in xs)}")
    total = sum(x.shape[attrs.axis] for x in xs)
    return first.with_shape(tuple(total if i == attrs.axis else d for i, d in enumerate(first.shape)))


# --- reductions, scans, sort ---------------------------------------------------------------------

def _axes_of(name: str, axes: tuple[int, ...], x: TensorType) -> None:
    if len(set(axes)) != len(axes) or any(not 0 <= a < x.ndim for a in axes):
        raise ShapeError(f"{name}: axes {axes} do not fit shape {list(x.shape)}")


def reduce(attrs: Attrs, x: TensorType) -> TensorType:
    _axes_of("reduce", attrs.axes, x)
    return x.with_shape(tuple(d for i, d in enumerate(x.shape) if i not in attrs.axes))


def reduce_nonempty(attrs: Attrs, x: TensorType) -> TensorType:
    result = reduce(attrs, x)
    if x.size == 0 and result.size:
        raise ShapeError(f"cannot take the maximum or minimum over the empty axes {attrs.axes} of {list(x.shape)}: "
                         f"the operation has no identity")
    return result


def arg_reduce(attrs: Attrs, x: TensorType) -> TensorType:
    _axes_of("argmax/argmin", (attrs.axis,), x)
    shape = tuple(d for i, d in enumerate(x.shape) if i != attrs.axis)
    if x.shape[attrs.axis] == 0 and math.prod(shape):
        raise ShapeError(f"argmax/argmin: axis {attrs.axis} of {list(x.shape)} is empty")
    return tensor_type(dt.int64, shape)


def scan(attrs: Attrs, x: TensorType) -> TensorType:
    _axes_of("scan", (attrs.axis,), x)
    return x


def sort(attrs: Attrs, x: TensorType) -> tuple[TensorType, TensorType]:
    _axes_of("sort", (attrs.axis,), x)
    return x, tensor_type(dt.int64, x.shape)


# --- contractions --------------------------------------------------------------------------------

def dot(attrs: Attrs, x: TensorType, y: TensorType) -> TensorType:
    """Result axes: batch axes, free axes of x, free axes of y."""
    if x.dtype is not y.dtype:
        raise DTypeError(f"dot: operands must have one dtype. Received: {x} and {y}")
    for a, b in (*zip(attrs.x_contract, attrs.y_contract, strict=True),
                 *zip(attrs.x_batch, attrs.y_batch, strict=True)):
        if x.shape[a] != y.shape[b]:
            raise ShapeError(f"dot: axis {a} of {list(x.shape)} and axis {b} of {list(y.shape)} differ")
    return tensor_type(
        attrs.dtype,
        tuple(x.shape[a] for a in attrs.x_batch)
        + tuple(d for i, d in enumerate(x.shape) if i not in attrs.x_contract + attrs.x_batch)
        + tuple(d for i, d in enumerate(y.shape) if i not in attrs.y_contract + attrs.y_batch))


def conv_sizes(size: tuple[int, ...], kernel: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    """Output sizes of a convolution: ``(n + lo + hi - dilation * (k - 1) - 1) // stride + 1``."""
    return tuple((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), d in
                 zip(size, kernel, attrs.stride, attrs.padding, attrs.dilation, strict=True))


def conv(attrs: Attrs, x: TensorType, w: TensorType) -> TensorType:
    """x (N, C_in, *size), w (C_out, C_in/groups, *kernel) -> (N, C_out, *out)."""
    if x.dtype is not w.dtype:
        raise DTypeError(f"Input type ({x.dtype.name}) and weight type ({w.dtype.name}) should be the same")
    groups = attrs.groups
    if x.ndim != w.ndim or x.ndim < 3:
        raise ShapeError(f"conv: input and weight must have the same number of axes (>= 3). Received: "
                         f"{list(x.shape)} and {list(w.shape)}")
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(w.shape)}, expected input{list(x.shape)} to have "
            f"{w.shape[1] * groups} channels, but got {x.shape[1]} channels instead")
    out = conv_sizes(x.shape[2:], w.shape[2:], attrs)
    if any(n < 0 or (n == 0 and m > 0) for n, m in zip(out, x.shape[2:], strict=True)):
        raise ShapeError(f"Kernel size {list(w.shape[2:])} (dilation {list(attrs.dilation)}) can't be greater than "
                         f"the padded input size of {list(x.shape)} with padding {list(attrs.padding)}")
    return tensor_type(x.dtype, (x.shape[0], w.shape[0], *out))


def conv_transpose(attrs: Attrs, g: TensorType, w: TensorType) -> TensorType:
    """g (N, C_out, *out), w (C_out, C_in/groups, *kernel) -> (N, C_in, *size): conv's gradient in its input."""
    if g.dtype is not w.dtype:
        raise DTypeError(f"Input type ({g.dtype.name}) and weight type ({w.dtype.name}) should be the same")
    if g.shape[1] != w.shape[0] or w.shape[0] % attrs.groups:
        raise ShapeError(f"Given transposed=1, weight of size {list(w.shape)}, expected input{list(g.shape)} to have "
                         f"{w.shape[0]} channels, but got {g.shape[1]} channels instead")
    if conv_sizes(attrs.size, w.shape[2:], attrs) != g.shape[2:]:
        raise ShapeError(f"conv_transpose: an input of size {list(attrs.size)} does not give {list(g.shape[2:])}")
    return tensor_type(g.dtype, (g.shape[0], w.shape[1] * attrs.groups, *attrs.size))


def conv_weight_grad(attrs: Attrs, x: TensorType, g: TensorType) -> TensorType:
    """x (N, C_in, *size), g (N, C_out, *out) -> (C_out, C_in/groups, *kernel)."""
    if x.dtype is not g.dtype or x.shape[0] != g.shape[0]:
        raise ShapeError(f"conv_weight_grad: input and output gradient do not fit. Received: {x} and {g}")
    return tensor_type(x.dtype, (g.shape[1], x.shape[1] // attrs.groups, *attrs.kernel))


# --- indexing ------------------------------------------------------------------------------------

def take(attrs: Attrs, x: TensorType, index: TensorType) -> TensorType:
    """``x`` with axis replaced by the axes of ``index``: result[.., i.., ..] = x[.., index[i..], ..]."""
    _axes_of("take", (attrs.axis,), x)
    if not index.dtype.is_integer:
        raise DTypeError(f"take: the index must be an integer tensor. Received: {index}")
    return x.with_shape(x.shape[:attrs.axis] + index.shape + x.shape[attrs.axis + 1:])


def scatter(attrs: Attrs, x: TensorType, index: TensorType, updates: TensorType) -> TensorType:
    """``updates`` has the type of ``take(x, index)``; combined into ``x`` in rising order of source index."""
    if take(attrs, x, index) is not updates:
        raise ShapeError(f"scatter: updates must be {take(attrs, x, index)}. Received: {updates}")
    if attrs.mode not in ("set", "add", "mul", "max", "min"):
        raise ValueError(f"scatter: unknown mode {attrs.mode!r}")
    return x


def dynamic_slice(attrs: Attrs, x: TensorType, *starts: TensorType) -> TensorType:
    """One i64 scalar start per axis, clamped so that the slice lies inside, with strides ``step``."""
    _starts("dynamic_slice", x, starts)
    if len(attrs.shape) != x.ndim or any(
        n > 0 and (n - 1) * s + 1 > d for n, s, d in zip(attrs.shape, attrs.step, x.shape, strict=True)
    ):
        raise ShapeError(f"dynamic_slice: {attrs.shape} does not fit into {list(x.shape)}")
    return x.with_shape(attrs.shape)


def dynamic_update(attrs: Attrs, x: TensorType, update: TensorType, *starts: TensorType) -> TensorType:
    _starts("dynamic_update", x, starts)
    if update.dtype is not x.dtype or update.ndim != x.ndim or any(
        n > 0 and (n - 1) * s + 1 > d for n, s, d in zip(update.shape, attrs.step, x.shape, strict=True)
    ):
        raise ShapeError(f"dynamic_update: {update} does not fit into {x}")
    return x


def _starts(name: str, x: TensorType, starts: tuple[TensorType, ...]) -> None:
    if len(starts) != x.ndim or any(s.shape != () or s.dtype is not dt.int64 for s in starts):
        raise ShapeError(f"{name}: needs {x.ndim} i64 scalar starts. Received: {', '.join(map(str, starts))}")


# --- control -------------------------------------------------------------------------------------

def cond(attrs: Attrs, predicate: TensorType, *operands: TensorType) -> tuple[TensorType, ...]:
    if predicate.dtype is not dt.bool_ or predicate.shape != ():
        raise DTypeError(f"if: the predicate must be a bool scalar. Received: {predicate}")
    for name, branch in (("then", attrs.then), ("otherwise", attrs.otherwise)):
        _fits(f"if: branch '{name}'", branch, operands)
    first, second = attrs.then.output_types, attrs.otherwise.output_types
    if first != second:
        raise ShapeError(f"if: both branches must give the same types. Received: {first} and {second}")
    return first


def while_(attrs: Attrs, *state: TensorType) -> tuple[TensorType, ...]:
    """State in, state out; ``condition`` gives a bool scalar. The last ``n_fixed`` operands do not change."""
    _fits("while: condition", attrs.condition, state)
    _fits("while: body", attrs.body, state)
    carried = state[:len(state) - attrs.n_fixed]
    if attrs.condition.output_types != (tensor_type(dt.bool_),):
        raise DTypeError(f"while: the condition must give a bool scalar, not {attrs.condition.output_types}")
    if attrs.body.output_types != carried:
        raise ShapeError(f"while: the body must give the types of the state. Received: {attrs.body.output_types} "
                         f"for a state of {carried}")
    return carried


def loop(attrs: Attrs, *operands: TensorType) -> tuple[TensorType, ...]:
    """``trips`` times: body(step i64, *carried, *fixed) -> (*carried, *stacked); stacked gain a leading axis.

    ``backwards``: the steps are gone through from the last to the first; what each stacks lies at its own number.
    """
    n_carried = attrs.n_carried
    _fits("loop: body", attrs.body, (tensor_type(dt.int64), *operands))
    results = attrs.body.output_types
    if results[:n_carried] != operands[:n_carried]:
        raise ShapeError(f"loop: the body must give the types of the carried state. Received: "
                         f"{results[:n_carried]} for {operands[:n_carried]}")
    return operands[:n_carried] + tuple(t.with_shape((attrs.trips, *t.shape)) for t in results[n_carried:])


def _fits(what: str, program, types: tuple[TensorType, ...]) -> None:
    if program.input_types != types:
        raise ShapeError(f"{what} takes {program.input_types}. Received: {types}")


def custom(attrs: Attrs, *operands: TensorType) -> tuple[TensorType, ...]:
    from .custom import lookup
    return lookup(attrs.name).result_types(attrs.arguments, operands)


def check(attrs: Attrs, condition: TensorType, x: TensorType) -> TensorType:
    """The identity on ``x``, where ``condition`` (bool, any shape) holds everywhere; else ``CheckError``."""
    if condition.dtype is not dt.bool_:
        raise DTypeError(f"check: the condition must be bool. Received: {condition}")
    return x
