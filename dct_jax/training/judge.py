"""Samples of a model in training, compared with the pictures that it learns from."""

from typing import Any

from dct_jax.config import Config
from dct_jax.data.sources import Source
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.pictures import SeenPictures
from dct_jax.evaluation.reference import cache_folder, statistics
from dct_jax.evaluation.sample_metrics import KEEP, REFERENCES, compare_statistics
from dct_jax.trained_model import TrainedModel


class Judge:
    """Draws samples and measures them, the same way each time: what real pictures look like is found out once."""

    def __init__(self, config: Config, source: Source, sizes: Any) -> None:
        """Args: the run's configuration, its training pictures, and their sizes.

        Raises:
            ValueError: if the features' weights cannot be had.
        """
        self._config, self._sizes = config, sizes
        self._network = feature_network(config.training.features)
        real = SeenPictures(source, config, REFERENCES)
        self._real = statistics(self._network, real, KEEP, cache=cache_folder(), title="training pictures")

    def __call__(self, params: Any) -> dict[str, float]:
        """Distances and shares by name, each with its floor beside it, for these parameters."""
        model, training = TrainedModel(self._config, params, self._sizes), self._config.training
        classes = range(max(self._config.model.num_classes, 1))
        lists = model.sample(training.samples, self._config.seed, label=classes)
        images = [model.codec.decode(sparse) for sparse in lists]
        fake = statistics(self._network, images, KEEP, title="samples")
        numbers: dict[str, float] = {}
        for measure in compare_statistics(self._network, self._real, fake).measures:
            numbers |= {measure.name: measure.value, f"{measure.name}_floor": measure.floor}
        return numbers
