"""No path that reads data can run code: the names that could do it do not occur in the framework."""
from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gemel"
CALLS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib"}
#: files that may use one of them, and why
ALLOWED = {
    ("utils/data", "pickle"): "a DataLoader's own worker processes send batches back; nothing is read from files",
}


def faults(path: Path) -> list[str]:
    """Uses of the forbidden names in a file."""
    found = []
    here = path.relative_to(PACKAGE)
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module.split(".")[0]]
        bad = [n for n in names if n in MODULES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            bad.append(node.func.id)
        found += [f"{here}:{node.lineno}: {n}" for n in bad  # type: ignore[attr-defined]
                  if not any(str(here).startswith(folder) and n == name for folder, name in ALLOWED)]
    return found


def test_the_check_sees_what_it_forbids(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_no_code_execution.PACKAGE", tmp_path)
    bad = tmp_path / "bad.py"
    bad.write_text("import pickle\nfrom marshal import loads\nx = eval('1')\n")
    assert len(faults(bad)) == 3


def test_no_file_can_run_code_from_data():
    assert not [f for path in sorted(PACKAGE.rglob("*.py")) for f in faults(path)]
