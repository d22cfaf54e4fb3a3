"""Random view/mutate/read programs against torch.

300 programs by default; ``GEMEL_FUZZ=10000`` runs so many; ``GEMEL_FUZZ_START`` is the first seed. A failure prints the
shortest program that fails.
"""
from __future__ import annotations

import os

import pytest

from gemel.engine.base.flags import override

from . import mutation

PROGRAMS = int(os.environ.get("GEMEL_FUZZ", 0)) or 300
START = int(os.environ.get("GEMEL_FUZZ_START", "0"))
GROUP = 25


def check(seed: int) -> None:
    """One program in the tier that its number chooses."""
    with override(TIER=("0", "interpreter", "auto", "1")[seed % 4]):
        steps = mutation.generate(seed, 30)
        failure = mutation.outcome(steps)
        if failure is None:
            return
        small = mutation.minimize(steps)
        listing = "\n".join(str(s) for s in small)
        try:
            mutation.run(small)
        except Exception as error:
            raise AssertionError(f"program {seed}: {error}\n{listing}") from error
    listing = "\n".join(map(str, steps))
    raise AssertionError(f"program {seed} fails, but not when it is run again: {failure}\n{listing}")


@pytest.mark.parametrize("first", range(START, START + PROGRAMS, GROUP))
def test_programs(first: int) -> None:
    for seed in range(first, min(first + GROUP, START + PROGRAMS)):
        check(seed)
