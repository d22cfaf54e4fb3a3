"""``GEMEL_LOG=topic,topic``: what the engine does and why, on stderr. Costs one set lookup when off."""
from __future__ import annotations

import sys
import time

from .flags import flags

TOPICS = ("trace", "fuse", "loop", "llvm", "compile", "sync", "cache", "plan", "memory", "passes")
_START = time.perf_counter()


def on(topic: str) -> bool:
    """Is ``topic`` to be printed? (``all`` switches every topic on.)"""
    log = flags.LOG
    return bool(log) and (topic in log or "all" in log)


def say(topic: str, text: str) -> None:
    """Print ``text`` under ``topic``, with the time since start in ms."""
    stamp = (time.perf_counter() - _START) * 1e3
    for line in text.splitlines() or [""]:
        sys.stderr.write(f"[gemel {topic} {stamp:9.1f}ms] {line}\n")
