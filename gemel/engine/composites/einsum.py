"""``einsum``: any product of tensors with axes named by labels, contracted pair by pair from the left."""
from __future__ import annotations

from ..base.errors import ShapeError
from .base import composite
from .contraction import contract, sum_labels


def diagonal(b, x, i, j):
    """The diagonal of axes i < j, at axis i: rows of n + 1 have it in their first column."""
    n = x.type.shape[i]
    rest = [k for k in range(x.type.ndim) if k not in (i, j)]
    x = b.permute(x, (*rest, i, j))
    lead = x.type.shape[:-2]
    none = (0,) * len(lead)
    x = b.reshape(x, (*lead, n * n))
    x = b.pad(x, b.const(0, x.type.dtype), (*none, 0), (*none, n))
    x = b.reshape(x, (*lead, n, n + 1))
    x = b.reshape(b.slice(x, (0,) * x.type.ndim, (*lead, n, 1)), (*lead, n))
    order = list(range(len(rest)))
    order.insert(i, len(rest))
    return b.permute(x, order)


def _single(b, x, labels):
    """Repeated labels replaced by the diagonal."""
    labels = list(labels)
    for name in dict.fromkeys(labels):
        while labels.count(name) > 1:
            i = labels.index(name)
            j = labels.index(name, i + 1)
            x = diagonal(b, x, i, j)
            del labels[j]
    return x, labels


def check_sizes(inputs, types):
    """Raise ``ShapeError`` where axes of one label have different sizes; ``inputs``: the labels of each operand."""
    sizes: dict = {}
    for k, (labels, t) in enumerate(zip(inputs, types, strict=True)):
        seen: dict = {}
        for name, n in zip(labels, t.shape, strict=True):
            if seen.setdefault(name, n) != n:
                raise ShapeError(f"einsum(): subscript {name} is repeated for operand {k} but the sizes don't match, "
                                 f"{n} != {seen[name]}. Received shape {list(t.shape)}")
            if n != 1 and sizes.setdefault(name, n) != n:
                raise ShapeError(f"einsum(): subscript {name} has size {n} for operand {k} which does not broadcast "
                                 f"with previously seen size {sizes[name]}")


@composite("einsum", -1, ("inputs", "output"), check=lambda attrs, *types: check_sizes(attrs.inputs, types))
def einsum(b, *operands, inputs, output):
    """sum over the labels that are not in `output` of the product of the operands; axes of size 1 are shared"""
    sizes: dict = {}
    for labels, x in zip(inputs, operands, strict=True):
        for name, n in zip(labels, x.type.shape, strict=True):
            sizes[name] = n if sizes.get(name, 1) == 1 else sizes[name]
    terms = []
    for labels, x in zip(inputs, operands, strict=True):
        x, labels = _single(b, x, labels)
        kept = [i for i, name in enumerate(labels) if x.type.shape[i] == sizes[name]]
        x = b.reshape(x, [x.type.shape[i] for i in kept])
        terms.append((x, [labels[i] for i in kept]))
    x, labels = terms[0]
    for k, (y, y_labels) in enumerate(terms[1:], 1):
        later = {name for _, others in terms[k + 1:] for name in others} | set(output)
        out = [name for name in dict.fromkeys([*labels, *y_labels]) if name in later]
        x, labels = contract(b, x, labels, y, y_labels, out), out
    x, labels = sum_labels(b, x, labels, output)
    return b.permute(x, [labels.index(name) for name in output])
