"""Pictures in tar files: their order, classes and bytes, threads and processes, and files that are
no such tar file."""

import io
import os
import pickle
import re
import shlex
import tarfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dct_jax.data.sources import NO_LABEL, open_source

FILES = {
    "train/owl/deep/b.png": b"deep owl",
    "train/cat/a.PNG": b"cat",
    "train/owl/a.jpg": b"owl",
    "train/owl-2/a.jpg": b"owl 2",
    "train/top.bmp": b"no class",
    "train/cat/notes.txt": b"no picture",
    "train/cat/._a.PNG": b"hidden",
    "test/cat/z.webp": b"",
    "test/" + "long" * 60 + "/é.tiff": b"long and not ASCII",
}


def write(path: Path, files: dict[str, bytes] = FILES, form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar file with a folder, a link and these files, in this order."""
    with tarfile.open(path, "w", format=form) as tar:
        for kind, name in ((tarfile.DIRTYPE, "./train"), (tarfile.SYMTYPE, "train/cat/link.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.PNG"
            tar.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_records_are_the_image_files_in_the_order_of_their_paths(tmp_path: Path, form: int) -> None:
    path = write(tmp_path / "a.tar", form=form)
    source = open_source(f"tar:{path}", "train")
    assert source.name == f"tar:{path} (train)"
    assert source.classes == ("cat", "owl", "owl-2")
    assert list(source) == [
        (b"cat", 0, f"{path}/train/cat/a.PNG", None),
        (b"owl", 1, f"{path}/train/owl/a.jpg", None),
        (b"deep owl", 1, f"{path}/train/owl/deep/b.png", None),
        (b"owl 2", 2, f"{path}/train/owl-2/a.jpg", None),
        (b"no class", NO_LABEL, f"{path}/train/top.bmp", None),
    ]


def test_the_same_files_in_a_folder_are_the_same_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar")
    root = tmp_path / "unpacked"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for split in ("", "train", "test", "train/owl"):
        packed, unpacked = open_source(f"tar:{path}", split), open_source(f"folder:{root}", split)
        assert packed.classes == unpacked.classes
        assert len(packed) == len(unpacked) > 1
        for one, other in zip(packed, unpacked):
            assert one[:2] == other[:2]
            assert one.key.removeprefix(f"{path}/") == other.key.removeprefix(f"{root}/")


def test_of_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.png": b"old", "b.png": b"other"})
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"newer"))
    assert [record.image for record in open_source(f"tar:{path}")] == [b"newer", b"other"]


def test_a_file_that_has_changed_is_indexed_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.png": b"old"})
    assert len(open_source(f"tar:{path}")) == 1
    write(path, {"a.png": b"old", "b.png": b"new"})
    os.utime(path, ns=(0, 0))  # in case the clock is too coarse
    assert len(open_source(f"tar:{path}")) == 2


def test_threads_read_one_source_at_once(tmp_path: Path) -> None:
    files = {f"{i % 7}/{i:04d}.png": i.to_bytes(2, "big") * (i + 1) for i in range(500)}
    source = open_source(f"tar:{write(tmp_path / 'a.tar', files)}")
    expected = [content for _, content in sorted(files.items())]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: source[i].image, list(range(500)) * 8))
    assert read == expected * 8


def test_an_index_takes_little_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {f"class/{i:020d}.png": b"" for i in range(2000)})
    tracemalloc.start()
    try:
        source = open_source(f"tar:{path}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 2000 < 480  # bytes: measured 370, and 600 if tarfile keeps what it knows of each member
    assert len(pickle.dumps(source)) / 2000 < len("class/00000000000000000000.png") + 30


def test_indices_end(tmp_path: Path) -> None:
    source = open_source(f"tar:{write(tmp_path / 'a.tar')}")
    for index in (-1, 7):
        with pytest.raises(IndexError, match=f"there is no record {index} of 7"):
            source[index]


def test_a_missing_file_folder_or_image_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar")
    with pytest.raises(ValueError, match=f"^tar:{tmp_path}/b.tar: there is no such file$"):
        open_source(f"tar:{tmp_path}/b.tar")
    with pytest.raises(ValueError, match=f"^tar:{tmp_path}: this file cannot be read"):
        open_source(f"tar:{tmp_path}")
    with pytest.raises(ValueError, match=r"there is no folder 'val' with images \(data.split\); there are test, train$"):
        open_source(f"tar:{path}", "val")
    flat = write(tmp_path / "flat.tar", {"a.png": b""})
    with pytest.raises(ValueError, match=r"there is no folder 'val' with images \(data.split\); there are no folders at all$"):
        open_source(f"tar:{flat}", "val")
    empty = write(tmp_path / "empty.tar", {"notes.txt": b""})
    with pytest.raises(ValueError, match=f"^tar:{empty}: no image file in that tar file \\(AVIF, BMP"):
        open_source(f"tar:{empty}")


@pytest.mark.parametrize(("kind", "unpack"), [("gz", "gunzip"), ("bz2", "bunzip2"), ("xz", "unxz")])
def test_a_compressed_file_is_refused_with_what_unpacks_it(tmp_path: Path, kind: str, unpack: str) -> None:
    path = tmp_path / f"a.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as tar:
        tar.add(write(tmp_path / "a.tar"), "a.png")
    with pytest.raises(ValueError, match=f"is compressed, .* unpack it first: `{unpack} --keep {path}`$"):
        open_source(f"tar:{path}")


def test_the_command_that_unpacks_is_quoted_for_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "my $files.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(write(tmp_path / "a.tar"), "a.png")
    with pytest.raises(ValueError) as error:
        open_source(f"tar:{path}")
    command = str(error.value).split("`")[1]
    assert shlex.split(command) == ["gunzip", "--keep", str(path)] and f"'{path}'" in command


def test_a_file_that_is_no_tar_file_is_named(tmp_path: Path) -> None:
    for content in (b"", b"no tar file", b"no tar file" * 100):
        path = tmp_path / "a.tar"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^tar:{path}: this is no tar file, or it is damaged or cut off"):
            open_source(f"tar:{path}")


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """Or else a run would silently train on what is left of its pictures."""
    whole = write(tmp_path / "a.tar", {"a.png": b"a" * 600, "b.png": b"b" * 100, "c" * 200 + ".png": b"c"}).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        end = tar.getmembers()[-1].offset_data + tarfile.BLOCKSIZE
    for length in [*range(0, end, 256), end]:
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(f"tar:{path}: this ") + ".* damaged or cut off"):
            open_source(f"tar:{path}")
    path.write_bytes(whole[: end + tarfile.BLOCKSIZE])
    assert len(open_source(f"tar:{path}")) == 3


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.png": b"a", "b.png": b"b", "c.png": b"c"})
    with tarfile.open(path) as tar:
        header = tar.getmembers()[-2].offset
    data = bytearray(path.read_bytes())
    data[header : header + 8] = b"damaged!"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"this tar file is damaged or cut off at byte {header}; make it anew$"):
        open_source(f"tar:{path}")


def test_a_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.png": b"a" * 5000})
    source = open_source(f"tar:{path}")
    os.truncate(path, 4000)
    with pytest.raises(ValueError, match=f"^{path}/a.png: this file cannot be read \\(the tar file has become shorter"):
        source[0]
    path.unlink()
    with pytest.raises(ValueError, match=f"^{path}/a.png: this file cannot be read \\(No such file or directory\\)$"):
        pickle.loads(pickle.dumps(source))[0]


def test_a_source_closes_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar")

    def is_open() -> bool:
        return any(os.path.realpath(link) == str(path.resolve()) for link in Path("/proc/self/fd").iterdir())

    source = open_source(f"tar:{path}")
    assert not is_open()
    source[0], source[1]
    assert is_open()
    del source
    assert not is_open()


def test_other_names_of_a_file_are_pictures(tmp_path: Path) -> None:
    """tar writes a file with two names once, and a link; pictures by such a link were once left out
    without a word."""
    (tmp_path / "a" / "cat").mkdir(parents=True)
    (tmp_path / "a" / "cat" / "1.png").write_bytes(b"cat")
    (tmp_path / "a" / "cat" / "secret").write_bytes(b"no picture")
    (tmp_path / "a" / "owl").mkdir()
    os.link(tmp_path / "a" / "cat" / "1.png", tmp_path / "a" / "owl" / "0.png")
    os.link(tmp_path / "a" / "cat" / "secret", tmp_path / "a" / "owl" / "2.png")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("cat/1.png", "cat/secret", "owl/0.png", "owl/2.png"):
            tar.add(tmp_path / "a" / name, name)
    source = open_source(f"tar:{tmp_path}/a.tar")
    assert [(record.image, record.label) for record in source] == [(b"cat", 0), (b"cat", 1)]
    assert source.others == {"": 1, ".png": 1}


@pytest.mark.parametrize("size", [b"\x80" + (2**70).to_bytes(11, "big"), b"\xff" * 10 + b"\xfe\x00"])
def test_a_header_that_is_made_to_do_harm(size: bytes, tmp_path: Path) -> None:
    """A file of 2^70 bytes, and one of -512, at which tarfile would read the same header for
    ever."""
    header = bytearray(tarfile.TarInfo("a/1.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(ValueError, match=r"this is no tar file, or it is damaged or cut off|damaged or cut off at byte"):
        open_source(f"tar:{tmp_path}/a.tar")


@pytest.mark.parametrize("body", [b"9" * 1_000_000, b"5 hdrcharset=" + b"1" * 1_000_000])
def test_an_extended_header_of_digits(body: bytes, tmp_path: Path) -> None:
    """Python 3.11 takes minutes to look for the end of its first number."""
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, len(body)
    padded = body + bytes(-len(body) % 512)
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + padded + bytes(1024))
    with pytest.raises(ValueError, match=r"this is no tar file, or it is damaged or cut off"):
        open_source(f"tar:{tmp_path}/a.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [2**20 + 1, -512])
def test_a_header_that_claims_too_much_is_not_read(kind: bytes, size: int, tmp_path: Path) -> None:
    """It once took as much memory and time as it claimed, of a file that may be a hole; for a
    negative size, all of the file."""
    header = tarfile.TarInfo("a")
    header.type, header.size = kind, size
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ValueError, match=f"this is no tar file, .* \\(a header of {size} bytes at byte 0; at most 1048576 are"):
        open_source(f"tar:{tmp_path}/a.tar")


def test_a_header_without_sense_names_its_file(tmp_path: Path) -> None:
    """What was said was Python's own: 'invalid literal for int()'."""
    body = b"22 GNU.sparse.map=1,x\n"
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, len(body)
    member = tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + body.ljust(512, b"\0") + member + bytes(1024))
    with pytest.raises(ValueError, match=f"^tar:{tmp_path}/a.tar: this is no tar file.* \\(a header without sense at byte 0: "):
        open_source(f"tar:{tmp_path}/a.tar")
