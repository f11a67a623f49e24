"""The losses of a VQ-GAN (Esser et al., 2021, section 3.1)."""

import jax
import jax.numpy as jnp
import optax

SMALLEST_NORM = 1e-4


def hinge_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The discriminator's loss of the logits of real pictures and of reconstructions, each [...]
    (Lim and Ye, "Geometric GAN", 2017)."""
    return (jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean()) / 2


def adversarial_loss(fake: jax.Array) -> jax.Array:
    """The generator's loss of the discriminator's logits of reconstructions, [...]."""
    return -fake.mean()


def adaptive_weight(reconstruction: jax.Array, adversarial: jax.Array, limit: float) -> jax.Array:
    """Returns the weight that makes the gradient of the adversarial loss as long as that of the
    reconstruction loss, but at most `limit`; both are gradients of the decoder's last kernel, of
    the global batch."""
    ratio = optax.tree.norm(reconstruction) / (optax.tree.norm(adversarial) + SMALLEST_NORM)
    return jnp.clip(ratio, 0, limit)
