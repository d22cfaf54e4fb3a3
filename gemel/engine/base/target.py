"""The machine that code is generated for: its triple, CPU, features, and the instruction-set path they imply."""
from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

from .errors import DeviceError
from .flags import flags
from .interrupts import undisturbed

#: instruction-set path -> (vector registers, bytes of one, LLVM features it needs), widest last
ISAS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "sse2": (16, 16, ("sse2",)),
    "avx2": (16, 32, ("avx2", "fma", "f16c")),
    "avx512": (32, 64, ("avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c")),
    "neon": (32, 16, ("neon",)),
}
#: what formulas need to know of a path, each in one instruction: fused multiply-add, conversion from and to f16,
#: rounding of a float to an integer, saturating conversion to an integer, masked access to elements of 32 bits and
#: more, and of 8 bits and more
NATIVE: dict[str, frozenset[str]] = {
    "sse2": frozenset(),
    "avx2": frozenset({"fma", "f16", "round", "mask32"}),
    "avx512": frozenset({"fma", "f16", "round", "mask32", "mask8"}),
    "neon": frozenset({"fma", "f16", "round", "saturate"}),
}
#: Intel's servers. Their last-level cache, a mesh, gives a core 8 bytes a cycle, a quarter of what others do; and their
#: bf16 dot product takes as long as four multiply-adds of f32, which do twice as much.
_MESHES = frozenset({"skylake-avx512", "cascadelake", "cooperlake", "icelake-server", "sapphirerapids", "emeraldrapids",
                     "graniterapids", "graniterapids-d", "diamondrapids"})
_EXTRA = ("avx512bf16", "avx512vnni", "avxvnni", "amx-bf16", "amx-int8", "bf16", "dotprod", "i8mm")


@dataclass(frozen=True)
class Target:
    """What the code generator knows of a machine.

    Args:
        triple, cpu, features: as LLVM spells them. isa: a row of ``ISAS``.
        extras: instructions beyond the path that schedules ask for (``avx512bf16``, ``avx512vnni``, ...).
        l2_bytes: of a core's second-level cache.
    """

    triple: str
    cpu: str
    features: str
    isa: str
    extras: frozenset[str]
    l2_bytes: int = 1 << 20

    @property
    def registers(self) -> int:
        return ISAS[self.isa][0]

    @property
    def vector_bytes(self) -> int:
        return ISAS[self.isa][1]

    @property
    def has_fma(self) -> bool:
        return self.isa != "sse2"

    @property
    def has_mesh(self) -> bool:
        """Is the last-level cache slow to reach?"""
        return self.cpu in _MESHES

    @property
    def has_fast_bf16_dot(self) -> bool:
        """Do dot products of bf16 pairs, outside of tiles, gain on multiply-adds of f32?"""
        return self.isa == "avx512" and "avx512bf16" in self.extras and self.cpu not in _MESHES

    @property
    def native(self) -> frozenset[str]:
        """What a ``KernelBuilder`` should know of the instructions."""
        return NATIVE[self.isa]

    def lanes(self, elem_bits: int) -> int:
        """Lanes of one vector register."""
        return self.vector_bytes * 8 // elem_bits

    @property
    def key(self) -> str:
        """Text that identifies generated code."""
        return f"{self.triple}|{self.cpu}|{self.features}|{self.isa}"

    @property
    def attributes(self) -> str:
        """Function attributes that LLVM needs for this path."""
        return f'"prefer-vector-width"="{self.vector_bytes * 8}"' if self.isa.startswith("avx") else ""


def for_isa(isa: str, extras: tuple[str, ...] = ()) -> Target:
    """A target by path name, for cross compilation and tests of every path."""
    if isa not in ISAS:
        raise DeviceError(f"unknown instruction set {isa!r}; known: {', '.join(ISAS)}")
    wanted = ISAS[isa][2] + extras
    features = ",".join(f"+{f}" for f in wanted)
    if isa == "neon":
        return Target("aarch64-unknown-linux-gnu", "generic", features, isa, frozenset(extras))
    return Target("x86_64-unknown-linux-gnu", "x86-64", features, isa, frozenset(extras))


@functools.cache
@undisturbed()
def host_features() -> dict[str, bool]:
    """The host's CPU features, as LLVM reports them."""
    import llvmlite.binding as llvm
    return dict(llvm.get_host_cpu_features())


def _tiles_allowed() -> bool:
    """Ask the kernel for AMX's tile registers, once for this process: threads and children inherit the permission."""
    if not sys.platform.startswith("linux"):
        return False
    system_call, request, tile_data = 158, 0x1023, 18  # arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return ctypes.CDLL(None).syscall(system_call, request, tile_data) == 0


def _l2_bytes() -> int:
    """Of this machine, where the system tells."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cache/index2/size", encoding="ascii") as file:
            return int(file.read().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return Target.l2_bytes


@functools.lru_cache(maxsize=8)
@undisturbed()
def _host(isa: str) -> Target:
    import llvmlite.binding as llvm
    found = host_features()
    triple = llvm.get_process_triple()
    paths = ["neon"] if triple.startswith(("aarch64", "arm64")) else ["avx512", "avx2", "sse2"]
    usable = [p for p in paths if all(found.get(f) for f in ISAS[p][2])]
    if not usable:
        raise DeviceError(f"no instruction-set path fits this machine ({triple}, {llvm.get_host_cpu_name()})")
    if isa and isa not in usable:
        raise DeviceError(f"GEMEL_ISA={isa!r} is not available on this machine; available: {', '.join(usable)}")
    chosen = isa or usable[0]
    extras = frozenset(f for f in _EXTRA if found.get(f)) if chosen == usable[0] else frozenset()
    if any(f.startswith("amx") for f in extras) and not _tiles_allowed():
        extras = frozenset(f for f in extras if not f.startswith("amx"))
    if chosen == usable[0]:
        features = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(found.items()))
        return Target(triple, llvm.get_host_cpu_name(), features, chosen, extras, _l2_bytes())
    narrow = for_isa(chosen)
    return Target(triple, narrow.cpu, narrow.features, chosen, extras, _l2_bytes())


def host() -> Target:
    """The target of this machine, or of the narrower path that ``GEMEL_ISA`` names."""
    return _host(flags.ISA)
