"""Looks whether compressed files come back, before anybody relies on them."""

from collections.abc import Iterator

from dct_jax.dct.compression.lossless import decompress_many
from dct_jax.dct.trained_model import TrainedModel

TOGETHER = 16
"""So many files are decompressed at a time: a model's step takes hardly longer for them than for
one."""


def verified(
    model: TrainedModel, results: Iterator[tuple[int, bytes | ValueError]]
) -> Iterator[tuple[int, bytes | ValueError]]:
    """Decompresses each file that `compress_many` made. A file has a check of its list, which finds
    out whether another list comes back; so nobody needs the lists.

    Args:
        model: the model that compressed the files.
        results: the number of a list and its file, or the error that is known already.

    Yields:
        What `results` gives, maybe in another order, but an error in place of each file from which
        the list does not come back.
    """
    waiting: list[tuple[int, bytes]] = []
    for number, result in results:
        if isinstance(result, ValueError):
            yield number, result
        else:
            waiting.append((number, result))
        if len(waiting) == TOGETHER:
            yield from _verify(model, waiting)
            waiting = []
    if waiting:
        yield from _verify(model, waiting)


def _verify(model: TrainedModel, files: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes | ValueError]]:
    for place, result in decompress_many(model, [file for _, file in files]):
        number, file = files[place]
        is_lost = isinstance(result, ValueError)
        yield number, ValueError(f"the compressed file does not come back: {result}") if is_lost else file
