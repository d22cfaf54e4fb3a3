"""torch's zip archives (``.pt``, ``.pth``, ``.bin``): reading and writing state dicts.

An archive holds ``<name>/data.pkl``, a pickle that refers to storages by number, and ``<name>/data/<number>`` with
their bytes. The pickle goes through :mod:`.opcodes`, never through Python's ``pickle``. Entries must be stored, not
compressed (as torch writes them): so nothing unpacks to more than the file's size, and tensors are mapped from it.
"""
from __future__ import annotations

import struct
import zipfile
from collections import Counter, OrderedDict
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.ir.types import row_major
from ..tensor.storage import Reshape, Strided
from .errors import FormatError
from .memory import Source
from .opcodes import Name, Reader, check_key

STORAGES = {
    "DoubleStorage": dt.float64, "FloatStorage": dt.float32, "HalfStorage": dt.float16, "BFloat16Storage": dt.bfloat16,
    "LongStorage": dt.int64, "IntStorage": dt.int32, "ShortStorage": dt.int16, "CharStorage": dt.int8,
    "ByteStorage": dt.uint8, "BoolStorage": dt.bool_, "ComplexFloatStorage": dt.complex64,
    "ComplexDoubleStorage": dt.complex128,
}
DTYPE_NAMES = {d.name: d for d in dt.ALL} | {"half": dt.float16, "float": dt.float32, "double": dt.float64,
                                             "long": dt.int64, "int": dt.int32}
MAX_NDIM = 64


class Storage:
    """A storage of the file: where its bytes are, and how many tensors look at it."""

    __slots__ = ("key", "dtype", "start", "nbytes", "whole")

    def __init__(self, key: str, dtype: dt.DType | None, start: int, nbytes: int) -> None:
        self.key, self.dtype, self.start, self.nbytes = key, dtype, start, nbytes
        self.whole: Any = None   # the 1-d tensor of a storage that several tensors share


