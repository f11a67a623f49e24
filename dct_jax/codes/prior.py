"""TrainedCodePrior: a prior over codes with all that it needs to make pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.codes.config import LEVELS, CodePriorConfig
from dct_jax.codes.tokens import from_codes, to_codes
from dct_jax.config import LARGEST_IMAGE, meaning
from dct_jax.data.pictures import Pictures
from dct_jax.evaluation.prior import GuidedSamples
from dct_jax.evaluation.settings import changed_settings
from dct_jax.training.arguments import check_integers, check_label, check_seed
from dct_jax.training.batches import pictures_at_a_time, run_in_batches, split
from dct_jax.training.classes import find_class, random_label
from dct_jax.training.stage import Trained

LONGEST_HISTORY = 1001
"""States of a history, at most: all of them are in memory at once."""


class Sampled(NamedTuple):
    """Sampled grids.

    Attributes:
        codes: int32 [N, h, w].
        steps: int32 [N], how many steps each took; None if the prior has no steps.
        history: int32 [room, N, h, w], the start and what each step left, if that was asked for.
            Rows after the last step repeat what it left.
    """

    codes: np.ndarray
    steps: np.ndarray | None = None
    history: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TrainedCodePrior(Trained):
    """A prior over codes, and the autoencoder whose codes they are. It is an `evaluation.Prior`;
    its own class has the ways of sampling.

    Attributes:
        policy: how grids are sampled, a policy of the prior's kind; see `with_settings`.
        limit_of_known: what known codes cannot do, in words; "" if they guide all others.
        has_one_grid: whether all samples have the grid of training.
    """

    config: CodePriorConfig
    policy: Any = None
    limit_of_known: ClassVar[str] = ""
    has_one_grid: ClassVar[bool] = False

    @cached_property
    def network(self) -> nn.Module:
        """The Flax module."""
        return self.config.network()

    def sample(
        self,
        numbers: Sequence[int],
        seed: int,
        labels: Sequence[int],
        grid: tuple[int, int],
        known: tuple[np.ndarray, np.ndarray] | None = None,
        room: int = 0,
    ) -> Sampled:
        """Samples grids of codes at once, by the model's policy.

        Args:
            numbers: of the samples, N: sample i of a seed does not depend on the others.
            seed: of the samples.
            labels: int [N].
            grid: (h, w) codes.
            known: codes, int32 [N, h, w], and where they stay as they are, bool [N, h, w].
            room: the length of the history, `states` or more; 0 for none. Another room needs
                another program. A prior without states has no history.
        """
        raise NotImplementedError

    @property
    def states(self) -> int:
        """How many states a grid goes through at most: the start, and one after each step. 0 if
        each code is sampled once."""
        return 0

    @property
    def settings(self) -> dict[str, Any]:
        """The policy's settings by name."""
        return {one.name: getattr(self.policy, one.name) for one in fields(self.policy)}

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Returns the model with other settings of its policy.

        Args:
            settings: by name, a number or several in a tuple. One number stands for all of a
                setting that has several.

        Raises:
            ValueError: if the policy has no setting of a name, or a value does not fit.
        """
        return replace(self, policy=replace(self.policy, **changed_settings(self.config.system, self.settings, settings)))

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises ValueError if the model cannot sample (h, w) codes."""
        (height, width), f = grid, self.config.downsampling
        if min(grid) < 1 or height * width * f**2 > LARGEST_IMAGE:
            raise ValueError(
                f"the grid is {height} x {width} codes; both sides must be 1 or more, and its picture must have at most "
                f"{LARGEST_IMAGE} pixels"
            )

    def sample_batches(
        self,
        num: int,
        seed: int,
        labels: Sequence[int],
        batch_size: int,
        grid: tuple[int, int] | None = None,
        known: tuple[np.ndarray, np.ndarray] | None = None,
        shown: int = 0,
    ) -> Iterator[tuple[Sequence[int], Sampled]]:
        """Samples grids by the model's policy, some at a time.

        Args:
            num: how many grids.
            seed: of the samples.
            labels: sample i has label i modulo their number. Random ones if there are none.
            batch_size: how many grids at a time. The last batch is filled up, so one program serves
                all.
            grid: (h, w) codes; those of training by default.
            known: codes, int32 [h, w], and where they stay as they are, bool [h, w].
            shown: so many of the first grids, and what is sampled together with them, come with
                a history.

        Returns:
            An iterator over the numbers of a batch, and its grids.

        Raises:
            ValueError: if num or the batch size is not positive, the seed or a label is out of
                range, the grid cannot be sampled, or there can be no history of it.
        """
        if shown and not self.states:
            raise ValueError(f"a {self.config.system} samples each code once; it has no history")
        if shown and self.states > LONGEST_HISTORY:
            raise ValueError(f"steps is {self.states - 1}; with a history it must be at most {LONGEST_HISTORY - 1}")
        check_integers(1, num=num, batch_size=batch_size)
        check_seed(seed)
        classes = self.config.codes.num_classes
        for label in labels:
            check_label(label, max(0, classes - 1), classes)
        grid, rows = grid or self.config.grid, min(batch_size, num)
        self.check_grid(grid)
        all_labels = [labels[i % len(labels)] if labels else self.random_label(seed, i) for i in range(num)]
        given = None if known is None else (np.broadcast_to(known[0], (rows, *grid)), np.broadcast_to(known[1], (rows, *grid)))

        def sample(part: Sequence[int]) -> tuple[Sequence[int], Sampled]:
            numbers = [*part, *[part[-1]] * (rows - len(part))]
            room = self.states if part[0] < shown else 0
            found = self.sample(numbers, seed, [all_labels[i] for i in numbers], grid, given, room)
            steps = None if found.steps is None else found.steps[: len(part)]
            history = None if found.history is None else found.history[:, : len(part)]
            return part, Sampled(found.codes[: len(part)], steps, history)

        return map(sample, split(range(num), rows))

    @property
    def block_size(self) -> int:
        """Returns f."""
        return self.config.downsampling

    def sample_pictures(self, num: int, seed: int, labels: Sequence[int], batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields samples of the model's policy: the number of each, and uint8 [H, W, 3]."""
        for part, sampled in self.sample_batches(num, seed, labels, batch_size):
            yield from zip(part, self.decode(sampled.codes))

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Turns pictures, uint8 [N, H, W, 3], into codes, int32 [N, h, w].

        Raises:
            ValueError: if the autoencoder's divisor does not divide H and W, and it does not pad
                them.
        """
        _, height, width, _ = pictures.shape
        if self.config.autoencoder:
            self.config.autoencoder.check_sides(f"the pictures have {height} x {width} pixels", (height, width))
        program = partial(_encode, self.config, self._autoencoder)
        return np.concatenate(list(run_in_batches(program, pictures, pictures_at_a_time(*pictures.shape[:3]))))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns codes, int [N, h, w] of any h and w, into pictures, uint8 [N, H, W, 3]. Codes of a
        crop become a picture of its size.

        Raises:
            ValueError: if no picture has such codes.
        """
        self.config.check_codes(codes)
        pictures, (height, width) = self._decode_whole(codes), self.config.data.image_size
        return pictures[:, :height, :width] if codes.shape[1:] == self.config.grid else pictures

    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        """Returns what the codes leave of a picture, uint8 [H, W, 3]."""
        return self._decode_whole(self.encode(picture[None]))[0, : picture.shape[0], : picture.shape[1]]

    def guided_pictures(self, held_out: Pictures, seed: int, batch_size: int) -> GuidedSamples | None:
        """Returns None: a part of a picture is not given in evaluations."""
        return None

    def inner(self) -> Trained | None:
        """Returns the autoencoder; None for pixels."""
        config = self.config.autoencoder
        return None if config is None else config.build().trained(self._autoencoder, self.sizes, ())

    def label(self, name: str | int) -> int:
        """Returns the label of a class, given its name or its number.

        Raises:
            ValueError: if there is no such class; the message offers the nearest names.
        """
        return find_class(name, self.classes, self.config.codes.num_classes)

    def class_name(self, label: int) -> str:
        """Returns the name of a class, or its number if it has none."""
        return self.classes[label] if self.classes else str(label)

    def random_label(self, seed: int, number: int) -> int:
        """Chooses the class of sample `number` of a seed at random; 0 without classes."""
        return random_label(seed, number, self.config.codes.num_classes)

    def _decode_whole(self, codes: np.ndarray) -> np.ndarray:
        """Turns codes, int [N, h, w], into pictures, uint8 [N, f h, f w, 3]."""
        program, f = partial(_decode, self.config, self._autoencoder), self.config.downsampling
        size = pictures_at_a_time(len(codes), f * codes.shape[1], f * codes.shape[2])
        return np.concatenate(list(run_in_batches(program, codes, size)))

    @property
    def _autoencoder(self) -> Any:
        return self.variables.get("autoencoder", {})

    def _meaning(self) -> list[Any]:
        """What the variables compute. How the autoencoder was trained does not matter."""
        inner = self.config.autoencoder
        codes = [inner.system, meaning(inner.quantizer), meaning(inner.sizes)] if inner else LEVELS
        own = meaning(self.config.sizes)
        return [self.config.system, codes, self.config.codes.num_classes, own, self.config.data.image_size]


@partial(jax.jit, static_argnums=0)
def _encode(config: CodePriorConfig, autoencoder: Any, pictures: jax.Array) -> jax.Array:
    return to_codes(config, autoencoder, pictures)


@partial(jax.jit, static_argnums=0)
def _decode(config: CodePriorConfig, autoencoder: Any, codes: jax.Array) -> jax.Array:
    return from_codes(config, autoencoder, jnp.asarray(codes, jnp.int32))
