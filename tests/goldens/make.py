"""Write today's golden files: ``python -m tests.goldens.make``. Files of earlier dates are never written again."""
from __future__ import annotations

import datetime
from pathlib import Path

import gemel
from gemel import nn, optim

from .contents import DTYPES, SHAPES, values


def tensors() -> dict:
    """The entries of a golden file."""
    return {f"{dtype}.{name}": gemel.tensor(values(dtype, shape).tolist(), dtype=getattr(gemel, dtype)).reshape(shape)
            for dtype in DTYPES for name, shape in SHAPES.items()}


def main() -> None:
    folder = Path(__file__).parent / datetime.date.today().isoformat()
    folder.mkdir()
    gemel.save(tensors(), folder / "tensors.safetensors")
    gemel.save(tensors(), folder / "tensors.pt")
    p = nn.Parameter(gemel.tensor([1.0, -2.0]))
    optimizer = optim.Adam([p], lr=0.5)
    (p * p).sum().backward()
    optimizer.step()
    gemel.save({"epoch": 3, "loss": 0.25, "names": ["a", ("b", None)], "optimizer": optimizer.state_dict(),
                "parameter": p}, folder / "checkpoint.pt")


if __name__ == "__main__":
    main()
