"""Small programs in processes of their own: those that are killed, interrupted, forked or short of something."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HANG = 120.0  # seconds after which a program hangs, however busy the machine is


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
