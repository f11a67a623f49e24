"""The commands with a DQ-VAE and a DQ-Transformer: what they leave agrees with the library."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from dct_jax import load, plots
from dct_jax.codes import masks
from dct_jax.codes.config import CodesConfig
from dct_jax.commands import main
from dct_jax.commands.grains import with_grains_of
from dct_jax.config import DataConfig
from dct_jax.data.codes_file import read_codes
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import read_image
from dct_jax.demo.code_frames import SAMPLES, Region, frames
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.dq_transformer.stage import TrainedDQTransformer
from dct_jax.vq.autoencoder import TrainedAutoencoder
from tests.codes.toys import prior_config, random_prior, save_run
from tests.conftest import Refused
from tests.dq.toys import CODES, SIDE, dqvae_config, random_dqvae, smooth_and_rough_pictures
from tests.toys import tiny_config, untrained

CELLS, F = 8, 4
"""Of a side of the finest grid; and pixels of a side of a region, of 2 x 2 cells."""


class Runs(NamedTuple):
    """Models, pictures that have both grains, and the folders of runs by name."""

    dqvae: TrainedAutoencoder
    prior: TrainedDQTransformer
    pictures: np.ndarray
    folders: dict[str, str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, dqvae = tmp_path_factory.mktemp("runs"), random_dqvae(dqvae_config(2, "entropy", 2))
    config = DQTransformerConfig(
        data=DataConfig(image_size=(SIDE, SIDE)),
        codes=CodesConfig(num_classes=2),
        model=StackConfig(width=16, heads=2, position_layers=1, content_layers=1),
    )
    prior = random_prior(config, dqvae)
    assert isinstance(prior, TrainedDQTransformer)
    pixels = random_prior(prior_config("window"))
    models = {"dqvae": dqvae, "prior": prior, "pixels": pixels, "dct": untrained(tiny_config())}
    folders = {name: save_run(folder / name, model) for name, model in models.items()}
    pictures = smooth_and_rough_pictures(5, dqvae.config)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return Runs(dqvae, prior, pictures, folders | {"pictures": f"folder:{folder}"})


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def map_of(codes: np.ndarray) -> np.ndarray:
    """1 where a region has four codes: [N, 8, 8] -> [N, 4, 4]."""
    return (codes.reshape(-1, 4, 2, 4, 2) < CODES).sum(axis=(2, 4)) // 4


def picture_file(runs: Runs, number: int) -> Path:
    return Path(runs.folders["pictures"].removeprefix("folder:")) / f"{number}.png"


@pytest.mark.slow
def test_reconstruct_says_and_shows_how_many_codes_there_are(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("reconstruct", runs.folders["dqvae"], runs.folders["pictures"], "--out", tmp_path)
    codes, copies = runs.dqvae.reconstruct(runs.pictures)
    lengths, maps = (codes < CODES).sum(axis=(1, 2)), map_of(codes)
    assert len(set(lengths)) > 1
    report, said = json.loads((tmp_path / "reconstruction.json").read_text()), capsys.readouterr().out
    expected = {"mean": lengths.mean(), "variance": lengths.var(), "least": lengths.min(), "most": lengths.max()}
    assert report["codes_of_a_picture"] == pytest.approx(expected)
    assert report["regions"] == pytest.approx({"coarse": (maps == 0).mean(), "fine": (maps == 1).mean()})
    words = f"mean {lengths.mean():.2f}, variance {lengths.var():.2f}, least {lengths.min()}, most {lengths.max()}"
    assert f"codes of a picture  {words}\n" in said
    assert f"regions             coarse {(maps == 0).mean():.1%}, fine {(maps == 1).mean():.1%}\n" in said
    assert said.endswith("codes.png, grains.png, symbols.png and reconstruction.json\n")
    assert (tmp_path / "symbols.png").stat().st_size > 10_000
    grains = [plots.Grains(one, 2, F) for one in maps]
    tiles = [tile.repeat(10, axis=0).repeat(10, axis=1) for tile in (*runs.pictures, *copies)]
    tiles += [plots.grain_overlay(x, one).repeat(10, axis=0).repeat(10, axis=1) for x, one in zip(runs.pictures, grains)]
    tiles += [plots.grain_lines(x, one, 10) for x, one in zip(runs.pictures, grains)]
    np.testing.assert_array_equal(read_image(tmp_path / "grains.png"), plots.image_grid(tiles, 5))
    # A cell has the colour of its code, also where the grid has a hole.
    shown = read_image(tmp_path / "codes.png")[4:164, 4:164].reshape(CELLS, 20, CELLS, 20, 3)
    assert (shown == shown[:, :1, :, :1]).all()
    colours, filled = {}, codes[0].copy()
    for row, column in np.argwhere(filled == CODES):
        is_coarse = maps[0, row // 2, column // 2] == 0
        filled[row, column] = codes[0, row - row % 2, column - column % 2] if is_coarse else 1 / 0
    for code, colour in zip(filled.reshape(-1), shown[:, 0, :, 0].reshape(-1, 3)):
        assert colours.setdefault(code, tuple(colour)) == tuple(colour)
    assert len(set(colours.values())) == len(colours) > 3


@pytest.mark.slow
def test_grids_with_holes_go_through_files(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    run("tokenize", runs.folders["dqvae"], runs.folders["pictures"], "--out", tmp_path / "a.codes", "--text")
    (codes,) = runs.dqvae.tokenize(runs.pictures)
    found = read_codes(tmp_path / "a.codes")
    assert found.header.codes == CODES + 1 and found.codes.max() == CODES
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.codes.txt", int).reshape(codes.shape), codes)
    (expected,) = runs.dqvae.detokenize(codes)
    for name in ("a.codes", "a.codes.txt"):
        run("detokenize", runs.folders["dqvae"], tmp_path / name, "--out", tmp_path / "out")
        for i, picture in enumerate(expected):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{i:06d}.png"), picture)
    bad = codes.copy()
    bad[3, 2, 5] = CODES - bad[3, 2, 5] // CODES  # a code becomes a hole, and a hole a code
    cases = {
        "the region in row 1 and column 2 of picture 3 has codes of no grain": bad,
        "the codes go from 0 to 12": np.where(codes == codes[0, 0, 0], 12, codes),
        "the grid has 6 x 6 cells; it must have 8 x 8, those of training": codes[:, :6, :6],
    }
    for message, grids in cases.items():
        np.savetxt(tmp_path / "bad.txt", grids.reshape(len(grids), -1), "%d")
        assert message in refused("detokenize", runs.folders["dqvae"], tmp_path / "bad.txt", "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_samples_of_a_dq_transformer(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--temperature", 1, 0.5, "--top-k", 0, 5, "--label", 1, "--num", 3, "--seed", 4, "--out", tmp_path]
    run("sample", runs.folders["prior"], *flags)
    model = replace(runs.prior, policy=StackPolicy((1.0, 0.5), (0, 5)))
    codes = model.sample(range(3), 4, [1] * 3, (CELLS, CELLS)).codes
    lengths = (codes < CODES).sum(axis=(1, 2))
    pictures, lines = model.decode(codes), lines_of(tmp_path)
    for number, line in enumerate(lines):
        np.testing.assert_array_equal(read_image(tmp_path / line["file"]), pictures[number])
        assert line == {
            "file": f"samples/{number:04d}.png", "seed": 4, "number": number, "temperature": [1.0, 0.5], "top_k": [0, 5],
            "top_p": [1.0, 1.0], "label": 1, "class": "1", "size": [SIDE, SIDE], "grid": [CELLS, CELLS],
            "codes": lengths[number],
        }  # fmt: skip
    enlarged = [picture.repeat(10, axis=0).repeat(10, axis=1) for picture in pictures]
    grains = [plots.Grains(one, 2, F) for one in map_of(codes)]
    squares = [plots.grain_lines(x, one, 10) for x, one in zip(pictures, grains)]
    sheet, expected = read_image(tmp_path / "grains.png"), plots.image_grid(enlarged + squares, 3)
    np.testing.assert_array_equal(sheet[:168], expected[:168])
    np.testing.assert_array_equal(sheet[-168:], expected[-168:])
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    said = capsys.readouterr().out.splitlines()
    assert said[-2].startswith(f"codes of a sample: mean {lengths.mean():.2f}, variance ")
    assert said[-1].endswith("samples.png, grains.png, growth.png, samples.jsonl, samples/")


@pytest.mark.slow
def test_samples_with_the_grains_of_a_picture(runs: Runs, tmp_path: Path, refused: Refused) -> None:
    image = picture_file(runs, 2)
    run("sample", runs.folders["prior"], "--grains-of", image, "--num", 3, "--label", 0, "--out", tmp_path)
    (codes,) = runs.dqvae.tokenize(runs.pictures[2:3])
    grain_map = map_of(codes)[0]
    model = replace(runs.prior, grain_map=grain_map)
    sampled = model.sample(range(3), 0, [0] * 3, (CELLS, CELLS)).codes
    assert (map_of(sampled) == grain_map).all() and len(np.unique(sampled, axis=0)) == 3
    for line, picture in zip(lines_of(tmp_path), model.decode(sampled), strict=True):
        np.testing.assert_array_equal(read_image(tmp_path / line["file"]), picture)
        assert (line["grains_of"], line["codes"]) == ("2.png", (codes < CODES).sum())
    for name, system in (("pixels", "window transformer"), ("dct", "DCTransformer")):
        message = refused("sample", runs.folders[name], "--grains-of", image, "--out", tmp_path / "none")
        assert f"a {system} has no grains_of; it is for " in message
    none = ["--out", tmp_path / "none"]
    Image.fromarray(runs.pictures[0][:5]).save(tmp_path / "small.png")
    small = refused("sample", runs.folders["prior"], "--grains-of", tmp_path / "small.png", *none)
    assert "small.png: the picture has 5 x 16 pixels" in small
    assert "samples the grid of its training" in refused("sample", runs.folders["prior"], "--grid", 4, 4, *none)
    for size in ((15, 15), (8, 16)):
        line = refused("sample", runs.folders["prior"], "--size", *size, *none)
        assert f"the size is {size[0]} x {size[1]} pixels; a DQ-Transformer samples pictures of 16 x 16 pixels alone" in line
    assert "temperature has 3 numbers" in refused("sample", runs.folders["prior"], "--temperature", 1, 1, 1, *none)
    assert not (tmp_path / "none").exists()


def test_inpainting_keeps_the_regions_of_which_all_is_known(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The box covers a pixel of the regions in rows 1 and 2 and columns 0 and 1."""
    box = ["--mask", "box", "--box", 7, 3, 2, 2]
    run("inpaint", runs.folders["prior"], picture_file(runs, 1), *box, "--label", 1, "--num", 3, "--out", tmp_path)
    known = np.ones((4, 4), bool)
    known[1:3, 0:2] = False
    known = known.repeat(2, axis=0).repeat(2, axis=1)
    (codes,) = runs.dqvae.tokenize(runs.pictures[1:2])
    given = codes.repeat(3, axis=0), np.stack([known] * 3)
    sampled = runs.prior.sample(range(3), 0, [1] * 3, (CELLS, CELLS), given).codes
    assert (sampled[:, known] == codes[0, known]).all() and not (sampled == codes).all()
    pictures = runs.prior.decode(sampled)
    for line, picture in zip(lines_of(tmp_path), pictures, strict=True):
        np.testing.assert_array_equal(read_image(tmp_path / line["file"]), picture)
    mask = masks.box_mask((SIDE, SIDE), (7, 3, 2, 2))
    tiles = [runs.pictures[1], masks.hide(runs.pictures[1], mask, known, 2), *pictures]
    np.testing.assert_array_equal(read_image(tmp_path / "inpainted.png"), plots.image_grid(tiles, 5, scale=10))
    number, of_all = (codes[0, known] < CODES).sum(), (codes < CODES).sum()
    said = capsys.readouterr().out
    assert f"{number} of {of_all} codes are known\n" in said and "note: in a DQ-Transformer a code depends on" in said
    assert lines_of(tmp_path)[0]["known"] == number


