"""What a schedule returns: kernel calls as data.

A schedule turns one node (or one fused group) of a program into a short list of :class:`Call`, or declines with
a :class:`Refusal` that says why. A call names a kernel by a structural key (no sizes: extents and strides are
i64 parameters), so that one compiled kernel serves every shape of its structure.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..base.target import Target
from ..ir.program import Equation, Var
from .index import Start
from .ir import Kernel


@dataclass(frozen=True)
class KernelSpec:
    """How to build a kernel.

    Args:
        name: readable name, a valid symbol; the profiler's row.
        key: structure as nested tuples of strings, numbers and ops; its ``repr`` is the same in every process.
        build: ``(symbol name, target) -> Kernel``.
    """

    name: str
    key: tuple
    build: Callable[[str, Target], Kernel] = field(compare=False, hash=False, repr=False)


@dataclass(frozen=True)
class Refusal:
    """Why a schedule or a fusion was declined; printed by ``GEMEL_LOG=fuse``."""

    reason: str

    def __bool__(self) -> bool:
        return False


class Temp:
    """Scratch memory that lives from the call that writes it to the last that reads it."""

    __slots__ = ("nbytes",)

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


@dataclass(slots=True)
class Operand:
    """A region of memory that a call reads or writes.

    Args:
        value: a value of the program (its buffer) or a :class:`Temp`.
        offset: bytes from the start of the buffer.
        dynamic: (start of a window, bytes per unit) pairs added at run time.
    """

    value: Any
    offset: int = 0
    dynamic: tuple[tuple[Start, int], ...] = ()


@dataclass(slots=True)
class Call:
    """One kernel call.

    Args:
        spec: the kernel. operands: in the order of the kernel's argument pointers.
        params: in the order of the kernel's i64 parameters.
        tasks: independent tasks, numbered from 0; the kernel gets ranges of them.
        grain: tasks that one thread takes at a time (>= tasks: the call is not shared between threads).
        writes: indices of the operands that are written; all others are read.
        inplace: (written, read) operand pairs that may be the same memory: each element is read before it is
            written, by the same task.
        flops, nbytes: arithmetic and necessary memory traffic, for the profile.
        copies: the call only copies operand 0 to operand 1; it is skipped where they share memory.
        packs: it does nothing but bring operand 0 into another order, as operand 1.
        check: the call may report a failed check through the plan's status word.
        label: what the call computes, with its sizes, for the profile. origin: the equations that it computes.
    """

    spec: KernelSpec
    operands: list[Operand]
    params: list[int]
    tasks: int
    grain: int
    writes: tuple[int, ...]
    inplace: tuple[tuple[int, int], ...] = ()
    flops: int = 0
    nbytes: int = 0
    copies: bool = False
    packs: bool = False
    check: bool = False
    label: str = ""
    origin: tuple[Equation, ...] = ()

    def on(self, operands: list[Operand]) -> Call:
        """The same call on other operands, which computes no equation yet."""
        return Call(self.spec, operands, self.params, self.tasks, self.grain, self.writes, self.inplace, self.flops,
                    self.nbytes, self.copies, self.packs, self.check, self.label)


@dataclass(eq=False)
class Label:
    """A place in the table that jumps go to."""


@dataclass(eq=False)
class Jump:
    """Go on at ``target``; with ``unless`` (a bool scalar in memory) only where that is false."""

    target: Label
    unless: Var | None = None


@dataclass(eq=False)
class Assign:
    """Put a number into an i64 scalar."""

    value: Var
    number: int


@dataclass(eq=False)
class Next:
    """Add ``step`` to an i64 scalar; go on at ``target`` until it is ``end``."""

    value: Var
    end: int
    target: Label
    step: int = 1


@dataclass(eq=False)
class Reserve:
    """Values that a loop writes piece by piece: their memory is theirs from here on."""

    values: tuple[Var, ...]


Marker = Label | Jump | Assign | Next | Reserve
Schedule = list[Call] | Refusal
