"""Connectionist temporal classification."""
from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError
from ...tensor.core import TENSOR_CLASSES, from_array
from ...tensor.recording import apply_named, wrap
from .common import cast, check_floating, check_tensor, legacy_reduction, reshape, type_of

__all__ = ["ctc_loss"]


def _lengths(name: str, given: Any, n: int, largest: int) -> np.ndarray:
    """Lengths as integers, checked."""
    found = np.asarray(given.detach().numpy() if given.__class__ in TENSOR_CLASSES else given)
    if found.dtype.kind not in "iu":
        raise RuntimeError(f"{name} must be integral")
    found = found.astype(np.int64).reshape(-1)
    if len(found) != n:
        raise RuntimeError(f"{name} must be of size batch_size. Received: {len(found)} of a batch of {n}")
    if n and (found.min() < 0 or found.max() > largest):
        raise RuntimeError(f"Expected {name} to have value at least 0 and at most {largest}, but got "
                           f"{found.tolist()}")
    return found


def _padded(targets: Any, lengths: np.ndarray) -> Any:
    """Targets that lie one behind the other as (N, L)."""
    total = type_of(targets).size
    if total != lengths.sum():
        raise RuntimeError(f"Expected targets to have sum(target_lengths) = {lengths.sum()} elements, but got {total}")
    starts = np.cumsum(lengths) - lengths
    longest = int(lengths.max()) if len(lengths) else 0
    index = np.minimum(starts[:, None] + np.arange(longest)[None], max(total - 1, 0)).astype(np.int64)
    if not total:
        return wrap(from_array(np.zeros((len(lengths), 0), np.int64)))
    return apply_named("take", targets, wrap(from_array(index)), attrs=(0,))


def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Any:
    """Minus the log probability of label sequences, summed over all alignments.

    Args:
        log_probs: (T, N, C) or (T, C), results of ``log_softmax``.
        targets: (N, S) padded, or all labels one behind the other (sum of the lengths,); none is ``blank``.
        input_lengths, target_lengths: (N,) integers, tensors or lists; they are looked at (a pending one waits).
        reduction: ``"mean"`` divides each loss by its target's length first. zero_infinity: 0 for impossible targets.

    torch: ``ctc_loss``.
    """
    reduction = legacy_reduction(None, None, reduction)
    check_floating("ctc_loss", log_probs, "log_probs")
    check_tensor("ctc_loss", "targets", targets)
    if type_of(log_probs).ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C). Received: {list(type_of(log_probs).shape)}")
    single = type_of(log_probs).ndim == 2
    if single:
        t, c = type_of(log_probs).shape
        log_probs = reshape(log_probs, (t, 1, c))
    t, n, c = type_of(log_probs).shape
    if not type_of(targets).dtype.is_integer:
        raise RuntimeError(f"targets must be integral. Received: {type_of(targets).dtype!r}")
    if not 0 <= blank < c:
        raise RuntimeError(f"blank must be in label range. Received: blank={blank} of {c} classes")
    labels = cast(targets, dt.int64)
    if single and type_of(labels).ndim == 1:
        labels = reshape(labels, (1, type_of(labels).size))
    times = _lengths("input_lengths", input_lengths, n, t)
    flat = type_of(labels).ndim == 1
    widest = type_of(labels).size if flat else type_of(labels).shape[-1]
    counts = _lengths("target_lengths", target_lengths, n, widest)
    if flat:
        labels = _padded(labels, counts)
    loss, _ = apply_named("ctc_loss", log_probs, labels, wrap(from_array(times)), wrap(from_array(counts)),
                          attrs=(blank,))
    if zero_infinity:
        loss = loss.masked_fill(loss == float("inf"), 0.0)
    if reduction == "mean":
        loss = (loss / cast(wrap(from_array(np.maximum(counts, 1))), type_of(loss).dtype)).mean()
    elif reduction == "sum":
        loss = loss.sum()
    return reshape(loss, ()) if single else loss
