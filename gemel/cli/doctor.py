"""``gemel doctor``: what this machine offers and what Gemel uses of it, a line and a reason each."""
from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: optional package -> (extra that brings it, what it is for)
OPTIONAL = {
    "rich": ("progress", "live progress displays"),
    "torch": ("test", "reference of the tests"),
    "safetensors": ("test", "reference of the tests"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``ok`` is True, False, or None for plain information."""

    name: str
    ok: bool | None
    text: str


def findings() -> Iterator[Finding]:
    """Everything the report says, in order."""
    for look in (_versions, _target, _features, _threads, _memory, _cache, _compiler, _kernel, _optional):
        yield from _guarded(look)


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:  # a broken part is what the report is for
        yield Finding(look.__name__.strip("_"), False, f"{type(error).__name__}: {error}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions() -> Iterator[Finding]:
    yield Finding("gemel", None, f"{_version('gemel')} on Python {platform.python_version()}, {platform.platform()}")
    yield Finding("numpy", None, f"{_version('numpy')}; ml-dtypes {_version('ml-dtypes')}")


def _target() -> Iterator[Finding]:
    from ..engine.base.flags import flags
    from ..engine.base.target import ISAS, host
    target = host()
    widest = [name for name in ISAS if name != "neon"]
    why = "chosen by GEMEL_ISA" if flags.ISA else "the widest path this CPU has"
    yield Finding("CPU", None, f"{target.cpu} ({target.triple})")
    yield Finding("code path", True, f"{target.isa}: {target.vector_bytes * 8}-bit vectors, {why}"
                  + ("" if target.isa != "sse2" else "; no FMA: expect a quarter of the speed"))
    if target.isa in widest and target.isa != widest[-1] and not flags.ISA:
        yield Finding("avx512", None, "not available on this CPU")


def _features() -> Iterator[Finding]:
    from ..engine.base.target import host, host_features
    found = host_features()
    uses = {"fma": "f32 matrix products", "f16c": "float16 conversions", "avx512bf16": "bfloat16 matrix products",
            "avx512vnni": "int8 matrix products", "avxvnni": "int8 matrix products", "amx-bf16": "tile matrix products"}
    if not host().triple.startswith("x86"):
        uses = {"neon": "vectors", "dotprod": "int8 matrix products", "bf16": "bfloat16", "i8mm": "int8"}
    have = [name for name in uses if found.get(name)]
    lack = [name for name in uses if not found.get(name)]
    yield Finding("features", None, f"has {', '.join(have) or 'none'}; lacks {', '.join(lack) or 'none'}")


def _threads() -> Iterator[Finding]:
    from ..engine.base.flags import flags
    from ..engine.device.pool import cpu_count
    why = "GEMEL_THREADS" if flags.THREADS else "CPUs of this process after affinity mask and cgroup quota"
    yield Finding("threads", True, f"{cpu_count()} ({why}; the machine has {os.cpu_count()})")


def _memory() -> Iterator[Finding]:
    from ..engine.base.flags import flags
    from ..engine.device.memory import budget
    why = "GEMEL_MEMORY" if flags.MEMORY else "the cgroup's limit or the machine's memory"
    yield Finding("memory", True, f"{budget() / 2**30:.1f} GiB ({why})")


def _cache() -> Iterator[Finding]:
    from ..engine.runtime.cache import folder
    where = folder()
    if where is None:
        yield Finding("kernel cache", False, "off (GEMEL_CACHE=off): every process compiles its kernels")
        return
    try:
        where.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=where):
            sizes = list(_sizes(where))
    except OSError as error:
        yield Finding("kernel cache", False, f"{where} cannot be written: {error}; set GEMEL_CACHE to another folder")
        return
    yield Finding("kernel cache", True, f"{where}: {len(sizes)} kernels, {sum(sizes) / 2**20:.1f} MiB")


def _sizes(cache: Path) -> Iterator[int]:
    """Bytes of each kernel; what another process renames or removes meanwhile is left out."""
    for path in cache.glob("??/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path.stat().st_size


def _compiler() -> Iterator[Finding]:
    if importlib.util.find_spec("llvmlite") is None:
        yield Finding("compiler", False,
                      "llvmlite is not installed: NumPy runs everything, slowly (pip install llvmlite)")
        return
    from ..engine.codegen.jit import llvm_version
    yield Finding("compiler", True, f"llvmlite/LLVM {llvm_version()}; no C compiler is needed")


def _kernel() -> Iterator[Finding]:
    import time

    from ..engine.device.memory import as_numpy
    from ..engine.runtime.selftest import add_one
    start = time.perf_counter()
    result = add_one()
    seconds = time.perf_counter() - start
    fine = bool((as_numpy(*result) == 2.0).all())
    yield Finding("a kernel", fine, f"compiled or loaded, and run, in {seconds * 1e3:.0f} ms"
                  if fine else "gave a wrong result: please report this")


def _optional() -> Iterator[Finding]:
    for package, (extra, purpose) in OPTIONAL.items():
        version = _version(package)
        found = version != "not installed"
        yield Finding(package, None, f"{version}: {purpose}" if found else
                      f"not installed: {purpose} (pip install 'gemel[{extra}]')")
    yield Finding("GPU", None, "no driver is looked for: this version computes on CPUs")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; exit status 1 if something that Gemel needs does not work."""
    marks = {True: "ok ", False: "BAD", None: "   "}
    bad = False
    for finding in findings():
        print(f"{marks[finding.ok]} {finding.name:13s} {finding.text}")
        bad |= finding.ok is False
    return int(bad)


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser("doctor", help="what this machine offers and what Gemel uses of it")
    parser.set_defaults(run=run)
