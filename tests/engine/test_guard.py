"""``GEMEL_GUARD=1``: what reads or writes out of bounds, after a free, or before a write is stopped or shows."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
KERNEL = """
import numpy as np
from gemel.engine.base import dtypes as dt
from gemel.engine.base.target import host
from gemel.engine.device.memory import allocate, as_numpy
from gemel.engine.loops.elementwise import load_element, store_element
from gemel.engine.loops.ir import KernelBuilder
from gemel.engine.loops.calls import Call, KernelSpec, Operand, Temp
from tests.execute import Plan

def kernel(name, target):
    k = KernelBuilder(name, target.native)
    source, result = k.arg(0), k.arg(1)
    k.loop(0, LOADS, body=lambda i: store_element(
        k, dt.float32, load_element(k, dt.float32, k.offset(source, i, "f32"), 1), k.offset(result, i, "f32")))
    return k.finish()

x, y = allocate(40), allocate(4 * STORES)  # ten numbers
as_numpy(x, np.dtype(np.float32), (10,))[...] = 1
"""
RUN = """
arrays = {"x": x, "y": y}
Plan([Call(KernelSpec("copy", ("copy", LOADS), kernel), [Operand("x"), Operand("y")], (), 1, 1, (1,))], arrays)()
print("over")
"""
SAFE = """
import gc
import gemel
x = gemel.arange(1000.0)
for _ in range(3):
    y = (((x * 2).cumsum(0) + 1).reshape(10, 100) @ x.reshape(100, 10)).sum(0).flip(0)
print(y.tolist())
"""

VIEWS_THAT_OUTLIVE_THEIR_BASE = """
import numpy as np
import gemel
MAKERS = {
    "repeat": (lambda a: a.repeat(1000, 1), lambda a: np.tile(a, (1000, 1))),
    "flip": (lambda a: a.flip(0), lambda a: a[::-1]),
    "expand": (lambda a: a.expand(500, 7).clone(), lambda a: np.tile(a, (500, 1))),
    "stack": (lambda a: gemel.stack([a] * 300), lambda a: np.tile(a, (300, 1))),
    "transpose": (lambda a: a.repeat(1000, 1).t().contiguous(), lambda a: np.tile(a, (1000, 1)).T),
}
for name, (ours, theirs) in MAKERS.items():
    x = ours(gemel.arange(7.0) * 2)
    x.tolist()      # in memory: seven numbers, seen several times
    x.add_(1)
    x.mul_(2)
    got = x.tolist()
    x.add_(1)
    want = (theirs(np.arange(7.0) * 2) + 1) * 2
    assert got == want.tolist() and x.tolist() == (want + 1).tolist(), name
print("over")
"""


def result(code: str, guard: bool = True, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "GEMEL_GUARD": str(int(guard)), **environment})


def copying(loads: int, stores: int) -> str:
    return f"LOADS, STORES = {loads}, {stores}\n{KERNEL}{RUN}"


def stopped(found: subprocess.CompletedProcess) -> bool:
    return found.returncode in (-signal.SIGSEGV, -signal.SIGBUS) and "over" not in found.stdout


@pytest.mark.parametrize("loads, stores", [(11, 16), (10, 9)], ids=["load", "store"])
def test_a_kernel_that_goes_one_element_too_far_is_stopped(loads: int, stores: int) -> None:
    assert stopped(result(copying(loads, stores)))


def test_a_kernel_that_stays_inside_is_not() -> None:
    found = result(copying(10, 10))
    assert found.returncode == 0 and found.stdout == "over\n", found.stderr


def test_memory_is_full_of_nan_at_first_and_gone_afterwards() -> None:
    code = """
import ctypes
import numpy as np
from gemel.engine.device import memory
b = memory.allocate(24)
assert np.isnan(memory.as_numpy(b, np.dtype(np.float64), (3,))).all()
before, where = memory.usage.live, b.ptr
del b
assert memory.usage.live < before
print("freed", flush=True)
ctypes.c_double.from_address(where).value
print("over")
"""
    found = result(code)
    assert "freed" in found.stdout and stopped(found), found.stderr


def test_the_log_names_each_kernel_before_it_runs() -> None:
    found = result("import gemel; print(gemel.arange(10.0).cumsum(0)[3].item())", GEMEL_TIER="0", GEMEL_LOG="plan")
    assert found.stdout == "6.0\n" and "step 0: " in found.stderr


@pytest.mark.parametrize("tier", ["0", "1"])
def test_results_are_the_same(tier: str) -> None:
    found = [result(SAFE, guard, GEMEL_TIER=tier) for guard in (False, True)]
    assert found[0].returncode == found[1].returncode == 0, found[1].stderr
    assert found[0].stdout == found[1].stdout and "nan" not in found[0].stdout


@pytest.mark.parametrize("tier", ["0", "1"])
def test_a_write_in_place_to_a_view_that_outlived_its_base(tier: str) -> None:
    """Its value has more elements than the memory that holds them."""
    found = result(VIEWS_THAT_OUTLIVE_THEIR_BASE, GEMEL_TIER=tier)
    assert found.returncode == 0 and found.stdout == "over\n", found.stderr


def test_more_blocks_than_a_process_may_map() -> None:
    found = result("""
from gemel.engine.device import guard, memory
guard.BLOCKS = 20
kept = [memory.allocate(8) for _ in range(30)]
assert sum(b.size_class < 0 for b in kept) == 20 and len({b.ptr for b in kept}) == 30
del kept
assert not guard._blocks and memory.allocate(100).size_class < 0
""")
    assert found.returncode == 0 and found.stderr.count("20 blocks lie between guard pages") == 1, found.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_forks_beside_threads_that_allocate() -> None:
    """The locks of the allocator and of its guarded blocks are taken in one order, by forks too."""
    found = result("""
import os, threading
from gemel.engine.device import memory
done = False

def work():
    while not done:
        memory.allocate(100)

threads = [threading.Thread(target=work) for _ in range(2)]
for t in threads:
    t.start()
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        memory.allocate(100)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done = True
for t in threads:
    t.join()
print("over")
""")
    assert found.returncode == 0 and found.stdout == "over\n", found.stderr
