"""Where every value of a plan lies: output buffers, donated leaves, or the arena.

A value may take over the memory of an operand that dies in the same call, if the kernel allows it (``inplace``).
That is how parameters, optimizer state and slice writes are updated in place: a leaf whose last reader this plan is
(*donated*) gives its buffer to a result. Donated memory is written only after the last step that may fail: a check, or
an operation that NumPy runs.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..base.flags import flags
from ..ir.program import Var
from .calls import Call, Jump, Label, Next, Temp
from .control import HostStep, Step
from .lower import Lowered
from .order import reads, writes

ALIGN = 64
ARENA, STATUS, SCALARS, LEAVES = range(4)  # first slots of the table of base pointers; outputs follow the leaves


@dataclass
class Placement:
    """The result of planning.

    Attributes:
        place: value -> (slot of the base pointer, byte offset). arena: bytes of the arena.
        owners: per output buffer to allocate, (slot, bytes). constants: (slot, value) of each.
        donated: leaf -> value that takes its memory.
        skipped: steps that do nothing once their operands share memory.
        first_donated: first step that writes donated memory (number of steps if none).
    """

    place: dict[Any, tuple[int, int]]
    arena: int
    owners: list[tuple[int, int]] = field(default_factory=list)
    constants: list[tuple[int, Var]] = field(default_factory=list)
    donated: dict[int, Any] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    first_donated: int = 0


class _Arena:
    """Best-fit offsets with free intervals merged."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []  # (offset, size), by offset
        self.top = 0
        self.size = 0

    def take(self, size: int) -> int:
        best = min(((n, at) for at, n in self.free if n >= size), default=None)
        if best is not None:
            n, at = best
            self.free.remove((at, n))
            if n > size:
                self.free.append((at + size, n - size))
                self.free.sort()
            return at
        if self.free and self.free[-1][0] + self.free[-1][1] == self.top:  # grow the last hole
            at, _ = self.free.pop()
        else:
            at = self.top
        self.top = at + size
        self.size = max(self.size, self.top)
        return at

    def give(self, at: int, size: int) -> None:
        self.free.append((at, size))
        self.free.sort()
        merged: list[tuple[int, int]] = []
        for start, n in self.free:
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + n)
            else:
                merged.append((start, n))
        self.free = merged


def _size(value: Any) -> int:
    return value.nbytes if isinstance(value, Temp) else value.type.nbytes


