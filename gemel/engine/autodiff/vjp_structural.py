"""Vector-Jacobian products of movement, reductions, scans, contractions and indexing."""
from __future__ import annotations

from ..base.dtypes import int64
from ..ir.builder import Builder, size_of
from .vjp import vjp

# --- movement -------------------------------------------------------------------------------------


@vjp("reshape")
def _reshape(b, g, s):
    return (b.reshape(g, s.types[0].shape),)


@vjp("permute")
def _permute(b, g, s):
    inverse = sorted(range(len(s.attrs.axes)), key=s.attrs.axes.__getitem__)
    return (b.permute(g, inverse),)


@vjp("expand")
def _expand(b, g, s):
    return (b.sum_to(g, s.types[0].shape),)


@vjp("pad")
def _pad(b, g, s):
    low, shape = s.attrs.low, s.types[0].shape
    inner = b.slice(g, low, tuple(lo + n for lo, n in zip(low, shape, strict=True)))
    every = tuple(range(g.type.ndim))
    return inner, b.sub(b.reduce_sum(g, every), b.reduce_sum(inner, every))


@vjp("slice")
def _slice(b, g, s):
    x, a = s.types[0], s.attrs
    if all(step == 1 for step in a.step):
        high = tuple(n - stop for n, stop in zip(x.shape, a.stop, strict=True))
        return (b.pad(g, b.const(0, x.dtype), a.start, high),)
    starts = [b.index_scalar(at) for at in a.start]
    return (b.dynamic_update(b.zeros(x), g, starts, a.step),)


@vjp("flip")
def _flip(b, g, s):
    return (b.flip(g, s.attrs.axes),)


@vjp("cat")
def _cat(b, g, s):
    axis, at, parts = s.attrs.axis, 0, []
    for t in s.types:
        start = tuple(at if i == axis else 0 for i in range(t.ndim))
        parts.append(b.slice(g, start, tuple(lo + n for lo, n in zip(start, t.shape, strict=True))))
        at += t.shape[axis]
    return parts


# --- reductions and scans -------------------------------------------------------------------------

@vjp("reduce_sum")
def _reduce_sum(b, g, s):
    return (b.keep_axes(g, s.attrs.axes, s.types[0].shape),)


@vjp("reduce_prod", inputs=(0,))
def _reduce_prod(b, g, s):
    axes, shape = s.attrs.axes, s.types[0].shape
    others = product_of_others(b, s.inputs[0], axes)
    return (b.mul(b.keep_axes(g, axes, shape), b.conj(others) if others.type.dtype.is_complex else others),)


def product_of_others(b: Builder, x, axes: tuple[int, ...]):
    """For each element the product of all others along ``axes``: exclusive running products from both sides, right
    where x has zeros too."""
    shape = x.type.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    order = kept + sorted(axes)
    rows = b.reshape(b.permute(x, order), (*(shape[i] for i in kept), size_of(shape, axes)))
    others = b.mul(_exclusive_product(b, rows), _flipped(b, _exclusive_product(b, _flipped(b, rows))))
    moved = b.reshape(others, tuple(shape[i] for i in order))
    return b.permute(moved, sorted(range(len(order)), key=order.__getitem__))


def _flipped(b: Builder, x):
    return b.flip(x, (x.type.ndim - 1,))


def _exclusive_product(b: Builder, x):
    """Running product along the last axis of everything before each element."""
    last, n = x.type.ndim - 1, x.type.shape[-1]
    none, one = (0,) * last, (*((0,) * last), 1)
    padded = b.pad(x, b.const(1, x.type.dtype), one, (0,) * (last + 1))
    shifted = b.slice(padded, (*none, 0), (*x.type.shape[:-1], n))
    return b.scan("cumprod", shifted, last)


@vjp("reduce_max", "reduce_min", inputs=(0,), outputs=True)
def _reduce_extreme(b, g, s):
    """Evenly to all elements that attain the extreme, as ``torch.amax``."""
    (x,), axes, shape = s.inputs, s.attrs.axes, s.types[0].shape
    hit = b.cast(b.eq(x, b.keep_axes(s.output, axes, shape)), x.type.dtype)
    share = b.div(g, b.reduce_sum(hit, axes))
    return (b.mul(hit, b.keep_axes(share, axes, shape)),)


