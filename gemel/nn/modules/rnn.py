"""Recurrent layers and cells.

The product of all inputs of a layer with ``weight_ih`` is one matrix product; all steps of a direction are one node
(the composite ``recurrent``, a loop that stays in native code). Packed sequences are cut where the number of rows
changes: a node for each run of steps with equally many rows.
"""
from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty, zeros
from ...tensor.joining import cat, stack
from ...tensor.recording import apply_named
from ...tensor.scattering import index_select
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

#: mode -> number of gates
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
State = tuple[Any, ...]  # (h,) or (h, c)


def _step(mode: str, x: Any, state: State, weights: dict[str, Any]) -> State:
    """The state after one step; ``x``: the product of the input with ``weight_ih``, plus its bias."""
    h = state[0]
    product = F.linear(h, weights["weight_hh"], weights.get("bias_hh"))
    if mode == "LSTM":
        h, c = apply_named("lstm_gates", x, product, state[1])
        project = weights.get("weight_hr")
        return (h if project is None else F.linear(h, project)), c
    if mode == "GRU":
        return (apply_named("gru_gates", x, product, h),)
    return ((F.tanh if mode == "RNN_TANH" else F.relu)(x + product),)


def _segments(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(steps, rows) of each run of steps with equally many rows."""
    return [(len(list(run)), n) for n, run in itertools.groupby(sizes)]


def _run(mode: str, x: Any, state: State, weights: dict[str, Any], backwards: bool) -> tuple[Any, State]:
    """Outputs of steps with equally many rows, and the states behind them; ``x``: (steps, rows, gates * hidden)."""
    optional = (weights.get("weight_hr"), *state[1:], weights.get("bias_ih"), weights.get("bias_hh"))
    found = apply_named("recurrent", x, weights["weight_hh"], state[0], *(t for t in optional if t is not None),
                        attrs=(mode, "weight_hr" in weights, "bias_hh" in weights, backwards))
    return found[0], found[1:1 + len(state)]


def _direction(mode: str, product: Any, sizes: Sequence[int], first: State, weights: dict[str, Any], backwards: bool
               ) -> tuple[Any, State]:
    """Output rows of all steps of one direction, and its last states.

    Forwards, sequences that have ended leave the batch; backwards, longer ones begin earlier and shorter ones join.
    """
    runs = _segments(sizes)
    parts = [product] if len(runs) == 1 else apply_named("pieces", product, attrs=(tuple(t * n for t, n in runs),))
    outputs, ended = [], []
    state: State = ()
    now = 0
    pairs = list(zip(parts, runs, strict=True))
    for x, (steps, n) in reversed(pairs) if backwards else pairs:
        if not state:
            state = tuple(s[:n] for s in first) if n < sizes[0] else first
        elif n < now:
            ended.append(tuple(s[n:] for s in state))
            state = tuple(s[:n] for s in state)
        elif n > now:
            state = tuple(cat([s, f[now:n]]) for s, f in zip(state, first, strict=True))
        now = n
        out, state = _run(mode, x.reshape(steps, n, -1), state, weights, backwards)
        outputs.append(out.reshape(steps * n, -1))
    if ended:
        state = tuple(cat([s, *(e[i] for e in reversed(ended))]) for i, s in enumerate(state))
    if backwards:
        outputs.reverse()
    return (outputs[0] if len(outputs) == 1 else cat(outputs)), state


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: ``num_layers`` layers in one or two directions.

    torch: ``torch.nn.RNNBase``
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: DType | None = None) -> None:
        super().__init__()
        _check_settings(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        rows, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * self._directions
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for direction in range(self._directions):
                suffix = f"_l{layer}" + "_reverse" * direction
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(empty(shape, **place)))
                self._all_weights.append([name + suffix for name in shapes])
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing to do: weights are packed by the compiler."""

    def reset_parameters(self) -> None:
        """Draw new parameters: uniform on ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        rest = ((f"proj_size={self.proj_size}", self.proj_size),
                (f"num_layers={self.num_layers}", self.num_layers != 1),
                (f"bias={self.bias}", not self.bias), (f"batch_first={self.batch_first}", self.batch_first),
                (f"dropout={self.dropout}", self.dropout), (f"bidirectional={self.bidirectional}", self.bidirectional))
        return ", ".join((f"{self.input_size}, {self.hidden_size}", *(text for text, shown in rest if shown)))

    # --- the computation
    def forward(self, input: Any, hx: Any = None) -> Any:
        """Output of the last layer at every step, and the last state of every layer and direction.

        Args:
            input: (T, B, input_size), (B, T, input_size) with ``batch_first``, (T, input_size), or packed.
            hx: first state (layers * directions, B, hidden_size); of an LSTM a pair (h, c). Default: zeros.
        """
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        batched = packed or x.dim() == 3
        given = None if hx is None else (hx if self.mode == "LSTM" else (hx,))
        if packed:
            sizes = [int(n) for n in input.batch_sizes.tolist()]
            if given is not None and input.sorted_indices is not None:
                given = tuple(index_select(s, 1, input.sorted_indices) for s in given)
        else:
            x, given = self._with_batch(x, given)
            sizes = [x.shape[1]] * x.shape[0]
        self._check_input(x, packed)
        states = self._states(given, sizes[0], x)
        flat = x if packed else x.contiguous().reshape(-1, x.shape[-1])
        out, states = self._layers(flat, sizes, states)
        if packed:
            if input.unsorted_indices is not None:
                states = tuple(index_select(s, 1, input.unsorted_indices) for s in states)
            result: Any = PackedSequence(out, *input[1:])
        else:
            result = out.reshape(len(sizes), sizes[0], -1)
            if not batched:
                result, states = result.squeeze(1), tuple(s.squeeze(1) for s in states)
            elif self.batch_first:
                result = result.transpose(0, 1)
        return result, (states if self.mode == "LSTM" else states[0])

    def _with_batch(self, x: Any, given: State | None) -> tuple[Any, State | None]:
        """Input as (T, B, input_size), and the states with a batch axis."""
        name = "LSTM" if self.mode == "LSTM" else "GRU" if self.mode == "GRU" else "RNN"
        if x.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.dim()}D instead")
        batched = x.dim() == 3
        for s in given or ():
            if s.dim() != x.dim():
                kind = "batched 3-D" if batched else "unbatched 2-D"
                what = "hx and cx" if name == "LSTM" else "hx"
                raise RuntimeError(f"For {kind} input, {what} should also be {x.dim()}-D but got {s.dim()}-D tensor")
        if not batched:
            return x.unsqueeze(1), None if given is None else tuple(s.unsqueeze(1) for s in given)
        return (x.transpose(0, 1) if self.batch_first else x), given

    def _check_input(self, x: Any, packed: bool) -> None:
        weight = getattr(self, self._all_weights[0][0])
        if x.dtype is not weight.dtype:
            raise ValueError(f"RNN input dtype ({x.dtype!r}) does not match weight dtype ({weight.dtype!r}). Convert "
                             f"input: input.to({weight.dtype!r}), or convert model: model.to({x.dtype!r})")
        if packed and x.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {x.dim()}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                               f"{x.shape[-1]}")
        if 0 in x.shape[:-1]:
            raise RuntimeError(f"Expected sequence length and batch to be larger than 0. Received: {list(x.shape)}")

    def _states(self, given: State | None, batch: int, x: Any) -> State:
        """The first states, checked, or zeros."""
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[:2 if self.mode == "LSTM" else 1]
        shapes = [(self.num_layers * self._directions, batch, n) for n in widths]
        if given is None:
            return tuple(zeros(shape, dtype=x.dtype) for shape in shapes)
        for i, (s, shape) in enumerate(zip(given, shapes, strict=True)):
            if tuple(s.shape) != shape:
                what = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {what} size {shape}, got {list(s.shape)}")
        return tuple(given)

    def _layers(self, x: Any, sizes: list[int], states: State) -> tuple[Any, State]:
        """All layers: output rows of the last one, and the last states."""
        last: list[State] = []
        for layer in range(self.num_layers):
            directions = []
            for direction in range(self._directions):
                k = layer * self._directions + direction
                weights = {name.rsplit("_l", 1)[0]: getattr(self, name) for name in self._all_weights[k]}
                product = F.linear(x, weights["weight_ih"])
                out, end = _direction(self.mode, product, sizes, tuple(s[k] for s in states), weights, bool(direction))
                directions.append(out)
                last.append(end)
            x = directions[0] if len(directions) == 1 else cat(directions, 1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(stack(list(s)) for s in zip(*last, strict=True))


def _check_settings(mode: str, input_size: Any, hidden_size: Any, num_layers: int, bias: Any, batch_first: Any,
                    dropout: Any, proj_size: int) -> None:
    """torch's checks of the constructor's arguments."""
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element being "
                         "zeroed")
    if dropout > 0 and num_layers == 1:
        warnings.warn(f"dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                      f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}", stacklevel=4)
    for name, value, kind in (("bias", bias, bool), ("batch_first", batch_first, bool), ("input_size", input_size, int),
                              ("hidden_size", hidden_size, int)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if mode not in _GATES:
        raise ValueError(f"Unrecognized RNN mode: {mode}")


def _no_projection(kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or relu (Elman, 1990).

    Args:
        input_size, hidden_size, num_layers. nonlinearity: ``"tanh"`` or ``"relu"``. The others: see :class:`LSTM`.

    torch: ``torch.nn.RNN``
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: DType | None = None, **kwargs: Any) -> None:
        _no_projection(kwargs)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, device=device, dtype=dtype, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order i, f, g, o.

    Args:
        input_size, hidden_size, num_layers. bias: have biases. batch_first: input and output are (B, T, *).
        dropout: between the layers, in training. bidirectional: a second set of layers runs backwards.
        proj_size: project the hidden state to this size (Sak et al., 2014).

    >>> import gemel
    >>> out, (h, c) = gemel.nn.LSTM(10, 20, num_layers=2)(gemel.randn(5, 3, 10))
    >>> out.shape, h.shape
    (gemel.Size([5, 3, 20]), gemel.Size([2, 3, 20]))

    torch: ``torch.nn.LSTM``
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: DType | None = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014), gates in the order r, z, n. The arguments: see :class:`LSTM`.

    torch: ``torch.nn.GRU``
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: DType | None = None, **kwargs: Any) -> None:
        _no_projection(kwargs)
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         device=device, dtype=dtype, **kwargs)


# --- single steps ----------------------------------------------------------------------------------

class RNNCellBase(Module):
    """Settings and parameters of a single step. torch: ``torch.nn.RNNCellBase``"""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows, place = num_chunks * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih: Any = Parameter(empty((rows, input_size), **place))  # type: ignore[arg-type]
        self.weight_hh: Any = Parameter(empty((rows, hidden_size), **place))  # type: ignore[arg-type]
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, **place)) if bias else None)  # type: ignore[arg-type]
        self.reset_parameters()

    reset_parameters = RNNBase.reset_parameters

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else f", bias={self.bias}")
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"

    def _run(self, mode: str, input: Any, given: State | None, names: Sequence[str]) -> State:
        """One step of (B, input_size) or (input_size,)."""
        kind = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for name, s in zip(names, given or (), strict=False):
            if s.dim() not in (1, 2):
                raise ValueError(f"{kind}: Expected {name} to be 1D or 2D, got {s.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if given is None:
            state: State = (zeros((x.shape[0], self.hidden_size), dtype=x.dtype),) * len(names)
        else:
            state = tuple(given) if batched else tuple(s.unsqueeze(0) for s in given)
        for name, s in zip(names, state, strict=True):
            if tuple(s.shape) != (x.shape[0], self.hidden_size):
                raise RuntimeError(f"{kind}: Expected {name} to have shape {(x.shape[0], self.hidden_size)}, got "
                                   f"{list(s.shape)}")
        weights = {"weight_hh": self.weight_hh, "bias_hh": self.bias_hh}
        state = _step(mode, F.linear(x, self.weight_ih, self.bias_ih), state, weights)
        return state if batched else tuple(s.squeeze(0) for s in state)


class RNNCell(RNNCellBase):
    """One step of :class:`RNN`. torch: ``torch.nn.RNNCell``"""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state, of (B, input_size) and (B, hidden_size), or both without B."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        given = None if hx is None else (hx,)
        return self._run(f"RNN_{self.nonlinearity.upper()}", input, given, ("hidden",))[0]


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`. torch: ``torch.nn.LSTMCell``"""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next states (h, c)."""
        return self._run("LSTM", input, hx, ("hx[0]", "hx[1]"))


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`. torch: ``torch.nn.GRUCell``"""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state."""
        return self._run("GRU", input, None if hx is None else (hx,), ("hidden",))[0]