class Archive:
    """A zip archive of torch, as entries of a :class:`Source`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            with zipfile.ZipFile(_File(source)) as z:  # type: ignore[arg-type]
                infos = z.infolist()
        except (zipfile.BadZipFile, struct.error, UnicodeDecodeError, NotImplementedError, ValueError,
                EOFError) as error:
            raise FormatError(f"not a whole zip archive: {error}") from None
        self.entries: dict[str, tuple[int, int]] = {}
        for info in infos:
            if info.filename in self.entries:
                raise FormatError(f"the archive has two entries named {info.filename!r}")
            self.entries[info.filename] = self._place(info)
        pickles = [name for name in self.entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise FormatError(f"the archive has {len(pickles)} entries <name>/data.pkl; a file of torch.save has one "
                              f"(a TorchScript archive or another zip file?)")
        self.prefix = pickles[0].removesuffix("data.pkl")
        order = self.entries.get(f"{self.prefix}byteorder")
        if order is not None and bytes(source.view[order[0]:order[0] + order[1]]) != b"little":
            raise FormatError("the file was saved on a big-endian machine; load and save it again on a "
                              "little-endian one")
        self.storages: dict[str, Storage] = {}
        self.uses: Counter[str] = Counter()
        self.allowance = 0

    def _place(self, info: zipfile.ZipInfo) -> tuple[int, int]:
        """(start, size) of an entry's bytes; the local header is read again, since its length is its own."""
        size, at = info.file_size, info.header_offset
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != size:
            raise FormatError(f"entry {info.filename!r} is compressed; torch stores entries as they are")
        if info.flag_bits & 1:
            raise FormatError(f"entry {info.filename!r} is encrypted")
        header = bytes(self.source.view[at:at + 30]) if at >= 0 else b""
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise FormatError(f"entry {info.filename!r} has no local header at {at}")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = at + 30 + name_length + extra_length
        if start + size > self.source.size:
            raise FormatError(f"entry {info.filename!r} reaches beyond the end of the file")
        return start, size

    # --- reading
    def load(self) -> Any:
        """The saved object. The pickle is read twice: first to count who shares a storage, then to make tensors."""
        start, size = self.entries[f"{self.prefix}data.pkl"]
        data = self.source.view[start:start + size]
        for make in (self._count, self._make):
            self.make, self.allowance = make, size + self.source.size + (1 << 20)
            result = Reader(data, self._names(), self._persistent).run()
        return result

    def spend(self, n: int) -> None:
        """Count what is made besides the file's own bytes, so that a small file cannot ask for endless memory."""
        self.allowance -= n
        if self.allowance < 0:
            raise FormatError("the file asks for much more memory than its own size")

    def _persistent(self, saved: Any) -> Storage:
        if not (isinstance(saved, tuple) and len(saved) == 5 and saved[0] == "storage" and isinstance(saved[1], Name)
                and isinstance(saved[2], str) and isinstance(saved[4], int) and saved[4] >= 0):
            raise FormatError(f"a persistent id is not a storage: {str(saved)[:100]}")
        _, kind, key, _, count = saved
        if not isinstance(kind.value, tuple) or kind.value[0] != "storage":
            raise FormatError(f"{kind.name} is not a storage type")
        dtype = kind.value[1]
        nbytes = count * (dtype.itemsize if dtype else 1)
        found = self.storages.get(key)
        if found is None:
            place = self.entries.get(f"{self.prefix}data/{key}")
            if place is None:
                raise FormatError(f"the archive lacks the storage {key!r}")
            if place[1] != nbytes:
                raise FormatError(f"storage {key!r} should have {nbytes} bytes, the archive has {place[1]}")
            found = self.storages[key] = Storage(key, dtype, place[0], nbytes)
        elif found.dtype is not dtype or found.nbytes != nbytes:
            raise FormatError(f"storage {key!r} is described in two ways")
        return found

    def _names(self) -> dict[str, Any]:
        """The closed table of what a file may refer to."""
        found: dict[str, Any] = {f"torch {name}": Name(f"torch.{name}", value=("storage", dtype))
                                 for name, dtype in STORAGES.items()}
        found["torch.storage UntypedStorage"] = Name("torch.storage.UntypedStorage", value=("storage", None))
        found["torch UntypedStorage"] = found["torch.storage UntypedStorage"]
        for module in ("collections",):
            found[f"{module} OrderedDict"] = Name("collections.OrderedDict", self._ordered_dict)
        for module in ("builtins", "__builtin__"):
            found[f"{module} set"] = Name("set", self._set)
            found[f"{module} complex"] = Name("complex", complex_number)
        found["torch Size"] = Name("torch.Size", self._size)
        found["torch device"] = Name("torch.device", device_name)
        found["_codecs encode"] = Name("_codecs.encode", self._encode)
        for name, build in (("_rebuild_tensor", self._tensor), ("_rebuild_tensor_v2", self._tensor_v2),
                            ("_rebuild_tensor_v3", self._tensor_v3), ("_rebuild_parameter", self._parameter),
                            ("_rebuild_parameter_with_state", self._parameter_with_state)):
            found[f"torch._utils {name}"] = Name(f"torch._utils.{name}", build)
        return {**found, **{f"torch {name}": d for name, d in DTYPE_NAMES.items()}}

    # --- what the names stand for
    def _ordered_dict(self, items: Any = ()) -> OrderedDict:
        self.spend(64 * len(items))
        found = OrderedDict()
        for pair in items:
            key, value = pair
            check_key(key)
            found[key] = value
        return found

    def _set(self, items: Any = ()) -> set:
        self.spend(64 * len(items))
        for x in items:
            check_key(x)
        return set(items)

    def _size(self, items: Any = ()) -> tuple:
        return shape_of(items, "torch.Size")

    def _encode(self, text: Any, encoding: Any = "utf-8") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
            raise FormatError("_codecs.encode is read for text in latin1 or utf-8 only")
        self.spend(len(text))
        return text.encode(encoding)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Any:
        return self._typed(storage, offset, size, stride, getattr(storage, "dtype", None))

    def _tensor_v2(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
                   metadata: Any = None) -> Any:
        t = self._tensor(storage, offset, size, stride)
        return t.requires_grad_() if requires_grad is True and t is not None else t

    def _tensor_v3(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
                   dtype: Any, metadata: Any = None) -> Any:
        if not isinstance(dtype, dt.DType):
            raise FormatError("_rebuild_tensor_v3 needs a dtype")
        t = self._typed(storage, offset, size, stride, dtype)
        return t.requires_grad_() if requires_grad is True and t is not None else t

    def _parameter(self, data: Any, requires_grad: Any, hooks: Any) -> Any:
        if data is None:  # counting
            return None
        from ..nn.parameter import Parameter
        from ..tensor.tensor import Tensor
        if not isinstance(data, Tensor):
            raise FormatError("a parameter is not made of a tensor")
        return Parameter(data, requires_grad is True)

    def _parameter_with_state(self, data: Any, requires_grad: Any, hooks: Any, state: Any) -> Any:
        if state:
            raise FormatError("a parameter with attributes of its own is not supported")
        return self._parameter(data, requires_grad, hooks)

    # --- tensors
    def _typed(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: dt.DType | None) -> Any:
        """Check everything, then count or make the tensor."""
        if not isinstance(storage, Storage) or dtype is None:
            raise FormatError("a tensor is not made of a storage")
        shape, strides = shape_of(size, "the size of a tensor"), shape_of(stride, "the strides of a tensor")
        if len(shape) != len(strides) or not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
            raise FormatError("a tensor's size, strides and offset do not fit each other")
        room = storage.nbytes // dtype.itemsize
        empty = 0 in shape
        last = offset + (0 if empty else sum((n - 1) * s for n, s in zip(shape, strides, strict=True)))
        if last >= room and not (empty and offset <= room):
            raise FormatError(f"a tensor of size {list(shape)}, strides {list(strides)} and offset {offset} reaches "
                              f"beyond its storage of {room} elements")
        return self.make(storage, offset, shape, strides, dtype)

    def _count(self, storage: Storage, offset: int, shape: tuple, strides: tuple, dtype: dt.DType) -> None:
        self.uses[storage.key] += 1

    def _make(self, storage: Storage, offset: int, shape: tuple, strides: tuple, dtype: dt.DType) -> Any:
        plain = 0 in shape or all(n == 1 or s == r
                                  for n, s, r in zip(shape, strides, row_major(shape), strict=True))
        count = dtype.itemsize
        for n in shape:
            count *= n
        if self.uses[storage.key] > 1 and 0 not in shape:
            return self._shared(storage, offset, shape, strides, dtype, plain)
        self.spend(count)
        start = storage.start + offset * dtype.itemsize
        return self.source.tensor(dtype, shape, start) if plain else self.source.strided(dtype, shape, strides, start)

    def _shared(self, storage: Storage, offset: int, shape: tuple, strides: tuple, dtype: dt.DType, plain: bool) -> Any:
        """One of several tensors on a storage: they share it here too (tied weights stay tied)."""
        room = storage.nbytes // dtype.itemsize
        if storage.whole is None:
            self.spend(storage.nbytes)
            storage.whole = self.source.tensor(dtype, (room,), storage.start)
        if storage.whole._read().type.dtype is not dtype:
            raise FormatError(f"storage {storage.key!r} is looked at as two dtypes")
        size = 1
        for n in shape:
            size *= n
        if plain and size == room:
            return storage.whole._view(Reshape((room,), shape))
        if size > room:
            self.spend(size * dtype.itemsize)  # an expanded tensor
        return storage.whole._view(Strided(shape, strides, offset, one_place_each(shape, strides)))


