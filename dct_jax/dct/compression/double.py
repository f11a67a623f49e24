"""A model's network in float64.

Machines, versions and numbers of threads differ in the order of their sums. In float32 logits then
differ by 1e-5 to 1e-4, with bfloat16 products by 0.1. In float64 they differ by about 1e-13, so a
tolerance can be a million times wider and still cost next to nothing.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.trained_model import TrainedModel


def double_network(model: TrainedModel) -> tuple[DCTransformer, Any]:
    """Returns the network and the variables in float64. What runs them does so in
    `jax.enable_x64(True)`.

    Args:
        model: one of any `model.dtype` and `model.products`; these do not matter here.

    Raises:
        ValueError: on a TPU, which only imitates float64: other machines could not read its files.
    """
    if (backend := jax.default_backend()) not in ("cpu", "gpu"):
        raise ValueError(f"compression needs float64, which devices of the kind {backend} lack; set JAX_PLATFORMS=cpu")
    sizes = dataclasses.replace(model.config.model, dtype="float64", products="float32", rematerialise=False)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(np.float64)), model.variables)
    return network(dataclasses.replace(model.config, model=sizes)), variables
