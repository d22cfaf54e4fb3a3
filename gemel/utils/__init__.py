"""What programs need around tensors and modules: data loading."""
import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("data", "checkpoint"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'gemel.utils' has no attribute {name!r}")
