"""Sets of pictures that samples are compared with."""

from dataclasses import replace

import numpy as np

from dct_jax.config import DataConfig
from dct_jax.data.pictures import MOST_REFERENCES, SeenPictures, reference_pictures
from dct_jax.data.sources import open_sources
from dct_jax.experiment import load_experiment
from tests.toys import tiny_config


def test_a_number_of_references_takes_several_crops_of_a_picture() -> None:
    """A few photographs have fewer central crops than FD-AlexNet has features."""
    config = replace(tiny_config(), data=DataConfig(source="landscapes", image_size=(16, 16), crop=(0.5, 0.5)))
    source = open_sources(config.data)[0]
    number = len(source)
    assert number < MOST_REFERENCES
    assert len(reference_pictures(source, config, None)) == number
    assert len(reference_pictures(source, config, 7)) == 7
    several = reference_pictures(source, config, 2 * number)
    assert len(several) == 2 * number
    first, again = several[3], several[3 + number]
    assert first.shape == again.shape == (16, 16, 3)
    assert not np.array_equal(first, again)


def test_the_first_picture_of_each_class_is_shown() -> None:
    config = load_experiment("fashion")
    seen = SeenPictures(open_sources(config.data)[1], config, 60)
    pictures, labels = seen.look(6)
    assert labels == [0, 1, 2, 3, 4, 5]
    of_all = seen.labels(60)
    np.testing.assert_array_equal(pictures, [seen[of_all.index(label)] for label in labels])


def test_without_classes_pictures_at_even_distances_are_shown() -> None:
    config = replace(tiny_config(), data=DataConfig(source="landscapes", image_size=(16, 16)))
    seen = SeenPictures(open_sources(config.data)[1], config, 9)
    pictures, labels = seen.look(4)
    assert labels == [0]
    np.testing.assert_array_equal(pictures, [seen[i] for i in (0, 2, 4, 6)])
    assert len(seen.look(20)[0]) == 9


def test_classes_that_no_picture_has_are_passed_over() -> None:
    """Pictures of high classes alone gave nothing to look at."""
    config = load_experiment("fashion")
    seen = SeenPictures(open_sources(config.data)[1], config, 3)
    labels = sorted(seen.labels(3))
    assert labels[0] > 1
    assert seen.look(2)[1] == labels[:2]