def test_the_grains_of_a_small_picture_are_those_of_the_enlarged_one(runs: Runs, tmp_path: Path) -> None:
    """It was once refused, whatever data.enlarge of the run was."""
    config = replace(runs.prior.config, data=replace(runs.prior.config.data, enlarge=2.0))
    small = runs.pictures[1][::2, ::2]
    Image.fromarray(small).save(tmp_path / "a.png")
    model = with_grains_of(replace(runs.prior, config=config), tmp_path / "a.png")
    (codes,) = runs.dqvae.tokenize(central_crop(small, (SIDE, SIDE), 2.0)[None])
    assert isinstance(model, TrainedDQTransformer)
    np.testing.assert_array_equal(model.grain_map, map_of(codes)[0])


PADDED = """
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.dq_transformer.config import DQTransformerConfig, StackConfig

CONFIG = DQTransformerConfig(
    data=DataConfig(image_size=(14, 18), held_out_every=3, held_out_crops=2, crop=(1.0, 1.0), flip=False),
    training=TrainingConfig(steps=2, batch_size=4, warmup_steps=1, evaluate_every=2),
    model=StackConfig(width=16, heads=2, position_layers=1, content_layers=1),
)
"""


@pytest.mark.slow
def test_a_prior_over_padded_pictures_with_three_grains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    """Pictures of 14 x 18 pixels are padded to 4 x 5 regions of 4 x 4 pixels, of 16 x 20 cells."""
    config = dqvae_config(3, "entropy")
    config = replace(config, model=replace(config.model, sides="pad"), data=replace(config.data, image_size=(14, 18)))
    dqvae = random_dqvae(config)
    pictures = smooth_and_rough_pictures(6, config)[:, :14, :18]
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")
    (tmp_path / "toy.py").write_text(PADDED)
    dqvae_run, source = save_run(tmp_path / "dqvae", dqvae), f"folder:{tmp_path / 'pictures'}"
    run("train", tmp_path / "toy.py", "--run-dir", tmp_path / "prior", "--codes.run", dqvae_run, "--data.source", source)
    prior = load(tmp_path / "prior")
    assert isinstance(prior, TrainedDQTransformer) and prior.config.grid == (16, 20)

    def check(folder: Path) -> np.ndarray:
        """Returns the pictures that a command has left."""
        lines = lines_of(folder)
        assert [line["size"] for line in lines] == [[14, 18]] * 2
        return np.stack([read_image(folder / line["file"]) for line in lines])

    run("sample", tmp_path / "prior", "--num", 2, "--seed", 4, "--out", tmp_path / "samples")
    sampled = prior.sample(range(2), 4, [0] * 2, (16, 20)).codes
    np.testing.assert_array_equal(check(tmp_path / "samples"), prior.decode(sampled))
    assert "samples pictures of 14 x 18 pixels alone" in refused("sample", tmp_path / "prior", "--size", 16, 20)

    image, box = tmp_path / "pictures" / "1.png", ["--mask", "box", "--box", 9, 13, 5, 5]
    run("inpaint", tmp_path / "prior", image, *box, "--num", 2, "--out", tmp_path / "inpainted")
    known = np.ones((4, 5), bool)
    known[2:, 3:] = False
    known = known.repeat(4, axis=0).repeat(4, axis=1)
    (codes,) = dqvae.tokenize(pictures[1:2])
    sampled = prior.sample(range(2), 0, [0] * 2, (16, 20), (codes.repeat(2, axis=0), np.stack([known] * 2))).codes
    assert (sampled[:, known] == codes[0, known]).all()
    np.testing.assert_array_equal(check(tmp_path / "inpainted"), prior.decode(sampled))

    run("evaluate", tmp_path / "prior", "--own-data", "--out", tmp_path / "evaluation")
    numbers = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["held_out"]
    assert numbers["bits_per_picture"] == pytest.approx(14 * 18 * numbers["bits_per_pixel"])
    held_out = next(dqvae.tokenize(pictures[[2, 5]]))
    assert numbers["codes"] == pytest.approx((held_out < CODES).sum() / 2)
    assert "bits per pixel" in capsys.readouterr().out


