"""Turns lists into bytes and back, with a model's probabilities and a range coder.

A list becomes the same bytes whatever else is compressed with it. Who writes knows all symbols, so
the chunks of all lists go through the model side by side; who reads has one row for each list. Two
batches are under way at a time: while the device works on one, the range coder works on the other.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.dct.chunks import extend, num_chunks
from dct_jax.dct.compression.coder import Decoder, Encoder
from dct_jax.dct.compression.steps import Walker, symbols
from dct_jax.dct.compression.stream import VERSION, Stream, list_check, short
from dct_jax.dct.trained_model import TrainedModel

MOST_BYTES_A_TRIPLE = 12
"""Three symbols of at most 24 bits each need 9 bytes. For longer data the model is not run."""

ROWS = {1: 1, 2: 8}
"""R by the format's version. On CPUs a step with 8 rows takes hardly longer than with one. With
more rows it takes longer for a list alone, and no less for many."""

DIFFERENT = (
    "the list does not come out as it went in: either the file is damaged, or this machine or its versions of JAX give other "
    "probabilities than those that it was compressed with"
)

BATCHES = 2
"""So many batches are under way at a time."""

T = TypeVar("T")
Row = TypeVar("Row", bound="_Part | _Reading")
Result = TypeVar("Result")


def compress(model: TrainedModel, sparse: SparseDCT, label: int = 0) -> bytes:
    """Returns the bytes from which `decompress` makes this list again, with the same model.

    They are as many as the log-likelihood says, and at most 1 % and 16 more; 3 more for classes and
    for images smaller than the canvas.

    Args:
        model: it gives the probabilities.
        sparse: a list of the model's codec, whose image fits on its canvas.
        label: the class, for a class-conditional model.

    Raises:
        ValueError: if the model cannot sample such a list, or has no such label.
    """
    return _only(compress_many(model, [sparse], [label]))


def decompress(model: TrainedModel, data: bytes) -> SparseDCT:
    """Returns the list that `compress` was given.

    Args:
        model: the model that compressed it, on the same kind of machine with the same versions of
            JAX and XLA. Otherwise its probabilities may differ in their last bits, and this fails.
        data: what `compress` returned.

    Raises:
        ValueError: if the data is not of this format, damaged, or compressed with another model; or
            if the probabilities differ.
    """
    return _only(decompress_many(model, [data]))


def compress_many(
    model: TrainedModel, lists: Iterable[SparseDCT], labels: Iterable[int] = itertools.repeat(0)
) -> Iterator[tuple[int, bytes | ValueError]]:
    """Compresses many lists. Each becomes the bytes that it becomes alone (see `compress`).

    Args:
        model: it gives the probabilities.
        lists: each is taken when it is needed.
        labels: the class of each.

    Yields:
        The number of a list and its bytes, as they are ready. At the end the numbers of the lists
        that cannot be compressed, and the error that `compress` would raise.
    """
    walker = Walker(model.network, model.variables, ROWS[VERSION])
    errors: list[tuple[int, ValueError]] = []

    def parts() -> Iterator[_Part]:
        for number, (sparse, label) in enumerate(zip(lists, labels)):
            try:
                model.check_list(sparse)
                model.check_size(sparse.size)
                model.check_label(label)
            except ValueError as error:
                errors.append((number, error))
                continue
            writing = _Writing(number, sparse, label, symbols(sparse, model.network), Encoder())
            yield from (_Part(writing, index) for index in range(num_chunks(len(sparse), model.config.model.chunk_size)))

    def settle(part: _Part) -> Iterator[tuple[int, bytes]]:
        writing = part.writing
        for symbol, weights in zip(part.symbols(walker).tolist(), part.weights):
            writing.encoder.write(symbol, weights)
        if part.index == len(writing.sparse) // model.config.model.chunk_size:
            yield writing.number, _file(model, writing)

    yield from _by_turns(parts(), walker.usable_rows(_canvas(model)), partial(_weigh, walker), settle)
    yield from errors


def decompress_many(model: TrainedModel, files: Iterable[bytes]) -> Iterator[tuple[int, SparseDCT | ValueError]]:
    """Decompresses many files (see `decompress`).

    Args:
        model: the model that compressed them.
        files: their bytes.

    Yields:
        The number of a file and its list, or the error of `decompress`, as they are ready.
    """
    readings: dict[int, list[_Reading]] = {version: [] for version in ROWS}
    for number, data in enumerate(files):
        try:
            stream = _parse(model, data)
            blank = model.blank(stream.size or model.config.data.image_size)
        except ValueError as error:
            yield number, error
        else:
            readings[stream.version].append(_Reading(number, stream, blank, Decoder(stream.words)))

    def settle(reading: _Reading) -> Iterator[tuple[int, SparseDCT | ValueError]]:
        is_right = reading.state == "complete" and list_check(reading.sparse) == reading.stream.list_check
        yield reading.number, reading.sparse if is_right else ValueError(DIFFERENT)

    for version, waiting in readings.items():
        if waiting:
            walker = Walker(model.network, model.variables, ROWS[version])
            yield from _by_turns(iter(waiting), walker.usable_rows(_canvas(model)), partial(_read, walker), settle)


@dataclass(frozen=True, eq=False)
class _Writing:
    """A list that is being written."""

    number: int
    sparse: SparseDCT
    label: int
    symbols: np.ndarray  # int32 [3 L + 1]
    encoder: Encoder


@dataclass(eq=False)
class _Part:
    """One chunk of a list that is being written, and its symbols' weights, float64 [N] each."""

    writing: _Writing
    index: int
    weights: Sequence[np.ndarray] = ()
    state: Literal["growing", "complete"] = "complete"

    def symbols(self, walker: Walker) -> np.ndarray:
        """Returns int32 [3 n] or, with the stopping token, [3 n + 1]."""
        size = 3 * walker.model.config.chunk_size
        return self.writing.symbols[self.index * size : (self.index + 1) * size]


