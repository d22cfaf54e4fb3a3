"""Batching (vmap): one rule per primitive, written in primitives.

A rule sees the operands of one operation as they are in memory: those that are batched have the batch axis in front,
the others are the same for every example. It returns the results of all examples at once, batch axis in front. A
row of the result has the bits that the operation gives for that example alone.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.dtypes import bool_, int64
from ..base.errors import UnsupportedError
from ..ir.builder import Builder, ProgramBuilder
from ..ir.custom import lookup
from ..ir.op import Op, op
from ..ir.primitives import PRIMITIVES, ROWS
from ..ir.program import Program, Var
from ..ir.types import TensorType, tensor_type
from .program import body_of


@dataclass(slots=True)
class Batch:
    """One operation on batched operands.

    Attributes:
        op: the op for one example. size: number of examples. values: operands. batched: which of them are batched.
        types: types of the operands of one example.
    """

    op: Op
    size: int
    values: Sequence[Any]
    batched: tuple[bool, ...]
    types: tuple[TensorType, ...]

    @property
    def attrs(self):
        return self.op.attrs

    def whole(self, b: Builder, i: int) -> Any:
        """Operand ``i`` with its batch axis, made if it has none."""
        return stacked(b, self.values[i], self.batched[i], self.size)

    def all(self, b: Builder) -> list[Any]:
        return [self.whole(b, i) for i in range(len(self.values))]


def stacked(b: Builder, value: Any, is_batched: bool, size: int) -> Any:
    """The value with a batch axis in front."""
    return value if is_batched else b.expand(value, (size, *value.type.shape))


Rule = Callable[[Builder, Batch], Any]
BATCH_RULES: dict[str, Rule] = {}


def batching(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of one or more ops."""
    def register(rule: Rule) -> Rule:
        for name in names:
            if name in BATCH_RULES:
                raise ValueError(f"{name!r} has a batching rule already")
            BATCH_RULES[name] = rule
        return rule
    return register


def batched_results(b: Builder, the_op: Op, values: Sequence[Any], batched: tuple[bool, ...],
                    size: int) -> tuple[Any, ...]:
    """The results of ``the_op`` for all examples, each with a batch axis in front; some operand is batched."""
    types = tuple([v.type.with_shape(v.type.shape[1:]) if is_batched else v.type
                   for v, is_batched in zip(values, batched, strict=True)])
    s = Batch(the_op, size, values, batched, types)
    rule = BATCH_RULES.get(the_op.name)
    if rule is None:
        if the_op.row.body is None:
            raise UnsupportedError(f"vmap: {the_op.name!r} has no batching rule")
        rule = _through_body
    found = rule(b, s)
    return found if found.__class__ is tuple else (found,)


# --- programs ---------------------------------------------------------------------------------------

_programs: dict[tuple, tuple[Program, tuple[bool, ...]]] = {}


def batched_program(program: Program, batched: tuple[bool, ...], size: int,
                    force: tuple[bool, ...] = ()) -> tuple[Program, tuple[bool, ...]]:
    """``program`` for ``size`` examples, and which of its results are batched (those of ``force`` are in any case)."""
    key = (program, batched, size, force)
    found = _programs.get(key)
    if found is not None:
        return found
    b = ProgramBuilder()
    inputs = [b.input(v.type.with_shape((size, *v.type.shape)) if is_batched else v.type)
              for v, is_batched in zip(program.inputs, batched, strict=True)]
    results, flags = write_batched(b, program, inputs, batched, size)
    force = force or (False,) * len(results)
    outputs = [stacked(b, v, is_batched, size) if forced else v
               for v, is_batched, forced in zip(results, flags, force, strict=True)]
    flags = tuple(x or y for x, y in zip(flags, force, strict=True))
    found = _programs[key] = b.build(outputs), flags
    return found


def write_batched(b: Builder, program: Program, operands: Sequence[Any], batched: Sequence[bool],
                  size: int) -> tuple[list[Any], tuple[bool, ...]]:
    """Write ``program`` for all examples; its results, and which of them are batched."""
    env: dict[Var, Any] = dict(zip(program.inputs, operands, strict=True))
    flag: dict[Var, bool] = dict(zip(program.inputs, batched, strict=True))
    for e in program.equations:
        values = [env[v] for v in e.inputs]
        flags = tuple([flag[v] for v in e.inputs])
        if any(flags):
            results = batched_results(b, e.op, values, flags, size)
        else:
            found = b.emit(e.op, *values)
            results = found if found.__class__ is tuple else (found,)
        env.update(zip(e.outputs, results, strict=True))
        flag.update(dict.fromkeys(e.outputs, any(flags)))
    return [env[v] for v in program.outputs], tuple(flag[v] for v in program.outputs)