def _space(value: Any) -> int:
    """Bytes of the arena that a value takes."""
    return max(ALIGN, -(-_size(value) // ALIGN) * ALIGN)


def plan_memory(lowered: Lowered, n_leaves: int, donate: tuple[int, ...], updates: dict[int, int] | None = None
                ) -> Placement:
    """Place every value of ``lowered``; the first ``n_leaves`` inputs are buffers, the rest scalars.

    ``updates`` maps outputs to the leaves whose tensors they update in place: no other value takes those over.
    """
    program, steps = lowered.program, lowered.steps
    leaf_number = {v: k for k, v in enumerate(program.inputs[:n_leaves])}
    scalar_number = {v: k for k, v in enumerate(program.inputs[n_leaves:])}
    place: dict[Any, tuple[int, int]] = {v: (LEAVES + k, 0) for v, k in leaf_number.items()}
    place.update({v: (SCALARS, 8 * k) for v, k in scalar_number.items()})
    place["status"] = (STATUS, 0)
    last: dict[Any, int] = {}
    first: dict[Any, int] = {}
    last_check = -1
    for n, step in enumerate(steps):
        for value in reads(step):
            last[value] = n
        for value in writes(step):
            last[value] = max(last.get(value, n), n)
            first.setdefault(value, n)
        if step.check if isinstance(step, Call) else isinstance(step, HostStep):
            last_check = n
    regions = loop_regions(steps)
    for top, end in regions:
        for n in range(top, end + 1):
            for value in (*reads(steps[n]), *writes(steps[n])):
                if first.get(value, -1) < top:  # it comes from outside: every iteration needs it
                    last[value] = max(last[value], end)
        if top <= last_check <= end:
            last_check = end
    kept = {o.value for o in lowered.outputs}
    heirs = _heirs(lowered, kept, last)
    ahead = _carried(lowered, first, regions)
    result = Placement(place, 0, first_donated=len(steps))
    arena = _Arena()
    donors = set(donate)
    wanted = {lowered.outputs[position].value: k for position, k in (updates or {}).items() if k in donors}
    reserved = {k: value for value, k in wanted.items()}
    next_slot = LEAVES + n_leaves
    for value in lowered.constants:
        place[value] = (next_slot, 0)
        result.constants.append((next_slot, value))
        next_slot += 1
    live: dict[Any, tuple[int, int]] = {}  # arena values: offset, size
    onward = {} if regions else _onward(steps, last)
    lent: dict[Any, int] = {}  # values between a donated leaf and the output that takes it over -> the leaf

    def ends_in(value: Any) -> Any:
        """The output that a chain of writes in place to ``value`` ends in, if it does."""
        while value in onward and value not in kept:
            value = onward[value]
        return value if value in kept else None

    def settle_in(n: int, value: Any, k: int, stays: bool) -> None:
        """From step ``n`` on ``value`` has the memory of leaf ``k``: for good, or until the output takes it over."""
        donors.discard(k)
        if stays:
            result.donated[k] = value
        else:
            lent[value] = k
        result.first_donated = min(result.first_donated, n)
        place[value] = place[program.inputs[k]]

    def share(step: Call, n: int, value: Any) -> bool:
        """Let ``value`` take over the memory of an operand that dies here."""
        nonlocal next_slot
        home = wanted.get(value)
        choices = step.inplace if home is None else sorted(
            step.inplace, key=lambda pair: leaf_number.get(step.operands[pair[1]].value) != home)
        for written, read in choices:
            target, source = step.operands[written], step.operands[read]
            if target.value is not value or target.offset or target.dynamic:
                continue
            donor = source.value
            if source.offset or source.dynamic or last.get(donor) != n or donor in kept or _size(donor) != _size(value):
                continue
            if sum(o.value is donor for o in step.operands) != 1:
                continue  # the kernel also reads it at other places
            if donor in leaf_number:
                k = leaf_number[donor]
                heir = value if value in kept else ends_in(value)
                if heir is not value and wanted.get(heir, k) != k:
                    continue
                if k in donors and heir is not None and n > last_check and reserved.get(k, heir) is heir:
                    settle_in(n, value, k, heir is value)
                    return True
            elif donor in lent:
                if value in kept:
                    result.donated[lent[donor]] = value
                else:
                    lent[value] = lent[donor]
                place[value] = place[donor]
                return True
            elif donor in live and value not in kept:
                live[value] = live.pop(donor)
                place[value] = (ARENA, live[value][0])
                return True
        return False

    def come_home(n: int, value: Any) -> bool:
        """Put the new contents of a tensor where its old ones were, if those have been read for the last time."""
        k = wanted.get(value)
        if k is None or k not in donors or n <= last_check:
            return False
        leaf = program.inputs[k]
        if leaf in kept or last.get(leaf, -1) >= n or _size(leaf) != _size(value):
            return False
        settle_in(n, value, k, True)
        return True

    written = {value for step in steps for value in writes(step)}
    for n, step in enumerate(steps):
        for value in reads(step):
            if value not in written:  # an empty value, or the sums of nothing: nobody writes them
                place.setdefault(value, (ARENA, 0))
        for value in writes(step):
            if value in place or value in live:
                continue
            if value in ahead and ahead[value] in place:
                place[value] = place[ahead[value]]
                continue
            if isinstance(step, Call) and share(step, n, value):
                continue
            if come_home(n, value):
                continue
            heir = heirs.get(value)
            if heir is not None and heir not in place and heir not in wanted:
                place[heir] = place[value] = (next_slot, 0)
                result.owners.append((next_slot, _size(value)))
                next_slot += 1
            elif value in kept or flags.GUARD:  # with guard pages there is no arena: each value has a block
                place[value] = (next_slot, 0)
                result.owners.append((next_slot, _size(value)))
                next_slot += 1
            else:
                at = arena.take(_space(value))
                live[value] = (at, _space(value))
                place[value] = (ARENA, at)
        if isinstance(step, Call) and step.copies and place[step.operands[0].value] == place[step.operands[1].value]:
            result.skipped.add(n)
        for value in [v for v in live if last.get(v, n) <= n]:
            arena.give(*live.pop(value))
    for value in kept:
        if value not in place:  # empty: no call writes it
            place[value] = (next_slot, 0)
            result.owners.append((next_slot, _size(value)))
            next_slot += 1
    for top, end in regions:
        if top <= result.first_donated <= end:
            result.first_donated = top
    result.arena = arena.size
    return result


def _onward(steps: list[Step], last: dict[Any, int]) -> dict[Any, Any]:
    """Value that dies in a write in place of a part of it -> what it is afterwards."""
    found = {}
    for n, step in enumerate(steps):
        if isinstance(step, Call) and step.copies:
            for written, read in step.inplace:
                source = step.operands[read].value
                if last.get(source) == n:
                    found[source] = step.operands[written].value
    return found


def loop_regions(steps: list[Step]) -> list[tuple[int, int]]:
    """(first, last) step of each loop, inner loops before the loops around them."""
    at = {step: n for n, step in enumerate(steps) if isinstance(step, Label)}
    found = []
    for n, step in enumerate(steps):
        if isinstance(step, (Jump, Next)) and at[step.target] < n:
            found.append((at[step.target], n))
    return found


def _heirs(lowered: Lowered, kept: set[Any], last: dict[Any, int]) -> dict[Any, Any]:
    """Computed value -> output that is a copy of it, where it dies in the copy: both may have one memory.

    Not where something else has been written to the output before (in the other branch of an ``if``).
    """
    found: dict[Any, Any] = {}
    inputs = set(lowered.program.inputs)
    sources: dict[Any, set[Any]] = {}  # output -> what has been copied to it so far; None: something else
    for n, step in enumerate(lowered.steps):
        if isinstance(step, Call) and step.copies:
            source, result = step.operands[0].value, step.operands[1].value
            sources.setdefault(result, set()).add(source)
            if result in kept and source not in kept and source not in inputs and last[source] == n and (
                    _size(source) == _size(result) and sources[result] == {source}):
                found.setdefault(source, result)
        else:
            for value in writes(step):
                sources.setdefault(value, set()).add(None)
    return found


def _carried(lowered: Lowered, first: dict[Any, int], regions: list[tuple[int, int]]) -> dict[Any, Any]:
    """Value of a body -> the state it becomes, where it may be computed in the state's place.

    That is so when no step of the body reads the old state after the value's first write.
    """
    if not lowered.carried:
        return {}
    found: dict[Any, Any] = {}
    readers: dict[Any, list[int]] = {}
    copies: dict[Any, int] = {}
    steps = lowered.steps
    for n, step in enumerate(steps):
        for value in reads(step):
            readers.setdefault(value, []).append(n)
        if isinstance(step, Call) and step.copies and lowered.carried.get(step.operands[0].value) is (
                step.operands[1].value):
            copies[step.operands[0].value] = n
    for value, state in lowered.carried.items():
        end = copies.get(value)
        if end is None:
            continue
        around = min((r for r in regions if r[0] < end <= r[1]), key=lambda r: r[1] - r[0])
        born = first[value]
        fine = around[0] < born
        for n in readers.get(state, ()):
            if not around[0] <= n <= around[1]:
                continue
            until = max([r[1] for r in regions if around[0] < r[0] <= n <= r[1] < end], default=n)
            step = steps[n]
            if until < born:
                continue
            fine = fine and n == until == born and isinstance(step, Call) and _may_replace(step, value, state)
        if fine:
            found[value] = state
    return found


def _may_replace(step: Call, value: Any, state: Any) -> bool:
    """Does the call read the state only where it writes the value, element by element?"""
    if sum(o.value is state for o in step.operands) != 1:
        return False
    for written, read in step.inplace:
        target, source = step.operands[written], step.operands[read]
        if target.value is value and source.value is state:
            return not (target.offset or source.offset or target.dynamic or source.dynamic)
    return False
