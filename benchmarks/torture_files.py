"""Files that were changed at random, read under limits of memory and time."""

import io
import multiprocessing
import os
import random
import shutil
import signal
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import Figure
from PIL import Image

from dct_jax.comparison.cost import read_peak_memory

HANG = 5
"""Seconds, after which a reader is ended."""

MOST_MEMORY = 1024
"""MiB that a reader may take beyond what the whole file takes."""

SHARES = {"jpeg": 0.2, "npz": 0.05, "dct": 0.15, "safetensors": 0.45, "pth": 0.05, "tar": 0.05, "idx": 0.05}
"""Of the time; a file of weights is compared with the network that its configuration describes."""

COUNTS = {"jpeg": 20_000, "npz": 3000, "dct": 3000, "safetensors": 3000, "pth": 3000, "tar": 3000, "idx": 3000}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Makes a few changes: bits flipped, bytes replaced, parts left out, doubled, moved, or the
    rest cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at, kind = rng.randrange(len(changed) or 1), rng.randrange(7)
        length = min(rng.choice([1, 2, 4, 30, 300]), len(changed) - at)
        part = bytes(changed[at : at + length])
        if kind <= 1 and changed:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"9"]) * length
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = part * rng.choice([1, 2, 50])
        elif kind == 5:
            other = rng.randrange(len(changed) or 1)
            changed[other : other + length] = part
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def _jpeg(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    from dct_jax.codec import SparseDCT
    from dct_jax.data.sources import LANDSCAPES

    files = []
    for i, path in enumerate(sorted(LANDSCAPES.glob("*.jpg"))[:12]):
        out = io.BytesIO()
        image = Image.open(path).crop((0, 0, 64 + 8 * i, 56))
        image.save(out, "JPEG", quality=30 + 5 * i, progressive=i % 3 == 0, restart_marker_blocks=i % 2, subsampling=i % 3)
        files.append(out.getvalue())
    return files, lambda data: SparseDCT.from_jpeg(data).to_jpeg()


def _npz(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    from dct_jax.codec import DCTCodec, load_npz, save_npz

    out = io.BytesIO()
    save_npz(out, DCTCodec().encode(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)))

    def read(data: bytes) -> None:
        (folder / "a.npz").write_bytes(data)
        load_npz(folder / "a.npz")

    return [out.getvalue()], read


def _dct(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    from dct_jax import DCTConfig, TrainedModel, compress, decompress
    from dct_jax.experiment import load_experiment

    model = TrainedModel.init(load_experiment("debug", DCTConfig))
    height, width = model.config.data.image_size
    sparse = model.codec.encode(np.full((height, width, 3), 77, np.uint8))
    return compress(model, [sparse]), lambda data: decompress(model, [data])


def _safetensors(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    from dct_jax import DCTConfig, TrainedModel
    from dct_jax.evaluation.features.weights import parse_weights
    from dct_jax.experiment import load_experiment
    from dct_jax.published.weights_file import About, Weights, read_weights, write_weights

    model = TrainedModel.init(load_experiment("debug", DCTConfig))
    about = About("none", "none", "none", {})
    path = folder / "a.safetensors"
    write_weights(path, Weights(model.config, model.variables, model.sizes, (), model.fingerprint, about), "float32")
    data = path.read_bytes()
    # Most bytes are numbers, which the fingerprint covers; the header is what a reader trips over.
    header = 8 + int.from_bytes(data[:8], "little")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            parse_weights(data)
        except ValueError:
            pass
        read_weights(path)

    return [data[: header + 5000], data], read


def _pth(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    import pickle
    import zipfile

    from dct_jax.evaluation.features.numpy_pickle import read_arrays
    from dct_jax.evaluation.features.weights import parse_weights

    arrays = {"a": {"kernel": np.ones((3, 4), np.float32)}, "b": np.zeros(7, np.float32)}
    body = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
    body += b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tQK\x00K\x02K\x03\x86K\x03K\x01"
    body += b"\x86\x89}tRs."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", body)
        archive.writestr("x/data/0", bytes(24))

    def read(data: bytes) -> None:
        if data.startswith(b"PK"):
            parse_weights(data)
        else:
            (folder / "a.ckpt").write_bytes(data)
            read_arrays(folder / "a.ckpt")

    return [out.getvalue(), pickle.dumps(arrays, 3), pickle.dumps(arrays, 4)], read


def _tar(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    from dct_jax.data.sources import open_source

    files = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for name in ("cat/1.png", "cat/" + "n" * (80 if form == tarfile.USTAR_FORMAT else 150) + ".png", "owl/ä.png"):
                entry = tarfile.TarInfo(name)
                entry.size = 600
                tar.addfile(entry, io.BytesIO(bytes(600)))
        files.append(out.getvalue())

    def read(data: bytes) -> None:
        (folder / "a.tar").write_bytes(data)
        source = open_source(f"tar:{folder}/a.tar")
        for i in range(min(len(source), 5)):
            source[i]

    return files, read


def _idx(folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    import gzip

    from dct_jax.data.sources import open_source

    images = bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(9 * 784)
    (folder / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9]) + bytes(9))

    def read(data: bytes) -> None:
        packed = data.startswith(b"\x1f\x8b")
        (folder / "train-images-idx3-ubyte").unlink(missing_ok=True)
        (folder / "train-images-idx3-ubyte.gz").unlink(missing_ok=True)
        (folder / f"train-images-idx3-ubyte{'.gz' * packed}").write_bytes(data)
        source = open_source(f"idx:{folder}", "train")
        source[0], source[len(source) - 1]

    return [images, gzip.compress(images)], read


KINDS = {"jpeg": _jpeg, "npz": _npz, "dct": _dct, "safetensors": _safetensors, "pth": _pth, "tar": _tar, "idx": _idx}


def _attack(kind: str, seconds: float, seed: int, folder: Path, results: Any) -> None:
    """Reads changed files in a process of its own: a hang ends it by a signal, a crash by
    itself."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    files, read = KINDS[kind](folder)
    rng, worst = random.Random(seed), 0.0
    tally: Counter[str] = Counter()
    for data in files:
        try:
            read(data)
        except ValueError:
            pass  # a part of a file
    before, end = read_peak_memory() or 0, time.monotonic() + seconds
    for _ in range(COUNTS[kind]):
        data = mutate(rng.choice(files), rng)
        (folder / "current").write_bytes(data)
        signal.alarm(HANG + 1)
        start = time.monotonic()
        try:
            read(data)
            tally["read"] += 1
        except ValueError as error:
            tally["refused"] += 1
            tally["more than a line"] += "\n" in str(error)
        except Exception as error:
            tally["another error"] += 1
            (folder / f"error-{type(error).__name__}").write_bytes(data)
        signal.alarm(0)
        worst = max(worst, time.monotonic() - start)
        if time.monotonic() > end:
            break
    memory = ((read_peak_memory() or 0) - before) / 2**20
    results.put((dict(tally), worst, memory))


def mutants(seconds: float, seed: int) -> list[Figure]:
    """Reads files of each kind that were changed at random. Only the folder of a kind that failed
    stays, for a person to look at."""
    figures = []
    for kind in KINDS:
        folder = Path(tempfile.mkdtemp(prefix=f"torture-{kind}-"))
        context = multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        process = context.Process(target=_attack, args=(kind, seconds * SHARES[kind], seed, folder, results))
        process.start()
        process.join()
        if process.exitcode:
            what = "hangs" if process.exitcode == -signal.SIGALRM else f"ends the process ({process.exitcode})"
            figures.append(Figure(f"changed files of {kind}", what, f"FAILED: {folder / 'current'}"))
            continue
        tally, worst, memory = results.get()
        number = tally.get("read", 0) + tally.get("refused", 0)
        bad = tally.get("another error", 0) + tally.get("more than a line", 0)
        fails = bad or worst > HANG or memory > MOST_MEMORY
        said = f"{tally.get('refused', 0)} refused, slowest {worst:.2f} s, {memory:.0f} MiB more"
        figures.append(Figure(f"changed files of {kind}", number, f"{said}{f', FAILED: {tally} {folder}' if fails else ''}"))
        if not fails:
            shutil.rmtree(folder)
    return figures
