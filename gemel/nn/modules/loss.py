"""Loss functions as modules."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .. import functional as F
from ..functional.common import legacy_reduction
from .distance import PairwiseDistance
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "NLLLoss2d", "PoissonNLLLoss", "SmoothL1Loss",
    "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss",
]

_Flag = bool | None


class _Loss(Module):
    """``reduction``: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its old spelling."""

    def __init__(self, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean") -> None:
        super().__init__()
        old = size_average is not None or reduce is not None
        self.reduction = legacy_reduction(size_average, reduce, reduction) if old else reduction


class _WeightedLoss(_Loss):
    """A loss with a buffer ``weight``."""

    weight: Any

    def __init__(self, weight: Any = None, size_average: _Flag = None, reduce: _Flag = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class L1Loss(_Loss):
    """``|input - target|``. torch: ``torch.nn.L1Loss``"""

    def forward(self, input: Any, target: Any) -> Any:
        """``F.l1_loss``."""
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """``(input - target)²``.

    >>> import gemel
    >>> gemel.nn.MSELoss()(gemel.tensor([1.0, 2.0]), gemel.tensor([1.0, 4.0]))
    tensor(2.)

    torch: ``torch.nn.MSELoss``
    """

    def forward(self, input: Any, target: Any) -> Any:
        """``F.mse_loss``."""
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """``0.5 d² / beta`` where ``d = |input - target| < beta``, else ``d - beta / 2``.

    torch: ``torch.nn.SmoothL1Loss``
    """

    def __init__(self, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
                 beta: float = 1.0) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        """``F.smooth_l1_loss``."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """``0.5 d²`` where ``d = |input - target| < delta``, else ``delta (d - delta / 2)``.

    torch: ``torch.nn.HuberLoss``
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        """``F.huber_loss``."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class NLLLoss(_WeightedLoss):
    """``-weight[target] * input[target]`` for log-probabilities (N, C, ...) and class indices (N, ...).

    torch: ``torch.nn.NLLLoss``
    """

    def __init__(self, weight: Any = None, size_average: _Flag = None, ignore_index: int = -100,
                 reduce: _Flag = None, reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:
        """``F.nll_loss``."""
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class NLLLoss2d(NLLLoss):
    """The deprecated name of :class:`NLLLoss`. torch: ``torch.nn.NLLLoss2d``"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement.",
                      FutureWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


