"""What is wrong with a file."""
from __future__ import annotations

from ..engine.base.errors import GemelError


class FormatError(GemelError, ValueError, RuntimeError):
    """The file is truncated, corrupt or hostile; the message names the defect. Nothing of it was run."""
