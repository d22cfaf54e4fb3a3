"""Python's collector of reference cycles: made to start less often, and asked when memory is scarce.

A training step records thousands of small objects and drops them all by reference counts. Python would start its
collector every 700 objects, and go through everything that the process holds every few steps, for nothing; measured
in ``docs/design/collector.md``.
"""
from __future__ import annotations

import gc

OBJECTS = 10_000  # that are made and not dropped before the youngest generation is looked at: more than a step leaves


def relax() -> None:
    """Raise Python's first threshold to ``OBJECTS``; one that is higher, or 0 (switched off), stays."""
    first, *others = gc.get_threshold()
    if 0 < first < OBJECTS:
        gc.set_threshold(OBJECTS, *others)


def collect(young: bool = False) -> None:
    """Free cycles that nobody reaches, with the tensors that they hold; ``young``: the latest ones only."""
    gc.collect(1 if young else 2)
