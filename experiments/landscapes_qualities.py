"""The model of landscapes, for JPEG files of the qualities 35 to 90. It is not in the paper.

Each crop is encoded with a random quality; all else is as in landscapes.
Model: 2.59 M parameters.
Launch: `python -m dct_jax train landscapes_qualities`.
"""

from dataclasses import replace

from dct_jax import DCTConfig
from dct_jax.experiment import load_experiment

LANDSCAPES = load_experiment("landscapes", DCTConfig)
CONFIG = replace(
    LANDSCAPES,
    codec=replace(LANDSCAPES.codec, quality=75),
    model=replace(LANDSCAPES.model, qualities=(35, 90)),
)
