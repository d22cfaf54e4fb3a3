"""Products that sum over axes: the pairwise contraction by axis labels, and ``matmul`` on top of it."""
from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..autodiff.vjp import vjp
from ..base.errors import DTypeError, ShapeError
from ..ir.types import Shape, TensorType
from .base import composite

Labels = Sequence[Hashable]


def sum_labels(b, x, labels: Labels, keep) -> tuple:
    """Sum over the axes of ``x`` whose label is not in ``keep``; the result and its labels."""
    axes = tuple(i for i, name in enumerate(labels) if name not in keep)
    return b.reduce_sum(x, axes), [name for name in labels if name in keep]


def contract(b, x, x_labels: Labels, y, y_labels: Labels, out: Labels):
    """Multiply, and sum over every label that is not in ``out``: one ``dot``, and a permute if the order asks for it.

    Labels are distinct in each operand; every label of ``out`` is in one of them.
    """
    x, x_labels = sum_labels(b, x, x_labels, {*y_labels, *out})
    y, y_labels = sum_labels(b, y, y_labels, {*x_labels, *out})
    shared = [name for name in x_labels if name in y_labels]
    batch = [name for name in out if name in shared]
    summed = [name for name in shared if name not in batch]
    result = (batch + [name for name in x_labels if name not in shared]
              + [name for name in y_labels if name not in shared])
    z = b.dot(x, y, [x_labels.index(s) for s in summed], [y_labels.index(s) for s in summed],
              [x_labels.index(s) for s in batch], [y_labels.index(s) for s in batch])
    return b.permute(z, [result.index(name) for name in out])


# --- matmul ------------------------------------------------------------------------------------------

def _matmul_labels(x: Shape, y: Shape) -> tuple[list, list, list]:
    """Labels of both operands and the result: batch axes by their distance from the matrix, then m, k, n.

    A batch axis of size 1 has no label: the operand is shared along it, nothing is copied.
    """
    lead_x, lead_y = x[:-2], y[:-2]
    n = max(len(lead_x), len(lead_y))
    x_labels, y_labels, out = [], [], []
    for i in range(n, 0, -1):
        in_x, in_y = i <= len(lead_x), i <= len(lead_y)
        if in_x and in_y and lead_x[-i] != lead_y[-i]:
            in_x, in_y = lead_x[-i] != 1, lead_y[-i] != 1
            x_labels += [i] if in_x else [None]
            y_labels += [i] if in_y else [None]
        else:
            x_labels += [i] if in_x else []
            y_labels += [i] if in_y else []
        out.append(i)
    x_labels += ["m", "k"] if len(x) > 1 else ["k"]
    y_labels += ["k", "n"] if len(y) > 1 else ["k"]
    out += (["m"] if len(x) > 1 else []) + (["n"] if len(y) > 1 else [])
    return x_labels, y_labels, out


def _without_unlabelled(b, x, labels: list):
    """Drop the axes (of size 1) that have no label."""
    return b.reshape(x, [n for n, name in zip(x.type.shape, labels, strict=True) if name is not None]), [
        name for name in labels if name is not None]


def _check_matmul(attrs, x: TensorType, y: TensorType) -> None:
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError(f"both arguments to matmul need to be at least 1D, but they are {x.ndim}D and {y.ndim}D")
    if x.dtype is not y.dtype:
        raise DTypeError(f"expected m1 and m2 to have the same dtype, but got: {x.dtype.name} != {y.dtype.name}. "
                         f"Cast one of them first (y.to(x.dtype))")
    axis = -2 if y.ndim > 1 else -1
    if x.shape[-1] != y.shape[axis]:
        raise ShapeError(f"{_mismatch(x, y)}: axis -1 of the first ({x.shape[-1]}) must match axis {axis} of the other "
                         f"({y.shape[axis]}). Received shapes {list(x.shape)} and {list(y.shape)}"
                         f"{_transposed_hint(x, y)}")
    for i in range(1, min(x.ndim, y.ndim) - 1):
        p, q = x.shape[-2 - i], y.shape[-2 - i]
        if p != q and p != 1 and q != 1:
            raise ShapeError(f"The size of tensor a ({p}) must match the size of tensor b ({q}) at non-singleton "
                             f"dimension {max(x.ndim, y.ndim) - 2 - i}: the batch axes of matmul must be equal or 1. "
                             f"Received shapes {list(x.shape)} and {list(y.shape)}")


def _mismatch(x: TensorType, y: TensorType) -> str:
    """torch's words for an inner size that does not fit."""
    if x.ndim == 1 and y.ndim == 1:
        return (f"inconsistent tensor size, expected tensor [{x.size}] and src [{y.size}] to have the same number of "
                f"elements, but got {x.size} and {y.size} elements respectively")
    if y.ndim == 1 and x.ndim == 2:
        return f"size mismatch, got input ({x.shape[0]}), mat ({x.shape[0]}x{x.shape[1]}), vec ({y.shape[0]})"
    if x.ndim > 2 and y.ndim > 2:
        lead = list(y.shape[:-2])
        return (f"Expected size for first two dimensions of batch2 tensor to be: {[*lead, x.shape[-1]]} but got: "
                f"{[*lead, y.shape[-2]]}")
    rows = x.size // x.shape[-1] if x.shape[-1] else 0
    columns = y.shape[-1] if y.ndim > 1 else 1
    return (f"mat1 and mat2 shapes cannot be multiplied ({rows if x.ndim > 1 else 1}x{x.shape[-1]} and "
            f"{y.shape[-2] if y.ndim > 1 else y.shape[0]}x{columns})")


def _transposed_hint(x: TensorType, y: TensorType) -> str:
    fits = y.ndim > 1 and x.shape[-1] == y.shape[-1]
    return "; did you mean x @ y.mT?" if fits else ""


@composite("matmul", 2, check=_check_matmul)
def matmul(b, x, y):
    """x @ y: (..., m, k) x (..., k, n) -> (..., m, n); batch axes broadcast without copying"""
    x_labels, y_labels, out = _matmul_labels(x.type.shape, y.type.shape)
    x, x_labels = _without_unlabelled(b, x, x_labels)
    y, y_labels = _without_unlabelled(b, y, y_labels)
    return contract(b, x, x_labels, y, y_labels, out)


@vjp("matmul", inputs=(0, 1), crossed=(0, 1))
def _matmul(b, g, s):
    """Each operand's gradient is one contraction, which also sums over the axes along which it was shared."""
    x, y = (b.conj(v) if v.type.dtype.is_complex else v for v in s.inputs)
    x_labels, y_labels, out = _matmul_labels(x.type.shape, y.type.shape)
    x_shape, y_shape = x.type.shape, y.type.shape
    x, x_labels = _without_unlabelled(b, x, x_labels)
    y, y_labels = _without_unlabelled(b, y, y_labels)
    return (b.reshape(contract(b, g, out, y, y_labels, x_labels), x_shape),
            b.reshape(contract(b, x, x_labels, g, out, y_labels), y_shape))
