"""The IR without running it: text and back, the verifier's rules, what each pass does, why fusion refuses."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.base.errors import VerifyError
from gemel.engine.base.flags import override
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.op import Row, op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.program import Equation, Program, Var
from gemel.engine.ir.text import parse_program
from gemel.engine.ir.types import tensor_type
from gemel.engine.ir.verify import verify
from gemel.engine.loops.fusion import Fusion
from gemel.engine.loops.lower import SCHEDULES
from gemel.engine.passes.cse import cse
from gemel.engine.passes.dce import dce
from gemel.engine.passes.decompose import decompose
from gemel.engine.passes.simplify import simplify
from tests.ops.records import RECORDS
from tests.ops.test_primitives import OF_KIND, operands
from tests.programs.generate import grow

F32 = tensor_type(dt.float32, (2, 3))


def read(text: str) -> Program:
    return verify(parse_program(text))


# --- text

@pytest.mark.parametrize("name", RECORDS)
def test_every_primitive_prints_and_parses(name: str) -> None:
    record = RECORDS[name]
    dtype = OF_KIND[record.kinds[0]][0]
    for case in record.cases:
        b = ProgramBuilder()
        arrays = operands(record, case, dtype, np.random.default_rng(0))
        made = b.emit(op(ROWS[name], *case.attrs(dtype)), *[
            b.input(tensor_type(dt.from_numpy(x.dtype), x.shape)) for x in arrays])
        p = b.build(made if isinstance(made, tuple) else (made,))
        again = read(str(p))
        assert str(again) == str(p) and again == p
        assert [e.op for e in again] == [e.op for e in p]  # attributes and all: ops are interned


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_random_programs_print_and_parse(first: int) -> None:
    for seed in range(first, first + 50):
        p = grow(seed).program
        assert str(read(str(p))) == str(p)


def test_sites_are_comments():
    x, y = Var(F32), Var(F32)
    p = Program([x], [Equation(op(ROWS["neg"]), [x], [y], "train.py:7")], [y])
    assert "neg(x0)  # train.py:7" in str(p) and read(str(p)).equations[0].site is None


@pytest.mark.parametrize(("text", "message"), [
    ("(x0: f32[2]) {\n return x1\n}", "value 'x1' is used before it is defined"),
    ("(x0: f32[2]) {\n v1: f32[2] = nonsense(x0)\n return v1\n}", "unknown operation 'nonsense'"),
    ("(x0: f32[2]) {\n v1: f32[3] = neg(x0)\n return v1\n}", "the text says"),
    ("(x0: f32[2]) {\n v1: f32[2] = permute(x0)\n return v1\n}", r"permute lacks attributes \['axes'\]"),
    ("(x0: f32[2]) {\n return x0\n} more", "text after the program: 'more'"),
    ("(x0: f32[2]) {\n return x0", "expected"),
    ("(x0: f32[2]) {\n v1: f32[2] = neg(x0) {", "expected|ends inside"),
    ("(x0: f32[2]) {\n return $\n}", r"cannot read a program at '\$"),
])
def test_unreadable_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_program(text)


# --- verifier

def _neg(x: Var, y: Var) -> Equation:
    return Equation(op(ROWS["neg"]), [x], [y])


def _broken() -> list[tuple[str, Program, str]]:
    x, y, z = (Var(F32) for _ in range(3))
    narrow = Var(tensor_type(dt.float32, (3,)))
    whole = Var(tensor_type(dt.int32, (2, 3)))
    inner = Program([y], [_neg(z, x)], [x])
    flag = Var(tensor_type(dt.bool_))
    good = Program([y], [_neg(y, z)], [z])
    unknown = Row("unknown", "unary", 1, lambda attrs, t: t)
    return [
        ("twice", Program([x], [_neg(x, y), _neg(x, y)], [y]), r"equation 1 \(.*neg.*\) defines a value twice"),
        ("inputs", Program([x, x], [], [x]), "the input list defines a value twice"),
        ("before", Program([x], [_neg(y, z), _neg(x, y)], [z]), "reads a value that is not defined before it"),
        ("output", Program([x], [], [y]), "an output is not defined"),
        ("table", Program([x], [Equation(op(unknown), [x], [y])], [y]), "is not in the table of operations"),
        ("arity", Program([x], [Equation(op(ROWS["add"]), [x], [y])], [y]), "takes 2 operands, not 1"),
        ("type", Program([x], [Equation(op(ROWS["neg"]), [x], [narrow])], [narrow]), r"gives \(.*f32\[2,3\].*not"),
        ("rule", Program([x, whole], [Equation(op(ROWS["add"]), [x, whole], [y])], [y]),
         "operands must have one dtype"),
        ("nested", Program([flag, x], [Equation(op(ROWS["if"], inner, good), [flag, x], [z])], [z]),
         "reads a value that is not defined before it"),
    ]


@pytest.mark.parametrize(("program", "message"), [pytest.param(p, m, id=name) for name, p, m in _broken()])
def test_the_verifier_names_what_is_wrong(program: Program, message: str) -> None:
    with pytest.raises(VerifyError, match=f"(?s)after mypass: .*{message}"):
        verify(program, "mypass")


# --- passes: before -> after

def body(text: str) -> str:
    """The text with even blanks."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


