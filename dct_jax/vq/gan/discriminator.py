"""The discriminator of a VQ-GAN, which judges overlapping patches: PatchGAN (Isola et al.,
"Image-to-Image Translation with Conditional Adversarial Networks", 2017)."""

from functools import partial

import flax.linen as nn
import jax

from dct_jax.distributed.parallel import DATA_AXIS
from dct_jax.vq.gan.config import GROUPS, LossConfig

SLOPE = 0.2
"""Of leaky ReLU below 0."""

MOST_CHANNELS = 8
"""Times the channels of the first layer."""


class Discriminator(nn.Module):
    """Convolutions of 4 x 4, of which the last two have a stride of 1. All but the first and the
    last are normalised."""

    config: LossConfig

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """float32 [B, H, W, 3], from -1 to 1 -> logits of being real, [B, h, w], one a patch."""
        c = self.config
        convolve = partial(nn.Conv, kernel_size=(4, 4), padding=1, kernel_init=nn.initializers.normal(0.02))
        x = nn.leaky_relu(convolve(c.discriminator_channels, strides=2)(pixels), SLOPE)
        for i in range(1, c.discriminator_layers + 1):
            channels = c.discriminator_channels * min(2**i, MOST_CHANNELS)
            x = convolve(channels, strides=2 if i < c.discriminator_layers else 1, use_bias=False)(x)
            x = nn.leaky_relu(self._normalize(x), SLOPE)
        return convolve(1)(x)[..., 0]

    def _normalize(self, x: jax.Array) -> jax.Array:
        if self.config.discriminator_norm == "group":
            return nn.GroupNorm(min(GROUPS, self.config.discriminator_channels))(x)
        # Training alone has a discriminator, so the statistics are always those of the batch.
        return nn.BatchNorm(use_running_average=False, axis_name=DATA_AXIS)(x)


def judge(discriminator: Discriminator, params: dict, pixels: jax.Array) -> jax.Array:
    """Returns the logits of pictures, [B, H, W, 3] -> [B, h, w]."""
    logits, _ = discriminator.apply({"params": params}, pixels, mutable=["batch_stats"])
    return logits
