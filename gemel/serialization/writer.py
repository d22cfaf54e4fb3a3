"""Writing torch's zip archives: plain data and tensors as a protocol-2 pickle, storages beside it.

``torch.load(path)`` reads them with its default ``weights_only=True``. Tensors that share a storage (tied weights)
are written once and come back sharing it.
"""
from __future__ import annotations

import struct
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.ir.types import row_major
from ..engine.runtime import executor
from ..nn.parameter import Parameter
from ..tensor.tape import Accumulate
from ..tensor.tensor import Tensor
from .archive import STORAGES

ALIGNMENT = 64
_STORAGE_NAMES = {d: name for name, d in STORAGES.items()}
#: dtypes that torch has no storage class for are written as untyped storages
_UNTYPED = {dt.uint16: "uint16", dt.uint32: "uint32", dt.uint64: "uint64"}


class Pickler:
    """Emits the opcodes for plain data and tensors; anything else is an error that names it."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.names: dict[str, int] = {}       # globals that are in the memo
        self.storages: dict[Any, int] = {}    # identity of a storage -> its number
        self.arrays: list[Any] = []           # values to be written, by number
        self.kept: list[Any] = []             # tensors whose identities are in use
        self.open: set[int] = set()

    def finish(self, obj: Any) -> bytes:
        """The pickle of ``obj``."""
        self.put(obj, "the object")
        return bytes(self.out + b".")

    def name(self, module: str, name: str) -> None:
        """A global, from the memo after its first use."""
        key = f"{module}\n{name}\n"
        if key in self.names:
            self.out += b"j" + struct.pack("<I", self.names[key])
            return
        n = self.names[key] = len(self.names)
        self.out += b"c" + key.encode() + b"r" + struct.pack("<I", n)

    def put(self, x: Any, where: str) -> None:
        """One object; ``where`` names its place in messages."""
        kind = type(x)
        if x is None or kind is bool:
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[x]
        elif kind is int:
            self.integer(x)
        elif kind is float:
            self.out += b"G" + struct.pack(">d", x)
        elif kind is str:
            self.text(x)
        elif isinstance(x, Tensor):
            self.tensor(x, where)
        elif isinstance(x, dt.DType):
            self.name("torch", x.name)
        elif isinstance(x, (bytes, bytearray)):
            self.name("_codecs", "encode")
            self.text(bytes(x).decode("latin1"))
            self.text("latin1")
            self.out += b"\x86R"
        elif isinstance(x, (dict, list, tuple, set)):
            self.container(x, where)
        elif isinstance(x, (np.bool_, np.integer, np.floating)):
            self.put(x.item(), where)
        elif isinstance(x, complex):
            self.name("builtins", "complex")
            self.out += b"G" + struct.pack(">d", x.real) + b"G" + struct.pack(">d", x.imag) + b"\x86R"
        else:
            raise TypeError(f"save() writes tensors and plain data (dict, list, tuple, set, str, int, float, bool, "
                            f"None, bytes). Received a {type(x).__module__}.{type(x).__qualname__} at {where}; for a "
                            f"module or optimizer save its state_dict()")

    def integer(self, x: int) -> None:
        """The shortest of the integer opcodes."""
        if 0 <= x < 256:
            self.out += b"K" + struct.pack("<B", x)
        elif -(1 << 31) <= x < 1 << 31:
            self.out += b"J" + struct.pack("<i", x)
        else:
            raw = x.to_bytes(x.bit_length() // 8 + 1, "little", signed=True)
            if len(raw) > 128:
                raise TypeError(f"save() writes integers of at most 128 bytes. Received one of {len(raw)}")
            self.out += b"\x8a" + struct.pack("<B", len(raw)) + raw

    def text(self, x: str) -> None:
        """A string."""
        raw = x.encode("utf-8", "surrogatepass")
        self.out += b"X" + struct.pack("<I", len(raw)) + raw

    def container(self, x: Any, where: str) -> None:
        """A dict, list, tuple or set."""
        if id(x) in self.open:
            raise ValueError(f"save(): a container at {where} contains itself")
        if len(self.open) > 400:
            raise ValueError(f"save(): containers are nested more than 400 deep at {where[:80]}")
        self.open.add(id(x))
        if isinstance(x, dict):
            if isinstance(x, OrderedDict):
                self.name("collections", "OrderedDict")
                self.out += b")R"
            else:
                self.out += b"}"
            if x:
                self.out += b"("
                for k, v in x.items():
                    self.put(k, f"a key of {where}")
                    self.put(v, f"{where}[{k!r}]")
                self.out += b"u"
            metadata = getattr(x, "_metadata", None)
            if isinstance(x, OrderedDict) and isinstance(metadata, dict):
                self.out += b"}"
                self.text("_metadata")
                self.put(metadata, f"{where}._metadata")
                self.out += b"sb"
        elif isinstance(x, list):
            self.out += b"]("
            for i, v in enumerate(x):
                self.put(v, f"{where}[{i}]")
            self.out += b"e"
        elif isinstance(x, set):
            self.name("builtins", "set")
            self.out += b"]("
            for v in x:
                self.put(v, f"an element of {where}")
            self.out += b"e\x85R"
        else:
            self.tuple_(x, where)
        self.open.discard(id(x))

    def tuple_(self, x: tuple, where: str) -> None:
        """A tuple (of any class: sizes and named tuples come back as plain ones)."""
        if not x:
            self.out += b")"
            return
        self.out += b"("
        for i, v in enumerate(x):
            self.put(v, f"{where}[{i}]")
        self.out += b"t"

    # --- tensors
    def tensor(self, t: Any, where: str) -> None:
        """A tensor or parameter: the call that rebuilds it on its storage."""
        value = t._read()
        parameter = isinstance(t, Parameter)
        wants = t._edge is not None
        if wants and not isinstance(t._edge, Accumulate):
            raise RuntimeError(f"save(): the tensor at {where} is the result of an operation on the tape; "
                               f"save x.detach()")
        if parameter:
            self.name("torch._utils", "_rebuild_parameter")
        dtype = value.type.dtype
        untyped = _UNTYPED.get(dtype)
        self.name("torch._utils", "_rebuild_tensor_v3" if untyped else "_rebuild_tensor_v2")
        self.out += b"("
        count = value.type.size
        if untyped:
            self.storage(t, "torch.storage", "UntypedStorage", count * dtype.itemsize)
        else:
            self.storage(t, "torch", _STORAGE_NAMES[dtype], count)
        self.out += b"K\x00"
        for numbers in (value.type.shape, row_major(value.type.shape)):
            self.tuple_(numbers, where)
        self.put(wants and not parameter, where)
        self.hooks()
        if untyped:
            self.name("torch", untyped)
        self.out += b"tR"
        if parameter:
            self.put(wants, where)
            self.hooks()
            self.out += b"\x87R"

    def hooks(self) -> None:
        """An empty OrderedDict, where torch has backward hooks."""
        self.name("collections", "OrderedDict")
        self.out += b")R"

    def storage(self, t: Any, module: str, name: str, count: int) -> None:
        """The persistent id of the storage that holds exactly this tensor's elements."""
        alias = t._alias
        if alias is None:
            key: tuple = (id(t),)
        else:
            key = (id(alias.cell), *(lens.key() for lens in alias.lenses))
        number = self.storages.get(key)
        if number is None:
            number = self.storages[key] = len(self.arrays)
            self.arrays.append(t._read())
            self.kept.append(t)
        self.out += b"("
        self.text("storage")
        self.name(module, name)
        self.text(str(number))
        self.text("cpu")
        self.integer(count)
        self.out += b"tQ"


def write(obj: Any, file: Any, name: str) -> None:
    """Write the archive of ``obj`` into a binary file."""
    pickler = Pickler()
    data = pickler.finish(obj)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as z:
        add(z, f"{name}/data.pkl", data)
        add(z, f"{name}/.format_version", b"1")
        add(z, f"{name}/.storage_alignment", str(ALIGNMENT).encode())
        add(z, f"{name}/byteorder", b"little")
        for number, value in enumerate(pickler.arrays):
            array = np.ascontiguousarray(executor.observe(value, "save"))
            add(z, f"{name}/data/{number}", array.reshape(-1).view(np.uint8).data if array.size else b"")
        add(z, f"{name}/version", b"3\n")


def add(z: zipfile.ZipFile, name: str, data: Any) -> None:
    """One entry whose bytes begin at a multiple of 64, so that it can be mapped and used as it is."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    fp: Any = z.fp
    before = fp.tell() + 30 + len(name.encode()) + 4
    padding = -before % ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    z.writestr(info, data)
