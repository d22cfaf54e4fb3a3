"""Single operations on small tensors, in torch's words: what one costs before there is anything to compute."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

MANY = 100  # calls of one run; their results are held, so that all are computed

NAMES = ("add", "broadcast add", "times number", "gelu", "matmul", "linear", "softmax", "layer norm", "mean",
         "attention", "embedding", "view", "transpose", "slice", "row", "rows by number", "split", "cat", "stack",
         "where", "masked_fill", "clamp", "zeros", "add_", "write a row")


def operations(torch: Any, F: Any) -> dict[str, Callable[[], Any]]:
    """One call each, on tensors of a few hundred elements."""
    x, y, z = torch.randn(2, 8, 16), torch.randn(2, 8, 16), torch.zeros(2, 8, 16)
    w, b = torch.randn(16, 16), torch.randn(16)
    q, mask = torch.randn(2, 2, 8, 8), torch.ones(8, 8).tril().bool()
    i = torch.randint(0, 8, (2, 8))
    row = torch.randn(8, 16)

    def write_row() -> Any:
        z[0] = row
        return z
    found = {
        "add": lambda: x + y, "broadcast add": lambda: x + b, "times number": lambda: x * 2.0,
        "gelu": lambda: F.gelu(x),
        "matmul": lambda: x @ w, "linear": lambda: F.linear(x, w, b), "softmax": lambda: F.softmax(x, -1),
        "layer norm": lambda: F.layer_norm(x, (16,), b, b), "mean": lambda: x.mean(-1),
        "attention": lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True),
        "embedding": lambda: F.embedding(i, w), "view": lambda: x.view(16, 16), "transpose": lambda: x.transpose(1, 2),
        "slice": lambda: x[:, 1:3], "row": lambda: x[0], "rows by number": lambda: x[:, i[0]],
        "split": lambda: x.split(8, 2), "cat": lambda: torch.cat([x, y], 1), "stack": lambda: torch.stack([x, y]),
        "where": lambda: torch.where(mask, q, 0.0), "masked_fill": lambda: q.masked_fill(mask, 0.0),
        "clamp": lambda: x.clamp(0.0, 1.0), "zeros": lambda: torch.zeros(2, 8), "add_": lambda: z.add_(y),
        "write a row": write_row}
    assert tuple(found) == NAMES
    return found