def assert_becomes(a_pass: Any, before: str, after: str) -> None:
    assert body(str(verify(a_pass(read(before))))) == body(after)


ONE = 'v1: f32[] = const() {type=f32[], data=0x0000803f, value="1.0"}'
SIMPLIFIED = {
    "x * 1": (f"(x0: f32[]) {{\n{ONE}\nv2: f32[] = mul(x0, v1)\nreturn v2\n}}",
              f"(x0: f32[]) {{\n{ONE}\nreturn x0\n}}"),
    "x + 0 stays": (
        '(x0: f32[]) {\nv1: f32[] = const() {type=f32[], data=0x00000000, value="0.0"}\n'
        "v2: f32[] = add(x0, v1)\nreturn v2\n}",
        '(x0: f32[]) {\nv1: f32[] = const() {type=f32[], data=0x00000000, value="0.0"}\n'
        "v2: f32[] = add(x0, v1)\nreturn v2\n}"),
    "constants": (
        f"() {{\n{ONE.replace('v1', 'v0')}\nv1: f32[] = add(v0, v0)\nreturn v1\n}}",
        f"() {{\n{ONE.replace('v1', 'v0')}\n"
        'v1: f32[] = const() {type=f32[], data=0x00000040, value="2.0"}\nreturn v1\n}'),
    "reshape of reshape": (
        "(x0: f32[2,6]) {\nv1: f32[12] = reshape(x0) {shape=(12,)}\nv2: f32[3,4] = reshape(v1) {shape=(3, 4)}\n"
        "return v2\n}",
        "(x0: f32[2,6]) {\nv1: f32[12] = reshape(x0) {shape=(12,)}\nv2: f32[3,4] = reshape(x0) {shape=(3, 4)}\n"
        "return v2\n}"),
    "permute and back": (
        "(x0: f32[2,6]) {\nv1: f32[6,2] = permute(x0) {axes=(1, 0)}\nv2: f32[2,6] = permute(v1) {axes=(1, 0)}\n"
        "return v2\n}",
        "(x0: f32[2,6]) {\nv1: f32[6,2] = permute(x0) {axes=(1, 0)}\nreturn x0\n}"),
    "piece of what was joined": (
        "(x0: f32[2], x1: f32[3]) {\nv2: f32[5] = cat(x0, x1) {axis=0}\n"
        "v3: f32[3] = slice(v2) {start=(2,), stop=(5,), step=(1,)}\nreturn v3\n}",
        "(x0: f32[2], x1: f32[3]) {\nv2: f32[5] = cat(x0, x1) {axis=0}\nreturn x1\n}"),
    "double negation": (
        "(x0: f32[2]) {\nv1: f32[2] = neg(x0)\nv2: f32[2] = neg(v1)\nreturn v2\n}",
        "(x0: f32[2]) {\nv1: f32[2] = neg(x0)\nreturn x0\n}"),
    "exact round trip of a cast": (
        "(x0: bf16[2]) {\nv1: f32[2] = cast(x0) {dtype=f32}\nv2: bf16[2] = cast(v1) {dtype=bf16}\nreturn v2\n}",
        "(x0: bf16[2]) {\nv1: f32[2] = cast(x0) {dtype=f32}\nreturn x0\n}"),
    "inexact round trip stays": (
        "(x0: f32[2]) {\nv1: bf16[2] = cast(x0) {dtype=bf16}\nv2: f32[2] = cast(v1) {dtype=f32}\nreturn v2\n}",
        "(x0: f32[2]) {\nv1: bf16[2] = cast(x0) {dtype=bf16}\nv2: f32[2] = cast(v1) {dtype=f32}\nreturn v2\n}"),
}


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_simplify(name: str) -> None:
    assert_becomes(simplify, *SIMPLIFIED[name])


def test_decompose_inlines_composites_and_trivial_reductions():
    assert_becomes(decompose, "(x0: f32[4]) {\nv1: f32[4] = relu(x0)\nreturn v1\n}", """(x0: f32[4]) {
        v1: f32[] = const() {type=f32[], data=0x00000000, value="0.0"}
        v2: f32[4] = expand(v1) {shape=(4,)}
        v3: f32[4] = max(x0, v2)
        return v3
        }""")
    assert_becomes(decompose, "(x0: f32[1,4]) {\nv1: f32[4] = reduce_sum(x0) {axes=(0,)}\nreturn v1\n}",
                   "(x0: f32[1,4]) {\nv1: f32[4] = reshape(x0) {shape=(4,)}\nreturn v1\n}")


