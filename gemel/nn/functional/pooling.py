"""Pooling in one, two and three dimensions."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engine.base.dtypes import compute_type
from ...engine.base.errors import ShapeError
from ...engine.composites.resampling import Along
from ...tensor.random import rand
from ...tensor.recording import apply_named
from .common import batched, cast, check_floating, check_tensor, number, reshape, tuple_of, type_of, unbatched

_BY_DIMENSION = ("avg_pool", "max_pool", "lp_pool", "max_unpool", "adaptive_avg_pool", "adaptive_max_pool")
__all__ = [f"{name}{n}d" for name in _BY_DIMENSION for n in (1, 2, 3)]
__all__ += ["fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
            "fractional_max_pool3d_with_indices"]
__all__ += [f"{name}{n}d_with_indices" for name in ("max_pool", "adaptive_max_pool") for n in (1, 2, 3)]


def _windows(function: str, n: int, size: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, dilation: Any,
             ceil_mode: bool) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride, padding, dilation and number of windows per axis; torch's checks."""
    kernel = tuple_of(function, "kernel_size", kernel_size, n)
    steps = kernel if stride is None or stride == () or stride == [] else tuple_of(function, "stride", stride, n)
    pads = tuple_of(function, "padding", padding, n)
    gaps = tuple_of(function, "dilation", dilation, n)
    if any(k <= 0 for k in kernel) or any(s <= 0 for s in steps) or any(d <= 0 for d in gaps):
        raise RuntimeError(f"{function}: kernel size, stride and dilation should be greater than zero. Received: "
                           f"kernel_size={kernel}, stride={steps}, dilation={gaps}")
    if any(p < 0 or 2 * p > d * (k - 1) + 1 for p, k, d in zip(pads, kernel, gaps, strict=True)):
        raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={list(pads)}, "
                           f"kernel_size={list(kernel)} and dilation={list(gaps)}")
    out = []
    for m, k, s, p, d in zip(size, kernel, steps, pads, gaps, strict=True):
        room = m + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= m + p:  # the last window must start inside the input or its left padding
            count -= 1
        out.append(count)
    if any(c < 1 for c in out):
        raise RuntimeError(f"Given input size per channel: {list(size)}. Calculated output size per channel: {out}. "
                           f"Output size is too small")
    return kernel, steps, pads, gaps, tuple(out)


def _max(function: str, n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
         indices: bool) -> Any:
    x, added = batched(function, x, n)
    if type_of(x).dtype.kind not in "fiu":
        check_floating(function, x)
    size = type_of(x).shape[2:]
    window = _windows(function, n, size, kernel_size, stride, padding, dilation, ceil_mode)
    out, code = apply_named("max_pool", x, attrs=window)
    if not indices:
        return unbatched(out, added)
    where = apply_named("max_pool_indices", code, attrs=(*window, size))
    return unbatched(out, added), unbatched(where, added)


_ARGS = """input: (N, C, *size) or (C, *size).
        kernel_size, stride, padding: a number, or one per dimension; the stride is the kernel size by default."""


def _named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}\n\n    torch: ``{name}``.\n    "
    return function


