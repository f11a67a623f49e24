"""Whether a stranger sees what was asked for: how many class-conditional samples a classifier of
real pictures recognises.

    python benchmarks/recognition.py RUN [--num 1000 --data idx:FOLDER --json FILE]

A small convolutional network learns the classes of real pictures and is tested on held-out
ones, as they are and after the model's codec or autoencoder; then it is shown plain samples, as
many of each class. Pictures that it mistakes are not all bad: it mistakes real ones, too.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from machine import Figure, machine_figures, report

from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_prior
from dct_jax.data.pixels import pixels
from dct_jax.data.sources import open_source
from dct_jax.evaluation.prior import Prior
from dct_jax.evaluation.recognition import EPOCHS, LabelledPictures, train_classifier

REAL_BAR, SAMPLES_BAR = 0.90, 0.85


def pictures_of(data: str, split: str) -> LabelledPictures:
    """Returns all of a split of a source of pictures of one size."""
    source = open_source(data, split)
    records = [source[i] for i in range(len(source))]
    return LabelledPictures(np.stack([pixels(one) for one in records]), np.array([one.label for one in records], np.int32))


def recode(pictures: LabelledPictures, model: Prior) -> LabelledPictures:
    """Returns pictures after the model's codec or autoencoder."""
    return pictures._replace(images=np.stack([model.reconstruct(image) for image in pictures.images]))


def samples_of(model: Prior, classes: int, num: int, seed: int) -> LabelledPictures:
    """Samples as many pictures of each class."""
    samples = dict(model.sample_pictures(num, seed, range(classes), 50))
    images = np.stack([samples[i] for i in range(num)])
    return LabelledPictures(images, np.arange(num, dtype=np.int32) % classes)


def main(
    run: Annotated[Path, tyro.conf.Positional],
    num: int = 1000,
    data: str = "fashion",
    epochs: int = EPOCHS,
    seed: int = 0,
    guidance: tuple[float, ...] = (),
    json: Path | None = None,
) -> None:
    """Trains the classifier and shows it samples.

    Args:
        run: folder of a class-conditional run.
        num: samples.
        data: the classifier's pictures, with the splits train and test.
        epochs: of the classifier's training.
        seed: of the classifier and of the samples.
        guidance: strengths of guidance that are tried besides, for a DCTransformer.
        json: where to write the figures.

    Raises:
        ValueError: if the run samples no pictures, or knows no classes.
    """
    model = load_prior(str(run), "recognition.py")
    classes = model.config.reader().num_classes
    if not classes:
        raise ValueError(f"{run} is a run without classes; it must be one with them, whose samples can be recognised")
    training, test = pictures_of(data, "train"), pictures_of(data, "test")
    start = time.perf_counter()
    classifier = train_classifier(training, classes, epochs, seed)
    seconds = time.perf_counter() - start
    real, through_codec = (classifier.share_recognised(one) for one in (test, recode(test, model)))

    def recognised(model: Prior) -> float:
        return classifier.share_recognised(samples_of(model, classes, num, seed))

    samples = recognised(model)
    guided = [
        Figure(f"samples recognised, guidance {one:g}", recognised(model.with_settings({"guidance": one}))) for one in guidance
    ]

    def bar(value: float, limit: float) -> str:
        return f"bar {limit}: {'met' if value >= limit else 'MISSED'}"

    report(
        [
            *machine_figures(),
            Figure("classifier's training pictures", len(training.images), ""),
            Figure("classifier's training", seconds, "s"),
            Figure("real test pictures recognised", real, bar(real, REAL_BAR)),
            Figure("the same after codec or autoencoder", through_codec, f"of {len(test.images)}"),
            Figure("samples recognised", samples, f"of {num}; {bar(samples, SAMPLES_BAR)}"),
            *guided,
        ],
        json,
    )


if __name__ == "__main__":
    run_script(main)
