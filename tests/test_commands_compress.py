"""The commands compress and decompress: there and back in two processes, and one line for each kind of bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.commands import main
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES
from tests.conftest import Refused


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG file that the debug run's model can compress, with a comment that it cannot."""
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    crop = read_image(LANDSCAPES / "canyon4.jpg")[40:72, 80:112]
    Image.fromarray(crop).save(path, quality=20, comment=b"a comment")
    return path


def test_another_process_gives_the_coefficients_back(
    debug_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "photo.dct"
    assert main(["compress", str(debug_run), str(photo), "-o", str(coded)]) == 0
    assert f"{photo.stat().st_size} bytes became {coded.stat().st_size} (" in capsys.readouterr().out
    command = [sys.executable, "-m", "dct_jax", "decompress", str(debug_run), str(coded)]
    # It compiles the programs anew, with the same options.
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    expected = SparseDCT.from_jpeg(photo)
    assert len(expected) > 20
    assert SparseDCT.from_jpeg(tmp_path / "photo-decompressed.jpg") == expected


def test_bad_input(debug_run: Path, photo: Path, tmp_path: Path, refused: Refused) -> None:
    png, fine, large = tmp_path / "a.png", tmp_path / "fine.jpg", tmp_path / "large.jpg"
    image = Image.open(photo)
    image.save(png)
    image.save(fine, quality=90)
    large.write_bytes(DCTCodec(quality=20).encode(read_image(LANDSCAPES / "canyon4.jpg")).to_jpeg())
    assert f"{png}: " in refused("compress", debug_run, png)
    assert "the list has the codec" in refused("compress", debug_run, fine)
    assert f"{large}: " in refused("compress", debug_run, large)
    assert "the label is 3; this model was trained without classes" in refused("compress", debug_run, photo, "--label", 3)
    assert "missing.jpg" in refused("compress", debug_run, tmp_path / "missing.jpg")
    assert "no run here" in refused("compress", tmp_path, photo)
    assert "does not begin with the byte 0xdc" in refused("decompress", debug_run, photo)
    assert "there is no such file" in refused("decompress", debug_run, tmp_path / "missing.dct")
    assert "must end in .jpg" in refused("decompress", debug_run, photo, "-o", tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "fine.jpg", "large.jpg"]
