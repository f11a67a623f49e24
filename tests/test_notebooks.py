"""The notebooks train what they say, call commands that there are, and run from top to bottom."""

import ast
import base64
import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
import tyro
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from packaging.requirements import Requirement
from PIL import Image

from dct_jax.commands import COMMANDS
from dct_jax.config import RunConfig, with_fields
from dct_jax.data.sources import LANDSCAPES
from dct_jax.experiment import FOLDER, load_experiment
from tests.test_wheel import PROJECT

NAMES = ("quickstart", "train_your_own", "compare")
SHORT = {"warmup_steps": 0, "batch_size": 4, "held_out_crops": 4}
SMALL = SHORT | {"optimizer": "adam", "width": 16, "heads": 2}
SMALL_DCT = SMALL | {"encoder": (1,), "position_decoder": (1,), "value_decoder": (1,), "chunk_size": 48, "overlap": 8}
SMALL_VQVAE = SHORT | {"channels": 8, "residual_blocks": 1, "codes": 16, "dim": 4}
SMALL_WINDOW = SMALL | {"layers": 1}
OWN = {"PICTURES": "folder:pictures", "SIZE": (32, 32)}
MINE = OWN | {"RUN": "run", "CLASSES": True, "STEPS": 2, "SAMPLES": 2}
SMALLEST: dict[str, dict[str, Any]] = {
    "quickstart": {"RUN": "run", "STEPS": 2, "FIELDS": SMALL_DCT, "PER_CLASS": 1, "SAMPLES": 2},
    "train_your_own": MINE | {"SYSTEM": "DCTransformer", "FIELDS": SMALL_DCT},
    "train_your_own, codes": MINE | {"SYSTEM": "VQ-VAE", "FIELDS": SMALL_WINDOW, "AUTOENCODER": SMALL_VQVAE | {"steps": 2}},
    "compare": OWN
    | {
        "CLASSES": 2,
        "RUNS": "run",
        "STEPS": {"fashion": 2, "vqvae_fashion": 2, "window_fashion": 2},
        "FIELDS": {"fashion": SMALL_DCT, "vqvae_fashion": SMALL_VQVAE, "window_fashion": SMALL_WINDOW},
        "SAMPLES": 8,
    },
}
PICTURES = {"quickstart": 8, "train_your_own": 5, "train_your_own, codes": 4, "compare": 5}  # in the outputs
MADE = {
    "quickstart": ("run/checkpoints/2", "run/compressed/valley1.dct"),
    "train_your_own": ("run/checkpoints/2", "run/samples/0003.png", "run.safetensors"),
    "train_your_own, codes": ("run-codes/checkpoints/2", "run/samples/0003.png", "run.safetensors"),
    "compare": ("run/dctransformer/checkpoints/2", "run/vqvae/checkpoints/2", "run/comparison/comparison.csv"),
}


class Parsed(BaseException):
    """A command has read its arguments, and runs no further."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tagged(book: NotebookNode, tag: str) -> NotebookNode:
    (cell,) = [cell for cell in book.cells if tag in cell.metadata.get("tags", ())]
    return cell


def code(book: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def assigned(cell: NotebookNode) -> set[str]:
    return {target.id for node in ast.parse(cell.source).body for target in node.targets}


def images(book: NotebookNode) -> list[Image.Image]:
    data = [output.data for cell in code(book) for output in cell.outputs if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode(one["image/png"]))) for one in data if "image/png" in one]


def names_of(book: NotebookNode, **values: Any) -> dict[str, Any]:
    """What cells after the parameters know, with other values of some parameters."""
    names: dict[str, Any] = {"sys": sys, "Path": Path, "source": SimpleNamespace(classes=("even", "odd"))}
    exec(tagged(book, "parameters").source, names)
    return names | values


def trained(name: str, **values: Any) -> list[RunConfig]:
    """The configurations of all runs that a notebook trains, in their order."""
    configs: list[RunConfig] = []

    def train(experiment: str, folder: str, **fields: Any) -> None:
        configs.append(with_fields(load_experiment(experiment), fields))

    book = read(name)
    names = names_of(book, **values) | {"dct_jax": SimpleNamespace(train=train)}
    for cell in code(book):
        if "dct_jax.train(" in cell.source:
            exec(cell.source, names)
    return configs


def commands(book: NotebookNode) -> Iterator[list[str]]:
    """The words of each command, with the parameters' values."""
    names = names_of(book)
    for cell in code(book):
        if cell.source.startswith("!") or "\n!" in cell.source:
            for line in cell.source.splitlines():
                if line.startswith("!"):
                    yield shlex.split(eval(f"f{line[1:]!r}", names))
                elif re.match(r"\w+(, \w+)* = ", line):
                    exec(line, names)


