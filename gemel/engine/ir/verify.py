"""The rules that every program obeys; run between passes in the tests."""
from __future__ import annotations

from ..base.errors import GemelError, VerifyError
from .primitives import ROWS
from .program import Program, Var


def verify(program: Program, after: str = "construction") -> Program:
    """Return ``program`` if it is well formed, else raise ``VerifyError`` naming the equation and ``after``.

    Checks: values are defined once and before use; each op is in the table with the right number of operands;
    result types are what the op's rule gives; nested programs are well formed too.
    """
    defined: set[Var] = set()

    def define(values, where: str) -> None:
        for v in values:
            if v in defined:
                raise VerifyError(f"after {after}: {where} defines a value twice\n{program}")
            defined.add(v)

    define(program.inputs, "the input list")
    for n, e in enumerate(program.equations):
        where = f"equation {n} ({e.op!r})"
        if ROWS.get(e.op.name) is not e.op.row:
            raise VerifyError(f"after {after}: {where} is not in the table of operations")
        if e.op.row.arity >= 0 and len(e.inputs) != e.op.row.arity:
            raise VerifyError(f"after {after}: {where} takes {e.op.row.arity} operands, not {len(e.inputs)}")
        for v in e.inputs:
            if v not in defined:
                raise VerifyError(f"after {after}: {where} reads a value that is not defined before it")
        try:
            types = e.op.infer_all(tuple(v.type for v in e.inputs))
        except (GemelError, ValueError, TypeError, IndexError) as error:
            raise VerifyError(f"after {after}: {where}: {error}") from error
        if types != tuple(v.type for v in e.outputs):
            raise VerifyError(f"after {after}: {where} gives {types}, not {[v.type for v in e.outputs]}")
        for value in e.op.attrs.values:
            if isinstance(value, Program):
                verify(value, after)
        define(e.outputs, where)
    for v in program.outputs:
        if v not in defined:
            raise VerifyError(f"after {after}: an output is not defined")
    return program
