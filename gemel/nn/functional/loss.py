"""Losses."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...engine.base.errors import DTypeError, ShapeError
from ...engine.runtime.trace import BUILDER
from ...tensor.promotion import broadcast_shapes
from ...tensor.recording import apply_named, wrap
from .common import (
    broadcast,
    cast,
    check_floating,
    check_same_dtype,
    check_tensor,
    expand,
    given,
    legacy_reduction,
    number,
    reshape,
    type_of,
)
from .distance import norm_kind, pairwise_distance

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss",
    "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]


def _reduce(losses: Any, reduction: str) -> Any:
    """Sum or mean of losses that were computed one by one."""
    if reduction == "none":
        return losses
    t = type_of(losses)
    total = apply_named("reduce_sum", losses, attrs=(tuple(range(t.ndim)),))
    return apply_named("div_scalar", total, number(total, t.size)) if reduction == "mean" else total


# --- regression -------------------------------------------------------------------------------------

def _pair(function: str, x: Any, t: Any) -> list[Any]:
    """Input and target in one shape and dtype, with torch's warning when they have to be broadcast."""
    check_tensor(function, "input", x)
    check_tensor(function, "target", t)
    a, b = type_of(x).shape, type_of(t).shape
    if a != b:
        warnings.warn(f"Using a target size ({list(b)}) that is different to the input size ({list(a)}). This will "
                      f"likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
                      UserWarning, stacklevel=4)
    pair = broadcast(x, t)
    check_floating(function, pair[0])
    return pair


def _regression(function: str, x: Any, t: Any, reduction: str, weight: Any, *numbers: float) -> Any:
    x, t = _pair(function, x, t)
    scalars = [number(x, v) for v in numbers]
    if weight is None:
        return apply_named(function, x, t, *scalars, attrs=(reduction,))
    check_tensor(function, "weight", weight)
    if type_of(weight).shape != type_of(x).shape:
        raise ValueError("Weights and input must have the same size.")
    losses = apply_named(function, x, t, *scalars, attrs=("none",))
    losses, weight = broadcast(losses, weight)
    weighted = apply_named("mul", losses, weight)
    if reduction == "mean" and function != "huber_loss":  # torch's weighted huber_loss divides by the count
        return apply_named("div", _reduce(weighted, "sum"), _reduce(weight, "sum"))
    return _reduce(weighted, reduction)


