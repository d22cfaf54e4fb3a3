"""MNIST for the example: the full set where it is found or can be downloaded, else the part that comes along.

``data/mnist-34k.xz`` holds 34,000 of the 60,000 training images and all 10,000 test images (5.8 MB; written by
``tools/pack_mnist.py``). MNIST: Y. LeCun, C. Cortes and C. Burges, from NIST's special databases 1 and 3;
licence Creative Commons Attribution-Share Alike 3.0.
"""
from __future__ import annotations

import lzma
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

import gemel as torch
from gemel.vision.datasets import MNIST

PACKED = Path(__file__).parent / "data" / "mnist-34k.xz"


class Digits(NamedTuple):
    """Images (N, 1, 28, 28) f32 in [0, 1] and labels (N,) i64, to train on and to test with."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    source: str


def read_packed(path: Path = PACKED) -> Digits:
    """The part of MNIST in the repository."""
    with lzma.open(path) as file:
        word, train, test = file.readline().split()
        if word != b"mnist":
            raise ValueError(f"{path} is no packed MNIST file")
        n_train, total = int(train), int(train) + int(test)
        images = np.frombuffer(file.read(total * 784), np.uint8).reshape(total, 1, 28, 28)
        labels = np.frombuffer(file.read(total), np.uint8)
    x = torch.from_numpy(images.astype(np.float32) / np.float32(255))
    y = torch.from_numpy(labels.astype(np.int64))
    return Digits(x[:n_train], y[:n_train], x[n_train:], y[n_train:],
                  f"{n_train:,} of the 60,000 training images (the part that comes with the repository)")


def load(folder: str | None = None, download: bool = False) -> Digits:
    """The digits.

    Args:
        folder: where the full set lies or goes to; default ``MNIST_DIR``, then ``data`` in the working directory.
        download: fetch the full set if it is not there.
    """
    root = Path(folder or os.environ.get("MNIST_DIR") or "data")
    try:
        train, test = (MNIST(root, train=part, download=download) for part in (True, False))
    except RuntimeError as error:
        if folder is not None and not download:
            raise
        digits = read_packed()
        return digits._replace(source=f"{digits.source}; {error}") if download else digits
    return Digits(*train.batch(), *test.batch(), f"the full set in {root}")
