"""Reading and writing by tensors of indices and by masks.

``bounds`` says what an index still needs: ``wrap`` (checked against the size, negative ones count from the end),
``strict`` (checked, not negative), ``wrapped`` (checked before: only negative ones are turned), ``none``.
"""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..autodiff.vjp_structural import gather_along, scatter_along
from ..base.dtypes import int64
from ..base.errors import DTypeError, ShapeError
from .base import composite

CHECKED = {"wrap": "wrapped", "strict": "none", "wrapped": "wrapped", "none": "none"}
_INDICES = tuple(range(1, 18))


def _place(b, index, n: int, axis: int, bounds: str):
    """``index`` as positions in ``[0, n)``."""
    at = b.cast(index, int64)
    if bounds in ("wrap", "wrapped"):
        at = b.select(b.lt(at, b.full_like(at, 0)), b.add(at, b.full_like(at, n)), at)
    if bounds in ("wrap", "strict"):
        inside = b.and_(b.le(b.full_like(at, 0), at), b.lt(at, b.full_like(at, n)))
        at = b.check(inside, at, f"index is out of bounds for dimension {axis} with size {n}")
    return at


# --- whole tensors ---------------------------------------------------------------------------------------------

@composite("overwrite", 2)
def overwrite(b, old, new):
    """new, in the place of old: what was computed for old has no influence any more (a gradient of zero)"""
    return b.copy(new)


@vjp("overwrite")
def _overwrite(b, g, s):
    return b.full_like(g, 0), g


# --- strided views ---------------------------------------------------------------------------------------------

_PLACES = ("shape", "steps", "start")


def _places(b, shape, steps, start):
    """Positions ``start + sum(steps[i] * index[i])``."""
    index = b.full(start, int64, shape)
    for axis, step in enumerate(steps):
        index = b.add(index, b.mul(b.iota(int64, shape, axis), b.full(step, int64, shape)))
    return index


@composite("strided", 1, _PLACES)
def strided(b, x, *, shape, steps, start):
    """the elements of the flattened x at ``start + sum(steps[i] * index[i])``"""
    return b.take(b.reshape(x, (x.type.size,)), _places(b, shape, steps, start), 0)


@composite("strided_put", 2, (*_PLACES, "mode"))
def strided_put(b, x, part, *, shape, steps, start, mode):
    """x with what ``strided`` shows set to, or combined with, part"""
    flat = b.reshape(x, (x.type.size,))
    return b.reshape(b.scatter(flat, _places(b, shape, steps, start), part, 0, mode), x.type.shape)


def _where(s):
    return {name: getattr(s.attrs, name) for name in _PLACES}


@vjp("strided")
def _strided(b, g, s):
    return (b.call("strided_put", b.zeros(s.types[0]), g, mode="add", **_where(s)),)


@vjp("strided_put")
def _strided_put(b, g, s):
    dx = g if s.attrs.mode == "add" else b.call("strided_put", g, b.zeros(s.types[1]), mode="set", **_where(s))
    return dx, b.call("strided", g, **_where(s))


# --- x[i, j, ..] ----------------------------------------------------------------------------------------------

def _order(ndim: int, axes: tuple[int, ...]) -> tuple[int, list[int]]:
    """Where the indexed axes stand in the result, and the order of axes that puts them there side by side."""
    first = axes[0]
    if axes == tuple(range(first, first + len(axes))):
        return first, list(range(ndim))
    return 0, [*axes, *(i for i in range(ndim) if i not in axes)]


def _merged(b, x, axes: tuple[int, ...]):
    """``x`` with the indexed axes as one axis, and which one that is."""
    at, order = _order(x.type.ndim, axes)
    x = b.permute(x, order)
    shape, k = x.type.shape, len(axes)
    return b.reshape(x, (*shape[:at], math.prod(shape[at:at + k]), *shape[at + k:])), at


def _flat(b, shape, axes, indices, bounds):
    """Positions along the merged axis."""
    flat = None
    for axis, index in zip(axes, indices, strict=True):
        at = _place(b, index, shape[axis], axis, bounds)
        flat = at if flat is None else b.add(b.mul(flat, b.full_like(flat, shape[axis])), at)
    return flat


def _check_get(attrs, x, *indices):
    if len(attrs.axes) != len(indices) or any(i.shape != indices[0].shape for i in indices):
        raise ShapeError(f"index: needs one index of one shape per axis {attrs.axes}. Received: {indices}")
    for i in indices:
        if not i.dtype.is_integer:
            raise DTypeError(f"tensors used as indices must be long, int, byte or bool tensors. Received: {i}")


@composite("index", -1, ("axes", "bounds"), check=_check_get)
def index(b, x, *indices, axes, bounds):
    """x[.., i, .., j, ..]: the axes replaced by those of the indices (in front, where they are not neighbours)"""
    flat = _flat(b, x.type.shape, axes, indices, bounds)
    table, at = _merged(b, x, axes)
    return b.take(table, flat, at)


@vjp("index", inputs=_INDICES)
def _index(b, g, s):
    a = s.attrs
    zeros = b.zeros(s.types[0])
    dx = b.call("index_put", zeros, g, *s.inputs, axes=a.axes, bounds=CHECKED[a.bounds], mode="add")
    return (dx, *(None for _ in s.inputs))


@composite("index_put", -1, ("axes", "bounds", "mode"))
def index_put(b, x, values, *indices, axes, bounds, mode):
    """x with x[.., i, ..] set to values, or combined with them, in rising order of the index"""
    flat = _flat(b, x.type.shape, axes, indices, bounds)
    table, at = _merged(b, x, axes)
    _, order = _order(x.type.ndim, axes)
    new = b.reshape(b.scatter(table, flat, values, at, mode), [x.type.shape[i] for i in order])
    return b.permute(new, sorted(range(len(order)), key=order.__getitem__))