def _reversed_cumsum(b: Builder, x, axis: int):
    return b.flip(b.scan("cumsum", b.flip(x, (axis,)), axis), (axis,))


@vjp("cumsum")
def _cumsum(b, g, s):
    return (_reversed_cumsum(b, g, s.attrs.axis),)


@vjp("cumprod", inputs=(0,), outputs=True)
def _cumprod(b, g, s):
    """Before the first zero: reversed cumsum(g * y) / x; at it: the same with that zero taken as 1; after it: 0."""
    (x,), axis = s.inputs, s.attrs.axis
    is_zero = b.is_zero(x)
    count = b.scan("cumsum", b.cast(is_zero, int64), axis)
    first = b.and_(is_zero, b.eq(count, b.full_like(count, 1)))
    before = b.eq(count, b.full_like(count, 0))
    safe = b.select(before, x, b.full_like(x, 1))
    ahead = b.div(_reversed_cumsum(b, b.mul(g, s.output), axis), safe)
    patched = b.scan("cumprod", b.select(first, b.full_like(x, 1), x), axis)
    at_zero = _reversed_cumsum(b, b.mul(g, patched), axis)
    return (b.select(before, ahead, b.select_or_zero(first, at_zero)),)


@vjp("cummax", "cummin", inputs=(0,), outputs=True)
def _running_extreme(b, g, s):
    """To the latest element that attains the running extreme."""
    axis = s.attrs.axis
    return (scatter_along(b, b.full_like(g, 0), latest_extreme(b, s.inputs[0], s.output, axis), g, axis),)


def latest_extreme(b: Builder, x, running, axis: int):
    """Where the running extreme was attained last."""
    position = b.iota(int64, x.type.shape, axis)
    hit = b.eq(x, running)
    return b.scan("cummax", b.select(hit, position, b.full_like(position, 0)), axis)


# --- elementwise indexing along an axis (torch.gather / scatter), through flat row indices -----------

def flat_index(b: Builder, index, shape: tuple[int, ...], axis: int):
    """Row-major position in ``shape`` of (i0, .., index[i], .., in): ``index`` replaces coordinate ``axis``."""
    stride, flat = 1, None
    for d in reversed(range(len(shape))):
        at = index if d == axis else b.iota(int64, index.type.shape, d)
        term = b.mul(at, b.full_like(at, stride)) if stride != 1 else at
        flat = term if flat is None else b.add(flat, term)
        stride *= shape[d]
    return flat


def gather_along(b: Builder, x, index, axis: int):
    """``torch.gather(x, axis, index)``."""
    rows = b.reshape(x, (x.type.size,))
    return b.take(rows, flat_index(b, b.cast(index, int64), x.type.shape, axis), 0)


def scatter_along(b: Builder, x, index, updates, axis: int, mode: str = "add"):
    """``torch.scatter`` with the given combination, in rising row-major order of the source."""
    rows = b.reshape(x, (x.type.size,))
    flat = flat_index(b, b.cast(index, int64), x.type.shape, axis)
    return b.reshape(b.scatter(rows, flat, updates, 0, mode), x.type.shape)


@vjp("sort", outputs=True)
def _sort(b, g, s):
    g_values, _ = g
    if g_values is None:
        return (None,)
    return (scatter_along(b, b.full_like(g_values, 0), s.outputs[1], g_values, s.attrs.axis),)


# --- contractions ---------------------------------------------------------------------------------

