"""What the command compare does in processes of their own: it looks at runs and measures them."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dct_jax.commands.code_sampling import named_settings
from dct_jax.commands.evaluate import Evaluate, compared_sources, divides_named, measured_pictures, named_pictures
from dct_jax.commands.kept import Kept
from dct_jax.commands.own_data import own_sources
from dct_jax.comparison.measures import Cost, Distortion, HeldOut, Measures, Recognition, SampleSet, Training
from dct_jax.published import read_records_of, results_folder
from dct_jax.storage.caches import processor

if TYPE_CHECKING:
    from dct_jax.comparison.samples import Judges
    from dct_jax.data.pictures import SeenPictures
    from dct_jax.data.sources import Source
    from dct_jax.evaluation.features import FeatureNetwork
    from dct_jax.evaluation.recognition import Classifier
    from dct_jax.training.stage import HeldOutPictures, Trained

FOLDER = "comparison"
"""Folder of results in which what is measured of a run is kept."""
PICTURES = ("source", "split", "held_out_split", "held_out_every")
VIEW = ("image_size", "fit", "crop", "enlarge", "own_coefficients")
"""Fields of `data` that say which pictures there are, and what a model sees of them."""
SHOWN = 10
"""Pictures of a strip."""


@dataclass(frozen=True)
class Description:
    """What has to be known of a run before it is measured.

    Attributes:
        data: the fields PICTURES and VIEW of its room `data`.
        held_out_crops: how many pictures it is evaluated on by default.
        divides: whether it is measured on those pictures of --data alone that it held out.
        seed: of the run.
    """

    data: dict[str, Any]
    held_out_crops: int
    divides: bool
    seed: int


def describe_runs(options: Sequence[Evaluate]) -> list[Description]:
    """Looks at runs, and tries what can fail before the long work: models, weights of feature
    networks, and pictures. Raises ValueError, which names the run, as `evaluate`."""
    return [_describe(one) for one in options]


def _describe(options: Evaluate) -> Description:
    run = _Run(options)
    try:
        return run.describe()
    except ValueError as error:
        raise ValueError(f"{options.run}: {error}") from None


def see_other_crops(options: Sequence[Evaluate]) -> bool:
    """Tells whether runs of the same pictures see other crops of them."""
    return len({_Run(one).hash_crops() for one in options}) > 1


@dataclass(frozen=True)
class Strips:
    """Files of pictures side by side: held-out ones, one of each class if there are classes, and
    samples of the first seed, whose classes are those of the held-out ones by turns. None of what
    the run does not have."""

    held_out: Path | None
    samples: Path | None


def measure_run(options: Evaluate, name: str, seeds: Sequence[int], again: bool) -> tuple[Measures, Strips]:
    """Measures a run, but for what is kept of earlier calls.

    Args:
        options: what `evaluate` would be told; its own seed is not used.
        name: of the run.
        seeds: of the samples; none to measure no samples.
        again: whether to measure anew what is kept.

    Raises:
        ValueError: as `evaluate`.
    """
    run = _Run(options)
    kept = Kept(results_folder(options.run) / FOLDER, {"fingerprint": run.model.fingerprint}, again)
    return run.measure(kept, name, seeds), run.show(kept, seeds)


class _Run:
    """A run that is measured. What takes long to make is made when it is first asked for."""

    def __init__(self, options: Evaluate) -> None:
        from dct_jax.evaluation.prior import Prior
        from dct_jax.run import load

        self.options, self.model = options, load(options.run)
        self.config, self.settings = self.model.config, named_settings(options.settings)
        if isinstance(self.model, Prior):
            defaults = self.model.settings
            try:
                self.model = self.model.with_settings(self.settings)
            except ValueError as error:
                raise ValueError(f"{options.run}: {error}") from None
            self.settings = {name: one for name, one in self.model.settings.items() if one != defaults[name]}
        elif self.settings:
            raise ValueError(f"{options.run} has settings, but a {self.config.system} samples nothing")
        self.data = {name: getattr(self.config.data, name) for name in PICTURES + VIEW}
        self.training_key = self.data | {"seed": self.config.seed, "batch_size": options.batch_size}
        self.prior = self.model if isinstance(self.model, Prior) else None
        self.divides = divides_named(self.config.data, options)
        self.divided_key = {"divided": True} if self.divides else {}
        self.sampler_key = {"settings": self.prior.settings if self.prior else {}}

    def describe(self) -> Description:
        """Opens the pictures and the feature networks, and says which pictures they are."""
        from dct_jax.evaluation.sample_metrics import check_counts

        if self.prior and self.options.samples:
            check_counts(len(self.training_pictures), self.options.samples)
            _ = self.networks
        _ = self.held_out_source
        return Description(self.data, self.config.data.held_out_crops, self.divides, self.config.seed)

    def hash_crops(self) -> str:
        """Hashes some held-out pictures as the run sees them, none where it has codes alone."""
        from dct_jax.data.pictures import SeenPictures

        found, some = hashlib.sha256(), SeenPictures(self.held_out_source, self.config, SHOWN, repeat=True)
        for i in range(0 if self.has_codes_alone else len(some)):
            found.update(some[i].tobytes())
        return found.hexdigest()

    def show(self, kept: Kept, seeds: Sequence[int]) -> Strips:
        """Returns pictures to look at; see `Strips`."""
        if self.prior is None or not seeds:
            return Strips(None, None)
        prior, pictures = self.prior, {"data": [self.options.data, self.options.split], "num": self.options.num}
        key = self.training_key | pictures | {"shown": SHOWN} | self.divided_key
        sampler_key = key | self.sampler_key | {"seed_of_samples": seeds[0]}

        def sample() -> list[np.ndarray]:
            sampled = dict(prior.sample_pictures(SHOWN, seeds[0], self.shown[1], self.options.batch_size))
            return [sampled[i] for i in range(SHOWN)]

        samples = kept.find_strip("samples", sampler_key, sample)
        return Strips(None if self.has_codes_alone else kept.find_strip("held_out", key, lambda: self.shown[0]), samples)

    def measure(self, kept: Kept, name: str, seeds: Sequence[int]) -> Measures:
        """Measures all parts; see `measure_run`."""
        import jax

        from dct_jax.comparison.cost import CALLS, TOGETHER, measure_cost, read_training
        from dct_jax.comparison.held_out import measure_held_out
        from dct_jax.evaluation.features.lpips_package import has_lpips
        from dct_jax.kernels.choice import SWITCH
        from dct_jax.vq.autoencoder import TrainedAutoencoder

        options, model, (height, width) = self.options, self.model, self.config.data.image_size
        source, split = (options.data, options.split) if options.data else (self.config.data.source, self.config.data.split)
        machine = {"device": jax.local_devices()[0].device_kind, "processor": processor(), "samples": TOGETHER, "calls": CALLS}
        machine["kernels"] = os.environ.get(SWITCH) != "0"  # to compile them here would take memory and time
        # The first of all, as memory is what the process had so far.
        cost = kept.find(
            "cost", machine | self.sampler_key, Cost, partial(measure_cost, model, self.config.reader().num_classes)
        )
        pictures = self.training_key | {"data": [options.data, options.split], "num": options.num} | self.divided_key
        held_out_key = pictures | ({"lpips": has_lpips()} if isinstance(model, TrainedAutoencoder) else {})
        held_out = kept.find(
            "held_out", held_out_key, HeldOut, lambda: measure_held_out(model, self.held_out, options.batch_size)
        )
        samples, recognition = self._measure_samples(kept, pictures, seeds)
        inner, records = self.inner, read_records_of(options.run)
        return Measures(
            run=name,
            system=self.config.system,
            fingerprint=model.fingerprint,
            settings=self.settings,
            data=" ".join(part for part in (f"{source},", split and f"{split},", f"{height} x {width}") if part),
            held_out=held_out,
            distortion=self._measure_distortion(kept, pictures, held_out),
            samples=samples,
            recognition=recognition,
            cost=cost,
            training=read_training(records, self.config.training.batch_size),
            inner=inner.fingerprint if inner else None,
            inner_training=self._find_inner_training(),
        )

    def _measure_distortion(self, kept: Kept, pictures: dict[str, Any], held_out: HeldOut) -> Distortion | None:
        from dct_jax.comparison.representation import measure_prior_distortion, read_distortion
        from dct_jax.evaluation.features.lpips_package import has_lpips
        from dct_jax.vq.autoencoder import TrainedAutoencoder
        from dct_jax.vq.findings import Comparison

        prior, options = self.prior, self.options
        if isinstance(self.model, TrainedAutoencoder):
            report = held_out.report
            return read_distortion(Comparison(report["held_out"], report["notes"]), held_out.pictures)
        if prior is None or self.has_codes_alone or self.config.data.fit == "whole":
            return None

        def measure() -> Distortion:
            return measure_prior_distortion(prior, self.held_out_pictures, self.held_out.content, options.batch_size)

        return kept.find("representation", pictures | {"lpips": has_lpips()}, Distortion, measure)

    def _measure_samples(
        self, kept: Kept, pictures: dict[str, Any], seeds: Sequence[int]
    ) -> tuple[tuple[SampleSet, ...], Recognition | None]:
        from dct_jax.comparison.samples import label_pictures, measure_recognition, measure_samples

        if self.prior is None or not seeds:
            return (), None
        prior, options = self.prior, self.options
        key = self.training_key | self.sampler_key | {"samples": options.samples, "references": options.references}
        key |= {"features": {network.name: network.fingerprint for network in self.networks}}
        key |= {"recognised": self.has_recognisable_classes}
        if self.config.data.source.startswith("codes:"):  # then samples are compared with the pictures of --data
            key["data"] = pictures["data"]

        def sample(seed: int) -> SampleSet:
            return measure_samples(prior, self.judges, options.samples, seed, options.batch_size)

        samples = tuple(kept.find("samples", key | {"seed_of_samples": x}, SampleSet, partial(sample, x)) for x in seeds)
        if not self.has_recognisable_classes:
            return samples, None

        def recognise() -> Recognition:
            return measure_recognition(prior, self.classifier, label_pictures(self.held_out_pictures))

        key = pictures | {"references": options.references}
        return samples, kept.find("recognition", key, Recognition, recognise)

    def _find_inner_training(self) -> Training | None:
        """Reads how long the autoencoder was trained, if its run may be looked for and is there."""
        from dct_jax.codes.prior import TrainedCodePrior
        from dct_jax.comparison.cost import read_training
        from dct_jax.run import load

        if not isinstance(self.model, TrainedCodePrior) or not self.options.own_data or not self.inner:
            return None
        run = self.model.config.codes.run
        with suppress(ValueError):  # it is no more
            records = read_records_of(run)
            if load(run).fingerprint == self.inner.fingerprint:
                return read_training(records, self.inner.config.training.batch_size)
        return None

    @cached_property
    def inner(self) -> "Trained | None":
        """The autoencoder of a prior."""
        from dct_jax.codes.prior import TrainedCodePrior

        return self.model.inner() if isinstance(self.model, TrainedCodePrior) else None

    @property
    def has_codes_alone(self) -> bool:
        """Whether the pictures to measure have codes in place of pixels."""
        return (self.options.data or self.config.data.source).startswith("codes:")

    @property
    def has_recognisable_classes(self) -> bool:
        """Whether a classifier can learn the run's classes: it needs pictures of one size."""
        return self.config.reader().num_classes > 1 and self.config.data.fit == "crop" and not self.has_codes_alone

    @cached_property
    def held_out_source(self) -> "Source":
        """The source of the held-out pictures, as `evaluate` opens it."""
        data, options = self.config.data, self.options
        return named_pictures(data, options) if options.data else own_sources(data, options.own_data)[1]

    @cached_property
    def held_out(self) -> "HeldOutPictures":
        """The held-out pictures, as `evaluate` reads them."""
        return measured_pictures(self.model, self.options)

    @cached_property
    def held_out_pictures(self) -> "SeenPictures":
        """The pixels of the held-out pictures."""
        from dct_jax.data.pictures import SeenPictures

        num = self.options.num or self.config.data.held_out_crops
        return SeenPictures(self.held_out_source, self.config, num, repeat=True)

    @cached_property
    def shown(self) -> tuple[list[np.ndarray], list[int]]:
        """Held-out pictures to look at, and their classes, which samples beside them have."""
        if self.has_codes_alone:
            return [], list(range(max(self.config.reader().num_classes, 1)))
        return self.held_out_pictures.look(SHOWN)

    @cached_property
    def training_pictures(self) -> "SeenPictures":
        """The pictures that samples are compared with, as `evaluate` chooses them."""
        from dct_jax.data.pictures import reference_pictures

        return reference_pictures(compared_sources(self.config.data, self.options)[0], self.config, self.options.references)

    @cached_property
    def networks(self) -> "list[FeatureNetwork]":
        """The feature networks whose weights are at hand. Raises ValueError if there are none."""
        from dct_jax.evaluation.features import feature_network
        from dct_jax.evaluation.features.lpips_package import has_lpips
        from dct_jax.evaluation.features.weights import VARIABLE

        has_inception = bool(os.environ.get(VARIABLE))
        names = ["alexnet"] * (has_lpips() or not has_inception) + ["inception"] * has_inception
        return [feature_network(name) for name in names]

    @cached_property
    def classifier(self) -> "Classifier":
        """The classifier of the training pictures, which is trained once and kept."""
        from dct_jax.comparison.samples import label_pictures
        from dct_jax.evaluation.recognition import kept_classifier
        from dct_jax.storage.caches import cache_folder

        return kept_classifier(label_pictures(self.training_pictures), self.config.reader().num_classes, cache_folder())

    @cached_property
    def judges(self) -> "Judges":
        """What samples are measured by."""
        from dct_jax.comparison.samples import Judges
        from dct_jax.evaluation.reference import statistics
        from dct_jax.evaluation.sample_metrics import KEEP
        from dct_jax.storage.caches import cache_folder

        real, num = self.training_pictures, self.options.samples
        batch = min(self.options.batch_size, max(len(real), num))
        reals = [(one, statistics(one, real, KEEP, batch, cache_folder(), "training pictures")) for one in self.networks]
        return Judges(real.labels(num), reals, self.classifier if self.has_recognisable_classes else None)
