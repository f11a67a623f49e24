"""Priors as stages: codes of pictures and of files, frozen autoencoders, devices, whole runs."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dct_jax
from dct_jax.codes.config import CodePriorConfig
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.codes.reader import CodesBatch
from dct_jax.commands import main
from dct_jax.data.codes_file import CodesHeader, writing
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.run import train_at
from dct_jax.training.stage import Metrics, TrainState
from tests.codes.toys import (
    CODES,
    KINDS,
    ONE,
    prior_config,
    random_autoencoder,
    random_pictures,
    random_prior,
    save_run,
    vqvae_config,
    with_autoencoder,
    write_pictures,
)
from tests.conftest import Refused
from tests.toys import stop_while_placing


@cache
def config_of(kind: str, accumulate: int = 1) -> CodePriorConfig:
    config = with_autoencoder(prior_config(kind, classes=2, accumulate=accumulate), vqvae_config())
    return replace(config, training=replace(config.training, clip_norm=1e3))


@cache
def first_state(kind: str) -> TrainState:
    """With parameters that are large enough for all that is random to matter."""
    variables = random_prior(config_of(kind), random_autoencoder(vqvae_config())).variables
    start = jax.jit(config_of(kind).build().optimizer.init)
    return TrainState(jnp.int32(0), variables, start(variables["params"]))


def batch_of(step: int, codes: bool = False) -> CodesBatch:
    """Random pictures, or their codes."""
    pictures, rng = random_pictures(4, seed=step), np.random.default_rng(step)
    content = next(random_autoencoder(vqvae_config()).tokenize(pictures, 4)) if codes else pictures
    return CodesBatch(content, rng.integers(0, 2, 4).astype(np.int32), rng.integers(2**32, size=4).astype(np.uint32))


@cache
def fit(kind: str, devices: int = 1, accumulate: int = 1, codes: bool = False) -> tuple[TrainState, list[Metrics]]:
    """The state after three steps, and the metrics of each. The rate of the first is 0, and the
    second has its batch again."""
    stage, where, found = config_of(kind, accumulate).build(), jax.local_devices()[:devices], []
    state, step = replicate(first_state(kind), where), parallel(stage.step, where)
    for number in (0, 0, 1):
        state, metrics = step(state, place(batch_of(number, codes), where))
        found.append(jax.device_get(metrics))
    return TrainState(*jax.device_get(state)), found


def assert_close(one: Any, other: Any, atol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=atol), one, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_codes_on_two_devices_in_two_parts_teach_as_their_pictures_on_one(kind: str) -> None:
    """What is random in training is so by picture."""
    (one, metrics_one), (other, metrics_other) = fit(kind), fit(kind, devices=2, accumulate=2, codes=True)
    assert_close(one.variables, other.variables)
    assert_close(metrics_one, metrics_other)
    assert all(metrics.means["nats"].sum / 4 > 1 and metrics.work == 4 * 16 for metrics in metrics_one)
    start = first_state(kind).variables["params"]
    assert max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one.variables["params"], start)))) > 0.005
    nats = [float(metrics.means["nats"].sum) for metrics in metrics_one]
    assert (nats[0] == pytest.approx(nats[1], rel=1e-6)) == (kind == "window")  # SUNDAE corrupts each step anew


@pytest.mark.parametrize("kind", ["window", pytest.param("sundae", marks=pytest.mark.slow)])
def test_the_autoencoder_is_frozen(kind: str) -> None:
    """It does not move, not even by weight decay, and the optimiser has no room for it. The norm of
    the gradient is that of the prior's parameters alone."""
    state, metrics = fit(kind)
    jax.tree.map(np.testing.assert_array_equal, state.variables["autoencoder"], first_state(kind).variables["autoencoder"])
    of_params = [x.shape for x in jax.tree.leaves(state.variables["params"])]
    in_optimizer = [x.shape for x in jax.tree.leaves(state.optimizer) if x.shape]
    assert sorted(in_optimizer) == sorted(2 * of_params)

    stage, batch = config_of(kind).build(), batch_of(0)
    codes = next(random_autoencoder(vqvae_config()).tokenize(batch.content, 4))

    def loss(params: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(stage.config.seed), 0)
        keys = jnp.stack([jax.random.fold_in(key, seed) for seed in batch.seeds])
        return stage.losses(params, codes, batch.labels, keys, None)[0]

    norm = jax.jit(lambda params: optax.tree.norm(jax.grad(loss)(params)))(first_state(kind).variables["params"])
    assert metrics[0].gradient_norm == pytest.approx(float(norm), rel=1e-3)