@vjp("dot", inputs=(0, 1), crossed=(0, 1))
def _dot(b, g, s):
    x, y, a = *s.inputs, s.attrs
    n_batch = len(a.x_batch)
    x_free = [i for i in range(x.type.ndim) if i not in a.x_contract + a.x_batch]
    y_free = [i for i in range(y.type.ndim) if i not in a.y_contract + a.y_batch]
    batch = list(range(n_batch))
    g_x_axes = [n_batch + i for i in range(len(x_free))]
    g_y_axes = [n_batch + len(x_free) + i for i in range(len(y_free))]
    g = b.cast(g, x.type.dtype)

    def conj(v):
        return b.conj(v) if v.type.dtype.is_complex else v

    # dx: contract g's y-axes with y's free axes -> (batch, x free, y contract), then back to x's order
    dx = b.dot(g, conj(y), g_y_axes, y_free, batch, a.y_batch)
    y_rest = [i for i in range(y.type.ndim) if i in a.y_contract]
    order = [*a.x_batch, *x_free, *(a.x_contract[a.y_contract.index(i)] for i in y_rest)]
    dx = b.permute(dx, sorted(range(len(order)), key=order.__getitem__))
    # dy: contract x's free axes with g's x-axes -> (batch, y free, x contract)
    dy = b.dot(g, conj(x), g_x_axes, x_free, batch, a.x_batch)
    x_rest = [i for i in range(x.type.ndim) if i in a.x_contract]
    order = [*a.y_batch, *y_free, *(a.y_contract[a.x_contract.index(i)] for i in x_rest)]
    dy = b.permute(dy, sorted(range(len(order)), key=order.__getitem__))
    return dx, dy


def _window(a):
    return {"stride": a.stride, "padding": a.padding, "dilation": a.dilation, "groups": a.groups}


@vjp("conv", inputs=(0, 1))
def _conv(b, g, s):
    x, w = s.inputs
    return (b.conv_transpose(g, w, size=x.type.shape[2:], **_window(s.attrs)),
            b.conv_weight_grad(x, g, kernel=w.type.shape[2:], **_window(s.attrs)))


@vjp("conv_transpose", inputs=(0, 1))
def _conv_transpose(b, ct, s):
    g, w = s.inputs
    return (b.conv(ct, w, **_window(s.attrs)),
            b.conv_weight_grad(ct, g, kernel=w.type.shape[2:], **_window(s.attrs)))


@vjp("conv_weight_grad", inputs=(0, 1))
def _conv_weight_grad(b, ct, s):
    x, g = s.inputs
    return (b.conv_transpose(g, ct, size=x.type.shape[2:], **_window(s.attrs)),
            b.conv(x, ct, **_window(s.attrs)))


# --- indexing -------------------------------------------------------------------------------------

@vjp("take", inputs=(1,))
def _take(b, g, s):
    return b.scatter(b.zeros(s.types[0]), s.inputs[0], g, s.attrs.axis, "add"), None


@vjp("scatter", inputs=(0, 1, 2), outputs=True)
def _scatter(b, g, s):
    x, index, updates = s.inputs
    axis, mode = s.attrs.axis, s.attrs.mode
    if mode == "add":
        return g, None, b.take(g, index, axis)
    if mode == "set":
        return (b.scatter(g, index, b.full_like(updates, 0), axis, "set"), None, b.take(g, index, axis))
    if mode == "mul":
        from_x = b.scatter(g, index, updates, axis, "mul")
        return from_x, None, b.div(b.take(b.mul(g, s.output), index, axis), updates)
    # max, min: evenly to all that attain the extreme
    dtype = x.type.dtype
    of_x = b.cast(b.eq(x, s.output), dtype)
    of_updates = b.cast(b.eq(updates, b.take(s.output, index, axis)), dtype)
    share = b.div(g, b.scatter(of_x, index, of_updates, axis, "add"))
    return b.mul(of_x, share), None, b.mul(of_updates, b.take(share, index, axis))


@vjp("dynamic_slice", inputs=tuple(range(1, 17)))
def _dynamic_slice(b, g, s):
    starts = list(s.inputs)
    return (b.dynamic_update(b.zeros(s.types[0]), g, starts, s.attrs.step), *(None for _ in starts))


@vjp("dynamic_update", inputs=tuple(range(2, 18)))
def _dynamic_update(b, g, s):
    starts, update = list(s.inputs), s.types[1]
    return (b.dynamic_update(g, b.zeros(update), starts, s.attrs.step),
            b.dynamic_slice(g, starts, update.shape, s.attrs.step), *(None for _ in starts))


@vjp("check")
def _check(b, g, s):
    return None, g


