"""How a step of training keeps the codebook of an autoencoder, under the axis "data"."""

from typing import Any, cast

import jax

from dct_jax.distributed.parallel import DATA_AXIS, gather_batch
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.network import Autoencoder
from dct_jax.vq.quantizers import (
    Codebook,
    Quantized,
    choose_rows,
    count_codes,
    counts_and_sums,
    kmeans,
    nearest_codes,
    update,
)

Variables = dict[str, Any]


def start_codebook(
    network: Autoencoder, config: QuantizerConfig, variables: Variables, pixels: jax.Array, key: jax.Array
) -> Variables:
    """Makes a table of the means of the first batch's vectors.

    Args:
        network: its encoder makes the vectors.
        config: of its quantiser.
        variables: of the network.
        pixels: this device's part of the batch, float32 [b, H, W, 3].
        key: equal on all devices.
    """
    if config.kind == "fsq" or config.start == "uniform":
        return variables
    vectors, quantized = cast(tuple[jax.Array, Quantized], network.apply(variables, pixels, method="quantize"))
    vectors, weights = _rows(*gather_batch((vectors, quantized.weights)))
    table = kmeans(vectors, config.num_codes, key, weights)
    if config.kind == "gradient":
        params = variables["params"] | {"quantizer": {"table": table}}
        return variables | {"params": params}
    counts, sums = counts_and_sums(vectors, nearest_codes(vectors, table), config.num_codes, weights)
    return variables | {"codebook": {"quantizer": Codebook(table, counts, sums)._asdict()}}


def follow_vectors(
    config: QuantizerConfig, variables: Variables, vectors: jax.Array, quantized: Quantized, key: jax.Array
) -> tuple[Variables, jax.Array]:
    """Moves the decayed statistics of a codebook by one batch, if the quantiser has some.

    Args:
        config: of the quantiser.
        variables: of the network, whose table has quantised the batch.
        vectors: before the quantiser, this device's, [b, h, w, D].
        quantized: the vectors after it, which count as often as its weights say.
        key: equal on all devices.

    Returns:
        The variables, and how many vectors of the global batch had each code, float32 [K].
    """
    rows, weights = _rows(vectors, quantized.weights)
    codes = quantized.codes.reshape(-1)
    if config.kind != "ema":
        return variables, jax.lax.psum(count_codes(codes, config.num_codes, weights), DATA_AXIS)
    of_device = counts_and_sums(rows, codes, config.num_codes, weights)
    counts, sums = jax.lax.psum(of_device, DATA_AXIS)
    rows, weights = _rows(*gather_batch((vectors, quantized.weights)))
    spare = choose_rows(rows, config.num_codes, key, weights)
    after = update(config, Codebook(**variables["codebook"]["quantizer"]), counts, sums, spare)
    return variables | {"codebook": {"quantizer": after._asdict()}}, counts


def _rows(vectors: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Lists vectors, [b, h, w, D], as [N, D], and their weights as [N]."""
    return vectors.reshape(-1, vectors.shape[-1]), None if weights is None else weights.reshape(-1)
