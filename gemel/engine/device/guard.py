"""Blocks between guard pages: what ``GEMEL_GUARD=1`` allocates instead of cached memory.

A block ends where a page begins that nobody may touch, so a kernel that reads or writes one byte too far is stopped
by the processor at that instruction (run with ``-X faulthandler`` to see where). A fresh block is full of 0xFF bytes:
NaN as a float, -1 as an integer, so that a value that nobody wrote shows in the result. A freed block stays mapped
without rights until ``QUARANTINE`` more have been freed: a use after free is stopped too.

A process may have so many mappings only: when ``BLOCKS`` blocks are alive, further ones are ordinary memory, which is
said once. Blocks of up to ``EXACT`` bytes end exactly at the guard page, whatever alignment that gives; larger ones
keep the alignment of 64 that stores past the cache need.
"""
from __future__ import annotations

import ctypes
import functools
import mmap
import sys
import threading
from collections import deque
from typing import Any

from ..base.errors import UnsupportedError
from ..base.forks import fork_lock

EXACT = 1 << 18
QUARANTINE = 512
BLOCKS = 16_000  # two mappings each; Linux allows 65,530 a process
_PAGE = mmap.PAGESIZE
_NOTHING, _READ_WRITE = 0, 3  # rights of pages
_FAILED = ctypes.c_void_p(-1).value

_blocks: dict[int, tuple[int, int]] = {}   # address -> (first byte, bytes) of its mapping, guard pages included
_freed: deque[tuple[int, int]] = deque()
#: freeing may interrupt freeing: a finalizer runs wherever Python allocates
_lock = fork_lock("guard", threading.RLock())


@functools.cache
def _system() -> Any:
    """The C library, with the calls that are used here."""
    c = ctypes.CDLL(None, use_errno=True)
    if not hasattr(c, "mprotect"):
        raise UnsupportedError("GEMEL_GUARD needs a system with mmap and mprotect (Linux, macOS)")
    c.mmap.restype = ctypes.c_void_p
    c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    c.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    c.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    c.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return c


def room() -> bool:
    """May another block be taken?"""
    if len(_blocks) < BLOCKS:
        return True
    _say_full()
    return False


@functools.cache
def _say_full() -> None:
    sys.stderr.write(f"gemel: {BLOCKS} blocks lie between guard pages; further ones do not, as long as these live\n")


def mapped_bytes(nbytes: int) -> int:
    """Bytes of the pages that a block of ``nbytes`` takes, guard pages not counted."""
    return max(_PAGE, -(-nbytes // _PAGE) * _PAGE)


def take(nbytes: int) -> int:
    """Address of a new block.

    Raises:
        OSError: the system refuses the mapping (on Linux often its limit of mappings a process).
    """
    c = _system()
    pages = mapped_bytes(nbytes)
    total = pages + 2 * _PAGE
    first = c.mmap(None, total, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if first == _FAILED:
        raise OSError(ctypes.get_errno(), f"mmap of {total} bytes between guard pages")
    end = first + _PAGE + pages
    if c.mprotect(first, _PAGE, _NOTHING) or c.mprotect(end, _PAGE, _NOTHING):
        error = ctypes.get_errno()
        c.munmap(first, total)
        raise OSError(error, "mprotect of a guard page")
    ctypes.memset(first + _PAGE, 0xFF, pages)
    ptr = end - (nbytes if nbytes <= EXACT else -(-nbytes // 64) * 64)
    with _lock:
        _blocks[ptr] = first, total
    return ptr


def give(ptr: int) -> None:
    """Take all rights from a block; the pages go back to the system now, the addresses somewhat later."""
    c = _system()
    with _lock:
        first, total = _blocks.pop(ptr)
        c.mprotect(first, total, _NOTHING)
        c.madvise(first, total, mmap.MADV_DONTNEED)
        _freed.append((first, total))
        while len(_freed) > QUARANTINE:
            c.munmap(*_freed.popleft())


def poison(ptr: int, nbytes: int) -> None:
    """Fill memory with 0xFF bytes again."""
    ctypes.memset(ptr, 0xFF, nbytes)
