"""A DQ-Transformer over the codes of Fashion-MNIST, by class, in ten minutes on two CPU cores.

Data: the bundled 10,000 + 2,000 garments, as codes of `dq_fashion`, which must be trained first.
Model: 2.11 M parameters.
Launch: `python -m dct_jax train dq_transformer_fashion`.
"""

from dct_jax.codes.config import CodesConfig
from dct_jax.config import TrainingConfig
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.experiment import load_experiment

AUTOENCODER = load_experiment("dq_fashion", DQVAEConfig)

CONFIG = DQTransformerConfig(
    data=AUTOENCODER.data,
    codes=CodesConfig(run="runs/dq_fashion", num_classes=10),
    autoencoder=AUTOENCODER,
    model=StackConfig(width=192, heads=6, position_layers=1, content_layers=3, products="bfloat16"),
    training=TrainingConfig(
        steps=1500,
        batch_size=32,
        optimizer="muon",
        learning_rate=2e-3,
        muon_learning_rate=1e-2,
        warmup_steps=100,
        evaluate_every=500,
        checkpoint_every=250,
    ),
)
