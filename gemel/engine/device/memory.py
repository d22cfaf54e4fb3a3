"""Device memory: buffers, the caching allocator, the budget.

A :class:`Buffer` is a block of memory that returns to its size class when the last reference goes. Blocks stay
mapped for reuse (fresh pages cost more than most kernels) and large ones ask for huge pages. A large block may serve
a request of up to a fifth less; where a new one has to be mapped, unused ones of other sizes are given back to the
system first, as far as more is held than was lately in use at one time: a program whose sizes change does not hold the
sum of all it ever needed, one that does the same again and again maps nothing new. Memory that others can
see (NumPy arrays, mapped files) is wrapped as a *foreign* buffer: never reused, never donated.

With ``GEMEL_GUARD`` nothing is reused: every block lies between guard pages (see ``guard``).
"""
from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base import log
from ..base.collector import collect
from ..base.errors import OutOfMemoryError
from ..base.flags import flags
from ..base.forks import fork_lock
from . import guard, stream

ALIGNMENT = 64
_SLAB = 1 << 20
_PAGE = mmap.PAGESIZE
_HUGE = 2 << 20
_OFTEN = 256 << 20  # bytes up to which growing memory does not ask Python's collector
_FADING = 8  # such a part of what is no longer live is no longer expected when a block is mapped
_SLACK = 64 << 20  # bytes of unused large blocks that are kept at least, however little is in use


class Buffer:
    """``nbytes`` of memory at ``ptr``.

    Attributes:
        foreign: memory that someone else owns: never donated; a write to its tensor is written through.
        size_class: bytes reserved; negative: a block between guard pages; 0: not ours.
        owner: what keeps foreign memory alive.
        exports: NumPy arrays (or other views) of this memory that are alive; while there are any, it counts
            as foreign.
    """

    __slots__ = ("ptr", "nbytes", "size_class", "owner", "foreign", "exports", "__weakref__")
    ptr: int
    nbytes: int
    size_class: int
    owner: Any
    foreign: bool
    exports: int

    def __repr__(self) -> str:
        return f"<Buffer {self.nbytes} bytes{' foreign' if self.foreign else ''}>"

    def __del__(self) -> None:
        try:
            size = self.size_class
        except AttributeError:  # an interrupt came while it was made
            return
        if size != 0 and _free is not None:  # None while the interpreter shuts down
            _give_back(self)


