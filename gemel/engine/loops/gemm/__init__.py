"""Contractions: ``gemm(problem, ...)`` turns one into kernel calls. See ``schedule`` for how it chooses."""
from .operand import PackedLayout, pack_operand
from .problem import Access, GemmProblem
from .schedule import Choice, gemm, packed_layout
from .tile import Shape

__all__ = ["Access", "Choice", "GemmProblem", "PackedLayout", "Shape", "gemm", "pack_operand", "packed_layout"]
