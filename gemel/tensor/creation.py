"""New tensors: from data, filled, counted."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.ir.builder import constant_op
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from ..engine.runtime.trace import BUILDER, Value, record, record_one, scalar
from .core import TENSOR_CLASSES, share_array
from .devices import check_device, strided
from .dims import named
from .factory import check_dtype, size_argument, value_of
from .recording import wrap
from .tape import Accumulate
from .typeinfo import get_default_dtype, scalar_dtype

__all__ = ["tensor", "as_tensor", "asarray", "scalar_tensor", "from_numpy", "from_dlpack", "frombuffer",
           "zeros", "ones", "full", "empty", "empty_strided", "zeros_like", "ones_like", "full_like", "empty_like",
           "arange", "range", "linspace", "logspace", "eye"]


def finish(value: Value, requires_grad: bool = False) -> Any:
    """A tensor of ``value``; a leaf that gathers its gradient if ``requires_grad``."""
    out = wrap(value)
    if requires_grad:
        if not value.type.dtype.is_inexact:
            raise RuntimeError(f"Only Tensors of floating point and complex dtype can require gradients. "
                               f"Received: {value.type.dtype!r}")
        out._edge = Accumulate(out, value.type)
    return out


def _options(name: str, dtype: Any, layout: Any, device: Any, out: Any = None) -> None:
    check_dtype(name, dtype)
    check_device(device)
    if layout is not None and layout is not strided:
        raise DTypeError(f"{name}(): only the layout gemel.strided is supported. Received: {layout!r}")


# --- from data ---------------------------------------------------------------------------------

def tensor(data: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Any:
    """A new tensor with a copy of ``data``.

    Args:
        data: a number, a nested sequence of numbers, a NumPy array or a tensor.
        dtype: element type; None takes bool, int64, the default dtype or its complex partner, by what is in ``data``.
        device: where it lives (``cpu``). requires_grad: make it a leaf whose gradient is gathered in ``.grad``.

    Raises:
        ValueError: ragged sequences. TypeError, RuntimeError: what is not a number.

    torch: ``tensor``.

    >>> gemel.tensor([[1, 2], [3, 4.5]])
    tensor([[1.0000, 2.0000],
            [3.0000, 4.5000]])
    """
    _options("tensor", dtype, None, device)
    return finish(value_of(data, dtype), requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Any:
    """``data`` as a tensor, without a copy where that is possible: tensors pass through, arrays are shared.

    torch: ``as_tensor``.
    """
    _options("as_tensor", dtype, None, device)
    if data.__class__ in TENSOR_CLASSES:
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype.numpy) and _shareable(data) is None:
        return share_array(data)
    return tensor(data, dtype=dtype)


def asarray(obj: Any, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Any:
    """``obj`` as a tensor: a tensor, an array, a DLPack object, a buffer, a number or a nested sequence.

    Args:
        copy: True copies always, False never (``ValueError`` where sharing is impossible), None where needed.

    torch: ``asarray``.
    """
    _options("asarray", dtype, None, device)
    shared = _shared(obj)
    if shared is None or (dtype is not None and shared.dtype is not dtype):
        if copy is False:
            raise ValueError(f"cannot share the memory of {type(obj).__name__} as {dtype or 'a tensor'} without a copy")
        made = tensor(obj, dtype=dtype) if shared is None else shared.detach().to(dtype)
    else:
        made = shared.detach().clone() if copy else shared
    if requires_grad:
        made = made.detach() if made._edge is not None else made
        return made.requires_grad_()
    return made.detach() if made is not obj and made._edge is not None else made


def _shared(obj: Any) -> Any:
    """A tensor over the memory of ``obj``, or None where it has none to share."""
    if obj.__class__ in TENSOR_CLASSES:
        return obj
    if isinstance(obj, np.ndarray):
        return from_numpy(obj)
    if hasattr(obj, "__dlpack__"):
        return from_dlpack(obj)
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return frombuffer(obj, dtype=get_default_dtype())
    return None


def scalar_tensor(s: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False) -> Any:
    """A 0-d tensor of the default dtype (or ``dtype``). torch: ``scalar_tensor``."""
    _options("scalar_tensor", dtype, layout, device)
    return finish(value_of(s, dtype or get_default_dtype()), requires_grad)


def from_numpy(array: np.ndarray) -> Any:
    """A tensor that shares the memory of a NumPy array: each sees the other's writes.

    What was computed from the tensor before a write keeps the old values. Any strides but negative ones.

    torch: ``from_numpy``.

    >>> a = np.zeros(2, np.float32)
    >>> x = gemel.from_numpy(a)
    >>> a[0] = 7
    >>> x
    tensor([7., 0.])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    problem = _shareable(array)
    if problem is not None:
        raise problem
    return share_array(array)


