"""Times the codec beside Pillow's JPEG encoder and decoder, and measures its working memory.

    python benchmarks/codec.py [--image PICTURE --quality 50 --repeats 15 --json FILE]

The picture is a mosaic of the bundled photographs, 2048 x 1536 pixels, unless another is named;
small images are its 64 x 64 tiles. Everything runs on one thread. Each ratio is the median over
repeats of two times measured one right after the other. Pillow's side is the bare encoder
(Image.save to memory) and the bare decoder (Image.load); turning arrays into Pillow's images and
back, which a user of arrays pays besides, is left out.
"""

import ctypes
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import Figure, machine_figures, report
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.commands.ending import run_script
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES

SIZE = (1536, 2048)
TILE = 64
BARS = {"encode_batch": 1.2, "encode": 1.2, "from_jpeg": 1.2, "decode": 1.5}
"""Our time by Pillow's, by how a row's name begins."""
STATUS = Path("/proc/self/status")


def mosaic() -> np.ndarray:
    """uint8 [1536, 2048, 3]: the bundled photographs side by side."""
    photographs = [read_image(path) for path in sorted(LANDSCAPES.glob("*.jpg"))]
    rows: list[np.ndarray] = []
    count = 0
    while sum(len(row) for row in rows) < SIZE[0]:
        parts, width = [], 0
        while width < SIZE[1]:
            parts.append(photographs[count % len(photographs)])
            width, count = width + parts[-1].shape[1], count + 1
        height = min(len(part) for part in parts)
        rows.append(np.concatenate([part[:height] for part in parts], axis=1)[:, : SIZE[1]])
    return np.ascontiguousarray(np.concatenate(rows)[: SIZE[0]])


def tiles(image: np.ndarray) -> np.ndarray:
    """uint8 [N, 64, 64, 3]: the whole tiles of an image."""
    rows, cols = image.shape[0] // TILE, image.shape[1] // TILE
    cut = image[: rows * TILE, : cols * TILE].reshape(rows, TILE, cols, TILE, 3)
    return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(-1, TILE, TILE, 3))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """Returns Pillow's file, 4:2:0."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def time_pairs(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float, float]:
    """Returns the median seconds of both, and the median of first / second over pairs of runs."""
    times = []
    for _ in range(repeats + 1):
        marks = [time.perf_counter()]
        for run in (first, second):
            run()
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    times = times[1:]  # the first compiles
    return *map(statistics.median, zip(*times)), statistics.median(a / b for a, b in times)


def working_memory(run: Callable[[], Any]) -> int | None:
    """Returns the bytes by which the process grows at most while `run` works, its result included;
    None where Linux does not tell."""
    if not STATUS.exists():
        return None
    run()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system, so that its use shows
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _verdict(name: str, ratio: float) -> str:
    bar = next((bar for start, bar in BARS.items() if name.startswith(start)), None)
    return "" if bar is None else f"times (bar {bar}: {'met' if ratio <= bar else 'MISSED'})"


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main(image: Path | None = None, quality: int = 50, repeats: int = 15, json: Path | None = None) -> None:
    """Times the codec.

    Args:
        image: a picture of at least 64 x 64 pixels.
        quality: the codec's and Pillow's.
        repeats: of each pair.
        json: where to write the figures.
    """
    codec, large = DCTCodec(quality=quality), mosaic() if image is None else read_image(image)
    small = tiles(large)
    covered = large[: large.shape[0] // TILE * TILE, : large.shape[1] // TILE * TILE].copy()  # the tiles' pixels
    pictures = [Image.fromarray(x) for x in (large, *small)]
    files = [jpeg(picture, quality) for picture in pictures]
    (picture, *small_pictures), (file, *small_files) = pictures, files
    sparse = codec.encode(large)

    def decode(data: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image

    pairs = {
        "encode": (lambda: codec.encode(large), lambda: jpeg(picture, quality)),
        f"encode_batch of {len(small)} {TILE} x {TILE}": (
            lambda: codec.encode_batch(small),
            lambda: [jpeg(x, quality) for x in small_pictures],
        ),
        "from_jpeg": (lambda: SparseDCT.from_jpeg(file), lambda: decode(file)),
        f"from_jpeg of {len(small)} {TILE} x {TILE}": (
            lambda: [SparseDCT.from_jpeg(x) for x in small_files],
            lambda: [decode(x) for x in small_files],
        ),
        "decode": (lambda: codec.decode(sparse), lambda: decode(file)),
    }
    height, width = large.shape[:2]
    figures = [*machine_figures(), Figure("picture", f"{height} x {width}, quality {quality}, 4:2:0")]
    for name, (ours, pillows) in pairs.items():
        seconds, theirs, ratio = time_pairs(ours, pillows, repeats)
        figures += [
            Figure(name, 1e3 * seconds, "ms"),
            Figure(f"{name}: Pillow", 1e3 * theirs, "ms"),
            Figure(f"{name}: ours / Pillow's", ratio, _verdict(name, ratio)),
        ]
    _, _, ratio = time_pairs(lambda: codec.encode_batch(small), lambda: codec.encode(covered), repeats)
    figures.append(Figure(f"cost of a pixel, {TILE} x {TILE} / whole", ratio))
    samples, result = large.size, 12 * len(sparse)
    for name, run, size in (
        ("encode", lambda: codec.encode(large), result),
        ("from_jpeg", lambda: SparseDCT.from_jpeg(file), result),
        ("decode", lambda: codec.decode(sparse), samples),
    ):
        grown = working_memory(run)
        if grown is not None:
            figures.append(Figure(f"{name}: working memory, result included", grown / samples, "bytes a sample"))
            figures.append(Figure(f"{name}: the result alone", size / samples, "bytes a sample"))
    report(figures, json)


if __name__ == "__main__":
    run_script(main)
