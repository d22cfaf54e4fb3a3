"""Files: exchanged with torch and safetensors, and hostile, truncated or corrupt ones."""
from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import gemel
from gemel import debug, nn, serialization
from gemel.engine.base.errors import UnsupportedError
from gemel.serialization import FormatError
from gemel.serialization import safetensors as ours

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64, torch.complex64]


def samples():
    return {str(d).split(".")[1]: torch.arange(6).reshape(2, 3).to(d) for d in DTYPES}


def same(a, b):
    """Structures of gemel and of torch with the same types and bits."""
    if isinstance(b, torch.Tensor):
        assert list(a.shape) == list(b.shape)
        assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
        raw = b.detach().contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16) \
            if b.dtype is torch.bfloat16 and b.numel() else b.detach().float().numpy() if b.dtype is torch.bfloat16 \
            else b.detach().numpy()
        np.testing.assert_array_equal(a.detach().numpy(), raw.reshape(tuple(b.shape)))
        assert a.requires_grad == b.requires_grad
    elif isinstance(b, dict):
        assert list(a) == list(b) and isinstance(a, OrderedDict) == isinstance(b, OrderedDict)
        for k in b:
            same(a[k], b[k])
    elif isinstance(b, (list, tuple)):
        assert len(a) == len(b) and isinstance(a, tuple) == isinstance(b, tuple)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(b, torch.dtype):
        assert repr(a).split(".")[1] == str(b).split(".")[1]
    else:
        assert type(a) is type(b) and a == b


def saved(obj):
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    return buffer.getvalue()


def checkpoint():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model.tied = torch.nn.Linear(3, 4)
    model.tied.weight = model[0].weight
    opt = torch.optim.Adam(model.parameters(), amsgrad=True)
    model[0](torch.ones(2, 3)).sum().backward()
    opt.step()
    return {"model": model.state_dict(), "optimizer": opt.state_dict(), "epoch": 7, "loss": 0.25, "none": None,
            "list": [1, -3, 2**40, -2**70, True, "ü", b"\x00\xff", (1, (2,))], "size": torch.Size([1, 2]),
            "dtype": torch.float16, "transposed": torch.arange(6).reshape(2, 3).t(), "empty": torch.empty(0, 3),
            "slice": torch.arange(10)[3:5], "scalar": torch.tensor(2.5), "set": {1, 2}, "complex": 1 + 2j,
            "parameter": torch.nn.Parameter(torch.ones(2)), "frozen": torch.nn.Parameter(torch.ones(2), False),
            "samples": samples()}


# --- exchange with torch ---------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["path", "file", "unmapped"])
def test_reads_torch(tmp_path, how):
    obj = checkpoint()
    path = tmp_path / "a.pt"
    path.write_bytes(saved(obj))
    found = {"path": lambda: gemel.load(path), "file": lambda: gemel.load(io.BytesIO(path.read_bytes())),
             "unmapped": lambda: gemel.load(str(path), mmap=False, map_location="cpu")}[how]()
    obj["size"] = tuple(obj["size"])
    same(found, obj)
    assert found["model"]._metadata == obj["model"]._metadata
    assert isinstance(found["parameter"], nn.Parameter) and not found["frozen"].requires_grad


def test_torch_reads_ours(tmp_path):
    obj = gemel.load(io.BytesIO(saved(checkpoint())))
    path = tmp_path / "b.pt"
    gemel.save(obj, path)
    for kwargs in ({}, {"mmap": True}):
        same(obj, torch.load(path, weights_only=True, **kwargs))
    same(gemel.load(path), torch.load(path))
    buffer = io.BytesIO()
    gemel.save(obj, buffer)
    buffer.seek(0)
    same(obj, torch.load(buffer))


def test_tied_tensors_stay_tied(tmp_path):
    w = torch.arange(6.0)
    found = gemel.load(io.BytesIO(saved({"a": w, "b": w, "row": w.view(2, 3)[1]})))
    with gemel.no_grad():
        found["a"].mul_(0)
    assert not found["b"].numpy().any() and not found["row"].numpy().any()
    path = tmp_path / "tied.pt"
    x = gemel.arange(4.0)
    gemel.save({"a": x, "b": x.detach()}, path)
    back = torch.load(path)
    assert back["a"].data_ptr() == back["b"].data_ptr()
    assert os.path.getsize(path) < 2500


