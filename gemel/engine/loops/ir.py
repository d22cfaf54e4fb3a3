"""The loop IR: what schedules produce and the code generators consume.

A kernel is a function over explicit vectors in single-assignment form, with structured control:

    Kernel   = name, parameters, block
    block    = instruction*
    instruction = Instr(opcode, result, operands, attribute)
                | Loop(index, lo, hi, step, carried values, block)     counted, values carried in registers
                | If(condition, then block, else block, results)

Values are scalars or vectors (``Type(elem, lanes)``; ``lanes == 1`` is a scalar). Element types are LLVM's:
``i1 i8 i16 i32 i64 f16 f32 f64`` and ``ptr``; bf16 lives in ``i16`` and is widened by explicit arithmetic, so
that every target rounds alike. No operation reassociates or contracts: a multiply-add is fused exactly where
the schedule says ``fma``. The text of a kernel (``print_kernel``) is stable: tests keep goldens of it.

Every kernel has the parameters of :class:`KernelBuilder`: a table of argument pointers, a table of i64
parameters, the range of tasks to do, and the thread's scratch memory.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..base.errors import VerifyError
from ..base.target import NATIVE


class Type(NamedTuple):
    """Element type and number of lanes."""

    elem: str
    lanes: int = 1

    def __str__(self) -> str:
        return self.elem if self.lanes == 1 else f"{self.elem}x{self.lanes}"

    @property
    def is_float(self) -> bool:
        return self.elem[0] == "f"

    @property
    def bits(self) -> int:
        return 64 if self.elem == "ptr" else int(self.elem.lstrip("bif"))


I1, I8, I16, I32, I64 = Type("i1"), Type("i8"), Type("i16"), Type("i32"), Type("i64")
F16, F32, F64, PTR = Type("f16"), Type("f32"), Type("f64"), Type("ptr")


class Val:
    """A value of the loop IR. Arithmetic operators work on scalar integers (index arithmetic)."""

    __slots__ = ("type", "k", "const", "number")

    def __init__(self, type: Type, k: KernelBuilder, const: int | float | None = None) -> None:
        self.type, self.k, self.const, self.number = type, k, const, -1

    def __add__(self, other: Val | int) -> Val:
        return self.k.iadd(self, self.k.int_like(other, self))

    def __radd__(self, other: int) -> Val:
        return self + other

    def __sub__(self, other: Val | int) -> Val:
        return self.k.isub(self, self.k.int_like(other, self))

    def __mul__(self, other: Val | int) -> Val:
        return self.k.imul(self, self.k.int_like(other, self))

    def __rmul__(self, other: int) -> Val:
        return self * other


@dataclass(slots=True)
class Instr:
    op: str
    result: Any                # Val, or None for instructions without a result
    operands: tuple[Val, ...]
    attr: Any = None


@dataclass(slots=True)
class Loop:
    index: Val
    lo: Val
    hi: Val
    step: Val
    init: tuple[Val, ...]      # carried values before the first iteration
    carried: tuple[Val, ...]   # their names inside the body
    yields: tuple[Val, ...]    # their values after an iteration
    results: tuple[Val, ...]   # their names after the loop
    body: list
    nonempty: bool             # lo < hi is known: no guard
    trips: int                 # about how many iterations it has, if that is few; else 0


@dataclass(slots=True)
class If:
    condition: Val
    then: list
    otherwise: list
    then_yields: tuple[Val, ...]
    else_yields: tuple[Val, ...]
    results: tuple[Val, ...]


@dataclass(slots=True)
class Kernel:
    """A finished kernel: its name, parameter values and body."""

    name: str
    params: tuple[Val, ...]
    body: list


FLOAT_UNARY = ("fneg", "fabs", "fsqrt", "ffloor", "fceil", "ftrunc", "frint")
FLOAT_BINARY = ("fadd", "fsub", "fmul", "fdiv", "frem", "copysign")
INT_BINARY = ("iadd", "isub", "imul", "sdiv", "udiv", "srem", "urem", "and", "or", "xor", "shl", "lshr", "ashr",
              "smin", "smax", "umin", "umax")
COMPARES = ("eq", "ne", "slt", "sle", "ult", "ule", "sgt", "sge", "ugt", "uge",
            "oeq", "one", "ueq", "une", "olt", "ole", "ogt", "oge", "uno", "ord", "ult_f", "ugt_f")
CONVERSIONS = ("trunc", "zext", "sext", "sitofp", "uitofp", "fptosi", "fptoui", "fptosi_inside", "fpext", "fptrunc",
               "bitcast")


class KernelBuilder:
    """Writes one kernel.

    The kernel's parameters: ``args`` (pointer to a table of argument pointers), ``params`` (pointer to i64
    parameters), ``begin``/``end`` (the tasks of this call), ``scratch`` (memory private to the thread).
    ``native``: what the target does in one instruction (``Target.native``); formulas go another way, to the same
    bits, around what it lacks.
    """

    def __init__(self, name: str, native: frozenset[str] = NATIVE["avx2"]) -> None:
        self.name, self.native = name, native
        self.body: list = []
        self._block = self.body
        self._consts: dict[tuple, Val] = {}
        self.args, self.params = Val(PTR, self), Val(PTR, self)
        self.begin, self.end = Val(I64, self), Val(I64, self)
        self.scratch = Val(PTR, self)

    def finish(self) -> Kernel:
        return Kernel(self.name, (self.args, self.params, self.begin, self.end, self.scratch), self.body)

    # --- emission
    def emit(self, op: str, type: Type | None, operands: Sequence[Val] = (), attr: object = None) -> Val:
        result = None if type is None else Val(type, self)
        self._block.append(Instr(op, result, tuple(operands), attr))
        return result  # type: ignore[return-value]

    # --- constants
    def const(self, value: int | float, type: Type) -> Val:
        """A constant; a vector type splats it."""
        if type.is_float:
            value = float(value)
        key = (repr(value), type)
        found = self._consts.get(key)
        if found is None:
            found = self._consts[key] = Val(type, self, value)
        return found

    def i64(self, value: int | Val) -> Val:
        return value if isinstance(value, Val) else self.const(value, I64)

    def int_like(self, value: Val | int, like: Val) -> Val:
        return value if isinstance(value, Val) else self.const(value, like.type)

    def lane_ids(self, lanes: int, elem: str = "i64") -> Val:
        """The vector 0, 1, 2, ..."""
        return self.emit("lane_ids", Type(elem, lanes))

    # --- arithmetic
    def unary(self, op: str, x: Val) -> Val:
        return self.emit(op, x.type, (x,))

    def binary(self, op: str, x: Val, y: Val) -> Val:
        if x.type != y.type:
            raise VerifyError(f"kernel {self.name}: {op} of {x.type} and {y.type}")
        return self.emit(op, x.type, (x, y))

    def fneg(self, x): return self.unary("fneg", x)
    def fabs(self, x): return self.unary("fabs", x)
    def fsqrt(self, x): return self.unary("fsqrt", x)
    def ffloor(self, x): return self.unary("ffloor", x)
    def fceil(self, x): return self.unary("fceil", x)
    def ftrunc(self, x): return self.unary("ftrunc", x)
    def frint(self, x): return self.unary("frint", x)
    def fadd(self, x, y): return self.binary("fadd", x, y)
    def fsub(self, x, y): return self.binary("fsub", x, y)
    def fmul(self, x, y): return self.binary("fmul", x, y)
    def fdiv(self, x, y): return self.binary("fdiv", x, y)
    def copysign(self, x, y): return self.binary("copysign", x, y)
    def and_(self, x, y): return self.binary("and", x, y)
    def or_(self, x, y): return self.binary("or", x, y)
    def xor(self, x, y): return self.binary("xor", x, y)
    def shl(self, x, y): return self.binary("shl", x, y)
    def lshr(self, x, y): return self.binary("lshr", x, y)
    def ashr(self, x, y): return self.binary("ashr", x, y)
    def udiv(self, x, y): return self.binary("udiv", x, y)
    def urem(self, x, y): return self.binary("urem", x, y)
    def smin(self, x, y): return self.binary("smin", x, y)
    def smax(self, x, y): return self.binary("smax", x, y)

    def iadd(self, x: Val, y: Val) -> Val:
        if x.const is not None and y.const is not None:
            return self.const(x.const + y.const, x.type)
        if y.const == 0:
            return x
        return y if x.const == 0 else self.binary("iadd", x, y)

    def isub(self, x: Val, y: Val) -> Val:
        return x if y.const == 0 else self.binary("isub", x, y)

    def imul(self, x: Val, y: Val) -> Val:
        if x.const is not None and y.const is not None:
            return self.const(x.const * y.const, x.type)
        if y.const == 1:
            return x
        return y if x.const == 1 else self.binary("imul", x, y)

    def fma(self, x: Val, y: Val, z: Val) -> Val:
        """``x * y + z``, rounded once."""
        if not x.type == y.type == z.type:
            raise VerifyError(f"kernel {self.name}: fma of {x.type}, {y.type}, {z.type}")
        return self.emit("fma", x.type, (x, y, z))

    def compare(self, predicate: str, x: Val, y: Val) -> Val:
        """Integers: eq ne slt sle ult ...; floats: oeq une olt ole ogt oge uno ord ..."""
        if x.type != y.type:
            raise VerifyError(f"kernel {self.name}: comparison of {x.type} and {y.type}")
        return self.emit("fcmp" if x.type.is_float else "icmp", Type("i1", x.type.lanes), (x, y), predicate)

    def select(self, condition: Val, x: Val, y: Val) -> Val:
        if x.type != y.type or condition.type.lanes not in (1, x.type.lanes):
            raise VerifyError(f"kernel {self.name}: select of {condition.type}, {x.type}, {y.type}")
        return self.emit("select", x.type, (condition, x, y))

    def convert(self, op: str, x: Val, elem: str) -> Val:
        """One of ``CONVERSIONS``, lane by lane. ``fptosi``/``fptoui`` saturate and map NaN to 0.

        ``fptosi_inside``: the caller knows that the integer type holds the result.
        """
        return x if x.type.elem == elem else self.emit(op, Type(elem, x.type.lanes), (x,))

    def bitcast(self, x: Val, elem: str) -> Val:
        """The same bits as lanes of ``elem`` (same total width; the lane count may change)."""
        lanes = x.type.bits * x.type.lanes // Type(elem).bits
        return x if x.type == Type(elem, lanes) else self.emit("bitcast", Type(elem, lanes), (x,))

    # --- vectors
    def splat(self, x: Val, lanes: int) -> Val:
        if lanes == 1 or x.type.lanes == lanes:
            return x
        if x.const is not None:
            return self.const(x.const, Type(x.type.elem, lanes))
        return self.emit("splat", Type(x.type.elem, lanes), (x,))

    def extract(self, x: Val, lane: int | Val) -> Val:
        return x if x.type.lanes == 1 else self.emit(
            "extract", Type(x.type.elem), (x, self.i64(lane)))

    def insert(self, x: Val, scalar: Val, lane: int | Val) -> Val:
        return self.emit("insert", x.type, (x, scalar, self.i64(lane)))

    def shuffle(self, x: Val, y: Val | None, lanes: Sequence[int]) -> Val:
        """Lanes of ``x`` (0..n-1) and ``y`` (n..2n-1); -1 is any value."""
        y = x if y is None else y
        if len(lanes) == 1:
            return self.extract(x if lanes[0] < x.type.lanes else y, lanes[0] % x.type.lanes)
        return self.emit("shuffle", Type(x.type.elem, len(lanes)), (x, y), tuple(lanes))

    def halves(self, x: Val) -> tuple[Val, Val]:
        """Lower and upper half of a vector."""
        n = x.type.lanes // 2
        return self.shuffle(x, None, range(n)), self.shuffle(x, None, range(n, 2 * n))

    def undef(self, type: Type) -> Val:
        return self.emit("undef", type)

    # --- memory; offsets are in elements of ``elem``
    def arg(self, index: int) -> Val:
        """The ``index``-th argument pointer."""
        return self.emit("load", PTR, (self.offset(self.args, index, "ptr"),), "invariant")

    def param(self, index: int) -> Val:
        """The ``index``-th i64 parameter."""
        return self.emit("load", I64, (self.offset(self.params, index, "i64"),), "invariant")

    def offset(self, pointer: Val, elements: Val | int, elem: str) -> Val:
        """``pointer`` moved by a number of elements."""
        elements = self.i64(elements)
        return pointer if elements.const == 0 else self.emit("offset", PTR, (pointer, elements), elem)

    def load(self, pointer: Val, type: Type, attr: str | None = None) -> Val:
        return self.emit("load", type, (pointer,), attr)

    def store(self, value: Val, pointer: Val, attr: str | None = None) -> None:
        """``attr``: None or ``nontemporal`` (the pointer is then aligned to the vector)."""
        self.emit("store", None, (value, pointer), attr)

    def masked_load(self, pointer: Val, mask: Val, other: Val) -> Val:
        """Lanes of ``other`` where the mask is off; memory there is not touched."""
        return self.emit("masked_load", other.type, (pointer, mask, other))

    def masked_store(self, value: Val, pointer: Val, mask: Val) -> None:
        self.emit("masked_store", None, (value, pointer, mask))

    def gather(self, pointer: Val, elements: Val, mask: Val, other: Val) -> Val:
        """Lane ``l`` loads ``pointer[elements[l]]`` where the mask is on."""
        return self.emit("gather", other.type, (pointer, elements, mask, other))

    def scatter(self, value: Val, pointer: Val, elements: Val, mask: Val) -> None:
        """Lane ``l`` stores to ``pointer[elements[l]]``, in rising ``l``, where the mask is on."""
        self.emit("scatter", None, (value, pointer, elements, mask))

    def prefetch(self, pointer: Val, write: bool = False, level: int = 1) -> None:
        """Fetch the cache line at ``pointer`` into the cache of this level (1 or 2)."""
        self.emit("prefetch", None, (pointer,), (write, level))

    def stack(self, elem: str, count: int) -> Val:
        """``count`` elements on the stack, aligned to 64 bytes; hoisted to the entry of the kernel."""
        return self.emit("stack", PTR, (), (elem, count))

    def table(self, elem: str, values: Sequence[int | float]) -> Val:
        """Pointer to constant elements that the module carries."""
        return self.emit("table", PTR, (), (elem, tuple(values)))

    def intrinsic(self, name: str, type: Type, *operands: Val) -> Val:
        """A target instruction by its LLVM name; the caller has checked that the target has it."""
        return self.emit("intrinsic", type, operands, name)

    # --- control
    def loop(self, lo: Val | int, hi: Val | int, step: Val | int = 1, init: Sequence[Val] = (),
             body: Callable[..., Sequence[Val] | None] | None = None, nonempty: bool = False, trips: int = 0
             ) -> tuple[Val, ...]:
        """``for index in range(lo, hi, step)``: ``body(index, *carried)`` returns the new carried values.

        ``trips``: about how many iterations it has, if that is few. LLVM takes every loop for long, and gives registers
        to the innermost ones.

        Returns the carried values after the loop (``init`` when it does not run).
        """
        assert body is not None
        lo, hi, step = self.i64(lo), self.i64(hi), self.i64(step)
        index, init = Val(lo.type, self), tuple(init)
        carried = tuple(Val(v.type, self) for v in init)
        outer, block = self._block, []
        self._block = block
        yields = tuple(body(index, *carried) or ())
        self._block = outer
        if [v.type for v in yields] != [v.type for v in init]:
            raise VerifyError(f"kernel {self.name}: a loop carries {[str(v.type) for v in init]} but yields "
                              f"{[str(v.type) for v in yields]}")
        results = tuple(Val(v.type, self) for v in init)
        outer.append(Loop(index, lo, hi, step, init, carried, yields, results, block, nonempty, trips))
        return results

    def if_(self, condition: Val, then: Callable[[], Sequence[Val] | None],
            otherwise: Callable[[], Sequence[Val] | None] | None = None) -> tuple[Val, ...]:
        """Both branches return values of the same types; a missing ``otherwise`` returns nothing."""
        outer = self._block
        blocks: list[list] = []
        yields: list[tuple[Val, ...]] = []
        for branch in (then, otherwise or (lambda: ())):
            self._block = []
            blocks.append(self._block)
            yields.append(tuple(branch() or ()))
        self._block = outer
        if [v.type for v in yields[0]] != [v.type for v in yields[1]]:
            raise VerifyError(f"kernel {self.name}: branches yield different types")
        results = tuple(Val(v.type, self) for v in yields[0])
        outer.append(If(condition, blocks[0], blocks[1], yields[0], yields[1], results))
        return results


# --- printing ------------------------------------------------------------------------------------

def print_kernel(kernel: Kernel) -> str:
    """Readable text, for ``GEMEL_LOG=loop`` and goldens."""
    names: dict[Val, str] = dict(zip(kernel.params, ("args", "params", "begin", "end", "scratch"),
                                                  strict=True))
    lines = [f"kernel {kernel.name}(args, params, begin, end, scratch) {{"]

    def name(v: Val) -> str:
        if v.const is not None:
            return f"{v.const!r}" if v.type.lanes == 1 else f"<{v.const!r} x {v.type.lanes}>"
        return names.setdefault(v, f"%{len(names)}")

    def block(body: list, indent: str) -> None:
        for item in body:
            if isinstance(item, Loop):
                carried = ", ".join(f"{name(c)} = {name(i)}" for c, i in zip(item.carried, item.init, strict=True))
                lines.append(f"{indent}for {name(item.index)} in {name(item.lo)} .. {name(item.hi)} step "
                             f"{name(item.step)}" + (f" carrying {carried}" if carried else "") + " {")
                block(item.body, indent + "  ")
                if item.yields:
                    lines.append(f"{indent}  yield {', '.join(map(name, item.yields))}")
                lines.append(indent + "}" + (f" -> {', '.join(map(name, item.results))}" if item.results else ""))
            elif isinstance(item, If):
                lines.append(f"{indent}if {name(item.condition)} {{")
                for part, yields in ((item.then, item.then_yields), (item.otherwise, item.else_yields)):
                    if part is item.otherwise and not part and not yields:
                        continue
                    if part is item.otherwise:
                        lines.append(f"{indent}}} else {{")
                    block(part, indent + "  ")
                    if yields:
                        lines.append(f"{indent}  yield {', '.join(map(name, yields))}")
                lines.append(indent + "}" + (f" -> {', '.join(map(name, item.results))}" if item.results else ""))
            else:
                operands = ", ".join(map(name, item.operands))
                attr = "" if item.attr is None else f" {{{item.attr}}}"
                left = f"{name(item.result)}: {item.result.type} = " if item.result is not None else ""
                lines.append(f"{indent}{left}{item.op}({operands}){attr}")

    block(kernel.body, "  ")
    return "\n".join([*lines, "}"])