def test_decompose_leaves_primitives_alone():
    for seed in range(20):
        assert all(e.op.row.kind != "composite" for e in decompose(grow(seed).program))


def test_cse_merges_equal_equations():
    assert_becomes(cse, """(x0: f32[4]) {
        v1: f32[4] = exp(x0)
        v2: f32[4] = exp(x0)
        v3: f32[4] = neg(v1)
        v4: f32[4] = neg(v2)
        v5: f32[4] = add(v3, v4)
        return v5, v2
        }""", """(x0: f32[4]) {
        v1: f32[4] = exp(x0)
        v2: f32[4] = neg(v1)
        v3: f32[4] = add(v2, v2)
        return v3, v1
        }""")


def test_dce_drops_what_nothing_needs():
    assert_becomes(dce, """(x0: f32[4]) {
        v1: f32[4] = exp(x0)
        v2: f32[4] = neg(v1)
        v3: f32[4] = sin(x0)
        return v3
        }""", """(x0: f32[4]) {
        v1: f32[4] = sin(x0)
        return v1
        }""")


def test_dce_drops_results_of_loops():
    """A stack that nothing reads goes, with the state that only it depends on and what comes in for it."""
    before = """(x0: f32[4], x1: f32[4], x2: f32[4]) {
        v1: f32[4] = exp(x2)
        v2: f32[4], v3: f32[4], v4: f32[3,4], v5: f32[3,4] = loop(x0, x1, v1) {body=(i: i64[], a: f32[4], b: f32[4],
        c: f32[4]) { d: f32[4] = sin(a) e: f32[4] = mul(b, c) return d, e, a, b }, trips=3, n_carried=2,
        backwards=False}
        return v4
        }"""
    after = """(x0: f32[4], x1: f32[4], x2: f32[4]) {
        v1: f32[4], v2: f32[3,4] = loop(x0) {body=(i: i64[], a: f32[4]) { d: f32[4] = sin(a) return d, a }, trips=3,
        n_carried=1, backwards=False}
        return v2
        }"""
    assert str(verify(dce(read(before)))) == str(read(after))


# --- fusion

def reasons(text: str, capsys: Any) -> str:
    with override(LOG=frozenset(("fuse",))):
        Fusion(read(text), frozenset(SCHEDULES)).groups()
    return capsys.readouterr().err


REFUSALS = {
    "the group reduces over other axes": """(x0: f32[64,64]) {
        v1: f32[64,64] = exp(x0)
        v2: f32[64] = reduce_sum(v1) {axes=(1,)}
        v3: f32[64] = reduce_sum(v1) {axes=(0,)}
        return v2, v3
        }""",
    "does not stay in cache between phases": """(x0: f32[300000]) {
        v1: f32[300000] = exp(x0)
        v2: f32[] = reduce_sum(v1) {axes=(0,)}
        v3: f32[300000] = expand(v2) {shape=(300000,)}
        v4: f32[300000] = div(v1, v3)
        return v4
        }""",
    "at another index than it is computed": """(x0: f32[64,64]) {
        v1: f32[64,64] = exp(x0)
        v2: f32[64,64] = permute(v1) {axes=(1, 0)}
        v3: f32[64,64] = add(v1, v2)
        return v3
        }""",
    "long reductions of different kinds are done apart": """(x0: f32[100000,2]) {
        v1: f32[100000,2] = exp(x0)
        v2: f32[2] = reduce_sum(v1) {axes=(0,)}
        v3: i64[2] = argmax(v1) {axis=0}
        return v2, v3
        }""",
    "is not a strided view here: it is copied": """(x0: f32[6,4]) {
        v1: f32[4,6] = permute(x0) {axes=(1, 0)}
        v2: f32[8,3] = reshape(v1) {shape=(8, 3)}
        v3: f32[3,8] = permute(v2) {axes=(1, 0)}
        v4: f32[4,6] = reshape(v3) {shape=(4, 6)}
        v5: f32[4,6] = neg(v4)
        return v5
        }""",
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_fusion_says_why_not(reason: str, capsys: Any) -> None:
    assert reason in reasons(REFUSALS[reason], capsys)


def test_softmax_is_one_group():
    b = ProgramBuilder()
    x = b.input(tensor_type(dt.float32, (64, 100)))
    m = b.expand(b.reshape(b.reduce_max(x, (1,)), (64, 1)), (64, 100))
    y = b.exp(b.sub(x, m))
    s = b.expand(b.reshape(b.reduce_sum(y, (1,)), (64, 1)), (64, 100))
    assert len(Fusion(b.build([b.div(y, s)]), frozenset(SCHEDULES)).groups()) == 1
