"""Every layer against torch's with the same state: values, gradients, buffers, keys, printing."""
from __future__ import annotations

import inspect
import itertools
import warnings
from typing import Any

import pytest
import torch

import gemel
from gemel import nn
from tests.nn.compare import GRAD_RTOL, RTOL, backward, close, ours
from tests.nn.layer_table import FAMILIES, Layer

RECORDS = list(itertools.chain.from_iterable(FAMILIES.values()))


def converted(x: Any, dtype: torch.dtype) -> Any:
    """A float64 tensor in the dtype of the test."""
    return x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def mine(x: Any) -> Any:
    return ours(x) if isinstance(x, torch.Tensor) else x


def make(record: Layer, dtype: torch.dtype) -> tuple[torch.nn.Module, Any]:
    """The layer of torch with interesting parameters, and ours with the same, loaded from its state dict."""
    args = [converted(a, dtype) for a in record.args]
    kwargs = {k: converted(v, dtype) for k, v in record.kwargs.items()}
    torch.manual_seed(0)
    theirs = getattr(torch.nn, record.name)(*args, **kwargs).to(dtype)
    layer = getattr(nn, record.name)(*map(mine, args), **{k: mine(v) for k, v in kwargs.items()})
    layer.to(gemel.float64 if dtype is torch.float64 else gemel.float32)
    with torch.no_grad():
        for name, t in theirs.state_dict().items():
            if t.is_floating_point() and name not in ("weight", "pos_weight") or type(theirs).__name__.endswith("Norm"):
                t.copy_(torch.rand_like(t) + 0.5 if t.is_floating_point() else t)
    state = {k: ours(v) for k, v in theirs.state_dict().items()}
    own = layer.state_dict()
    assert list(own) == list(state)
    assert {k: (tuple(v.shape), v.dtype) for k, v in own.items()} == {
        k: (tuple(v.shape), v.dtype) for k, v in state.items()}
    assert repr(layer.load_state_dict(state)) == "<All keys matched successfully>"
    return theirs, layer


def tensors(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def compare(record: Layer, dtype: torch.dtype, training: bool) -> None:
    theirs, layer = make(record, dtype)
    assert repr(layer) == repr(theirs)
    theirs.train(training)
    layer.train(training)
    inputs = [converted(x, dtype) for x in record.inputs]
    inplace = bool(getattr(theirs, "inplace", False))
    wanted = [x.is_floating_point() and (record.grad is None or i < record.grad) for i, x in enumerate(inputs)]
    a = [x.clone().requires_grad_(w) for x, w in zip(inputs, wanted, strict=True)]
    b = [ours(x).requires_grad_(w) for x, w in zip(inputs, wanted, strict=True)]
    call = {k: converted(v, dtype) for k, v in record.call.items()}
    want = tensors(theirs(*[x * 1 if inplace else x for x in a], **call))
    got = tensors(layer(*[x * 1 if inplace else x for x in b], **{k: mine(v) for k, v in call.items()}))
    name = str(dtype)[6:]
    assert len(got) == len(want)
    for y, z in zip(got, want, strict=True):
        close(y, z, RTOL[name], "result")
    pairs = [(y, z) for y, z in zip(got, want, strict=True) if z.requires_grad]
    assert [y.requires_grad for y in got] == [z.requires_grad for z in want]
    if pairs:
        cotangents = [torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=dtype) for _, z in pairs]
        torch.autograd.backward([z for _, z in pairs], cotangents)
        backward([y for y, _ in pairs], [ours(g) for g in cotangents])
        leaves = [*zip(itertools.repeat("input"), b, a), *((k, p, dict(theirs.named_parameters())[k])
                                                           for k, p in layer.named_parameters())]
        for what, p, q in leaves:
            if q.grad is not None:
                assert p.grad is not None, f"no gradient of {what}"
                close(p.grad, q.grad, GRAD_RTOL[name], f"gradient of {what}")
    for key, buffer in layer.named_buffers():
        close(buffer, dict(theirs.named_buffers())[key], RTOL[name], key)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.id)
def test_against_torch(record):
    if "train" in record.modes:
        compare(record, torch.float64, True)
    if "eval" in record.modes:
        compare(record, torch.float32, False)


NAMES = sorted({r.name for r in RECORDS})


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name):
    """Names, order and defaults of arguments."""
    if name == "Identity":
        return
    theirs = inspect.signature(getattr(torch.nn, name))
    own = inspect.signature(getattr(nn, name))
    expected = [(p.name, p.default, p.kind) for p in theirs.parameters.values()]
    found = [(p.name, p.default, p.kind) for p in own.parameters.values()]
    if name in ("Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink", "Softmax2d"):
        assert [k for *_, k in found] == [k for *_, k in expected]
    else:
        assert found == expected
    forward, own_forward = (inspect.signature(getattr(m, name).forward) for m in (torch.nn, nn))
    assert [(p.name, p.default) for p in own_forward.parameters.values()] == [
        (p.name, p.default) for p in forward.parameters.values()]


