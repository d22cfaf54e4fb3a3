"""Sequences of different lengths in one batch: padded, or packed step by step."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ...engine.base import dtypes as dt
from ...tensor.core import from_array
from ...tensor.creation import full
from ...tensor.joining import stack
from ...tensor.recording import apply_named, wrap
from ...tensor.scattering import index_select
from ...tensor.tensor import Tensor

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpack_sequence", "unpad_sequence"]


def _integers(values: Any) -> Any:
    return wrap(from_array(np.asarray(values, np.int64)))


def _numbers(x: Any) -> list[int]:
    return [int(n) for n in (x.tolist() if isinstance(x, Tensor) else x)]


class _Fields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Fields):
    """Sequences of different lengths, step by step without padding; made by :func:`pack_padded_sequence`.

    Attributes:
        data: (steps of all sequences, *): first the first steps of all, then the second steps of those that have one.
        batch_sizes: how many sequences have each step, int64.
        sorted_indices: the order in which they were sorted by length, or None. unsorted_indices: its inverse.

    torch: ``nn.utils.rnn.PackedSequence``
    """

    __slots__ = ()

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            data, batch_sizes = data
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequence with its data moved or cast, as ``Tensor.to``."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self) -> PackedSequence:
        """The sequence on the CPU."""
        return self.to("cpu")

    def double(self) -> PackedSequence:
        """The sequence in float64."""
        return self.to(dt.float64)

    def float(self) -> PackedSequence:
        """The sequence in float32."""
        return self.to(dt.float32)

    def half(self) -> PackedSequence:
        """The sequence in float16."""
        return self.to(dt.float16)

    @property
    def is_cuda(self) -> bool:
        """Is the data on a GPU?"""
        return self.data.is_cuda


def invert_permutation(permutation: Any) -> Any:
    """The inverse of a permutation of positions, or None of None. torch: ``nn.utils.rnn.invert_permutation``"""
    if permutation is None:
        return None
    return _integers(np.argsort(np.asarray(_numbers(permutation), np.int64), kind="stable"))


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack padded sequences.

    Args:
        input: (T, B, *), or (B, T, *) with ``batch_first``. lengths: of the sequences, a list or tensor (B,).
        enforce_sorted: they must come longest first; otherwise they are sorted here.

    torch: ``nn.utils.rnn.pack_padded_sequence``
    """
    found = _numbers(lengths)
    order = None
    if not enforce_sorted:
        positions = np.argsort(-np.asarray(found, np.int64), kind="stable")
        found, order = [found[i] for i in positions], _integers(positions)
    shape = input.shape
    steps, batch = (shape[1], shape[0]) if batch_first else (shape[0], shape[1])
    if len(found) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(found)} "
                           f"(batch_size={batch})")
    if not found or min(found) <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is "
                           "<= 0")
    if any(a < b for a, b in zip(found, found[1:], strict=False)):
        raise RuntimeError("`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can "
                           "pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this "
                           "requirement if you do not need ONNX exportability.")
    if found[0] > steps:
        raise RuntimeError(f"Expected the longest length to be at most {steps}, the number of steps of the input. "
                           f"Received: {found[0]}")
    if order is not None:
        input = index_select(input, 0 if batch_first else 1, order)
    sizes = [sum(n > t for n in found) for t in range(found[0])]
    strides = (1, steps) if batch_first else (batch, 1)  # of (step, sequence) in the flattened input
    at = np.concatenate([t * strides[0] + np.arange(n) * strides[1] for t, n in enumerate(sizes)])
    flat = input.reshape(steps * batch, *shape[2:])
    return PackedSequence(apply_named("take", flat, _integers(at), attrs=(0,)), _integers(sizes), order, None)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Any, Any]:
    """The inverse of :func:`pack_padded_sequence`: padded sequences, and their lengths.

    Args:
        padding_value: what stands behind the end of a sequence. total_length: number of steps to pad to.

    torch: ``nn.utils.rnn.pad_packed_sequence``
    """
    sizes = _numbers(sequence.batch_sizes)
    steps, batch = len(sizes), sizes[0]
    if total_length is not None:
        if total_length < steps:
            raise ValueError(f"Expected total_length to be at least the length of the longest sequence in input, but "
                             f"got total_length={total_length} and max sequence length being {steps}")
        steps = total_length
    data = sequence.data
    rest = tuple(data.shape[1:])
    strides = (1, steps) if batch_first else (batch, 1)
    at = np.concatenate([t * strides[0] + np.arange(n) * strides[1] for t, n in enumerate(sizes)])
    start = full((steps * batch, *rest), padding_value, dtype=data.dtype)
    flat = apply_named("scatter", start, _integers(at), data, attrs=(0, "set"))
    padded = flat.reshape(*((batch, steps) if batch_first else (steps, batch)), *rest)
    lengths = np.asarray([sum(n > i for n in sizes) for i in range(batch)], np.int64)
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices
        return index_select(padded, 0 if batch_first else 1, back), _integers(lengths[_numbers(back)])
    return padded, _integers(lengths)


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Any:
    """Sequences (T_i, *) padded to the longest and stacked: (T, B, *), or (B, T, *) with ``batch_first``.

    >>> import gemel
    >>> gemel.nn.utils.rnn.pad_sequence([gemel.ones(1), gemel.ones(3)], batch_first=True)
    tensor([[1., 0., 0.],
            [1., 1., 1.]])

    torch: ``nn.utils.rnn.pad_sequence``
    """
    from ..functional import pad
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: "
                           f"{type(sequences)}")
    found = list(sequences)
    if not found:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    steps = max(s.shape[0] for s in found)

    def padded(s: Any) -> Any:
        widths = (steps - s.shape[0], 0) if padding_side == "left" else (0, steps - s.shape[0])
        return pad(s, (0, 0) * (s.dim() - 1) + widths, "constant", padding_value)

    return stack([padded(s) for s in found], 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded batch. torch: ``nn.utils.rnn.unpad_sequence``"""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[i, :n] for i, n in enumerate(_numbers(lengths))]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (T_i, *). torch: ``nn.utils.rnn.pack_sequence``"""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences],
                                enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences of a packed batch, in their first order. torch: ``nn.utils.rnn.unpack_sequence``"""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
