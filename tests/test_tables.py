"""Text from outside."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dct_jax.plots import class_grid
from dct_jax.tables import align, first_line, printable

ODD = os.fsdecode(b"a\xff\x1b[31m\n$x_")
"""A name that is no UTF-8, colours a terminal, has two lines, and would be a formula without an
end."""


def test_what_is_not_a_letter_is_escaped() -> None:
    assert printable(ODD) == "a\\udcff\\x1b[31m\\n$x_"
    assert printable("naïve 猫 a b") == "naïve 猫 a b"
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"  # turns the order of letters around
    assert align([("name", "1"), ("\x07", "23")]).isprintable() is False  # the line break alone
    assert all(line.isprintable() for line in align([("name", "1"), ("\x07", "23")]).splitlines())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n\n first\nsecond"), "first"),
        (KeyError(), "KeyError"),
        (OSError(" \n"), "OSError"),
        (ValueError("a" * 300), "a" * 200),
    ],
)
def test_the_reason_of_an_error_is_its_first_line(error: Exception, line: str) -> None:
    """Of an error that began with an empty line, the reason was once empty."""
    assert first_line(error) == line


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stats", "encode", "train"])
def test_commands_take_files_and_classes_of_any_name(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / ODD
    folder.mkdir(parents=True)
    for i in range(12):
        Image.fromarray(np.full((40, 40, 3), 20 * i, np.uint8)).save(folder / f"{i}{ODD}.png")
    (folder / f"broken{ODD}.png").write_bytes(b"")
    skip = ["--data.max-skipped", "0", "--run-dir", str(tmp_path)]
    arguments = {
        "stats": [f"folder:{tmp_path}/pictures"],
        "encode": [str(folder / f"0{ODD}.png"), "--out", str(tmp_path / f"out{ODD}.npz")],
        "train": ["debug", "--data.source", f"folder:{tmp_path}/pictures", *skip],
    }[command]
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "dct_jax", command, *arguments], capture_output=True, check=False, env=environment, cwd=tmp_path
    )
    said = (done.stdout + done.stderr).decode()
    assert "Traceback" not in said and "\x1b[31m" not in said, said
    assert done.returncode == (2 if command == "train" else 0), said
    if command == "train":
        assert "broken" in said.splitlines()[-1]


def test_a_class_of_any_name_is_a_row_of_a_plot(tmp_path: Path) -> None:
    """Between two dollars it is no formula, which could not be read."""
    figure = class_grid([[np.zeros((8, 8, 3), np.uint8)]], [f"{ODD}$"])
    figure.savefig(tmp_path / "classes.png")
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == [f"{printable(ODD)}$"]
