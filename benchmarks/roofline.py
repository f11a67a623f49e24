"""What a device should reach by arithmetic: its peaks, what a training step and a sampler's step
do, and how long that takes.

Everything here is a pure function of numbers; docs/performance.md tells where the shares come from.
Axes: D width, O overlap, C chunk, W = O + C window, T encoder tokens.
"""

from typing import NamedTuple

import numpy as np

from dct_jax.codec import Vocabulary
from dct_jax.dct.config import ModelConfig


class Device(NamedTuple):
    """The limits of a device.

    Attributes:
        flops: FLOP/s of dense bfloat16 products with float32 sums.
        bandwidth: bytes/s of its memory.
        source: "datasheet" or "measured".
    """

    flops: float
    bandwidth: float
    source: str


DATASHEETS = {
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA H100 PCIe": (756e12, 2.0e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.04e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 1.56e12),
    "NVIDIA A100 80GB PCIe": (312e12, 1.94e12),
    "TPU v4": (275e12, 1.2e12),
    "TPU v5 lite": (197e12, 0.82e12),  # v5e
    "TPU v5e": (197e12, 0.82e12),
    "TPU v5": (459e12, 2.77e12),  # v5p
    "TPU v5p": (459e12, 2.77e12),
}
"""FLOP/s of dense bfloat16 products and bytes/s of memory, by JAX's `device_kind`, from the
vendors' data sheets."""

PRODUCTS, ATTENTION = 0.7, 0.35
"""Shares of the peak that products between layers, and fused attention, are expected to reach."""

PASSES = 39
"""How often a training step moves the rows of a residual branch, [rows, D], besides its products:
LayerNorm 2, dropout, gate and residual 3, ReLU of four widths 8; backward ReLU 12, gate and dropout
3, LayerNorm 6, sums for biases 5."""

KEPT = 18
"""Rows of a residual branch, [rows, D], that the forward pass keeps for the backward pass."""

STATE_BYTES = 16
"""Bytes of a parameter, its gradient and Adam's two moments, float32."""

ADAM_BYTES = 28
"""Bytes that Adam reads and writes for a parameter, all float32: it, its gradient and two moments;
all but the gradient."""

BLOCK_KERNELS, LAYER_KERNELS, OTHER_KERNELS = 12, 5, 60
"""Programs that a sampler's step starts: in a decoder block's two attentions, in a feed-forward
layer, elsewhere."""

KERNEL_SECONDS = 4e-6
"""Seconds to start a program in a loop on the device."""


def device_of(kind: str, measured: Device) -> Device:
    """Returns the data sheet's limits of a device of this kind; those that were measured, if the
    table has none."""
    return Device(*DATASHEETS[kind], "datasheet") if kind in DATASHEETS else measured


def tokens_of(config: ModelConfig, vocabulary: Vocabulary) -> int:
    """Returns T."""
    return int(np.prod([-(-side // config.encoder_stride) for side in vocabulary.grid]))


def attention_flops(config: ModelConfig, tokens: int) -> float:
    """Returns the FLOP of a chunk's attention, forward and backward: 12 D a pair of query and key,
    of which causal self-attention has half."""
    window = config.window
    pairs = len(config.encoder) * tokens**2 + len(_decoders(config)) * (window**2 / 2 + window * tokens)
    return 12.0 * config.width * pairs


def activation_bytes(config: ModelConfig, tokens: int) -> float:
    """Returns the bytes that a training step moves for a chunk besides its products: PASSES over
    each residual branch's rows."""
    return PASSES * _branch_bytes(config, tokens)


def training_seconds(
    device: Device, config: ModelConfig, tokens: int, flops: float, parameters: int, batch: int, rematerialise: bool
) -> float:
    """Predicts the time of a training step with Adam in bfloat16.

    Args:
        device: its limits.
        config, tokens: the network.
        flops: of the step's products, attention included, without what rematerialisation adds.
        parameters: their number.
        batch: chunks.
        rematerialise: whether the forward pass is done twice, which is a third more of everything
            but Adam's update.
    """
    attention = batch * attention_flops(config, tokens)
    busy = (flops - attention) / (PRODUCTS * device.flops) + attention / (ATTENTION * device.flops)
    moving = batch * activation_bytes(config, tokens) / device.bandwidth
    return (busy + moving) * (4 / 3 if rematerialise else 1) + ADAM_BYTES * parameters / device.bandwidth


def training_bytes(config: ModelConfig, tokens: int, parameters: int, batch: int) -> float:
    """Predicts the memory of a training step with Adam in bfloat16, without rematerialisation."""
    return STATE_BYTES * parameters + batch * KEPT * _branch_bytes(config, tokens)


def columns_bytes(config: ModelConfig, batch: int, columns: float) -> float:
    """Returns the bytes of so many columns of the keys and values of all decoder blocks, in
    bfloat16."""
    return 4.0 * len(_decoders(config)) * batch * config.width * columns


def filled_columns(config: ModelConfig) -> float:
    """Returns the filled columns of the window, the mean over the steps of a chunk."""
    return config.overlap + (config.chunk_size + 1) / 2


def sampling_bytes(config: ModelConfig, tokens: int, weights: int, batch: int) -> float:
    """Returns the bytes that a sampler's step must read, the mean over a chunk: weights (bytes),
    filled columns, the encoder's tokens."""
    return weights + columns_bytes(config, batch, filled_columns(config) + tokens)


def sampling_seconds(device: Device, config: ModelConfig, tokens: int, weights: int, batch: int) -> float:
    """Predicts the time of a sampler's step that reads the whole window, as the plain path does."""
    decoders = _decoders(config)
    kernels = BLOCK_KERNELS * len(decoders) + LAYER_KERNELS * sum(decoders) + OTHER_KERNELS
    read = weights + columns_bytes(config, batch, config.window + tokens)
    return read / device.bandwidth + KERNEL_SECONDS * kernels


def _branch_bytes(config: ModelConfig, tokens: int) -> float:
    """Returns the bytes of a chunk's rows in all residual branches, in bfloat16."""
    in_encoder = sum(1 + layers for layers in config.encoder)
    in_decoders = sum(2 + layers for layers in _decoders(config))
    return 2.0 * config.width * (tokens * in_encoder + config.window * in_decoders)


def _decoders(config: ModelConfig) -> tuple[int, ...]:
    """Returns the feed-forward layers of each decoder block."""
    return (*config.channel_decoder, *config.position_decoder, *config.value_decoder)
