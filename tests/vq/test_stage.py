"""The stage of a VQ-VAE: steps on one device and on two, whole runs, and pictures from codes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dct_jax
from dct_jax import systems
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.data.pipeline import read_held_out, training_batches
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.training import loop
from dct_jax.training.stage import Metrics, TrainState
from dct_jax.vq import autoencoder
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig
from dct_jax.vq.network import Autoencoder, to_float, to_uint8
from dct_jax.vq.quantizers import Codebook
from tests.toys import stop_while_placing

KINDS = ("gradient", "ema", "fsq")
ONE_IN_SHORT = ("ema", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gradient", "fsq")))
"""Each kind compiles programs of its own; `make test` has the one with most state."""
ONE = jax.local_devices()[:1]


def config_of(kind: str, steps: int = 30, **quantizer: Any) -> VQVAEConfig:
    return VQVAEConfig(
        data=DataConfig(source="landscapes", image_size=(16, 16), held_out_crops=6),
        training=TrainingConfig(
            steps=steps, batch_size=8, warmup_steps=2, learning_rate=0.01, evaluate_every=steps, checkpoint_every=steps
        ),
        quantizer=QuantizerConfig(
            kind=kind, **({"codes": 16, "dim": 4, "levels": (4, 3), "commitment": 3.0, "restart": 0.1} | quantizer)
        ),
        model=AutoencoderConfig(channels=8, residual_blocks=1, downsampling=4),
        seed=3,
    )


@cache
def batches(number: int) -> list[np.ndarray]:
    """The first batches of a run, uint8 [8, 16, 16, 3] each."""
    config = config_of("ema")
    source, _ = open_sources(config.data)
    return list(islice(training_batches(source, config, Skipped(len(source), 0.1)), number))


@cache
def start(config: VQVAEConfig) -> TrainState:
    return jax.device_get(config.build().init())


@cache
def step_of(config: VQVAEConfig, devices: int) -> Callable[[Any, Any], Any]:
    return parallel(config.build().step, jax.local_devices()[:devices])


def fit(config: VQVAEConfig, steps: int, devices: int = 1) -> Iterator[tuple[TrainState, Metrics]]:
    """The state and the metrics after each step."""
    where, step = jax.local_devices()[:devices], step_of(config, devices)
    state = replicate(start(config), where)
    for batch in batches(steps):
        state, metrics = jax.device_get(step(state, place(batch, where)))
        yield TrainState(*state), metrics


@partial(jax.jit, static_argnums=(0, 3))
def _run(network: Autoencoder, variables: Any, pictures: jax.Array, method: str) -> Any:
    return network.apply(variables, to_float(pictures), method=method)


def run(network: Autoencoder, variables: Any, pictures: np.ndarray, method: str = "__call__") -> Any:
    """What a network makes of pictures, uint8 [B, H, W, 3], as NumPy arrays."""
    return jax.device_get(_run(network, variables, pictures, method))


def vectors_of(network: Autoencoder, variables: Any, pictures: np.ndarray) -> np.ndarray:
    """The encoder's vectors of all cells of pictures, float32 [N, D]."""
    vectors = run(network, variables, pictures, "encode")
    return vectors.reshape(-1, vectors.shape[-1])


def random_pictures(number: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, height, width, 3)).astype(np.uint8)


def random_model(config: VQVAEConfig) -> TrainedAutoencoder:
    """With large weights, so that pictures have all brightnesses, and a table of the encoder's
    vectors."""
    stage, rng = config.build(), np.random.default_rng(1)
    variables = jax.tree.map(lambda x: 2.5 * x, start(config).variables)
    table = rng.permutation(vectors_of(stage.network, variables, random_pictures(8)))[: config.quantizer.num_codes]
    for collection in ("params", "codebook"):
        if "quantizer" in variables.get(collection, ()):
            variables[collection]["quantizer"]["table"] = table
    return stage.trained(variables, (), ())


@pytest.mark.parametrize("kind", ONE_IN_SHORT)
def test_two_devices_give_the_weights_and_the_codebook_of_one(kind: str) -> None:
    """With restarts, whose vectors come from the whole batch."""
    config = config_of(kind, restart=2.0)
    *_, (one, metrics_one) = fit(config, 4)
    *_, (two, metrics_two) = fit(config, 4, devices=2)
    if kind == "ema":
        is_new = one.variables["codebook"]["quantizer"]["counts"] == 2
        assert is_new.any() and not is_new.all()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), one.variables, two.variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), metrics_one, metrics_two)


