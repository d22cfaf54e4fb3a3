"""Composites: named operations with a body in primitives.

A composite is recorded as one node, carries its own vjp, and keeps its name through the passes: a schedule or
an exporter that knows the name uses it, everything else inlines the body. The body is the meaning: a schedule
must give its bits.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.builder import trace_body
from ..ir.op import Attrs, Row
from ..ir.primitives import register
from ..ir.types import TensorType

Body = Callable[..., Any]


def composite(name: str, arity: int, attrs: tuple[str, ...] = (), n_outputs: int = 1,
              check: Callable[..., None] | None = None) -> Callable[[Body], Body]:
    """Register ``body(builder, *operands, **attrs)`` as a composite.

    Args:
        name: unique name. arity: number of operands, -1 when it varies. attrs: attribute names.
        n_outputs: number of results (-1: as many as the body returns).
        check: ``(attrs, *operand types)``, raises the user's error before the body is looked at.
    """
    def register_body(body: Body) -> Body:
        def infer(values: Attrs, *types: TensorType) -> Any:
            if check is not None:
                check(values, *types)
            results = trace_body(body, types, **dict(values.items())).output_types
            return results if n_outputs != 1 else results[0]

        doc = (body.__doc__ or "").strip().split("\n")[0]
        register(Row(name, "composite", arity, infer, attrs, doc, n_outputs, body))
        return body
    return register_body
