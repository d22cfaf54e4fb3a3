"""Look-up tables with learned rows."""
from __future__ import annotations

from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty
from ...tensor.grad_mode import no_grad
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module

__all__ = ["Embedding", "EmbeddingBag"]


def _padding_row(padding_idx: int | None, rows: int) -> int | None:
    """``padding_idx`` counted from the front."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < max(rows, 1):
        raise AssertionError(f"Padding_idx must be within num_embeddings. Received: padding_idx={padding_idx}, "
                             f"num_embeddings={rows}")
    return padding_idx + rows if padding_idx < 0 else padding_idx


class _Table(Module):
    """What both have in common: the table and how it begins."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    weight: Any

    def _make_table(self, given: Any, freeze: bool, device: Any, dtype: DType | None) -> None:
        shape = (self.num_embeddings, self.embedding_dim)
        if given is not None:
            if tuple(given.shape) != shape:
                raise AssertionError(f"Shape of weight does not match num_embeddings and embedding_dim. Received: "
                                     f"{list(given.shape)} and {list(shape)}")
            self.weight = Parameter(given, requires_grad=not freeze)
            return
        self.weight = Parameter(empty(shape, device=device, dtype=dtype), requires_grad=not freeze)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal numbers; the row ``padding_idx`` zero."""
        init.normal_(self.weight)
        self._fill_padding_idx_with_zero()

    def _fill_padding_idx_with_zero(self) -> None:
        if self.padding_idx is not None:
            with no_grad():
                init.zeros_(self.weight[self.padding_idx])


def _check_table(embeddings: Any) -> None:
    if embeddings.dim() != 2:
        raise AssertionError(f"Embeddings parameter is expected to be 2-dimensional. Received: "
                             f"{list(embeddings.shape)}")


class Embedding(_Table):
    """Row ``input[...]`` of ``weight`` for each index.

    Args:
        num_embeddings: rows. embedding_dim: elements of a row.
        padding_idx: a row that gets no gradient and is zero at first.
        max_norm: scale rows down to this norm (of order ``norm_type``), in place, when they are used.
        scale_grad_by_freq: divide a row's gradient by how often it was used.
        sparse: a gradient of the used rows only, as a sparse tensor: refused where a gradient is needed.

    Shapes: input (*) of integers, output (*, embedding_dim); ``weight`` is normal at first.

    >>> import gemel
    >>> gemel.nn.Embedding(10, 3)(gemel.tensor([[1, 2, 4, 5]])).shape
    gemel.Size([1, 4, 3])

    torch: ``torch.nn.Embedding``
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                 sparse: bool = False, _weight: Any = None, _freeze: bool = False, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _padding_row(padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self._make_table(_weight, _freeze, device, dtype)
        self.sparse = sparse

    def forward(self, input: Any) -> Any:
        """``F.embedding`` with the layer's table."""
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        rest = ((f"padding_idx={self.padding_idx}", self.padding_idx is not None),
                (f"max_norm={self.max_norm}", self.max_norm is not None),
                (f"norm_type={self.norm_type}", self.norm_type != 2),
                (f"scale_grad_by_freq={self.scale_grad_by_freq}", self.scale_grad_by_freq),
                ("sparse=True", self.sparse))
        return ", ".join((f"{self.num_embeddings}, {self.embedding_dim}", *(text for text, shown in rest if shown)))

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        sparse: bool = False) -> Embedding:
        """A layer on the table ``embeddings`` (rows, elements); ``freeze``: it is not trained."""
        _check_table(embeddings)
        return cls(*embeddings.shape, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type,
                   scale_grad_by_freq=scale_grad_by_freq, sparse=sparse, _weight=embeddings, _freeze=freeze)


class EmbeddingBag(_Table):
    """Sum, mean or maximum of the rows of each bag of indices, without the rows in between.

    Args:
        mode: ``"sum"``, ``"mean"`` or ``"max"``. include_last_offset: the offsets end with the number of indices.
        padding_idx: a row that does not count. The others are those of :class:`Embedding`.

    Shapes: input (B, n) of integers, or (n,) with offsets (B,); output (B, embedding_dim).

    torch: ``torch.nn.EmbeddingBag``
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Any = None,
                 include_last_offset: bool = False, padding_idx: int | None = None, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.padding_idx = _padding_row(padding_idx, num_embeddings)
        self._make_table(_weight, False, device, dtype)
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """``F.embedding_bag`` with the layer's table."""
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
                               self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        rest = ((f"max_norm={self.max_norm}", self.max_norm is not None),
                (f"norm_type={self.norm_type}", self.norm_type != 2),
                (f"scale_grad_by_freq={self.scale_grad_by_freq}", self.scale_grad_by_freq),
                (f"mode={self.mode!r}", True), (f"padding_idx={self.padding_idx}", self.padding_idx is not None))
        return ", ".join((f"{self.num_embeddings}, {self.embedding_dim}", *(text for text, shown in rest if shown)))

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                        sparse: bool = False, include_last_offset: bool = False,
                        padding_idx: int | None = None) -> EmbeddingBag:
        """A layer on the table ``embeddings`` (rows, elements); ``freeze``: it is not trained."""
        _check_table(embeddings)
        found = cls(*embeddings.shape, _weight=embeddings, max_norm=max_norm, norm_type=norm_type,
                    scale_grad_by_freq=scale_grad_by_freq, mode=mode, sparse=sparse,
                    include_last_offset=include_last_offset, padding_idx=padding_idx)
        found.weight.requires_grad_(not freeze)
        return found
