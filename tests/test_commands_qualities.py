"""The commands of a model that knows several qualities."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.commands import main
from tests.conftest import Refused
from tests.toys import SMALLEST, random_image, save_run, tiny_config, untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the qualities 20 to 60, in blocks of 8 x 8, whose pictures are JPEG files."""
    folder, rng, plain = tmp_path_factory.mktemp("run"), np.random.default_rng(0), tiny_config()
    (folder / "pictures").mkdir()
    for i in range(10):
        Image.fromarray(random_image(rng, 16, 16)).save(folder / "pictures" / f"{i}.png")
    config = dataclasses.replace(
        plain,
        codec=DCTCodec(8, 30),
        data=dataclasses.replace(plain.data, source=f"folder:{folder / 'pictures'}", held_out_every=2, fit="whole"),
        model=dataclasses.replace(SMALLEST, qualities=(20, 60), chunk_size=400),
    )
    return save_run(folder / "saved", untrained(config))


@pytest.mark.slow
def test_samples_of_a_quality(run: Path, tmp_path: Path, refused: Refused) -> None:
    flags = ["--num", "2", "--max-triples", "40", "--format", "jpg", "--out", str(tmp_path)]
    for chosen in ([], ["--quality", "60"]):
        assert main(["sample", str(run), *flags, *chosen]) == 0
        lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
        quality = int(chosen[1]) if chosen else 30
        assert [line["quality"] for line in lines] == [quality] * 2
        lists = [SparseDCT.from_jpeg(tmp_path / line["file"]) for line in lines]
        assert [sparse.codec for sparse in lists] == [DCTCodec(8, quality)] * 2
    message = refused("sample", run, *flags, "--quality", 61)
    assert "the quality is 61; the model knows qualities 20 to 60" in message


@pytest.mark.slow
def test_a_part_of_a_file_keeps_its_quality(run: Path, tmp_path: Path) -> None:
    image = Image.fromarray(random_image(np.random.default_rng(1), 16, 16))
    for quality, expected in ((44, 44), (80, 30)):
        file = tmp_path / f"{quality}.jpg"
        image.save(file, quality=quality, subsampling="4:2:0", progressive=True)
        file.write_bytes(file.read_bytes()[:-40])
        out = tmp_path / str(quality)
        assert main(["continue", str(run), str(file), "--num", "1", "--max-triples", "60", "--out", str(out)]) == 0
        (line,) = (json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines())
        assert line["given"] > 0 and line["quality"] == expected


@pytest.mark.slow
def test_held_out_lists_of_mixed_qualities(run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--num", "5", "--own-data", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["bits"]["images"] == 5
    assert np.isfinite(report["bits"]["bits_per_pixel"]["mean"]) and report["coders"][0]["files"]["bytes"] > 300