def test_what_is_committed(name: str) -> None:
    book = read(name)
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    assert book.metadata.accelerator == "GPU"
    for before, cell in zip(book.cells, book.cells[1:]):
        assert cell.cell_type == "markdown" or before.cell_type == "markdown", f"{cell.id} has no text before it"
    for cell in code(book):
        assert not cell.outputs and cell.execution_count is None, f"{cell.id} has outputs"
        assert len(cell.source.splitlines()) <= 20, f"{cell.id} is long"
        ast.parse(TransformerManager().transform_cell(cell.source))
    for case, values in SMALLEST.items():
        if case.partition(",")[0] == name:
            assert assigned(tagged(book, "parameters")) >= set(values)


@pytest.mark.parametrize("file", ["classes.png", "samples.png"])
def test_the_picture_of_samples_is_shown(file: str, tmp_path: Path) -> None:
    """With one class, or more than 50, there is no classes.png to show."""
    Image.new("RGB", (3, 3)).save(tmp_path / file)
    names = names_of(read("train_your_own"), CLASSES=True, RUN=tmp_path) | {"Image": Image}
    (cell,) = [cell for cell in code(read("train_your_own")) if "classes.png" in cell.source]
    exec("\n".join(line for line in cell.source.splitlines() if not line.startswith("!")), names)


def test_all_are_installed_alike() -> None:
    assert len({tagged(read(name), "install").source for name in NAMES}) == 1


