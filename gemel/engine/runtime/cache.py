"""The disk cache of compiled kernels: object code by content, shared by processes.

One file per kernel. A file is a header with a checksum, then the object; it is written under a temporary name and
renamed, so a reader sees all of it or nothing. A corrupt file is removed and compiled again; a folder that cannot
be written is reported once and done without.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..base import log
from ..base.flags import code_key, flags

_MAGIC = b"gemel-kernel-1\n"
_TRIM_EVERY = 512  # files that a process stores between two looks at the size of the folder


@dataclass(slots=True)
class Counters:
    """What the cache did."""

    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    stored: int = 0


counters = Counters()


@functools.cache
def code_version() -> str:
    """A digest of the sources that decide generated code: a changed schedule never meets old objects."""
    digest = hashlib.sha256()
    engine = Path(__file__).parent.parent
    for room in ("base", "codegen", "device", "loops"):
        for path in sorted((engine / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder() -> Path | None:
    """Where objects are kept, or None when caching is off."""
    if flags.CACHE == "off":
        return None
    if flags.CACHE:
        return Path(flags.CACHE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "gemel"


def digest(key: str) -> str:
    """File name of a kernel: everything that decides its code."""
    from ..codegen.jit import llvm_version
    text = "\0".join((key, llvm_version(), code_version(), repr(code_key())))
    return hashlib.sha256(text.encode()).hexdigest()


def load(name: str) -> bytes | None:
    """The object stored under ``name``, if it is there and whole."""
    where = folder()
    if where is None:
        return None
    path = where / name[:2] / name
    try:
        data = path.read_bytes()
    except OSError:
        counters.misses += 1
        return None
    body = data[len(_MAGIC) + 32:]
    if data[:len(_MAGIC)] == _MAGIC and hashlib.sha256(body).digest() == data[len(_MAGIC):len(_MAGIC) + 32]:
        counters.hits += 1
        return body
    counters.corrupt += 1
    if log.on("cache"):
        log.say("cache", f"{path} is corrupt: it is removed and compiled again")
    try:
        path.unlink(missing_ok=True)  # another process may have removed it
    except OSError as error:
        _complain(f"cannot remove corrupt files of the kernel cache {where}: {error.strerror}")
    return None


def store(name: str, data: bytes) -> None:
    """Keep an object; failure to write is reported once."""
    where = folder()
    if where is None:
        return
    import tempfile
    try:
        place = where / name[:2]
        place.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(data).digest() + data)
            os.replace(temporary, place / name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        counters.stored += 1
        if counters.stored % _TRIM_EVERY == 1:
            trim()
    except OSError as error:
        _complain(f"cannot write to the kernel cache {where}: {error.strerror}; "
                  "kernels will be compiled in every process")


@functools.cache
def _complain(text: str) -> None:
    sys.stderr.write(f"gemel: {text}\n")


def trim(limit: int | None = None) -> int:
    """Remove the oldest files beyond ``GEMEL_CACHE_BYTES``; the bytes removed."""
    where = folder()
    limit = flags.CACHE_BYTES if limit is None else limit
    if where is None or not where.is_dir():
        return 0
    files = []
    for path in where.glob("??/*"):
        try:
            info = path.stat()
        except OSError:
            continue  # another process removed it
        files.append((info.st_mtime, info.st_size, path))
    total, removed = sum(size for _, size, _ in files), 0
    for _, size, path in sorted(files):
        if total - removed <= limit:
            break
        try:
            path.unlink(missing_ok=True)
            removed += size
        except OSError as error:
            _complain(f"cannot trim the kernel cache {where}: {error.strerror}")
    return removed