@pytest.mark.parametrize("kind", ["gradient", "ema"])
def test_the_first_step_makes_the_table_of_its_batch(kind: str) -> None:
    """The rate of the first step is 0, so the encoder is still that of `init`. The rows lie among
    its vectors and serve them better than their one mean does. "gradient" keeps the table of
    k-means, so the step reports the squares that are left; "ema" moves it to the means once more,
    which leaves no more."""
    config = config_of(kind)
    stage = config.build()
    vectors = vectors_of(stage.network, start(config).variables, batches(1)[0])
    ((state, metrics),) = fit(config, 1)
    table = (state.variables["params"] if kind == "gradient" else state.variables["codebook"])["quantizer"]["table"]
    assert len(np.unique(table, axis=0)) == 16
    low, high, slack = vectors.min(axis=0), vectors.max(axis=0), 1e-4 * np.abs(vectors).max()
    assert np.all(low - slack <= table) and np.all(table <= high + slack)
    assert np.all(np.abs(table).max(axis=1) > 0)
    squares = np.square(vectors[:, None] - table).mean(axis=-1).min(axis=1)  # [N]
    assert squares.mean() < 0.3 * np.square(vectors - vectors.mean(axis=0)).mean()
    reported = metrics.means["commitment"]
    if kind == "gradient":  # the table of "ema" has moved since
        assert reported.sum / reported.divisor == pytest.approx(squares.mean(), rel=1e-3)
    else:
        assert squares.mean() <= 1.001 * reported.sum / reported.divisor


@pytest.mark.parametrize("kind", ["gradient", "fsq"])
def test_a_step_follows_the_error_and_the_weighted_losses_of_the_table(kind: str) -> None:
    """The loss of the second step is written down anew: the step reports the norm of its gradient.
    (In the first, k-means has left the table nothing to gain.)"""
    config = config_of(kind)
    network = config.build().network
    (state, _), (_, metrics) = fit(config, 2)
    pixels = batches(2)[1].astype(np.float32) / 127.5 - 1

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        found, vectors, quantized = network.apply({"params": params}, pixels)
        error = jnp.mean((found - pixels) ** 2)
        if kind == "fsq":
            return error, error
        chosen, stop = params["quantizer"]["table"][quantized.codes], jax.lax.stop_gradient
        to_table, to_vectors = jnp.mean((stop(vectors) - chosen) ** 2), jnp.mean((vectors - stop(chosen)) ** 2)
        return error + to_table + config.quantizer.commitment * to_vectors, error

    gradient, error = jax.jit(jax.grad(loss, has_aux=True))(state.variables["params"])
    norm = np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(gradient)))
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-3)
    reported = metrics.means["squared_error"]
    assert reported.sum / reported.divisor == pytest.approx(float(error), rel=1e-4)


def test_the_codebook_follows_the_batches_as_numpy_says() -> None:
    """With an encoder that hardly moves: the vectors of batches 2 to 4, by the table before each,
    go into decayed sums and counts."""
    config = config_of("ema", decay=0.75, restart=0.0)
    config = replace(config, training=replace(config.training, learning_rate=1e-9))
    stage = config.build()
    params = {"params": start(config).variables["params"]}
    (first, _), *rest = fit(config, 4)
    table, counts, sums = (first.variables["codebook"]["quantizer"][name].copy() for name in Codebook._fields)
    for batch, (state, metrics) in zip(batches(4)[1:], rest):
        vectors = vectors_of(stage.network, params, batch)
        codes = np.argmin(np.square(vectors[:, None] - table).sum(axis=-1), axis=1)
        for k in range(16):
            counts[k] = 0.75 * counts[k] + 0.25 * np.sum(codes == k)
            sums[k] = 0.75 * sums[k] + 0.25 * vectors[codes == k].sum(axis=0)
        table = sums / (counts + 1e-5)[:, None]  # nearly
        after = state.variables["codebook"]["quantizer"]
        for name, expected in (("table", table), ("counts", counts), ("sums", sums)):
            np.testing.assert_allclose(after[name], expected, rtol=1e-3, atol=1e-4)
        share = np.bincount(codes, minlength=16) / len(codes)
        entropy = -sum(x * np.log2(x) for x in share if x)
        assert metrics.means["perplexity"].sum == pytest.approx(2**entropy, rel=1e-4)
        assert metrics.means["codes_used"].sum == pytest.approx(np.mean(share > 0), rel=1e-5)


