"""What all feature networks share: pictures of any sizes in, batches of features out."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network with its weights.

    Attributes:
        name: of the network.
        fingerprint: of weights and preparation: it determines the features, up to rounding.
        dimensions: features -> how many numbers; "pool" is always among them.
        distances: features -> what the Frechet distance of these features is called.
        prepare: uint8 [H, W, 3] -> float32 [S, S, 3], in NumPy.
        apply: variables, float32 [B, S, S, 3] -> features, float32 [B, D] each; a JAX program.
        variables: what `apply` needs, on the device.
        notes: what a reader of the numbers should know, a line each.
    """

    name: str
    fingerprint: str
    dimensions: Mapping[str, int]
    distances: Mapping[str, str]
    prepare: Callable[[np.ndarray], np.ndarray]
    apply: Callable[[Any, Any], Any]
    variables: Any
    notes: tuple[str, ...] = ()

    def extract(self, images: Iterable[np.ndarray], batch_size: int = 50) -> Iterator[Features]:
        """The features of pictures, in their order, a batch at a time.

        Args:
            images: uint8 [H, W, 3], of any sizes. They are read while the device works on others.
            batch_size: 1 or more; the last batch is filled up with black for the device, so there
                is one program.

        Yields:
            float32 [b, D] for each name in `dimensions`, with b = batch_size except at the end.

        Raises:
            ValueError: if a picture has another shape or dtype.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        program = jax.jit(self.apply)
        waiting: list[tuple[int, Mapping[str, jax.Array]]] = []
        for rows in _batches((self._prepare(i, image) for i, image in enumerate(images)), batch_size):
            batch = np.zeros((batch_size, *rows[0].shape), np.float32)
            batch[: len(rows)] = rows
            waiting.append((len(rows), program(self.variables, batch)))
            if len(waiting) > 1:
                yield _fetch(*waiting.pop(0))
        for number, features in waiting:
            yield _fetch(number, features)

    def _prepare(self, index: int, image: np.ndarray) -> np.ndarray:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"picture {index} is {image.dtype} {list(image.shape)}; it must be uint8 [height, width, 3]")
        return self.prepare(image)


def fingerprint(kind: str, weights: Mapping[str, np.ndarray]) -> str:
    """A hash of arrays and their names.

    Args:
        kind: names the network and the way in which it prepares pictures.
        weights: name -> array.
    """
    digest = hashlib.sha256(kind.encode())
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _batches(rows: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _fetch(number: int, features: Mapping[str, jax.Array]) -> Features:
    return {name: np.asarray(array[:number], np.float32) for name, array in features.items()}