def _shareable(array: np.ndarray) -> Exception | None:
    """Why the memory of ``array`` cannot be shared, or None."""
    try:
        dt.from_numpy(array.dtype)
    except TypeError as error:
        return error
    if not array.dtype.isnative:
        return ValueError("given numpy array has byte order different from the native byte order. Conversion between "
                          "byte orders is currently not supported.")
    if any(s < 0 for s in array.strides):
        return ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides "
                          "are not currently supported. (You can probably work around this by making a copy of your "
                          "array with array.copy().)")
    return None


def from_dlpack(ext_tensor: Any) -> Any:
    """A tensor that shares the memory of any object with ``__dlpack__`` on the CPU. torch: ``from_dlpack``."""
    if ext_tensor.__class__ in TENSOR_CLASSES:
        return ext_tensor.detach()
    return from_numpy(np.from_dlpack(ext_tensor))


def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A 1-d tensor that shares the memory of a Python buffer (bytes, bytearray, memoryview, mmap).

    Args:
        dtype: how to read the bytes. count: number of elements, -1 for all. offset: first byte.

    torch: ``frombuffer``.
    """
    _options("frombuffer", dtype, None, None)
    nbytes = memoryview(buffer).nbytes
    if nbytes == 0 or count == 0:
        raise ValueError(f"both buffer length ({nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < nbytes:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({nbytes} "
                         f"bytes) minus 1")
    if count < 0:
        if (nbytes - offset) % dtype.itemsize:
            raise ValueError(f"buffer length ({nbytes - offset} bytes) after offset ({offset} bytes) must be a "
                             f"multiple of element size ({dtype.itemsize})")
    elif offset + count * dtype.itemsize > nbytes:
        raise ValueError(f"requested buffer length ({count} * {dtype.itemsize} bytes) after offset ({offset} bytes) "
                         f"must not be greater than actual buffer length ({nbytes} bytes)")
    out = share_array(np.frombuffer(buffer, dtype.numpy, count, offset))
    return out.requires_grad_() if requires_grad else out


# --- filled --------------------------------------------------------------------------------------

def _filled(value: Any, dtype: DType, shape: tuple[int, ...], requires_grad: bool) -> Any:
    return finish(record_one(op(ROWS["expand"], shape), record(constant_op(value, dtype), ())), requires_grad)


def zeros(*sizes: Any, size: Any = None, out: Any = None, dtype: DType | None = None, layout: Any = None,
          device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """A tensor of zeros of shape ``sizes``, which may also be named ``size``. torch: ``zeros``.

    >>> gemel.zeros(2, dtype=gemel.int64)
    tensor([0, 0])
    """
    return _constant("zeros", 0, named("zeros", "size", sizes, size), out, dtype, layout, device, requires_grad)


def ones(*sizes: Any, size: Any = None, out: Any = None, dtype: DType | None = None, layout: Any = None,
         device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """A tensor of ones of shape ``sizes``, which may also be named ``size``. torch: ``ones``."""
    return _constant("ones", 1, named("ones", "size", sizes, size), out, dtype, layout, device, requires_grad)


def empty(*sizes: Any, size: Any = None, out: Any = None, dtype: DType | None = None, layout: Any = None,
          device: Any = None, pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None) -> Any:
    """A tensor of shape ``sizes`` (or ``size``) whose contents are to be overwritten; they are zeros, so that no run
    depends on old memory.

    torch: ``empty``.
    """
    return _constant("empty", 0, named("empty", "size", sizes, size), out, dtype, layout, device, requires_grad)


def _constant(name: str, value: int, size: Any, out: Any, dtype: DType | None, layout: Any, device: Any,
              requires_grad: bool) -> Any:
    _options(name, dtype, layout, device)
    if not size:
        raise TypeError(f"{name}() missing 1 required positional arguments: \"size\"")
    shape = size_argument(name, size)
    dtype = chosen(dtype, out)
    made = _filled(value, dtype, shape, requires_grad)
    return made if out is None else into(out, made)


def chosen(dtype: DType | None, out: Any, default: DType | None = None) -> DType:
    """``dtype=``, else that of ``out=``, else ``default`` or the default dtype."""
    return dtype or (default or get_default_dtype() if out is None else out._value.type.dtype)


def into(out: Any, made: Any) -> Any:
    """Write ``made`` into ``out=``, which must have its shape and dtype."""
    if out._read().type is not made._value.type:
        raise ShapeError(f"out= must be of type {made._value.type}. Received: {out._read().type}")
    return out._write(made)


def full(size: Any, fill_value: Any, *, out: Any = None, dtype: DType | None = None, layout: Any = None,
         device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor filled with ``fill_value``, a runtime input: another number does not recompile.

    Args:
        size: a tuple or list. fill_value: a number or a 0-d tensor. dtype: None takes that of ``fill_value``.

    torch: ``full``.
    """
    _options("full", dtype, layout, device)
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}")
    shape = size_argument("full", (size,))
    if out is not None:
        dtype = dtype or out.dtype
    made = finish(_fill_value("full", fill_value, dtype, shape), requires_grad)
    return made if out is None else into(out, made)