def test_frames_of_the_demo_uncover_codes_from_coarse_to_fine(runs: Runs) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:9] = True  # a row of the third row of regions
    *shown, (last, line) = frames(runs.prior, 3, 1, Region(runs.pictures[0], mask, False))
    known = np.zeros((CELLS, CELLS), bool)
    known[6:] = True
    (codes,) = runs.dqvae.tokenize(runs.pictures[:1])
    given = codes.repeat(SAMPLES, axis=0), np.stack([known] * SAMPLES)
    sampled = runs.prior.sample(range(SAMPLES), 3, [1] * SAMPLES, (CELLS, CELLS), given).codes
    lengths = (sampled < CODES).sum(axis=(1, 2))
    assert line == f"complete: {', '.join(map(str, lengths))} codes, seed 3"
    pictures = runs.prior.decode(sampled)
    hidden = masks.hide(runs.pictures[0], mask, known, 2)
    np.testing.assert_array_equal(last, plots.image_grid([runs.pictures[0], hidden, *pictures], 3, scale=12))
    ranks = [plots.Grains(one, 2, F).squares() for one in map_of(sampled)]
    for state, (frame, said) in enumerate(shown[1:], start=1):
        numbers = [int(number) for number in said.split(" codes,")[0].split(", ")]
        assert numbers == [length * state // 25 for length in lengths]
        tiles = []
        for picture, rank, number in zip(pictures, ranks, numbers):
            cells = known | (rank < number)
            tiles.append(np.where(cells.repeat(2, axis=0).repeat(2, axis=1)[..., None], picture, np.uint8(128)))
        np.testing.assert_array_equal(frame, plots.image_grid([runs.pictures[0], hidden, *tiles], 3, scale=12))
    assert len(shown) == 25


@pytest.mark.slow
def test_the_page_offers_a_temperature_of_positions_and_one_of_codes(runs: Runs) -> None:
    pytest.importorskip("gradio")
    from dct_jax.demo import code_page

    page = code_page.build(runs.prior)
    texts = [str(block.value) for block in page.blocks.values() if hasattr(block, "value")]
    assert any("16 x 16 pixels, as 4 x 4 regions of 1 to 4 codes of a DQ-Transformer" in text for text in texts)
    labels = [getattr(block, "label", None) for block in page.blocks.values()]
    assert "temperature of positions" in labels and "temperature of codes" in labels
