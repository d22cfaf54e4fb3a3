"""Between tensors and Python, NumPy, other dtypes and devices."""
from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.runtime import executor
from .core import TENSOR_CLASSES, export, from_array
from .devices import check_device, device, memory_format
from .recording import apply_named, wrap

__all__ = ["clone"]


def cast(x: Any, dtype: DType) -> Any:
    """``x`` as ``dtype``: itself if it has that dtype already."""
    t = x._read().type
    return x if t.dtype is dtype else apply_named("cast", x, attrs=(dtype,))


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy that shares nothing with ``input``; gradients flow through it. torch: ``clone``."""
    return apply_named("copy", input)


def _to_method(dtype: DType, name: str) -> Any:
    def method(self: Any, memory_format: Any = None) -> Any:
        return cast(self, dtype)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"This tensor as ``{dtype.name}``. torch: ``Tensor.{name}``."
    return method


_TENSOR_TYPES = {"Float": dt.float32, "Double": dt.float64, "Half": dt.float16, "BFloat16": dt.bfloat16,
                 "Long": dt.int64, "Int": dt.int32, "Short": dt.int16, "Char": dt.int8, "Byte": dt.uint8,
                 "Bool": dt.bool_, "ComplexFloat": dt.complex64, "ComplexDouble": dt.complex128,
                 "UInt16": dt.uint16, "UInt32": dt.uint32, "UInt64": dt.uint64}
_TYPE_NAMES = {d: name for name, d in _TENSOR_TYPES.items()}
_BUILTIN = {builtins.float: dt.float64, builtins.int: dt.int64, builtins.bool: dt.bool_, complex: dt.complex128}


class ConversionMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    clone = clone
    float = _to_method(dt.float32, "float")
    double = _to_method(dt.float64, "double")
    half = _to_method(dt.float16, "half")
    bfloat16 = _to_method(dt.bfloat16, "bfloat16")
    long = _to_method(dt.int64, "long")
    int = _to_method(dt.int32, "int")
    short = _to_method(dt.int16, "short")
    char = _to_method(dt.int8, "char")
    byte = _to_method(dt.uint8, "byte")
    bool = _to_method(dt.bool_, "bool")
    cfloat = _to_method(dt.complex64, "cfloat")
    cdouble = _to_method(dt.complex128, "cdouble")

    # --- to other dtypes and devices
    def to(self: Any, *args: Any, dtype: Any = None, device: Any = None, non_blocking: builtins.bool = False,
           copy: builtins.bool = False, memory_format: Any = None) -> Any:
        """This tensor with another dtype or on another device; itself if nothing changes and ``copy`` is False.

        Called as ``to(dtype)``, ``to(device)``, ``to(device, dtype)`` or ``to(other)``; each may be followed by
        ``non_blocking, copy``. torch: ``Tensor.to``.
        """
        dtype, where, copy = _to_arguments(args, dtype, device, copy)
        check_device(where)
        if dtype is not None and dtype is not self._read().type.dtype:
            return cast(self, dtype)
        return clone(self) if copy else self

    def type(self: Any, dtype: Any = None, non_blocking: builtins.bool = False) -> Any:
        """Without an argument torch's name of the type (``torch.FloatTensor``); else this tensor as ``dtype``.

        torch: ``Tensor.type``.
        """
        if dtype is None:
            return f"torch.{_TYPE_NAMES[self._read().type.dtype]}Tensor"
        if isinstance(dtype, str):
            name = dtype.removeprefix("torch.").removesuffix("Tensor")
            if name not in _TENSOR_TYPES:
                raise ValueError(f"invalid type: {dtype!r}")
            dtype = _TENSOR_TYPES[name]
        return cast(self, _dtype_of(dtype))

    def type_as(self: Any, other: Any) -> Any:
        """This tensor as the dtype of ``other``. torch: ``Tensor.type_as``."""
        return cast(self, other._read().type.dtype)

    def cpu(self: Any, memory_format: Any = None) -> Any:
        """This tensor in CPU memory: itself. torch: ``Tensor.cpu``."""
        return self

    def cuda(self: Any, device: Any = None, non_blocking: builtins.bool = False, memory_format: Any = None) -> Any:
        """Raises ``DeviceError``: there is no CUDA device. torch: ``Tensor.cuda``."""
        check_device("cuda" if device is None else f"cuda:{device}" if isinstance(device, builtins.int) else device)
        return self

    # --- to Python
    def _observe(self: Any, reason: str) -> np.ndarray:
        """The values as an array that is only to be read."""
        return executor.observe(self._read(), reason)

    def item(self: Any) -> Any:
        """The value of a tensor of one element as a Python number. torch: ``Tensor.item``."""
        t = self._read().type
        if t.size != 1:
            raise RuntimeError(f"a Tensor with {t.size} elements cannot be converted to Scalar. "
                               f"Received: shape {list(t.shape)}")
        array = self._observe("item()")
        return float(array.reshape(())) if t.dtype is dt.bfloat16 else array.item()

    def tolist(self: Any) -> Any:
        """Nested lists of Python numbers; a number for a 0-d tensor. torch: ``Tensor.tolist``."""
        array = self._observe("tolist()")
        return (array.astype(np.float64) if self._value.type.dtype is dt.bfloat16 else array).tolist()

    def numpy(self: Any, *, force: builtins.bool = False) -> np.ndarray:
        """The tensor as a NumPy array that shares its memory: each sees the other's writes.

        bfloat16 gives an array of ``ml_dtypes.bfloat16``. ``force=True`` also detaches and resolves conjugation.

        Raises:
            RuntimeError: the tensor requires a gradient (use ``detach().numpy()``).

        torch: ``Tensor.numpy``.
        """
        if self._edge is not None and not force:
            self._read()
            if self._edge is not None:
                raise RuntimeError("Can't call numpy() on Tensor that requires grad. "
                                   "Use tensor.detach().numpy() instead.")
        return _exported(self, "numpy()")

    def __array__(self: Any, dtype: Any = None, copy: builtins.bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != np.dtype(dtype):
            return array.astype(dtype)
        return array.copy() if copy else array

    #: NumPy's operators leave mixed operations to the tensor
    __array_priority__ = 1000

    def __array_wrap__(self: Any, array: np.ndarray, context: Any = None, return_scalar: builtins.bool = False) -> Any:
        return wrap(from_array(np.asarray(array)))

    def __dlpack__(self: Any, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: builtins.bool | None = None) -> Any:
        """A DLPack capsule over this tensor's memory, see :meth:`numpy`. torch: ``Tensor.__dlpack__``."""
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        if dl_device is not None and tuple(dl_device) != (1, 0):
            raise BufferError(f"this tensor is in CPU memory, (1, 0). Received: dl_device={dl_device}")
        array = self.numpy()
        return (array.copy() if copy else array).__dlpack__(max_version=max_version)

    def __dlpack_device__(self: Any) -> tuple[builtins.int, builtins.int]:
        """(1, 0): the CPU. torch: ``Tensor.__dlpack_device__``."""
        return 1, 0

    def __bool__(self: Any) -> builtins.bool:
        t = self._read().type
        if t.size != 1:
            kind = "no values" if t.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {kind} is ambiguous. Received: shape {list(t.shape)}")
        return builtins.bool(self.item())

    def __int__(self: Any) -> builtins.int:
        return builtins.int(self.item())

    def __float__(self: Any) -> builtins.float:
        return builtins.float(self.item())

    def __complex__(self: Any) -> complex:
        return complex(self.item())

    def __index__(self: Any) -> builtins.int:
        t = self._read().type
        if t.size != 1 or t.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index. Received: "
                            f"{t.dtype!r} of shape {list(t.shape)}")
        return builtins.int(self.item())

    def __len__(self: Any) -> builtins.int:
        t = self._value.type
        if not t.ndim:
            raise TypeError("len() of a 0-d tensor")
        return t.shape[0]


