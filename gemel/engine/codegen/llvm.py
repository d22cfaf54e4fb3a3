"""Loop IR to LLVM IR, as text: one row per opcode, no pass pipeline needed afterwards.

What comes in: a verified :class:`Kernel` in explicit vectors. What goes out: the text of one LLVM module whose
function ``name`` has C linkage. Loops are emitted rotated (guard, body, latch) and values carried in phi nodes,
so LLVM's code generator alone gives good machine code.
"""
from __future__ import annotations

import struct

from ..base.errors import VerifyError
from ..loops.ir import If, Instr, Kernel, Loop, Type, Val

_ELEM = {"f16": "half", "bf16": "bfloat", "f32": "float", "f64": "double", "ptr": "ptr"}
_SUFFIX = {"f16": "f16", "f32": "f32", "f64": "f64"}


def _type(t: Type) -> str:
    elem = _ELEM.get(t.elem, t.elem)
    return elem if t.lanes == 1 else f"<{t.lanes} x {elem}>"


def _mangle(t: Type) -> str:
    elem = "p0" if t.elem == "ptr" else t.elem
    return elem if t.lanes == 1 else f"v{t.lanes}{elem}"


def _float_text(value: float, elem: str) -> str:
    """LLVM's exact hexadecimal form (f32 constants are written as doubles; f16 as 0xH)."""
    if elem == "f16":
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if elem == "f32":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


#: opcode -> LLVM instruction for plain two-operand (or one-operand) forms
_PLAIN = {
    "fadd": "fadd", "fsub": "fsub", "fmul": "fmul", "fdiv": "fdiv", "frem": "frem", "fneg": "fneg",
    "iadd": "add", "isub": "sub", "imul": "mul", "sdiv": "sdiv", "udiv": "udiv", "srem": "srem", "urem": "urem",
    "and": "and", "or": "or", "xor": "xor", "shl": "shl", "lshr": "lshr", "ashr": "ashr",
}
#: opcode -> LLVM intrinsic overloaded on the result type
_INTRINSIC = {
    "fma": "fma", "fabs": "fabs", "fsqrt": "sqrt", "ffloor": "floor", "fceil": "ceil", "ftrunc": "trunc",
    "frint": "roundeven", "copysign": "copysign",
    "smin": "smin", "smax": "smax", "umin": "umin", "umax": "umax",
}
#: opcode -> LLVM conversion
_CONVERT = {op: op for op in ("trunc", "zext", "sext", "sitofp", "uitofp", "fpext", "fptrunc", "bitcast")}
_CONVERT["fptosi_inside"] = "fptosi"
_PREDICATE = {"ult_f": "ult", "ugt_f": "ugt"}


