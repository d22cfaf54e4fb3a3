"""The same model on PyTorch: our model files are PyTorch programs, so the reference is the file with other imports."""
from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np

import gemel

PACKAGE = Path(gemel.__file__).parent


def on_torch(path: str) -> types.ModuleType:
    """The module in ``gemel/<path>`` with its imports of Gemel turned into imports of torch."""
    text = (PACKAGE / path).read_text()
    for ours, theirs in ((r" import nn", " import nn"), (r"nn import functional as F", r".nn import functional as F"),
                         (r"(?:tensor\.\w+|autograd) import (.+)", r" import \2")):
        text = re.sub(rf"^( *)from \.+{ours}$", rf"\1from torch{theirs}", text, flags=re.M)
    assert "from ." not in text, "an import of this file is not understood"
    module = types.ModuleType(f"reference_{Path(path).stem}")
    sys.modules[module.__name__] = module
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def numbers(t) -> np.ndarray:
    """A tensor of either as an array."""
    return t.detach().numpy()


def share_state(theirs, ours) -> None:
    """Load torch's state dict into our model: keys, shapes and order must agree."""
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: gemel.tensor(v.numpy()) for k, v in state.items()})


def relative_error(mine, reference) -> float:
    """Norm of the difference over the norm of the reference."""
    a, b = numbers(mine).astype(np.float64), numbers(reference).astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300))