def _max_pools(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"max_pool{n}d"

    def pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:
        return _max(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    def with_indices(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                     ceil_mode: bool = False, return_indices: bool = False) -> Any:
        return _max(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, True)
    doc = f"""The largest element of each window; NaN if the window has one.

    Args:
        {_ARGS}
        dilation: distance of neighbours in a window. ceil_mode: count windows that are cut off at the end.
        return_indices: also return where the winners are, as flat positions in the plane of their channel."""
    return _named(pool, name, doc), _named(with_indices, f"{name}_with_indices", doc)


def _avg_pools(n: int) -> Callable[..., Any]:
    name = f"avg_pool{n}d"

    def pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Any:
        x, added = batched(name, input, n)
        check_floating(name, x)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        window = _windows(name, n, type_of(x).shape[2:], kernel_size, stride, padding, 1, ceil_mode)
        return unbatched(apply_named("avg_pool", x, attrs=(*window, count_include_pad, divisor_override)), added)
    doc = f"""The mean of each window.

    Args:
        {_ARGS}
        ceil_mode: count windows that are cut off at the end. count_include_pad: divide by all of the window.
        divisor_override: divide by this."""
    if n == 1:
        def pool1d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                   count_include_pad: bool = True) -> Any:
            return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
        return _named(pool1d, name, doc.replace("\n        divisor_override: divide by this.", ""))
    return _named(pool, name, doc)


def _lp_pools(n: int) -> Callable[..., Any]:
    name = f"lp_pool{n}d"

    def pool(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        x, added = batched(name, input, n)
        check_floating(name, x)
        window = _windows(name, n, type_of(x).shape[2:], kernel_size, stride, 0, 1, ceil_mode)
        out = apply_named("lp_pool", x, number(x, float(norm_type)), number(x, 1.0 / norm_type),
                          attrs=(*window, float(norm_type) == 2.0))
        return unbatched(out, added)
    return _named(pool, name, f"""(sum of x^p over each window)^(1/p), p = ``norm_type``.

    Args:
        {_ARGS}""")


def _output_size(function: str, n: int, size: tuple[int, ...], output_size: Any) -> tuple[int, ...]:
    wanted = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != n:
        raise ValueError(f"{function}: output_size must be a number or one per dimension ({n}). Received: "
                         f"{output_size!r}")
    found = tuple(m if w is None else w for w, m in zip(wanted, size, strict=True))
    if any(w < 0 for w in found):
        raise RuntimeError(f"{function}: elements of output_size must be greater than or equal to 0 but received "
                           f"{list(found)}")
    return found


def _tiling(size: tuple[int, ...], out: tuple[int, ...]) -> tuple | None:
    """Kernel, stride, padding, dilation and windows if all windows have one size; None otherwise."""
    if any(w == 0 or m % w for m, w in zip(size, out, strict=True)):
        return None
    kernel = tuple(m // w for m, w in zip(size, out, strict=True))
    return kernel, kernel, (0,) * len(size), (1,) * len(size), out


def _check_adaptive(function: str, x: Any, n: int) -> tuple[Any, bool]:
    x, added = batched(function, x, n)
    check_floating(function, x)
    if 0 in type_of(x).shape[1:]:
        raise ShapeError(f"{function}(): Expected input to have non-zero size for non-batch dimensions, but input has "
                         f"sizes {list(type_of(x).shape)}")
    return x, added


def _adaptive_avg(n: int) -> Callable[..., Any]:
    name = f"adaptive_avg_pool{n}d"

    def pool(input: Any, output_size: Any) -> Any:
        x, added = _check_adaptive(name, input, n)
        out = _output_size(name, n, type_of(x).shape[2:], output_size)
        window = _tiling(type_of(x).shape[2:], out)
        if window is not None:
            return unbatched(apply_named("avg_pool", x, attrs=(*window, True, None)), added)
        along = tuple(Along(2 + i, "average", w) for i, w in enumerate(out) if w != type_of(x).shape[2 + i])
        return unbatched(apply_named("resample", x, attrs=(along,)), added)
    return _named(pool, name, """The mean of each of ``output_size`` windows that cover the input evenly.

    Args:
        input: (N, C, *size) or (C, *size). output_size: a number, or one per dimension; None keeps the size.""")


def _adaptive_max(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"adaptive_max_pool{n}d"

    def both(input: Any, output_size: Any) -> tuple[Any, Any]:
        x, added = _check_adaptive(name, input, n)
        size = type_of(x).shape[2:]
        out = _output_size(name, n, size, output_size)
        window = _tiling(size, out)
        if window is not None:
            best, code = apply_named("max_pool", x, attrs=window)
            where = apply_named("max_pool_indices", code, attrs=(*window, size))
        else:
            best, where = apply_named("adaptive_max_pool", x, attrs=(out,))
        return unbatched(best, added), unbatched(where, added)

    def pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        best, where = both(input, output_size)
        return (best, where) if return_indices else best

    def with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        return both(input, output_size)
    doc = """The largest element of each of ``output_size`` windows that cover the input evenly.

    Args:
        input: (N, C, *size) or (C, *size). output_size: a number, or one per dimension; None keeps the size."""
    return _named(pool, name, doc), _named(with_indices, f"{name}_with_indices", doc)


def _fractional_size(function: str, n: int, size: tuple[int, ...], output_size: Any,
                     output_ratio: Any) -> tuple[int, ...]:
    if output_size is None and output_ratio is None:
        raise ValueError(f"{function} requires specifying either an output_size or an output_ratio")
    if output_size is not None:
        return tuple_of(function, "output_size", output_size, n)
    ratios = (output_ratio,) * n if isinstance(output_ratio, float) else tuple(output_ratio)
    if len(ratios) != n or not all(0 < r < 1 for r in ratios):
        raise ValueError(f"{function}: output_ratio must be between 0 and 1, one or {n} of them. Received: "
                         f"{output_ratio!r}")
    return tuple(int(m * r) for m, r in zip(size, ratios, strict=True))


def _fractional(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"fractional_max_pool{n}d"

    def both(input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Any) -> tuple[Any, Any]:
        x, added = batched(name, input, n)
        check_floating(name, x)
        shape = type_of(x).shape
        kernel = tuple_of(name, "kernel_size", kernel_size, n)
        out = _fractional_size(name, n, shape[2:], output_size, output_ratio)
        if any(w < 1 or w + k - 1 > m for w, k, m in zip(out, kernel, shape[2:], strict=True)):
            raise RuntimeError(f"{name}(): pool size {list(kernel)} too large relative to input size "
                               f"{list(shape[2:])}. Received: output_size={list(out)}")
        wide = compute_type(type_of(x).dtype)
        if samples is None:
            samples = rand(*shape[:2], n, dtype=wide)
        elif type_of(samples).shape != (*shape[:2], n):
            raise ShapeError(f"{name}(): _random_samples must be {[*shape[:2], n]}. Received: "
                             f"{list(type_of(samples).shape)}")
        places = cast(samples, wide)
        if n == 2:  # torch's first sample is that of the width
            places = apply_named("flip", places, attrs=((2,),))
        best, where = apply_named("fractional_max_pool", x, places, attrs=(kernel, out))
        return unbatched(best, added), unbatched(where, added)

    def pool(input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
             return_indices: bool = False, _random_samples: Any = None) -> Any:
        best, where = both(input, kernel_size, output_size, output_ratio, _random_samples)
        return (best, where) if return_indices else best

    def with_indices(input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                     return_indices: bool = False, _random_samples: Any = None) -> Any:
        return both(input, kernel_size, output_size, output_ratio, _random_samples)
    doc = """The largest element of windows at pseudo-random places (Graham, 2014).

    Args:
        input: (N, C, *size) or (C, *size). kernel_size: of a window.
        output_size: number of windows; or output_ratio: as a part of the input's size, between 0 and 1."""
    return _named(pool, name, doc), _named(with_indices, f"{name}_with_indices", doc)


def _max_unpools(n: int) -> Callable[..., Any]:
    name = f"max_unpool{n}d"

    def unpool(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               output_size: Any = None) -> Any:
        x, added = batched(name, input, n)
        check_tensor(name, "indices", indices)
        if type_of(indices).shape != type_of(input).shape:
            raise ShapeError(f"Expected shape of indices to be same as that of the input tensor "
                             f"({list(type_of(input).shape)}) but got indices tensor with shape: "
                             f"{list(type_of(indices).shape)}")
        kernel = tuple_of(name, "kernel_size", kernel_size, n)
        steps = kernel if stride is None else tuple_of(name, "stride", stride, n)
        pads = tuple_of(name, "padding", padding, n)
        size = tuple((m - 1) * s + k - 2 * p for m, s, k, p in
                     zip(type_of(x).shape[2:], steps, kernel, pads, strict=True))
        if output_size is not None:
            wanted = tuple(output_size)[-n:]
            if any(not m - s < w < m + s for w, m, s in zip(wanted, size, steps, strict=True)):
                raise ValueError(f"invalid output_size {list(output_size)}: each dimension must be within one stride "
                                 f"of {list(size)}")
            size = wanted
        index = reshape(indices, type_of(x).shape)
        return unbatched(apply_named("max_unpool", x, index, attrs=(size,)), added)
    return _named(unpool, name, """The partial inverse of max pooling: winners at their places, zeros elsewhere.

    Args:
        input, indices: what max pooling returned. kernel_size, stride, padding: what it was given.
        output_size: the size of its input, where it is not the smallest possible.""")


max_pool1d, max_pool1d_with_indices = _max_pools(1)
max_pool2d, max_pool2d_with_indices = _max_pools(2)
max_pool3d, max_pool3d_with_indices = _max_pools(3)
avg_pool1d, avg_pool2d, avg_pool3d = _avg_pools(1), _avg_pools(2), _avg_pools(3)
lp_pool1d, lp_pool2d, lp_pool3d = _lp_pools(1), _lp_pools(2), _lp_pools(3)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = _adaptive_avg(1), _adaptive_avg(2), _adaptive_avg(3)
adaptive_max_pool1d, adaptive_max_pool1d_with_indices = _adaptive_max(1)
adaptive_max_pool2d, adaptive_max_pool2d_with_indices = _adaptive_max(2)
adaptive_max_pool3d, adaptive_max_pool3d_with_indices = _adaptive_max(3)
max_unpool1d, max_unpool2d, max_unpool3d = _max_unpools(1), _max_unpools(2), _max_unpools(3)
fractional_max_pool2d, fractional_max_pool2d_with_indices = _fractional(2)
fractional_max_pool3d, fractional_max_pool3d_with_indices = _fractional(3)