def test_all_layers_are_there():
    """Every module class of torch.nn, but for those listed."""
    missing = {"Container", "CrossMapLRN2d", "LinearCrossEntropyLoss"}
    theirs = {k for k, v in vars(torch.nn).items() if isinstance(v, type) and issubclass(v, torch.nn.Module)}
    own = {k for k, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Module)}
    assert theirs - own == missing - own
    assert own - theirs == set()
    assert {n for n in theirs - missing if not n.startswith("Lazy")} - set(NAMES) <= {
        "MultiheadAttention", "Transformer", "TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoder",
        "TransformerDecoderLayer", "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase",
        "DataParallel", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
        "NLLLoss2d"}


@pytest.mark.parametrize("name", ["Linear", "Bilinear", "Conv2d", "ConvTranspose2d", "Embedding", "PReLU",
                                  "BatchNorm2d", "LayerNorm", "Conv1d"])
def test_first_values_have_torchs_distribution(name):
    args = {"Linear": (50, 60), "Bilinear": (20, 10, 30), "Embedding": (100, 30), "PReLU": (3,), "BatchNorm2d": (5,),
            "LayerNorm": (5,)}.get(name, (8, 16, 5))
    gemel.manual_seed(0)
    layer, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    for key, p in theirs.state_dict().items():
        a, b = layer.state_dict()[key].numpy(), p.numpy()
        if name in ("PReLU", "BatchNorm2d", "LayerNorm"):
            assert (a == b).all()
            continue
        few = a.size < 500
        assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.3), key
        assert a.std() == pytest.approx(b.std(), rel=0.5 if few else 0.1), key
        assert abs(a.mean()) < (0.8 if few else 0.1) * a.std()


ERRORS = [
    ("Bilinear", (0, 1, 2), "in1_features must be > 0"), ("Unflatten", (1, 2.5), "must be a tuple of ints"),
    ("Unflatten", (1, (2, 2.5)), "at pos 1"), ("Dropout", (1.5,), "between 0 and 1"), ("Dropout2d", (-0.1,), "between"),
    ("Hardtanh", (1, 0), "must be greater than"), ("Conv2d", (4, 6, 3, 1, 0, 1, 0), "groups must be a positive"),
    ("Conv2d", (3, 6, 3, 1, 0, 1, 2), "in_channels must be divisible"),
    ("Conv2d", (4, 5, 3, 1, 0, 1, 2), "out_channels must be divisible"),
    ("Conv2d", (4, 5, 3, 1, "all"), "Invalid padding string"), ("Conv2d", (4, 5, 3, 2, "same"), "strided"),
    ("Conv2d", (4, 5, 3, 1, 0, 1, 1, True, "mirror"), "padding_mode must be one of"),
    ("ConvTranspose1d", (4, 5, 3, 1, 0, 0, 1, True, 1, "reflect"), 'Only "zeros" padding mode'),
    ("GroupNorm", (3, 4), "must be divisible by num_groups"), ("Embedding", (3, 4, 3), "within num_embeddings"),
    ("EmbeddingBag", (3, 4, None, 2.0, False, "mean", False, None, False, -4), "within num_embeddings"),
    ("HuberLoss", ("mean", "1"), "delta must be a float or int"), ("MultiMarginLoss", (3,), "only p == 1 and p == 2"),
    ("TripletMarginLoss", (0,), "greater than 0"), ("FractionalMaxPool2d", (2,), "FractionalMaxPool2d requires"),
    ("FractionalMaxPool3d", (2, 3, 0.5), "only one of output_size"),
    ("FractionalMaxPool3d", (0, 3), "kernel_size must"),
    ("FractionalMaxPool2d", (2, None, 1.5), "output_ratio must be between"),
]


@pytest.mark.parametrize(("name", "args", "message"), ERRORS, ids=[f"{e[0]}-{e[2][:12]}" for e in ERRORS])
def test_construction_errors(name, args, message):
    """The class of torch's error; the words of torch's error."""
    with pytest.raises(Exception) as theirs:
        getattr(torch.nn, name)(*args)
    with pytest.raises(theirs.type, match=message):
        getattr(nn, name)(*args)
    assert message.lower()[:8] in str(theirs.value).lower()


