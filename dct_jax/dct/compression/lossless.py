"""Lists <-> bytes: the model's probabilities and a range coder, for many lists at once.

A list is the same bytes whatever else is compressed with it. Whoever writes knows all symbols, so the chunks of all lists go
through the model side by side; whoever reads has one row for each list. Two batches are under way at a time: while the
device works on one, the range coder works on the other.
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
from dct_jax.dct.chunks import extended, num_chunks
from dct_jax.dct.compression.coder import Decoder, Encoder
from dct_jax.dct.compression.steps import Walker, symbols
from dct_jax.dct.compression.stream import VERSION, Stream, list_check, short
from dct_jax.dct.trained_model import TrainedModel

MOST_BYTES_A_TRIPLE = 12
"""Three symbols of at most 24 bits each need 9; for longer data the model is not run."""

ROWS = {1: 1, 2: 8}
"""R by the format's version. With 8 rows a step takes hardly longer than with one, on CPUs; with more it takes longer for a
list alone, and no less for many."""

DIFFERENT = (
    "the list does not come out as it went in: either the file is damaged, or this machine or its versions of JAX give other "
    "probabilities than those that it was compressed with"
)

BATCHES = 2
"""Under way at a time."""

T = TypeVar("T")
Row = TypeVar("Row", "_Part", "_Reading")
Result = TypeVar("Result")


def compress(model: TrainedModel, sparse: SparseDCT, label: int = 0) -> bytes:
    """The bytes from which `decompress` makes this list again, with the same model.

    They are as many as the log-likelihood says, and at most 1 % and 16 more; 3 more for classes and for images smaller than
    the canvas.

    Args:
        model: whose probabilities are used.
        sparse: a list of the model's codec, whose image fits on its canvas.
        label: the class, for a class-conditional model.

    Raises:
        ValueError: if the list is not one that the model could have drawn, or the label is none of the model's.
    """
    return _only(compress_many(model, [sparse], [label]))


def decompress(model: TrainedModel, data: bytes) -> SparseDCT:
    """The list that `compress` was given.

    Args:
        model: the same as then, on the same kind of machine with the same versions of JAX and XLA; otherwise its probabilities
            may differ in their last bits, and this fails.
        data: what `compress` returned.

    Raises:
        ValueError: if the data is none of ours, damaged, or compressed with another model; or if the probabilities differ.
    """
    return _only(decompress_many(model, [data]))


def compress_many(
    model: TrainedModel, lists: Iterable[SparseDCT], labels: Iterable[int] = itertools.repeat(0)
) -> Iterator[tuple[int, bytes | ValueError]]:
    """`compress` for many lists, each of which becomes the bytes that it becomes alone.

    Args:
        model: whose probabilities are used.
        lists: they are taken as they are needed.
        labels: the class of each.

    Yields:
        The number of a list and its bytes, as they are ready; at the end the numbers of those that cannot be compressed, and
        why: what `compress` would raise.
    """
    walker = Walker(model.network, model.variables, ROWS[VERSION])
    refused: list[tuple[int, ValueError]] = []

    def parts() -> Iterator[_Part]:
        for number, (sparse, label) in enumerate(zip(lists, labels)):
            try:
                model.check_list(sparse)
                model.check_size(sparse.size)
                model.check_label(label)
            except ValueError as error:
                refused.append((number, error))
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
    yield from refused


def decompress_many(model: TrainedModel, files: Iterable[bytes]) -> Iterator[tuple[int, SparseDCT | ValueError]]:
    """`decompress` for many files.

    Args:
        model: the same as when they were compressed.
        files: their bytes.

    Yields:
        The number of a file and its list, or why there is none (what `decompress` would raise), as they are ready.
    """
    readings: dict[int, list[_Reading]] = {version: [] for version in ROWS}
    for number, data in enumerate(files):
        try:
            stream = _checked(model, data)
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
    """One chunk of it, and what the model says of the chunk's symbols: float64 [N] each."""

    writing: _Writing
    index: int
    weights: Sequence[np.ndarray] = ()
    state: Literal["growing", "complete"] = "complete"

    def symbols(self, walker: Walker) -> np.ndarray:
        """int32 [3 n] or, with the stopping token, [3 n + 1]."""
        size = 3 * walker.model.config.chunk_size
        return self.writing.symbols[self.index * size : (self.index + 1) * size]