#: kinds of op whose results depend, element by element, on the same element of their operands
_POINTWISE = ("unary", "binary", "select", "cast")


def _is_pointwise(the_op: Op, types: tuple[TensorType, ...]) -> bool:
    """Does a composite compute each element of its results from the same element of its operands?

    Operands without axes may be spread over all elements.
    """
    key = (the_op, types)
    found = _pointwise.get(key)
    if found is None:
        found = _pointwise[key] = _looks_pointwise(body_of(the_op, types))
    return found


_pointwise: dict[tuple, bool] = {}


def _looks_pointwise(program: Program) -> bool:
    if not program.outputs:
        return False
    shape = program.outputs[0].shape
    if not shape:
        return False
    for e in program.equations:
        if e.op.name == "const" or e.op.name == "expand":
            if e.op.name == "expand" and (e.inputs[0].shape != () or e.outputs[0].shape != shape):
                return False
        elif e.op.row.kind == "composite":
            if not _is_pointwise(e.op, tuple(v.type for v in e.inputs)):
                return False
        elif e.op.row.kind not in _POINTWISE:
            return False
    return all(v.shape in ((), shape) for e in program.equations for v in (*e.inputs, *e.outputs))


def _through_body(b: Builder, s: Batch) -> tuple[Any, ...]:
    """A composite that works element by element stays whole; another is replaced by its body."""
    if _is_pointwise(s.op, s.types) and not any(
            is_batched and t.shape == () for t, is_batched in zip(s.types, s.batched, strict=True)):
        found = b.emit(s.op, *[s.whole(b, i) if t.shape else v
                               for i, (v, t) in enumerate(zip(s.values, s.types, strict=True))])
        return found if found.__class__ is tuple else (found,)
    results, flags = write_batched(b, body_of(s.op, s.types), s.values, s.batched, s.size)
    return tuple(stacked(b, v, is_batched, s.size) for v, is_batched in zip(results, flags, strict=True))


@batching("call")
def _call(b: Builder, s: Batch) -> tuple[Any, ...]:
    program, _ = batched_program(s.attrs.program, s.batched, s.size, (True,) * len(s.attrs.program.outputs))
    return b.emit(op(ROWS["call"], program), *s.values)


# --- elementwise ------------------------------------------------------------------------------------

@batching(*(row.name for row in PRIMITIVES if row.kind in _POINTWISE))
def _elementwise(b: Builder, s: Batch) -> Any:
    return b.emit(s.op, *s.all(b))


@batching("random_bits")
def _random_bits(b: Builder, s: Batch) -> Any:
    """Each example draws from its own (key, counter)."""
    return looped(b, s)


# --- movement ---------------------------------------------------------------------------------------

