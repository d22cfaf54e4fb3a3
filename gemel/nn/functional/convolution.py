"""Convolutions and transposed convolutions in one, two and three dimensions."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engine.base.errors import ShapeError
from ...tensor.recording import apply_named
from .common import batched, check_tensor, given, tuple_of, type_of, unbatched

__all__ = ["conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def _positive(function: str, name: str, value: Any, n: int) -> tuple[int, ...]:
    found = tuple_of(function, name, value, n)
    if any(v <= 0 for v in found):
        raise RuntimeError(f"non-positive {name} is not supported. Received: {name}={value!r} of {function}")
    return found


def _check_weight(function: str, w: Any, n: int, groups: int) -> None:
    check_tensor(function, "weight", w)
    if type_of(w).ndim != n + 2:
        raise ShapeError(f"expected {n + 2}-dimensional weight for {function}, but got a {type_of(w).ndim}-dimensional "
                         f"weight of size {list(type_of(w).shape)} instead")
    if groups <= 0:
        raise RuntimeError(f"non-positive groups is not supported. Received: groups={groups}")


def _pairs(function: str, padding: Any, n: int, stride: tuple[int, ...], dilation: tuple[int, ...],
           kernel: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(low, high) of each axis; ``"same"`` puts an odd one out at the end, as torch does."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'. {function} takes 'valid', 'same' or numbers")
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    found = tuple_of(function, "padding", padding, n)
    if any(p < 0 for p in found):
        raise RuntimeError(f"negative padding is not supported. Received: padding={padding!r} of {function}")
    return tuple((p, p) for p in found)


def _convolve(function: str, n: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
              groups: int) -> Any:
    x, added = batched(function, x, n)
    _check_weight(function, w, n, groups)
    stride, dilation = _positive(function, "stride", stride, n), _positive(function, "dilation", dilation, n)
    pairs = _pairs(function, padding, n, stride, dilation, type_of(w).shape[2:])
    return unbatched(apply_named("convolution", x, w, *given(bias), attrs=(stride, pairs, dilation, groups)), added)


def _transpose(function: str, n: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, output_padding: Any,
               groups: int, dilation: Any) -> Any:
    x, added = batched(function, x, n)
    _check_weight(function, w, n, groups)
    stride, dilation = _positive(function, "stride", stride, n), _positive(function, "dilation", dilation, n)
    pads = tuple_of(function, "padding", padding, n)
    extra = tuple_of(function, "output_padding", output_padding, n)
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= s and e >= d:
            raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got "
                               f"output_padding: {list(extra)}, stride: {list(stride)}, dilation: {list(dilation)}")
    shape, kernel = type_of(x).shape, type_of(w).shape[2:]
    if shape[1] != type_of(w).shape[0]:
        raise ShapeError(f"Given transposed=1, weight of size {list(type_of(w).shape)}, expected input{list(shape)} to "
                         f"have {type_of(w).shape[0]} channels, but got {shape[1]} channels instead")
    size = tuple((m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, s, p, d, k, e in
                 zip(shape[2:], stride, pads, dilation, kernel, extra, strict=True))
    if any(m < 1 for m in size):
        raise ShapeError(f"Given input size per channel: {list(shape[2:])}. Calculated output size per channel: "
                         f"{list(size)}. Output size is too small")
    pairs = tuple((p, p) for p in pads)
    out = apply_named("convolution_transpose", x, w, *given(bias), attrs=(size, stride, pairs, dilation, groups))
    return unbatched(out, added)


def _conv(n: int) -> Callable[..., Any]:
    name = f"conv{n}d"

    def conv(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1) -> Any:
        return _convolve(name, n, input, weight, bias, stride, padding, dilation, groups)
    size = ", ".join(("D", "H", "W")[3 - n:])
    kernel = ", ".join(("kD", "kH", "kW")[3 - n:])
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""Cross-correlation in {n} dimension{"s" if n > 1 else ""}.

    Args:
        input: (N, C, {size}) or (C, {size}). weight: (O, C / groups, {kernel}). bias: (O,), or None.
        stride, dilation: a number, or one per dimension.
        padding: a number, one per dimension, ``"valid"`` (none) or ``"same"`` (the output has the input's size).
        groups: input and output channels are split into this many independent groups.

    torch: ``{name}``.
    """
    return conv


def _conv_transpose(n: int) -> Callable[..., Any]:
    name = f"conv_transpose{n}d"

    def conv(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
             groups: int = 1, dilation: Any = 1) -> Any:
        return _transpose(name, n, input, weight, bias, stride, padding, output_padding, groups, dilation)
    size = ", ".join(("D", "H", "W")[3 - n:])
    kernel = ", ".join(("kD", "kH", "kW")[3 - n:])
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""Transposed {n}-D convolution: the gradient of ``conv{n}d`` in its input.

    Args:
        input: (N, C, {size}) or (C, {size}). weight: (C, O / groups, {kernel}). bias: (O,), or None.
        output_padding: added to one side of the output, where a stride makes its size ambiguous.

    torch: ``{name}``.
    """
    return conv


conv1d, conv2d, conv3d = _conv(1), _conv(2), _conv(3)
conv_transpose1d, conv_transpose2d, conv_transpose3d = _conv_transpose(1), _conv_transpose(2), _conv_transpose(3)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """1-D convolution of (time, batch, channels) with a weight of (kernel, channels, out). torch: ``conv_tbc``."""
    x = apply_named("permute", input, attrs=((1, 2, 0),))
    w = apply_named("permute", weight, attrs=((2, 1, 0),))
    return apply_named("permute", conv1d(x, w, bias, padding=pad), attrs=((2, 0, 1),))
