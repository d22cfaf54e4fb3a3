"""The tile instructions of AMX in software, so that kernels for them run on any machine with AVX-512.

The code of a kernel is changed after it has been generated: each tile instruction becomes a call of a function over
memory that the kernel holds. As the instruction does, products take and give subnormal numbers as zeros.
"""
from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

from gemel.engine.base import target
from gemel.engine.base.flags import override
from gemel.engine.base.target import Target
from gemel.engine.runtime import kernels

_CALL = re.compile(r"call void @llvm\.x86\.(tilezero|tileloadd64|tilestored64|tdpbf16ps)\(")
_STATE = "  %tiles = alloca [8192 x i8], align 64\n"

FUNCTIONS = """
define internal ptr @tile_at(ptr %tiles, i8 %n) alwaysinline {
  %wide = zext i8 %n to i64
  %at = mul i64 %wide, 1024
  %p = getelementptr i8, ptr %tiles, i64 %at
  ret ptr %p
}
define internal void @emulated_tilezero(ptr %tiles, i8 %n) {
  %p = call ptr @tile_at(ptr %tiles, i8 %n)
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 1024, i1 false)
  ret void
}
define internal void @emulated_tileloadd64(ptr %tiles, i8 %n, ptr %from, i64 %stride) {
entry:
  %p = call ptr @tile_at(ptr %tiles, i8 %n)
  br label %row
row:
  %r = phi i64 [ 0, %entry ], [ %r1, %row ]
  %far = mul i64 %r, %stride
  %source = getelementptr i8, ptr %from, i64 %far
  %near = mul i64 %r, 64
  %place = getelementptr i8, ptr %p, i64 %near
  %line = load <16 x i32>, ptr %source, align 1
  store <16 x i32> %line, ptr %place, align 64
  %r1 = add i64 %r, 1
  %more = icmp slt i64 %r1, 16
  br i1 %more, label %row, label %out
out:
  ret void
}
define internal void @emulated_tilestored64(ptr %tiles, i8 %n, ptr %to, i64 %stride) {
entry:
  %p = call ptr @tile_at(ptr %tiles, i8 %n)
  br label %row
row:
  %r = phi i64 [ 0, %entry ], [ %r1, %row ]
  %far = mul i64 %r, %stride
  %target = getelementptr i8, ptr %to, i64 %far
  %near = mul i64 %r, 64
  %place = getelementptr i8, ptr %p, i64 %near
  %line = load <16 x i32>, ptr %place, align 64
  store <16 x i32> %line, ptr %target, align 1
  %r1 = add i64 %r, 1
  %more = icmp slt i64 %r1, 16
  br i1 %more, label %row, label %out
out:
  ret void
}
define internal <16 x float> @flushed(<16 x float> %x) alwaysinline {
  %bits = bitcast <16 x float> %x to <16 x i32>
  %exponent = and <16 x i32> %bits, splat (i32 2139095040)
  %zero = icmp eq <16 x i32> %exponent, zeroinitializer
  %sign = and <16 x i32> %bits, splat (i32 -2147483648)
  %given = select <16 x i1> %zero, <16 x i32> %sign, <16 x i32> %bits
  %y = bitcast <16 x i32> %given to <16 x float>
  ret <16 x float> %y
}
define internal void @emulated_tdpbf16ps(ptr %tiles, i8 %sum, i8 %left, i8 %right) {
entry:
  %c = call ptr @tile_at(ptr %tiles, i8 %sum)
  %a = call ptr @tile_at(ptr %tiles, i8 %left)
  %b = call ptr @tile_at(ptr %tiles, i8 %right)
  br label %row
row:
  %r = phi i64 [ 0, %entry ], [ %r1, %done ]
  %line = mul i64 %r, 64
  %a_row = getelementptr i8, ptr %a, i64 %line
  %c_row = getelementptr i8, ptr %c, i64 %line
  br label %pair
pair:
  %p = phi i64 [ 0, %row ], [ %p1, %pair ]
  %even = phi <16 x float> [ zeroinitializer, %row ], [ %even1, %pair ]
  %odd = phi <16 x float> [ zeroinitializer, %row ], [ %odd1, %pair ]
  %a_at = getelementptr i32, ptr %a_row, i64 %p
  %x = load i32, ptr %a_at
  %b_line = mul i64 %p, 64
  %b_at = getelementptr i8, ptr %b, i64 %b_line
  %y = load <16 x i32>, ptr %b_at, align 64
  %x_low = shl i32 %x, 16
  %x_high = and i32 %x, -65536
  %y_low = shl <16 x i32> %y, splat (i32 16)
  %y_high = and <16 x i32> %y, splat (i32 -65536)
  %xe = bitcast i32 %x_low to float
  %xo = bitcast i32 %x_high to float
  %ye0 = bitcast <16 x i32> %y_low to <16 x float>
  %yo0 = bitcast <16 x i32> %y_high to <16 x float>
  %xe0 = insertelement <16 x float> poison, float %xe, i64 0
  %xe1 = shufflevector <16 x float> %xe0, <16 x float> poison, <16 x i32> zeroinitializer
  %xo0 = insertelement <16 x float> poison, float %xo, i64 0
  %xo1 = shufflevector <16 x float> %xo0, <16 x float> poison, <16 x i32> zeroinitializer
  %xe2 = call <16 x float> @flushed(<16 x float> %xe1)
  %xo2 = call <16 x float> @flushed(<16 x float> %xo1)
  %ye = call <16 x float> @flushed(<16 x float> %ye0)
  %yo = call <16 x float> @flushed(<16 x float> %yo0)
  %even0 = call <16 x float> @llvm.fma.v16f32(<16 x float> %xe2, <16 x float> %ye, <16 x float> %even)
  %odd0 = call <16 x float> @llvm.fma.v16f32(<16 x float> %xo2, <16 x float> %yo, <16 x float> %odd)
  %even1 = call <16 x float> @flushed(<16 x float> %even0)
  %odd1 = call <16 x float> @flushed(<16 x float> %odd0)
  %p1 = add i64 %p, 1
  %more = icmp slt i64 %p1, 16
  br i1 %more, label %pair, label %done
done:
  %both0 = fadd <16 x float> %even1, %odd1
  %both = call <16 x float> @flushed(<16 x float> %both0)
  %old = load <16 x float>, ptr %c_row, align 64
  %new0 = fadd <16 x float> %old, %both
  %new = call <16 x float> @flushed(<16 x float> %new0)
  store <16 x float> %new, ptr %c_row, align 64
  %r1 = add i64 %r, 1
  %again = icmp slt i64 %r1, 16
  br i1 %again, label %row, label %out
out:
  ret void
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""


def in_software(text: str) -> str:
    """A kernel's module with functions in place of tile instructions."""
    if "@llvm.x86.tile" not in text:
        return text
    text = re.sub(r"^.*@llvm\.x86\.(ldtilecfg|tilerelease)\(.*\n", "", text, flags=re.M)
    text = re.sub(r"^declare .*@llvm\.x86\.t(ile|dpbf16).*\n", "", text, flags=re.M)
    text = _CALL.sub(r"call void @emulated_\1(ptr %tiles, ", text)
    at = text.index("entry:\n") + len("entry:\n")
    return text[:at] + _STATE + text[at:] + FUNCTIONS


def _with_tiles(isa: str) -> Target:
    found = _host(isa)
    return replace(found, extras=found.extras | {"amx-bf16"}) if found.isa == "avx512" else found


_host, _module_of = target._host, kernels.module_of


@contextlib.contextmanager
def emulated() -> Iterator[None]:
    """Generate code as on a machine with AMX; no kernel goes to the disk cache or comes from it."""
    with override(CACHE="off"), mock.patch.object(target, "_host", _with_tiles), mock.patch.object(
            kernels, "module_of", lambda *args: in_software(_module_of(*args))):
        yield