CALL_ERRORS = [
    ("BatchNorm1d", (3,), (2, 3, 4, 5)), ("BatchNorm2d", (3,), (2, 3)), ("BatchNorm3d", (3,), (2, 3)),
    ("InstanceNorm2d", (3,), (2, 3)), ("Softmax2d", (), (2, 3)), ("Linear", (3, 4), (2, 4)),
    ("Conv2d", (3, 4, 2), (2, 3, 4)), ("Conv2d", (3, 4, 2), (2, 2, 4, 4)), ("LayerNorm", (3,), (2, 4)),
    ("CircularPad2d", (1,), (2, 3)), ("GroupNorm", (2, 4), (2, 3, 5)), ("BatchNorm1d", (3,), (1, 3)),
    ("SyncBatchNorm", (3,), (3,)), ("SyncBatchNorm", (3,), (3, 0)), ("SyncBatchNorm", (3,), (3, 4)),
]


@pytest.mark.parametrize(("name", "args", "shape"), CALL_ERRORS, ids=[f"{e[0]}-{e[2]}" for e in CALL_ERRORS])
def test_errors_of_calls(name, args, shape):
    """An error where torch has one, at the call, that says in which module."""
    x = torch.zeros(shape)
    with pytest.raises(Exception) as theirs:
        getattr(torch.nn, name)(*args)(x)
    with pytest.raises((theirs.type, ValueError)) as found:
        getattr(nn, name)(*args)(ours(x))
    assert any(f"in module {name}" in note for note in found.value.__notes__)


# --- what the table does not reach -----------------------------------------------------------------

def test_batch_norm_over_several_batches():
    for momentum in (0.1, None):
        theirs, layer = torch.nn.BatchNorm1d(3, momentum=momentum), nn.BatchNorm1d(3, momentum=momentum)
        for i in range(4):
            x = torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) * (i + 1)
            close(layer(ours(x)), theirs(x), 1e-5, "result")
        for key, buffer in theirs.named_buffers():
            close(layer.get_buffer(key), buffer, 1e-5, key)
        layer.reset_running_stats()
        assert layer.num_batches_tracked.item() == 0 and layer.running_var.tolist() == [1, 1, 1]


def test_converting_to_synchronised_batch_norm():
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False)))
    x = gemel.randn(4, 2, 5)
    model(x)
    model[1][0].eval()
    before = model(x)
    weight = model[1][0].weight
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert converted is model and type(model[1][0]) is type(model[1][1]) is nn.SyncBatchNorm
    assert model[1][0].weight is weight and not model[1][0].training and model[1][1].training
    assert model(x).tolist() == before.tolist()
    with pytest.raises(NotImplementedError, match="process_group must be None"):
        nn.SyncBatchNorm(3, process_group=object())
    with pytest.raises(NotImplementedError, match="process_group must be None"):
        nn.SyncBatchNorm.convert_sync_batchnorm(model, object())


def test_data_parallel_is_the_module():
    model = nn.DataParallel(nn.Linear(2, 1), device_ids=[0, 1])
    assert repr(model) == repr(torch.nn.DataParallel(torch.nn.Linear(2, 1)))
    x = gemel.ones(3, 2)
    assert model(x).tolist() == model.module(x).tolist()


def test_state_dicts_from_before_batches_were_counted():
    layer = nn.Sequential(nn.BatchNorm1d(2))
    state = {k: v for k, v in layer.state_dict().items() if "num_batches" not in k}
    layer[0].num_batches_tracked.add_(3)
    assert repr(layer.load_state_dict(state)) == "<All keys matched successfully>"


def test_padding_row_is_zero_and_stays():
    table = nn.Embedding(5, 3, padding_idx=2)
    assert table.weight[2].tolist() == [0, 0, 0] and (table.weight != 0).sum().item() == 12
    table(gemel.tensor([2, 2, 1])).sum().backward()
    assert table.weight.grad[2].tolist() == [0, 0, 0] and table.weight.grad[1].tolist() == [1, 1, 1]


def test_from_pretrained():
    values = torch.randn(4, 3)
    table = nn.Embedding.from_pretrained(ours(values))
    assert not table.weight.requires_grad and repr(table) == "Embedding(4, 3)"
    assert table(gemel.tensor([1])).tolist()[0] == pytest.approx(values[1].tolist())
    assert nn.EmbeddingBag.from_pretrained(ours(values), freeze=False).weight.requires_grad
    with pytest.raises(AssertionError, match="2-dimensional"):
        nn.Embedding.from_pretrained(gemel.zeros(3))


