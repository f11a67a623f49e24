"""What the benchmarks share: this machine's own rates, the reference network, the printed table.

A benchmark's seconds say little without the machine. Rates of plain XLA programs on its device,
measured in the benchmark's process, turn them into ratios that carry over from one machine to
another.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT, Vocabulary
from dct_jax.comparison.cost import read_peak_memory
from dct_jax.dct.config import ModelConfig
from dct_jax.dct.network import DCTransformer
from dct_jax.storage.files import replacing

IMAGE_SIZE = (128, 128)
REFERENCE_CODEC = DCTCodec(block_size=8, quality=50)


class Figure(NamedTuple):
    """One line of a benchmark's table; `predicted` is what the value should be by arithmetic, in
    its unit."""

    name: str
    value: float | int | str
    unit: str = ""
    predicted: float | None = None


REFERENCE = ModelConfig(
    width=512,
    heads=8,
    encoder=(1,) * 3,
    channel_decoder=(1,) * 3,
    position_decoder=(1,) * 3,
    value_decoder=(1,) * 5,
    chunk_size=896,
    overlap=128,
)


def reference_model() -> DCTransformer:
    """Returns the network that the benchmarks time: 128 x 128 pixels in 8 x 8 blocks at quality 50,
    width 512, in float32."""
    return DCTransformer(REFERENCE_CODEC.vocabulary(IMAGE_SIZE), REFERENCE)


def places(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Returns the channel and the position of every place in the order of the list, int32
    [longest_list] each."""
    rank, positions = np.nonzero(vocabulary.on_grid[vocabulary.is_chroma[vocabulary.channels]])
    return vocabulary.channels[rank].astype(np.int32), positions.astype(np.int32)


def random_list(
    rng: np.random.Generator, length: int, codec: DCTCodec = REFERENCE_CODEC, size: tuple[int, int] = IMAGE_SIZE
) -> SparseDCT:
    """Returns a valid list of that many triples at uniformly chosen places; its content makes no
    difference to the time."""
    vocabulary = codec.vocabulary(size)
    channels, positions = places(vocabulary)
    chosen = np.sort(rng.choice(len(channels), length, replace=False))  # [L]
    values = rng.integers(1, vocabulary.largest_value + 1, length) * rng.choice([-1, 1], length)
    return SparseDCT(
        channels=channels[chosen],
        positions=positions[chosen],
        values=values.astype(np.int32),
        size=size,
        codec=codec,
    )


def timings(fn: Callable[[], Any], repeats: int) -> list[float]:
    """Returns the seconds of each call of fn, until the arrays that it returns are there. Warm up
    first: nothing is left out here."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        seconds.append(time.perf_counter() - start)
    return seconds


def median_seconds(fn: Callable[[], Any], repeats: int) -> float:
    """Returns the median of `timings`."""
    return statistics.median(timings(fn, repeats))


def queued_seconds(fn: Callable[[], Any], calls: int) -> float:
    """Returns the seconds of a call of fn while the device has the next ones already: an
    accelerator then never waits for the host."""
    jax.block_until_ready(fn())
    start = time.perf_counter()
    results = [fn() for _ in range(calls)]
    jax.block_until_ready(results[-1])
    return (time.perf_counter() - start) / calls


def spread(name: str, values: list[float], unit: str, scale: float = 1, predicted: float | None = None) -> Figure:
    """Returns the median of several measurements, and between what they lie."""
    low, middle, high = (scale * x for x in (min(values), statistics.median(values), max(values)))
    return Figure(name, middle, f"{unit} ({low:.4g} to {high:.4g})", predicted and scale * predicted)


def matmul_rate(size: int = 2048, repeats: int = 7) -> float:
    """FLOP/s of a plain XLA matrix product of float32 matrices, at the backend's default
    precision."""
    a, b = (jax.random.normal(key, (size, size)) for key in jax.random.split(jax.random.key(0)))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, b))
    return 2 * size**3 / median_seconds(lambda: product(a, b), repeats)


def memory_bandwidth(mebibytes: int = 512, repeats: int = 7) -> float:
    """Bytes/s of one streaming read of an array that no cache holds.

    The sum goes along the rows: XLA on CPUs gives each core its share of the outputs, so a sum to
    one number may use one.
    """
    x = jax.random.normal(jax.random.key(0), (1024, mebibytes * 2**20 // 4 // 1024))
    read = jax.jit(lambda x: x.sum(axis=1))
    jax.block_until_ready(read(x))
    return x.nbytes / median_seconds(lambda: read(x), repeats)


def peak_memory(name: str = "peak memory") -> Figure:
    """Returns the peak memory of this process so far. Ask before `memory_bandwidth`, which takes
    half a gigabyte, and before anything else whose memory should not count."""
    peak = read_peak_memory()
    return Figure(name, "not told by this system") if peak is None else Figure(name, peak / 1e9, "GB")


def machine_figures() -> list[Figure]:
    """Returns the machine in words, and its limits as they are now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    return [
        Figure("CPU", _cpu_model()),
        Figure("cores", cores or 0),
        Figure("JAX", f"{jax.__version__} on {device.platform} ({device.device_kind})"),
        Figure("matrix product", matmul_rate() / 1e9, "GF/s"),
        Figure("memory bandwidth", memory_bandwidth() / 1e9, "GB/s"),
    ]


def report(figures: list[Figure], file: Path | None) -> None:
    """Prints the table, and writes it as JSON if a file is named. Names of figures must differ."""
    assert len({figure.name for figure in figures}) == len(figures), "two figures of one name"
    name_width = max(len(figure.name) for figure in figures)
    for figure in figures:
        print(_line(figure, name_width))
    if file is not None:
        _write(figures, file)


class Record:
    """A table whose lines are printed and written as they are measured, so that a run which is cut
    off leaves what it has.

    Attributes:
        failed: whether something that was attempted failed.
    """

    def __init__(self, file: Path | None) -> None:
        """Begins an empty table, which is written to `file` as JSON, if anywhere."""
        self._file, self._figures = file, list[Figure]()
        self.failed = False

    def add(self, *figures: Figure) -> None:
        """Adds figures, whose names must be new ones."""
        for figure in figures:
            assert figure.name not in {other.name for other in self._figures}, f"two figures are named {figure.name}"
            self._figures.append(figure)
            print(_line(figure, 60), flush=True)
        if self._file is not None:
            _write(self._figures, self._file)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Whatever fails in this block becomes one line, and what follows it goes on."""
        try:
            yield
        except Exception as error:  # kernels and compilers that nobody here has written raise everything
            self.failed = True
            self.add(Figure(name, f"FAILED: {in_one_line(error)}"))


def in_one_line(error: Exception) -> str:
    """Returns what an error says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]


def _line(figure: Figure, name_width: int) -> str:
    name, value, unit, predicted = figure
    text = f"{name:{name_width}}  {_format(value)} {unit}".rstrip()
    return text if predicted is None else f"{text}; predicted {_format(predicted)}"


def _format(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _write(figures: list[Figure], file: Path) -> None:
    values = {
        figure.name: {"value": figure.value, "unit": figure.unit}
        | ({} if figure.predicted is None else {"predicted": figure.predicted})
        for figure in figures
    }
    with replacing(file) as path:
        path.write_text(json.dumps(values, indent=2) + "\n")


def _cpu_model() -> str:
    """Reads the CPU's model from /proc/cpuinfo, where there is one."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
