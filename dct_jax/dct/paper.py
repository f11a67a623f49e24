"""The paper's network and training, which its experiments share."""

from dct_jax.config import TrainingConfig
from dct_jax.dct.config import ModelConfig

PAPER_MODEL = ModelConfig(
    width=896,
    heads=14,
    encoder=(2, 2, 2, 2),
    channel_decoder=(2, 2, 2, 4),
    position_decoder=(2, 2, 2, 4),
    value_decoder=(2, 2, 2, 2, 2, 7),
    chunk_size=896,
    overlap=128,
    dropout=0.1,
    dtype="bfloat16",
)
"""The supplement reports this network. An experiment adds its own encoder_stride and max_chunks."""

PAPER_TRAINING = TrainingConfig(
    steps=650_000,  # times 512 chunks of 896 elements: the 300 billion target elements that are reported for LSUN
    batch_size=512,
    accumulate=16,  # 4 chunks at once on each of 8 devices, the hardware that the experiments are written for
    learning_rate=5e-4,
    warmup_steps=1000,
    evaluate_every=5000,
    checkpoint_every=1000,
)
"""The supplement reports this training of the LSUN model. It does not mention a limit of the
gradient's norm; here it is 1."""
