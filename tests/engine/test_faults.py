"""Faults around the engine: broken caches, sudden ends, too little memory. Results stay right, or nothing changes."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gemel
from gemel.engine.base.errors import OutOfMemoryError
from gemel.engine.base.flags import override
from gemel.engine.device import memory

from .programs import HANG, ROOT, ended, outcome, start

PROGRAM = "import gemel; x = gemel.arange(3000.0); print(((x * 2 + 1).relu() - x).sum().item())"
ANSWER = 3000 + 2999 * 3000 / 2


def started(code=PROGRAM, **environment):
    return start(code, **{"GEMEL_TIER": "1", **environment})


def answer(process):
    found = ended(process)
    assert found.returncode == 0, found.stderr
    return float(found.stdout)


def test_damaged_files_in_the_cache_are_made_again(tmp_path):
    assert answer(started(GEMEL_CACHE=str(tmp_path))) == ANSWER
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    for n, path in enumerate(files):
        path.write_bytes(b"" if n % 2 else path.read_bytes()[:40] + b"damaged")
    assert answer(started(GEMEL_CACHE=str(tmp_path))) == ANSWER


def test_a_cache_that_can_not_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert answer(started(GEMEL_CACHE=str(blocked / "below"))) == ANSWER


#: how a folder fails: what a program does before it computes, and what it then says
FULL = """
import errno, os, tempfile
from gemel.engine.runtime import cache

def fail(*arguments, **options):
    raise OSError(errno.{}, os.strerror(errno.{}))
"""
UNREADABLE = """
read = cache.Path.read_bytes
cache.Path.read_bytes = lambda path: fail() if path.is_relative_to(os.environ["GEMEL_CACHE"]) else read(path)
os.replace = fail
"""
FAULTS = {
    "read-only": (FULL.format("EROFS", "EROFS") + "tempfile.mkstemp = fail", "Read-only file system"),
    "forbidden": (FULL.format("EACCES", "EACCES") + "cache.Path.mkdir = fail", "Permission denied"),
    "full": (FULL.format("ENOSPC", "ENOSPC") + "os.fdopen = fail", "No space left on device"),
    "quota": (FULL.format("EDQUOT", "EDQUOT") + "os.replace = fail", "Disk quota exceeded"),
    "unreadable": (FULL.format("EIO", "EIO") + UNREADABLE, "Input/output error"),
    "large files": ("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))", "File too large"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX errors and limits")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_that_fails(fault, tmp_path):
    """Results are right, the reason is said once, nothing stays behind; the next process starts again."""
    before, said = FAULTS[fault]
    found = outcome(f"{before}\n{PROGRAM}; print((x.cumsum(0) / 2).flip(0)[0].item())", GEMEL_TIER="1",
                    GEMEL_CACHE=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert [float(line) for line in found.stdout.split()] == [ANSWER, 2999 * 3000 / 4]
    assert found.stderr.count(said) == 1 and str(tmp_path) in found.stderr
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    assert answer(started(GEMEL_CACHE=str(tmp_path))) == ANSWER


def test_a_disk_that_is_full(tmp_path):
    """A file system of 64 KiB, in a name space of its own."""
    everything = tmp_path / "all"
    mount = f'mount -t tmpfs -o size=64k none "{tmp_path}" && dd if=/dev/zero of="{everything}" 2>/dev/null; exec "$@"'
    command = ["unshare", "--mount", "--map-root-user", "--user", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*command, "test", "-f", everything]).returncode:
        pytest.skip("this system gives us no file system of our own")
    found = subprocess.run([*command, sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True,
                           timeout=HANG, env={**os.environ, "GEMEL_TIER": "1", "GEMEL_CACHE": str(tmp_path)})
    assert found.returncode == 0 and float(found.stdout) == ANSWER, found.stderr
    assert found.stderr.count("No space left on device") == 1


def test_two_processes_share_a_cache(tmp_path):
    both = [started(GEMEL_CACHE=str(tmp_path)) for _ in range(2)]
    assert [answer(p) for p in both] == [ANSWER, ANSWER]


def test_too_little_memory_leaves_every_tensor_as_it_was():
    x = gemel.ones(1000)
    x.sum().item()
    memory.release_cached()  # no block of an earlier test is left
    with override(MEMORY=1 << 20):
        big = x.reshape(1000, 1).expand(1000, 1000) * x.reshape(1, 1000).expand(1000, 1000) * 3.0
        with pytest.raises(OutOfMemoryError, match="Nothing was written"):
            big.numpy()
    assert x.sum().item() == 1000 and big.sum().item() == 3e6


@pytest.mark.parametrize("tier", ["0", "1", "interpreter"])
def test_a_flush_that_finds_too_little_memory_loses_nothing(tier):
    """Neither what it would have computed nor what was to be written in place, with and without a copy of it."""
    with override(TIER=tier):
        x, cache = gemel.arange(1000.0), gemel.zeros(100, 10)
        (x.sum() + cache.sum()).item()
        memory.release_cached()
        with override(MEMORY=1 << 20):
            x.mul_(2)
            cache[3] = x[:10]
            cache[4:6].add_(1)
            big = (x.reshape(1000, 1) + x.reshape(1, 1000)).cumsum(0)
            other = x.sum()
            for _ in range(2):
                with pytest.raises(OutOfMemoryError, match="Nothing was written"):
                    big.numpy()
        want = np.arange(0, 2000, 2.0)
        meant = np.zeros((100, 10))
        meant[3], meant[4:6] = want[:10], 1
        assert x.tolist() == want.tolist() and other.item() == want.sum() and cache.tolist() == meant.tolist()
        np.testing.assert_allclose(big.numpy(), (want[:, None] + want).cumsum(0), rtol=1e-6)