def mse_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
             reduction: str = "mean", weight: Any = None) -> Any:
    """``(input - target)^2``.

    Args:
        reduction: ``"none"``, ``"mean"`` or ``"sum"``. weight: of the elements; a mean divides by its sum.

    torch: ``mse_loss``.

    >>> import gemel
    >>> gemel.nn.functional.mse_loss(gemel.tensor([1.0, 2.0]), gemel.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return _regression("mse_loss", input, target, legacy_reduction(size_average, reduce, reduction), weight)


def l1_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
            reduction: str = "mean", weight: Any = None) -> Any:
    """``|input - target|``. torch: ``l1_loss``."""
    return _regression("l1_loss", input, target, legacy_reduction(size_average, reduce, reduction), weight)


def smooth_l1_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
                   reduction: str = "mean", beta: float = 1.0) -> Any:
    """``0.5 d^2 / beta`` where ``d = |input - target| < beta``, else ``d - beta / 2``. torch: ``smooth_l1_loss``."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta. Received: beta={beta}")
    if beta == 0:
        return _regression("l1_loss", input, target, reduction, None)
    return _regression("smooth_l1_loss", input, target, reduction, None, beta)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """``0.5 d^2`` where ``d = |input - target| < delta``, else ``delta (d - delta / 2)``. torch: ``huber_loss``."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta. Received: delta={delta}")
    return _regression("huber_loss", input, target, legacy_reduction(None, None, reduction), weight, delta)


# --- classification ---------------------------------------------------------------------------------

def _rows(function: str, x: Any, target: Any) -> tuple[Any, Any, bool]:
    """Input (N, C, ...) and target with a batch axis, and whether it was put in here."""
    check_floating(function, x)
    check_tensor(function, "target", target)
    t = type_of(x)
    if t.ndim == 0:
        raise ShapeError(f"{function}: the input must have an axis of classes. Received: {list(t.shape)}")
    if t.ndim > 1:
        shape = type_of(target).shape
        if shape[:1] != t.shape[:1]:
            raise ValueError(f"Expected input batch_size ({t.shape[0]}) to match target batch_size "
                             f"({shape[0] if shape else 0}).")
        return x, target, False
    return reshape(x, (1, *t.shape)), reshape(target, (1, *type_of(target).shape)), True


def _without_rows(out: Any, added: bool, reduction: str) -> Any:
    return reshape(out, type_of(out).shape[1:]) if added and reduction == "none" else out


def nll_loss(input: Any, target: Any, weight: Any = None, size_average: bool | None = None, ignore_index: int = -100,
             reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``-weight[target] * input[target]`` for log-probabilities.

    Args:
        input: (N, C, ...) or (C,). target: class indices, (N, ...) or (). weight: of the classes, (C,).
        ignore_index: a target that does not count. reduction: a mean divides by the sum of the targets' weights.

    torch: ``nll_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, target, added = _rows("nll_loss", input, target)
    check_same_dtype("nll_loss", x, weight=weight)
    out, _ = apply_named("nll_loss", x, target, *given(weight), attrs=(ignore_index, reduction))
    return _without_rows(out, added, reduction)


def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
                  ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Any:
    """Cross entropy of logits with class indices or class probabilities; one node, forward and backward one kernel.

    Args:
        input: logits (N, C, ...) or (C,).
        target: class indices (N, ...) or (); or probabilities of the input's shape.
        weight: of the classes, (C,). ignore_index: an index that does not count.
        label_smoothing: share of the target that is spread evenly over the classes.

    Raises:
        IndexError: a class index is out of range (found when the value is needed).

    torch: ``cross_entropy``.

    >>> import gemel
    >>> gemel.nn.functional.cross_entropy(gemel.tensor([[0.0, 0.0]]), gemel.tensor([1]))
    tensor(0.6931)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    x, target, added = _rows("cross_entropy", input, target)
    if weight is not None:
        check_same_dtype("cross_entropy", x, weight=weight)
    smoothing, smooth = number(x, label_smoothing), label_smoothing > 0
    if type_of(target).dtype.kind != "f":
        out, _ = apply_named("cross_entropy", x, target, smoothing, *given(weight),
                             attrs=(ignore_index, reduction, smooth))
        return _without_rows(out, added, reduction)
    if type_of(target).shape != type_of(x).shape:
        raise DTypeError(f"expected scalar type Long but found {type_of(target).dtype.name}: a target of probabilities "
                         f"must have the input's shape. Received: input {list(type_of(x).shape)}, target "
                         f"{list(type_of(target).shape)}")
    if weight is not None and type_of(weight).shape != type_of(x).shape[1:2]:
        raise ShapeError(f"cross_entropy: weight tensor should be defined either for all {type_of(x).shape[1]} classes "
                         f"or no classes but got weight tensor of shape: {list(type_of(weight).shape)}")
    out = apply_named("cross_entropy_soft", x, target, smoothing, *given(weight), attrs=(reduction, smooth))
    return _without_rows(out, added, reduction)


def _same_size(function: str, x: Any, t: Any) -> None:
    check_floating(function, x)
    check_tensor(function, "target", t)
    if type_of(x).shape != type_of(t).shape:
        raise ValueError(f"Using a target size ({list(type_of(t).shape)}) that is different to the input size "
                         f"({list(type_of(x).shape)}) is deprecated. Please ensure they have the same size.")


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``-w (t log x + (1 - t) log(1 - x))`` for probabilities x; logarithms are cut off at -100.

    torch: ``binary_cross_entropy``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    _same_size("binary_cross_entropy", input, target)
    check_same_dtype("binary_cross_entropy", input, target=target)
    if weight is None:
        weight = expand(cast_one(input), type_of(input).shape)
    else:
        weight = expand(cast(weight, type_of(input).dtype), type_of(input).shape)
    return apply_named("binary_cross_entropy", input, target, weight, attrs=(reduction,))