class CrossEntropyLoss(_WeightedLoss):
    """Cross entropy of logits with class indices or class probabilities.

    Args:
        weight: of the classes, (C,). ignore_index: a target that does not count. reduction: a mean divides by the
            sum of the targets' weights. label_smoothing: share of the target spread evenly over the classes.

    Shapes: input (N, C, ...) or (C,); target (N, ...) of indices, or of the input's shape.

    >>> import gemel
    >>> gemel.nn.CrossEntropyLoss()(gemel.zeros(2, 4), gemel.tensor([1, 3]))
    tensor(1.3863)

    torch: ``torch.nn.CrossEntropyLoss``
    """

    def __init__(self, weight: Any = None, size_average: _Flag = None, ignore_index: int = -100,
                 reduce: _Flag = None, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        """``F.cross_entropy``."""
        return F.cross_entropy(input, target, weight=self.weight, ignore_index=self.ignore_index,
                               reduction=self.reduction, label_smoothing=self.label_smoothing)


class PoissonNLLLoss(_Loss):
    """``exp(input) - target * input``: the likelihood of counts. torch: ``torch.nn.PoissonNLLLoss``"""

    def __init__(self, log_input: bool = True, full: bool = False, size_average: _Flag = None, eps: float = 1e-8,
                 reduce: _Flag = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Any, target: Any) -> Any:
        """``F.poisson_nll_loss``."""
        return F.poisson_nll_loss(log_input, target, log_input=self.log_input, full=self.full, eps=self.eps,
                                  reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """``0.5 (log(max(var, eps)) + (input - target)² / max(var, eps))``. torch: ``torch.nn.GaussianNLLLoss``"""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Any, target: Any, var: Any) -> Any:
        """``F.gaussian_nll_loss``."""
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class KLDivLoss(_Loss):
    """``target * (log(target) - input)`` with ``input`` in logarithms; also ``reduction="batchmean"``.

    torch: ``torch.nn.KLDivLoss``
    """

    def __init__(self, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
                 log_target: bool = False) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Any:
        """``F.kl_div``."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class BCELoss(_WeightedLoss):
    """``-w (t log x + (1 - t) log(1 - x))`` for probabilities x. torch: ``torch.nn.BCELoss``"""

    def forward(self, input: Any, target: Any) -> Any:
        """``F.binary_cross_entropy``."""
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """:class:`BCELoss` of ``sigmoid(input)``, without overflow.

    Args:
        weight: of the elements. pos_weight: of the positive examples; both broadcast.

    torch: ``torch.nn.BCEWithLogitsLoss``
    """

    weight: Any
    pos_weight: Any

    def __init__(self, weight: Any = None, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
                 pos_weight: Any = None) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        """``F.binary_cross_entropy_with_logits``."""
        return F.binary_cross_entropy_with_logits(input, target, self.weight, pos_weight=self.pos_weight,
                                                  reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1. torch: ``torch.nn.HingeEmbeddingLoss``"""

    def __init__(self, margin: float = 1.0, size_average: _Flag = None, reduce: _Flag = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Any:
        """``F.hinge_embedding_loss``."""
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """Hinge loss of several classes per sample, listed up to the first -1. torch: ``torch.nn.MultiLabelMarginLoss``"""

    def forward(self, input: Any, target: Any) -> Any:
        """``F.multilabel_margin_loss``."""
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """``log(1 + exp(-target * input))``. torch: ``torch.nn.SoftMarginLoss``"""

    def forward(self, input: Any, target: Any) -> Any:
        """``F.soft_margin_loss``."""
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """:class:`BCEWithLogitsLoss` averaged over the classes. torch: ``torch.nn.MultiLabelSoftMarginLoss``"""

    def forward(self, input: Any, target: Any) -> Any:
        """``F.multilabel_soft_margin_loss``."""
        return F.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    torch: ``torch.nn.CosineEmbeddingLoss``
    """

    def __init__(self, margin: float = 0.0, size_average: _Flag = None, reduce: _Flag = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        """``F.cosine_embedding_loss``."""
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """``max(0, -target * (input1 - input2) + margin)``. torch: ``torch.nn.MarginRankingLoss``"""

    def __init__(self, margin: float = 0.0, size_average: _Flag = None, reduce: _Flag = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        """``F.margin_ranking_loss``."""
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """Hinge loss of one class per sample, to the power ``p`` (1 or 2). torch: ``torch.nn.MultiMarginLoss``"""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: _Flag = None,
                 reduce: _Flag = None, reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.dim() != 1:
            raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.dim()}D instead")
        self.p = p
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Any:
        """``F.multi_margin_loss``."""
        return F.multi_margin_loss(input, target, p=self.p, margin=self.margin, weight=self.weight,
                                   reduction=self.reduction)


def _check_margin(module: Module, margin: float) -> None:
    if margin <= 0:
        raise ValueError(f"{type(module).__name__}: expected margin to be greater than 0, got {margin} instead")


class TripletMarginLoss(_Loss):
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with distances of order ``p``.

    Args:
        swap: take the smaller of d(anchor, negative) and d(positive, negative).

    torch: ``torch.nn.TripletMarginLoss``
    """

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
                 size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        _check_margin(self, margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        """``F.triplet_margin_loss``."""
        return F.triplet_margin_loss(anchor, positive, negative, margin=self.margin, p=self.p, eps=self.eps,
                                     swap=self.swap, reduction=self.reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """:class:`TripletMarginLoss` with any distance (default: ``PairwiseDistance()``).

    torch: ``torch.nn.TripletMarginWithDistanceLoss``
    """

    def __init__(self, *, distance_function: Callable[[Any, Any], Any] | None = None, margin: float = 1.0,
                 swap: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        _check_margin(self, margin)
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        """``F.triplet_margin_with_distance_loss``."""
        return F.triplet_margin_with_distance_loss(anchor, positive, negative, margin=self.margin, swap=self.swap,
                                                   distance_function=self.distance_function, reduction=self.reduction)


class CTCLoss(_Loss):
    """Minus the log probability of label sequences, over all alignments with the rows of the input (Graves et al.,
    2006).

    Args:
        blank: the label that stands for none. reduction: ``"mean"`` divides each loss by the length of its target.
        zero_infinity: zero, with zero gradients, where no alignment exists, instead of infinity.

    >>> log_probs = gemel.randn(5, 1, 3).log_softmax(2)  # rows, batch, labels
    >>> loss = gemel.nn.CTCLoss()(log_probs, gemel.tensor([[1, 2]]), gemel.tensor([5]), gemel.tensor([2]))
    >>> loss.shape
    gemel.Size([])

    torch: ``torch.nn.CTCLoss``
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Any:
        """``F.ctc_loss``."""
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
                          self.zero_infinity)
