"""Pictures that a CSV file lists."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.config import DataConfig
from dct_jax.data.pixels import pixels
from dct_jax.data.sources import NO_LABEL, open_source, open_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for i, name in enumerate(("a", "b", "c d")):
        Image.fromarray(np.full((4, 5, 3), 40 * i, np.uint8)).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


def test_rows_are_pictures_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs; labels become numbers in the order of their names."""
    absolute = folder / "pictures" / "b.png"
    rows = f'label,image_path,other\nshoe,pictures/c d.png,1\nhat,"{absolute}",2\n,pictures/a.png,3\n'
    (folder / "list.csv").write_text(rows)
    monkeypatch.chdir("/")
    source = open_source(f"csv:{folder / 'list.csv'}")
    assert (len(source), source.classes) == (3, ("hat", "shoe"))
    records = [source[i] for i in range(3)]
    assert [record.label for record in records] == [1, 0, NO_LABEL]
    assert [int(pixels(record)[0, 0, 0]) for record in records] == [80, 40, 0]
    assert records[1].key == str(absolute)


def test_files_of_excel_are_read_whatever_the_locale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin with a byte order mark; and names have letters that a locale may not have."""
    (folder / "pictures" / "a.png").rename(folder / "pictures" / "ä.png")
    (folder / "list.csv").write_bytes("image_path,label\r\npictures/ä.png,Würfel\r\n".encode("utf-8-sig"))
    with monkeypatch.context() as patch:
        patch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")
        source = open_source(f"csv:{folder / 'list.csv'}")
    assert (len(source), source.classes) == (1, ("Würfel",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,1\n", "there is no column 'image_path'; there are path, label"),
        ("", "there is no column 'image_path'; there are none"),
        ("image_path\n", "this file has no rows"),
        ("image_path\npictures/a.png\nnone.png\n", "1 of its 2 files are missing, such as .*none.png"),
        ("image_path\n\xff\xfe", "cannot be read"),
        ("image_path\n" + "x" * 300, "1 of its 1 files are missing"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(folder: Path, text: str, message: str) -> None:
    (folder / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as caught:
        open_source(f"csv:{folder / 'list.csv'}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_split_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv: this file cannot be read"):
        open_source(f"csv:{folder / 'none.csv'}")
    with pytest.raises(ValueError, match=r"data.split is 'train'; csv:.* has no parts"):
        open_source(f"csv:{folder / 'list.csv'}", "train")


def test_a_picture_in_two_rows_is_not_divided(folder: Path) -> None:
    """It once was held out and trained on."""
    (folder / "list.csv").write_text("image_path\npictures/a.png\npictures/b.png\npictures/a.png\n")
    assert len(open_source(f"csv:{folder / 'list.csv'}")) == 3
    with pytest.raises(ValueError, match=r"3 rows name 2 files, such as .*a.png more than once; give each file one row"):
        open_sources(DataConfig(source=f"csv:{folder / 'list.csv'}", held_out_every=2))
