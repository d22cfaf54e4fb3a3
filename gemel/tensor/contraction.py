"""Products that sum over axes: matmul, bmm, einsum, tensordot, addmm, ..."""
from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from ..engine.base.errors import DTypeError, ShapeError
from ..engine.composites.einsum import check_sizes
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from .arithmetic import add, mul
from .arranging import diagonal
from .core import TENSOR_CLASSES
from .dims import wrap_dim
from .elementwise import check_tensor, deliver, in_place
from .movement import permute
from .promotion import SCALAR_NAMES, expand
from .recording import apply, apply_named
from .reduction import reshaped
from .reduction import sum as sum_of

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "cross", "dot", "einsum", "ger",
    "inner", "kron", "matmul", "matrix_power", "mm", "mv", "outer", "tensordot", "trace", "vdot",
]

_MATMUL = op(ROWS["matmul"])


def _ndim(x: Any, n: int, message: str) -> None:
    if x._value.type.ndim != n:
        raise ShapeError(f"{message}, but got {x._value.type.ndim}D: shape {list(x._value.type.shape)}")


def _both(name: str, input: Any, other: Any, second: str) -> None:
    check_tensor(input, name)
    check_tensor(other, name, second, 2)


# --- products of matrices and vectors ---------------------------------------------------------------

