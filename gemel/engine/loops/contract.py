"""Schedule of ``dot`` groups: from a fused group to a contraction problem.

Every operand is brought to strides along batch, m, n and k variables: movement in front of an operand becomes
strides, neighbouring variables merge. More than one m or n variable left over become batch dimensions. An operand
whose k variables do not merge is copied first, k outermost where its own dimension is contiguous; with too many batch
dimensions both are. The elementwise nodes of the group are the epilogue.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..base import dtypes as dt
from ..ir.program import Equation, Var
from ..ir.types import tensor_type
from .assemble import copy_into
from .calls import Call, Operand, Refusal, Schedule
from .expression import Expression
from .gemm import GemmProblem, gemm
from .gemm.problem import MAX_BATCH, Access
from .group import Group
from .index import ZERO, Affine, Domain, Index, offset_of
from .rowwise.schedule import Context
from .sharing import numbered


@dataclass
class Array:
    """One array of the contraction: element offset in loop variables."""

    value: Any
    dtype: dt.DType
    at: Affine

    def stride(self, v: int) -> int:
        return dict(self.at.terms).get(v, 0)

    def operand(self) -> Operand:
        size = self.dtype.itemsize
        return Operand(self.value, self.at.const * size, tuple((s, c * size) for s, c in self.at.dynamic))


def _index_of(result: Index, k_axes: Index, contract: tuple[int, ...], batch: tuple[int, ...], ndim: int,
              first_free: int) -> Index:
    """Logical index of an operand: batch axes, its free axes from ``first_free`` of the result on, contracted axes."""
    found: list[Affine] = [ZERO] * ndim
    for i, axis in enumerate(batch):
        found[axis] = result[i]
    for a, axis in zip(k_axes, contract, strict=True):
        found[axis] = a
    free = [axis for axis in range(ndim) if axis not in contract and axis not in batch]
    for i, axis in enumerate(free):
        found[axis] = result[first_free + i]
    return tuple(found)


def epilogue(g: Group, context: Context) -> tuple[Expression | None, list[tuple[Var, Index]], list[Var]]:
    """The group's elementwise nodes as an expression on the anchor's result.

    Returns:
        expression (None: none), the values that its further inputs read with their index, and what is stored.
    """
    anchor = g.anchor
    assert anchor is not None
    result = anchor.output
    inputs: list[tuple[Var, Index]] = []
    dtypes = [result.type.dtype]
    keys: dict[tuple, int] = {}
    nodes: list[tuple[Any, tuple[Any, ...]]] = []
    node_dtypes: list[dt.DType] = []
    env: dict[Var, tuple[str, int]] = {result: ("in", 0)}

    def read(v: Var, index: Index) -> tuple[str, int]:
        key = (v, g.domain.resolve_all(index))
        if key not in keys:
            keys[key] = len(dtypes)
            dtypes.append(v.type.dtype)
            inputs.append((v, index))
        return "in", keys[key]

    def inline(v: Var) -> tuple[str, int]:
        found = env.get(v)
        if found is None:
            e = context.equation(v)
            assert e is not None
            found = env[v] = node(e, [scalar(x) for x in e.inputs])
        return found

    def scalar(x: Var) -> tuple[str, int]:
        path = context.path(x)
        root = path[-1].inputs[0] if path else x
        return inline(root) if context.inlined(root) else read(root, (ZERO,) * root.type.ndim)

    def node(e: Equation, operands: list[tuple[str, int]]) -> tuple[str, int]:
        nodes.append((e.op, tuple(operands)))
        node_dtypes.append(e.output.type.dtype)
        return "node", len(nodes) - 1

    for n, e in enumerate(g.nodes):
        if e is anchor:
            continue
        operands = []
        for position, x in enumerate(e.inputs):
            at = g.reads.get((n, position))
            if at is not None:
                operands.append(read(*at))
                continue
            path = context.path(x)
            root = path[-1].inputs[0] if path else x
            operands.append(env[root] if root in env else inline(root))
        env[e.output] = node(e, operands)

    def number(ref: tuple[str, int]) -> int:
        return ref[1] if ref[0] == "in" else len(dtypes) + ref[1]

    stores = list(g.stores)
    expression = Expression(tuple(dtypes), tuple((op, tuple(number(o) for o in operands)) for op, operands in nodes),
                            tuple(node_dtypes), tuple(number(env[v]) for v in stores))
    return (expression if nodes or stores != [result] else None), inputs, stores


def schedule_dot(g: Group, context: Context) -> Schedule:
    """The calls of a contraction with its epilogue."""
    e = g.anchor
    assert e is not None
    x, y = e.inputs
    a, d = e.op.attrs, g.domain
    result = g.index[e.output]
    n_batch = len(a.x_batch)
    n_free = x.type.ndim - n_batch - len(a.x_contract)
    k_axes = d.axes(tuple(x.shape[i] for i in a.x_contract))
    x_index = _index_of(result, k_axes, a.x_contract, a.x_batch, x.type.ndim, n_batch)
    y_index = _index_of(result, k_axes, a.y_contract, a.y_batch, y.type.ndim, n_batch + n_free)
    roles = {"batch": result[:n_batch], "m": result[n_batch:n_batch + n_free], "n": result[n_batch + n_free:],
             "k": k_axes}
    expression, reads, stores = epilogue(g, context)
    calls: list[Call] = []
    for attempt in range(2):
        arrays = [array_at(d, context, *context.resolve(d, v, index)) for v, index in ((x, x_index), (y, y_index))]
        arrays += [array_at(d, context, v, index) for v, index in reads]
        arrays += [array_at(d, context, v, g.index[v]) for v in stores]
        for array in arrays:  # splits made by later operands hold for all
            array.at = d.resolve(array.at)
        sizes = dict(enumerate(d.sizes))
        groups = {role: merge([leaf for i in index for v, _ in i.terms for leaf in d.leaves(v)], sizes, arrays)
                  for role, index in roles.items()}
        batch, m, n = _spread(groups, sizes)
        if len(groups["k"]) <= 1 and len(batch) <= MAX_BATCH:
            found = _problem(e, expression, arrays, batch, m, n, groups["k"], sizes, len(reads), context)
            return found if isinstance(found, Refusal) else calls + found
        if attempt:
            return Refusal(f"dot with {len(groups['k'])} contracted and {len(batch)} batch dimensions "
                           f"that do not merge")
        k, all_batch = groups["k"], len(batch) > MAX_BATCH
        if all_batch or not _merges(k, sizes, arrays[0]):
            x, x_index, more = _dense(context, x, a.x_batch, a.x_contract, x_index, _innermost(k, arrays[0]))
            calls += more
        if all_batch or not _merges(k, sizes, arrays[1]):
            y, y_index, more = _dense(context, y, a.y_batch, a.y_contract, y_index, _innermost(k, arrays[1]))
            calls += more
    raise AssertionError


def array_at(d: Domain, context: Context, v: Var, index: Index) -> Array:
    strides, offset = context.layout(v)
    return Array(v, v.type.dtype, offset_of(d, index, strides, offset))


def merge(variables: list[int], sizes: dict[int, int], arrays: list[Array]) -> list[int]:
    """Merge neighbouring variables that every array walks as one."""
    i = 0
    variables = list(variables)
    while i + 1 < len(variables):
        outer, inner = variables[i], variables[i + 1]
        if all(x.stride(outer) == x.stride(inner) * sizes[inner] for x in arrays):
            sizes[inner] *= sizes[outer]
            for x in arrays:
                x.at = Affine(x.at.const, tuple((v, c) for v, c in x.at.terms if v != outer), x.at.dynamic)
            variables.pop(i)
            i = max(i - 1, 0)
        else:
            i += 1
    return variables


def _merges(variables: list[int], sizes: dict[int, int], array: Array) -> bool:
    """Does this array alone walk the variables as one?"""
    return len(merge(variables, dict(sizes), [replace(array)])) <= 1


def _innermost(variables: list[int], array: Array) -> bool:
    """Is one of the variables contiguous?"""
    return any(array.stride(v) == 1 for v in variables)


def _spread(groups: dict[str, list[int]], sizes: dict[int, int]) -> tuple[list[int], int | None, int | None]:
    """The largest m and n variables stay; the others become batch dimensions."""
    batch = list(groups["batch"])
    chosen: list[int | None] = []
    for role in ("m", "n"):
        best = max(groups[role], key=lambda v: sizes[v], default=None)
        batch += [v for v in groups[role] if v != best]
        chosen.append(best)
    return batch, chosen[0], chosen[1]


def _dense(context: Context, x: Var, batch: tuple[int, ...], contract: tuple[int, ...], index: Index, inner: bool
           ) -> tuple[Var, Index, list[Call]]:
    """A copy of an operand: its axes in the order batch, free, contracted (``inner``) or batch, contracted, free."""
    free = tuple(i for i in range(x.type.ndim) if i not in batch and i not in contract)
    order = (*batch, *free, *contract) if inner else (*batch, *contract, *free)
    copy = Var(tensor_type(x.type.dtype, tuple(x.shape[i] for i in order)))
    calls = copy_into(context, x, copy, order)
    return copy, tuple(index[i] for i in order), calls


def _problem(e: Equation, expression: Expression | None, arrays: list[Array], batch: list[int], m: int | None,
             n: int | None, k: list[int], sizes: dict[int, int], n_reads: int, context: Context) -> Schedule:
    def size(v: int | None) -> int:
        return sizes[v] if v is not None else 1

    def stride(array: Array, v: int | None) -> int:
        return array.stride(v) if v is not None else 0

    def access(array: Array) -> Access:
        return Access(tuple(array.stride(v) for v in batch), stride(array, m), stride(array, n))

    left, right = arrays[:2]
    inputs, outputs = arrays[2:2 + n_reads], arrays[2 + n_reads:]
    the_k = k[0] if k else None
    contracted = 1
    for axis in e.op.attrs.x_contract:
        contracted *= e.inputs[0].shape[axis]
    problem = GemmProblem(
        batch=tuple(sizes[v] for v in batch), m=size(m), n=size(n), k=size(the_k) if the_k is not None else contracted,
        a_batch=tuple(left.stride(v) for v in batch), a_m=stride(left, m), a_k=stride(left, the_k),
        b_batch=tuple(right.stride(v) for v in batch), b_k=stride(right, the_k), b_n=stride(right, n),
        dtype=left.dtype, out=e.op.attrs.dtype, outputs=tuple(map(access, outputs)), epilogue=expression,
        inputs=tuple(map(access, inputs)))
    operands = [x.operand() for x in arrays]
    kept = _kept(left, context), _kept(right, context)

    def schedule() -> Schedule:
        return gemm(problem, operands[0], operands[1], operands[2:2 + n_reads], operands[2 + n_reads:],
                    context.target, context.threads, kept=kept)

    seen = numbered(operands)
    return schedule() if seen is None else context.once((problem, kept, seen[0]), seen[1], schedule)


def _kept(array: Array, context: Context) -> bool:
    return context.kept(array.value) and not array.at.dynamic