@vjp("index_put", inputs=tuple(range(2, 19)))
def _index_put(b, g, s):
    a = s.attrs
    if a.mode not in ("set", "add"):
        from ..base.errors import UnsupportedError
        raise UnsupportedError(f"the derivative of an indexed write that combines by {a.mode!r} is not implemented")
    now = {"axes": a.axes, "bounds": CHECKED[a.bounds]}
    dx = g if a.mode == "add" else b.call("index_put", g, b.zeros(s.types[1]), *s.inputs, mode="set", **now)
    return (dx, b.call("index", g, *s.inputs, **now), *(None for _ in s.inputs))


# --- gather and scatter: one index per element ------------------------------------------------------------------

def _check_gather(attrs, x, index, *src):
    if not index.dtype.is_integer:
        raise DTypeError(f"gather(): Expected dtype int32/int64 for index. Received: {index}")
    if index.ndim != x.ndim:
        raise ShapeError(f"Index tensor must have the same number of dimensions as input tensor. "
                         f"Received: index {list(index.shape)}, input {list(x.shape)}")
    for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)):
        if i != attrs.axis and n > m:
            raise ShapeError(f"Size does not match at dimension {i} expected index {list(index.shape)} to be no larger "
                             f"than self {list(x.shape)} apart from dimension {attrs.axis}")


@composite("gather", 2, ("axis", "bounds"), check=_check_gather)
def gather(b, x, index, *, axis, bounds):
    """result[i][j] = x[index[i][j]][j] for axis 0"""
    return gather_along(b, x, _place(b, index, x.type.shape[axis], axis, bounds), axis)


@vjp("gather", inputs=(1,))
def _gather(b, g, s):
    a = s.attrs
    return b.call("scatter_elements", b.zeros(s.types[0]), s.inputs[0], g, axis=a.axis, bounds=CHECKED[a.bounds],
                  mode="add"), None


@composite("scatter_elements", 3, ("axis", "bounds", "mode"), check=_check_gather)
def scatter_elements(b, x, index, src, *, axis, bounds, mode):
    """x with x[index[i][j]][j] set to, or combined with, src[i][j] (axis 0), in rising order of the source"""
    return scatter_along(b, x, _place(b, index, x.type.shape[axis], axis, bounds), src, axis, mode)


@vjp("scatter_elements", inputs=(0, 1, 2), outputs=True)
def _scatter_elements(b, g, s):
    x, index, src = s.inputs
    a = s.attrs
    now = {"axis": a.axis, "bounds": CHECKED[a.bounds]}

    def put(base, values, mode):
        return b.call("scatter_elements", base, index, values, mode=mode, **now)

    def get(table):
        return b.call("gather", table, index, **now)

    if a.mode == "add":
        return g, None, get(g)
    if a.mode == "set":
        return put(g, b.full_like(src, 0), "set"), None, get(g)
    if a.mode == "mul":
        return put(g, src, "mul"), None, b.div(get(b.mul(g, s.output)), src)
    dtype = x.type.dtype  # max, min: evenly to all that attain the extreme
    of_x = b.cast(b.eq(x, s.output), dtype)
    of_src = b.cast(b.eq(src, get(s.output)), dtype)
    share = b.div(g, put(of_x, of_src, "add"))
    return b.mul(of_x, share), None, b.mul(of_src, get(share))


# --- masks ------------------------------------------------------------------------------------------------------

def _check_mask(attrs, x, mask, *rest):
    if mask.shape != x.shape:
        raise ShapeError(f"masked operation: mask and tensor must have one shape. Received: {mask} and {x}")


@composite("masked_fill", 3, check=_check_mask)
def masked_fill(b, x, mask, value):
    """value (0-d) where the mask holds, else x"""
    return b.select(mask, b.expand(value, x.type.shape), x)


@vjp("masked_fill", inputs=(1,))
def _masked_fill(b, g, s):
    (mask,) = s.inputs
    zero = b.full_like(g, 0)
    return b.select(mask, zero, g), None, b.reduce_sum(b.select(mask, g, zero), tuple(range(g.type.ndim)))


@composite("masked_scatter", 3, check=_check_mask)
def masked_scatter(b, x, mask, source):
    """x with the elements where the mask holds replaced by those of source, in order"""
    flat = b.reshape(mask, (mask.type.size,))
    count = b.scan("cumsum", b.cast(flat, int64), 0)
    at = b.sub(count, b.full_like(count, 1))
    enough = b.le(count, b.full_like(count, source.type.size))
    at = b.check(enough, at, "masked_scatter: the source has fewer elements than the mask has ones")
    values = b.take(b.reshape(source, (source.type.size,)), at, 0)
    return b.select(mask, b.reshape(values, x.type.shape), x)


# --- triangles ----------------------------------------------------------------------------------------------------

def _triangle(name: str, lower: bool) -> None:
    def body(b, x, *, diagonal):
        shape, n = x.type.shape, x.type.ndim
        row, column = b.iota(int64, shape, n - 2), b.iota(int64, shape, n - 1)
        edge = b.add(row, b.full_like(row, diagonal))
        return b.select_or_zero(b.le(column, edge) if lower else b.le(edge, column), x)
    body.__doc__ = f"the {'lower' if lower else 'upper'} triangle of matrices, the rest zero"
    composite(name, 1, ("diagonal",))(body)

    @vjp(name)
    def rule(b, g, s):
        return (b.call(name, g, diagonal=s.attrs.diagonal),)


_triangle("tril", True)
_triangle("triu", False)