@functools.lru_cache(4096)
def _class_of(nbytes: int) -> int:
    """Bytes actually reserved: multiples of 64 up to 4 KiB, then four steps a doubling."""
    if nbytes <= 4096:
        return max(ALIGNMENT, -(-nbytes // ALIGNMENT) * ALIGNMENT)
    step = 1 << (nbytes.bit_length() - 3)
    return -(-nbytes // step) * step


class _Free(dict):
    """size class -> addresses of free blocks."""

    def __missing__(self, size: int) -> list[int]:
        self[size] = found = []
        return found


_free: _Free = _Free()
_mapped: dict[int, mmap.mmap] = {}  # address of a large block -> its mapping
_slabs: list[mmap.mmap] = []
_lock = fork_lock("memory", threading.Lock())


@dataclass(slots=True)
class Usage:
    """Byte counts of the process's device memory."""

    live: int = 0       # bytes in buffers that someone holds
    crest: int = 0      # highest value of `live` since the last large block was mapped
    highest: int = 0    # before that
    expected: int = 0   # how much may well be live again: crests, fading with each block that is mapped
    collected: int = 0  # `live` after Python's collector was asked last
    reserved: int = 0   # bytes mapped from the system

    @property
    def peak(self) -> int:
        """The highest value of ``live``."""
        return max(self.highest, self.crest)


usage = Usage()  # an object: a class that changes costs every look at it


def _address(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


#: a forked child gets a copy: mapped memory is shared unless one says otherwise
_PRIVATE: dict[str, int] = ({"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {})


def _reserve(nbytes: int) -> None:
    """Check the budget before ``nbytes`` are mapped."""
    limit = budget()
    if usage.reserved + nbytes > limit:
        release_cached()
        if usage.reserved + nbytes > limit:
            raise OutOfMemoryError(
                f"out of memory: {nbytes / 2**20:.1f} MiB asked for, {usage.live / 2**20:.1f} MiB in use of a "
                f"budget of {limit / 2**20:.1f} MiB (GEMEL_MEMORY or the cgroup's limit). Nothing was written.")


def _refused(nbytes: int, error: Exception) -> OutOfMemoryError:
    return OutOfMemoryError(f"out of memory: the system refused {nbytes / 2**20:.1f} MiB ({error}); "
                            f"{usage.live / 2**20:.1f} MiB in use. Nothing was written.")


def _map(nbytes: int) -> tuple[mmap.mmap, int]:
    _reserve(nbytes)
    try:
        mapping = mmap.mmap(-1, nbytes, **_PRIVATE)
    except (OSError, OverflowError, ValueError) as error:
        raise _refused(nbytes, error) from None
    if nbytes >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            mapping.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            if log.on("memory"):
                log.say("memory", "the kernel has no huge pages; large tensors use small ones")
    usage.reserved += nbytes
    return mapping, _address(mapping)


def allocate(nbytes: int) -> Buffer:
    """A buffer of at least ``nbytes``, aligned to 64 bytes, its contents arbitrary.

    Raises:
        OutOfMemoryError: the budget (``GEMEL_MEMORY``, else what the cgroup allows) would be exceeded.
    """
    size = _class_of(nbytes)
    b = Buffer.__new__(Buffer)
    b.size_class = 0  # until it owns memory, so that __del__ is harmless
    b.nbytes, b.owner, b.foreign, b.exports = nbytes, None, False, 0
    try:
        b.ptr = _free[size].pop()
    except IndexError:
        if flags.GUARD and guard.room():
            return _guarded(b)
        b.ptr, size = _larger(size) or _fresh(size)
    b.size_class = size
    usage.live += size
    if usage.live > usage.crest:
        usage.crest = usage.live
    return b


def _larger(size: int) -> tuple[int, int] | None:
    """A free large block of a little more than ``size`` bytes: address and size class."""
    if size < _SLAB // 4:
        return None
    for found in sorted(n for n in list(_free) if size < n <= size + size // 4):
        try:
            return _free[found].pop(), found
        except IndexError:
            continue
    return None


def _fresh(size: int) -> tuple[int, int]:
    """A block that was not in use: address and size class. Cycles that nobody reaches may hold what is missing."""
    usage.collected = min(usage.collected, usage.live)
    if usage.live + size > max(2 * usage.collected, _OFTEN):
        collect(young=True)
        usage.collected = usage.live
        if found := _returned(size):
            return found
    try:
        return _carve(size), size
    except OutOfMemoryError:
        collect()
        return _returned(size) or (_carve(size), size)


def _returned(size: int) -> tuple[int, int] | None:
    """A block that came free while the collector ran: address and size class."""
    try:
        return _free[size].pop(), size
    except IndexError:
        return _larger(size)


def _make_room(nbytes: int) -> None:
    """Unmap unused large blocks, the largest first, beyond what is expected to be live and a sixteenth of all."""
    usage.highest = usage.peak
    usage.expected = max(usage.crest, usage.expected - (usage.expected - usage.live) // _FADING)
    usage.crest = usage.live
    spare = usage.reserved + nbytes - usage.expected - max(_SLACK, usage.reserved // 16)
    if spare > 0:
        release_cached(min(spare, nbytes))


def _carve(size: int) -> int:
    with _lock:
        if size >= _SLAB // 4:
            _make_room(size)
            mapping, ptr = _map(-(-size // _PAGE) * _PAGE)
            _mapped[ptr] = mapping
            return ptr
        mapping, ptr = _map(_SLAB)
        _slabs.append(mapping)
        _free[size].extend(range(ptr + size, ptr + _SLAB - size + 1, size))
        return ptr


def _guarded(b: Buffer) -> Buffer:
    """Give ``b`` a block between guard pages."""
    pages = guard.mapped_bytes(b.nbytes)
    with _lock:
        _reserve(pages)
        try:
            b.ptr = guard.take(b.nbytes)
        except OSError as error:
            raise _refused(pages, error) from None
        b.size_class = -pages
        usage.reserved += pages
        usage.live += pages
        usage.crest = max(usage.crest, usage.live)
    return b


def _give_back(b: Buffer) -> None:
    size = b.size_class
    if size < 0:
        if b.ptr in stream.bases:
            stream.wait()
        guard.give(b.ptr)
        usage.reserved += size
        usage.live += size
        return
    usage.live -= size
    _free[size].append(b.ptr)


def foreign(ptr: int, nbytes: int, owner: Any) -> Buffer:
    """Wrap memory that ``owner`` keeps alive."""
    b = Buffer.__new__(Buffer)
    b.size_class, b.ptr, b.nbytes, b.owner, b.foreign, b.exports = 0, ptr, nbytes, owner, True, 0
    return b


def release_cached(enough: int = sys.maxsize) -> int:
    """Unmap large blocks that nobody uses, until ``enough`` bytes are given back to the system; how many were."""
    if stream.bases:
        stream.wait()  # it may use blocks that nobody holds any more
    freed = 0
    for size in sorted(_free, reverse=True):
        blocks = _free[size]
        keep = []
        while freed < enough:
            try:
                ptr = blocks.pop()
            except IndexError:  # asking first would not do: other threads take blocks, too
                break
            found = _mapped.pop(ptr, None)
            if found is None:
                keep.append(ptr)
                continue
            usage.reserved -= len(found)
            freed += len(found)  # the last reference goes here: the system takes the pages back
        blocks.extend(keep)
    return freed


class _Exported(ctypes.c_ubyte * (1 << 60)):
    """Memory of a buffer as NumPy sees it; the array keeps this object, and so the buffer, alive.

    ctypes makes such an object, which NumPy takes as it is, in half of the time of an ``__array_interface__``. Its size
    says nothing: the array has its own.
    """

    __slots__ = ("buffer",)

    def __del__(self) -> None:
        try:
            self.buffer.exports -= 1
        except AttributeError:  # an interrupt came while it was made
            return


def as_numpy(b: Buffer, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...] | None = None,
             offset: int = 0) -> np.ndarray:
    """A writable array over the buffer's memory that keeps it alive; ``strides`` and ``offset`` in elements.

    A plan in flight that uses this memory lands first.
    """
    ptr = b.ptr
    seen: Any = _Exported.from_address(ptr)
    b.exports += 1
    seen.buffer = b
    if ptr in stream.bases:
        stream.wait()
    if strides is None and not offset or 0 in shape:  # (where an empty view begins may lie outside)
        return np.ndarray(shape, dtype, seen)
    size = dtype.itemsize
    return np.ndarray(shape, dtype, seen, offset * size, None if strides is None else [s * size for s in strides])


def _cgroup_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return sys.maxsize


_limit: int | None = None


def budget() -> int:
    """Bytes that may be mapped: ``GEMEL_MEMORY``, else the cgroup's limit, else the machine's memory."""
    global _limit
    if flags.MEMORY:
        return flags.MEMORY
    if _limit is None:
        _limit = min(_cgroup_limit() or sys.maxsize, _machine_memory())
    return _limit
