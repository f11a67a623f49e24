"""The log-likelihood of whole lists, over all of their chunks."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from dct_jax.codec import SparseDCT
from dct_jax.data.chunks import Chunk
from dct_jax.data.pipeline import all_chunks
from dct_jax.model import DCTransformer, SymbolNats, log_likelihood


@partial(jax.jit, static_argnums=0)
def chunk_log_prob(model: DCTransformer, params: Any, batch: Chunk) -> SymbolNats:
    """log p of each chunk given what comes before it, float32 [B] for each symbol, in nats."""
    per_element = log_likelihood(model.apply(params, batch), batch, model.vocabulary)  # [B, W] each
    return SymbolNats(*(x.sum(axis=1) for x in per_element))


def list_log_prob(
    model: DCTransformer, params: Any, lists: Sequence[SparseDCT], labels: np.ndarray | None = None, batch_size: int = 16
) -> SymbolNats:
    """log p of each whole list, exactly: the sum over all of its chunks, with the stopping token in "channel".

    Args:
        model, params: the network and its parameters.
        lists: valid lists of the model's vocabulary.
        labels: int32 [N], the class of each; None stands for class 0.
        batch_size: chunks at a time; the result does not depend on it.

    Returns:
        float64 [N] for each symbol, in nats.

    Raises:
        ValueError: if a list is not one of the model's vocabulary.
    """
    for i, sparse in enumerate(lists):
        try:
            sparse.validate(model.vocabulary)
        except ValueError as error:
            raise ValueError(f"list {i}: {error}") from None
    labels = np.zeros(len(lists), np.int32) if labels is None else labels
    totals = np.zeros((3, len(lists)))
    for owners, batch in all_chunks(lists, labels, model.vocabulary, model.config, batch_size):
        for total, nats in zip(totals, chunk_log_prob(model, params, batch)):
            np.add.at(total, owners, np.asarray(nats, np.float64))
    return SymbolNats(*totals)


def bits_per_pixel(nats: SymbolNats, lists: Sequence[SparseDCT]) -> float:
    """Bits that the model needs for a pixel of these lists' images, on average.

    Args:
        nats: log-likelihoods [N], as list_log_prob gives them.
        lists: the N lists.
    """
    pixels = sum(sparse.size[0] * sparse.size[1] for sparse in lists)
    return float(-sum(np.sum(symbol) for symbol in nats) / np.log(2) / pixels)
