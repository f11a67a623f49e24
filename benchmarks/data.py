"""Times the input pipeline, from image files to batches of chunks, beside a loop that only decodes
the files with Pillow.

    python benchmarks/data.py [--tar PATH --photos FOLDER --repeats 9 --json FILE]

One core, no threads that work ahead; both sides take turns. The bars: at most 2.5 times the
decode-only time at 64 x 64 pixels, at most twice at 2048 x 1536; peak memory that does not grow
with the data set (2,000 and 20,000 images) and is below 1 GB a worker.
"""

import dataclasses
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from machine import Figure, machine_figures, report
from PIL import Image

from dct_jax.codec import DCTCodec
from dct_jax.commands.ending import run_script
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.pipeline import training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import LANDSCAPES, Record, Source, open_source
from dct_jax.dct.config import DCTConfig

LARGE = (1536, 2048)
MEMORY_PROGRAM = """
import itertools, json, multiprocessing, re, sys
from pathlib import Path

from dct_jax.dct.config import DCTConfig
from dct_jax.data.pipeline import training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source

if __name__ == "__main__":  # worker processes import this file, too
    config, number = DCTConfig.from_dict(json.loads(sys.argv[1])), int(sys.argv[2])
    source = open_source(config.data.source, config.data.split)
    batches = training_batches(source, config, Skipped(len(source), 0.1))
    for _ in itertools.islice(batches, number):
        pass
    # What getrusage tells of children begins with the memory of this process.
    (worker,) = multiprocessing.active_children()
    print(re.search("VmHWM:\\s*([0-9]+) kB", Path(f"/proc/{worker.pid}/status").read_text())[1])
    batches.close()
    worker.join(10)
"""


def config_of(source: str, size: tuple[int, int], batch_size: int, codec: DCTCodec, **data: Any) -> DCTConfig:
    """Returns a configuration of crops that are as large as the picture, chunks of 896 triples."""
    settings: dict[str, Any] = {"source": source, "image_size": size, "crop": (1.0, 1.0), "threads": 0}
    return DCTConfig(codec=codec, data=DataConfig(**settings | data), training=TrainingConfig(batch_size=batch_size))


class Noted:
    """A source that notes which of its records are taken.

    Attributes:
        taken: their numbers, in order.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.classes, self.taken = source, source.name, source.classes, list[int]()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        self.taken.append(index)
        return self.source[index]


def mean_length(config: DCTConfig, source: Source, taken: Sequence[int]) -> float:
    """Returns the mean length of the lists that the pipeline makes of these pictures, each of which
    may come several times."""
    reader, rng = config.reader(), np.random.default_rng(0)
    seen = {index: reader.see(source[index], rng, train=True) for index in sorted(set(taken))}
    lengths = {index: len(reader.held_out([one]).lists[0]) for index, one in seen.items()}
    return statistics.mean(lengths[index] for index in taken)


def file_of(source: Source, index: int) -> bytes:
    """Returns a file of a source of files."""
    image = source[index].image
    assert isinstance(image, bytes)
    return image


def seconds_of(work: Callable[[], None]) -> float:
    """Returns the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(config: DCTConfig, batches: int, repeats: int) -> tuple[float, float, float, float]:
    """Returns the seconds an image of the pipeline and of Pillow alone, their ratio, and triples an
    image; medians of paired rounds."""
    source = open_source(config.data.source, config.data.split)
    noted, size = Noted(source), config.training.batch_size
    pipeline = training_batches(noted, config, Skipped(len(source), 0.1))
    order, number = np.random.default_rng(0), batches * size

    def decode() -> None:
        for index in order.integers(len(source), size=number):
            np.asarray(Image.open(io.BytesIO(file_of(source, int(index)))).convert("RGB"))

    def make() -> None:
        for _ in range(batches):
            next(pipeline)

    make()
    decode()
    noted.taken.clear()
    pairs = [(seconds_of(make), seconds_of(decode)) for _ in range(repeats)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) / number for column in zip(*pairs))
    return ours, theirs, ratio, mean_length(config, source, noted.taken)


