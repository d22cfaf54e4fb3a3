"""Which recorded operation failed, and what depends on it.

An operation that may fail when its plan runs (a ``check``, an opaque operation, a composite with one inside) gets a
:class:`Site` that holds its number in the trace. Passes hand sites down to what they make of an operation, so the error
of a plan names the entry of the trace that it came from.
"""
from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from ..autodiff.program import body_of
from ..base.errors import CheckError
from ..ir.op import Op
from ..ir.program import Equation, Program


class Site(str):
    """A source line (``file:line``; empty where lines are not recorded), and the number of an operation's result."""

    __slots__ = ("number",)
    number: int

    def __new__(cls, line: str, number: int) -> Site:
        site = super().__new__(cls, line)
        site.number = number
        return site


def entries(code: Sequence[Any]) -> Iterator[tuple[Op, list[int], range]]:
    """(op, operand numbers, result numbers) of each entry of a trace's code."""
    starts = [i for i, x in enumerate(code) if x.__class__ is not int]
    count = 0
    for i, at in enumerate(starts):
        end = starts[i + 1] if i + 1 < len(starts) else len(code)
        op = code[at]
        n = results_of(op)
        yield op, list(code[at + 1:end]), range(count, count + n)
        count += n


def results_of(op: Op) -> int:
    """Number of results of an op; where its attributes decide it, all its inferences agree on it."""
    n = op.row.n_outputs
    return n if n >= 0 else len(next(iter(op.results.values())))


#: op -> (number of inferences looked at, may it fail?)
_known: dict[Op, tuple[int, bool]] = {}


def may_fail(op: Op) -> bool:
    """Can running ``op`` raise an error because of values?"""
    kind = op.row.kind
    if kind != "composite" and kind != "control":
        return False
    if op.name in ("check", "custom"):
        return True
    seen, found = _known.get(op, (0, False))
    if not found and seen != len(op.results):
        _known[op] = len(op.results), False  # a body may hold its own op, of another dtype
        found = any(may_fail(inner) for inner in list(_inside(op)))
        _known[op] = len(op.results), found
    return found


def _inside(op: Op) -> Iterator[Op]:
    """The operations that a composite or a control operation consists of."""
    programs = [x for x in op.attrs.values if x.__class__ is Program]
    if op.row.body is not None and not programs:
        programs = [body_of(op, types) for types in op.results]
    for program in programs:
        for e in program.equations:
            yield e.op


def _holds(op: Op, culprit: Op) -> bool:
    """Is ``op`` the culprit, or is the culprit inside of it?"""
    return op is culprit or may_fail(op) and any(_holds(inner, culprit) for inner in _inside(op) if inner is not op)


def sites_of(code: Sequence[Any], lines: dict[int, str]) -> dict[int, str]:
    """Sites by number of an operation's first result: those that lines are known of, and all that may fail."""
    sites = dict(lines)
    for op, _, results in entries(code):
        if may_fail(op):
            sites[results.start] = Site(lines.get(results.start, ""), results.start)
    return sites


def failed_check(e: Equation, message: str = "") -> CheckError:
    """The error of a ``check`` equation (or of a composite that holds one), with the recorded line if it is known."""
    return refused(e, CheckError((message or e.op.attrs.message) + (f" (recorded at {e.site})" if e.site else "")))


def refused(e: Equation, error: Any) -> Any:
    """``error``, marked as that of equation ``e``: what depends on it fails too, and nothing else does."""
    error.failed = e.op
    error.number = getattr(e.site, "number", None)
    return error


def again(error: BaseException) -> BaseException:
    """The same error without the frames that it has passed: they would keep tensors alive."""
    try:
        found = copy.copy(error)
    except Exception:  # a user's error with arguments of its own kind
        found = error
    return found.with_traceback(None)


def dependents(code: Sequence[Any], error: BaseException) -> set[int]:
    """Numbers of the results that depend on the operation that raised ``error``; none if no operation did.

    Where the plan does not know the entry (a check in the body of a loop), it is the first that holds such a check.
    """
    culprit, number = getattr(error, "failed", None), getattr(error, "number", None)
    dead: set[int] = set()
    if culprit is None:
        return dead
    for op, operands, results in entries(code):
        guilty = results.start == number if number is not None else not dead and _holds(op, culprit)
        if guilty or dead.intersection(operands):
            dead.update(results)
    return dead