def _later(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


@batching("reshape")
def _reshape(b: Builder, s: Batch) -> Any:
    return b.reshape(s.values[0], (s.size, *s.attrs.shape))


@batching("permute")
def _permute(b: Builder, s: Batch) -> Any:
    return b.permute(s.values[0], (0, *_later(s.attrs.axes)))


@batching("expand")
def _expand(b: Builder, s: Batch) -> Any:
    shape = s.attrs.shape
    lead = (1,) * (len(shape) - s.types[0].ndim)
    return b.expand(b.reshape(s.values[0], (s.size, *lead, *s.types[0].shape)), (s.size, *shape))


@batching("pad")
def _pad(b: Builder, s: Batch) -> Any:
    x, value = s.whole(b, 0), s.values[1]
    low, high = (0, *s.attrs.low), (0, *s.attrs.high)
    if not s.batched[1]:
        return b.pad(x, value, low, high)
    found = b.pad(x, b.const(0, x.type.dtype), low, high)
    inside = b.pad(b.all_true(x.type.shape), b.const(False, bool_), low, high)
    shape = found.type.shape
    return b.select(inside, found, b.expand(b.reshape(value, (s.size, *(1 for _ in shape[1:]))), shape))


@batching("slice")
def _slice(b: Builder, s: Batch) -> Any:
    a = s.attrs
    return b.slice(s.values[0], (0, *a.start), (s.size, *a.stop), (1, *a.step))


@batching("flip")
def _flip(b: Builder, s: Batch) -> Any:
    return b.flip(s.values[0], _later(s.attrs.axes))


@batching("cat")
def _cat(b: Builder, s: Batch) -> Any:
    return b.cat(s.all(b), s.attrs.axis + 1)


# --- reductions, scans, sort ------------------------------------------------------------------------

@batching("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
def _reduce(b: Builder, s: Batch) -> Any:
    return b.emit(op(s.op.row, _later(s.attrs.axes)), s.values[0])


@batching("argmax", "argmin", "cumsum", "cumprod", "cummax", "cummin")
def _along(b: Builder, s: Batch) -> Any:
    return b.emit(op(s.op.row, s.attrs.axis + 1), s.values[0])


@batching("sort")
def _sort(b: Builder, s: Batch) -> Any:
    return b.sort(s.values[0], s.attrs.axis + 1, s.attrs.descending)


# --- contractions -----------------------------------------------------------------------------------

def to_front(b: Builder, x: Any, axis: int) -> Any:
    """``x`` with ``axis`` moved to the front."""
    return b.permute(x, (axis, *(i for i in range(x.type.ndim) if i != axis)))


@batching("dot")
def _dot(b: Builder, s: Batch) -> Any:
    a, (x, y) = s.attrs, s.values
    x_batched, y_batched = s.batched
    x_contract, x_batch = (_later(a.x_contract), _later(a.x_batch)) if x_batched else (a.x_contract, a.x_batch)
    y_contract, y_batch = (_later(a.y_contract), _later(a.y_batch)) if y_batched else (a.y_contract, a.y_batch)
    if x_batched and y_batched:
        return b.dot(x, y, x_contract, y_contract, (0, *x_batch), (0, *y_batch), a.dtype)
    found = b.dot(x, y, x_contract, y_contract, x_batch, y_batch, a.dtype)
    free = 0 if x_batched else s.types[0].ndim - len(a.x_contract) - len(a.x_batch)
    return to_front(b, found, len(a.x_batch) + free)


def _merged(b: Builder, x: Any, axis: int) -> Any:
    """The batch axis, in front, made part of ``axis`` (counted without it): (B, .., n, ..) -> (.., B*n, ..)."""
    shape = x.type.shape
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(shape)))
    rest = shape[1:]
    return b.reshape(b.permute(x, order), (*rest[:axis], shape[0] * rest[axis], *rest[axis + 1:]))


