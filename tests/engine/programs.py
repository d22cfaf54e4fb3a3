"""Small programs in processes of their own: those that are killed, interrupted, forked or short of something."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HANG = 300.0  # seconds after which a program hangs, however busy the machine is


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    """A program that has begun."""
    return subprocess.Popen([sys.executable, "-X", "faulthandler", "-c", code], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """How a program has ended; one that hangs is killed, and shows where each thread was."""
    try:
        out, errors = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            process.send_signal(6)  # faulthandler prints the threads
        else:
            process.kill()
        out, errors = process.communicate()
        raise AssertionError(f"the program hangs; it wrote {out!r}\n{errors}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def outcome(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return ended(start(code, **environment))


def check(code: str, expected: str = "over\n", **environment: str) -> str:
    """A program that is to end well and to write ``expected``; what it says on stderr."""
    found = outcome(code, **environment)
    assert found.returncode == 0 and found.stdout == expected, f"status {found.returncode}, {found.stdout}\n" \
                                                              f"{found.stderr}"
    return found.stderr


#: begins programs that are interrupted: ``endless(x)`` runs until it is stopped, ``ringing(x)`` calls ``bell`` once and
#: gives x; ``while_running(action)`` lets a thread act when a plan has run for a while
PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import gemel
from gemel.engine.base import dtypes as dt
from gemel.engine.device.pool import run_lock
from gemel.engine.ir.custom import CustomOp, register_custom
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.types import tensor_type
from gemel.engine.runtime import executor, native_plan, service
from gemel.tensor.core import apply
from tests.plans import program

_STATE = [tensor_type(dt.int64), tensor_type(dt.float32, (3,))]
_FOR_EVER = program(_STATE, lambda b, i, x: b.lt(i, b.const(1 << 62, dt.int64)))
_NEXT = program(_STATE, lambda b, i, x: (b.add(i, b.const(1, dt.int64)), b.add(x, x)))

def endless(x):
    return apply(op(ROWS["while"], _FOR_EVER, _NEXT, 0), gemel.tensor(0), x)[1]

bell = []

def _ring(arguments, arrays):
    while bell:
        bell.pop()()
    return [arrays[0] * 1]

register_custom(CustomOp("tests::ringing", lambda arguments, types: types, _ring))

def ringing(x):
    return apply(op(ROWS["custom"], "tests::ringing", ()), x)[0]

def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)

def while_running(action):
    def watch():
        while run_lock.acquire(blocking=False):
            run_lock.release()
            time.sleep(0.01)
        time.sleep(0.2)
        action()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

def stored(*values):
    x = gemel.tensor(values) * 1
    x.sum().item()
    return x

def interrupted(action):
    try:
        action()
    except KeyboardInterrupt:
        return
    raise AssertionError("no interrupt")
"""
