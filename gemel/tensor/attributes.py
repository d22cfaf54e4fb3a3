"""What a tensor says of itself: shape, dtype, device."""
from __future__ import annotations

from typing import Any

from ..engine.ir.types import TensorType
from .core import TENSOR_CLASSES
from .devices import CPU, Size, strided

__all__ = ["is_tensor", "is_floating_point", "is_complex", "is_nonzero", "numel", "is_conj"]

_SIZES: dict[TensorType, Size] = {}


def size_of(t: TensorType) -> Size:
    """The shape of a type as a :class:`Size`."""
    found = _SIZES.get(t)
    if found is None:
        found = _SIZES[t] = Size(t.shape)
    return found


def is_tensor(obj: Any) -> bool:
    """Is ``obj`` a tensor? torch: ``is_tensor``."""
    return obj.__class__ in TENSOR_CLASSES


def is_floating_point(input: Any) -> bool:
    """Is the dtype a real floating point type? torch: ``is_floating_point``."""
    return input._value.type.dtype.is_floating_point


def is_complex(input: Any) -> bool:
    """Is the dtype complex? torch: ``is_complex``."""
    return input._value.type.dtype.is_complex


def is_nonzero(input: Any) -> bool:
    """Is the one element of ``input`` not zero? torch: ``is_nonzero``."""
    return bool(input)


def is_conj(input: Any) -> bool:
    """Is the conjugation of ``input`` pending? Never: it is carried out at once. torch: ``is_conj``."""
    return False


def numel(input: Any) -> int:
    """Number of elements. torch: ``numel``."""
    return input._value.type.size


def _axis(name: str, dim: int, ndim: int) -> int:
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


class AttributeMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    is_floating_point = is_floating_point
    is_complex = is_complex
    is_nonzero = is_nonzero
    is_conj = is_conj
    numel = numel
    nelement = numel

    # --- shape
    @property
    def shape(self: Any) -> Size:
        """The size of each axis. torch: ``Tensor.shape``."""
        return size_of(self._value.type)

    def size(self: Any, dim: int | None = None) -> Any:
        """The shape, or the size of axis ``dim``. torch: ``Tensor.size``."""
        t = self._value.type
        if dim is None:
            return size_of(t)
        axis = _axis("size", dim, t.ndim)
        if not t.ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        return t.shape[axis]

    @property
    def ndim(self: Any) -> int:
        """Number of axes. torch: ``Tensor.ndim``."""
        return self._value.type.ndim

    def dim(self: Any) -> int:
        """Number of axes. torch: ``Tensor.dim``."""
        return self._value.type.ndim

    ndimension = dim

    # --- elements
    @property
    def dtype(self: Any) -> Any:
        """The element type. torch: ``Tensor.dtype``."""
        return self._value.type.dtype

    @property
    def itemsize(self: Any) -> int:
        """Bytes of one element. torch: ``Tensor.itemsize``."""
        return self._value.type.dtype.itemsize

    def element_size(self: Any) -> int:
        """Bytes of one element. torch: ``Tensor.element_size``."""
        return self._value.type.dtype.itemsize

    @property
    def nbytes(self: Any) -> int:
        """Bytes of all elements. torch: ``Tensor.nbytes``."""
        return self._value.type.nbytes

    def is_signed(self: Any) -> bool:
        """Can elements be negative? torch: ``Tensor.is_signed``."""
        return self._value.type.dtype.is_signed

    # --- place
    @property
    def device(self: Any) -> Any:
        """Where the tensor lives. torch: ``Tensor.device``."""
        return CPU

    @property
    def layout(self: Any) -> Any:
        """``gemel.strided``. torch: ``Tensor.layout``."""
        return strided

    is_cpu = property(lambda self: True, doc="Does it live in CPU memory? torch: ``Tensor.is_cpu``.")
    is_cuda = property(lambda self: False, doc="Does it live on a CUDA device? torch: ``Tensor.is_cuda``.")
    is_sparse = property(lambda self: False, doc="Is it sparse? torch: ``Tensor.is_sparse``.")
    is_quantized = property(lambda self: False, doc="Is it quantized? torch: ``Tensor.is_quantized``.")
    is_meta = property(lambda self: False, doc="Has it no data? torch: ``Tensor.is_meta``.")
    is_xpu = property(lambda self: False, doc="Does it live on an Intel GPU? torch: ``Tensor.is_xpu``.")
    is_mps = property(lambda self: False, doc="Does it live on an Apple GPU? torch: ``Tensor.is_mps``.")

    def get_device(self: Any) -> int:
        """Ordinal of the GPU; -1 for CPU memory. torch: ``Tensor.get_device``."""
        return -1
