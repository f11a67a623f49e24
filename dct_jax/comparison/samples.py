"""How near a model's samples are to real pictures, and whether they look like their class.

Axes: N pictures, H x W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dct_jax.comparison.measures import Recognition, SampleSet
from dct_jax.data.pictures import SeenPictures
from dct_jax.evaluation.features import FeatureNetwork
from dct_jax.evaluation.prior import Prior
from dct_jax.evaluation.recognition import Classifier, LabelledPictures
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.evaluation.sample_metrics import KEEP, compare_statistics


class Judges(NamedTuple):
    """What samples are measured by.

    Attributes:
        labels: the classes of the samples, as training pictures have them.
        reals: each feature network, and its statistics of the training pictures.
        classifier: of the classes; None without classes.
    """

    labels: Sequence[int]
    reals: Sequence[tuple[FeatureNetwork, Statistics]]
    classifier: Classifier | None


def measure_samples(model: Prior, judges: Judges, num: int, seed: int, batch_size: int) -> SampleSet:
    """Samples pictures and measures them as `evaluate --samples` does.

    Args:
        model: the prior.
        judges: what the samples are measured by.
        num, seed: of the samples.
        batch_size: samples at a time.
    """
    by_number = dict(model.sample_pictures(num, seed, judges.labels, batch_size))
    pictures = [by_number[i] for i in range(num)]
    metrics = {}
    for network, real in judges.reals:
        fake = statistics(network, pictures, KEEP, min(batch_size, max(real.count, num)), title="samples")
        metrics[network.name] = compare_statistics(network, real, fake).to_dict()
    recognised = None
    if judges.classifier:
        labels = np.array([judges.labels[i % len(judges.labels)] for i in range(num)], np.int32)
        recognised = judges.classifier.share_recognised(LabelledPictures(np.stack(pictures), labels))
    return SampleSet(seed, metrics, recognised)


def measure_recognition(model: Prior, classifier: Classifier, held_out: LabelledPictures) -> Recognition:
    """Measures which share of held-out pictures a classifier recognises, as they are, and after the
    model's codec or autoencoder."""
    coded = held_out._replace(images=np.stack([model.reconstruct(one) for one in held_out.images]))
    return Recognition(*(classifier.share_recognised(one) for one in (held_out, coded)))


def label_pictures(pictures: SeenPictures) -> LabelledPictures:
    """Reads all pictures of a set, which are of one size, and their classes."""
    images = np.stack([pictures[i] for i in range(len(pictures))])
    return LabelledPictures(images, np.array(pictures.labels(len(pictures)), np.int32))
