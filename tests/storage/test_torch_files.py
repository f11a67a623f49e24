"""Checkpoints of PyTorch programs: whatever classes they name, they are read, and nothing runs."""

import argparse
import collections
import datetime
import functools
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from dct_jax.storage.restricted_pickle import NOTHING
from dct_jax.storage.torch_files import Tensor, named_tensors, open_torch
from tests.torch_writer import ORDERED, described, name, number, pair, state_dict, storage, tensor, text, torch_file, zip_file

ARRAYS = {
    "float": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "half": np.array([1.5, -2], "<f2"),
    "brain": np.array([3.25, -1e30], ml_dtypes.bfloat16),
    "steps": np.array(7, "<i8"),
    "turned": np.arange(6, dtype="<f4").reshape(2, 3).T,
    "none": np.zeros((0, 3), "<f4"),
}


class Harm:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo harm > {self.path}",)


class Words(list):
    """A list of a class that no reader knows."""


def plain(value: Any) -> bytes:
    """What Python itself writes of a value, as a part of a larger pickle."""
    return pickle.dumps(value, 2)[2:-1]


def lightning(harm: Path, old: bool) -> bytes:
    """What surrounds the weights in the checkpoints of training frameworks, and a trap."""
    surroundings = {
        "epoch": plain(3),
        "callbacks": b"}" + name("pytorch_lightning.callbacks", "ModelCheckpoint") + plain({"best": "a.ckpt"}) + b"s",
        "named": name("torch", "float32"),
        "imported": name("this", "d"),
        "size": name("torch", "Size") + pair(pair(number(3))) + b"R",
        "numpy": plain([np.float64(0.5), np.arange(3), np.dtype("f4")]),
        "standard": plain([argparse.Namespace(a=1), functools.partial(print, 1), {1, 2}, frozenset([3]), 1 + 2j]),
        "collections": plain([collections.defaultdict(list, {"a": [1]}), collections.Counter("abc"), collections.deque([1])]),
        "dates": plain(datetime.datetime(2021, 1, 1)),
        "keys": plain({(1, 2): 3, None: 4, 2.5: 5, "kept": 6}),
        "own": plain(Words(["a", "b"])),
        "trap": plain(Harm(harm)),
        "complex": tensor(storage("0", "ComplexFloat", 2, old), (2,), (1,)),
    }
    surroundings |= {"state_dict": state_dict(described(ARRAYS, old))[2:-1]}
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in surroundings.items()) + b"u."


@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_of_any_classes_is_read_and_nothing_runs(old: bool, tmp_path: Path) -> None:
    harm, path = tmp_path / "harm", tmp_path / "model.ckpt"
    path.write_bytes(torch_file(ARRAYS, old, lightning(harm, old)))
    with open_torch(path) as file:
        content = file.content
        weights = named_tensors(content["state_dict"])
        arrays = {key: file.array(weight) for key, weight in weights.items()}
    assert not {"torch", "this"} & sys.modules.keys() and not harm.exists()
    assert content["epoch"] == 3 and content["keys"] == {"kept": 6} and content["callbacks"] == {}
    assert all(content[key] is NOTHING for key in ("named", "imported", "size", "dates", "trap", "complex", "own"))
    assert (
        content["numpy"] == [NOTHING] * 3 and content["standard"] == [NOTHING] * 5 and content["collections"] == [NOTHING] * 3
    )
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype and not arrays[key].flags.writeable
        np.testing.assert_array_equal(arrays[key], array)
    os.system(Harm(harm).__reduce__()[1][0])  # the trap is one
    assert harm.exists()


def test_what_stands_for_unknown_things_keeps_nothing() -> None:
    """A pickle calls it, makes objects of it, and sets items and attributes."""
    assert NOTHING(1, key=2) is NOTHING and NOTHING.__new__(NOTHING, 3) is NOTHING
    NOTHING["a"] = 1
    NOTHING.append(1)
    NOTHING.extend([1])
    NOTHING.__setstate__({"extend": print})
    for attribute in ("extend", "other"):
        with pytest.raises(AttributeError):
            setattr(NOTHING, attribute, 1)


def test_only_the_arrays_that_are_asked_for_are_read(tmp_path: Path) -> None:
    """Another one is damaged; a tensor may lie anywhere in a storage."""
    parts = {
        "first": tensor(storage("0", "<f4", 6, False), (2,), (2,), 1),
        "second": tensor(storage("1", "<f4", 3, False), (3,), (1,)),
    }
    data = zip_file(state_dict(parts), {"0": np.arange(6, dtype="<f4").tobytes(), "1": np.full(3, 7, "<f4").tobytes()})
    place = data.index(np.full(3, 7, "<f4").tobytes())
    (tmp_path / "model.ckpt").write_bytes(data[:place] + b"\1" + data[place + 1 :])
    with open_torch(tmp_path / "model.ckpt") as file:
        np.testing.assert_array_equal(file.array(file.content["first"]), [1, 3])
        assert isinstance(file.content["second"], Tensor)
        with pytest.raises(ValueError, match=r"no PyTorch file of tensors .*CRC"):
            file.array(file.content["second"])


def test_attributes_and_pairs_take_no_memory_without_end(tmp_path: Path) -> None:
    """Both would make copies of one large dictionary, or list, for a few bytes each."""
    many = plain({f"a{i}": i for i in range(3)}) + b"q\x7f0"
    cases = {
        "attributes of a dictionary": many + b"}h\x7fb",
        "pairs of an OrderedDict": plain([("a", 1)]) + b"q\x7f0" + name("collections", "OrderedDict") + b"(h\x7ftR",
    }
    for value in cases.values():
        (tmp_path / "model.ckpt").write_bytes(zip_file(b"\x80\x02" + value + b".", {}))
        with pytest.raises(ValueError, match="no PyTorch file"), open_torch(tmp_path / "model.ckpt"):
            pass
    assert ORDERED  # without pairs it is a dictionary, as in every state_dict


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"model\.ckpt: there is no such file$"),
        (b"", "begins neither as a zip archive nor"),
        (b"\x80\x02}.", "begins neither as a zip archive nor"),
        (b"PK\x03\x04 and no more", "no PyTorch file"),
        (zip_file(b"\x80\x02" + name("a", "b") + b"\x94.", {})[:-1], "no PyTorch file"),
    ],
)
def test_files_that_are_none_are_refused_by_name(data: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error, open_torch(path):
        pass
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match="cannot be read"), open_torch(tmp_path):
        pass
