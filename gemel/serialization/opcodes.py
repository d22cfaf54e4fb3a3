"""Reading pickles without running them.

A pickle is a program for a small stack machine. This interpreter knows the opcodes that build plain data, and a
closed table of names for everything else: an opcode or a name that is not in the tables is an error, before anything
has happened. Python's ``pickle`` is not involved; nothing is imported, looked up or called by name.
"""
from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .errors import FormatError

MAX_DEPTH = 500       # of nested containers
MAX_LONG = 128        # bytes of an integer

_MARK = object()


class Name:
    """A global of the pickle: a marker, or with ``build`` a function of ours that takes its place."""

    __slots__ = ("name", "build", "value")

    def __init__(self, name: str, build: Callable[..., Any] | None = None, value: Any = None) -> None:
        self.name, self.build, self.value = name, build, value


class Reader:
    """One run of the machine.

    Args:
        data: the pickle. names: "module name" -> :class:`Name`. persistent: what a persistent id stands for.
    """

    def __init__(self, data: memoryview, names: dict[str, Name], persistent: Callable[[Any], Any]) -> None:
        self.data, self.names, self.persistent = data, names, persistent
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    # --- bytes
    def take(self, n: int) -> memoryview:
        """The next ``n`` bytes."""
        end = self.at + n
        if end > len(self.data):
            raise FormatError(f"the pickle is truncated: {n} bytes wanted at {self.at} of {len(self.data)}")
        found = self.data[self.at:end]
        self.at = end
        return found

    def number(self, form: str) -> Any:
        """The next number in ``struct``'s notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to a newline (of at most 256 bytes)."""
        window = bytes(self.data[self.at:self.at + 256])
        end = window.find(b"\n")
        if end < 0:
            raise FormatError(f"the pickle is truncated or has a name of more than 255 bytes at {self.at}")
        self.at += end + 1
        return decoded(window[:end])

    # --- the stack
    def pop(self) -> Any:
        """The top of the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise FormatError(f"the pickle takes from an empty stack at {self.at}")
        return self.stack.pop()

    def top(self, kind: type, what: str) -> Any:
        """The top of the stack, which must be a ``kind``."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise FormatError(f"the pickle adds to something that is not a {what} at {self.at}")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """What lies above the last mark."""
        stack = self.stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is _MARK:
                found = stack[i + 1:]
                del stack[i:]
                return found
        raise FormatError(f"the pickle has no mark at {self.at}")

    def tuple_of(self, n: int) -> tuple:
        """The top ``n`` of the stack as a tuple."""
        found = [self.pop() for _ in range(n)]
        return tuple(found[::-1])

    # --- running
    def run(self) -> Any:
        """The object that the pickle describes."""
        data, steps = self.data, STEPS
        while True:
            if self.at >= len(data):
                raise FormatError("the pickle is truncated: it has no end")
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                result = self.pop()
                check_tree(result)
                return result
            step = steps.get(code)
            if step is None:
                raise FormatError(f"opcode {bytes([code])!r} at {self.at - 1} is not allowed: only plain data is read, "
                                  f"and nothing of a file is ever run")
            step(self)

    # --- opcodes with more than a line
    def find(self, module: str, name: str) -> None:
        """GLOBAL and STACK_GLOBAL."""
        found = self.names.get(f"{module} {name}")
        if found is None:
            raise FormatError(f"the file refers to {module}.{name}, which is not in the list of what may be loaded "
                              f"(tensors, parameters, dtypes, OrderedDict and plain data). Nothing was run.")
        self.stack.append(found)

    def reduce(self) -> None:
        """REDUCE and NEWOBJ: call a function of ours."""
        args, function = self.pop(), self.pop()
        if not isinstance(function, Name) or function.build is None or not isinstance(args, tuple):
            raise FormatError(f"the pickle calls something that is not a function of the list at {self.at}")
        try:
            self.stack.append(function.build(*args))
        except FormatError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"{function.name} was given arguments that do not fit: {error}") from None

    def build(self) -> None:
        """BUILD: state of an OrderedDict (torch keeps module versions in ``_metadata``)."""
        state = self.pop()
        target = self.top(OrderedDict, "OrderedDict")
        if isinstance(state, tuple) and len(state) == 2 and state[0] is None:
            state = state[1]
        if not isinstance(state, dict) or not set(state) <= {"_metadata"}:
            raise FormatError(f"the pickle sets attributes other than _metadata at {self.at}")
        if "_metadata" in state:
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]

    def set_items(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS."""
        target = self.top(dict, "dict")
        if len(items) % 2:
            raise FormatError(f"the pickle sets a key without a value at {self.at}")
        for i in range(0, len(items), 2):
            check_key(items[i])
            target[items[i]] = items[i + 1]

    def remember(self, n: int) -> None:
        """PUT: the memo is a dict, so a large number costs nothing."""
        if not self.stack or self.stack[-1] is _MARK:
            raise FormatError(f"the pickle remembers an empty stack at {self.at}")
        self.memo[n] = self.stack[-1]

    def recall(self, n: int) -> None:
        """GET."""
        if n not in self.memo:
            raise FormatError(f"the pickle recalls {n}, which it has not remembered, at {self.at}")
        self.stack.append(self.memo[n])

    def long(self, n: int) -> None:
        """LONG1 and LONG4."""
        if n < 0 or n > MAX_LONG:
            raise FormatError(f"an integer of {n} bytes at {self.at}; at most {MAX_LONG} are allowed")
        self.stack.append(int.from_bytes(self.take(n), "little", signed=True))

    def stack_global(self) -> None:
        """STACK_GLOBAL."""
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise FormatError(f"a global's name is not text at {self.at}")
        self.find(module, name)

    def add_items(self) -> None:
        """ADDITEMS."""
        items = self.marked()
        target = self.top(set, "set")
        for x in items:
            check_key(x)
        target.update(items)

    def push_dict(self) -> None:
        """DICT."""
        items = self.marked()
        self.stack.append({})
        self.set_items(items)