def peak_memory(config: DCTConfig, batches: int) -> float:
    """Returns the bytes of the worker process that makes the batches, asked for by a process of its
    own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.py"
        file.write_text(MEMORY_PROGRAM)
        program = [sys.executable, str(file), json.dumps(config.to_dict()), str(batches)]
        return 1024 * float(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def write_part(tar: Path, number: int, out: Path) -> None:
    """Writes a tar file with the first images of another's train folder, spread over its
    classes."""
    with tarfile.open(tar) as whole, tarfile.open(out, "w") as part:
        members = [member for member in whole if member.isfile() and member.name.startswith("train/")]
        for member in members[:: len(members) // number][:number]:
            part.addfile(member, whole.extractfile(member))


def pictures_in(folder: Path) -> list[Path]:
    """Returns a folder's PNG and JPEG files, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def write_photographs(folder: Path, out: Path) -> None:
    """Writes every picture as a JPEG file of 2048 x 1536 pixels."""
    height, width = LARGE
    for path in pictures_in(folder):
        image = Image.open(path).convert("RGB")
        image = image if image.width >= image.height else image.transpose(Image.Transpose.ROTATE_90)
        scale = max(width / image.width, height / image.height)
        image = image.resize((round(image.width * scale), round(image.height * scale))).crop((0, 0, width, height))
        image.save(out / f"{path.stem}.jpg", quality=75)


def write_tiles(photos: Path, out: Path) -> None:
    """Writes a tar file of 64 x 64 pixels of the photographs each, as JPEG files in a folder
    train/."""
    with tarfile.open(out, "w") as tar:
        for path in pictures_in(photos):
            image = Image.open(path).convert("RGB")
            top = (image.height - 64) // 2
            for left in range(0, image.width - 63, 64):
                data = io.BytesIO()
                image.crop((left, top, left + 64, top + 64)).save(data, "jpeg", quality=95)
                member = tarfile.TarInfo(f"train/{path.stem}/{left}.jpg")
                member.size = len(data.getvalue())
                tar.addfile(member, io.BytesIO(data.getvalue()))


def main(
    tar: Path | None = None,
    photos: Path = LANDSCAPES,
    repeats: int = 9,
    file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Times the input pipeline.

    Args:
        tar: an image tar of 64 x 64 pixels with a folder train/; parts of the photographs by
            default, which are too few for the memory of 20,000 images.
        photos: a folder of photographs, which are enlarged or reduced to 2048 x 1536; the bundled
            ones by default.
        repeats: paired rounds.
        file: where to write the figures.
    """
    figures = machine_figures()
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_photographs(photos, work)
        if is_small := tar is None:
            tar = work / "tiles.tar"
            write_tiles(photos, tar)
        small = config_of(f"tar:{tar}", (64, 64), 32, DCTCodec(quality=50), split="train")
        large = config_of(f"folder:{work}", LARGE, 4, DCTCodec(quality=50))
        own = dataclasses.replace(large, codec=DCTCodec(quality=75))
        own = dataclasses.replace(own, data=dataclasses.replace(own.data, own_coefficients=True))
        cases = [
            ("64 x 64", small, 20, 2.5),
            ("2048 x 1536", large, 3, 2.0),
            ("2048 x 1536, B = 32", dataclasses.replace(large, codec=DCTCodec(32, quality=50)), 2, 2.0),
            ("2048 x 1536, the files' own coefficients", own, 3, 2.0),
        ]
        os.sched_setaffinity(0, {min(cores)})
        for title, config, batches, bar in cases:
            ours, theirs, ratio, triples = compare(config, batches, repeats)
            figures += [
                Figure(f"{title}: images", 1 / ours, "images/s a core"),
                Figure(f"{title}: triples", triples / ours, "triples/s a core"),
                Figure(f"{title}: time", 1e3 * ours, f"ms an image (Pillow's decoder alone {1e3 * theirs:.3g} ms)"),
                Figure(f"{title}: by Pillow", ratio, f"times (bar {bar}: {'met' if ratio <= bar else 'MISSED'})"),
            ]
        os.sched_setaffinity(0, cores)
        workers = [("photographs of 2048 x 1536, batch 4", large, 10)]
        if not is_small:
            write_part(tar, 2000, work / "part.tar")
            fewer = dataclasses.replace(small, data=dataclasses.replace(small.data, source=f"tar:{work / 'part.tar'}"))
            workers += [("2,000 images of 64 x 64", fewer, 150), ("20,000 images of 64 x 64", small, 150)]
        for title, config, batches in workers:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=1, threads=2))
            worker = peak_memory(config, batches)
            figures.append(Figure(f"{title}: a worker's peak memory", worker / 1e6, "MB (bar 1,000)"))
    report(figures, file)


if __name__ == "__main__":
    run_script(main)
