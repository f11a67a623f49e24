"""LSUN towers, one of the paper's unconditional models: 708,264 pictures, the long side 384 pixels.

Data: `python -m dct_jax prepare lsun/tower`, for which TFDS needs tensorflow_io besides TensorFlow.
Model: 401 M parameters. Memory: 6.4 GB for parameters, gradients and Adam; 3.1 GB a chunk that a
device does at once.
Launch: `python experiments/launch.py lsun_towers` on 8 devices of 80 GB; on one, add
`--training.accumulate 128`.
"""

from dataclasses import replace

from dct_jax.experiment import load_experiment

BEDROOMS = load_experiment("lsun_bedrooms")
CONFIG = replace(BEDROOMS, data=replace(BEDROOMS.data, source="tfds:lsun/tower"))
