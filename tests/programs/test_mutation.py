"""Random view/mutate/read programs against torch.

300 programs by default; ``GEMEL_FUZZ=10000`` runs so many; ``GEMEL_FUZZ_START`` is the first seed. Failures print the
shortest programs that fail.
"""
from __future__ import annotations

import os

import pytest

from gemel.engine.base.flags import override
from gemel.engine.runtime import native_plan

from . import mutation

PROGRAMS = int(os.environ.get("GEMEL_FUZZ", 0)) or 300
START = int(os.environ.get("GEMEL_FUZZ_START", "0"))
GROUP = 25


def check(seed: int) -> str:
    """How one program fails, in the tier that its number chooses; empty if it does not."""
    with override(TIER=("0", "interpreter", "auto", "1")[seed % 4]):
        steps = mutation.generate(seed, 30)
        failure = mutation.outcome(steps)
        if failure is None:
            return ""
        small = mutation.minimize(steps)
        again = mutation.outcome(small)
    if again is None:
        return f"program {seed} fails, but not when it is run again: {failure}\n" + "\n".join(map(str, steps))
    return f"program {seed}: {again}\n" + "\n".join(map(str, small))


@pytest.fixture(autouse=True)
def small_plans_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is so small would not be worth a launch."""
    monkeypatch.setattr(native_plan, "WORTH_LAUNCHING", 0)


@pytest.mark.parametrize("first", range(START, START + PROGRAMS, GROUP))
def test_programs(first: int) -> None:
    found = [check(seed) for seed in range(first, min(first + GROUP, START + PROGRAMS))]
    assert not any(found), "\n\n".join(filter(None, found))