def cast_one(x: Any) -> Any:
    """The number one, 0-d, in the dtype of ``x``."""
    return wrap(BUILDER.const(1, type_of(x).dtype))


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
                                     reduce: bool | None = None, reduction: str = "mean",
                                     pos_weight: Any = None) -> Any:
    """``binary_cross_entropy(sigmoid(x), t)`` without overflow.

    Args:
        weight: of the elements. pos_weight: of the positive examples; both broadcast.

    torch: ``binary_cross_entropy_with_logits``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("binary_cross_entropy_with_logits", input)
    check_tensor("binary_cross_entropy_with_logits", "target", target)
    if type_of(input).shape != type_of(target).shape:
        raise ValueError(f"Target size ({list(type_of(target).shape)}) must be the same as input size "
                         f"({list(type_of(input).shape)})")
    x, t = broadcast(input, target)
    if weight is None and pos_weight is None:
        return apply_named("bce_with_logits", x, t, attrs=(reduction,))
    shape, dtype = type_of(x).shape, type_of(x).dtype
    for w in (weight, pos_weight):
        if w is not None:
            broadcast_shapes(shape, type_of(w).shape)
    one = cast_one(x)
    weights = [expand(one if w is None else cast(w, dtype), shape) for w in (weight, pos_weight)]
    return apply_named("bce_with_logits_weighted", x, t, *weights, attrs=(reduction,))


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
                                reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``binary_cross_entropy_with_logits`` averaged over the classes (last axis).

    torch: ``multilabel_soft_margin_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = binary_cross_entropy_with_logits(input, target, weight, reduction="none")
    t = type_of(losses)
    rows = apply_named("reduce_sum", losses, attrs=((t.ndim - 1,),))
    return _reduce(apply_named("div_scalar", rows, number(rows, t.shape[-1])), reduction)


def kl_div(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
           reduction: str = "mean", log_target: bool = False) -> Any:
    """``target * (log(target) - input)``: the divergence of ``input``, given as logarithms, from ``target``.

    Args:
        reduction: also ``"batchmean"``, the sum divided by the size of axis 0 (the mathematical definition).
        log_target: the target is given as logarithms too.

    torch: ``kl_div``.
    """
    by_batch = reduction == "batchmean" and size_average is None and reduce is None
    reduction = "sum" if by_batch else legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the support size. "
                      "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
                      UserWarning, stacklevel=2)
    check_floating("kl_div", input)
    check_tensor("kl_div", "target", target)
    x, t = broadcast(input, target)
    out = apply_named("kl_div", x, t, attrs=(reduction, log_target))
    n = type_of(input).shape[0] if by_batch and type_of(input).ndim else 1
    return apply_named("div_scalar", out, number(out, n)) if by_batch else out


def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8, reduce: bool | None = None,
                     reduction: str = "mean") -> Any:
    """``exp(x) - t x`` (``log_input``) or ``x - t log(x + eps)``; ``full`` adds Stirling's log t!.

    torch: ``poisson_nll_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("poisson_nll_loss", input)
    x, t = broadcast(input, target)
    return apply_named("poisson_nll_loss", x, t, number(x, eps), attrs=(reduction, log_input, full))


def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Any:
    """``(log(max(var, eps)) + (input - target)^2 / max(var, eps)) / 2``; ``full`` adds ``log(2 pi) / 2``.

    Args:
        var: variances of the input's shape, or without its last axis, or with that axis of size 1, or a number.

    torch: ``gaussian_nll_loss``.
    """
    check_floating("gaussian_nll_loss", input)
    shape = type_of(input).shape
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = expand(apply_named("mul_scalar", cast_one(input), number(input, var)), shape)
    have = type_of(var).shape
    if have != shape:
        if have == shape[:-1]:
            var = reshape(var, (*have, 1))
        elif have[:-1] != shape[:-1] or have[-1] != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    x, t, var = broadcast(input, target, var)
    return apply_named("gaussian_nll_loss", x, t, var, number(x, eps), attrs=(reduction, full))


# --- margins ----------------------------------------------------------------------------------------

def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1. torch: ``hinge_embedding_loss``."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("hinge_embedding_loss", input)
    x, t = broadcast(input, target)
    return apply_named("hinge_embedding_loss", x, t, number(x, margin), attrs=(reduction,))


