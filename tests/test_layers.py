"""Imports go down only: each room may import itself and the rooms below it."""
from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gemel"

#: rooms of the engine, lowest first; a room may import rooms before it
ENGINE = ("base", "ir", "interpreter", "autodiff", "composites", "passes", "loops", "codegen", "device", "artifact",
          "runtime")
#: rooms above the engine: what each may import besides the engine and itself
ABOVE = {
    "tensor": set(),
    "autograd": {"tensor"},
    "func": {"tensor", "autograd"},
    "linalg": {"tensor", "autograd"},
    "fft": {"tensor", "autograd"},
    "special": {"tensor"},
    "signal": {"tensor"},
    "cpu": set(),
    "cuda": set(),
    "accelerator": set(),
    "amp": {"tensor"},
    "backends": set(),
    "testing": {"tensor"},
    "random": {"tensor"},
    "library": {"tensor", "autograd"},
    "debug": {"tensor"},
    "serialization": {"tensor", "nn"},
    "deploy": {"tensor", "nn"},
    "nn": {"tensor", "autograd", "utils"},
    "optim": {"tensor", "autograd", "nn"},
    "utils": {"tensor", "autograd"},
    "vision": {"tensor", "autograd", "nn", "utils"},
    "models": {"tensor", "autograd", "nn", "utils"},
    "compiler": {"tensor", "autograd", "nn"},
    "cli": {"tensor", "debug", "deploy", "nn"},
}
#: packages that the framework never imports
PEERS = {"torch", "jax", "tensorflow", "onnxruntime", "transformers"}


def room_of(path: Path) -> tuple[str, ...]:
    """('engine', 'ir') or ('nn',) of a file."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:2] if parts[0] == "engine" and len(parts) > 1 else parts[:1]


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, absolute module) of each import statement in a file."""
    package = ("gemel", *path.relative_to(PACKAGE).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            found.append((node.lineno, module))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def violation(source: tuple[str, ...], module: str) -> str | None:
    """Why a file of room ``source`` may not import ``module``, or None."""
    parts = module.split(".")
    if parts[0] in PEERS:
        return f"imports the peer {parts[0]}"
    if parts[0] != "gemel" or len(parts) < 2 or source == ("__init__",):
        return None
    target = parts[1]
    if target == source[0] and target != "engine":
        return None
    if target == "engine":
        if source[0] != "engine":
            return None
        if len(parts) < 3 or len(source) < 2 or parts[2] not in ENGINE:
            return None
        if ENGINE.index(parts[2]) > ENGINE.index(source[1]):
            return f"engine.{source[1]} imports engine.{parts[2]}, which is above it"
        return None
    if source[0] == "engine":
        return f"the engine imports gemel.{target}, which is above it"
    if source[0] in ABOVE and target in ABOVE and target not in ABOVE[source[0]]:
        return f"gemel.{source[0]} imports gemel.{target}"
    return None


def test_imports_go_down():
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = room_of(path)
        for line, module in imports(path):
            why = violation(source, module)
            if why:
                faults.append(f"{path.relative_to(PACKAGE)}:{line}: {why}")
    assert not faults, "\n".join(sorted(set(faults)))


def test_every_room_has_a_place():
    rooms = {room_of(p)[0] for p in PACKAGE.rglob("*.py")} - {"engine", "__init__", "__main__"}
    assert rooms <= set(ABOVE), f"rooms without a row in the table: {rooms - set(ABOVE)}"
    engine = {room_of(p)[1] for p in (PACKAGE / "engine").rglob("*.py") if len(room_of(p)) > 1} - {"__init__"}
    assert engine <= set(ENGINE), f"engine rooms without a place: {engine - set(ENGINE)}"


def test_files_stay_readable():
    long = [f"{p.relative_to(PACKAGE)}: {n} lines" for p in PACKAGE.rglob("*.py")
            if (n := len(p.read_text().splitlines())) > 800]
    assert not long, "\n".join(long)