def _fill_value(name: str, number: Any, dtype: DType | None, shape: tuple[int, ...]) -> Value:
    if number.__class__ in TENSOR_CLASSES:
        if number._read().type.ndim:
            raise RuntimeError(f"{name}: fill_value must be a number or a 0-d tensor. Received: a tensor of shape "
                               f"{list(number._value.type.shape)}")
        return BUILDER.expand(BUILDER.cast(number._value, dtype or number._value.type.dtype), shape)
    if isinstance(number, np.generic):
        number = number.item()
    found = scalar_dtype(number)
    dtype = dtype or found
    if dtype is found and dtype.kind in "bf" and dtype is not dt.float16 and dtype is not dt.bfloat16:
        return BUILDER.expand(scalar(number, dtype), shape)
    return BUILDER.expand(value_of(number, dtype), shape)


def zeros_like(input: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None) -> Any:
    """Zeros of the shape and dtype of ``input``. torch: ``zeros_like``."""
    return _like("zeros_like", 0, input, dtype, layout, device, requires_grad)


def ones_like(input: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None) -> Any:
    """Ones of the shape and dtype of ``input``. torch: ``ones_like``."""
    return _like("ones_like", 1, input, dtype, layout, device, requires_grad)


def empty_like(input: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None) -> Any:
    """A tensor like ``input`` that is to be overwritten (zeros, see :func:`empty`). torch: ``empty_like``."""
    return _like("empty_like", 0, input, dtype, layout, device, requires_grad)


def _like(name: str, value: int, input: Any, dtype: DType | None, layout: Any, device: Any, requires_grad: bool) -> Any:
    _options(name, dtype, layout, device)
    t = type_of(name, input)
    return _filled(value, dtype or t.dtype, t.shape, requires_grad)


def type_of(name: str, input: Any) -> Any:
    """The IR type of the tensor ``input``; TypeError for anything else."""
    if input.__class__ not in TENSOR_CLASSES:
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input._value.type


def full_like(input: Any, fill_value: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None) -> Any:
    """A tensor like ``input``, filled with ``fill_value``. torch: ``full_like``."""
    _options("full_like", dtype, layout, device)
    t = type_of("full_like", input)
    return finish(_fill_value("full_like", fill_value, dtype or t.dtype, t.shape), requires_grad)


