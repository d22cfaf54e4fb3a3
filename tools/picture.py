"""Write ``docs/images/mnist.svg``: what ``examples/mnist.py`` shows in a terminal of 96 columns.

    python tools/picture.py
"""
from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path

import rich.console

ROOT = Path(__file__).parent.parent


def main() -> None:
    consoles = []
    plain = rich.console.Console

    class Recorder(plain):
        def __init__(self, *args, **kwargs) -> None:
            options = {"record": True, "width": 96, "force_terminal": False, "color_system": "truecolor"}
            super().__init__(*args, **{**options, **kwargs})
            consoles.append(self)

    rich.console.Console = Recorder
    os.chdir(tempfile.mkdtemp())
    sys.argv = ["mnist.py", "--save", "mnist.safetensors"]
    sys.path.insert(0, str(ROOT / "examples"))
    runpy.run_path(str(ROOT / "examples" / "mnist.py"), run_name="__main__")
    target = ROOT / "docs" / "images" / "mnist.svg"
    target.parent.mkdir(exist_ok=True)
    recorded = max(consoles, key=lambda c: len(c.export_text(clear=False)))
    recorded.save_svg(str(target), title="python examples/mnist.py")


if __name__ == "__main__":
    main()
