"""Exact printer and parser of programs: ``parse_program(str(p))`` prints as ``str(p)`` again.

The parser is a small recursive descent over tokens; it evaluates nothing.
"""
from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..base.dtypes import BY_IR, DType
from ..base.errors import VerifyError
from .op import op
from .primitives import ROWS
from .program import Equation, Program, Var
from .types import TensorType, parse_type

# --- printer -------------------------------------------------------------------------------------


def print_program(program: Program, indent: str = "") -> str:
    """The text of ``program``; nested programs are indented."""
    names: dict[Var, str] = {}

    def known(values) -> str:
        return ", ".join(names.get(v, "undefined") for v in values)  # a faulty program is shown, too

    for v in program.inputs:
        names[v] = f"x{len(names)}"
    head = ", ".join(f"{names[v]}: {v.type}" for v in program.inputs)
    lines = [f"({head}) {{"]
    for e in program.equations:
        for v in e.outputs:
            names[v] = f"v{len(names)}"
        left = ", ".join(f"{names[v]}: {v.type}" for v in e.outputs)
        attrs = ", ".join(f"{k}={_attr(v, indent + '  ')}" for k, v in _printed_attrs(e))
        right = f"{e.op.name}({known(e.inputs)})" + (f" {{{attrs}}}" if attrs else "")
        lines.append(f"{indent}  {left} = {right}" + (f"  # {e.site}" if e.site else ""))
    lines.append(f"{indent}  return {known(program.outputs)}")
    lines.append(f"{indent}}}")
    return "\n".join(lines)


def _printed_attrs(e: Equation):
    if e.op.name != "const":
        return e.op.attrs.items()
    note = []
    if e.op.attrs.type.size == 1:  # readable beside the exact bytes
        note = [("value", str(np.frombuffer(e.op.attrs.data, e.op.attrs.type.dtype.numpy)[0]))]
    return [*e.op.attrs.items(), *note]


def _attr(value: Any, indent: str) -> str:
    if isinstance(value, Program):
        return print_program(value, indent)
    if isinstance(value, DType):
        return value.ir
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_attr(v, indent) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if value is None or isinstance(value, (bool, int, float, TensorType)):
        return repr(value)
    raise VerifyError(f"an attribute of type {type(value).__name__} cannot be printed: {value!r}")


# --- parser --------------------------------------------------------------------------------------

_TOKEN = re.compile(r"""\s+|\#[^\n]*                                  # blanks and comments
    |(?P<str>"(?:\\.|[^"\\])*")|(?P<hex>0x[0-9a-f]*)
    |(?P<type>[a-z]+[0-9]*\[[0-9,]*\])
    |(?P<num>-?(?:inf|nan|[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)(?![A-Za-z_]))
    |(?P<name>[A-Za-z_][A-Za-z_0-9.]*)|(?P<mark>[(){}=,:])""", re.VERBOSE)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            m = _TOKEN.match(text, at)
            if m is None:
                raise ValueError(f"cannot read a program at {text[at:at + 20]!r}")
            if m.lastgroup:
                self.tokens.append((m.lastgroup, m.group()))
            at = m.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise ValueError(f"expected {expected!r} but found {token or 'the end'!r} at token {self.at}")
        self.at += 1
        return token

    def comma_list(self, close: str, item) -> list:
        items = []
        while self.peek() != close:
            items.append(item())
            if self.peek() != close:
                self.take(",")
        self.take(close)
        return items

    def typed_name(self) -> tuple[str, TensorType]:
        name = self.take()
        self.take(":")
        return name, parse_type(self.take())

    def program(self) -> Program:
        env: dict[str, Var] = {}
        self.take("(")
        inputs = []
        for name, t in self.comma_list(")", self.typed_name):
            env[name] = Var(t)
            inputs.append(env[name])
        self.take("{")
        equations = []
        while self.peek() != "return":
            equations.append(self.equation(env))
        self.take("return")
        outputs = self.comma_list("}", lambda: self.var(env))
        return Program(inputs, equations, outputs)

    def var(self, env: dict[str, Var]) -> Var:
        name = self.take()
        if name not in env:
            raise ValueError(f"value {name!r} is used before it is defined")
        return env[name]

    def equation(self, env: dict[str, Var]) -> Equation:
        results = [self.typed_name()]
        while self.peek() == ",":
            self.take(",")
            results.append(self.typed_name())
        self.take("=")
        name = self.take()
        if name not in ROWS:
            raise ValueError(f"unknown operation {name!r}")
        self.take("(")
        inputs = self.comma_list(")", lambda: self.var(env))
        attrs = {}
        if self.peek() == "{":
            self.take("{")
            attrs = dict(self.comma_list("}", self.named_attr))
        row = ROWS[name]
        if missing := [a for a in row.attrs if a not in attrs]:
            raise ValueError(f"{name} lacks attributes {missing}")
        the_op = op(row, *(attrs[a] for a in row.attrs))
        outputs = [Var(t) for _, t in results]
        inferred = the_op.infer_all(tuple(v.type for v in inputs))
        if inferred != tuple(v.type for v in outputs):
            raise ValueError(f"{name} gives {inferred}, the text says {[v.type for v in outputs]}")
        env.update(zip((n for n, _ in results), outputs, strict=True))
        return Equation(the_op, inputs, outputs)

    def named_attr(self) -> tuple[str, Any]:
        name = self.take()
        self.take("=")
        return name, self.attr()

    def attr(self) -> Any:
        if self.peek() == "(" and self._is_program():
            return self.program()
        kind, token = self.tokens[self.at]
        self.at += 1
        if token == "(":
            return tuple(self.comma_list(")", self.attr))
        if kind == "str":
            return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], token[1:-1])
        if kind == "hex":
            return bytes.fromhex(token[2:])
        if kind == "num":
            return int(token) if re.fullmatch(r"-?[0-9]+", token) else float(token)
        if kind == "type":
            return parse_type(token)
        if token in ("True", "False", "None"):
            return {"True": True, "False": False, "None": None}[token]
        if token in BY_IR:
            return BY_IR[token]
        raise ValueError(f"cannot read the attribute {token!r}")

    def _is_program(self) -> bool:
        """A '(' opens a program when what it closes is followed by '{'."""
        depth, at = 0, self.at
        while at < len(self.tokens):
            depth += {"(": 1, ")": -1}.get(self.tokens[at][1], 0)
            at += 1
            if depth == 0:
                return at < len(self.tokens) and self.tokens[at][1] == "{"
        return False


def parse_program(text: str) -> Program:
    """Read a printed program; ``ValueError`` says what is wrong and where."""
    parser = _Parser(text)
    try:
        program = parser.program()
    except IndexError:
        raise ValueError("the text ends inside a program") from None
    if parser.peek():
        raise ValueError(f"text after the program: {parser.peek()!r}")
    return program