LAZY = [("LazyLinear", (4,), {}, (3, 5)), ("LazyConv1d", (4, 2), {}, (3, 5, 6)),
        ("LazyConv2d", (4, 2), {"bias": False}, (3, 5, 6, 6)), ("LazyConv3d", (4, 2), {}, (5, 4, 4, 4)),
        ("LazyConvTranspose1d", (4, 2), {}, (3, 5, 6)), ("LazyConvTranspose2d", (4, 2), {"groups": 1}, (3, 5, 6, 6)),
        ("LazyConvTranspose3d", (4, 2), {}, (3, 5, 2, 2, 2)), ("LazyBatchNorm1d", (), {}, (3, 5)),
        ("LazyBatchNorm2d", (), {}, (3, 5, 2, 2)), ("LazyBatchNorm3d", (), {"affine": False}, (3, 5, 2, 2, 2)),
        ("LazyInstanceNorm1d", (), {}, (3, 5, 4)), ("LazyInstanceNorm2d", (), {}, (3, 5, 4, 4)),
        ("LazyInstanceNorm3d", (), {}, (3, 5, 2, 2, 4))]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), LAZY, ids=[r[0] for r in LAZY])
def test_lazy_layers(name, args, kwargs, shape):
    theirs, layer = getattr(torch.nn, name)(*args, **kwargs), getattr(nn, name)(*args, **kwargs)
    assert list(layer.state_dict()) == list(theirs.state_dict())
    waiting = getattr(nn, name)(*args, **kwargs)
    x = torch.randn(shape)
    theirs(x)
    layer(ours(x))
    assert type(layer).__name__ == type(theirs).__name__ == name.removeprefix("Lazy")
    assert repr(layer) == repr(theirs)
    assert {k: list(v.shape) for k, v in layer.state_dict().items()} == {
        k: list(v.shape) for k, v in theirs.state_dict().items()}
    assert not layer._forward_pre_hooks
    waiting.load_state_dict(layer.state_dict())  # the shapes may come from a file too
    assert not waiting.has_uninitialized_params()
    layer.eval()
    close(waiting.eval()(ours(x)), torch.from_numpy(layer(ours(x)).detach().numpy().copy()), 1e-6, "result")


def test_adaptive_softmax_gives_all_classes():
    theirs, layer = (library.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 9], 2.0) for library in (torch.nn, nn))
    layer.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    x = torch.randn(20, 8) * 4
    close(layer.log_prob(ours(x)), theirs.log_prob(x), 1e-5, "log_prob")
    close(layer.predict(ours(x)), theirs.predict(x), 0, "predict")
    with pytest.raises((IndexError, RuntimeError)):
        layer(ours(x[:2]), gemel.tensor([3, 12])).loss.item()
    with pytest.raises(ValueError, match="increasing order"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [9, 4])


def test_dropout_in_training():
    gemel.manual_seed(1)
    x = gemel.ones(20_000)
    y = nn.Dropout(0.25)(x)
    kept = (y != 0).float().mean().item()
    assert kept == pytest.approx(0.75, abs=0.02) and y.mean().item() == pytest.approx(1, abs=0.03)
    channels = nn.Dropout2d(0.5)(gemel.ones(50, 20, 3, 3))
    per_channel = (channels != 0).flatten(2).float().mean(2)
    assert set(per_channel.flatten().tolist()) == {0.0, 1.0}


def test_no_warning_in_a_training_step():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
        nn.CrossEntropyLoss()(model(gemel.randn(2, 1, 6, 6)), gemel.tensor([0, 2])).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_mission_network():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten = nn.Flatten()        # (N,1,28,28) -> (N,784)
            self.fc1 = nn.Linear(784, 256)
            self.relu = nn.ReLU()
            self.fc2 = nn.Linear(256, 10)
        def forward(self, x):
            return self.fc2(self.relu(self.fc1(self.flatten(x))))

    gemel.manual_seed(0)
    net, loss_fn = Net(), nn.CrossEntropyLoss()
    optimizer = gemel.optim.Adam(net.parameters(), lr=1e-3)
    x, target = gemel.randn(32, 1, 28, 28), gemel.randint(0, 10, (32,))
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = loss_fn(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(2.3, abs=0.3) and losses[-1] < 0.3


def test_printed_parameter_containers():
    printed = []
    for m in (torch, gemel):
        of = [m.nn.Parameter(m.zeros(2, 3)), m.nn.Parameter(m.zeros(4, dtype=m.bfloat16)), "text"]
        printed.append((repr(m.nn.ParameterList(of)), repr(m.nn.ParameterDict(dict(zip("abc", of, strict=True))))))
    (listed, named), mine = printed
    assert mine == (listed.replace("torch.", "gemel."), named)
