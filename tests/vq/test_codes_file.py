"""Files of codes, and the commands that write and read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.commands import codes as commands
from dct_jax.commands import main
from dct_jax.config import DataConfig
from dct_jax.data.central_crops import Crop
from dct_jax.data.codes_file import HEADER_BYTES, LARGEST_LINE, CodesHeader, CodesWriter, read_codes, writing
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import read_image
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_source
from dct_jax.dct.statistics import psnr
from dct_jax.run import load
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import VQVAEConfig
from tests.conftest import Refused

EXPERIMENT = """
from dct_jax.config import DataConfig, TrainingConfig
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig

CONFIG = VQVAEConfig(
    data=DataConfig(source="landscapes", image_size=(16, 16), held_out_crops=4),
    quantizer=QuantizerConfig(codes=32, dim=4),
    model=AutoencoderConfig(channels=8, residual_blocks=1),
    training=TrainingConfig(steps=4, batch_size=4, warmup_steps=1, evaluate_every=4),
)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vq")
    (folder / "toy.py").write_text(EXPERIMENT)
    assert main(["train", str(folder / "toy.py"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of two classes, one of which cannot be read."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(10):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    (folder / "a" / "4.png").write_bytes(b"no picture")
    return folder


def tokenize(run: Path, pictures: Path, out: Path, *flags: str) -> int:
    arguments = ["tokenize", str(run), f"folder:{pictures}", "--out", str(out), "--batch-size", "3", *flags]
    return main([*arguments])


def test_codes_become_the_reconstructions_in_their_order(run: Path, pictures: Path, tmp_path: Path) -> None:
    """From the array and from the text, with keys and labels, whatever the size of a batch."""
    config = ["--mirrored", "--text"]
    assert tokenize(run, pictures, tmp_path / "all.codes", *config) == 0
    file, model = read_codes(tmp_path / "all.codes"), load(run)
    source = open_source(f"folder:{pictures}")
    assert file.header == CodesHeader(model.fingerprint, 32, (18, 4, 4), True, source.name)
    records = [source[i] for i in range(10) if not source[i].key.endswith("4.png")]
    assert file.keys == [record.key for record in records for _ in range(2)]
    assert file.labels.tolist() == [record.label for record in records for _ in range(2)]
    assert file.classes == source.classes == open_source(f"codes:{tmp_path}/all.codes").classes == ("a", "b")
    plain = np.stack([read_image(record.key) for record in records])
    whole = np.stack([plain, plain[:, :, ::-1]], axis=1).reshape(-1, 16, 16, 3)
    np.testing.assert_array_equal(file.codes, np.concatenate(list(model.tokenize(whole))))
    expected = np.concatenate(list(model.detokenize(np.asarray(file.codes))))
    for name in ("all.codes", "all.codes.txt"):
        out = tmp_path / f"{name}-pictures"
        assert main(["detokenize", str(run), str(tmp_path / name), "--out", str(out), "--batch-size", "5"]) == 0
        found = [read_image(path) for path in sorted(out.iterdir())]
        np.testing.assert_array_equal(np.stack(found), expected)


@pytest.mark.parametrize("flags", [[], ["--mirrored"]])
def test_a_command_that_was_killed_goes_on(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    """Both files are as if it had not been, even after half a line of keys and half a row."""
    assert tokenize(run, pictures, tmp_path / "whole.codes", *flags) == 0
    original, calls = commands._read, []

    def stop(*args: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(commands, "_read", stop)
        assert tokenize(run, pictures, tmp_path / "parts.codes", *flags) == 130
    assert not (tmp_path / "parts.codes").exists()
    with (tmp_path / "parts.codes.partial").open("ab") as file:
        file.write(b"x" * 7)
    keys = tmp_path / "parts.codes.keys.partial"
    keys.write_text(keys.read_text() + '{"key": "9.p')
    assert tokenize(run, pictures, tmp_path / "parts.codes", *flags) == 0
    for suffix in ("", ".keys"):
        assert (tmp_path / f"parts.codes{suffix}").read_bytes() == (tmp_path / f"whole.codes{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_command_that_was_killed_at_its_very_end_goes_on(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    """N stands in the header then, and the keys have their name. Another source does not go on."""
    assert tokenize(run, pictures, tmp_path / "whole.codes") == 0

    def stop(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        assert tokenize(run, pictures, tmp_path / "parts.codes") == 130
    assert (tmp_path / "parts.codes.keys").exists() and not (tmp_path / "parts.codes").exists()
    other = refused("tokenize", run, f"folder:{pictures}", "--split", "b", "--out", tmp_path / "parts.codes")
    assert "parts.codes.partial is of another model or source; remove it" in other
    assert tokenize(run, pictures, tmp_path / "parts.codes") == 0
    for suffix in ("", ".keys"):
        assert (tmp_path / f"parts.codes{suffix}").read_bytes() == (tmp_path / f"whole.codes{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("change", ["a.png", "fewer"])
def test_a_folder_with_other_files_does_not_go_on(run: Path, tmp_path: Path, refused: Refused, change: str) -> None:
    """A picture was once written twice and another left out, as the pictures had moved by one."""
    folder, pixels, out = tmp_path / "pictures", np.zeros((16, 16, 3), np.uint8), tmp_path / "p.codes"
    folder.mkdir()
    for name in "bcd":
        Image.fromarray(pixels).save(folder / f"{name}.png")
    source = open_source(f"folder:{folder}")
    header = CodesHeader(load(run).fingerprint, 32, (1, 4, 4), False, source.name)
    with writing(out, header, source.classes) as writer:
        writer.append(np.zeros((2, 4, 4)), [Crop(source[i].key, source[i].label, pixels) for i in range(2)])
    if change == "fewer":
        for name in "bd":
            (folder / f"{name}.png").unlink()
    else:
        Image.fromarray(pixels).save(folder / change)
    message = refused("tokenize", run, f"folder:{folder}", "--out", out)
    assert "p.codes.partial is of another model or source: its picture 1 is" in message and "c.png, which stands" in message
    assert not out.exists()


def toy(config: VQVAEConfig) -> TrainedAutoencoder:
    """Without weights, for what needs none."""
    return TrainedAutoencoder(config, {}, ())


def test_pictures_are_enlarged_as_in_training(tmp_path: Path) -> None:
    """tokenize and reconstruct once refused pictures that the run had learnt from."""
    config = VQVAEConfig(data=DataConfig(source="x", image_size=(16, 16), enlarge=2.0))
    small = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(small).save(tmp_path / "a.png")
    source, expected = open_source(f"folder:{tmp_path}"), central_crop(small, (16, 16), 2.0)
    for mirrored in (False, True):
        crops = commands._read(source, range(1), config.data, mirrored, Skipped(1, 1.0))
        for crop, right in zip(crops, [expected, expected[:, ::-1]][: 1 + mirrored], strict=True):
            np.testing.assert_array_equal(crop.pixels, right)
    for name in (source.name, str(tmp_path / "a.png")):
        found = commands._pictures(toy(config), commands.Reconstruct("run", name))
        np.testing.assert_array_equal(found, expected[None])


def test_the_lines_of_a_text_have_the_run_s_grid_or_are_squares(tmp_path: Path) -> None:
    """A line of 36 codes of a run with 4 x 9 was once read as 6 x 6."""
    model = toy(VQVAEConfig(data=DataConfig(source="x", image_size=(16, 36))))
    (tmp_path / "a.txt").write_text(" ".join(map(str, range(36))))
    assert commands._codes(model, tmp_path / "a.txt", None)[0, 1, 0] == 9
    assert commands._codes(model, tmp_path / "a.txt", (6, 6))[0, 1, 0] == 6
    (tmp_path / "a.txt").write_text(" ".join(map(str, range(25))))
    assert commands._codes(model, tmp_path / "a.txt", None).shape == (1, 5, 5)


def test_what_is_measured_is_what_is_shown(run: Path, pictures: Path, tmp_path: Path) -> None:
    assert main(["reconstruct", str(run), "landscapes", "--num", "5", "--out", str(tmp_path)]) == 0
    report, model = json.loads((tmp_path / "reconstruction.json").read_text()), load(run)
    sheet = read_image(tmp_path / "reconstructions.png")
    scale = 160 // 16
    assert report["pictures"] == 5 and report["bits_per_pixel"] == pytest.approx(5 / 16)  # log2 32 of 4 x 4 pixels
    assert 0 < report["bits_per_pixel_at_entropy"] <= report["bits_per_pixel"]
    assert 0 < report["codes_used"] <= 1 <= report["perplexity"] <= 32
    picture = next(path for path in sorted((pictures / "b").iterdir()))
    assert main(["reconstruct", str(run), str(picture), "--out", str(tmp_path / "one")]) == 0
    alone = json.loads((tmp_path / "one" / "reconstruction.json").read_text())
    image = read_image(picture)
    (copy,) = model.detokenize(next(model.tokenize(image[None])))
    assert alone["psnr"] == pytest.approx(psnr(image, copy[0]), rel=1e-6)
    assert sheet.shape[0] > 2 * 16 * scale


@pytest.mark.usefixtures("loaded_once")
def test_bad_input(run: Path, pictures: Path, debug_run: Path, tmp_path: Path, refused: Refused) -> None:
    assert "tokenize needs an autoencoder" in refused("tokenize", debug_run, "landscapes", "--out", tmp_path / "a")
    assert "detokenize needs an autoencoder" in refused("detokenize", debug_run, "x", "--out", tmp_path / "a")
    assert "data.source is 'nothing'" in refused("tokenize", run, "nothing", "--out", tmp_path / "a")
    assert "batch_size is 0" in refused("tokenize", run, "landscapes", "--out", tmp_path / "a", "--batch-size", 0)
    assert "there is no such file" in refused("detokenize", run, tmp_path / "none", "--out", tmp_path / "a")
    text = tmp_path / "codes.txt"
    for words, message in (
        ("1 2 3 40\n", "the codes go from 1 to 40; this model has 0 to 31"),
        ("1 2 3\n", "its lines have 3 codes, which is not 1 x 1: give --grid ROWS COLUMNS"),
        ("1 2 3 4\n1\n", "line 2 has 1 codes; all must have as many"),
        ("1 b\n", "this is no text of codes"),
        ("", "this text is empty; it must have a line of codes for each picture"),
    ):
        text.write_text(words)
        assert message in refused("detokenize", run, text, "--out", tmp_path / "a")
    assert "grid is -1 x -4; both sides" in refused("detokenize", run, text, "--out", tmp_path / "a", "--grid", -1, -4)
    assert tokenize(run, pictures, tmp_path / "b.codes", "--text") == 0
    grid = refused("detokenize", run, tmp_path / "b.codes", "--out", tmp_path / "a", "--grid", 4, 4)
    assert "b.codes says which grid it has; --grid is for a text" in grid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "LARGEST_IMAGE", 255)
        for name in ("b.codes", "b.codes.txt"):
            line = refused("detokenize", run, tmp_path / name, "--out", tmp_path / "a")
            assert f"{name}: its grids of 4 x 4 codes are pictures of 256 pixels; there must be at most 255" in line
    data = (tmp_path / "b.codes").read_bytes()
    keys = (tmp_path / "b.codes.keys").read_text()
    for first in ('{"classes": "ab"}', '{"classes": [1]}', '{"classes"}', '{"classes": ["' + "x" * LARGEST_LINE + '"]}'):
        (tmp_path / "b.codes.keys").write_text("\n".join([first, *keys.splitlines()[1:], ""]))
        assert "is no file of codes that can be used" in refused(
            "detokenize", run, tmp_path / "b.codes", "--out", tmp_path / "a"
        )
    (tmp_path / "b.codes.keys").write_text(keys)
    for damaged, message in (
        (data[:-1], "bytes and must have"),
        (data.replace(b"dct_jax codes 1", b"dct_jax codes 9"), "its first line does not say"),
        (data.replace(b'"codes": 32', b'"codes": "x"'), "is no file of codes that can be used"),
        (data.replace(load(run).fingerprint.encode(), b"0" * 64), "codes of another model: 00000000"),
    ):
        (tmp_path / "b.codes").write_bytes(damaged)
        assert message in refused("detokenize", run, tmp_path / "b.codes", "--out", tmp_path / "a")
    with writing(tmp_path / "c.codes", CodesHeader("other", 32, (1, 4, 4), False, "landscapes")) as writer:
        writer.append(np.zeros((1, 4, 4), int), [Crop("key", 0, np.zeros((16, 16, 3), np.uint8))])
    assert "is of another model or source" in refused(
        "tokenize", run, "landscapes", "--out", tmp_path / "c.codes", "--batch-size", 3
    )
    assert not (tmp_path / "a").exists()
    assert len(data) == HEADER_BYTES + 2 * 9 * 16


def write(path: Path, classes: tuple[str, ...]) -> None:
    with writing(path, CodesHeader("model", 32, (1, 2, 2), False, "source"), classes) as writer:
        writer.append(np.ones((1, 2, 2), int), [Crop("key", 1, np.zeros((8, 8, 3), np.uint8))])
        writer.finish()


def test_the_names_of_classes_are_kept_and_older_files_have_none(tmp_path: Path) -> None:
    """Whatever letters the names have, and more of them than the header has room for."""
    many = (*(f"class {i}\u2028\n" for i in range(1000)), "\udc80", '"')
    write(tmp_path / "many.codes", many)
    write(tmp_path / "none.codes", ())
    assert read_codes(tmp_path / "many.codes").classes == many
    assert (tmp_path / "none.codes.keys").read_text() == '{"key": "key", "label": 1}\n'  # as older versions wrote it
    for name in ("many", "none"):
        found = read_codes(tmp_path / f"{name}.codes")
        assert (found.keys, found.labels.tolist(), found.codes.tolist()) == (["key"], [1], [[[1, 1], [1, 1]]])
    assert open_source(f"codes:{tmp_path}/none.codes").classes == ()
    with pytest.raises(ValueError, match="names of the source's 1 classes have more than"):
        write(tmp_path / "long.codes", ("x" * LARGEST_LINE,))
    assert not list(tmp_path.glob("long*"))


def test_a_part_with_other_classes_does_not_go_on(tmp_path: Path) -> None:
    header, pixels = CodesHeader("model", 32, (1, 2, 2), False, "source"), np.zeros((8, 8, 3), np.uint8)
    with writing(tmp_path / "a.codes", header, ("cat", "owl")) as writer:
        writer.append(np.ones((1, 2, 2), int), [Crop("key", 1, pixels)])
    with pytest.raises(ValueError, match="is of another model or source"):
        CodesWriter(tmp_path / "a.codes", header, ("owl", "cat"))
    with writing(tmp_path / "a.codes", header, ("cat", "owl")) as writer:
        assert writer.done == 1
