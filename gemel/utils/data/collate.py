"""From a list of samples to a batch."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ...engine.base import dtypes as dt
from ...tensor.creation import as_tensor, tensor
from ...tensor.joining import stack
from ...tensor.tensor import Tensor
from .arrays import contents, stack_arrays

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

_WRONG = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "SUOV" and array.dtype.name != "bfloat16"


def _rebuilt(like: Any, made: Any) -> Any:
    """``made``, a dict or list, as the type of ``like``; as it is where that type can't be made from it."""
    try:
        if isinstance(like, MutableMapping):
            out = copy.copy(like)  # it may have more to it than its items
            out.update(made)
            return out
        if isinstance(like, MutableSequence):
            out = copy.copy(like)
            for i, value in enumerate(made):
                out[i] = value
            return out
        return type(like)(made)  # type: ignore[call-arg]
    except TypeError:
        return made


def default_convert(data: Any) -> Any:
    """``data`` with tensors in the place of NumPy arrays, inside of containers too. torch: ``default_convert``.

    >>> import numpy as np
    >>> gemel.utils.data.default_convert({"a": np.zeros(2), "b": "text"})
    {'a': tensor([0., 0.], dtype=gemel.float64), 'b': 'text'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        if isinstance(data, np.str_ | np.bytes_) or _is_text(np.asarray(data)):
            return data
        return as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        parts = [default_convert(d) for d in data]
        return type(data)(*parts) if hasattr(data, "_fields") else parts
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, [default_convert(d) for d in data])
    return data


def collate(batch: Sequence[Any], *, collate_fn_map: Mapping[Any, Callable] | None = None) -> Any:
    """A batch from samples, with a function for each type of leaf; see :func:`default_collate`. torch: ``collate``."""
    first = batch[0]
    if collate_fn_map is not None:
        found = collate_fn_map.get(type(first))
        if found is None:
            found = next((f for kind, f in collate_fn_map.items() if isinstance(first, kind)), None)
        if found is not None:
            return found(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _rebuilt(first, {key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map)
                                for key in first})
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size. Received: sizes "
                               f"{sorted({len(sample) for sample in batch})}")
        parts = [collate(samples, collate_fn_map=collate_fn_map) for samples in zip(*batch, strict=True)]
        if isinstance(first, tuple):
            return type(first)(*parts) if hasattr(first, "_fields") else parts
        return _rebuilt(first, parts)
    raise TypeError(_WRONG.format(type(first)))


def _tensors(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    first = batch[0]._value.type
    if any(t._edge is not None or t._value.type is not first for t in batch):
        return stack(tuple(batch), 0)  # on the tape; or an error that names the shapes
    return stack_arrays([contents(t) for t in batch], first.dtype)


def _arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    first = batch[0]
    if _is_text(first):
        raise TypeError(_WRONG.format(first.dtype))
    if any(a.dtype != first.dtype or a.shape != first.shape for a in batch):
        return _tensors([as_tensor(a) for a in batch])
    return stack_arrays(batch, dt.from_numpy(first.dtype))


def _numpy_numbers(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return as_tensor(np.asarray(batch))


def _floats(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return tensor(batch, dtype=dt.float64)


def _ints(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return tensor(batch)


def _texts(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch


#: what :func:`default_collate` does with each type of leaf; add your own. torch: ``default_collate_fn_map``
default_collate_fn_map: dict[Any, Callable] = {
    Tensor: _tensors, np.ndarray: _arrays, (np.bool_, np.number): _numpy_numbers,
    float: _floats, int: _ints, str: _texts, bytes: _texts}
_DEFAULT = dict(default_collate_fn_map)


def is_default() -> bool:
    """Is the table as it came, so that a gather of rows gives the same?"""
    return default_collate_fn_map == _DEFAULT


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch from samples: tensors, arrays and numbers become tensors with a new first axis, the batch; tuples,
    lists, dicts and named tuples keep their structure; texts become lists.

    >>> gemel.utils.data.default_collate([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
    {'x': tensor([1.5000, 2.5000], dtype=gemel.float64), 'name': ['a', 'b']}

    torch: ``default_collate``.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