@pytest.mark.parametrize("kind", ONE_IN_SHORT)
def test_the_error_of_held_out_pictures_falls(kind: str) -> None:
    """Below that of the best grey by a fifth, which a decoder without places can reach by codes
    alone. The numbers are those of a computation from the network's own floats."""
    config = config_of(kind)
    held_out = read_held_out(open_sources(config.data)[1], config, Skipped(6, 0.1))
    stage = config.build()
    first = stage.evaluate(start(config).variables, held_out, ONE)
    *_, (state, _) = fit(config, 30)
    numbers = stage.evaluate(state.variables, held_out, ONE)
    pixels = held_out / 127.5 - 1
    assert numbers["squared_error"] < 0.8 * min(first["squared_error"], pixels.var())

    found, _, quantized = run(stage.network, state.variables, held_out)
    errors = np.square(np.clip(found, -1, 1) - pixels).mean(axis=(1, 2, 3))
    share = np.bincount(np.ravel(quantized.codes), minlength=config.quantizer.num_codes) / quantized.codes.size
    used = share[share > 0]
    assert numbers["squared_error"] == pytest.approx(errors.mean(), rel=0.01)
    assert numbers["psnr"] == pytest.approx(np.mean(20 * np.log10(2 / np.sqrt(errors))), rel=0.01)
    assert numbers["perplexity"] == pytest.approx(np.exp(-(used * np.log(used)).sum()), rel=0.05)
    assert numbers["codes_used"] == pytest.approx(len(used) / len(share), abs=0.07)