def test_a_device_encodes_a_part_of_its_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, and as many pictures or fewer in evaluations, which copy no variables: once all
    came to the host and went back, in comparisons for each picture."""
    stage, rows, calls = config_of("window", accumulate=2).build(), [], []

    def encode(config: Any, autoencoder: Any, pictures: jax.Array) -> jax.Array:
        rows.append(len(pictures))
        return jnp.zeros((len(pictures), 4, 4), jnp.int32)

    monkeypatch.setattr("dct_jax.codes.stage.to_codes", encode)
    step = jax.vmap(stage.step, in_axes=(None, 0), axis_name="data")
    jax.eval_shape(step, first_state("window"), jax.tree.map(lambda x: x[None], batch_of(0)))
    assert set(rows) == {2}

    def judge(variables: Any, batch: CodesBatch) -> dict[str, np.ndarray]:
        calls.append((jax.tree.leaves(variables), len(batch.labels)))
        return {"nats": np.ones(len(batch.labels))}

    stage.__dict__["_judge"] = judge
    monkeypatch.setattr(jax, "device_get", None)
    for devices, size in ((1, 2), (2, 1)):
        where = jax.local_devices()[:devices]
        variables = replicate(first_state("window").variables, where)
        assert stage.evaluate(variables, batch_of(0), where)["nats"] == 1
        assert [number for _, number in calls] == [size] * (4 // size)
        assert all(isinstance(x, jax.Array) and x.devices() == {where[0]} for x in calls[0][0])
        assert all(x is y for x, y in zip(calls[0][0], calls[1][0], strict=True))
        jax.tree.map(lambda x: x.delete(), variables)
        assert all(x.is_deleted() for x in calls[0][0])  # as it is no copy
        calls.clear()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/ of an autoencoder, pictures/, plain.codes and plain.codes.txt."""
    folder = tmp_path_factory.mktemp("room")
    run = save_run(folder / "run", random_autoencoder(vqvae_config()))
    source = write_pictures(folder / "pictures")
    assert main(["tokenize", run, source, "--out", str(folder / "plain.codes"), "--text"]) == 0
    return folder


EXPERIMENT = """
from tests.codes.toys import prior_config

CONFIG = prior_config("{kind}", "{source}", "{run}", {classes}, evaluate_every=4)
"""


def experiment(folder: Path, kind: str, source: str, run: Path | str, classes: int = 0) -> str:
    path = folder / f"{kind}.py"
    path.write_text(EXPERIMENT.format(kind=kind, source=source, run=run, classes=classes))
    return str(path)


def nats_of(run: Path) -> float:
    """What a run has said of held-out pictures."""
    (held_out,) = (record["held_out"] for record in map(json.loads, (run / "metrics.jsonl").open()) if "held_out" in record)
    return float(held_out["nats"])


