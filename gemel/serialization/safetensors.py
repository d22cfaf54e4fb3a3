"""The safetensors format: a JSON header, then the bytes of the tensors.

    8 bytes   length N of the header, little-endian
    N bytes   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    rest      the data; offsets count from here, cover it without gaps and do not overlap

The reader maps the file and copies nothing. It refuses whatever the specification forbids, with one message per
defect. https://huggingface.co/docs/safetensors
"""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.runtime import executor
from ..tensor.tensor import Tensor
from .errors import FormatError
from .files import replacing
from .memory import Source

__all__ = ["load", "load_file", "safe_open", "save", "save_file"]

MAX_HEADER = 100_000_000
DTYPES = {"BOOL": dt.bool_, "U8": dt.uint8, "I8": dt.int8, "I16": dt.int16, "U16": dt.uint16, "F16": dt.float16,
          "BF16": dt.bfloat16, "I32": dt.int32, "U32": dt.uint32, "F32": dt.float32, "F64": dt.float64, "I64": dt.int64,
          "U64": dt.uint64, "C64": dt.complex64}
NAMES = {d: name for name, d in DTYPES.items()}


class Entry:
    """One tensor of a file."""

    __slots__ = ("dtype", "shape", "start", "stop")

    def __init__(self, dtype: dt.DType, shape: tuple[int, ...], start: int, stop: int) -> None:
        self.dtype, self.shape, self.start, self.stop = dtype, shape, start, stop


class safe_open:
    """A safetensors file, opened for reading tensor by tensor.

    >>> import gemel
    >>> from gemel.serialization import safetensors
    >>> safetensors.save_file({"w": gemel.ones(2)}, "/tmp/w.safetensors")
    >>> with safetensors.safe_open("/tmp/w.safetensors") as f:
    ...     f.keys(), f.get_tensor("w")
    (['w'], tensor([1., 1.]))

    safetensors: ``safe_open``
    """

    def __init__(self, filename: Any, framework: str = "pt", device: Any = "cpu") -> None:
        self.source = Source.open(filename)
        self.device = device
        self.entries, self._metadata, self.base = parse(self.source)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *_: Any) -> None:
        """The mapping lives as long as tensors need it."""

    def keys(self) -> list[str]:
        """The names, in the order of the data."""
        return list(self.entries)

    def metadata(self) -> dict[str, str] | None:
        """The strings that were saved beside the tensors."""
        return self._metadata

    def get_tensor(self, name: str) -> Any:
        """The tensor of that name; its memory is the file's."""
        entry = self.entries.get(name)
        if entry is None:
            raise FormatError(f"File does not contain tensor {name!r}; it has {', '.join(self.entries) or 'none'}")
        return self.source.tensor(entry.dtype, entry.shape, self.base + entry.start)


def parse(source: Source) -> tuple[dict[str, Entry], dict[str, str] | None, int]:
    """(entries in the order of their data, metadata, position of the data)."""
    if source.size < 8:
        raise FormatError(f"HeaderTooSmall: a safetensors file begins with 8 bytes; this one has {source.size}")
    length = int.from_bytes(source.view[:8], "little")
    if length > MAX_HEADER:
        raise FormatError(f"HeaderTooLarge: the header claims {length} bytes; at most {MAX_HEADER} are allowed")
    if 8 + length > source.size:
        raise FormatError(f"InvalidHeaderLength: the header claims {length} bytes, the file has {source.size - 8} more")
    base = 8 + length
    header = _header(bytes(source.view[8:base]))
    metadata = header.pop("__metadata__", None)
    if metadata is not None and not (isinstance(metadata, dict)
                                     and all(isinstance(v, str) for v in metadata.values())):
        raise FormatError("InvalidHeaderDeserialization: __metadata__ must map strings to strings")
    entries = {name: _entry(name, fields) for name, fields in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    at = 0
    for name, entry in ordered.items():
        if entry.start != at:
            raise FormatError(f"InvalidOffset: tensor {name!r} begins at {entry.start}, the one before it ends at {at}"
                              f": the data must have no gaps and no overlaps")
        at = entry.stop
    if base + at != source.size:
        raise FormatError(f"MetadataIncompleteBuffer: the tensors take {at} bytes, the file holds {source.size - base}")
    return ordered, metadata, base


def _header(data: bytes) -> dict[str, Any]:
    if not data.startswith(b"{"):
        raise FormatError("InvalidHeaderStart: the header must begin with '{'")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError("InvalidHeaderDeserialization: a key of the header appears twice")
        return found

    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError:
        raise FormatError("InvalidHeader: the header is not UTF-8") from None
    except RecursionError:
        raise FormatError("InvalidHeaderDeserialization: the header is nested too deeply") from None
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"InvalidHeaderDeserialization: the header is not JSON ({error})") from None
    return header


