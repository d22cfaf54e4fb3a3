"""Vision: data sets and models, with torchvision's names."""
from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("datasets", "models"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'gemel.vision' has no attribute {name!r}")