def _parted(b: Builder, x: Any, axis: int, size: int) -> Any:
    """Inverse of :func:`_merged`."""
    shape = x.type.shape
    found = b.reshape(x, (*shape[:axis], size, shape[axis] // size, *shape[axis + 1:]))
    return to_front(b, found, axis)


def _grouped(s: Batch, groups: int) -> Op:
    """The op with another number of groups (its last attribute)."""
    return op(s.op.row, *s.attrs.values[:-1], groups)


@batching("conv", "conv_transpose")
def _conv(b: Builder, s: Batch) -> Any:
    """One weight: the examples are more rows. A weight each: the examples are groups."""
    if not s.batched[1]:
        return _parted(b, b.emit(s.op, _merged(b, s.values[0], 0), s.values[1]), 0, s.size)
    the_op = _grouped(s, s.attrs.groups * s.size)
    found = b.emit(the_op, _merged(b, s.whole(b, 0), 1), _merged(b, s.values[1], 0))
    return _parted(b, found, 1, s.size)


@batching("conv_weight_grad")
def _conv_weight_grad(b: Builder, s: Batch) -> Any:
    the_op = _grouped(s, s.attrs.groups * s.size)
    return _parted(b, b.emit(the_op, _merged(b, s.whole(b, 0), 1), _merged(b, s.whole(b, 1), 1)), 0, s.size)


# --- indexing: examples become sections of one long axis --------------------------------------------

def _section(b: Builder, index: Any, n: int, size: int, drop: bool) -> Any:
    """Row numbers in the joined axis of ``size * n`` rows; outside of 0..n: clamped, or (``drop``) behind the end."""
    shape = index.type.shape
    index = b.cast(index, int64)
    first = b.mul(b.iota(int64, shape, 0), b.full(n, int64, shape))
    low, top = b.full(0, int64, shape), b.full(max(n - 1, 0), int64, shape)
    if not drop:
        return b.add(b.min(b.max(index, low), top), first)
    inside = b.and_(b.le(low, index), b.lt(index, b.full(n, int64, shape)))
    return b.select(inside, b.add(index, first), b.full(size * n, int64, shape))


def _rows(b: Builder, x: Any, axis: int) -> Any:
    """(B, lead, n, rest) -> (B*n, lead, rest)"""
    ndim = x.type.ndim
    order = (0, axis + 1, *(i for i in range(1, ndim) if i != axis + 1))
    moved = b.permute(x, order)
    return b.reshape(moved, (moved.type.shape[0] * moved.type.shape[1], *moved.type.shape[2:]))


@batching("take")
def _take(b: Builder, s: Batch) -> Any:
    x, index = s.values
    axis = s.attrs.axis
    if not s.batched[1]:
        return b.take(x, index, axis + 1)
    if not s.batched[0]:
        return to_front(b, b.take(x, index, axis), axis)
    n, k = s.types[0].shape[axis], s.types[1].ndim
    found = b.take(_rows(b, x, axis), _section(b, index, n, s.size, False), 0)  # (B, index, lead, rest)
    return b.permute(found, (0, *range(k + 1, k + 1 + axis), *range(1, k + 1), *range(k + 1 + axis, found.type.ndim)))


@batching("scatter")
def _scatter(b: Builder, s: Batch) -> Any:
    x, index, updates = s.whole(b, 0), s.values[1], s.whole(b, 2)
    axis, mode = s.attrs.axis, s.attrs.mode
    if not s.batched[1]:
        return b.scatter(x, index, updates, axis + 1, mode)
    shape, k = s.types[0].shape, s.types[1].ndim
    n, ndim = shape[axis], len(shape)
    order = (0, *range(1 + axis, 1 + axis + k), *range(1, 1 + axis), *range(1 + axis + k, updates.type.ndim))
    rows = b.scatter(_rows(b, x, axis), _section(b, index, n, s.size, True), b.permute(updates, order), 0, mode)
    rest = shape[:axis] + shape[axis + 1:]
    found = b.reshape(rows, (s.size, n, *rest))  # (B, n, lead, rest)
    return b.permute(found, (0, *range(2, 2 + axis), 1, *range(2 + axis, ndim + 1)))


def _window_rows(b: Builder, s: Batch, starts: Sequence[Any], flags: Sequence[bool], shape: tuple[int, ...],
                 step: tuple[int, ...], size: tuple[int, ...]) -> Any:
    """Positions, in the batch written as one row, of a window of ``shape`` in each example of ``size``."""
    whole = (s.size, *shape)
    total = math.prod(size)
    at = b.mul(b.iota(int64, whole, 0), b.full(total, int64, whole))
    stride = total
    for d, (start, is_batched) in enumerate(zip(starts, flags, strict=True)):
        stride //= max(size[d], 1)
        last = size[d] - ((shape[d] - 1) * step[d] + 1 if shape[d] else 0)
        start = b.min(b.max(start, b.full_like(start, 0)), b.full_like(start, last))
        spread = b.expand(b.reshape(start, (start.type.size, *(1 for _ in shape))) if is_batched else start, whole)
        inner = b.mul(b.iota(int64, whole, d + 1), b.full(step[d], int64, whole))
        at = b.add(at, b.mul(b.add(spread, inner), b.full(stride, int64, whole)))
    return at


@batching("dynamic_slice")
def _dynamic_slice(b: Builder, s: Batch) -> Any:
    x, *starts = s.values
    shape, step = s.attrs.shape, s.attrs.step
    if not any(s.batched[1:]):
        return b.dynamic_slice(x, [b.index_scalar(0), *starts], (s.size, *shape), (1, *step))
    x = s.whole(b, 0)
    at = _window_rows(b, s, starts, s.batched[1:], shape, step, s.types[0].shape)
    return b.take(b.reshape(x, (x.type.size,)), at, 0)


@batching("dynamic_update")
def _dynamic_update(b: Builder, s: Batch) -> Any:
    x, update, starts = s.whole(b, 0), s.whole(b, 1), s.values[2:]
    step = s.attrs.step
    if not any(s.batched[2:]):
        return b.dynamic_update(x, update, [b.index_scalar(0), *starts], (1, *step))
    at = _window_rows(b, s, starts, s.batched[2:], s.types[1].shape, step, s.types[0].shape)
    flat = b.scatter(b.reshape(x, (x.type.size,)), at, update, 0, "set")
    return b.reshape(flat, x.type.shape)


# --- control ----------------------------------------------------------------------------------------

@batching("check")
def _check(b: Builder, s: Batch) -> Any:
    return b.check(s.values[0], s.whole(b, 1), s.attrs.message)


@batching("if")
def _if(b: Builder, s: Batch) -> Any:
    """One predicate: one branch for all. A predicate each: both branches, and a choice per example."""
    predicate, *operands = s.values
    a, flags = s.attrs, s.batched[1:]
    everything = (True,) * len(a.then.outputs)
    then, _ = batched_program(a.then, flags, s.size, everything)
    otherwise, _ = batched_program(a.otherwise, flags, s.size, everything)
    if not s.batched[0]:
        return b.if_(predicate, then, otherwise, operands)
    return tuple(_choose(b, predicate, x, y) for x, y in
                 zip(b.inline(then, operands), b.inline(otherwise, operands), strict=True))


def _choose(b: Builder, condition: Any, x: Any, y: Any) -> Any:
    """Per example: ``condition`` is (B,)."""
    shape = x.type.shape
    return b.select(b.expand(b.reshape(condition, (shape[0], *(1 for _ in shape[1:]))), shape), x, y)


@batching("loop")
def _loop(b: Builder, s: Batch) -> Any:
    a, n = s.attrs, s.attrs.n_carried
    flags, fixed = s.batched[:n], s.batched[n:]
    stacks = (True,) * (len(a.body.outputs) - n)
    while True:
        body, found = batched_program(a.body, (False, *flags, *fixed), s.size, (*flags, *stacks))
        if found[:n] == flags:
            break
        flags = found[:n]
    carried = [stacked(b, v, was, s.size) if flag else v
               for v, was, flag in zip(s.values[:n], s.batched[:n], flags, strict=True)]
    results = b.loop(body, a.trips, carried, s.values[n:], a.backwards)
    state = [stacked(b, v, flag, s.size) for v, flag in zip(results[:n], flags, strict=True)]
    return (*state, *(b.permute(v, (1, 0, *range(2, v.type.ndim))) for v in results[n:]))


@batching("while")
def _while(b: Builder, s: Batch) -> Any:
    """Where the condition differs between examples all go on until the last has finished; who has, keeps its state."""
    a = s.attrs
    n = len(s.values) - a.n_fixed
    flags, fixed = s.batched[:n], s.batched[n:]
    while True:
        condition, (differs,) = batched_program(a.condition, (*flags, *fixed), s.size)
        if differs:
            flags = (True,) * n
            condition, _ = batched_program(a.condition, (*flags, *fixed), s.size, (True,))
        body, found = batched_program(a.body, (*flags, *fixed), s.size, flags)
        if found == flags:
            break
        flags = found
    if differs:
        condition, body = _until_all(condition, body, n)
    state = [stacked(b, v, was, s.size) if flag else v
             for v, was, flag in zip(s.values[:n], s.batched[:n], flags, strict=True)]
    results = b.while_(condition, body, [*state, *s.values[n:]], a.n_fixed)
    return tuple(stacked(b, v, flag, s.size) for v, flag in zip(results, flags, strict=True))


def _until_all(condition: Program, body: Program, n: int) -> tuple[Program, Program]:
    c = ProgramBuilder()
    (go_on,) = c.inline(condition, [c.input(t) for t in condition.input_types])
    some = c.build([c.reduce_max(go_on, (0,))])
    b = ProgramBuilder()
    operands = [b.input(t) for t in body.input_types]
    (go_on,) = b.inline(condition, operands)
    following = b.inline(body, operands)
    return some, b.build([_choose(b, go_on, new, old) for new, old in zip(following, operands[:n], strict=True)])


@batching("custom")
def _custom(b: Builder, s: Batch) -> Any:
    custom = lookup(s.attrs.name)
    if custom.vmap is None:
        return looped(b, s)
    return tuple(custom.vmap(b, s.attrs.arguments, s.values, s.batched))


def looped(b: Builder, s: Batch) -> Any:
    """One example after the other: for what cannot be batched."""
    body = ProgramBuilder()
    step = body.input(tensor_type(int64))
    whole = [body.input(v.type) for v in s.values]
    operands = []
    for v, is_batched, t in zip(whole, s.batched, s.types, strict=True):
        if is_batched:
            starts = [step] + [body.index_scalar(0)] * t.ndim
            v = body.reshape(body.dynamic_slice(v, starts, (1, *t.shape), (1,) * (t.ndim + 1)), t.shape)
        operands.append(v)
    found = body.emit(s.op, *operands)
    results = found if found.__class__ is tuple else (found,)
    stacks = b.loop(body.build(results), s.size, [], s.values)
    return tuple(stacks)
