"""Pack a part of MNIST into one small file: ``python tools/pack_mnist.py FOLDER_WITH_IDX_GZ OUT.xz [TRAIN_COUNT]``.

The file is an xz stream of a header line ``mnist TRAIN TEST``, the images (uint8, 28 x 28, training first) and the
labels. MNIST: Y. LeCun, C. Cortes, C. Burges, made from NIST's special databases 1 and 3; Creative Commons
Attribution-Share Alike 3.0.
"""
import gzip
import lzma
import sys
from pathlib import Path

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0,
            "dict_size": 64 << 20}]


def idx(path: Path, header: int) -> bytes:
    """The payload of a gzipped IDX file."""
    return gzip.decompress(path.read_bytes())[header:]


def main(folder: str, out: str, train: str = "34000") -> None:
    source, count = Path(folder), int(train)
    images = idx(source / "train-images-idx3-ubyte.gz", 16)[:count * 784]
    images += idx(source / "t10k-images-idx3-ubyte.gz", 16)
    labels = idx(source / "train-labels-idx1-ubyte.gz", 8)[:count] + idx(source / "t10k-labels-idx1-ubyte.gz", 8)
    raw = f"mnist {count} {len(labels) - count}\n".encode() + images + labels
    Path(out).write_bytes(lzma.compress(raw, filters=FILTERS))
    print(f"{out}: {Path(out).stat().st_size} bytes, {len(labels)} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
