"""A few programs of both fuzzers in a process whose memory lies between guard pages, full of NaN at first."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("fuzzer", ["test_differential", "test_mutation"])
def test_programs(fuzzer: str) -> None:
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider",
         f"tests/programs/{fuzzer}.py", "-k", "test_programs"], cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "GEMEL_GUARD": "1", "GEMEL_FUZZ": "30", "GEMEL_FUZZ_START": "1000"})
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-3000:]
