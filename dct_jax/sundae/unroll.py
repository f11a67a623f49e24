"""SUNDAE's loss: the network denoises a corrupted grid, then its own samples, a few times.

See Savinov et al., "Step-unrolled Denoising Autoencoders for Text Generation", 2022.

What the loss says of likelihoods: let p_t be the distribution after t steps from uniform codes, at
temperature 1, where all cells take their new codes. The cross-entropy of step t, as a sum over the
cells, is at least -log p_t(x | x_0), on average over corrupted grids x_0 of x (Jensen). It does not
bound -log p_t(x), as x_0 knows much of x. With the divergence of x_0 from uniform codes added, it
does. But the divergence, which depends on the numbers of cells and codes alone, is nearly half of
the nats of uniform codes for large K, so this bound is too loose to compare models. For other
temperatures and proportions, and with frozen samples, there is no bound. So a SUNDAE reports its
loss and accuracy, and no bits.

Axes: B batch, h x w cells, K codes, T steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dct_jax.codes.random_keys import fold_keys
from dct_jax.nn.log_prob import log_prob
from dct_jax.sundae.random_codes import corrupt, sample_cells

LogitsOf = Callable[[Any, jax.Array, jax.Array], jax.Array]
"""Parameters, codes int32 [B, h, w] and the number of the step, int32 [] (for the masks of
dropout) -> logits, float32 [B, h, w, K]."""


class Unrolled(NamedTuple):
    """What the steps lost and hit, float32 [B] each: means over T steps and all cells.

    Attributes:
        nats: the cross-entropy.
        accuracy: the share of cells whose likeliest code is right.
    """

    nats: jax.Array
    accuracy: jax.Array


def unrolled_loss(
    logits_of: LogitsOf, params: Any, codes: jax.Array, keys: jax.Array, num_codes: int, steps: int
) -> tuple[jax.Array, Unrolled]:
    """Computes the cross-entropy of all steps and cells.

    Step t gets what step t - 1 sampled, at temperature 1, in all cells; no gradient goes through
    the samples. So the gradients of the steps are independent, and each step's is taken at once:
    the memory of activations does not grow with T. Only the first result has a gradient.

    Args:
        logits_of: the network.
        params: its parameters; the loss has a gradient with respect to them alone.
        codes: the clean grids, int32 [B, h, w].
        keys: one for each picture, [B].
        num_codes: K.
        steps: T.

    Returns:
        The mean over the pictures, float32 [], and the means of each picture.
    """

    def one_step(params: Any, noisy: jax.Array, step: jax.Array) -> tuple[jax.Array, tuple[Unrolled, jax.Array]]:
        """Returns the step's share of the loss and of the report, and what the next step gets."""
        logits = logits_of(params, noisy, step)
        nats = -log_prob(logits, codes)  # [B, h, w]
        is_hit = jnp.argmax(logits, axis=-1) == codes  # [B, h, w]
        found = Unrolled(*(x.mean(axis=(1, 2)) / steps for x in (nats, is_hit)))
        sampled = sample_cells(jax.lax.stop_gradient(logits), fold_keys(keys, step + 1), 1.0)
        return found.nats.mean(), (found, sampled)

    def run(step: Callable[[jax.Array, jax.Array], tuple[jax.Array, Any]]) -> Any:
        """Sums what the steps return, each of which gets what the one before sampled."""
        start = corrupt(codes, fold_keys(keys, 0), num_codes)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(step, start, jnp.int32(0))[1])

        def body(carry: tuple[jax.Array, Any], t: jax.Array) -> tuple[tuple[jax.Array, Any], None]:
            sampled, sums = step(carry[0], t)
            return (sampled, jax.tree.map(jnp.add, carry[1], sums)), None

        return jax.lax.scan(body, (start, zeros), jnp.arange(steps))[0][1]

    @jax.custom_vjp
    def loss(params: Any) -> tuple[jax.Array, Unrolled]:
        def step(noisy: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
            share, (found, sampled) = one_step(params, noisy, t)
            return sampled, (share, found)

        return run(step)

    def forward(params: Any) -> tuple[tuple[jax.Array, Unrolled], Any]:
        def step(noisy: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
            (share, (found, sampled)), gradient = jax.value_and_grad(one_step, has_aux=True)(params, noisy, t)
            return sampled, ((share, found), gradient)

        return run(step)

    def backward(gradient: Any, cotangents: tuple[jax.Array, Unrolled]) -> tuple[Any]:
        return (jax.tree.map(lambda x: (cotangents[0] * x).astype(x.dtype), gradient),)

    loss.defvjp(forward, backward)
    return loss(params)