def decoded(data: bytes | memoryview) -> str:
    """UTF-8 text."""
    try:
        return bytes(data).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise FormatError("text in the pickle is not UTF-8") from None


_SCALARS = (str, int, float, bool, bytes, type(None))


def check_key(x: Any) -> None:
    """Keys are scalars or tuples of scalars: hashing anything deeper can be made to take for ever."""
    if isinstance(x, _SCALARS) or isinstance(x, tuple) and len(x) <= 64 and all(isinstance(y, _SCALARS) for y in x):
        return
    raise FormatError(f"a key of type {type(x).__name__} is not allowed")


def check_tree(root: Any) -> None:
    """Refuse containers that contain themselves or are nested too deeply; iterative, each container once."""
    depth: dict[int, int] = {}   # finished containers -> depth
    open_: set[int] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        x, leaving = stack.pop()
        if not isinstance(x, (dict, list, tuple, set)):
            continue
        if leaving:
            inner = max((depth.get(id(y), 0) for y in _children(x)), default=0)
            depth[id(x)] = inner + 1
            open_.discard(id(x))
            if inner >= MAX_DEPTH:
                raise FormatError(f"containers are nested more than {MAX_DEPTH} deep")
        elif id(x) in open_:
            raise FormatError("a container of the file contains itself")
        elif id(x) not in depth:
            open_.add(id(x))
            stack.append((x, True))
            stack += [(y, False) for y in _children(x) if isinstance(y, (dict, list, tuple, set))]


def _children(x: Any) -> Any:
    if isinstance(x, OrderedDict):
        return [*x.values(), getattr(x, "_metadata", None)]
    return x.values() if isinstance(x, dict) else x


def _push(make: Callable[[Reader], Any]) -> Callable[[Reader], None]:
    return lambda r: r.stack.append(make(r))


def _append(r: Reader) -> None:
    item = r.pop()
    r.top(list, "list").append(item)


def _extend(r: Reader) -> None:
    items = r.marked()
    r.top(list, "list").extend(items)


def _set_item(r: Reader) -> None:
    value, key = r.pop(), r.pop()
    r.set_items([key, value])


def _frozen(r: Reader) -> frozenset:
    items = r.marked()
    for x in items:
        check_key(x)
    return frozenset(items)


def _protocol(r: Reader) -> None:
    n = r.number("<B")
    if n > 5:
        raise FormatError(f"pickle protocol {n} is unknown; protocols up to 5 are read")


STEPS: dict[int, Callable[[Reader], Any]] = {ord(code): step for code, step in {
    "\x80": _protocol,
    "\x95": lambda r: r.take(8),                                          # FRAME
    "(": lambda r: r.stack.append(_MARK),
    "0": lambda r: r.stack.pop() if r.stack else r.pop(),                 # POP
    "1": lambda r: r.marked(),                                            # POP_MARK
    "2": lambda r: r.stack.append(r.top(object, "value")),                # DUP
    "N": _push(lambda r: None),
    "\x88": _push(lambda r: True),
    "\x89": _push(lambda r: False),
    "J": _push(lambda r: r.number("<i")),
    "K": _push(lambda r: r.number("<B")),
    "M": _push(lambda r: r.number("<H")),
    "\x8a": lambda r: r.long(r.number("<B")),
    "\x8b": lambda r: r.long(r.number("<i")),
    "G": _push(lambda r: r.number(">d")),
    "X": _push(lambda r: decoded(r.take(r.number("<I")))),
    "\x8c": _push(lambda r: decoded(r.take(r.number("<B")))),
    "\x8d": _push(lambda r: decoded(r.take(r.number("<Q")))),
    "T": _push(lambda r: decoded(r.take(max(0, r.number("<i"))))),
    "U": _push(lambda r: decoded(r.take(r.number("<B")))),
    "B": _push(lambda r: bytes(r.take(r.number("<I")))),
    "C": _push(lambda r: bytes(r.take(r.number("<B")))),
    "\x8e": _push(lambda r: bytes(r.take(r.number("<Q")))),
    ")": _push(lambda r: ()),
    "t": _push(lambda r: tuple(r.marked())),
    "\x85": _push(lambda r: r.tuple_of(1)),
    "\x86": _push(lambda r: r.tuple_of(2)),
    "\x87": _push(lambda r: r.tuple_of(3)),
    "]": _push(lambda r: []),
    "l": _push(lambda r: r.marked()),
    "a": _append,
    "e": _extend,
    "}": _push(lambda r: {}),
    "d": lambda r: r.push_dict(),
    "s": _set_item,
    "u": lambda r: r.set_items(r.marked()),
    "\x8f": _push(lambda r: set()),
    "\x90": lambda r: r.add_items(),
    "\x91": _push(_frozen),
    "q": lambda r: r.remember(r.number("<B")),
    "r": lambda r: r.remember(r.number("<I")),
    "\x94": lambda r: r.remember(len(r.memo)),
    "h": lambda r: r.recall(r.number("<B")),
    "j": lambda r: r.recall(r.number("<I")),
    "c": lambda r: r.find(r.line(), r.line()),
    "\x93": lambda r: r.stack_global(),
    "R": lambda r: r.reduce(),
    "\x81": lambda r: r.reduce(),
    "b": lambda r: r.build(),
    "Q": lambda r: r.stack.append(r.persistent(r.pop())),
}.items()}