class _Module:
    """Text of the module being written."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lines: list[str] = []
        self.entry: list[str] = []  # stack slots, hoisted to the entry block
        self.declarations: dict[str, None] = {}
        self.tables: dict[str, str] = {}  # constant arrays: content -> name
        self.weights: dict[int, int] = {}  # iterations of loops -> number of the metadata that says so
        self.count = 0
        self.labels = 0
        self.current = "entry"

    # --- names
    def fresh(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def ref(self, v: Val) -> str:
        """The operand text of a value, without its type."""
        if v.const is not None:
            t = v.type
            if t.is_float:
                text = _float_text(float(v.const), t.elem)
            elif t.elem == "i1":
                text = "true" if v.const else "false"
            else:
                bits = t.bits
                value = int(v.const) & ((1 << bits) - 1)
                text = str(value - (1 << bits) if value >> (bits - 1) else value)
            return text if t.lanes == 1 else f"splat ({_type(Type(t.elem))} {text})"
        if v.number < 0:
            raise VerifyError(f"kernel {self.kernel.name}: a value is used before it is defined")
        return f"%v{v.number}"

    def typed(self, v: Val) -> str:
        return f"{_type(v.type)} {self.ref(v)}"

    def define(self, v: Val) -> str:
        self.count += 1
        v.number = self.count
        return f"%v{v.number}"

    def put(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.current = name

    def declare(self, text: str) -> None:
        self.declarations[f"declare {text}"] = None

    # --- control
    def block(self, body: list) -> None:
        for item in body:
            if isinstance(item, Instr):
                self.instr(item)
            elif isinstance(item, Loop):
                self.loop(item)
            else:
                self.branch(item)

    def loop(self, loop: Loop) -> None:
        self.labels += 1
        n = self.labels
        before = self.current
        index_type = _type(loop.index.type)
        lo, hi = self.ref(loop.lo), self.ref(loop.hi)
        init = [self.ref(v) for v in loop.init]
        if loop.nonempty:
            self.put(f"br label %body{n}")
        else:
            guard = self.fresh()
            self.put(f"{guard} = icmp slt {index_type} {lo}, {hi}")
            self.put(f"br i1 {guard}, label %body{n}, label %exit{n}")
        header = len(self.lines)
        self.label(f"body{n}")
        index, step = self.define(loop.index), self.fresh()
        carried = [self.define(v) for v in loop.carried]
        self.block(loop.body)
        latch = self.current
        self.put(f"{step} = add nsw {index_type} {index}, {self.ref(loop.step)}")
        again = self.fresh()
        self.put(f"{again} = icmp slt {index_type} {step}, {hi}")
        self.put(f"br i1 {again}, label %body{n}, label %exit{n}{self.expected(loop.trips)}")
        phis = [f"  {index} = phi {index_type} [ {lo}, %{before} ], [ {step}, %{latch} ]"]
        yields = [self.ref(v) for v in loop.yields]
        for name, v, first, nxt in zip(carried, loop.carried, init, yields, strict=True):
            phis.append(f"  {name} = phi {_type(v.type)} [ {first}, %{before} ], [ {nxt}, %{latch} ]")
        self.lines[header + 1:header + 1] = phis
        self.label(f"exit{n}")
        for v, first, nxt in zip(loop.results, init, yields, strict=True):
            sources = f"[ {nxt}, %{latch} ]" + ("" if loop.nonempty else f", [ {first}, %{before} ]")
            self.put(f"{self.define(v)} = phi {_type(v.type)} {sources}")

    def expected(self, trips: int) -> str:
        """What says of a loop's last branch that there are about so many iterations; nothing for 0."""
        if not trips:
            return ""
        return f", !prof !{self.weights.setdefault(trips, 2 + len(self.weights))}"

    def branch(self, node: If) -> None:
        self.labels += 1
        n = self.labels
        self.put(f"br i1 {self.ref(node.condition)}, label %then{n}, label %else{n}")
        ends, values = [], []
        for name, body, yields in (("then", node.then, node.then_yields), ("else", node.otherwise, node.else_yields)):
            self.label(f"{name}{n}")
            self.block(body)
            ends.append(self.current)
            values.append([self.ref(v) for v in yields])
            self.put(f"br label %join{n}")
        self.label(f"join{n}")
        for v, a, b in zip(node.results, *values, strict=True):
            self.put(f"{self.define(v)} = phi {_type(v.type)} [ {a}, %{ends[0]} ], [ {b}, %{ends[1]} ]")

    # --- instructions
    def instr(self, i: Instr) -> None:
        op = i.op
        if op in _PLAIN:
            text = f"{_PLAIN[op]} {_type(i.operands[0].type)} {', '.join(self.ref(v) for v in i.operands)}"
        elif op in _INTRINSIC:
            text = self.call(f"llvm.{_INTRINSIC[op]}.{_mangle(i.operands[0].type)}", i)
        elif op in _CONVERT:
            text = f"{_CONVERT[op]} {self.typed(i.operands[0])} to {_type(i.result.type)}"
        elif op in ("fptosi", "fptoui"):
            name = f"llvm.{op}.sat.{_mangle(i.result.type)}.{_mangle(i.operands[0].type)}"
            text = self.call(name, i)
        elif op in ("icmp", "fcmp"):
            a, b = i.operands
            text = f"{op} {_PREDICATE.get(i.attr, i.attr)} {_type(a.type)} {self.ref(a)}, {self.ref(b)}"
        else:
            text = getattr(self, f"_{op}")(i)
        if text is None:
            return
        if i.result is None:
            self.put(text)
        else:
            self.put(f"{self.define(i.result)} = {text}")

    def call(self, name: str, i: Instr, extra: str = "") -> str:
        result = "void" if i.result is None else _type(i.result.type)
        types = ", ".join(_type(v.type) for v in i.operands)
        self.declare(f"{result} @{name}({types}{', i1' if extra else ''})")
        return f"call {result} @{name}({', '.join(self.typed(v) for v in i.operands)}{extra})"

    def _intrinsic(self, i: Instr) -> str:
        return self.call(str(i.attr), i)

    def _select(self, i: Instr) -> str:
        return "select " + ", ".join(self.typed(v) for v in i.operands)

    def _splat(self, i: Instr) -> str:
        (x,) = i.operands
        t, vector = self.fresh(), _type(i.result.type)
        self.put(f"{t} = insertelement {vector} poison, {self.typed(x)}, i64 0")
        return f"shufflevector {vector} {t}, {vector} poison, <{i.result.type.lanes} x i32> zeroinitializer"

    def _lane_ids(self, i: Instr) -> str:
        t = i.result.type
        elem = _type(Type(t.elem))
        ids = ", ".join(f"{elem} {_float_text(float(n), t.elem) if t.is_float else n}" for n in range(t.lanes))
        zero = "zeroinitializer" if not t.is_float else f"splat ({elem} {_float_text(-0.0, t.elem)})"
        op = "fadd" if t.is_float else "add"
        return f"{op} {_type(t)} <{ids}>, {zero}" if t.lanes > 1 else f"{op} {elem} {0 if not t.is_float else '0.0'}, 0"

    def _extract(self, i: Instr) -> str:
        return f"extractelement {self.typed(i.operands[0])}, {self.typed(i.operands[1])}"

    def _insert(self, i: Instr) -> str:
        return "insertelement " + ", ".join(self.typed(v) for v in i.operands)

    def _shuffle(self, i: Instr) -> str:
        mask = ", ".join("i32 poison" if n < 0 else f"i32 {n}" for n in i.attr)
        return (f"shufflevector {self.typed(i.operands[0])}, {self.typed(i.operands[1])}, "
                f"<{len(i.attr)} x i32> <{mask}>")

    def _undef(self, i: Instr) -> str:
        t = _type(i.result.type)
        return f"freeze {t} poison"

    def _offset(self, i: Instr) -> str:
        pointer, elements = i.operands
        return f"getelementptr {_type(Type(i.attr))}, {self.typed(pointer)}, {self.typed(elements)}"

    def _load(self, i: Instr) -> str:
        t = i.result.type
        note = ", !invariant.load !0" if i.attr == "invariant" else ""
        return f"load {_type(t)}, {self.typed(i.operands[0])}, align {max(1, t.bits // 8)}{note}"

    def _store(self, i: Instr) -> str:
        value, pointer = i.operands
        size = max(1, value.type.bits // 8)
        if i.attr == "nontemporal":
            return f"store {self.typed(value)}, {self.typed(pointer)}, align {size * value.type.lanes}, !nontemporal !1"
        return f"store {self.typed(value)}, {self.typed(pointer)}, align {size}"

    def _masked(self, name: str, i: Instr, value: Val, operands: str, tail: str) -> str:
        return ""

    def _masked_load(self, i: Instr) -> str:
        pointer, mask, other = i.operands
        t = i.result.type
        name = f"llvm.masked.load.{_mangle(t)}.p0"
        self.declare(f"{_type(t)} @{name}(ptr, i32 immarg, {_type(mask.type)}, {_type(t)})")
        return (f"call {_type(t)} @{name}({self.typed(pointer)}, i32 {max(1, t.bits // 8)}, {self.typed(mask)}, "
                f"{self.typed(other)})")

    def _masked_store(self, i: Instr) -> str:
        value, pointer, mask = i.operands
        name = f"llvm.masked.store.{_mangle(value.type)}.p0"
        self.declare(f"void @{name}({_type(value.type)}, ptr, i32 immarg, {_type(mask.type)})")
        return (f"call void @{name}({self.typed(value)}, {self.typed(pointer)}, i32 {max(1, value.type.bits // 8)}, "
                f"{self.typed(mask)})")

    def _addresses(self, i: Instr, pointer: Val, elements: Val, elem: str) -> tuple[str, str]:
        lanes = elements.type.lanes
        t = self.fresh()
        self.put(f"{t} = getelementptr {_type(Type(elem))}, {self.typed(pointer)}, {self.typed(elements)}")
        return t, f"<{lanes} x ptr>"

    def _gather(self, i: Instr) -> str:
        pointer, elements, mask, other = i.operands
        t = i.result.type
        addresses, vector = self._addresses(i, pointer, elements, t.elem)
        name = f"llvm.masked.gather.{_mangle(t)}.v{t.lanes}p0"
        self.declare(f"{_type(t)} @{name}({vector}, i32 immarg, {_type(mask.type)}, {_type(t)})")
        return (f"call {_type(t)} @{name}({vector} {addresses}, i32 {max(1, t.bits // 8)}, {self.typed(mask)}, "
                f"{self.typed(other)})")

    def _scatter(self, i: Instr) -> str:
        value, pointer, elements, mask = i.operands
        t = value.type
        addresses, vector = self._addresses(i, pointer, elements, t.elem)
        name = f"llvm.masked.scatter.{_mangle(t)}.v{t.lanes}p0"
        self.declare(f"void @{name}({_type(t)}, {vector}, i32 immarg, {_type(mask.type)})")
        return (f"call void @{name}({self.typed(value)}, {vector} {addresses}, i32 {max(1, t.bits // 8)}, "
                f"{self.typed(mask)})")

    def _prefetch(self, i: Instr) -> str:
        self.declare("void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)")
        write, level = i.attr
        return f"call void @llvm.prefetch.p0({self.typed(i.operands[0])}, i32 {int(write)}, i32 {4 - level}, i32 1)"

    def _stack(self, i: Instr) -> None:
        elem, count = i.attr
        self.entry.append(f"  {self.define(i.result)} = alloca {_type(Type(elem))}, i64 {count}, align 64")

    def _table(self, i: Instr) -> str:
        elem, values = i.attr
        t = Type(elem)
        items = ", ".join(f"{_type(t)} {_float_text(v, elem) if t.is_float else v}" for v in values)
        content = f"private unnamed_addr constant [{len(values)} x {_type(t)}] [{items}]"
        name = self.tables.setdefault(content, f"@{self.kernel.name}.table{len(self.tables)}")
        return f"getelementptr i8, ptr {name}, i64 0"


def emit_module(kernel: Kernel, attributes: str = "") -> str:
    """The LLVM module of ``kernel``; ``attributes`` are extra function attributes of the target."""
    m = _Module(kernel)
    params = ", ".join(f"{_type(p.type)}{' noalias' if p.type.elem == 'ptr' else ''} {m.define(p)}"
                       for p in kernel.params)
    m.block(kernel.body)
    return "\n".join([
        f"define void @{kernel.name}({params}) nounwind {attributes} {{", "entry:", *m.entry, *m.lines,
        "  ret void", "}", *m.declarations, *(f"{name} = {content}" for content, name in m.tables.items()),
        "!0 = !{}", "!1 = !{i32 1}",
        *(f'!{n} = !{{!"branch_weights", i32 {max(1, trips - 1)}, i32 1}}' for trips, n in m.weights.items()), ""])
