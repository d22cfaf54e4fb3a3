"""Looking inside: tracebacks, programs, counters, prohibitions, NaN hunting, profiles, the doctor."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

import gemel
from gemel import debug
from gemel.engine.base.errors import CompileError, SyncError
from gemel.engine.base.flags import override

FAILING = """
import gemel
def mine():
    return gemel.ones(3) + gemel.ones(4)
try:
    raise ValueError("before")
except ValueError:
    mine()
"""


def run(code: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **env})


def test_a_traceback_ends_at_the_users_line():
    text = run(FAILING).stderr
    assert "in mine" in text and "ValueError: before" in text
    assert os.path.join("gemel", "tensor") not in text
    assert "The size of tensor a (3) must match the size of tensor b (4)" in text


def test_a_flag_shows_all_frames():
    assert os.path.join("gemel", "tensor") in run(FAILING, GEMEL_FULL_TRACEBACK="1").stderr


def test_the_exception_keeps_its_frames():
    with pytest.raises(RuntimeError) as caught:
        gemel.ones(3) + gemel.ones(4)
    assert any("arithmetic" in str(entry.path) or "elementwise" in str(entry.path) for entry in caught.traceback)


def test_program_of_pending_tensors():
    x = gemel.ones(2, 3) * 1
    text = str(debug.program(x + x))
    assert "add(" in text and "f32[2,3]" in text and text.count("return") == 1
    y = x + 1
    y.tolist()
    with pytest.raises(ValueError, match="computed already"):
        debug.program(y)


def test_counting():
    x = gemel.ones(5) * 1
    x.tolist()
    with debug.counting() as seen:
        (x + x).tolist()
    assert seen["syncs"] == 1 and seen["flushes"] == 1 and seen["calls"] == 1
    with debug.counting() as again:
        (x + x).tolist()
    assert again["plan_hits"] == 1 and again["plan_misses"] == 0 and again["compiles"] == 0


def test_forbid_sync():
    x = gemel.ones(3) + 1
    with debug.forbid_sync():
        y = x * 2
        with pytest.raises(SyncError, match="forbid_sync"):
            y.item() if y.numel() == 1 else y.tolist()
    assert y.tolist() == [4.0] * 3


def test_forbid_compile(tmp_path):
    from gemel.engine.runtime import executor, kernels
    with override(CACHE=str(tmp_path), TIER="0"):
        kernels.forget()
        executor.clear_plans()
        x = gemel.ones(7)
        with debug.forbid_compile(), pytest.raises(CompileError, match="forbid_compile"):
            (x * x).tolist()
        assert (x * x).tolist() == [1.0] * 7


HUNT = """
import gemel
with gemel.debug.hunt_nan():
    x = gemel.tensor([1.0, 2.0])
    z = gemel.log(x) + gemel.log(x + 1)  # an equal operation: without NaN, and scheduled once with the next one
    y = gemel.log(x - 2)
    print((y * 2 + z).tolist())
"""


def test_nan_hunting_names_the_operation_and_the_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(HUNT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert "FloatingPointError" in done.stderr and "log" in done.stderr and "script.py:6" in done.stderr
    assert done.stdout == ""


def test_nan_hunting_lets_given_nans_pass():
    with debug.hunt_nan():
        assert str((gemel.tensor([float("nan"), 1.0]) * 2).tolist()) == "[nan, 2.0]"


def test_profile():
    x = gemel.ones(64, 64)
    x.tolist()
    with debug.profile() as p:
        (x + x).tolist()
    assert len(p.rows) == 1 and p.rows[0].calls == 1 and p.rows[0].nbytes >= 2 * 64 * 64 * 4
    assert "GB/s" in str(p)


def test_every_log_topic_prints():
    code = "import gemel; x = gemel.ones(4, 4); print((gemel.exp(x).sum(0) + 1).tolist())"
    text = run(code, GEMEL_LOG="trace,fuse,plan,sync,passes", GEMEL_TIER="1").stderr
    for topic in ("trace", "plan", "sync", "passes"):
        assert f"[gemel {topic} " in text, topic


def test_an_invalid_flag_is_named():
    done = run("import gemel", GEMEL_THREADS="many")
    assert done.returncode != 0 and "GEMEL_THREADS='many' is not valid" in done.stderr


def test_doctor():
    done = subprocess.run([sys.executable, "-m", "gemel.cli.main", "doctor"], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("CPU", "code path", "threads", "memory", "kernel cache", "compiler", "a kernel"):
        assert word in done.stdout


def test_doctor_says_what_is_wrong():
    done = subprocess.run([sys.executable, "-m", "gemel.cli.main", "doctor"], capture_output=True, text=True,
                          timeout=120,
                          env={**os.environ, "GEMEL_CACHE": "/proc/no/such/place"})
    assert done.returncode == 1 and "BAD kernel cache" in done.stdout and "GEMEL_CACHE" in done.stdout


def test_import_probes_nothing():
    """Neither libraries nor what makes plans and processes is imported before it is needed."""
    late = ("llvmlite", "torch", "jax", "rich", "subprocess", "tempfile", "gemel.engine.loops.lower")
    assert run(f"import sys, gemel; print([m for m in {late} if m in sys.modules])").stdout.strip() == "[]"
