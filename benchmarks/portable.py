"""Looks whether compressed files decode elsewhere: one environment writes them, others read them.

    python benchmarks/portable.py write RUN FOLDER [--pictures 200]
    python benchmarks/portable.py read RUN FOLDER [--no-units]

FOLDER then has JPEG files of random crops of the bundled landscapes, what they became, and the
log-odds of all decisions. Who reads says how many pictures come back, and by how much its own
log-odds differ. Environments are other interpreters, versions of JAX, `taskset -c 0`, and other
processors, which XLA can be told to be: XLA_FLAGS=--xla_cpu_max_isa=SSE4_2.
"""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from unittest import mock

import jax
import numpy as np
import tyro

from dct_jax import SparseDCT, TrainedModel, compress
from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_dct
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES
from dct_jax.dct.compression import decompress_many
from dct_jax.dct.compression.double import double_network
from dct_jax.dct.compression.stream import Stream
from dct_jax.dct.compression.writing import find_decisions
from dct_jax.nn import precision


@dataclass(frozen=True)
class Write:
    """Compresses random crops.

    Attributes:
        run: the model.
        folder: where to write.
        pictures: how many.
    """

    run: Annotated[str, tyro.conf.Positional]
    folder: Annotated[Path, tyro.conf.Positional]
    pictures: int = 200


@dataclass(frozen=True)
class Read:
    """Decompresses them.

    Attributes:
        run: the model.
        folder: what `write` wrote.
        units: whether to use the processor's units for bfloat16, if it has them.
    """

    run: Annotated[str, tyro.conf.Positional]
    folder: Annotated[Path, tyro.conf.Positional]
    units: bool = True


def write(command: Write) -> None:
    """Writes the JPEG files, the compressed files and the log-odds. Raises ValueError if the folder
    is there already."""
    if command.folder.exists():
        raise ValueError(f"{command.folder} is there already; name a new folder")
    model, rng = load_dct(command.run, "portable.py"), np.random.default_rng(0)
    command.folder.mkdir(parents=True)
    photographs, (height, width) = sorted(LANDSCAPES.glob("*.jpg")), model.config.data.image_size
    lists = []
    for i in range(command.pictures):
        image = read_image(photographs[i % len(photographs)])
        top, left = (rng.integers(side - least + 1) for side, least in zip(image.shape, (height, width)))
        lists.append(model.codec.encode(np.ascontiguousarray(image[top : top + height, left : left + width])))
    files = compress(model, lists)
    for i, (sparse, data) in enumerate(zip(lists, files)):
        (command.folder / f"{i:03}.jpg").write_bytes(sparse.to_jpeg())
        (command.folder / f"{i:03}.dct").write_bytes(data)
    np.save(command.folder / "log_odds.npy", _log_odds(model, lists))
    hints = sum(len(group.hints) for data in files for group in Stream.from_bytes(data).groups)
    print(f"{_machine()}: {len(files)} files, {sum(map(len, files)) / len(files):.1f} bytes each, {hints} hints in all")


def read(command: Read) -> None:
    """Reads them again, and prints a line. Raises ValueError if the folder has no files of
    `write`."""
    names = sorted(path.stem for path in command.folder.glob("*.dct"))
    if not names:
        raise ValueError(f"{command.folder} has no files *.dct; name a folder that the command write has made")
    if not command.units:
        mock.patch.object(precision, "has_bfloat16_units", lambda: False).start()
    model = load_dct(command.run, "portable.py")
    lists = [SparseDCT.from_jpeg(command.folder / f"{name}.jpg", model.codec.channel_order) for name in names]
    found = dict(decompress_many(model, [(command.folder / f"{name}.dct").read_bytes() for name in names]))
    right = sum(found[i] == sparse for i, sparse in enumerate(lists))
    before = np.load(command.folder / "log_odds.npy")
    differences = np.abs(_log_odds(model, lists)[: len(before)] - before)
    largest = f"{len(differences):,} log-odds differ by at most {differences.max():.1e}"
    print(f"{_machine()}, units {command.units}: {right} of {len(names)} right; {largest}")


def _log_odds(model: TrainedModel, lists: list[SparseDCT]) -> np.ndarray:
    """Returns the log-odds of all decisions of all lists, float64 [M]."""
    decisions = find_decisions(*double_network(model), [(sparse, 0) for sparse in lists])
    return np.concatenate([one.log_odds for one in decisions])


def _machine() -> str:
    return f"Python {platform.python_version()}, JAX {jax.__version__}, {jax.devices()[0].device_kind}"


Command = Annotated[Write, tyro.conf.subcommand("write")] | Annotated[Read, tyro.conf.subcommand("read")]


def main(command: Annotated[Command, tyro.conf.arg(name="")]) -> None:
    """Writes the files, or reads them."""
    write(command) if isinstance(command, Write) else read(command)


if __name__ == "__main__":
    run_script(main)