class _File:
    """What ``zipfile`` needs of a file, over a memoryview."""

    def __init__(self, source: Source) -> None:
        self.view, self.position = source.view, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = max(0, offset + (0, self.position, len(self.view))[whence])
        return self.position

    def tell(self) -> int:
        return self.position

    def seekable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        end = len(self.view) if n is None or n < 0 else self.position + n
        found = bytes(self.view[self.position:end])
        self.position += len(found)
        return found


def shape_of(items: Any, what: str) -> tuple[int, ...]:
    """A tuple of natural numbers."""
    if not isinstance(items, (tuple, list)) or len(items) > MAX_NDIM or not all(
            isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 62 for n in items):
        raise FormatError(f"{what} must be natural numbers. Received: {str(items)[:100]}")
    return tuple(items)


def one_place_each(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Does every element of such a view have a place of its own?"""
    reach = 0
    for s, n in sorted((s, n) for n, s in zip(shape, strides, strict=True) if n > 1):
        if s <= reach:
            return False
        reach += s * (n - 1)
    return True


def complex_number(re: Any = 0.0, im: Any = 0.0) -> complex:
    """builtins.complex of numbers."""
    if not isinstance(re, (int, float)) or not isinstance(im, (int, float)):
        raise FormatError("complex() is read for numbers only")
    return complex(re, im)


def device_name(kind: Any = "cpu", index: Any = None) -> str:
    """torch.device: its name."""
    if not isinstance(kind, str) or not (index is None or isinstance(index, int)):
        raise FormatError("torch.device is read for a name and a number only")
    return kind if index is None else f"{kind}:{index}"