def soft_margin_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
                     reduction: str = "mean") -> Any:
    """``log(1 + exp(-target * input))``. torch: ``soft_margin_loss``."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("soft_margin_loss", input)
    x, t = broadcast(input, target)
    return apply_named("soft_margin_loss", x, t, attrs=(reduction,))


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: bool | None = None,
                        reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``max(0, -target * (input1 - input2) + margin)``. torch: ``margin_ranking_loss``."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("margin_ranking_loss", input1, "input1")
    dims = [type_of(t).ndim for t in (input1, input2, target)]
    if len(set(dims)) != 1:
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but got sizes: "
                           f"input1: {list(type_of(input1).shape)}, input2: {list(type_of(input2).shape)}, target: "
                           f"{list(type_of(target).shape)} ")
    x, y, t = broadcast(input1, input2, target)
    return apply_named("margin_ranking_loss", x, y, t, number(x, margin), attrs=(reduction,))


def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``sum_i max(0, margin - x[y] + x[i])^p / C`` over the classes i other than the target y.

    Args:
        input: (N, C) or (C,). target: class indices (N,) or (). p: 1 or 2. weight: of the classes, (C,).

    torch: ``multi_margin_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x, target, added = _rows("multi_margin_loss", input, target)
    if type_of(x).ndim != 2 or type_of(target).ndim != 1:
        raise ShapeError(f"multi_margin_loss: expected an input of (N, C) and a target of (N,). Received: "
                         f"{list(type_of(input).shape)} and {list(type_of(target).shape)}")
    if weight is not None:
        if type_of(weight).shape != type_of(x).shape[1:]:
            raise ValueError("weight must be one-dimensional" if type_of(weight).ndim != 1 else
                             f"inconsistent weight size, expected {type_of(x).shape[1]} but got "
                             f"{list(type_of(weight).shape)}")
        check_same_dtype("multi_margin_loss", x, weight=weight)
    out = apply_named("multi_margin_loss", x, target, number(x, margin), *given(weight), attrs=(p, reduction))
    return _without_rows(out, added, reduction)


def multilabel_margin_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
                           reduction: str = "mean") -> Any:
    """``sum_ij max(0, 1 - (x[y_j] - x[i])) / C`` over the targets y_j and the classes i that are no targets.

    Args:
        input: (N, C) or (C,). target: class indices of the same shape; a row of them ends at the first -1.

    torch: ``multilabel_margin_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("multilabel_margin_loss", input)
    check_tensor("multilabel_margin_loss", "target", target)
    if type_of(target).shape != type_of(input).shape or type_of(input).ndim not in (1, 2):
        raise ShapeError(f"inconsistent target size: {list(type_of(target).shape)} for input of size: "
                         f"{list(type_of(input).shape)}")
    added = type_of(input).ndim == 1
    if added:
        input, target = (reshape(v, (1, *type_of(v).shape)) for v in (input, target))
    return _without_rows(apply_named("multilabel_margin_loss", input, target, attrs=(reduction,)), added, reduction)


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: bool | None = None,
                          reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``1 - cos(x1, x2)`` where the target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1.

    Args:
        input1, input2: (N, D) or (D,). target: (N,) or ().

    torch: ``cosine_embedding_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("cosine_embedding_loss", input1, "input1")
    check_tensor("cosine_embedding_loss", "target", target)
    if type_of(target).ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if type_of(target).ndim + 1 != type_of(input1).ndim or type_of(target).ndim + 1 != type_of(input2).ndim:
        n = type_of(target).ndim
        raise RuntimeError(f"{n}D target tensor expects {n + 1}D input tensors, but found inputs with sizes "
                           f"{list(type_of(input1).shape)} and {list(type_of(input2).shape)}.")
    x, y = broadcast(input1, input2)
    target = expand(target, type_of(x).shape[:-1])
    return apply_named("cosine_embedding_loss", x, y, target, number(x, margin), attrs=(reduction,))


def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: bool | None = None,
                        reduce: bool | None = None, reduction: str = "mean") -> Any:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with d the pairwise p-norm distance.

    Args:
        swap: use the smaller of d(anchor, negative) and d(positive, negative).

    torch: ``triplet_margin_loss``.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_floating("triplet_margin_loss", anchor, "anchor")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    a, y, n = broadcast(anchor, positive, negative)
    return apply_named("triplet_margin_loss", a, y, n, number(a, margin), number(a, p), number(a, eps),
                       attrs=(swap, norm_kind(p), reduction))


def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Callable[[Any, Any], Any] | None = None,
                                      margin: float = 1.0, swap: bool = False, reduction: str = "mean") -> Any:
    """``triplet_margin_loss`` with a distance of the caller's. torch: ``triplet_margin_with_distance_loss``."""
    reduction = legacy_reduction(None, None, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        near, far = broadcast(near, apply_named("min", *broadcast(far, distance(positive, negative))))
    near, far = broadcast(near, far)
    target = expand(apply_named("neg", cast_one(near)), type_of(near).shape)
    return apply_named("margin_ranking_loss", near, far, target, number(near, margin), attrs=(reduction,))