def empty_strided(size: Any, stride: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Any:
    """A tensor of shape ``size``; ``stride`` is a hint only (Gemel chooses layouts). torch: ``empty_strided``."""
    if len(tuple(size)) != len(tuple(stride)):
        raise RuntimeError(f"mismatch in length of strides and shape. Received: size {list(size)}, "
                           f"stride {list(stride)}")
    return empty(tuple(size), dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


# --- counted -------------------------------------------------------------------------------------

def arange(*bounds: Any, start: Any = 0, end: Any = None, step: Any = 1, out: Any = None, dtype: DType | None = None,
           layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:
    """``start, start + step, ...`` below ``end``: ``arange(end)``, ``arange(start, end)`` or with ``step``.

    Element ``i`` is ``start + i * step``, computed in float64 (integers: exactly) and rounded once.

    torch: ``arange``.

    >>> gemel.arange(1, 10, 3)
    tensor([1, 4, 7])
    """
    _options("arange", dtype, layout, device)
    if len(bounds) > 3 or (not bounds and end is None):
        raise TypeError("arange() received an invalid combination of arguments: give end, or start and end, or start, "
                        f"end and step. Received: {bounds!r}")
    if len(bounds) == 1:
        start, end = (start, bounds[0]) if end is None else (bounds[0], end)
    elif bounds:
        start, end, step = (*bounds, step)[:3]
    start, end, step = _number(start), _number(end), _number(step)
    if dtype is None:
        integral = all(isinstance(n, int) for n in (start, end, step))
        dtype = dt.int64 if integral and out is None else chosen(None, out)
    if dtype.kind in "bc":
        raise NotImplementedError(f'"arange_cpu" not implemented for {dtype.name!r}')
    if dtype is dt.int64:  # torch cuts the bounds before it counts, for this type only
        start, end, step = int(start), int(end), int(step)
    made = finish(_steps(start, step, _count(start, end, step), dtype), requires_grad)
    return made if out is None else into(out, made)


def _number(n: Any) -> Any:
    """A Python number of a number, a NumPy scalar or a tensor of one element."""
    if n.__class__ in (int, float):
        return n
    n = n.item() if hasattr(n, "item") else n
    if isinstance(n, bool):
        return int(n)
    if not isinstance(n, (int, float)):
        raise TypeError(f"expected a real number, received {n!r}")
    return n


def _count(start: Any, end: Any, step: Any) -> int:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start > 0) != (step > 0) and end != start:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign. Received: start {start}, "
                           f"end {end}, step {step}")
    if isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
        return -((start - end) // step)
    return math.ceil((end - start) / step)


def _steps(start: Any, step: Any, n: int, dtype: DType) -> Value:
    """start + i * step for i below n."""
    b = BUILDER
    if dtype.is_integer:
        wide = dt.uint64 if dtype is dt.uint64 else dt.int64
        start, step = int(start), int(step)
        index = b.iota(wide, (n,), 0)
        if step != 1:
            index = b.mul(index, b.expand(_integer(step, wide), (n,)))
        if start:
            index = b.add(index, b.expand(_integer(start, wide), (n,)))
        return b.cast(index, dtype)
    index = b.cast(b.iota(dt.int64, (n,), 0), dt.float64)
    if step != 1:
        index = b.mul(index, b.expand(scalar(float(step), dt.float64), (n,)))
    if start:
        index = b.add(index, b.expand(scalar(float(start), dt.float64), (n,)))
    return b.cast(index, dtype)


def _integer(n: int, dtype: DType) -> Value:
    return scalar(n % (1 << 64) if dtype is dt.uint64 else (n + (1 << 63)) % (1 << 64) - (1 << 63), dtype)


def range(start: Any = 0, end: Any = None, step: Any = 1, *, out: Any = None, dtype: DType | None = None,
          layout: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """``start, start + step, ...`` up to and with ``end``; torch deprecates it for :func:`arange`. torch: ``range``."""
    _options("range", dtype, layout, device)
    start, end, step = _number(start), _number(end), _number(step)
    _count(start, end, step)
    n = math.floor((end - start) / step) + 1
    made = finish(_steps(start, step, n, dtype or get_default_dtype()), requires_grad)
    return made if out is None else into(out, made)


def _points(name: str, start: Any, end: Any, steps: int, dtype: DType) -> Value:
    """``steps`` evenly spaced numbers; the second half counts back from ``end``, so that both ends are exact."""
    if not isinstance(steps, int):
        steps = steps.__index__()
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    b = BUILDER
    part = dt.float64 if dtype is not dt.float32 else dt.float32
    start, end = _number(start), _number(end)
    if dtype.is_integer:
        start, end = int(start), int(end)
    shape = (steps,)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    if part is dt.float32:
        step = float(np.float32((np.float32(end) - np.float32(start)) / np.float32(max(1, steps - 1))))

    def fill(x: float) -> Value:
        return b.expand(scalar(float(x), part), shape)

    index = b.iota(dt.int64, shape, 0)
    forward = b.cast(index, part)
    half = b.lt(index, b.expand(scalar(max(1, steps // 2), dt.int64), shape))
    up = b.add(fill(start), b.mul(fill(step), forward))
    down = b.sub(fill(end), b.mul(fill(step), b.sub(fill(steps - 1), forward)))
    return b.select(half, up, down)


def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: DType | None = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> Any:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included. torch: ``linspace``.

    >>> gemel.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    _options("linspace", dtype, layout, device)
    dtype = chosen(dtype, out)
    made = finish(BUILDER.cast(_points("linspace", start, end, steps, dtype), dtype), requires_grad)
    return made if out is None else into(out, made)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: DType | None = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """``base ** x`` for ``steps`` evenly spaced ``x`` from ``start`` to ``end``. torch: ``logspace``."""
    _options("logspace", dtype, layout, device)
    dtype = chosen(dtype, out)
    b = BUILDER
    x = b.cast(_points("logspace", start, end, steps, dt.float64), dt.float64)
    power = b.pow(b.expand(scalar(float(base), dt.float64), x.type.shape), x)
    made = finish(b.cast(power, dtype), requires_grad)
    return made if out is None else into(out, made)


def eye(n: int, m: int | None = None, *, out: Any = None, dtype: DType | None = None, layout: Any = None,
        device: Any = None, requires_grad: bool = False) -> Any:
    """Ones on the diagonal of an n x m matrix of zeros. torch: ``eye``."""
    _options("eye", dtype, layout, device)
    m = n if m is None else m
    for name, size in (("n", n), ("m", m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    b = BUILDER
    hit = b.eq(b.iota(dt.int64, (n, m), 0), b.iota(dt.int64, (n, m), 1))
    made = finish(b.cast(hit, dtype or get_default_dtype()), requires_grad)
    return made if out is None else into(out, made)


# --- methods -------------------------------------------------------------------------------------

def _new_constant(name: str, value: int) -> Any:
    def method(self: Any, *sizes: Any, size: Any = None, dtype: DType | None = None, device: Any = None,
               requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Any:
        dtype = dtype or self._value.type.dtype
        shape = named(name, "size", sizes, size) or ((),)
        return _constant(name, value, shape, None, dtype, layout, device, requires_grad)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{name.removeprefix('new_')}(*size)``, of this tensor's dtype. torch: ``Tensor.{name}``."
    return method


class CreationMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    new_zeros = _new_constant("new_zeros", 0)
    new_ones = _new_constant("new_ones", 1)
    new_empty = _new_constant("new_empty", 0)

    def new_full(self: Any, size: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None,
                 requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Any:
        """As ``full(size, fill_value)``, of this tensor's dtype. torch: ``Tensor.new_full``."""
        return full(size, fill_value, dtype=dtype or self._value.type.dtype, device=device, requires_grad=requires_grad)

    def new_tensor(self: Any, data: Any, *, dtype: DType | None = None, device: Any = None,
                   requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Any:
        """As ``tensor(data)``, of this tensor's dtype. torch: ``Tensor.new_tensor``."""
        return tensor(data, dtype=dtype or self._value.type.dtype, device=device, requires_grad=requires_grad)
