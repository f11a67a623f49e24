"""Samples of a model in training, compared with the pictures that it learns from."""

from functools import cached_property
from typing import Any

from dct_jax.config import Config
from dct_jax.data.pictures import SeenPictures
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.evaluation.sample_metrics import KEEP, REFERENCES, check_counts, compare_statistics
from dct_jax.storage.caches import cache_folder
from dct_jax.training.checkpoints import Sizes
from dct_jax.training.loop import open_sources


class Judge:
    """Draws samples and measures them, the same way each time: what real pictures look like is found out once."""

    def __init__(self, config: Config) -> None:
        """Args: the run's configuration, whose `training.samples` is not 0.

        Raises:
            ValueError: if the features' weights cannot be had, or there are too few pictures.
        """
        self._config = config
        self._network = feature_network(config.training.features)
        self._pictures = SeenPictures(open_sources(config.data)[0], config, REFERENCES)
        check_counts(len(self._pictures), config.training.samples)

    def __call__(self, params: Any, sizes: Sizes) -> dict[str, float]:
        """Distances and shares by name, each with its floor beside it.

        Args:
            params: of the model, on the host.
            sizes: of the training pictures.
        """
        model, num = TrainedModel(self._config, params, tuple(sizes)), self._config.training.samples
        lists = model.sample(num, self._config.seed, label=self._pictures.labels(num))
        images = [model.codec.decode(sparse) for sparse in lists]
        fake = statistics(self._network, images, KEEP, title="samples")
        numbers: dict[str, float] = {}
        for measure in compare_statistics(self._network, self._real, fake).measures:
            numbers |= {measure.name: measure.value, f"{measure.name}_floor": measure.floor}
        return numbers

    @cached_property
    def _real(self) -> Statistics:
        return statistics(self._network, self._pictures, KEEP, cache=cache_folder(), title="training pictures")