@dataclass(eq=False)
class _Reading:
    """A list that is being read, as far as it is known."""

    number: int
    stream: Stream
    sparse: SparseDCT
    decoder: Decoder
    state: Literal["growing", "complete", "impossible"] = "growing"


def _weigh(walker: Walker, parts: list[_Part]) -> list[_Part]:
    """Fills in the parts' weights. The symbols are known, so no step waits for the range coder."""
    symbols_of = [part.symbols(walker) for part in parts]
    longest = max(map(len, symbols_of))
    rows = np.zeros((walker.rows, longest), np.int32)  # [R, S]
    for row, known in zip(rows, symbols_of):
        row[: len(known)] = known
    walk = walker.walk(*zip(*((part.writing.sparse, part.index, part.writing.label) for part in parts)))
    outputs = [next(walk), *(walk.send(rows[:, i]) for i in range(longest - 1))]
    steps = [np.asarray(weights, np.float64) for weights in outputs]  # [R, N] each
    for i, part in enumerate(parts):
        part.weights = [weights[i] for weights in steps[: len(symbols_of[i])]]
    return parts


def _read(walker: Walker, readings: list[_Reading]) -> list[_Reading]:
    """Reads a chunk of each list."""
    vocabulary, size = walker.model.vocabulary, walker.model.config.chunk_size
    walk = walker.walk(*zip(*((one.sparse, len(one.sparse) // size, one.stream.label) for one in readings)))
    symbols_of: list[list[int]] = [[] for _ in readings]
    growing, last = list(range(len(readings))), np.zeros(walker.rows, np.int32)  # [R]
    output = next(walk)
    for step in range(3 * size):
        weights = np.asarray(output, np.float64)  # [R, N]
        for i in growing:
            symbol = readings[i].decoder.read(weights[i])
            if symbol is None:
                readings[i].state = "impossible"
            elif step % 3 == 0 and symbol == vocabulary.stop:
                readings[i].state = "complete"
            else:
                symbols_of[i].append(symbol)
                last[i] = symbol
        growing = [i for i in growing if readings[i].state == "growing"]
        if not growing:
            break
        if step + 1 < 3 * size:
            output = walk.send(last)
    for one, row in zip(readings, symbols_of):
        triples = np.array(row[: len(row) // 3 * 3], np.int32).reshape(-1, 3) - [0, 0, vocabulary.largest_value]
        channels, positions, values = triples.T.astype(np.int32)
        one.sparse = extend(one.sparse, channels, positions, values, vocabulary.grid)
    return readings


def _by_turns(
    waiting: Iterator[Row],
    rows: int,
    advance: Callable[[list[Row]], list[Row]],
    settle: Callable[[Row], Iterator[Result]],
) -> Iterator[Result]:
    """Leads lists through the model, in BATCHES batches. A list that ends makes room for the next.

    Args:
        waiting: the lists, or their parts.
        rows: the size of a batch.
        advance: goes through a chunk with each row of a batch, while another batch does so, too.
        settle: gives the result, if there is one, of a row that has ended; row after row.
    """
    running: deque[Future[list[Row]]] = deque()
    staying: list[Row] = []
    ended: list[Row] = []
    with ThreadPoolExecutor(BATCHES) as pool:
        while True:
            while len(running) < BATCHES and (batch := [*staying, *itertools.islice(waiting, rows - len(staying))]):
                running.append(pool.submit(advance, batch))
                staying = []
            for row in ended:
                yield from settle(row)
            if not running:
                return
            batch = running.popleft().result()
            staying, ended = ([row for row in batch if (row.state == "growing") == grows] for grows in (True, False))


def _parse(model: TrainedModel, data: bytes) -> Stream:
    """Reads a file of this model. Raises ValueError if it is none."""
    stream = Stream.from_bytes(data)
    if stream.fingerprint != (ours := short(model.fingerprint)):
        raise ValueError(
            f"the file was compressed with another model: {stream.fingerprint.hex()}, and this one is {ours.hex()}"
        )
    model.check_label(stream.label)
    most = MOST_BYTES_A_TRIPLE * (model.network.vocabulary.longest_list + 1)
    if 4 * len(stream.words) > most:
        raise ValueError(f"the file has {4 * len(stream.words)} bytes of data; a list of this model has at most {most}")
    return stream


def _file(model: TrainedModel, writing: _Writing) -> bytes:
    """Returns the whole file of a list that is written."""
    sparse = writing.sparse
    size = None if sparse.size == model.config.data.image_size else sparse.size
    check, words = list_check(sparse), writing.encoder.words()
    return Stream(short(model.fingerprint), size, writing.label, check, words).to_bytes()


def _canvas(model: TrainedModel) -> SparseDCT:
    """Returns the list without triples of the model's own size."""
    return model.blank(model.config.data.image_size)


def _only(results: Iterator[tuple[int, T | ValueError]]) -> T:
    """Returns the only result, or raises it if it is an error."""
    ((_, result),) = results
    if isinstance(result, ValueError):
        raise result
    return result
