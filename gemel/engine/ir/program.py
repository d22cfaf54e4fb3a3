"""``Program``: a typed list of equations in single-assignment form; the thing that is compiled and saved.

    (x0: f32[4], x1: f32[4]) {
      v2: f32[4] = add(x0, x1)
      return v2
    }
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .op import Op
from .types import TensorType


class Var:
    """A value inside a program, identified by the object itself."""

    __slots__ = ("type",)
    type: TensorType

    def __init__(self, type: TensorType) -> None:
        self.type = type

    def __repr__(self) -> str:
        return f"<{self.type} at {id(self):#x}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape


class Equation:
    """``outputs = op(inputs)``; ``site`` is the user's line (``file:line``) where it was recorded, if known."""

    __slots__ = ("op", "inputs", "outputs", "site")

    def __init__(self, op: Op, inputs: Sequence[Var], outputs: Sequence[Var], site: str | None = None) -> None:
        self.op, self.inputs, self.outputs, self.site = op, tuple(inputs), tuple(outputs), site

    @property
    def output(self) -> Var:
        """The only output."""
        (only,) = self.outputs
        return only

    def __repr__(self) -> str:
        return f"{self.op!r}: {[v.type for v in self.inputs]} -> {[v.type for v in self.outputs]}"


class Program:
    """Inputs, equations in execution order, outputs. Immutable; equal when the printed texts are equal.

    Args:
        inputs: the parameters. equations: each uses only inputs and earlier results. outputs: results.
    """

    __slots__ = ("inputs", "equations", "outputs", "_text")

    def __init__(self, inputs: Iterable[Var], equations: Iterable[Equation], outputs: Iterable[Var]) -> None:
        self.inputs: tuple[Var, ...] = tuple(inputs)
        self.equations: tuple[Equation, ...] = tuple(equations)
        self.outputs: tuple[Var, ...] = tuple(outputs)
        self._text: str | None = None

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.outputs)

    def __str__(self) -> str:
        if self._text is None:
            from .text import print_program
            self._text = print_program(self)
        return self._text

    def __repr__(self) -> str:
        return str(self)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Program) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.equations)

    def __len__(self) -> int:
        return len(self.equations)

    def live(self) -> Program:
        """The program without equations that no output depends on."""
        wanted, kept = set(self.outputs), []
        for e in reversed(self.equations):
            if not wanted.isdisjoint(e.outputs):
                wanted.update(e.inputs)
                kept.append(e)
        return self if len(kept) == len(self.equations) else Program(self.inputs, reversed(kept), self.outputs)

    def live_inputs(self) -> list[Var]:
        """The inputs that some output depends on."""
        wanted = set(self.outputs)
        for e in reversed(self.equations):
            if not wanted.isdisjoint(e.outputs):
                wanted.update(e.inputs)
        return [v for v in self.inputs if v in wanted]

    def producers(self) -> dict[Var, Equation]:
        """The equation that defines each computed value."""
        return {v: e for e in self.equations for v in e.outputs}

    def users(self) -> dict[Var, list[Equation]]:
        """The equations that read each value (outputs of the program are not counted)."""
        found: dict[Var, list[Equation]] = {v: [] for v in self.inputs}
        for e in self.equations:
            for v in dict.fromkeys(e.inputs):
                found[v].append(e)
            for v in e.outputs:
                found[v] = []
        return found

    def show(self) -> None:
        """Print the program."""
        print(self)