@dataclass(eq=False)
class _Reading:
    """A list that is being read, as far as it is."""

    number: int
    stream: Stream
    sparse: SparseDCT
    decoder: Decoder
    state: Literal["growing", "complete", "impossible"] = "growing"


def _weigh(walker: Walker, parts: list[_Part]) -> list[_Part]:
    """Fills in the parts' weights. The symbols are known, so no step waits for the range coder."""
    sent = [part.symbols(walker) for part in parts]
    longest = max(map(len, sent))
    padded = np.zeros((walker.rows, longest), np.int32)  # [R, S]
    for row, known in zip(padded, sent):
        row[: len(known)] = known
    walk = walker.walk(*zip(*((part.writing.sparse, part.index, part.writing.label) for part in parts)))
    yielded = [next(walk), *(walk.send(padded[:, i]) for i in range(longest - 1))]
    steps = [np.asarray(weights, np.float64) for weights in yielded]  # [R, N] each
    for i, part in enumerate(parts):
        part.weights = [weights[i] for weights in steps[: len(sent[i])]]
    return parts


def _read(walker: Walker, readings: list[_Reading]) -> list[_Reading]:
    """Reads a chunk of each list."""
    vocabulary, size = walker.model.vocabulary, walker.model.config.chunk_size
    walk = walker.walk(*zip(*((one.sparse, len(one.sparse) // size, one.stream.label) for one in readings)))
    found: list[list[int]] = [[] for _ in readings]
    growing, sent = list(range(len(readings))), np.zeros(walker.rows, np.int32)  # [R]
    yielded = next(walk)
    for step in range(3 * size):
        weights = np.asarray(yielded, np.float64)  # [R, N]
        for i in growing:
            symbol = readings[i].decoder.read(weights[i])
            if symbol is None:
                readings[i].state = "impossible"
            elif step % 3 == 0 and symbol == vocabulary.stop:
                readings[i].state = "complete"
            else:
                found[i].append(symbol)
                sent[i] = symbol
        growing = [i for i in growing if readings[i].state == "growing"]
        if not growing:
            break
        if step + 1 < 3 * size:
            yielded = walk.send(sent)
    for one, row in zip(readings, found):
        triples = np.array(row[: len(row) // 3 * 3], np.int32).reshape(-1, 3) - [0, 0, vocabulary.largest_value]
        one.sparse = extended(one.sparse, *triples.T.astype(np.int32), vocabulary.grid)
    return readings


def _by_turns(
    waiting: Iterator[Row],
    rows: int,
    advance: Callable[[list[Row]], list[Row]],
    settle: Callable[[Row], Iterator[Result]],
) -> Iterator[Result]:
    """Leads everything that waits through the model, `rows` at a time in each of BATCHES batches; one that ends makes room.

    Args:
        waiting: what is to be done.
        rows: the size of a batch.
        advance: goes through a chunk with each of a batch; it runs beside that of another batch.
        settle: gives the result of one that has ended, if it has one. It is called in their order.
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
            done = running.popleft().result()
            staying, ended = ([row for row in done if (row.state == "growing") == grows] for grows in (True, False))


def _checked(model: TrainedModel, data: bytes) -> Stream:
    """What a file of this model holds. Raises ValueError if it is none."""
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
    """The whole file of a list that is written."""
    sparse = writing.sparse
    size = None if sparse.size == model.config.data.image_size else sparse.size
    check, words = list_check(sparse), writing.encoder.words()
    return Stream(short(model.fingerprint), size, writing.label, check, words).to_bytes()


def _canvas(model: TrainedModel) -> SparseDCT:
    """The list without triples of the model's own size."""
    return model.blank(model.config.data.image_size)


def _only(results: Iterator[tuple[int, T | ValueError]]) -> T:
    """What came of one list alone."""
    ((_, result),) = results
    if isinstance(result, ValueError):
        raise result
    return result
