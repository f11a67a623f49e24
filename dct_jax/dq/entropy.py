"""How much the grey levels of a region vary: the entropy that the router "entropy" goes by.

The grey levels of a patch make a soft histogram, in which a level counts for each bin as much as a
narrow Gaussian around the bin's centre says. The entropy of the histogram is 0 where all levels are
near one centre, and ln BINS at most. The bins are 6.5 SIGMA apart, so a patch of one level midway
between two centres counts for both, and has ln 2.

Source: Huang et al., CVPR 2023 (arXiv 2305.11718), whose program has the same bins and SIGMA. It
adds 1e-40 to probabilities, which float32 turns to 0.

Axes: B batch, H x W pixels, S pixels of a patch's side.
"""

import jax
import jax.numpy as jnp
import numpy as np

BINS = 32
RANGE = (-1.0, 1.0)
"""The first and the last bin's centre; pixels have the same range."""

SIGMA = 0.01
"""Of the Gaussian kernel around each centre, in units of pixel values."""

EPS = 1e-12
STEP = 2.0**-12
"""Nats. Entropies are multiples of it, so that programs that sum in another order agree."""

GREY = (0.2989, 0.5870, 0.1140)
"""Shares of red, green and blue in a grey level."""


def patch_entropy(pixels: jax.Array, side: int) -> jax.Array:
    """Returns the entropy of each patch's histogram of grey levels.

    One bin after another is counted, so that no array is larger than the grey levels.

    Args:
        pixels: [B, H, W, 3], from -1 to 1.
        side: S, of the patches, which do not overlap; it divides H and W.

    Returns:
        Nats, float32 [B, H / S, W / S], from 0 to ln BINS; finite for all finite pixels.

    Raises:
        ValueError: if S does not divide H and W.
    """
    batch, height, width, _ = pixels.shape
    if height % side or width % side:
        raise ValueError(f"pictures have {height} x {width} pixels; {side}, the side of a patch, must divide both sides")
    grey = (pixels.astype(jnp.float32) * jnp.asarray(GREY, jnp.float32)).sum(-1)  # [B, H, W]
    patches = grey.reshape(batch, height // side, side, width // side, side)
    centres = np.linspace(*RANGE, BINS, dtype=np.float32)

    def count(centre: jax.Array) -> jax.Array:
        return jnp.exp(-0.5 * jnp.square((patches - centre) / SIGMA)).mean(axis=(2, 4))

    counts = jax.lax.map(count, jnp.asarray(centres))  # [BINS, B, H / S, W / S]
    shares = counts / (counts.sum(0) + EPS) + EPS
    entropy = -(shares * jnp.log(shares)).sum(0)
    return jnp.maximum(jnp.round(entropy / STEP) * STEP, 0.0)
