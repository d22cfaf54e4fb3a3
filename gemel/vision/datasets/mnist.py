"""MNIST handwritten digits: IDX files, read and checked."""
from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...tensor.creation import from_numpy, tensor
from ...tensor.tensor import Tensor
from ...utils.data import Dataset

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
#: file -> SHA-256 of its uncompressed bytes
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LIMIT = 64 << 20  # no MNIST file is larger, packed or not


def read_idx(data: bytes, name: str = "IDX data") -> np.ndarray:
    """The uint8 array in an IDX file (Y. LeCun's format: 00 00 08 RANK, big-endian sizes, bytes).

    Raises:
        ValueError: not such a file, or its length does not fit its header.
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{name} is not an IDX file of bytes: it starts with {data[:4]!r}")
    rank = data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise ValueError(f"{name} is cut off inside its header of {start} bytes")
    shape = struct.unpack(f">{rank}I", data[4:start])
    size = 1
    for n in shape:
        size *= n
    if len(data) - start != size:
        raise ValueError(f"{name} holds {len(data) - start} bytes of data, its header says {size} for shape {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, gzip or not, at most ``LIMIT``."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return _bounded(file, str(path))


def _bounded(file: Any, name: str) -> bytes:
    data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError(f"{name} holds more than {LIMIT >> 20} MiB: it is no MNIST file")
    return data


class MNIST(Dataset):
    """The MNIST data set: 60,000 training and 10,000 test images of 28 x 28 bytes, ten classes.

    Args:
        root: folder of the files, as they come (``train-images-idx3-ubyte.gz``, ...) or unpacked, directly or under
            ``MNIST/raw`` as torchvision lays them.
        train: the training part, else the test part.
        transform: applied to each image, a float32 tensor (1, 28, 28) in [0, 1].
        target_transform: applied to each label, an int.
        download: fetch missing files (11 MB), checking their SHA-256.
    Attributes:
        data: uint8 tensor (N, 28, 28). targets: int64 tensor (N,).
    Raises:
        RuntimeError: the files are not there and ``download`` is off, or could not be fetched.
    Source: torchvision.datasets.MNIST (whose images are PIL; ``ToTensor`` is applied here).
    """

    classes = [f"{n} - {name}" for n, name in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))]

    def __init__(self, root: str | os.PathLike, train: bool = True, transform: Callable[[Tensor], Any] | None = None,
                 target_transform: Callable[[int], Any] | None = None, download: bool = False) -> None:
        self.root, self.train = Path(root), train
        self.transform, self.target_transform = transform, target_transform
        part = "train" if train else "t10k"
        names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        if download:
            for name in names:
                if self._find(name) is None:
                    _download(name, self.root / "MNIST" / "raw")
        images, labels = (self._read(name) for name in names)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"images of shape {images.shape} and labels of shape {labels.shape} do not go together")
        self.data: Tensor = from_numpy(images.copy())
        self.targets: Tensor = from_numpy(labels.astype(np.int64))

    def _find(self, name: str) -> Path | None:
        for folder in (self.root, self.root / "MNIST" / "raw"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
        return None

    def _read(self, name: str) -> np.ndarray:
        path = self._find(name)
        if path is None:
            raise RuntimeError(f"Dataset not found: no {name} or {name}.gz under {self.root}. "
                               f"You can use download=True to download it")
        return read_idx(_unpacked(path), str(path))

    def __len__(self) -> int:
        return self.data.shape[0]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = self.data[index].float().div(255).unsqueeze(0)
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        return f"Dataset MNIST\n    Number of datapoints: {len(self)}\n    Root location: {self.root}\n" \
               f"    Split: {'Train' if self.train else 'Test'}"

    def batch(self) -> tuple[Tensor, Tensor]:
        """All images as float32 (N, 1, 28, 28) in [0, 1], and the labels."""
        return self.data.float().div(tensor(255.0)).unsqueeze(1), self.targets


def _download(name: str, folder: Path) -> None:
    """Fetch one file into ``folder``; it appears under its name only when it is whole and right."""
    problems = []
    for mirror in MIRRORS:
        try:
            with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=10) as reply:
                packed = _bounded(reply, mirror)
            data = _bounded(gzip.GzipFile(fileobj=io.BytesIO(packed)), mirror)
        except (OSError, ValueError, EOFError) as error:
            problems.append(f"{mirror}: {error}")
            continue
        if hashlib.sha256(data).hexdigest() != FILES[name]:
            problems.append(f"{mirror}: the file has another checksum")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(packed)
        os.replace(file.name, folder / f"{name}.gz")
        return
    raise RuntimeError(f"{name} could not be downloaded: {'; '.join(problems)}")
