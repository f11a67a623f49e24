"""Files of codes that were begun and not finished, and two commands that write one."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dct_jax.data.central_crops import Crop
from dct_jax.data.codes_file import HEADER_BYTES, CodesHeader, CodesWriter, read_codes, read_text_codes, writing

HEADER = CodesHeader("model", 32, (1, 2, 2), False, "source")
PIXELS = np.zeros((8, 8, 3), np.uint8)


def codes_of(number: int) -> np.ndarray:
    return np.full((1, 2, 2), number)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A file with the first two of three pictures."""
    with writing(tmp_path / "a.codes", HEADER) as writer:
        for number in (1, 2):
            writer.append(codes_of(number), [Crop(f"{number}.png", 0, PIXELS)])
    return tmp_path / "a.codes"


def go_on(path: Path) -> int:
    """Writes the pictures that the file lacks, and returns how many it had."""
    with writing(path, HEADER) as writer:
        done = writer.done
        for number in range(done + 1, 4):
            writer.append(codes_of(number), [Crop(f"{number}.png", 0, PIXELS)])
        writer.finish()
    return done


@pytest.mark.parametrize(("kept", "done"), [(0, 0), (100, 0), (HEADER_BYTES, 0), (HEADER_BYTES + 15, 1), (None, 2)])
def test_it_goes_on_whatever_a_power_cut_has_left_of_the_codes(part: Path, kept: int | None, done: int) -> None:
    if kept is not None:
        with Path(f"{part}.partial").open("r+b") as file:
            file.truncate(kept)
    assert go_on(part) == done
    found = read_codes(part)
    assert found.keys == ["1.png", "2.png", "3.png"] and found.codes[:, 0, 0].tolist() == [1, 2, 3]
    assert sorted(path.name for path in part.parent.iterdir()) == ["a.codes", "a.codes.keys"]


@pytest.mark.parametrize(
    "line",
    [b"\0" * 40, b"\xff", b"[" * 100_000, b"[]", b"1", b"{}"],
    ids=["zeros", "no text", "too deep", "a list", "a number", "no key"],
)
def test_a_damaged_line_names_its_file_and_what_to_do(part: Path, line: bytes) -> None:
    keys = Path(f"{part}.keys.partial")
    keys.write_bytes(keys.read_bytes() + line + b"\n")
    with pytest.raises(ValueError, match=r"a.codes.keys.partial is damaged .* remove it, and the file is made anew") as error:
        go_on(part)
    assert "\n" not in str(error.value)
    keys.unlink()
    assert go_on(part) == 0


def test_two_commands_do_not_write_one_file(part: Path) -> None:
    """Until the first has given the file its name, the second is refused and changes nothing."""
    with writing(part, HEADER) as writer:
        before = {path: path.read_bytes() for path in part.parent.iterdir()}
        with pytest.raises(ValueError, match=r"a.codes.partial is being written by another process; wait for it"):
            CodesWriter(part, HEADER)
        assert {path: path.read_bytes() for path in part.parent.iterdir()} == before
        writer.append(codes_of(3), [Crop("3.png", 0, PIXELS)])
        writer.finish()
    assert read_codes(part).codes[:, 0, 0].tolist() == [1, 2, 3]
    assert go_on(part) == 0


def test_a_file_that_gets_its_name_meanwhile_is_not_spoilt(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second command has opened it before the first one has finished."""

    def finish_first(*_: object) -> None:
        monkeypatch.undo()
        assert go_on(part) == 2

    monkeypatch.setattr("fcntl.flock", finish_first)
    with pytest.raises(ValueError, match="is being written by another process"):
        CodesWriter(part, HEADER)
    assert read_codes(part).codes[:, 0, 0].tolist() == [1, 2, 3]


def test_codes_never_stand_beside_the_keys_of_others(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was killed between two renames once left an older file beside new keys."""
    assert go_on(part) == 2
    with writing(part, HEADER) as writer:
        for number in (4, 5, 6):
            writer.append(codes_of(number), [Crop(f"{number}.png", 0, PIXELS)])
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                writer.finish()
    with pytest.raises(ValueError, match=r"a.codes: this file cannot be read"):
        read_codes(part)
    with writing(part, HEADER) as writer:
        assert writer.done == 3
        writer.finish()
    found = read_codes(part)
    assert found.keys == ["4.png", "5.png", "6.png"] and found.codes[:, 0, 0].tolist() == [4, 5, 6]


def test_a_folder_in_the_file_s_place_is_refused_at_once(part: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; name a file"):
        CodesWriter(part.parent, HEADER)


def test_it_knows_the_last_picture_that_it_has(tmp_path: Path) -> None:
    """Pictures that are left out have no key, and half a pair does not count."""
    header, path = CodesHeader("model", 32, (1, 2, 2), True, "source"), tmp_path / "a.codes"
    with writing(path, header) as writer:
        assert writer.last is None
        for key, pixels in (("1.png", PIXELS), ("2.png", None), ("3.png", None)):
            writer.append(codes_of(1).repeat(0 if pixels is None else 2, axis=0), [Crop(key, 0, pixels)] * 2)
        writer.append(codes_of(1), [Crop("4.png", 0, PIXELS)])
    with writing(path, header) as writer:
        assert (writer.done, writer.last) == (6, (1, "1.png"))


def test_the_keys_are_not_kept_in_memory(tmp_path: Path) -> None:
    """A writer once read all of them, as dictionaries, when it went on and when it finished."""
    number = 5000
    crops = [Crop(f"{i}.png", 0, None if i == 7 else PIXELS) for i in range(number)]
    with writing(tmp_path / "a.codes", HEADER, ("cat", "owl")) as writer:
        writer.append(np.ones((number - 1, 2, 2)), crops)
    tracemalloc.start()
    with writing(tmp_path / "a.codes", HEADER, ("cat", "owl")) as writer:
        assert writer.done == number
        writer.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * number
    assert read_codes(tmp_path / "a.codes").keys == [crop.key for crop in crops if crop.pixels is not None]


def test_a_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("1 2\n3 4\n", encoding="utf-8-sig")
    assert read_text_codes(tmp_path / "codes.txt").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("line", [b"\n", b"1\n"])
def test_a_text_of_short_lines_takes_little_memory(line: bytes, tmp_path: Path) -> None:
    """It once took an array for each line, 170 bytes of memory for one of the file."""
    (tmp_path / "codes.txt").write_bytes(line * 20_000)
    tracemalloc.start()
    try:
        if line.strip():
            assert read_text_codes(tmp_path / "codes.txt").shape == (20_000, 1)
        else:
            with pytest.raises(ValueError, match="line 1 has 0 codes; all must have as many, and at least one"):
                read_text_codes(tmp_path / "codes.txt")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 20_000


def test_lines_have_an_end(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line was once read whole, however long, and more lines of keys than there are pictures."""
    go_on(part)
    keys = Path(f"{part}.keys")
    lines = keys.read_text()
    keys.write_text(lines + lines[: lines.index("\n") + 1] + "no JSON\n")
    with pytest.raises(ValueError, match=r"a.codes.keys has more than 3 lines and must have 3"):
        read_codes(part)
    keys.write_text(lines)
    monkeypatch.setattr("dct_jax.data.codes_file.LARGEST_LINE", 20)
    (part.parent / "codes.txt").write_text("1 2 3 4 5 6 7 8 9 10\n")
    for read, path in ((read_codes, part), (read_text_codes, part.parent / "codes.txt")):
        with pytest.raises(ValueError, match="a line has more than"):
            read(path)
