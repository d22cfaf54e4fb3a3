"""Recurrent layers, cells and packed sequences against torch with the same state."""
from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.utils import rnn as theirs_rnn

import gemel
from gemel import nn
from gemel.nn.utils import rnn
from tests.nn.compare import GRAD_RTOL, RTOL, backward, close, ours, randn

LAYERS = [
    ("RNN", (3, 4), {}), ("RNN", (3, 4, 2, "relu"), {"bidirectional": True}), ("RNN", (3, 4), {"bias": False}),
    ("LSTM", (3, 4), {}), ("LSTM", (3, 4, 2), {"batch_first": True, "bidirectional": True}),
    ("LSTM", (3, 4, 2), {"proj_size": 2, "dropout": 0.0}), ("LSTM", (3, 5), {"proj_size": 2, "bias": False,
                                                                            "bidirectional": True}),
    ("GRU", (3, 4), {}), ("GRU", (3, 4, 2, True, True, 0.0, True), {}), ("GRU", (3, 4, 3), {"bias": False}),
]
IDS = [f"{n}{a}{k}".replace(" ", "") for n, a, k in LAYERS]


def make(name, args, kwargs, dtype=torch.float64):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(*args, **kwargs).to(dtype)
    layer = getattr(nn, name)(*args, **kwargs).to(gemel.float64 if dtype is torch.float64 else gemel.float32)
    assert list(layer.state_dict()) == list(theirs.state_dict()) and repr(layer) == repr(theirs)
    layer.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    return theirs, layer


def flat(results):
    if isinstance(results, (torch.Tensor, gemel.Tensor)):
        return [results]
    if isinstance(results, (theirs_rnn.PackedSequence, rnn.PackedSequence)):
        return [results.data]
    return [t for r in results for t in flat(r)]


def agree(theirs, layer, want, got, inputs, dtype=torch.float64):
    want, got, name = flat(want), flat(got), str(dtype)[6:]
    assert len(want) == len(got)
    for y, z in zip(got, want, strict=True):
        close(y, z, RTOL[name], "result")
    cotangents = [torch.randn(z.shape, dtype=dtype) for z in want]
    torch.autograd.backward(want, cotangents)
    backward(got, [ours(g) for g in cotangents])
    for a, b in inputs:
        close(b.grad, a.grad, GRAD_RTOL[name], "gradient of an input")
    for key, p in theirs.named_parameters():
        close(layer.get_parameter(key).grad, p.grad, GRAD_RTOL[name], f"gradient of {key}")


def states(theirs, batch, dtype=torch.float64):
    n = theirs.num_layers * (2 if theirs.bidirectional else 1)
    widths = [theirs.proj_size or theirs.hidden_size] + [theirs.hidden_size] * (theirs.mode == "LSTM")
    shapes = [(n, batch, w) if batch else (n, w) for w in widths]
    pairs = [(t.requires_grad_(), ours(t).requires_grad_()) for t in
             (randn(*s, seed=i).to(dtype) for i, s in enumerate(shapes))]
    both = [tuple(p[i] for p in pairs) for i in (0, 1)]
    return pairs, *(h if theirs.mode == "LSTM" else h[0] for h in both)


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS, ids=IDS)
def test_layers(name, args, kwargs):
    for dtype, given in ((torch.float64, True), (torch.float32, False)):
        theirs, layer = make(name, args, kwargs, dtype)
        x = randn(*((2, 5, 3) if theirs.batch_first else (5, 2, 3))).to(dtype).requires_grad_()
        y = ours(x).requires_grad_()
        pairs, h, own = states(theirs, 2, dtype) if given else ([], None, None)
        agree(theirs, layer, theirs(x, h), layer(y, own), [(x, y), *pairs], dtype)


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS[::2], ids=IDS[::2])
def test_without_batch(name, args, kwargs):
    theirs, layer = make(name, args, kwargs)
    x = randn(5, 3).requires_grad_()
    y = ours(x).requires_grad_()
    pairs, h, own = states(theirs, 0)
    agree(theirs, layer, theirs(x, h), layer(y, own), [(x, y), *pairs])


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS[1:], ids=IDS[1:])
def test_packed(name, args, kwargs, enforce_sorted):
    lengths = [5, 3, 3, 1] if enforce_sorted else [2, 5, 1, 5]
    theirs, layer = make(name, args, kwargs)
    x = randn(5, 4, 3).requires_grad_()
    y = ours(x).requires_grad_()
    pairs, h, own = states(theirs, 4)
    want = theirs(theirs_rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted), h)
    got = layer(rnn.pack_padded_sequence(y, lengths, enforce_sorted=enforce_sorted), own)
    padded, sizes = rnn.pad_packed_sequence(got[0])
    their_padded, their_sizes = theirs_rnn.pad_packed_sequence(want[0])
    close(padded, their_padded, 1e-9, "padded")
    close(sizes, their_sizes, 0, "lengths")
    agree(theirs, layer, want, got, [(x, y), *pairs])


CELLS = [("RNNCell", (3, 4), {}), ("RNNCell", (3, 4, False, "relu"), {}), ("LSTMCell", (3, 4), {}),
         ("LSTMCell", (3, 4), {"bias": False}), ("GRUCell", (3, 4), {})]