def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The matrix product ``input @ other``.

    Shapes: (..., m, k) x (..., k, n) -> (..., m, n); leading axes broadcast without being copied. A 1-d operand is a
    row on the left and a column on the right, and its axis is dropped from the result.

    Raises:
        RuntimeError: the inner sizes, batch axes or dtypes do not fit.

    >>> (gemel.ones(2, 3) @ gemel.ones(3, 4)).shape
    gemel.Size([2, 4])

    torch: ``matmul``
    """
    _both("matmul", input, other, "other")
    return deliver(apply(_MATMUL, input, other), out, "matmul")


def mm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """The product of two matrices: (m, k) x (k, n) -> (m, n). torch: ``mm``"""
    _both("mm", input, mat2, "mat2")
    _ndim(input, 2, "self must be a matrix")
    _ndim(mat2, 2, "mat2 must be a matrix")
    return deliver(apply(_MATMUL, input, mat2), out, "mm")


def bmm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """Products of pairs of matrices: (b, m, k) x (b, k, n) -> (b, m, n). torch: ``bmm``"""
    _both("bmm", input, mat2, "mat2")
    _ndim(input, 3, "batch1 must be a 3D tensor")
    _ndim(mat2, 3, "batch2 must be a 3D tensor")
    x, y = input._value.type.shape, mat2._value.type.shape
    if x[0] != y[0] or x[2] != y[1]:
        raise ShapeError(f"Expected size for first two dimensions of batch2 tensor to be: [{x[0]}, {x[2]}] but got: "
                         f"[{y[0]}, {y[1]}]. Received shapes {list(x)} and {list(y)}")
    return deliver(apply(_MATMUL, input, mat2), out, "bmm")


def mv(input: Any, vec: Any, *, out: Any = None) -> Any:
    """A matrix times a vector: (m, k) x (k) -> (m). torch: ``mv``"""
    _both("mv", input, vec, "vec")
    _ndim(input, 2, "mv: input must be a matrix")
    _ndim(vec, 1, "mv: vec must be a vector")
    return deliver(apply(_MATMUL, input, vec), out, "mv")


def _vectors(input: Any, tensor: Any, name: str) -> None:
    _both(name, input, tensor, "tensor")
    if input._value.type.ndim != 1 or tensor._value.type.ndim != 1:
        raise ShapeError(f"1D tensors expected, but got {input._value.type.ndim}D and "
                         f"{tensor._value.type.ndim}D tensors")


def dot(input: Any, tensor: Any, *, out: Any = None) -> Any:
    """The inner product of two vectors, a 0-d tensor. torch: ``dot``"""
    _vectors(input, tensor, "dot")
    return deliver(apply(_MATMUL, input, tensor), out, "dot")


def vdot(input: Any, other: Any, *, out: Any = None) -> Any:
    """The inner product of two vectors, the first conjugated. torch: ``vdot``"""
    _vectors(input, other, "vdot")
    if input._value.type.dtype.kind == "c":
        input = apply_named("conj", input)
    return deliver(apply(_MATMUL, input, other), out, "vdot")


def outer(input: Any, vec2: Any, *, out: Any = None) -> Any:
    """Products of all pairs of elements of two vectors: (n) x (m) -> (n, m). torch: ``outer``"""
    _both("outer", input, vec2, "vec2")
    _ndim(input, 1, "outer: Expected 1-D argument self")
    _ndim(vec2, 1, "outer: Expected 1-D argument vec2")
    return deliver(mul(reshaped(input, (*input._value.type.shape, 1)), vec2), out, "outer")


ger = outer


def inner(input: Any, other: Any, *, out: Any = None) -> Any:
    """Sum of products over the last axes of both; a product if either is 0-d. torch: ``inner``"""
    _both("inner", input, other, "other")
    x, y = input._value.type, other._value.type
    if not x.ndim or not y.ndim:
        return deliver(mul(input, other), out, "inner")
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"inner() the last dimension must match on both input tensors but got shapes "
                         f"{list(x.shape)} and {list(y.shape)}")
    return deliver(_dot(input, other, (x.ndim - 1,), (y.ndim - 1,)), out, "inner")


def _dot(x: Any, y: Any, x_axes: tuple[int, ...], y_axes: tuple[int, ...]) -> Any:
    dtype = x._read().type.dtype
    if y._read().type.dtype is not dtype:
        raise DTypeError(f"both inputs should have same dtype. Received: {dtype.name} and {y._value.type.dtype.name}")
    return apply_named("dot", x, y, attrs=(x_axes, y_axes, (), (), dtype))


def tensordot(a: Any, b: Any, dims: Any = 2, out: Any = None) -> Any:
    """Sum of products over axes: the last ``dims`` of ``a`` with the first of ``b``, or two lists of axes.
    torch: ``tensordot``

        >>> gemel.tensordot(gemel.ones(2, 3, 4), gemel.ones(3, 4, 5), dims=2).shape
        gemel.Size([2, 5])
    """
    check_tensor(a, "tensordot", "a")
    check_tensor(b, "tensordot", "b", 2)
    x, y = a._read().type, b._read().type
    if dims.__class__ in TENSOR_CLASSES:
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(x.ndim, y.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        x_axes, y_axes = tuple(range(x.ndim - dims, x.ndim)), tuple(range(dims))
    else:
        first, second = ((d,) if isinstance(d, int) else d for d in dims)
        x_axes = tuple(wrap_dim(d, x.ndim) for d in first)
        y_axes = tuple(wrap_dim(d, y.ndim) for d in second)
    if len(x_axes) != len(y_axes):
        raise RuntimeError("both dimension lists should have same length")
    for p, q in zip(x_axes, y_axes, strict=True):
        if x.shape[p] != y.shape[q]:
            raise ShapeError(f"contracted dimensions need to match, but first has size {x.shape[p]} in dim {p} and "
                             f"second has size {y.shape[q]} in dim {q}")
    return deliver(_dot(a, b, x_axes, y_axes), out, "tensordot")


# --- products added to a tensor ---------------------------------------------------------------------

def _added(name: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """``beta * input + alpha * product``; with ``beta == 0`` what is in ``input`` does not matter."""
    t = product._read().type
    have = check_tensor(input, name)._read().type
    if have.dtype is not t.dtype:
        raise DTypeError(f"self and mat2 must have the same dtype, but got {SCALAR_NAMES[have.dtype]} and "
                         f"{SCALAR_NAMES[t.dtype]}")
    try:
        input = expand(input, t.shape)
    except RuntimeError:
        raise ShapeError(f"{name}: the expanded size {list(t.shape)} must match the existing size "
                         f"{list(have.shape)} of input") from None
    if alpha != 1:
        product = mul(product, alpha)
    if beta == 0:
        return product
    return add(product, input, alpha=beta)


def _summed(x: Any, y: Any) -> Any:
    product = bmm(x, y)
    return apply_named("reduce_sum", product, attrs=((0,),))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``. torch: ``addmm``

        >>> gemel.addmm(gemel.ones(2), gemel.ones(2, 3), gemel.ones(3, 2))
        tensor([[4., 4.],
                [4., 4.]])
    """
    return deliver(_added("addmm", input, mm(mat1, mat2), beta, alpha), out, "addmm")


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * (mat @ vec)``. torch: ``addmv``"""
    return deliver(_added("addmv", input, mv(mat, vec), beta, alpha), out, "addmv")


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * outer(vec1, vec2)``. torch: ``addr``"""
    return deliver(_added("addr", input, outer(vec1, vec2), beta, alpha), out, "addr")


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * bmm(batch1, batch2)``. torch: ``baddbmm``"""
    return deliver(_added("baddbmm", input, bmm(batch1, batch2), beta, alpha), out, "baddbmm")


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``. torch: ``addbmm``"""
    return deliver(_added("addbmm", input, _summed(batch1, batch2), beta, alpha), out, "addbmm")


# --- several operands -------------------------------------------------------------------------------

_ELLIPSIS = "..."