@pytest.mark.parametrize("place", ["checkout", "wheel", "address"])
def test_it_is_installed_from_a_checkout_a_wheel_and_an_address(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.chdir(FOLDER if place == "checkout" else tmp_path)
    source = tagged(read("compare"), "install").source
    if place == "wheel":
        source = re.sub(r'^PACKAGE = "[^"]*"', 'PACKAGE = "/content/dct_jax-0.1.0-py3-none-any.whl"', source, flags=re.M)
    source, found = re.subn(r"^%pip install -q \{package\} \{cuda\}$", "words = package", source, flags=re.M)
    names: dict[str, Any] = {}
    exec(source, names)
    words = shlex.split(names["words"])
    extras = PROJECT["optional-dependencies"]
    assert found == 1 and {"train", "metrics"} <= extras.keys()
    if place == "checkout":
        assert words == ["-r", "../requirements.txt", *extras["metrics"][1:]]
        assert sys.path[0] == str(FOLDER.parent) == names["os"].environ["PYTHONPATH"]
    elif place == "wheel":
        assert words == ["/content/dct_jax-0.1.0-py3-none-any.whl[train,metrics]"]
    else:
        (word,) = words
        assert Requirement(word).extras == {"train", "metrics"} and Requirement(word).url == names["PACKAGE"]


def test_the_quick_start_is_the_landscapes_experiment() -> None:
    (config,) = trained("quickstart")
    evaluate_every = load_experiment("landscapes").training.evaluate_every  # it does not change what is learnt
    assert with_fields(config, {"evaluate_every": evaluate_every}) == load_experiment("landscapes")
    (config,) = trained("quickstart", FIELDS={"evaluate_every": 7, "width": 256})
    assert (config.training.evaluate_every, config.to_dict()["model"]["width"]) == (7, 256)


@pytest.mark.parametrize("has_classes", [False, True])
def test_both_systems_train_on_one_s_own_pictures(has_classes: bool) -> None:
    values = {"PICTURES": "folder:pictures", "SIZE": (32, 48), "CLASSES": has_classes}
    (ours,) = trained("train_your_own", **values)
    autoencoder, prior = trained("train_your_own", SYSTEM="VQ-VAE", **values)
    assert ours.data == autoencoder.data == prior.data
    assert (ours.data.source, ours.data.image_size, ours.data.split) == ("folder:pictures", (32, 48), "")
    assert ours.reader().num_classes == prior.reader().num_classes == 2 * has_classes
    assert prior.to_dict()["codes"]["run"] == "runs/mine-codes"
    with pytest.raises(ValueError, match="SYSTEM is 'codes'"):
        trained("train_your_own", SYSTEM="codes", **values)


def test_compare_trains_the_experiments_that_it_names() -> None:
    steps = {"fashion": 800, "vqvae_fashion": 5000, "window_fashion": 400}
    experiments = [with_fields(load_experiment(name), {"steps": number}) for name, number in steps.items()]
    experiments[0] = with_fields(experiments[0], {"label_dropout": 0.0})  # the other system hides no class
    experiments[2] = with_fields(experiments[2], {"run": "runs/vqvae"})
    assert trained("compare", STEPS=steps, RUNS="runs") == experiments


@pytest.mark.parametrize("classes", [0, 3])
def test_compare_shows_both_systems_the_same_pictures(classes: int) -> None:
    ours, autoencoder, prior = trained("compare", PICTURES="folder:pictures", SIZE=(32, 32), CLASSES=classes)
    assert ours.data == autoencoder.data == prior.data
    assert (ours.data.source, ours.data.split, ours.data.held_out_split) == ("folder:pictures", "", "")
    assert ours.reader().num_classes == prior.reader().num_classes == classes
    assert ours.to_dict()["codec"]["chroma_subsampling"] == "4:2:0"  # or they would be grey


def test_commands_read_their_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_arguments = tyro.cli

    def read_alone(*args: Any, **kwargs: Any) -> None:
        read_arguments(*args, **kwargs)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", read_alone)
    called = list(commands(read(name)))
    assert len(called) == {"quickstart": 4, "train_your_own": 4, "compare": 1}[name]
    for *program, command, arguments in ((*words[:4], words[4:]) for words in called):
        assert program == [sys.executable, "-m", "dct_jax"]
        with pytest.raises(Parsed):
            COMMANDS[command](arguments)


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALLEST)
def test_it_runs_from_top_to_bottom(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nbclient raises if a cell fails; a command that fails does so by the line after it."""
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # as the tests keep compiled programs; see storage/caches.py
    for place, picture in enumerate(sorted(LANDSCAPES.glob("c*.jpg"))[:24]):
        folder = tmp_path / "pictures" / ("even", "odd")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)
    book = read(case.partition(",")[0])
    install = tagged(book, "install")
    install.source = re.sub(r"^%pip.*$", "", install.source, flags=re.M)
    tagged(book, "parameters").source += "".join(f"\n{key} = {value!r}" for key, value in SMALLEST[case].items())
    for cell in code(book):
        cell.source = re.sub(r"^(!.*)$", r"\1\nassert _exit_code == 0", cell.source, flags=re.M)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    said = "".join(output.text for cell in code(book) for output in cell.outputs if output.output_type == "stream")
    assert "RuntimeWarning" not in said and "dct_jax: " not in said, said
    assert all((tmp_path / path).exists() for path in MADE[case])
    shown = images(book)
    assert len(shown) == PICTURES[case]
    assert all(len(set(image.convert("L").tobytes())) > 1 for image in shown)
