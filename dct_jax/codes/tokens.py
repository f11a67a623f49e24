"""From pictures to the codes that a prior learns, and back: by an autoencoder, or of grey pixels.

Axes: B batch, H x W pixels, h x w codes.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp

from dct_jax.codes.config import CodePriorConfig
from dct_jax.vq.network import to_float, to_uint8

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601); of a grey pixel it is the level itself."""


def to_codes(config: CodePriorConfig, autoencoder: Any, pictures: jax.Array) -> jax.Array:
    """Turns pictures into codes, within a program.

    Args:
        config: of the prior.
        autoencoder: its variables; not used for pixels.
        pictures: uint8 [B, H, W, 3].

    Returns:
        int32 [B, h, w].
    """
    if config.autoencoder is None:
        # A matrix product would round its operands on accelerators.
        return jnp.round((pictures.astype(jnp.float32) * jnp.array(LUMA)).sum(axis=-1)).astype(jnp.int32)
    network = config.autoencoder.network()
    return cast(jax.Array, network.apply(autoencoder, to_float(pictures), method="to_codes"))


def from_codes(config: CodePriorConfig, autoencoder: Any, codes: jax.Array) -> jax.Array:
    """Turns codes, int32 [B, h, w] of any h and w, into pictures, uint8 [B, f h, f w, 3], within a
    program. Arguments are those of `to_codes`."""
    if config.autoencoder is None:
        return jnp.repeat(codes[..., None], 3, axis=-1).astype(jnp.uint8)
    network = config.autoencoder.network()
    return to_uint8(cast(jax.Array, network.apply(autoencoder, codes, method="from_codes")))
