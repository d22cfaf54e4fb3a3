"""Adaptive softmax: frequent classes in a head, rare ones in clusters with smaller projections."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...engine.base.dtypes import DType
from ...tensor.joining import cat
from .. import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    """Log-probability of each target, and the mean negative one."""

    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities over many classes, sorted by falling frequency (Grave et al., 2017).

    All clusters are computed for all rows, and each row takes what is its own: nothing waits for the targets.

    Args:
        in_features: of the input. n_classes: number of classes. cutoffs: where the clusters begin, rising.
        div_value: cluster i projects to in_features / div_value^(i + 1). head_bias: have a bias in the head.

    Shapes: input (N, in_features) or (in_features,), target (N,) or ().

    torch: ``torch.nn.AdaptiveLogSoftmaxWithLoss``
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, device: Any = None, dtype: DType | None = None) -> None:
        super().__init__()
        found = list(cutoffs)
        if not found:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (found != sorted(set(found)) or min(found) <= 0 or max(found) > n_classes - 1
                or any(int(c) != c for c in found)):
            raise ValueError("cutoffs should be a sequence of unique, positive integers sorted in an increasing order, "
                             "where each value is between 1 and n_classes-1")
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*found, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = found[0]
        self.n_clusters = len(found)
        self.head_size = self.shortlist_size + self.n_clusters
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            width, size = int(in_features // div_value ** (i + 1)), self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, width, bias=False, **place),
                                        Linear(width, size, bias=False, **place)))

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in (self.head, *(part for cluster in self.tail for part in cluster)):
            layer.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> _ASMoutput:
        """The targets' log-probabilities and their loss."""
        batched = target_.dim() == 1
        if target_.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if batched and input_.shape[0] != target_.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if input_.dim() != target_.dim() + 1:
            raise RuntimeError(f"{target_.dim()}D target tensor expects {target_.dim() + 1}D input tensors, but found "
                               f"inputs with size {list(input_.shape)}")
        x, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        head = F.log_softmax(self.head(x), 1)
        inside = (target >= 0) & (target < self.shortlist_size)
        place = target * inside
        known, total = inside, None
        for i, cluster in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = (target >= low) & (target < high)
            known = known | inside
            place = place + inside * (self.shortlist_size + i)
            own = F.log_softmax(cluster(x), 1).gather(1, ((target - low) * inside).unsqueeze(1)).squeeze(1)
            own = own.masked_fill(~inside, 0.0)
            total = own if total is None else total + own
        place = place + ~known * self.head_size  # a target out of range: an index that the head does not have
        output = head.gather(1, place.unsqueeze(1)).squeeze(1) + total
        loss = -output.mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def log_prob(self, input: Any) -> Any:
        """Log-probabilities of all classes, (N, n_classes)."""
        head = F.log_softmax(self.head(input), 1)
        n = self.shortlist_size
        return cat([head[:, :n], *(F.log_softmax(cluster(input), 1) + head[:, n + i:n + i + 1]
                                   for i, cluster in enumerate(self.tail))], 1)

    def predict(self, input: Any) -> Any:
        """The most probable class of each row."""
        return self.log_prob(input).argmax(1)
