"""Times how two priors over the same codes sample, and how SUNDAE's samples depend on its steps.

    python benchmarks/code_priors.py runs/window_fashion runs/sundae_fashion [--steps 4 8 16 100]

Times are of 100 grids at once, by turns, without the decoder. FD-AlexNet is of as many samples of
each class, beside the training pictures, with its floor. Held-out pictures after the autoencoder
say what a perfect prior would have.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from machine import Figure, machine_figures, report, spread, timings

from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.commands.ending import run_script
from dct_jax.data.pictures import Mapped, SeenPictures
from dct_jax.data.sources import open_sources
from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.reference import Statistics, statistics
from dct_jax.evaluation.sample_metrics import KEEP, compare_statistics
from dct_jax.run import load
from dct_jax.storage.caches import cache_folder

AT_ONCE = 100


def main(
    window: Annotated[str, tyro.conf.Positional],
    sundae: Annotated[str, tyro.conf.Positional],
    steps: tuple[int, ...] = (4, 8, 16, 100),
    temperature: tuple[float, ...] = (0.8,),
    proportion: tuple[float, ...] = (0.5,),
    num: int = 1000,
    references: int = 10_000,
    repeats: int = 5,
    json: Path | None = None,
) -> None:
    """Times and compares.

    Args:
        window: run of a window transformer.
        sundae: run of a SUNDAE over the same codes.
        steps: of SUNDAE, one after the other; nothing is frozen.
        temperature, proportion: of SUNDAE, with so many steps each, or one for all.
        num: samples of each setting.
        references: training pictures that they are compared with, at most.
        repeats: how often each is timed.
        json: where to write the figures.
    """
    models = {"window": prior(window)}
    for number, heat, share in zip(steps, _each(temperature, steps), _each(proportion, steps), strict=True):
        settings = {"steps": number, "min_steps": number, "temperature": heat, "proportion": share}
        models[f"SUNDAE, {number} steps, temperature {heat}, proportion {share}"] = prior(sundae).with_settings(settings)
    labels = range(max(1, models["window"].config.codes.num_classes))
    turns = [labels[i % len(labels)] for i in range(AT_ONCE)]
    calls = {
        name: (lambda model=model: model.sample(range(AT_ONCE), 0, turns, model.config.grid)) for name, model in models.items()
    }
    for call in calls.values():
        call()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name] += timings(call, 1)
    figures = [*machine_figures(), *(spread(f"{AT_ONCE} grids, {name}", each, "s") for name, each in seconds.items())]

    config = models["window"].config
    training, held_out = open_sources(config.data)
    network = feature_network("alexnet")
    pictures = SeenPictures(training, config, references)
    real = statistics(network, pictures, KEEP, cache=cache_folder(), title="training pictures")

    def distance(name: str, fake: Statistics) -> None:
        for measure in compare_statistics(network, real, fake).measures:
            figures.append(Figure(f"{measure.name}, {name}", measure.value, f"(floor {measure.floor:.3f})"))

    coded = Mapped(SeenPictures(held_out, config, num, repeat=True), models["window"].reconstruct)
    distance("held-out pictures after the autoencoder", statistics(network, coded, KEEP, title="coded pictures"))
    for name, model in models.items():
        samples = dict(model.sample_pictures(num, 0, labels, AT_ONCE))
        distance(name, statistics(network, [samples[i] for i in range(num)], KEEP, title=name))
    report(figures, json)


def prior(run: str) -> TrainedCodePrior:
    """Loads a prior over codes. Raises ValueError if the run is none."""
    model = load(run)
    if not isinstance(model, TrainedCodePrior):
        raise ValueError(f"{run} is a run of the system {model.config.system}; it must be a prior over codes")
    return model


def _each(values: tuple[float, ...], steps: tuple[int, ...]) -> Sequence[float]:
    if len(values) not in (1, len(steps)):
        raise ValueError(f"there are {len(values)} numbers for {len(steps)} steps; there must be one, or {len(steps)}")
    return values * len(steps) if len(values) == 1 else values


if __name__ == "__main__":
    run_script(main)
