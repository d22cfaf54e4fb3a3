"""Faults around the engine: broken caches, sudden ends, too little memory. Results stay right, or nothing changes."""
from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gemel
from gemel.engine.base.errors import OutOfMemoryError
from gemel.engine.base.flags import override
from gemel.engine.device import memory

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "import gemel; x = gemel.arange(3000.0); print(((x * 2 + 1).relu() - x).sum().item())"
ANSWER = 3000 + 2999 * 3000 / 2


def started(code=PROGRAM, **environment):
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "GEMEL_TIER": "1", **environment})


def answer(process):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return float(out)


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


def test_two_processes_share_a_cache(tmp_path):
    both = [started(GEMEL_CACHE=str(tmp_path)) for _ in range(2)]
    assert [answer(p) for p in both] == [ANSWER, ANSWER]


def test_the_garbage_collector_changes_nothing():
    def run():
        x = gemel.arange(1000.0)
        for _ in range(50):
            x = (x * 1.01).sin() + x
        return x.sum().item()
    want = run()
    gc.disable()
    try:
        assert run() == want
    finally:
        gc.enable()


def test_too_little_memory_leaves_every_tensor_as_it_was():
    x = gemel.ones(1000)
    x.sum().item()
    memory.release_cached()  # no block of an earlier test is left
    with override(MEMORY=1 << 20):
        big = x.reshape(1000, 1).expand(1000, 1000) * x.reshape(1, 1000).expand(1000, 1000) * 3.0
        with pytest.raises(OutOfMemoryError, match="Nothing was written"):
            big.numpy()
    assert x.sum().item() == 1000 and big.sum().item() == 3e6