@pytest.mark.slow
def test_a_run_on_codes_is_the_run_on_their_pictures_and_its_folder_alone_makes_pictures(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The autoencoder's run is away by then. With another in its place the run does not go on, but
    without one it does: the file's codes must be those of the autoencoder in the checkpoints. What
    a run counts as parameters are its own."""
    shutil.copytree(room / "run", tmp_path / "run")
    runs = {name: tmp_path / name for name in ("pictures", "codes")}
    for name, source in (("pictures", f"folder:{room}/pictures"), ("codes", f"codes:{room}/plain.codes")):
        arguments = ["train", experiment(tmp_path, "window", source, tmp_path / "run", 2), "--run-dir", str(runs[name])]
        assert main(arguments) == 0
    assert nats_of(runs["codes"]) == pytest.approx(nats_of(runs["pictures"]), rel=1e-4)
    model = dct_jax.load(runs["codes"])
    parameters = sum(x.size for x in jax.tree.leaves(model.variables["params"]))
    assert "".join(capsys.readouterr()).count(f"{parameters:,} parameters") == 2
    assert_close(dct_jax.load(runs["pictures"]).variables, model.variables)

    autoencoder = random_autoencoder(vqvae_config())
    shutil.rmtree(tmp_path / "run")
    model = dct_jax.load(runs["pictures"])
    assert (
        isinstance(model, TrainedCodePrior) and model.classes == ("a", "b") and model.config.autoencoder == autoencoder.config
    )
    jax.tree.map(np.testing.assert_array_equal, model.variables["autoencoder"], autoencoder.variables)
    pictures = [picture for _, picture in model.sample_pictures(2, 0, [0, 1], 2)]
    grids = model.sample([0, 1], 0, [0, 1], (4, 4)).codes
    np.testing.assert_array_equal(pictures, next(autoencoder.detokenize(grids, 2)))

    on_codes = prior_config("window", f"codes:{room}/plain.codes", str(tmp_path / "run"), 2, evaluate_every=4)
    assert train_at(on_codes, runs["codes"]).step == 4
    assert f"the run goes on with the autoencoder in {runs['codes']}" in caplog.text
    for name in ("plain.codes", "plain.codes.keys"):
        content = (room / name).read_bytes().replace(autoencoder.fingerprint.encode(), b"0" * 64)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="these are codes of the model 00000000; they must be those of the model"):
        train_at(replace(on_codes, data=replace(on_codes.data, source=f"codes:{tmp_path}/plain.codes")), runs["codes"])
    with pytest.raises(ValueError, match=f"{tmp_path}/run"):
        train_at(on_codes, tmp_path / "new")

    save_run(tmp_path / "run", random_autoencoder(vqvae_config(), seed=9))
    with pytest.raises(ValueError, match="holds a run that began with another autoencoder; go on with that one"):
        train_at(replace(model.config, autoencoder=None), runs["pictures"])
    save_run(tmp_path / "moved", autoencoder)
    moved = replace(model.config, autoencoder=None, codes=replace(model.config.codes, run=str(tmp_path / "moved")))
    assert train_at(moved, runs["pictures"]).step == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sundae", "window"])
def test_a_stopped_run_equals_one_that_was_not(kind: str, room: Path, tmp_path: Path) -> None:
    """SIGTERM while batches are placed; all is equal, bit for bit."""
    source, run = f"folder:{room}/pictures", str(room / "run")
    config = prior_config(kind, source, run, 2, steps=20, evaluate_every=100, checkpoint_every=100)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_at(config, whole).step == 20
    with stop_while_placing(10):
        outcome = train_at(config, parts)
    assert outcome.signal == "SIGTERM" and 8 <= outcome.step < 13
    assert train_at(config, parts).step == 20
    one, other = dct_jax.load(whole), dct_jax.load(parts)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    assert one.fingerprint == other.fingerprint and one.config == other.config


def test_what_does_not_fit_together_is_refused_in_a_line(room: Path, debug_run: Path, tmp_path: Path, refused: Refused) -> None:
    def refuse(source: str, run: Path | str = room / "run", classes: int = 0, *flags: object) -> str:
        path = experiment(tmp_path, "window", source, run, classes)
        message = refused("train", path, "--run-dir", tmp_path / "out", *flags)
        assert not (tmp_path / "out").exists()
        return message

    pictures, plain, text = f"folder:{room}/pictures", f"codes:{room}/plain.codes", f"codes:{room}/plain.codes.txt"
    fingerprint = random_autoencoder(vqvae_config()).fingerprint[:8]
    # Of another model.
    other = random_autoencoder(vqvae_config(), seed=9)
    save_run(tmp_path / "other", other)
    message = f"plain.codes: these are codes of the model {fingerprint}; they must be those of "
    assert f"{message}the model {other.fingerprint[:8]} in codes.run" in refuse(plain, tmp_path / "other")
    assert f"{message}pixels, as codes.run is empty" in refuse(plain, "")
    assert (
        f"codes.run is {debug_run}, a run of the system DCTransformer; a window transformer needs a VQ-VAE or a VQ-GAN"
        in refuse(pictures, debug_run)
    )
    assert "none" in refuse(pictures, tmp_path / "none")
    # Of other sizes.
    assert "it has 4 x 4 codes; the run's grid is 2 x 2" in refuse(plain, room / "run", 0, "--data.image-size", 4, 4)
    assert "it has 16 codes; the run's grid is 2 x 2" in refuse(text, room / "run", 0, "--data.image-size", 4, 4)
    assert "data.image_size is (7, 8); 2 must divide both sides" in refuse(pictures, room / "run", 0, "--data.image-size", 7, 8)
    beyond = tmp_path / "beyond.txt"
    beyond.write_text(f"{' '.join(map(str, range(CODES - 15, CODES + 1)))}\n".replace("-", "") * 20)
    assert f"this model has 0 to {CODES - 1}" in refuse(f"codes:{beyond}")
    # Classes.
    assert "codes.num_classes is 3, but folder:" in (line := refuse(pictures, room / "run", 3)) and "has 2 classes" in line
    assert f"codes.num_classes is 2, but {text} has 0 classes" in refuse(text, room / "run", 2)
    assert f"codes.num_classes is 1, but {plain} has 2 classes" in refuse(plain, room / "run", 1)
    # Files.
    assert f"{tmp_path}/none.codes: there is no such file" in refuse(f"codes:{tmp_path}/none.codes")
    assert "data.split is 'train'; codes:" in refuse(plain, room / "run", 0, "--data.split", "train")
    beyond.write_text("1 x\n")
    assert "this is no text of codes" in refuse(f"codes:{beyond}")
    assert "samples are compared with pictures" in refuse(plain, room / "run", 0, "--training.samples", 4)


def test_a_file_in_the_users_folder_is_checked(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with writing(tmp_path / "a.codes", CodesHeader("0" * 64, CODES, (1, 4, 4), False, "x")) as writer:
        writer.append(np.zeros((0, 4, 4), int), [])
    (tmp_path / "a.codes.partial").rename(tmp_path / "a.codes")
    (tmp_path / "a.codes").write_bytes((tmp_path / "a.codes").read_bytes() + bytes(32))
    (tmp_path / "a.codes.keys").write_text('{"key": "k", "label": 0}\n')
    config = prior_config("window", "codes:~/a.codes", str(room / "run"))
    with pytest.raises(ValueError, match="these are codes of the model 00000000"):
        config.complete(dct_jax.load)


def test_an_experiment_that_names_an_autoencoder_takes_the_one_of_its_run(room: Path) -> None:
    config = with_autoencoder(prior_config("window", f"folder:{room}/pictures"), vqvae_config(flip=False))
    with pytest.raises(ValueError, match=r"codes.run is empty; it must be a run of a VQ-VAE"):
        replace(config, codes=replace(config.codes, run="")).complete(dct_jax.load)
    complete, given = replace(config, codes=replace(config.codes, run=str(room / "run"))).complete(dct_jax.load)
    assert complete.autoencoder == vqvae_config() != config.autoencoder
    jax.tree.map(np.testing.assert_array_equal, given, {"autoencoder": random_autoencoder(vqvae_config()).variables})
    pixels = prior_config("window")
    assert pixels.complete(dct_jax.load) == (pixels, {})


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_do_not_depend_on_the_batch(kind: str) -> None:
    """Five held-out pictures, four at a time and all at once; of pictures as of their codes."""
    found, variables = [], first_state(kind).variables
    pictures = random_pictures(5)
    contents = {4: pictures, 5: next(random_autoencoder(vqvae_config()).tokenize(pictures, 5))}
    for size, content in contents.items():
        config = config_of(kind)
        stage = replace(config, training=replace(config.training, batch_size=size)).build()
        held_out = CodesBatch(content, np.array([0, 1, 1, 0, 1], np.int32), np.arange(5, dtype=np.uint32))
        found.append(stage.evaluate(variables, held_out, ONE))
    assert found[0].keys() == found[1].keys() and stage.best in found[0]
    for name, number in found[0].items():
        assert number == pytest.approx(found[1][name], rel=1e-4)