def test_an_evaluation_reads_the_variables_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They once came to the host, and each batch sent them to the GPU anew, twice."""
    given, where = [], jax.local_devices()[:2]

    def program(_: Autoencoder, variables: Any, rows: np.ndarray) -> np.ndarray:
        given.append(jax.tree.leaves(variables))
        return np.zeros((len(rows), *((4, 4) if rows.ndim == 4 else (16, 16, 3))), np.uint8)

    for name in ("_to_codes", "_from_codes"):
        monkeypatch.setattr(autoencoder, name, program)
    config = config_of("ema")
    config.build().evaluate(replicate(start(config).variables, where), random_pictures(70), where)
    assert len(given) == 4 and all(x.devices() == set(ONE) for x in given[0])
    assert all(x is y for other in given[1:] for x, y in zip(given[0], other, strict=True))


@pytest.mark.slow
def test_a_stopped_run_with_restarts_equals_one_that_was_not(tmp_path: Path) -> None:
    """SIGTERM while batches are placed; weights, means and counts are equal, bit for bit."""
    config = config_of("ema", steps=12, codes=64, decay=0.5, restart=1.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert loop.train(config, whole, ONE).step == 12
    with stop_while_placing(5):
        outcome = loop.train(config, parts, ONE)
    assert outcome.signal == "SIGTERM" and 0 < outcome.step < 12
    at_stop = dct_jax.load(parts).variables["codebook"]["quantizer"]
    assert loop.train(config, parts, ONE).step == 12
    one, other = dct_jax.load(whole), dct_jax.load(parts)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    assert one.fingerprint == other.fingerprint and one.config == other.config == config
    codebook = one.variables["codebook"]["quantizer"]
    is_new = codebook["counts"] == 1  # restarted in the last step
    assert is_new.any() and not is_new.all()
    assert not np.array_equal(codebook["table"], at_stop["table"])


@pytest.mark.parametrize(("kind", "downsampling"), [("gradient", 2), ("ema", 4), ("fsq", 4), ("ema", 8)])
def test_codes_are_the_networks_and_become_its_pictures_in_order(kind: str, downsampling: int) -> None:
    """Picture by picture, with batches that do not divide their number. The network says numbers,
    so a picture of theirs is at most half a level away."""
    config = config_of(kind, codes=8)
    config = replace(config, model=replace(config.model, downsampling=downsampling))
    model, pictures = random_model(config), random_pictures(5)
    codes = list(model.tokenize(pictures, batch_size=3))
    side = 16 // downsampling
    assert [part.shape for part in codes] == [(3, side, side), (2, side, side)]
    codes = np.concatenate(codes)
    back = list(model.detokenize(codes, batch_size=4))
    assert [(part.shape, part.dtype) for part in back] == [((n, 16, 16, 3), np.uint8) for n in (4, 1)]
    back = np.concatenate(back)
    assert back.std() > 20 and len({picture.tobytes() for picture in back}) == 5
    for i in range(5):
        found, _, quantized = run(model.network, model.variables, pictures[i : i + 1])
        np.testing.assert_array_equal(codes[i], quantized.codes[0])
        expected = (np.clip(found[0], -1, 1) + 1) * 127.5
        assert np.abs(back[i] - expected).max() < 0.501


def test_codes_of_another_rectangle_become_a_picture_of_that_shape() -> None:
    """Where codes lie as in the training's square, and far enough from what differs, the pixels are
    equal."""
    config = config_of("ema", codes=8)
    config = replace(config, model=replace(config.model, downsampling=2, residual_blocks=0))
    model = random_model(config)
    codes = np.random.default_rng(0).integers(0, 8, (2, 8, 8))
    wide = np.random.default_rng(1).integers(0, 8, (2, 12, 20))
    wide[:, :8, :8] = codes
    (square,), (rectangle,) = model.detokenize(codes, batch_size=2), model.detokenize(wide, batch_size=2)
    assert rectangle.shape == (2, 24, 40, 3) and rectangle.std() > 20
    same = np.abs(rectangle[:, :12, :12].astype(int) - square[:, :12, :12])
    assert same.max() <= 1 and (same == 0).mean() > 0.99
    assert np.any(rectangle[:, :16, :16] != square)
    (tokens,) = model.tokenize(rectangle, batch_size=2)
    assert tokens.shape == wide.shape


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    floats = np.asarray(jax.jit(to_float)(levels))
    np.testing.assert_allclose(floats, np.linspace(-1, 1, 256), atol=1e-6)
    beyond = np.array([-3.0, 1.001, 9.0], np.float32)
    np.testing.assert_array_equal(jax.jit(to_uint8)(np.append(floats, beyond)), [*levels, 0, 255, 255])


def test_what_no_model_can_read_is_refused() -> None:
    table, levels = (TrainedAutoencoder(config, {}, ()) for config in (config_of("ema", codes=8), config_of("fsq")))
    for model, wrong, last in ((table, 8, 7), (table, -1, 7), (levels, 12, 11)):
        codes = np.zeros((1, 2, 2), int)
        codes[0, 1, 1] = wrong
        message = f"the codes go from {min(0, wrong)} to {max(0, wrong)}; this model has 0 to {last}"
        with pytest.raises(ValueError, match=message):
            list(model.detokenize(codes))
    for height, width in ((16, 18), (10, 16)):
        with pytest.raises(ValueError, match=f"the pictures have {height} x {width} pixels; 4 must divide both sides"):
            list(table.tokenize(random_pictures(1, height, width)))


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [
        ("quantizer", "kind", "fqs"),
        ("quantizer", "codes", 1),
        ("quantizer", "codes", 2**20 + 1),
        ("quantizer", "dim", 0),
        ("quantizer", "dim", 2**14 + 1),
        ("quantizer", "levels", ()),
        ("quantizer", "levels", (8, 1)),
        ("quantizer", "levels", (-2, -2)),
        ("quantizer", "levels", (2**11, 2**10)),
        ("quantizer", "commitment", -0.25),
        ("quantizer", "commitment", float("nan")),
        ("quantizer", "decay", 1.0),
        ("quantizer", "decay", -0.1),
        ("quantizer", "restart", -1.0),
        ("model", "channels", 0),
        ("model", "channels", 2**14 + 1),
        ("model", "residual_blocks", -1),
        ("model", "residual_blocks", 1025),
        ("model", "downsampling", 3),
        ("model", "downsampling", 16),
        ("data", "image_size", (16, 18)),
        ("data", "image_size", (18, 16)),
        ("data", "fit", "whole"),
        ("training", "accumulate", 2),
        ("training", "optimizer", "muon"),
        ("training", "label_dropout", 0.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_fields_name(room: str, name: str, value: Any) -> None:
    config = config_of("ema")
    with pytest.raises(ValueError) as error:
        replace(config, **{room: replace(getattr(config, room), **{name: value})})
    message = str(error.value)
    assert message.startswith(f"{room}.{name} is {value}; ") and "\n" not in message


def test_own_coefficients_are_refused() -> None:
    config = config_of("ema")
    with pytest.raises(ValueError, match=r"data\.own_coefficients is on; a VQ-VAE sees pixels"):
        replace(config, data=replace(config.data, own_coefficients=True))


def test_samples_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = config_of("ema")
    config = replace(config, training=replace(config.training, samples=4))
    with pytest.raises(ValueError, match=r"training\.samples is 4; a VQ-VAE samples nothing"):
        loop.train(config, tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_survives_json(kind: str) -> None:
    config = config_of(kind, levels=(5, 4, 3), commitment=0.5, decay=0.5, restart=0.0)
    values = json.loads(json.dumps(config.to_dict()))
    assert values["system"] == "VQ-VAE" and values["quantizer"]["levels"] == [5, 4, 3]
    read = systems.read_config(values)
    assert type(read) is VQVAEConfig and read == config
    assert hash(read) == hash(config)  # programs are compiled for a network of these fields
    with pytest.raises(ValueError, match=r"quantizer\.kind is 'product'"):
        systems.read_config(values | {"quantizer": values["quantizer"] | {"kind": "product"}})
