"""Where a long trace is cut: only at repeatable marks, so that repeated segments share one plan.

A loop that is never observed records without end. When a trace has grown large (in results, or in the bytes of
memory that it keeps alive), the recorder looks for the loop: the distance at which the latest operations repeat.
From then on the thread's traces are cut after a whole number of periods, each cut at the same place of the loop,
so every segment but the first and the last is the same program. Other marks are the end of a backward pass and
the end of a module's call. A raw number of operations is never a reason to cut.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failures import results_of

LIMIT = 4096      # results after which the recorder first looks for a period


def period(code: Sequence[Any]) -> int:
    """Number of results of one period of the loop that the trace consists of; 0 if none is seen.

    The period must explain the last three quarters of the operations, at least twice: a short repetition inside a
    longer loop is no period. Found with the failure function of Knuth, Morris and Pratt, in linear time.
    """
    ops = [x for x in code if x.__class__ is not int]
    ops = ops[len(ops) // 4:]
    ops.reverse()
    failure = [0] * (len(ops) + 1)
    k = 0
    for i in range(1, len(ops)):
        x = ops[i]
        while k and x is not ops[k]:
            k = failure[k]
        if x is ops[k]:
            k += 1
        failure[i + 1] = k
    distance = len(ops) - failure[len(ops)]
    if not ops or distance * 2 > len(ops):
        return 0
    return sum(results_of(op) for op in ops[:distance])


class Cutter:
    """Decides for one thread when its trace is cut.

    Attributes:
        at: the number of results at which ``due`` wants to be asked again.
        segment: results of a segment once a loop is known, else 0.
    """

    __slots__ = ("at", "segment", "last", "misses")

    def __init__(self) -> None:
        self.at, self.segment = LIMIT, 0
        self.last: Any = None
        self.misses = 0

    def due(self, code: list[Any], n_results: int, heavy: bool) -> bool:
        """Is the trace to be cut here? Called when it has reached ``at`` results, or pins much memory."""
        if self.segment and n_results >= self.segment:
            self._compare(code)
            if self.segment:
                return True
        found = period(code)
        if found:
            goal = 1 if heavy else max(1, LIMIT // found)
            self.segment, self.last, self.misses = found * goal, None, 0
            self.at = self.segment
            return True
        self.at = max(LIMIT, 2 * n_results)
        return False

    def _compare(self, code: list[Any]) -> None:
        """Forget the loop when two segments in a row differ from the one before."""
        ops = [x for x in code if x.__class__ is not int]
        if self.last is not None and ops != self.last:
            self.misses += 1
            if self.misses > 1:
                self.segment, self.at = 0, LIMIT
        self.last = ops
