"""TrainedAutoencoder: pictures -> codes -> pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import jax
import numpy as np

from dct_jax.training.batches import pictures_at_a_time, run_in_batches
from dct_jax.training.stage import Trained
from dct_jax.vq.config import AutoencoderRunConfig
from dct_jax.vq.network import Autoencoder, to_float, to_uint8


@dataclass(frozen=True, eq=False)
class TrainedAutoencoder(Trained):
    """An autoencoder with its weights and its codebook."""

    config: AutoencoderRunConfig

    @cached_property
    def network(self) -> Autoencoder:
        """The Flax module; `network.apply(variables, ...)` runs it."""
        return self.config.network()

    def tokenize(self, pictures: np.ndarray, batch_size: int | None = None) -> Iterator[np.ndarray]:
        """Turns pictures, uint8 [N, H, W, 3], into codes, int32 [n, h, w], batch by batch.

        Args:
            pictures: to turn into codes, which do not depend on the other pictures.
            batch_size: pictures at a time; fewer are filled up. By default, as many as
                `pictures_at_a_time` says.

        Raises:
            ValueError: if the divisor does not divide H and W, and the configuration does not pad
                them.
        """
        _, height, width, _ = pictures.shape
        self.config.check_sides(f"the pictures have {height} x {width} pixels", (height, width))
        program = partial(_to_codes, self.network, self.variables)
        return run_in_batches(program, pictures, batch_size or pictures_at_a_time(*pictures.shape[:3]))

    def detokenize(self, codes: np.ndarray, batch_size: int | None = None) -> Iterator[np.ndarray]:
        """Turns codes, int [N, h, w] of any h and w, into pictures, uint8 [n, f h, f w, 3], batch
        by batch. Where training pads crops, the codes of a crop become a picture of its size.

        Args:
            codes: to turn into pictures.
            batch_size: as of `tokenize`.

        Raises:
            ValueError: if codes are none of this autoencoder's.
        """
        self.config.check_codes(codes)
        crop = self.config.data.image_size if codes.shape[1:] == self.config.grid else None
        return self._decode(codes, batch_size, crop)

    def reconstruct(self, pictures: np.ndarray, batch_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Turns pictures, uint8 [N, H, W, 3] with N >= 1, into codes, int32 [N, h, w], and these
        into pictures, uint8 [N, H, W, 3]; `batch_size` is that of `tokenize`."""
        _, height, width, _ = pictures.shape
        codes = np.concatenate(list(self.tokenize(pictures, batch_size)))
        return codes, np.concatenate(list(self._decode(codes, batch_size, (height, width))))

    def _decode(self, codes: np.ndarray, batch_size: int | None, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
        """Makes pictures of codes, and cuts them to (H, W) if it is given."""
        height, width = size or (None, None)
        number, rows, columns = codes.shape
        f = self.config.sizes.downsampling
        batch_size = batch_size or pictures_at_a_time(number, f * rows, f * columns)
        program = partial(_from_codes, self.network, self.variables)
        return (part[:, :height, :width] for part in run_in_batches(program, codes, batch_size))


@partial(jax.jit, static_argnums=0)
def _to_codes(network: Autoencoder, variables: Any, pictures: jax.Array) -> jax.Array:
    return cast(jax.Array, network.apply(variables, to_float(pictures), method="to_codes"))


@partial(jax.jit, static_argnums=0)
def _from_codes(network: Autoencoder, variables: Any, codes: jax.Array) -> jax.Array:
    return to_uint8(cast(jax.Array, network.apply(variables, codes, method="from_codes")))
