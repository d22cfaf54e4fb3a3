"""The end of the program, whatever runs at that moment: its exit status, no crash, nobody left behind."""
from __future__ import annotations

import os
import signal
import time

import pytest

from .programs import HANG, PRELUDE, check, ended, outcome, start

TIERS = ("0", "1", "interpreter")

DAEMON = PRELUDE + """
y = endless(gemel.ones(3) * 1)
begun = threading.Event()
while_running(begun.set)
threading.Thread(target=y.numpy, daemon=True).start()
begun.wait()
print("over")
"""

SHORT_PLANS = PRELUDE + """
x = gemel.arange(20000.0)
done = []

def work():
    while True:
        done.append((x * 2).cumsum(0).sum().item())

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while len(done) < 30:
    time.sleep(0.001)
print("over")
"""

ORDINARY_THREAD = PRELUDE + """
x = gemel.arange(50000.0)
want = (x * 2).cumsum(0)[-1].item()

def work():
    started.set()
    found = {(x * 2).cumsum(0)[-1].item() for _ in range(10)}
    print(found == {want}, flush=True)

started = threading.Event()
threading.Thread(target=work).start()
started.wait()
"""

COMPILING = PRELUDE + """
x = stored(*[float(n) for n in range(30)])
busy = threading.Event()
compile_one = service.Helper.compile

def begin(self, *arguments):
    busy.set()
    return compile_one(self, *arguments)

service.Helper.compile = begin
for n in range(3):
    (((x * 2).exp().cumsum(0) + n).sin().flip(0) @ x.reshape(30, 1)).log().item()
busy.wait()
print(*[h.process.pid for h in service._started], flush=True)
"""

AT_EXIT = """
import atexit
x = None

def late():
    print((x * 2).sum().item())

atexit.register(late)
import gemel
x = gemel.arange(5.0)
(x + 1).sum().item()
"""


def gone(pid: int) -> bool:
    """Does the process end before long?"""
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":  # nobody has asked for its status
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("program", [DAEMON, SHORT_PLANS], ids=["endless", "short"])
def test_while_daemon_threads_run_plans(program: str, tier: str) -> None:
    assert check(program, GEMEL_TIER=tier) == ""


@pytest.mark.parametrize("tier", TIERS)
def test_while_an_ordinary_thread_computes(tier: str) -> None:
    """The program waits for it."""
    check(ORDINARY_THREAD, "True\n", GEMEL_TIER=tier)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("tier", ["auto", "1"])
def test_while_helpers_compile(tier: str) -> None:
    found = outcome(COMPILING, GEMEL_TIER=tier, GEMEL_CACHE="off")
    assert found.returncode == 0 and found.stderr == "", found.stderr
    helpers = [int(pid) for pid in found.stdout.split()]
    assert helpers and all(map(gone, helpers))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_the_program_and_its_helpers(how: signal.Signals) -> None:
    program = start(COMPILING + "endless(gemel.ones(3) * 1).numpy()", GEMEL_TIER="1", GEMEL_CACHE="off")
    assert program.stdout is not None
    helpers = [int(pid) for pid in program.stdout.readline().split()]
    program.send_signal(how)
    found = ended(program)
    assert found.returncode == -how, found.stderr
    assert helpers and all(map(gone, helpers))


def test_an_exit_status_is_kept() -> None:
    assert outcome(DAEMON + "sys.exit(3)").returncode == 3
    assert outcome(DAEMON + "raise ValueError").returncode == 1


@pytest.mark.parametrize("tier", [*TIERS, "auto"])
def test_what_runs_at_the_very_end_can_compute(tier: str) -> None:
    check(AT_EXIT, "20.0\n", GEMEL_TIER=tier)
