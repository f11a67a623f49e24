"""What works without JAX and TensorFlow, which take seconds to import. One other process does all
of it, step by step."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from dct_jax.data.sources import Source, open_source
from tests.data.test_idx import write as write_idx
from tests.data.test_prepare import CLASSES
from tests.data.test_prepare import write as write_pictures
from tests.data.test_tar import write as write_tar
from tests.data.test_tfds import example
from tests.data.test_tfds import write as write_tfds

DO = """
import pickle, sys
steps, said = pickle.load(sys.stdin.buffer), {}
for name, code in steps.items():
    scope = {}
    exec(code, scope)
    said[name] = scope.get("found"), {"jax", "tensorflow", "tensorflow_datasets"} & set(sys.modules)
with open(sys.argv[1], "wb") as file:
    pickle.dump(said, file)
"""
"""Says of each step what it found, and what was imported after it."""

IMPORTS = {
    "the commands": "dct_jax.commands",
    "the sources": "dct_jax.data.sources",
    "the input": "dct_jax.dct.reader, dct_jax.dct.chunks",  # Grain imports JAX where it is there, and lets it sleep
    "the launcher": "dct_jax.distributed.launching, dct_jax.commands.train",
}

DESCRIBE = """
import pickle
with open({!r}, "rb") as file:
    source = pickle.load(file)
record = source[3]
found = len(source), source.classes, source.name, record.label, record.key, bytes(record.image)
"""

PREPARE = """
from pathlib import Path
from dct_jax.data.prepare import prepare_source
prepare_source({!r}, Path({!r}))
"""

FIND = """
from dct_jax.data.sources import open_source
found = [len(open_source("tfds:pets", "test")), len(open_source("tfds:pets:1.0.0"))]
for name in ("cifar10", "downsampled_imagenet/64x64", "pets:2.0.0"):
    try:
        open_source(f"tfds:{name}")
    except ValueError as error:
        found.append(str(error))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def sources(folder: Path) -> dict[str, Source]:
    """One of each kind that has open files, and what the other process shall read of it."""
    records = [example(i) for i in range(12)]
    data = write_tfds(folder / "data" / "pets" / "1.0.0", {"train": records[:9], "test": records[9:]})
    tfds = open_source(f"tfds:{data}", "train")
    return {
        "tar": open_source(f"tar:{write_tar(folder / 'a.tar')}", "train"),
        "idx": open_source(f"idx:{write_idx(folder / 'idx', end='.gz')}", "train"),
        "tfds": tfds,
        "tfds, by cloudpickle": tfds,
    }


@pytest.fixture(scope="module")
def said(folder: Path, sources: Mapping[str, Source]) -> dict[str, tuple[Any, set[str]]]:
    steps = {name: f"import {modules}" for name, modules in IMPORTS.items()}
    for name, source in sources.items():
        assert source[0].image is not None  # its files are open now
        data = (cloudpickle if "cloudpickle" in name else pickle).dumps(source)
        assert len(data) < (1000 if name == "idx" else 10_000)
        (folder / f"{name}.pickle").write_bytes(data)
        steps[name] = DESCRIBE.format(str(folder / f"{name}.pickle"))
    pictures = write_pictures(folder / "owls", CLASSES)
    steps["prepare"] = PREPARE.format(f"folder:{pictures}", str(folder / "out"))
    steps["find"] = FIND
    run = [sys.executable, "-c", DO, str(folder / "said")]
    environment = os.environ | {"TFDS_DATA_DIR": str(folder / "data")}  # TFDS reads it when it is imported
    subprocess.run(run, input=pickle.dumps(steps), check=True, env=environment)
    found: dict[str, tuple[Any, set[str]]] = pickle.loads((folder / "said").read_bytes())
    return found


@pytest.mark.parametrize("name", IMPORTS)
def test_it_starts(said: Mapping[str, tuple[Any, set[str]]], name: str) -> None:
    assert said[name] == (None, set())


@pytest.mark.parametrize("name", ["tar", "idx", "tfds", "tfds, by cloudpickle"])
def test_pickled_sources_are_read(said: Mapping[str, tuple[Any, set[str]]], sources: Mapping[str, Source], name: str) -> None:
    source, (found, imported) = sources[name], said[name]
    record = source[3]
    assert found == (len(source), source.classes, source.name, record.label, record.key, bytes(record.image))
    assert imported <= ({"tensorflow_datasets"} if "tfds" in name else set())


def test_pictures_are_prepared(said: Mapping[str, tuple[Any, set[str]]], folder: Path) -> None:
    assert said["prepare"] == (None, {"tensorflow_datasets"})
    assert len(open_source(f"tfds:{folder}/out/owls/1.0.0")) == len(CLASSES)


def test_data_sets_are_found_by_name(said: Mapping[str, tuple[Any, set[str]]], folder: Path) -> None:
    (test, train, *lines), imported = said["find"]
    assert (test, train, imported) == (3, 9, {"tensorflow_datasets"})
    unprepared = "is not prepared in {}; prepare it with `python -m dct_jax prepare {}`"
    assert re.search(unprepared.format(f"{folder}/data/cifar10/[0-9.]+", "cifar10"), lines[0])
    assert re.search(unprepared.format(".*", "downsampled_imagenet/64x64"), lines[1])
    assert lines[2].startswith("tfds:pets:2.0.0: TFDS knows no such data set, and none of that name is prepared; ")
    assert len(lines) == 3
