"""Lists <-> bytes: the model's probabilities and a range coder."""

import constriction
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.compression.steps import Walk, symbols, walk
from dct_jax.compression.stream import Stream, list_check, short
from dct_jax.trained_model import TrainedModel

MOST_BYTES_A_TRIPLE = 12
"""Three symbols of at most 24 bits each need 9; for longer data the model is not run."""


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
    model.check_list(sparse)
    model.check_label(label)
    encoder = constriction.stream.queue.RangeEncoder()
    steps = walk(model.network, model.params, model.blank(sparse.size), label)
    weights = next(steps)
    for symbol in symbols(sparse, model.network)[:-1].tolist():
        encoder.encode(symbol, _distribution(weights))
        weights = steps.send(symbol)
    encoder.encode(model.network.vocabulary.stop, _distribution(weights))
    size = None if sparse.size == model.config.data.image_size else sparse.size
    return Stream(short(model.fingerprint), size, label, list_check(sparse), encoder.get_compressed()).to_bytes()


def decompress(model: TrainedModel, data: bytes) -> SparseDCT:
    """The list that `compress` was given.

    Args:
        model: the same as then, on the same kind of machine with the same versions of JAX and XLA; otherwise its probabilities
            may differ in their last bits, and this fails.
        data: what `compress` returned.

    Raises:
        ValueError: if the data is none of ours, damaged, or compressed with another model; or if the probabilities differ.
    """
    stream = Stream.from_bytes(data)
    if stream.fingerprint != (ours := short(model.fingerprint)):
        raise ValueError(
            f"the file was compressed with another model: {stream.fingerprint.hex()}, and this one is {ours.hex()}"
        )
    model.check_label(stream.label)
    blank = model.blank(stream.size or model.config.data.image_size)
    most = MOST_BYTES_A_TRIPLE * (model.network.vocabulary.longest_list + 1)
    if 4 * len(stream.words) > most:
        raise ValueError(f"the file has {4 * len(stream.words)} bytes of data; a list of this model has at most {most}")
    try:
        sparse = _decoded(walk(model.network, model.params, blank, stream.label), stream.words)
    except _Impossible:
        sparse = None
    if sparse is None or list_check(sparse) != stream.list_check:
        raise ValueError(
            "the list does not come out as it went in: either the file is damaged, or this machine or its versions of JAX give "
            "other probabilities than those that it was compressed with"
        )
    return sparse


class _Impossible(Exception):
    """What was read is no symbol, or one whose probability is 0."""


def _decoded(steps: Walk, words: np.ndarray) -> SparseDCT:
    """Walks to the end of the list, with the symbols that the range coder's words hold."""
    decoder = constriction.stream.queue.RangeDecoder(words)
    weights = next(steps)
    try:
        while True:
            weights = steps.send(_symbol(decoder, weights))
    except StopIteration as end:
        return end.value


def _symbol(decoder: constriction.stream.queue.RangeDecoder, weights: np.ndarray) -> int:
    """The next symbol. Raises _Impossible if there is none."""
    try:
        symbol = int(decoder.decode(_distribution(weights)))
    except AssertionError:  # that is how constriction says that no symbol has these bits
        raise _Impossible from None
    if weights[symbol] == 0:
        raise _Impossible
    return symbol


def _distribution(weights: np.ndarray) -> constriction.stream.model.Categorical:
    """Integers are exact in float64, and so are their sums; what follows is the same on every machine."""
    return constriction.stream.model.Categorical(weights.astype(np.float64), perfect=False)