def test_mapped_memory_is_not_copied_and_not_written(tmp_path):
    path = tmp_path / "big.pt"
    torch.save({"w": torch.ones(1 << 20)}, path)
    with debug.counting() as seen:
        w = gemel.load(path)["w"]
    assert seen["live_bytes"] == 0
    before = path.read_bytes()
    w += 1
    assert w.sum().item() == 2 << 20
    assert path.read_bytes() == before


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pt"
    gemel.save([1], path)
    with pytest.raises(TypeError, match=r"the object\['x'\]"):
        gemel.save({"x": object()}, path)
    with pytest.raises(TypeError, match="state_dict"):
        gemel.save(nn.Module(), path)
    assert gemel.load(path) == [1]
    assert os.listdir(tmp_path) == ["a.pt"]
    with pytest.raises(FileNotFoundError):
        gemel.save([1], tmp_path / "no" / "a.pt")
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        gemel.save(loop, path)
    x = gemel.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        gemel.save(x * 2, path)


def test_legacy_and_unknown_files(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    with pytest.raises(FormatError, match="before version 1.6"):
        gemel.load(io.BytesIO(buffer.getvalue()))
    for data, message in ((b"", "empty"), (b"hello world and more", "begins with")):
        with pytest.raises(FormatError, match=message):
            gemel.load(io.BytesIO(data))
    with pytest.raises(UnsupportedError, match="ever run"):
        gemel.load(io.BytesIO(b""), weights_only=False)


# --- hostile archives ------------------------------------------------------------------------------

def archive(pkl, files=None, method=zipfile.ZIP_STORED, **extra):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as z:
        z.writestr("archive/data.pkl", pkl)
        for name, data in ({"version": b"3\n", "byteorder": b"little"} | extra | (files or {})).items():
            z.writestr(f"archive/{name}", data)
    return buffer.getvalue()


class Evil:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("evil", [(os.system, "touch /tmp/gemel-evil"), (eval, "1/0"), (exec, "raise SystemExit"),
                                  (getattr, "x", "load"), (__import__, "os"), (bytearray, 10**9), (map, len, [])])
def test_no_code(evil, protocol):
    with pytest.raises(FormatError):
        gemel.load(io.BytesIO(archive(pickle.dumps([Evil(*evil)], protocol))))
    assert not os.path.exists("/tmp/gemel-evil")


def tensor_pickle(size=(2,), stride=(1,), offset=0, count=2, kind=b"FloatStorage", key=b"0"):
    """The pickle of one tensor, written by hand."""
    def number(n):
        raw = n.to_bytes(16, "little", signed=True)
        return b"\x8a\x10" + raw

    def numbers(ns):
        return b"(" + b"".join(map(number, ns)) + b"t"

    def text(t):
        return b"X" + struct.pack("<I", len(t)) + t

    return (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((" + text(b"storage") + b"ctorch\n" + kind + b"\n" + text(key)
            + text(b"cpu") + number(count) + b"tQ" + number(offset) + numbers(size) + numbers(stride)
            + b"\x89ccollections\nOrderedDict\n)RtR.")


def test_the_hand_written_tensor_is_fine():
    data = archive(tensor_pickle(), {"data/0": np.float32([3, 4]).tobytes()})
    np.testing.assert_array_equal(gemel.load(io.BytesIO(data)).numpy(), [3, 4])


@pytest.mark.parametrize(("fields", "message"), [
    ({"size": (3,)}, "beyond its storage"), ({"offset": 1}, "beyond its storage"), ({"offset": -1}, "do not fit"),
    ({"stride": (2,)}, "beyond its storage"), ({"size": (-1,)}, "natural numbers"),
    ({"stride": (-1,)}, "natural numbers"),
    ({"size": (1 << 40,), "stride": (0,)}, "much more memory"), ({"size": (2, 1)}, "do not fit"),
    ({"count": 1 << 60}, "should have"), ({"count": -2}, "not a storage"), ({"count": 1}, "should have"),
    ({"kind": b"DoubleStorage"}, "should have"), ({"kind": b"Size"}, "not a storage type"), ({"key": b"../x"}, "lacks"),
    ({"size": (1 << 61, 1 << 61), "stride": (0, 0)}, "much more memory"),
    ({"size": (0, 1 << 61), "stride": (1, 1), "offset": 3}, "beyond its storage"),
])
def test_bad_tensors(fields, message):
    with pytest.raises(FormatError, match=message):
        gemel.load(io.BytesIO(archive(tensor_pickle(**fields), {"data/0": bytes(8)})))


P = b"\x80\x02"


@pytest.mark.parametrize(("body", "message"), [
    (b"", "no end"), (b".", "empty stack"), (b"R.", "empty stack"), (b"ciiiii", "truncated"),
    (b"X\xff\xff\xff\xff", "truncated"), (b"\x8b\xff\xff\xff\x7f", "integer of"), (b"h\x07.", "not remembered"),
    (b"(" * 50000, "no end"), (b"K\x01K\x02s.", "not a dict"), (b"]K\x01K\x02s.", "empty stack|not a dict"),
    (b"]q\x00h\x00a.", "contains itself"), (b"}q\x00K\x01h\x00s.", "contains itself"),
    (b"]" * 2000 + b"a" * 1999 + b".", "nested"), (b"}]K\x01s.", "key of type"),
    (b"ctorch\nload\n.", "torch.load"), (b"c" + b"a" * 10**6, "more than 255 bytes"),
    (b"ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00ax\x00b.", "opcode|attributes"),
    (b"cbuiltins\nset\nK\x01\x85R.", "do not fit"), (b"X\x01\x00\x00\x00\xff.", "UTF-8"),
    (b"\x80\x06N.", "protocol 6"), (b"PX\n.", "opcode"), (b"I1\n.", "opcode"), (b"K\x05Q.", "persistent id"),
])
def test_bad_pickles(body, message):
    with pytest.raises(FormatError, match=message):
        gemel.load(io.BytesIO(archive(P + body)))


def test_memory_is_bounded():
    """Each asks for far more than the file's size: copies of one text, copies of one list, a key that hashes slowly."""
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x01"
    encode = b"c_codecs\nencode\nq\x02" + b"]" + b"(" + b"h\x02h\x01X\x06\x00\x00\x00latin1\x86R" * 2000 + b"e."
    with pytest.raises(FormatError, match="much more memory"):
        gemel.load(io.BytesIO(archive(P + text + encode)))
    pairs = b"](" + b"K\x01K\x02\x86" * 50000 + b"eq\x01ccollections\nOrderedDict\nq\x02]("
    pairs += b"h\x02h\x01\x85R" * 5000 + b"e."
    with pytest.raises(FormatError, match="much more memory"):
        gemel.load(io.BytesIO(archive(P + pairs)))
    deep = b")q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
    with pytest.raises(FormatError, match="key of type"):
        gemel.load(io.BytesIO(archive(P + deep + b"}h\x3cNs.")))


def test_bad_archives():
    good = archive(P + b"N.")
    assert gemel.load(io.BytesIO(good)) is None
    bomb = archive(P + b"N.", {"data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match="compressed"):
        gemel.load(io.BytesIO(bomb))
    with pytest.raises(FormatError, match="big-endian"):
        gemel.load(io.BytesIO(archive(P + b"N.", byteorder=b"big")))
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as z:
            z.writestr("archive/data.pkl", P + b"N.")
            z.writestr("archive/data.pkl", P + b"N.")
        twice = buffer.getvalue()
    with pytest.raises(FormatError, match="two entries"):
        gemel.load(io.BytesIO(twice))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr("other.txt", "hello")
    with pytest.raises(FormatError, match="0 entries"):
        gemel.load(io.BytesIO(buffer.getvalue()))


def test_truncations():
    """A file that is cut anywhere gives the same class of error."""
    data = saved({"w": torch.ones(100), "b": [torch.zeros(3)] * 2})
    for n in [*range(64), *range(64, len(data), 61), len(data) - 1]:
        with pytest.raises(FormatError):
            gemel.load(io.BytesIO(data[:n]))
    tensors = {"w": np.ones(10, np.float32), "b": np.zeros(3)}
    data = safetensors.numpy.save(tensors)
    for n in range(len(data)):
        with pytest.raises(FormatError):
            gemel.load(io.BytesIO(data[:n]))


def fuzz(data, load, rounds, seed):
    rng = np.random.default_rng(seed)
    failed = 0
    for _ in range(rounds):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        try:
            load(bytes(broken))
        except FormatError:
            failed += 1
    return failed


def test_flipped_bytes():
    """Whatever the damage: a FormatError or a loaded file, never anything else."""
    data = saved(checkpoint())
    start = data.index(b"\x80\x02")
    end = data.index(b"PK\x01\x02")
    rng = np.random.default_rng(0)
    failed = 0
    pkl = zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")
    files = {n.removeprefix("archive/"): zipfile.ZipFile(io.BytesIO(data)).read(n)
             for n in zipfile.ZipFile(io.BytesIO(data)).namelist() if "/data/" in n}
    for _ in range(300):  # inside the pickle
        broken = bytearray(pkl)
        for _ in range(rng.integers(1, 5)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        try:
            gemel.load(io.BytesIO(archive(bytes(broken), files)))
        except FormatError:
            failed += 1
    assert 50 < failed < 300
    assert start < end
    failed = fuzz(data, lambda d: gemel.load(io.BytesIO(d)), 200, 1)
    assert failed
    directory = data[end:]
    failed = fuzz(directory, lambda d: gemel.load(io.BytesIO(data[:end] + d)), 200, 2)
    assert failed > 50


def test_flipped_bytes_of_safetensors():
    data = safetensors.numpy.save({"w": np.ones((2, 3), np.float32), "b": np.zeros(3)}, {"a": "b"})
    header = 8 + int.from_bytes(data[:8], "little")
    assert fuzz(data[:header], lambda d: ours.load(d + data[header:]), 300, 3) > 100


# --- safetensors -----------------------------------------------------------------------------------

def test_safetensors_both_ways(tmp_path):
    tensors = samples() | {"empty": torch.empty(0, 2), "scalar": torch.tensor(1.5)}
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors, path, {"format": "pt"})
    found = gemel.load(path)
    same({k: found[k] for k in tensors}, tensors)
    with ours.safe_open(path) as f:
        assert f.metadata() == {"format": "pt"}
        assert sorted(f.keys()) == sorted(tensors)
        with pytest.raises(FormatError, match="does not contain"):
            f.get_tensor("x")
    again = tmp_path / "b.safetensors"
    gemel.save(found, again)
    back = safetensors.torch.load_file(again)
    same({k: found[k] for k in tensors}, {k: back[k] for k in tensors})
    again, back = ours.load(ours.save(found, {"k": "v"})), safetensors.torch.load(ours.save(found))
    same({k: again[k] for k in found}, {k: back[k] for k in found})  # (they give them in any order)


def test_safetensors_is_mapped(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"w": torch.ones(1 << 20)}, path)
    with debug.counting() as seen:
        w = gemel.load(path)["w"]
    assert seen["live_bytes"] == 0 and w.sum().item() == 1 << 20


def header(fields, data=bytes(8), length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


@pytest.mark.parametrize(("data", "message"), [
    (b"1234567", "HeaderTooSmall"), (header({}, length=1 << 40), "HeaderTooLarge"),
    (header({}, length=100), "InvalidHeaderLength"), (header(b"[]"), "InvalidHeaderStart"),
    (header(b"{\xff}"), "UTF-8"), (header(b"{\"a\":}"), "not JSON"), (header(b"{" + b'"a":{' * 10000), "JSON|nested"),
    (header({"a": entry(dtype="F99")}), "F99"), (header({"a": entry(shape=(3,))}), "TensorInvalidInfo"),
    (header({"a": entry(offsets=(0, 9))}), "TensorInvalidInfo"),
    (header({"a": entry(offsets=(8, 0))}), "InvalidOffset"),
    (header({"a": entry(offsets=(4, 12))}, bytes(12)), "InvalidOffset"),
    (header({"a": entry()}, bytes(9)), "Incomplete"),
    (header({"a": entry()}, bytes(7)), "Incomplete"), (header({"a": entry(), "b": entry()}), "InvalidOffset"),
    (header({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "InvalidOffset"),
    (header({"a": entry(shape=(-2,))}), "natural"), (header({"a": entry(shape=(1 << 62, 1 << 62))}), "Overflow"),
    (header({"a": entry(shape=(2.0,))}), "natural"), (header({"a": entry(extra=1)}), "needs dtype"),
    (header({"a": 1}), "needs"),
    (header({"__metadata__": {"a": 1}}, b""), "__metadata__"),
    (header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}'), "twice"),
])
def test_bad_safetensors(data, message):
    for load in (ours.load, lambda d: gemel.load(io.BytesIO(d)) if d[8:9] == b"{" else ours.load(d)):
        with pytest.raises(FormatError, match=message):
            load(data)


def test_safetensors_arguments(tmp_path):
    with pytest.raises(TypeError, match="named tensors"):
        ours.save({"a": 1})
    with pytest.raises(TypeError, match="dict of tensors"):
        gemel.save([1], tmp_path / "a.safetensors")
    with pytest.raises(TypeError, match="no dtype"):
        ours.save({"a": gemel.zeros(2, dtype=gemel.complex128)})


def test_module_round_trip(tmp_path):
    """state_dict -> file -> load_state_dict."""
    source = nn.ParameterDict({"a": nn.Parameter(gemel.arange(3.0)), "b": nn.Parameter(gemel.ones(2, 2))})
    target = nn.ParameterDict({"a": nn.Parameter(gemel.zeros(3)), "b": nn.Parameter(gemel.zeros(2, 2))})
    for name in ("m.pt", "m.safetensors"):
        path = tmp_path / name
        gemel.save(source.state_dict(), path)
        assert repr(target.load_state_dict(gemel.load(path))) == "<All keys matched successfully>"
        np.testing.assert_array_equal(target["a"].detach().numpy(), [0, 1, 2])
    assert serialization.__all__
