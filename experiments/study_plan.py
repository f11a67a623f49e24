"""What the study trains: systems, choices of settings, and the steps that fit into minutes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dct_jax import DCTConfig
from dct_jax.codes.config import CodePriorConfig
from dct_jax.config import RunConfig
from dct_jax.dq.config import DQVAEConfig
from dct_jax.dq_transformer.config import DQTransformerConfig
from dct_jax.experiment import load_experiment
from dct_jax.sundae.config import SundaeConfig
from dct_jax.vq.config import AutoencoderRunConfig, VQVAEConfig
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.window.config import WindowConfig

Data = Literal["fashion", "landscapes"]
System = Literal["dctransformer", "window", "sundae", "dq_transformer"]
DIVERGED = "diverged"
"""Name of a file in the folder of a run that ended with a loss that was not finite."""


@dataclass(frozen=True)
class Contender:
    """A system that samples pictures.

    Attributes:
        name: of its runs.
        stages: the configurations of its runs: of an autoencoder and a prior, or of one model.
        settings: of its sampler in the search of its training, by name.
    """

    name: System
    stages: tuple[RunConfig, ...]
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What the search chooses.

    Attributes:
        rate: all learning rates, by those of the experiment.
        share: of the minutes, the part of the first of two stages.
    """

    rate: float = 1.0
    share: float = 0.5


def contenders(data: Data) -> list[Contender]:
    """Returns the systems, with the configurations of their experiments and the same pictures."""
    few_steps: dict[str, float] = {}
    model, suffix = load_experiment(data, DCTConfig), "fashion" if data == "fashion" else "landscapes_64"
    # Hidden classes are of use to guidance alone, which no system has here.
    model = replace(model, training=replace(model.training, label_dropout=0.0))
    grid = load_experiment(f"vqvae_{suffix}", VQVAEConfig)
    dynamic = replace(load_experiment("dq_fashion", DQVAEConfig), data=model.data)
    window, sundae = load_experiment(f"window_{suffix}", WindowConfig), load_experiment(f"sundae_{suffix}", SundaeConfig)
    sundae = replace(sundae, model=replace(sundae.model, products="bfloat16"))  # as all others have it
    dq_transformer = load_experiment("dq_transformer_fashion", DQTransformerConfig)
    if data == "landscapes":
        # dq_landscapes_64 learns from LPIPS, which takes more than nine tenths of a step on two
        # cores, and from the network of FD-AlexNet, the ruler here. So this is the DQ-VAE of
        # Fashion-MNIST with one level more: codes of 8 x 8 pixels, and of 4 x 4 in half of the
        # regions.
        dynamic = replace(dynamic, model=replace(dynamic.model, multipliers=(1, 1, 1)))
        dq_transformer = replace(dq_transformer, training=replace(dq_transformer.training, batch_size=16))
        few_steps = {"steps": 16}  # 500 samples of 16 x 16 codes in 100 steps take a core 25 minutes

    def prior(config: CodePriorConfig, autoencoder: AutoencoderRunConfig) -> CodePriorConfig:
        codes = replace(config.codes, run="", num_classes=10 if data == "fashion" else 0)
        return replace(config, data=model.data, codes=codes, autoencoder=autoencoder)

    return [
        Contender("dctransformer", (model,)),
        Contender("window", (grid, prior(window, grid))),
        Contender("sundae", (grid, prior(sundae, grid)), few_steps),
        Contender("dq_transformer", (dynamic, prior(dq_transformer, dynamic))),
    ]


def trials(contender: Contender) -> list[Choice]:
    """Returns five choices that the search tries."""
    if len(contender.stages) == 1:
        return [Choice(rate, 1.0) for rate in (0.5, 0.7, 1.0, 1.4, 2.0)]
    return [Choice(), Choice(0.5), Choice(2.0), Choice(share=0.35), Choice(share=0.65)]


def sampler_trials(contender: Contender) -> list[dict[str, float]]:
    """Returns five settings of its sampler, by name, that are tried: first its own, unless these
    take too long in the search already."""
    if isinstance(contender.stages[-1], SundaeConfig):
        first: dict[str, float] = {"steps": 16, "temperature": 0.9} if contender.settings else {}
        return [first, {"steps": 32}, {"steps": 16}, {"steps": 16, "temperature": 1.0}, {"steps": 10}]
    return [{}, *({"temperature": one} for one in (0.95, 0.9, 0.8, 0.7))]


def plan(contender: Contender, choice: Choice, minutes: float, speeds: Sequence[float], seed: int) -> list[RunConfig]:
    """Returns the configurations of a contender's runs, whose steps fit into the minutes.

    Args:
        contender: whose stages they are.
        choice: learning rates and share.
        minutes: of all its stages together.
        speeds: seconds a step of each stage.
        seed: of all runs.
    """
    shares = [1.0] if len(contender.stages) == 1 else [choice.share, 1 - choice.share]
    plans = []
    for stage, share, speed in zip(contender.stages, shares, speeds):
        steps = max(8, round(60 * minutes * share / speed))
        before = stage.training
        training = replace(
            before,
            steps=steps,
            warmup_steps=min(before.warmup_steps, steps // 8),
            learning_rate=choice.rate * before.learning_rate,
            muon_learning_rate=choice.rate * before.muon_learning_rate,
            evaluate_every=max(1, steps // 4),
            checkpoint_every=max(1, steps // 8),
            track=(),
        )
        if isinstance(stage, VQGANConfig):  # the discriminator starts at the same place among the steps, or never
            start = min(1.0, stage.loss.adversarial_start / before.steps)
            stage = replace(stage, loss=replace(stage.loss, adversarial_start=int(start * steps)))
        plans.append(replace(stage, training=training, seed=seed))
    return plans


@dataclass(frozen=True)
class Cell:
    """A contender that is trained, with one choice and one seed.

    Attributes:
        plans: the configurations of its stages.
        folder: of the run that samples. Its autoencoder, if it has one, lies in a folder that is
            named by the autoencoder's configuration.
    """

    plans: tuple[RunConfig, ...]
    folder: Path

    @property
    def diverged(self) -> bool:
        """Whether the loss of one of its stages was not finite."""
        return any((folder / DIVERGED).exists() for folder in self.folders)

    @property
    def folders(self) -> list[Path]:
        """The folders of the stages."""
        if len(self.plans) == 1:
            return [self.folder]
        return [self.folder.parent / f"{self.plans[0].system}_{digest_of(self.plans[0])}", self.folder]


def digest_of(config: RunConfig) -> str:
    """Returns a short text that differs for other configurations."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:12]
