"""TrainedModel: a DCTransformer with its parameters. It samples lists and judges them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.config import MOST_SEEDS
from dct_jax.data.pictures import Pictures
from dct_jax.dct.config import DCTConfig, Dtype
from dct_jax.dct.likelihood import list_log_prob
from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.reader import ChunkReader
from dct_jax.dct.sampling.conditioning import dcs_first
from dct_jax.dct.sampling.lists import Sample, Start, ended_samples, sample_lists
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.steering import starts_of, to_restore
from dct_jax.evaluation.prior import GuidedSamples
from dct_jax.evaluation.settings import changed_settings
from dct_jax.nn.initial import initial_params
from dct_jax.training.arguments import check_integers, check_label, check_seed
from dct_jax.training.classes import find_class, random_label
from dct_jax.training.stage import Trained


@dataclass(frozen=True, eq=False)
class TrainedModel(Trained):
    """A DCTransformer with its parameters; `network.apply(variables, ...)` runs it. It is an
    `evaluation.Prior`.

    Attributes:
        policy: how triples are sampled where nothing else is said; see `with_settings`.
    """

    config: DCTConfig
    policy: Policy = dataclasses.field(default_factory=Policy)

    @property
    def codec(self) -> DCTCodec:
        """Returns the codec between this model's lists and images."""
        return self.config.codec

    @cached_property
    def network(self) -> DCTransformer:
        """Returns the Flax module."""
        return network(self.config)

    def with_dtype(self, dtype: str) -> "TrainedModel":
        """Returns this model with weights, activations and caches in another dtype, "float32" or
        "bfloat16". In bfloat16 it needs half of the memory, and probabilities change a little."""
        model = dataclasses.replace(self.config.model, dtype=cast(Dtype, dtype))  # which it checks
        config = dataclasses.replace(self.config, model=model)
        return dataclasses.replace(super().with_dtype(dtype), config=config)

    @property
    def settings(self) -> dict[str, Any]:
        """The policy's settings by name, as `Policy.of` takes them."""
        return self.policy.settings

    def with_settings(self, settings: Mapping[str, Any]) -> "TrainedModel":
        """Returns the model with other settings of its policy.

        Args:
            settings: by name; a number, or three: of channel, position and value.

        Raises:
            ValueError: if the policy has no setting of a name, a value does not fit, or the model
                has no hidden classes and there is guidance.
        """
        policy = Policy.of(**changed_settings(self.config.system, self.settings, settings))
        if policy.guidance is not None:
            self._check_hides("guidance")
        return dataclasses.replace(self, policy=policy)

    @classmethod
    def init(cls, config: DCTConfig, seed: int = 0) -> "TrainedModel":
        """Returns an untrained model."""
        variables = initial_params(network(config), ChunkReader(config).example(), seed=seed)
        return cls(config, variables, ((*config.data.image_size, 1),))

    def sample(
        self,
        num: int,
        seed: int = 0,
        policy: Policy | None = None,
        label: int | Sequence[int] | None = None,
        batch_size: int = 16,
        size: tuple[int, int] | None = None,
        first: int = 0,
        quality: int | None = None,
    ) -> list[SparseDCT]:
        """Samples lists; `decode` of a list's `codec` turns it into an image. `sample_from` has
        more to choose.

        Args:
            num: how many lists.
            seed: sample i of a seed does not depend on num, the batch size and `first`, up to
                rounding, which may rarely turn a choice.
            policy: temperature, top-k and top-p for each symbol; by default the model's.
            label: the class, or those of the samples by turns, for a class-conditional model; None
                chooses a random one for each.
            batch_size: how many lists grow at a time.
            size: (H, W) of the images; None chooses a random one of the training pictures' sizes.
            first: the number i of the first sample.
            quality: one of the qualities that the model knows; None stands for the codec's.

        Raises:
            ValueError: if num or the batch size is not positive, a sample's number is 2^32 or more,
                the model has no such class or quality, or the size does not fit.
        """
        labels: Any = label
        if label is not None:
            labels = [labels] if isinstance(labels, str) or np.ndim(labels) == 0 else list(labels)
        starts = self.starts(num, seed, labels, size, first, quality)
        samples = ended_samples(self.sample_from(starts, seed, policy, batch_size))
        return [one.sparse for one in sorted(samples, key=lambda one: one.start.number)]

    def starts(
        self,
        num: int,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
        first: int = 0,
        quality: int | None = None,
    ) -> list[Start]:
        """Returns the starts of samples to which nothing is given.

        Args:
            num: how many starts.
            seed: the seed of the samples.
            labels: those of the samples by turns; None chooses random ones, if there are classes.
            size: (H, W) of the images; None chooses a random one of the training pictures' sizes.
            first: the number of the first sample.
            quality: one of the qualities that the model knows; None stands for the codec's.

        Raises:
            ValueError: if num is not positive, the seed is out of range, the size does not fit, or
                the model has no such class or does not know the quality.
        """
        check_integers(1, num=num)
        check_integers(0, first=first)
        check_seed(seed)
        for label in labels or ():
            self.check_label(label)
        return [
            Start(
                i,
                self.blank(self._random_size(seed, i) if size is None else size, quality),
                labels[i % len(labels)] if labels else self.random_label(seed, i),
            )
            for i in range(first, first + num)
        ]

    def random_label(self, seed: int, number: int) -> int:
        """Chooses the class of sample `number` of a seed at random; 0 without classes."""
        return random_label(seed, number, self.config.model.num_classes)

    def sample_from(
        self,
        starts: Sequence[Start],
        seed: int = 0,
        policy: Policy | None = None,
        batch_size: int = 16,
        limit: int | None = None,
    ) -> Iterator[list[Sample]]:
        """Samples lists that begin with anything; `batch_size` of them grow at a time.

        Args:
            starts: `self.starts`, or prefixes from `dct_jax.dct.sampling.conditioning`.
            seed: a sample depends on the seed, its start and the policy, and up to rounding on no
                other sample.
            policy: how symbols are sampled; by default as the model's policy says.
            batch_size: how many lists grow at a time.
            limit: lists are cut off at so many triples.

        Yields:
            After each chunk, all samples that got triples or ended, in whatever state.

        Raises:
            ValueError: if the batch size or the limit is not positive, a start's number has more
                than 32 bits, its list is not one of this model's or longer than the limit, a label
                does not exist, or the policy has guidance and a start no class or the model no
                hidden ones.
        """
        policy = policy or self.policy
        check_integers(1, batch_size=batch_size)
        check_seed(seed)
        if limit is not None and limit < 1:
            raise ValueError(f"the limit is {limit} triples; it must be 1 or more")
        if policy.guidance is not None:
            self._check_hides("guidance")
            if any(start.label == self.config.model.num_classes for start in starts):
                raise ValueError(f"guidance is {policy.guidance} and the class is hidden; guidance needs a class: name one")
        for start in starts:
            if not 0 <= start.number < MOST_SEEDS:
                raise ValueError(f"a sample has the number {start.number}; numbers of samples are from 0 to 2^32 - 1")
            self.check_label(start.label)
            self.check_size(start.given.size)
            self.check_list(start.given, f"what sample {start.number} begins with")
            if limit is not None and len(start.given) > limit:
                raise ValueError(f"what is given has {len(start.given)} triples, more than the limit of {limit}")
        rows = min(batch_size, len(starts))
        return sample_lists(self.network, self.variables, starts, seed, policy, rows, limit)

    @property
    def block_size(self) -> int:
        """Returns B."""
        return self.codec.block_size

    def sample_pictures(self, num: int, seed: int, labels: Sequence[int], batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields samples of the model's policy as they end: the number of each, and uint8 [H, W,
        3]."""
        for one in ended_samples(self.sample_from(self.starts(num, seed, labels), seed, batch_size=batch_size)):
            yield one.start.number, one.sparse.codec.decode(one.sparse)

    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        """Returns what the codec leaves of a picture, uint8 [H, W, 3]."""
        return self.codec.decode(self.codec.encode(picture))

    def guided_pictures(self, held_out: Pictures, seed: int, batch_size: int) -> GuidedSamples | None:
        """Samples pictures from the small pictures of held-out ones, if the channel order allows
        it. Their classes are hidden if the model was trained so, and there is no guidance then."""
        if not dcs_first(self.codec):
            return None
        given = [to_restore(self, held_out[i]) for i in range(len(held_out))]
        starts = starts_of(self, [one.prefix for one in given], 1, seed)
        policy = dataclasses.replace(self.policy, guidance=None)
        samples = ended_samples(self.sample_from(starts, seed, policy, batch_size))
        return GuidedSamples(
            "upsampled",
            ((one.start.number, one.sparse.codec.decode(one.sparse), one.keeps_given) for one in samples),
            ("their input, enlarged", [one.shown for one in given]),
            "upsampled_with_the_given_coefficients",
        )

    def label(self, name: str | int) -> int:
        """Returns the label of a class, given its name or its number. "none" hides the class; if a
        class has that name, the number of classes hides it.

        Raises:
            ValueError: if there is no such class; the message offers the nearest names.
        """
        classes = self.config.model.num_classes
        hidden = str(classes) if "none" in self.classes else "none"
        if classes and name in (hidden, classes) and name not in self.classes:
            self._check_hides("the label none")
            return classes
        return find_class(name, self.classes, classes)

    def log_prob(self, lists: Sequence[SparseDCT], labels: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """Computes the log-likelihood of each whole list, over all of its chunks.

        Args:
            lists: N lists of this model's codec and image size, or of other known qualities.
            labels: the class of each, if the model has classes; their number hides it.

        Returns:
            {"channel", "position", "value"}: float64 [N], in nats, with the stopping token in
            "channel".

        Raises:
            ValueError: if the model cannot sample one of the lists, or the labels do not fit.
        """
        classes = self.config.model.num_classes
        if labels is None and classes:
            raise ValueError(f"the model has {classes} classes; log_prob needs the label of each list")
        labels = [0] * len(lists) if labels is None else labels
        if np.shape(labels) != (len(lists),):
            raise ValueError(f"the labels are {labels!r}; each of the {len(lists)} lists needs one")
        for label in labels:
            self.check_label(label)
        for i, sparse in enumerate(lists):
            self.check_codec(sparse.codec, f"list {i}")
            try:
                self.check_size(sparse.size)
            except ValueError as error:
                raise ValueError(f"list {i}: {error}") from None
        return list_log_prob(self.network, self.variables, lists, np.array(labels, int))._asdict()

    def blank(self, size: tuple[int, int], quality: int | None = None) -> SparseDCT:
        """Returns the list without triples of an image of (H, W) pixels, of a known quality or the
        codec's. Raises ValueError if the model has no such images."""
        self.check_size(size)
        return SparseDCT.empty(size, self.config.codec_of(quality))

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises ValueError if (H, W) does not fit on the canvas, or the model has not seen that
        size."""
        grid, canvas = self.codec.grid(size), self.network.vocabulary.grid
        most = " x ".join(str(side * self.codec.block_size) for side in canvas)
        if any(ours > theirs for ours, theirs in zip(grid, canvas)):
            raise ValueError(f"the size is {size[0]} x {size[1]} pixels; this model samples images of up to {most}")
        if self.config.data.fit == "crop" and grid != canvas:
            raise ValueError(
                f"the size is {size[0]} x {size[1]} pixels; this model has seen images of {most} alone; one that is trained "
                "with --data.fit whole samples others, too"
            )

    def check_label(self, label: int) -> None:
        """Raises ValueError if the model has no such class."""
        check_label(label, self._last_label, self.config.model.num_classes)

    def check_list(self, sparse: SparseDCT, name: str = "the list") -> None:
        """Raises ValueError, which names the list, if the model cannot sample it."""
        self.check_codec(sparse.codec, name)
        try:
            sparse.validate(self.network.vocabulary_of(sparse.codec))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def check_codec(self, codec: DCTCodec, name: str = "the list") -> None:
        """Raises ValueError, which names the list, unless the model knows lists of this codec."""
        if not self.config.takes(codec):
            ours, qualities = f"the model {self.codec}", self.config.model.qualities
            if qualities:
                ours = f"the model knows qualities {qualities[0]} to {qualities[1]} of the codec {self.codec}"
            raise ValueError(f"{name} has the codec {codec}, {ours}; see DCTCodec.requantize")

    def class_name(self, label: int) -> str:
        """Returns the name of a class, its number if it has none, "none" for the hidden one."""
        if label == self.config.model.num_classes:
            return "none"
        return self.classes[label] if self.classes else str(label)

    @property
    def hides(self) -> bool:
        """Tells whether the model was trained with hidden classes, too."""
        return self.config.training.label_dropout > 0

    @property
    def _last_label(self) -> int:
        """Returns the largest label: that of the hidden class, if the model was trained with it."""
        classes = self.config.model.num_classes
        return classes if self.hides else max(classes, 1) - 1

    def _check_hides(self, what: str) -> None:
        if not self.hides:
            raise ValueError(
                f"{what} needs a model that was trained with hidden classes: model.num_classes and training.label_dropout "
                f"(here {self.config.model.num_classes} and {self.config.training.label_dropout})"
            )

    def _random_size(self, seed: int, index: int) -> tuple[int, int]:
        """Chooses the size of sample `index` at random, of the training pictures' sizes."""
        counts = np.array([count for *_, count in self.sizes])
        chosen = np.random.default_rng((seed, index)).choice(len(counts), p=counts / counts.sum())
        return self.sizes[chosen][:2]
