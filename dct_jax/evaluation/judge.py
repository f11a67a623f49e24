"""Samples of a model in training, compared with the pictures that it learns from."""

from functools import cached_property

import numpy as np

from dct_jax.config import RunConfig
from dct_jax.data.pictures import reference_pictures
from dct_jax.data.sources import Source
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.prior import Prior
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.evaluation.sample_metrics import KEEP, check_counts, compare_statistics
from dct_jax.storage.caches import cache_folder

AT_A_TIME = 16
"""Samples that grow together."""


class Judge:
    """Samples pictures and measures them; the statistics of real pictures are computed once."""

    def __init__(self, training: Source, config: RunConfig) -> None:
        """Opens the training pictures of a run whose `training.samples` is not 0.

        Raises:
            ValueError: if the features' weights cannot be had, or there are too few pictures.
        """
        self._num, self._seed = config.training.samples, config.seed
        self._network = feature_network(config.training.features)
        self._pictures = reference_pictures(training, config, None)
        check_counts(len(self._pictures), self._num)

    def __call__(self, model: Prior) -> tuple[dict[str, float], list[np.ndarray]]:
        """Measures a model's samples.

        Returns:
            Distances and shares by name, each with its floor, and the samples, uint8 [H, W, 3]
            each.
        """
        labels = self._pictures.labels(self._num)
        by_number = dict(model.sample_pictures(self._num, self._seed, labels, AT_A_TIME))
        samples = [by_number[i] for i in sorted(by_number)]
        fake = statistics(self._network, samples, KEEP, title="samples")
        numbers: dict[str, float] = {}
        for measure in compare_statistics(self._network, self._real, fake).measures:
            numbers |= {measure.name: measure.value, f"{measure.name}_floor": measure.floor}
        return numbers, samples

    @cached_property
    def _real(self) -> Statistics:
        return statistics(self._network, self._pictures, KEEP, cache=cache_folder(), title="training pictures")
