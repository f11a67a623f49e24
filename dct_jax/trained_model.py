"""TrainedModel: a configuration and parameters, ready to sample and to judge lists."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.config import Config
from dct_jax.data.pipeline import example_batch
from dct_jax.evaluation.likelihood import list_log_prob
from dct_jax.model import DCTransformer, network
from dct_jax.sampling.policy import Policy
from dct_jax.sampling.sampler import sample_lists
from dct_jax.training.checkpoints import Checkpoints


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A DCTransformer with its parameters.

    Attributes:
        config: of the run that made it.
        params: the network's parameters.
        sizes: which sizes the training pictures had, and how often: (H, W, count), in pixels.
    """

    config: Config
    params: Any
    sizes: tuple[tuple[int, int, int], ...]

    @property
    def codec(self) -> DCTCodec:
        """Between this model's lists and images."""
        return self.config.codec

    @property
    def network(self) -> DCTransformer:
        """The Flax module; `network.apply(params, ...)` runs it."""
        return network(self.config)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters and of what they mean, in hexadecimal digits: models of one fingerprint are the same."""
        config = self.config.to_dict()
        meaning = [config["codec"], config["model"], config["data"]["image_size"]]
        digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            array = np.asarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path, simple=True)} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    @classmethod
    def init(cls, config: Config, seed: int = 0) -> "TrainedModel":
        """An untrained model."""
        params = jax.jit(network(config).init)(jax.random.key(seed), example_batch(config))
        return cls(config, params, ((*config.data.image_size, 1),))

    def sample(
        self,
        num: int,
        seed: int = 0,
        policy: Policy = Policy(),
        label: int | Sequence[int] = 0,
        batch_size: int = 16,
        size: tuple[int, int] | None = None,
        first: int = 0,
    ) -> list[SparseDCT]:
        """Draws lists; `codec.decode` turns them into images.

        Args:
            num: how many.
            seed: sample i of a seed is the same whatever num, the batch size and `first`.
            policy: temperature, top-k and top-p for each symbol.
            label: the class, or those of the samples by turns, for a class-conditional model.
            batch_size: how many to draw at a time.
            size: (H, W) of the images; None draws one for each from the training pictures' sizes.
            first: the number i of the first one.

        Raises:
            ValueError: if num or the batch size is not positive, the model has no such class, or the size does not fit.
        """
        if num < 1 or batch_size < 1:
            raise ValueError(f"num is {num} and batch_size is {batch_size}; both must be 1 or more")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed}; it must be from 0 to 2^32 - 1")
        by_turns = np.atleast_1d(np.asarray(label, np.int32))
        for one in by_turns.tolist():
            self.check_label(one)
        rows, lists = min(batch_size, num), []
        for start in range(first, first + num, rows):
            numbers = np.arange(start, start + rows)
            blanks = [self.blank(size or self._drawn_size(seed, i)) for i in numbers.tolist()]
            labels = by_turns[numbers % len(by_turns)]
            lists += sample_lists(self.network, self.params, blanks, labels, seed, policy, start)[0]
        return lists[:num]

    def log_prob(self, lists: Sequence[SparseDCT], labels: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """Log-likelihood of each whole list, over all of its chunks.

        Args:
            lists: N lists of this model's codec and image size.
            labels: the class of each, for a class-conditional model.

        Returns:
            {"channel", "position", "value"}: float64 [N], in nats, with the stopping token in "channel".

        Raises:
            ValueError: if a list is not one that the model could have drawn, or the labels do not fit.
        """
        classes = self.config.model.num_classes
        if labels is None and classes:
            raise ValueError(f"the model has {classes} classes; log_prob needs the label of each list")
        given = np.zeros(len(lists), int) if labels is None else np.asarray(labels, int)
        if given.shape != (len(lists),) or not ((given >= 0) & (given < max(classes, 1))).all():
            raise ValueError(f"labels are {given.tolist()}; there must be {len(lists)} from 0 to {max(classes, 1) - 1}")
        for i, sparse in enumerate(lists):
            self.check_list(sparse, f"list {i}")
        return list_log_prob(self.network, self.params, lists, given)._asdict()

    def blank(self, size: tuple[int, int]) -> SparseDCT:
        """The list without triples of an image of (H, W) pixels.

        Raises:
            ValueError: if the model's canvas is too small for it, or the model has seen no other size than its canvas.
        """
        blank, canvas = SparseDCT.empty(size, self.codec), self.network.vocabulary.grid
        most = " x ".join(str(side * self.codec.block_size) for side in canvas)
        if any(ours > theirs for ours, theirs in zip(blank.grid, canvas)):
            raise ValueError(f"the size is {size[0]} x {size[1]} pixels; this model draws images of up to {most}")
        if self.config.data.fit == "crop" and blank.grid != canvas:
            raise ValueError(
                f"the size is {size[0]} x {size[1]} pixels; this model has seen images of {most} alone; one that is trained "
                "with --data.fit whole draws others, too"
            )
        return blank

    def check_label(self, label: int) -> None:
        """Raises ValueError if the model has no such class."""
        if not 0 <= label < max(self.config.model.num_classes, 1):
            raise ValueError(f"label is {label}; the model has {self.config.model.num_classes} classes")

    def check_list(self, sparse: SparseDCT, name: str = "the list") -> None:
        """Raises ValueError, which names the list, if it is not one that the model could have drawn."""
        if sparse.codec != self.codec:
            raise ValueError(f"{name} has the codec {sparse.codec}, the model {self.codec}; see DCTCodec.requantize")
        try:
            sparse.validate(self.network.vocabulary)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _drawn_size(self, seed: int, index: int) -> tuple[int, int]:
        """The size of sample `index`, drawn from the training pictures' sizes."""
        counts = np.array([count for *_, count in self.sizes])
        chosen = np.random.default_rng((seed, index)).choice(len(counts), p=counts / counts.sum())
        return self.sizes[chosen][:2]


def load(run: str | Path) -> TrainedModel:
    """The best checkpoint of a run's folder.

    Raises:
        ValueError: if there is no checkpoint, or it cannot be read.
    """
    folder = Path(run) / "checkpoints"
    if not folder.is_dir():
        raise ValueError(f"{run}: there is no run here (no folder {folder}); train one, or name its folder")
    checkpoints = Checkpoints(folder)
    try:
        step = checkpoints.best()
        if step is None:
            raise ValueError(f"{folder}: there is no checkpoint yet")
        config = checkpoints.config(step)
        shapes = jax.eval_shape(network(config).init, jax.random.key(0), example_batch(config))
        return TrainedModel(config, checkpoints.params(step, shapes), checkpoints.sizes(step))
    finally:
        checkpoints.close()