class _Strided:
    """Memory of ``owner`` at other strides, for NumPy."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, array: np.ndarray, dtype: np.dtype, shape: tuple, strides: tuple, offset: builtins.int) -> None:
        data, readonly = array.__array_interface__["data"]
        self.owner = array
        self.__array_interface__ = {
            "data": (data + offset * dtype.itemsize, readonly), "shape": shape, "typestr": f"|V{dtype.itemsize}",
            "version": 3, "strides": tuple(s * dtype.itemsize for s in strides)}


def _exported(t: Any, reason: str) -> np.ndarray:
    """The tensor as an array over its storage."""
    array = export(t, reason)
    lenses = t._alias.lenses
    if not lenses:
        return array.view()
    t = t._value.type
    shape, strides, offset = array.shape, tuple(s // array.itemsize for s in array.strides), 0
    for lens in lenses:
        strides, offset = lens.strides(shape, strides, offset)
        shape = lens.result(shape)
    return np.asarray(_Strided(array, t.dtype.numpy, shape, strides, offset)).view(t.dtype.numpy)


def _dtype_of(dtype: Any) -> DType:
    if isinstance(dtype, DType):
        return dtype
    found = _BUILTIN.get(dtype) if dtype.__class__ is builtins.type else None
    if found is None:
        raise TypeError(f"expected a gemel dtype, e.g. gemel.float32. Received: {dtype!r}")
    return found


def _to_arguments(args: tuple, dtype: Any, where: Any, copy: builtins.bool) -> tuple[Any, Any, builtins.bool]:
    """(dtype, device, copy) of a call of ``Tensor.to``."""
    rest = list(args)
    if rest and rest[0].__class__ in TENSOR_CLASSES:
        dtype = rest.pop(0)._read().type.dtype
    else:
        if rest and (rest[0] is None or isinstance(rest[0], (str, device, builtins.int))
                     and not isinstance(rest[0], builtins.bool)):
            where = rest.pop(0)
            where = device(where) if where is not None else None
        if rest and (rest[0] is None or not isinstance(rest[0], builtins.bool)):
            found = rest.pop(0)
            if not isinstance(found, memory_format):
                dtype = found
    if rest:
        rest.pop(0)  # non_blocking: everything is asynchronous until it is observed
    if rest:
        copy = rest.pop(0)
    if rest:
        raise TypeError(f"to() received an invalid combination of arguments: {args!r}; expected (dtype), (device), "
                        f"(device, dtype) or (tensor), then non_blocking and copy")
    return (None if dtype is None else _dtype_of(dtype)), where, copy


