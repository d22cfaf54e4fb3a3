"""Rows of a table by index, alone and by bags; one-hot codes."""
from __future__ import annotations

import warnings
from typing import Any

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError
from ...engine.runtime.trace import BUILDER
from ...tensor.grad_mode import no_grad
from ...tensor.recording import apply_named, wrap
from ...tensor.scattering import _checked, refuse_sparse_gradient
from .common import cast, check_floating, check_tensor, number, reshape, type_of

__all__ = ["embedding", "embedding_bag", "one_hot"]


def _row(padding_idx: int | None, rows: int) -> int | None:
    """``padding_idx`` counted from the front."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError(f"Padding_idx must be within num_embeddings. Received: padding_idx={padding_idx}, "
                             f"{rows} rows")
    return padding_idx % rows


def _check(function: str, index: Any, weight: Any, sparse: bool) -> str:
    """Checks of both; what is left to check of the index."""
    check_tensor(function, "input", index)
    t = check_floating(function, weight, "weight")
    if t.ndim != 2:
        raise ShapeError(f"'weight' must be 2-D. Received: {list(t.shape)}")
    if sparse:
        refuse_sparse_gradient(f"{function}(sparse=True)", weight, "sparse=False")
    return _checked(index, t.shape[0], 0, function)


def _renormalize(weight: Any, index: Any, max_norm: float, norm_type: float) -> None:
    """Scale rows that are used down to ``max_norm``, in place."""
    with no_grad():
        at = cast(reshape(index, (type_of(index).size,)), dt.int64)
        rows = apply_named("take", wrap(weight._read()), at, attrs=(0,))
        norms = (rows.abs() ** float(norm_type)).sum(1, keepdim=True) ** (1.0 / norm_type)
        scale = (max_norm / (norms + 1e-7)) * (norms > max_norm) + (norms <= max_norm)
        weight._write(apply_named("scatter", wrap(weight._read()), at, rows * scale, attrs=(0, "set")))


def embedding(input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Row ``weight[i]`` for each index.

    Args:
        input: integers of any shape (*). weight: (rows, D). The result is (*, D).
        padding_idx: a row that gets no gradient.
        max_norm: scale the rows that are used down to this norm (of order ``norm_type``), in place.
        scale_grad_by_freq: divide a row's gradient by how often it was used.

    Raises:
        IndexError: an index is out of range.

    torch: ``embedding``.

    >>> import gemel
    >>> gemel.nn.functional.embedding(gemel.tensor([1, 0]), gemel.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    bounds = _check("embedding", input, weight, sparse)
    padding = _row(padding_idx, type_of(weight).shape[0])
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    if type_of(input).ndim == 0:
        found = embedding(reshape(input, (1,)), weight, padding_idx, None, norm_type, scale_grad_by_freq)
        return reshape(found, type_of(weight).shape[1:])
    return apply_named("embedding", weight, input, attrs=(padding, bool(scale_grad_by_freq), bounds))


def _bags(offsets: Any, count: int) -> Any:
    """The bag of each of ``count`` indices: how many bags have begun by then, minus one."""
    begun = apply_named("scatter", _zeros((count,), dt.int64), cast(offsets, dt.int64), _ones(offsets),
                        attrs=(0, "add"))
    return apply_named("cumsum", begun, attrs=(0,)) - 1


def _zeros(shape: tuple[int, ...], dtype: dt.DType) -> Any:
    return wrap(BUILDER.full(0, dtype, shape))


def _ones(like: Any) -> Any:
    return wrap(BUILDER.full(1, dt.int64, type_of(like).shape))


def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Any = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Any:
    """Sum, mean or maximum of the rows of each bag.

    Args:
        input: (B, n): bags of n indices; or (n,) with ``offsets`` (B,): where each bag begins.
        mode: ``"sum"``, ``"mean"`` or ``"max"``. per_sample_weights: factors of the rows (``"sum"`` only).
        include_last_offset: ``offsets`` ends with the number of indices. padding_idx: a row that does not count.

    torch: ``embedding_bag``.
    """
    check_tensor("embedding_bag", "input", input)
    if type_of(weight).dtype.is_integer and type_of(input).dtype.is_floating_point:
        warnings.warn("Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, "
                      "...)` is deprecated, and should now be `embedding_bag(input, weight, ...)`.", stacklevel=2)
        input, weight = weight, input
    shape = type_of(input).shape
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum or mean or max")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(f"embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                                      f"supported for mode='sum' (got mode='{mode}'). Please open a feature request.")
        if type_of(per_sample_weights).shape != shape:
            raise ValueError(f"embedding_bag: If per_sample_weights ({list(type_of(per_sample_weights).shape)}) is not "
                             f"None, then it must have the same shape as the input ({list(shape)})")
    if len(shape) == 2:
        if offsets is not None:
            raise ValueError(f"if input is 2D, then offsets has to be None, as input is treated is a mini-batch of "
                             f"fixed length sequences. However, found offsets of type {type(offsets)}")
    elif len(shape) != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(shape)}")
    elif offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    elif type_of(offsets).ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if sparse:
        refuse_sparse_gradient("embedding_bag(sparse=True)", weight, "sparse=False")
    rows = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    padding = _row(padding_idx, type_of(weight).shape[0])
    counted = None if padding is None else cast(input, dt.int64) != padding
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if len(shape) == 2:
        return _over_axis(rows, counted, mode)
    n_bags = type_of(offsets).size - bool(include_last_offset)
    return _over_bags(rows, counted, _bags(offsets, shape[0]), n_bags, mode)


def _over_axis(rows: Any, counted: Any, mode: str) -> Any:
    """Bags of one size: (B, n, D) over n."""
    if mode == "max":
        if counted is None:
            return rows.max(1)[0]
        low = rows.masked_fill(~counted.unsqueeze(-1), float("-inf")).max(1)[0]
        return low.masked_fill(~counted.any(1, keepdim=True), 0.0)
    if counted is not None:
        rows = rows * counted.unsqueeze(-1)
    total = rows.sum(1)
    if mode == "sum":
        return total
    n = type_of(rows).shape[1]
    if counted is None:
        return apply_named("div_scalar", total, number(total, max(n, 1)))
    return total / _at_least_one(cast(counted, dt.int64).sum(1, keepdim=True), total)


def _over_bags(rows: Any, counted: Any, bag: Any, n_bags: int, mode: str) -> Any:
    """Bags that begin at offsets: rows (n, D), ``bag`` (n,)."""
    width = type_of(rows).shape[1]
    start = _zeros((n_bags, width), type_of(rows).dtype)
    ones = cast(counted, dt.int64) if counted is not None else _ones(bag)
    count = apply_named("scatter", _zeros((n_bags,), dt.int64), bag, ones, attrs=(0, "add")).unsqueeze(-1)
    if mode == "max":
        if counted is not None:
            rows = rows.masked_fill(~counted.unsqueeze(-1), float("-inf"))
        low = start.masked_fill(start == 0, float("-inf"))
        return apply_named("scatter", low, bag, rows, attrs=(0, "max")).masked_fill(count == 0, 0.0)
    if counted is not None:
        rows = rows * counted.unsqueeze(-1)
    total = apply_named("scatter", start, bag, rows, attrs=(0, "add"))
    return total if mode == "sum" else total / _at_least_one(count, total)


def _at_least_one(count: Any, like: Any) -> Any:
    return cast(count + (count == 0), type_of(like).dtype)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 zeros of shape (*, num_classes) with a one at each index; -1 takes the largest index plus one.

    torch: ``one_hot``.

    >>> import gemel
    >>> gemel.nn.functional.one_hot(gemel.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    check_tensor("one_hot", "tensor", tensor)
    t = type_of(tensor)
    if t.dtype is not dt.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor. Received: {t.dtype!r}")
    if num_classes == -1:
        if not t.size:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max().item()) + 1
    if num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    bounds = _checked(tensor, num_classes, 0, "one_hot")
    if bounds == "strict" and t.size:
        if int(tensor.min().item()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        if int(tensor.max().item()) >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    classes = wrap(BUILDER.iota(dt.int64, (*t.shape, num_classes), t.ndim))
    return cast(tensor.unsqueeze(-1) == classes, dt.int64)