def _terms(equation: str) -> tuple[list[str], str | None]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    for text in (*left.split(","), right):
        for c in text.replace(_ELLIPSIS, ""):
            if c not in string.ascii_letters:
                raise RuntimeError(f"einsum(): invalid subscript given in equation {equation!r}: {c!r}, subscripts "
                                   f"must be in [a-zA-Z]")
    return left.split(","), right if arrow else None


def _expanded(text: str, ndim: int, k: int) -> list[Any]:
    """Labels of an operand; the axes of an ellipsis are numbered from the right."""
    before, dots, after = text.partition(_ELLIPSIS)
    free = ndim - len(before) - len(after)
    if free < 0 or (free and not dots):
        raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(before) + len(after)}) does not "
                           f"match the number of dimensions ({ndim}) for operand {k}"
                           f"{'' if dots else ' and no ellipsis was given'}")
    return [*before, *range(free, 0, -1), *after]


def _einsum_labels(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple, tuple]:
    texts, right = _terms(equation)
    if len(texts) != len(shapes):
        raise RuntimeError(f"einsum(): {'more' if len(shapes) > len(texts) else 'fewer'} operands were provided "
                           f"({len(shapes)}) than specified in the equation ({len(texts)})")
    inputs = tuple(tuple(_expanded(text, len(s), k)) for k, (text, s) in enumerate(zip(texts, shapes, strict=True)))
    every = [name for labels in inputs for name in labels]
    dots = sorted({name for name in every if isinstance(name, int)}, reverse=True)
    if right is None:
        letters = sorted(name for name in set(every) if isinstance(name, str) and every.count(name) == 1)
        return inputs, (*dots, *letters)
    before, ellipsis, after = right.partition(_ELLIPSIS)
    output = (*before, *(dots if ellipsis else ()), *after)
    for name in output:
        if output.count(name) > 1:
            raise RuntimeError(f"einsum(): output subscript {name} appears more than once in the output")
        if name not in every:
            raise RuntimeError(f"einsum(): output subscript {name} does not appear in the equation for any input "
                               f"operand")
    return inputs, output


def _sublists(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The equation of ``einsum(x, [0, 1], y, [1, 2], [0, 2])``."""
    def text(labels: Any) -> str:
        return "".join(_ELLIPSIS if i is Ellipsis else string.ascii_letters[(i + 26) % 52] for i in labels)
    n = len(operands) // 2
    left = ",".join(text(labels) for labels in operands[1:2 * n:2])
    return (f"{left}->{text(operands[-1])}" if len(operands) % 2 else left), list(operands[:2 * n:2])


def _einsum_of_one(x: Any, labels: list, output: tuple) -> Any:
    """Diagonals in another order, a view; then the sum over the labels that are not in ``output``."""
    for name in dict.fromkeys(labels):
        while labels.count(name) > 1:
            i = labels.index(name)
            j = labels.index(name, i + 1)
            x = diagonal(x, 0, i, j)
            labels = [label for axis, label in enumerate(labels) if axis not in (i, j)] + [name]
    x = permute(x, [labels.index(name) for name in (*output, *(name for name in labels if name not in output))])
    return x if len(output) == len(labels) else sum_of(x, tuple(range(len(output), len(labels))))


def einsum(*args: Any) -> Any:
    """Sums of products by labelled axes: ``einsum("bij,bjk->bik", x, y)``; also with lists of axis numbers.

    A label that is repeated in one operand takes the diagonal; ``...`` stands for axes that broadcast; without ``->``
    the labels that occur once are the result's, in alphabetical order. Operands are contracted from the left; of a
    single operand of which nothing is summed the result is a view.

    Raises:
        RuntimeError: the equation does not fit the operands.

        >>> gemel.einsum("ij,kj->ik", gemel.ones(2, 3), gemel.ones(4, 3)).shape
        gemel.Size([2, 4])

    torch: ``einsum``
    """
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one "
                         "operand and its subscripts list")
    if isinstance(args[0], str):
        equation, operands = args[0], list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    else:
        equation, operands = _sublists(args)
    if not operands:
        raise ValueError("einsum(): must provide at least one operand")
    for k, x in enumerate(operands):
        check_tensor(x, "einsum", f"operands[{k}]")
    kinds = {x._read().type.dtype for x in operands}
    if len(kinds) > 1:
        raise DTypeError(f"einsum(): expected operands of one dtype. Received: {sorted(d.name for d in kinds)}")
    inputs, output = _einsum_labels(equation, [x._value.type.shape for x in operands])
    if len(operands) == 1:
        check_sizes(inputs, [operands[0]._value.type])
        return _einsum_of_one(operands[0], list(inputs[0]), output)
    return apply_named("einsum", *operands, attrs=(inputs, output))


def chain_of(matrices: Sequence[Any]) -> Any:
    """The product of matrices in the order with the fewest multiplications."""
    sizes = [m._read().type.shape[0] for m in matrices] + [matrices[-1]._read().type.shape[1]]
    n = len(matrices)
    cost: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(n)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j] = min((cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                             for k in range(i, j))

    def product(i: int, j: int) -> Any:
        if i == j:
            return matrices[i]
        k = cost[i, j][1]
        return apply(_MATMUL, product(i, k), product(k + 1, j))

    return product(0, n - 1)


def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of two or more matrices, in the cheapest order. torch: ``chain_matmul``"""
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for m in matrices:
        check_tensor(m, "chain_matmul", "matrices")
        _ndim(m, 2, "Tensor dimension is expected to be 2")
    for x, y in zip(matrices, matrices[1:], strict=False):
        if x._value.type.shape[1] != y._value.type.shape[0]:
            raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, x._value.type.shape))} "
                             f"and {'x'.join(map(str, y._value.type.shape))})")
    return deliver(chain_of(matrices), out, "chain_matmul")


