"""What a run of a plan gives, and what is counted over all runs."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..device.memory import Buffer

Results = list[tuple[Buffer, Any]]  # buffer and form of each output
Commit = Callable[[Results], None]


@dataclass(slots=True)
class Counters:
    """What plans did.

    Attributes:
        profile: kernel name and label -> [calls, seconds, flops, bytes] while a profile is being taken, else None.
    """

    calls: int = 0
    host_steps: int = 0
    nbytes: int = 0
    launches: int = 0
    profile: dict[tuple[str, str], list] | None = None


counters = Counters()  # an object: a class that changes costs every look at it
