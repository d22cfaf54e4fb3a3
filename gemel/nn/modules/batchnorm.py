"""Batch normalization layers."""
from __future__ import annotations

from typing import Any

from ...engine.base import dtypes as dt
from ...engine.base.dtypes import DType
from ...tensor.creation import empty, ones, zeros
from .. import functional as F
from .. import init
from ..parameter import Parameter, UninitializedBuffer, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d",
           "SyncBatchNorm"]


class _NormBase(Module):
    """Settings, parameters and running statistics of batch and instance normalization."""

    _version = 2
    _dims: tuple[int, ...]  # numbers of axes that the input may have
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: DType | None = None, *,
                 bias: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_features, **place)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **place)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **place) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **place) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=dt.int64, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weights 1, biases 0, running statistics forgotten."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Any) -> None:
        if input.dim() not in self._dims:
            raise ValueError(f"expected {' or '.join(f'{n}D' for n in self._dims)} input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        version = local_metadata.get("version")
        key = f"{prefix}num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked if self.num_batches_tracked is not None else \
                zeros((), dtype=dt.int64)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class _BatchNorm(_NormBase):
    def forward(self, input: Any) -> Any:
        """``F.batch_norm`` with the layer's parameters and statistics."""
        self._check_input_dim(input)
        training, tracked = self.training, self.track_running_stats
        factor: Any = 0.0 if self.momentum is None else self.momentum
        if training and tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches so far; the count stays on the device
                factor = 1.0 / self.num_batches_tracked
        used = tracked or not training
        mean, var = (self.running_mean, self.running_var) if used else (None, None)
        by_batch = training or (self.running_mean is None and self.running_var is None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, by_batch, factor, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L). The arguments are those of :class:`BatchNorm2d`.

    torch: ``torch.nn.BatchNorm1d``
    """

    _dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """``(x - mean) / √(var + eps) * weight + bias`` for each channel of (N, C, H, W) (Ioffe and Szegedy, 2015).

    In training, mean and variance are those of the batch, and the running ones move towards them:
    ``running = (1 - momentum) * running + momentum * batch`` (the variance unbiased). Otherwise the running ones
    normalize.

    Args:
        num_features: C. eps: added to the variance. momentum: None takes the mean over all batches.
        affine: have ``weight`` and ``bias``. track_running_stats: False always uses the batch's statistics.
        bias: False leaves ``bias`` out.

    torch: ``torch.nn.BatchNorm2d``
    """

    _dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W). The arguments are those of :class:`BatchNorm2d`.

    torch: ``torch.nn.BatchNorm3d``
    """

    _dims = (5,)


class _LazyNorm(LazyModuleMixin, _NormBase):
    """A normalization layer that takes ``num_features`` from its first input."""

    def __init__(self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: DType | None = None, *,
                 bias: bool = True) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        if affine:
            self.weight = UninitializedParameter(**place)
            if bias:
                self.bias = UninitializedParameter(**place)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**place)
            self.running_var = UninitializedBuffer(**place)
            self.num_batches_tracked = zeros((), dtype=dt.int64, device=device)

    def reset_parameters(self) -> None:
        """As of any normalization layer, once the parameters have a shape."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Any) -> None:  # type: ignore[override]
        """Take ``num_features`` from the input."""
        if not self.has_uninitialized_params():
            self.num_features = self.num_features or input.shape[1]  # the shapes came from a state dict
            return
        self.num_features = input.shape[1]
        for member in (self.weight, self.bias, self.running_mean, self.running_var):
            if member is not None:
                member.materialize((self.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """``BatchNorm1d`` that takes ``num_features`` from its first input. torch: ``torch.nn.LazyBatchNorm1d``"""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """``BatchNorm2d`` that takes ``num_features`` from its first input. torch: ``torch.nn.LazyBatchNorm2d``"""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """``BatchNorm3d`` that takes ``num_features`` from its first input. torch: ``torch.nn.LazyBatchNorm3d``"""

    cls_to_become = BatchNorm3d


class SyncBatchNorm(_BatchNorm):
    """Batch normalization of (N, C, ...) over the batches of all processes. In one process: that of ``BatchNorm``.

    Args:
        num_features, eps, momentum, affine, track_running_stats, bias: as :class:`BatchNorm2d`. process_group: None;
        groups of processes do not exist yet. Raises: NotImplementedError for a group.

    >>> model = gemel.nn.SyncBatchNorm.convert_sync_batchnorm(gemel.nn.Sequential(gemel.nn.BatchNorm1d(3)))
    >>> model(gemel.randn(4, 3)).shape
    gemel.Size([4, 3])

    torch: ``torch.nn.SyncBatchNorm``
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, process_group: Any = None, device: Any = None,
                 dtype: DType | None = None, *, bias: bool = True) -> None:
        _check_group(process_group)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Any) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def forward(self, input: Any) -> Any:
        """``F.batch_norm`` with the layer's parameters and statistics."""
        self._check_input_dim(input)
        if input.size(1) == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")
        return super().forward(input)

    @classmethod
    def convert_sync_batchnorm(cls, module: Any, process_group: Any = None) -> Any:
        """``module`` with a ``SyncBatchNorm``, of the same parameters and statistics, for each batch norm in it."""
        _check_group(process_group)
        converted = module
        if isinstance(module, _BatchNorm):
            converted = SyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine,
                                      module.track_running_stats, process_group, bias=module.bias is not None)
            if module.affine:
                converted.weight, converted.bias = module.weight, module.bias
            for name in ("running_mean", "running_var", "num_batches_tracked", "training"):
                setattr(converted, name, getattr(module, name))
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return converted


def _check_group(group: Any) -> None:
    if group is not None:
        raise NotImplementedError("SyncBatchNorm: groups of processes are not implemented; process_group must be None. "
                                  f"Received: {group!r}")