def kron(input: Any, other: Any, *, out: Any = None) -> Any:
    """The Kronecker product: each element of ``input`` times all of ``other``. torch: ``kron``"""
    _both("kron", input, other, "other")
    n = max(input._read().type.ndim, other._read().type.ndim)
    x, y = ((1,) * (n - t._value.type.ndim) + t._value.type.shape for t in (input, other))
    left = reshaped(input, tuple(size for p in x for size in (p, 1)))
    right = reshaped(other, tuple(size for q in y for size in (1, q)))
    return deliver(reshaped(mul(left, right), tuple(p * q for p, q in zip(x, y, strict=True))), out, "kron")


def trace(input: Any) -> Any:
    """The sum of the diagonal of a matrix. torch: ``trace``"""
    if check_tensor(input, "trace")._read().type.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input._value.type.ndim}")
    from .arranging import diagonal
    from .reduction import sum
    return sum(diagonal(input))


def matrix_power(input: Any, n: int, *, out: Any = None) -> Any:
    """The ``n``-th power of square matrices, by repeated squaring; a negative one of the inverse.
    torch: ``matrix_power``"""
    t = check_tensor(input, "matrix_power")._read().type
    if t.ndim < 2 or t.shape[-1] != t.shape[-2]:
        raise RuntimeError(f"linalg.matrix_power: A must be batches of square matrices, but they are "
                           f"{' by '.join(map(str, t.shape[-2:]))} matrices")
    if n < 0:
        base, n = apply_named("linalg_inv", input), -n
    else:
        base = input
    if n == 0:
        from .creation import eye
        return deliver(apply_named("copy", expand(eye(t.shape[-1], dtype=t.dtype), t.shape)), out, "matrix_power")
    total = None
    while n:
        if n & 1:
            total = base if total is None else apply(_MATMUL, total, base)
        n >>= 1
        if n:
            base = apply(_MATMUL, base, base)
    return deliver(apply_named("copy", total) if total is input else total, out, "matrix_power")


def cross(input: Any, other: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """The cross product along an axis of size 3 (by default the first of that size). torch: ``cross``"""
    _both("cross", input, other, "other")
    from .movement import broadcast_to
    from .promotion import broadcast_shapes
    x, y = input._read().type, other._read().type
    if x.ndim != y.ndim:
        raise RuntimeError(f"linalg.cross: inputs must have the same number of dimensions. Received: {list(x.shape)} "
                           f"and {list(y.shape)}")
    if dim is None:
        if 3 not in x.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = x.shape.index(3)
    axis = wrap_dim(dim, x.ndim)
    if x.shape[axis] != 3 or y.shape[axis] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {x.shape[axis]} and "
                           f"{y.shape[axis]}")
    shape = broadcast_shapes(x.shape, y.shape)
    a, b = broadcast_to(input, shape), broadcast_to(other, shape)
    # (a x b)_i = a_(i+1) b_(i+2) - a_(i+2) b_(i+1)
    first, second = mul(a.roll(-1, axis), b.roll(-2, axis)), mul(a.roll(-2, axis), b.roll(-1, axis))
    return deliver(first - second, out, "cross")


def _matmul_operator(self: Any, other: Any) -> Any:
    return apply(_MATMUL, self, other) if other.__class__ in TENSOR_CLASSES else NotImplemented


class ContractionMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    matmul, mm, bmm, mv, dot, vdot, inner, outer, ger = matmul, mm, bmm, mv, dot, vdot, inner, outer, ger
    addmm, addmv, addr, addbmm, baddbmm = addmm, addmv, addr, addbmm, baddbmm
    kron, trace, matrix_power, cross = kron, trace, matrix_power, cross
    addmm_, addmv_, addr_, addbmm_, baddbmm_ = (in_place(f) for f in (addmm, addmv, addr, addbmm, baddbmm))
    __matmul__ = _matmul_operator
