"""TrainedCodePrior: a prior over codes with all that it needs to make pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codes.config import LEVELS, CodePriorConfig
from dct_jax.codes.tokens import from_codes, to_codes
from dct_jax.config import meaning
from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.prior import GuidedSamples
from dct_jax.training.classes import find_class
from dct_jax.training.stage import Trained

AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class TrainedCodePrior(Trained):
    """A prior over codes, and the autoencoder whose codes they are. It is an `evaluation.Prior`;
    its own class has the ways of sampling."""

    config: CodePriorConfig

    def sample_grids(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        policy: Any,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Samples grids of codes at once.

        Args:
            numbers: of the samples, N: sample i of a seed does not depend on the others.
            seed: of the samples.
            labels: int [N].
            grid: (h, w) codes.
            policy: how to sample; of the kind of the prior.
            known: codes, int32 [N, h, w], and where they stay as they are, bool [N, h, w].

        Returns:
            int32 [N, h, w].
        """
        raise NotImplementedError

    @property
    def default_policy(self) -> Any:
        """How to sample, if nobody says it."""
        raise NotImplementedError

    @property
    def block_size(self) -> int:
        """Returns f."""
        return self.config.downsampling

    def sample_pictures(self, num: int, seed: int, labels: Sequence[int], batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields samples of the default policy: the number of each, and uint8 [H, W, 3]."""
        for part in split(range(num), batch_size):
            of_part = [labels[i % len(labels)] for i in part]
            yield from zip(part, self.decode(self.sample_grids(part, seed, of_part, self.config.grid, self.default_policy)))

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Turns pictures, uint8 [N, H, W, 3], into codes, int32 [N, h, w].

        Raises:
            ValueError: if f does not divide H and W, and the autoencoder does not pad them.
        """
        f, autoencoder = self.config.downsampling, self.config.autoencoder
        pads = autoencoder is not None and autoencoder.sizes.sides == "pad"
        if not pads and (pictures.shape[1] % f or pictures.shape[2] % f):
            raise ValueError(f"the pictures have {pictures.shape[1]} x {pictures.shape[2]} pixels; {f} must divide both sides")
        return run_in_batches(partial(_encode, self.config, self._autoencoder), pictures)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns codes, int [N, h, w] of any h and w, into pictures, uint8 [N, H, W, 3]. Codes of a
        crop become a picture of its size.

        Raises:
            ValueError: if there is no such code.
        """
        k = self.config.num_codes
        if codes.size and not (0 <= codes.min() and codes.max() < k):
            raise ValueError(f"the codes go from {codes.min()} to {codes.max()}; this model has 0 to {k - 1}")
        pictures = run_in_batches(partial(_decode, self.config, self._autoencoder), codes)
        height, width = self.config.data.image_size
        return pictures[:, :height, :width] if codes.shape[1:] == self.config.grid else pictures

    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        """Returns what the codes leave of a picture, uint8 [H, W, 3]."""
        return self.decode(self.encode(picture[None]))[0, : picture.shape[0], : picture.shape[1]]

    def guided_pictures(self, held_out: Pictures, seed: int, batch_size: int) -> GuidedSamples | None:
        """Returns None: a part of a picture is not given in evaluations."""
        return None

    def label(self, name: str) -> int:
        """Returns the label of a class, given its name or its number.

        Raises:
            ValueError: if there is no such class; the message offers the nearest names.
        """
        return find_class(name, self.classes, self.config.codes.num_classes)

    def random_label(self, seed: int, number: int) -> int:
        """Chooses the class of sample `number` of a seed at random; 0 without classes."""
        return int(np.random.default_rng((seed, number, 1)).integers(max(self.config.codes.num_classes, 1)))

    @property
    def _autoencoder(self) -> Any:
        return self.variables.get("autoencoder", {})

    def _meaning(self) -> list[Any]:
        """What the variables compute. How the autoencoder was trained does not matter."""
        inner = self.config.autoencoder
        of_codes = [inner.system, meaning(inner.quantizer), meaning(inner.sizes)] if inner else LEVELS
        own = self.config.__dict__["model"]
        return [self.config.system, of_codes, self.config.codes.num_classes, meaning(own), self.config.data.image_size]


def split(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yields parts of a sequence, of `size` numbers each but the last."""
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


def run_in_batches(program: Any, rows: np.ndarray, size: int = AT_A_TIME) -> np.ndarray:
    """Runs a program on rows [N, ...], N >= 1. The last batch is filled up, so one program serves
    all."""
    size, parts = min(size, len(rows)), []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        parts.append(np.asarray(program(np.resize(part, (size, *part.shape[1:]))))[: len(part)])
    return np.concatenate(parts)


@partial(jax.jit, static_argnums=0)
def _encode(config: CodePriorConfig, autoencoder: Any, pictures: jax.Array) -> jax.Array:
    return to_codes(config, autoencoder, pictures)


@partial(jax.jit, static_argnums=0)
def _decode(config: CodePriorConfig, autoencoder: Any, codes: jax.Array) -> jax.Array:
    return from_codes(config, autoencoder, jnp.asarray(codes, jnp.int32))
