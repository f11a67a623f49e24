"""Makes dct_jax/data/fashion/ of Fashion-MNIST's own files: the first 1,000 training and 200 test
pictures of each class.

    python experiments/bundle_fashion.py FOLDER [OUT]

FOLDER holds the four files of https://github.com/zalandoresearch/fashion-mnist. The pictures keep
their order and their bytes; LICENSE is copied by hand.
"""

import gzip
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dct_jax.commands.ending import run_script
from dct_jax.data.sources import FASHION
from dct_jax.data.sources.idx import CLASSES_FILE, FASHION_MNIST
from dct_jax.data.sources.idx_file import read_idx
from dct_jax.storage.files import replacing

PER_CLASS = {"train": 1000, "t10k": 200}


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes uint8 [...] as a gzipped idx file, whose bytes depend on the array and on zlib's
    version alone."""
    header = bytes([0, 0, 0x08, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with replacing(path) as temporary, temporary.open("wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as file:
            file.write(header + array.tobytes())


def bundle(folder: Path, out: Path, per_class: dict[str, int]) -> None:
    """Writes the first pictures of each class, so many of every part."""
    for part, number in per_class.items():
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)  # [N]
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)  # [N, H, W]
        of_class = [np.flatnonzero(labels == label)[:number] for label in range(len(FASHION_MNIST))]
        chosen = np.sort(np.concatenate(of_class))  # [10 number]
        write_idx(out / f"{part}-labels-idx1-ubyte.gz", labels[chosen])
        write_idx(out / f"{part}-images-idx3-ubyte.gz", images[chosen])
    with replacing(out / CLASSES_FILE) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in FASHION_MNIST))


def main(folder: Annotated[Path, tyro.conf.Positional], out: Annotated[Path, tyro.conf.Positional] = FASHION) -> None:
    """Writes the bundled files.

    Args:
        folder: where Fashion-MNIST's own files are.
        out: where the bundled files go.
    """
    bundle(folder, out, PER_CLASS)


if __name__ == "__main__":
    run_script(main)
