"""Saving and loading: torch's ``.pt`` archives and safetensors files.

No file is ever run: there is no pickle, eval or import on a load path.
"""
from __future__ import annotations

import os
from typing import Any

from ..engine.base.errors import UnsupportedError
from ..tensor.tensor import Tensor
from . import safetensors
from .archive import Archive
from .errors import FormatError
from .files import replacing
from .memory import Source
from .writer import write

__all__ = ["FormatError", "load", "save"]


def save(obj: Any, f: Any) -> None:
    """Write tensors and plain data to a file.

    Args:
        obj: a tensor, or dicts, lists, tuples and sets of tensors, strings, numbers and None, such as a
            ``state_dict()``.
        f: a path or a binary file object. A path that ends in ``.safetensors`` gives that format, which holds one
            flat dict of tensors; any other gives torch's archive, which ``torch.load`` reads.

    >>> import gemel
    >>> gemel.save({"w": gemel.ones(2), "epoch": 3}, "/tmp/checkpoint.pt")
    >>> gemel.load("/tmp/checkpoint.pt")
    {'w': tensor([1., 1.]), 'epoch': 3}

    torch: ``torch.save``
    """
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        if str(path).endswith(".safetensors"):
            if not isinstance(obj, dict):
                raise TypeError(f"a safetensors file holds a dict of tensors. Received: {type(obj).__name__}")
            safetensors.save_file(obj, path)
            return
        with replacing(path) as file:
            write(obj, file, os.path.splitext(os.path.basename(str(path)))[0] or "archive")
        return
    if not hasattr(f, "write"):
        raise AttributeError(f"expected 'f' to be string, path, or a file-like object with a 'write' attribute. "
                             f"Received: {type(f).__name__}")
    write(obj, f, "archive")


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None) -> Any:
    """Read a file of ``save``, of ``torch.save`` (state dicts and plain data), or a safetensors file.

    The format is told by the file's contents. Tensors use the file's pages as their memory until they are written.

    Args:
        f: a path or a binary file object. map_location: the device for the tensors (default: the CPU).
        weights_only: must be true; arbitrary objects cannot be loaded, since that means running code from the file.
        mmap: False reads the file instead of mapping it.

    Raises:
        FormatError: the file is truncated, corrupt, or refers to something outside the list of what may be loaded.

    torch: ``torch.load``
    """
    if not weights_only:
        raise UnsupportedError("load(weights_only=False): a pickle of arbitrary objects is a program, and no program "
                               "in a file is ever run. Save a state_dict() and plain data instead")
    source = Source.open(f, mmap is not False)
    head = bytes(source.view[:16])
    if head[:4] == b"PK\x03\x04":
        found = Archive(source).load()
    elif head[8:9] == b"{":
        entries, _, base = safetensors.parse(source)
        found = {name: source.tensor(e.dtype, e.shape, base + e.start) for name, e in entries.items()}
    elif head[:1] == b"\x80":
        raise FormatError("the file has torch's format from before version 1.6 (a bare pickle), or is some other "
                          "pickle: load it in torch and save it again")
    else:
        raise FormatError(f"not a file of gemel.save, torch.save or safetensors: it begins with {head[:8]!r}"
                          if head else "the file is empty")
    return found if map_location is None else _moved(found, map_location)


def _moved(x: Any, where: Any) -> Any:
    """The tensors in ``x`` on a device, or on what ``where(tensor, "cpu")`` or ``where["cpu"]`` gives."""
    if isinstance(x, Tensor):
        if callable(where):
            moved = where(x, "cpu")
            return x if moved is None else moved
        if isinstance(where, dict):
            where = where.get("cpu", "cpu")
        return x.to(where)  # type: ignore[attr-defined]
    if isinstance(x, dict):
        for k, v in x.items():
            x[k] = _moved(v, where)
        return x
    if isinstance(x, list):
        x[:] = [_moved(v, where) for v in x]
        return x
    if type(x) is tuple:
        return tuple(_moved(v, where) for v in x)
    return x