@pytest.mark.parametrize(("name", "args", "kwargs"), CELLS, ids=[f"{n}{a}" for n, a, _ in CELLS])
def test_cells(name, args, kwargs):
    for shape, given in itertools.product(((2, 3), (3,)), (True, False)):
        theirs, layer = make(name, args, kwargs)
        x = randn(*shape).requires_grad_()
        y = ours(x).requires_grad_()
        pairs = [(t.requires_grad_(), ours(t).requires_grad_()) for t in
                 (randn(*shape[:-1], 4, seed=i) for i in range(1 + (name == "LSTMCell")))] if given else []
        h, own = (tuple(p[i] for p in pairs) for i in (0, 1))
        if not given:
            h = own = None
        elif name != "LSTMCell":
            h, own = h[0], own[0]
        agree(theirs, layer, theirs(x, h), layer(y, own), [(x, y), *pairs])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_steps_cost_neither_nodes_nor_kernels(name):
    """A layer's direction is one node whose kernels are the same few for any number of steps."""
    def cost(steps):
        layer = getattr(nn, name)(3, 4, bidirectional=True)
        out, _ = layer(gemel.randn(steps, 2, 3))
        recorded = len(gemel.debug.program(out))
        with gemel.debug.counting() as seen:
            out.square().sum().backward()
            for p in layer.parameters():
                assert p.grad is not None and p.grad.numpy().any()
        return recorded, seen["calls"], seen["flushes"]
    assert cost(4) == cost(50)


def test_dropout_between_layers():
    gemel.manual_seed(0)
    layer = nn.LSTM(3, 4, 2, dropout=0.9)
    x = gemel.randn(5, 2, 3)
    assert not layer(x)[0].equal(layer(x)[0])
    layer.eval()
    assert layer(x)[0].equal(layer(x)[0])


def test_padding_and_packing():
    parts = [randn(n, 2) for n in (2, 4, 1)]
    mine = [ours(p) for p in parts]
    for options in ({}, {"batch_first": True}, {"padding_value": -1.5}, {"padding_side": "left"}):
        close(rnn.pad_sequence(mine, **options), theirs_rnn.pad_sequence(parts, **options), 0, "padded")
    packed, want = rnn.pack_sequence(mine, False), theirs_rnn.pack_sequence(parts, False)
    for a, b in zip(packed, want, strict=True):
        close(a, b, 0, "field")
    for a, b in zip(rnn.unpack_sequence(packed), theirs_rnn.unpack_sequence(want), strict=True):
        close(a, b, 0, "sequence")
    for options in ({"batch_first": True, "total_length": 6}, {"padding_value": 2.0}):
        for a, b in zip(rnn.pad_packed_sequence(packed, **options), theirs_rnn.pad_packed_sequence(want, **options),
                        strict=True):
            close(a, b, 0, "padded")
    assert packed.to(gemel.float32).data.dtype is gemel.float32 and packed.double() is packed


ERRORS = [
    (lambda m: m.RNN(3, 4, nonlinearity="gelu"), "Unknown nonlinearity"), (lambda m: m.GRU(3, 4, proj_size=1), "LSTM"),
    (lambda m: m.LSTM(3, 4, proj_size=4), "smaller than hidden_size"), (lambda m: m.LSTM(3, 4, 0), "greater than zero"),
    (lambda m: m.LSTM(0, 4), "greater than zero"), (lambda m: m.LSTM(3.0, 4), "type int"),
    (lambda m: m.LSTM(3, 4, dropout=2), "range"), (lambda m: m.LSTM(3, 4, bias=1), "type bool"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_construction_errors(call, message):
    with pytest.raises(Exception, match=message) as theirs:
        call(torch.nn)
    with pytest.raises(theirs.type, match=message):
        call(nn)


def test_errors_of_calls():
    cases = [((5, 2, 4), None, "input_size"), ((5,), None, "2D or 3D"), ((5, 2, 3), (1, 3, 4), "hidden"),
             ((5, 2, 3), (2, 4), "3-D"), ((5, 3), (1, 2, 4), "2-D")]
    for shape, state, message in cases:
        for name in ("RNN", "LSTM", "GRU"):
            errors = []
            for library, make_zeros in ((torch.nn, torch.zeros), (nn, gemel.zeros)):
                h = None if state is None else make_zeros(state)
                with pytest.raises((RuntimeError, ValueError), match=message) as error:
                    getattr(library, name)(3, 4)(make_zeros(shape), (h, h) if name == "LSTM" and h is not None else h)
                errors.append(error.type)
            assert issubclass(errors[1], errors[0])
    with pytest.raises(ValueError, match="does not match weight dtype"):
        nn.LSTM(3, 4)(gemel.zeros(5, 2, 3, dtype=gemel.float64))
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        rnn.pack_padded_sequence(gemel.zeros(5, 2, 3), [2, 3])
    with pytest.raises(RuntimeError, match="greater than 0"):
        rnn.pack_padded_sequence(gemel.zeros(5, 2, 3), [2, 0])
