"""Dropout and its relatives; the random numbers come from the default generator."""
from __future__ import annotations

import warnings
from typing import Any

from ...engine.base.errors import ShapeError
from ...tensor.recording import apply_named
from .common import check_floating, check_tensor, in_place, number, type_of
from .random import stream

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]

#: scale * alpha of selu: what a dropped unit of a self-normalizing network is set to, negated
_SATURATION = 1.7580993408473766


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _drop(function: str, x: Any, p: float, training: bool, inplace: bool, mask_shape: tuple[int, ...]) -> Any:
    check_tensor(function, "input", x)
    _check(p)
    if not training or p == 0 or not type_of(x).size:
        return x
    check_floating(function, x)
    key, count = stream()
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    out, _ = apply_named("dropout", x, key, count, number(x, p), number(x, scale), attrs=(mask_shape,))
    return in_place(x, out, inplace)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, zero each element with probability ``p`` and multiply the others by ``1 / (1 - p)``.

    torch: ``dropout``.

    >>> import gemel
    >>> gemel.nn.functional.dropout(gemel.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    check_tensor("dropout", "input", input)
    return _drop("dropout", input, p, training, inplace, type_of(input).shape)


def _channel_mask(x: Any, batch: bool) -> tuple[int, ...]:
    shape = type_of(x).shape
    n = 2 if batch else 1
    return shape[:n] + (1,) * (len(shape) - n)


def _drop_channels(function: str, x: Any, p: float, training: bool, inplace: bool, dims: tuple[int, ...]) -> Any:
    """Channels of (N, C, ...), or of (C, ...) where the first of ``dims`` says that is an unbatched input."""
    check_tensor(function, "input", x)
    _check(p)
    n = type_of(x).ndim
    if n not in dims:
        warnings.warn(f"{function}: Received a {n}-D input to {function}, which is deprecated and will result in an "
                      f"error in a future release.", UserWarning, stacklevel=3)
        if n < 2:
            raise ShapeError(f"Feature dropout requires at least 2 dimensions in the input. Received: "
                             f"{list(type_of(x).shape)}")
    return _drop(function, x, p, training, inplace, _channel_mask(x, n != dims[0]))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """``dropout`` of whole channels of (N, C, L) or (C, L). torch: ``dropout1d``."""
    if type_of(input).ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {type_of(input).ndim}D input. Note "
                           f"that dropout1d exists to provide channel-wise dropout on inputs with 1 spatial "
                           f"dimension, a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs).")
    return _drop_channels("dropout1d", input, p, training, inplace, (2, 3))


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """``dropout`` of whole channels of (N, C, H, W); a 3-D input is taken as (N, C, L), as in torch.

    torch: ``dropout2d``.
    """
    check_tensor("dropout2d", "input", input)
    if type_of(input).ndim == 3:
        warnings.warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior "
                      "is desired - input is interpreted as shape (N, C, L), where C is the channel dim. This "
                      "behavior will change in a future release to interpret the input as one without a batch "
                      "dimension, i.e. shape (C, H, W).", UserWarning, stacklevel=2)
        return _drop("dropout2d", input, p, training, inplace, _channel_mask(input, True))
    return _drop_channels("dropout2d", input, p, training, inplace, (-1, 4))


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """``dropout`` of whole channels of (N, C, D, H, W) or (C, D, H, W). torch: ``dropout3d``."""
    return _drop_channels("dropout3d", input, p, training, inplace, (4, 5))


def _alpha(function: str, x: Any, p: float, training: bool, inplace: bool, mask_shape: tuple[int, ...]) -> Any:
    _check(p)
    if not training or p == 0 or not type_of(x).size:
        return x
    check_floating(function, x)
    a = ((_SATURATION**2 * p + 1) * (1 - p)) ** -0.5 if p < 1 else 0.0
    key, count = stream()
    out, _ = apply_named("alpha_dropout", x, key, count, number(x, p), number(x, a), number(x, _SATURATION * a * p),
                         number(x, _SATURATION * a * (p - 1)), attrs=(mask_shape,))
    return in_place(x, out, inplace)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean and variance of selu's outputs. torch: ``alpha_dropout``."""
    check_tensor("alpha_dropout", "input", input)
    return _alpha("alpha_dropout", input, p, training, inplace, type_of(input).shape)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """``alpha_dropout`` of whole channels of (N, C, ...). torch: ``feature_alpha_dropout``."""
    check_tensor("feature_alpha_dropout", "input", input)
    if type_of(input).ndim < 2:
        raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
    return _alpha("feature_alpha_dropout", input, p, training, inplace, _channel_mask(input, True))
