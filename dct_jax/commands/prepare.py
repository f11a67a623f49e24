"""The command prepare, which makes TFDS data sets."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dct_jax.commands.arguments import parse, say
from dct_jax.data.prepare import prepare_source, prepare_tfds


@dataclass(frozen=True)
class Prepare:
    """Makes a TFDS data set that --data.source tfds:... reads: downloads one of TFDS's own, or
    makes one of pictures.

    Attributes:
        source: NAME[/CONFIG][:VERSION] of one of TFDS's data sets, which needs TensorFlow; or
            folder:PATH, tar:PATH or idx:FOLDER.
        data_dir: of a NAME: TFDS's folder; TFDS_DATA_DIR, or ~/tensorflow_datasets, by default.
        out: of pictures: where to make the folder of the data set.
        name: of pictures: the name of the data set; made from PATH by default.
    """

    source: Annotated[str, tyro.conf.Positional]
    data_dir: Path | None = None
    out: Path | None = None
    name: str = ""


def prepare(args: Sequence[str]) -> int:
    """Runs `prepare SOURCE`."""
    command = parse(Prepare, args, "prepare")
    if not command.source.startswith(("folder:", "tar:", "idx:")):
        if command.out or command.name:
            kinds = "folder:PATH, tar:PATH and idx:FOLDER"
            raise ValueError(f"--out and --name are for {kinds}; for {command.source} give --data-dir")
        folder = prepare_tfds(command.source.removeprefix("tfds:"), command.data_dir)
        return _say_where(folder)
    if command.data_dir:
        raise ValueError(f"--data-dir is for TFDS's own data sets; for {command.source} give --out")
    if not command.out:
        raise ValueError(f"prepare {command.source} needs --out DIR, where to make the data set")
    folder, splits, skipped = prepare_source(command.source, command.out, command.name)
    if skipped:
        print(f"{skipped} files are no readable images and were left out")
    say(f"pictures: {', '.join(f'{split} {number}' for split, number in splits.items())}")
    return _say_where(folder)


def _say_where(folder: Path) -> int:
    """Says where the data set is, and the option that reads it, for a shell."""
    return say(f"the data set is in {folder}: --data.source {shlex.quote(f'tfds:{folder.resolve()}')}")