def _natural(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 1 << 63


def _entry(name: str, fields: Any) -> Entry:
    """One checked entry of the header."""
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"InvalidHeaderDeserialization: tensor {name!r} needs dtype, shape and data_offsets")
    dtype = DTYPES.get(fields["dtype"]) if isinstance(fields["dtype"], str) else None
    if dtype is None:
        raise FormatError(f"tensor {name!r} has dtype {fields['dtype']!r}; known are {', '.join(DTYPES)}")
    shape, offsets = fields["shape"], fields["data_offsets"]
    if not isinstance(shape, list) or len(shape) > 64 or not all(map(_natural, shape)):
        raise FormatError(f"tensor {name!r}: shape must be a list of natural numbers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)) or offsets[0] > offsets[1]:
        raise FormatError(f"InvalidOffset: tensor {name!r}: data_offsets must be two rising natural numbers. "
                          f"Received: {str(offsets)[:80]}")
    count = dtype.itemsize
    for n in shape:
        count *= n
        if count >= 1 << 63 and 0 not in shape:
            raise FormatError(f"ValidationOverflow: tensor {name!r} has too many elements")
    if count != offsets[1] - offsets[0]:
        raise FormatError(f"TensorInvalidInfo: tensor {name!r} of shape {shape} and dtype {fields['dtype']} takes "
                          f"{count} bytes, its offsets give {offsets[1] - offsets[0]}")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Any]:
    """All tensors of a file, over its mapped memory. safetensors: ``safetensors.torch.load_file``"""
    opened = safe_open(filename, device=device)
    return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)


def load(data: bytes) -> dict[str, Any]:
    """All tensors of a file that is in memory. safetensors: ``safetensors.torch.load``"""
    source = Source(memoryview(data), data, False)
    entries, _, base = parse(source)
    return {name: source.tensor(e.dtype, e.shape, base + e.start) for name, e in entries.items()}


def _pieces(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None) -> Iterator[Any]:
    """The file, piece by piece."""
    for name, t in tensors.items():
        if not isinstance(name, str) or not isinstance(t, Tensor):
            raise TypeError(f"safetensors files hold named tensors. Received: {name!r}: {type(t).__name__}")
        if t._read().type.dtype not in NAMES:
            raise TypeError(f"safetensors has no dtype {t._read().type.dtype.name} (tensor {name!r})")
    # the widest first, so that every tensor is aligned
    order = sorted(tensors, key=lambda name: (-tensors[name]._read().type.dtype.itemsize, name))
    header: dict[str, Any] = {}
    if metadata:
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()):
            raise TypeError("safetensors metadata must map strings to strings")
        header["__metadata__"] = dict(metadata)
    at = 0
    for name in order:
        t = tensors[name]._read().type
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        array = np.ascontiguousarray(executor.observe(tensors[name]._read(), "save"))
        yield array.reshape(-1).view(np.uint8).data if array.size else b""


def save_file(tensors: Mapping[str, Any], filename: str | os.PathLike, metadata: Mapping[str, str] | None = None
              ) -> None:
    """Write named tensors; the file appears under its name when it is complete.

    safetensors: ``safetensors.torch.save_file``
    """
    with replacing(filename) as file:
        for piece in _pieces(tensors, metadata):
            file.write(piece)


def save(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file as bytes. safetensors: ``safetensors.torch.save``"""
    return b"".join(bytes(piece) for piece in _pieces(tensors, metadata))
