"""Where tensors live, and the small vocabulary of layouts and memory formats."""
from __future__ import annotations

from typing import Any

from ..engine.base.errors import DeviceError

__all__ = ["Size", "device", "layout", "memory_format", "strided", "sparse_coo", "contiguous_format", "preserve_format",
           "channels_last", "channels_last_3d", "get_default_device", "set_default_device"]

_TYPES = ("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla",
          "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone")


class device:
    """The name of a device: ``device("cpu")``, ``device("cuda:1")``, ``device("cpu", 0)``.

    Any of torch's device types can be named; a tensor can be made on ``cpu`` only, the others raise ``DeviceError``
    when they are used. As a context manager it sets where new tensors are made. torch: ``torch.device``.

    >>> gemel.device("cpu").type
    'cpu'
    """

    __slots__ = ("type", "index", "_outer")
    type: str
    index: int | None

    def __init__(self, type: str | int | device, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index if index is None else index
        if isinstance(type, int):
            raise DeviceError(f"Cannot access accelerator device when none is available. Received: device({type})")
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        name, colon, number = type.partition(":")
        if name not in _TYPES:
            raise DeviceError(f"Expected one of {', '.join(_TYPES)} device type at start of device string: {type}")
        if colon:
            if index is not None:
                raise DeviceError(f"type (string) must not include an index because index was passed "
                                  f"explicitly: {type}")
            if not number.isdecimal():
                raise DeviceError(f"Invalid device string: '{type}'")
            index = int(number)
        if index is not None and index < 0:
            raise DeviceError(f"Device index must be non-negative, got {index}")
        self.type, self.index = name, index
        self._outer: list[device] = []

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple:
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        check_device(self)
        self._outer.append(_Default.device)
        _Default.device = self
        return self

    def __exit__(self, *exc: object) -> None:
        _Default.device = self._outer.pop()


CPU = device("cpu")


class _Default:
    device: device = CPU


def check_device(where: Any) -> None:
    """Raise ``DeviceError`` unless tensors can be made on ``where`` (None: the default device)."""
    if where is None or where is CPU:
        return
    if not isinstance(where, device):
        where = device(where)
    if where.type == "cpu":
        if where.index:
            raise DeviceError(f"there is one CPU device, 'cpu' or 'cpu:0'. Received: {str(where)!r}")
        return
    raise DeviceError(f"device {str(where)!r} is not available: this build of Gemel runs on 'cpu'. Use device='cpu', "
                      f"or leave the device out.")


def get_default_device() -> device:
    """The device on which new tensors are made. torch: ``get_default_device``."""
    return _Default.device


def set_default_device(where: Any) -> None:
    """Make new tensors on ``where``; only ``cpu`` exists. torch: ``set_default_device``."""
    check_device(where)
    _Default.device = CPU if where is None else device(where)


class Size(tuple):
    """The shape of a tensor: a tuple that knows its number of elements. torch: ``torch.Size``.

    >>> gemel.zeros(2, 3).shape.numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        n = 1
        for size in self:
            n *= size
        return n

    def __repr__(self) -> str:
        return f"gemel.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple.__add__(tuple(other), self))

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


class _Name:
    """A named constant of torch's vocabulary."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"gemel.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class layout(_Name):
    """How elements are stored; tensors are ``gemel.strided``."""


class memory_format(_Name):
    """An order of the axes in memory. Gemel's compiler chooses layouts itself: formats are accepted as hints."""


strided = layout("strided")
sparse_coo = layout("sparse_coo")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
