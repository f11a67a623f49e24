"""The notebooks run from top to bottom, at the smallest settings."""

import ast
import base64
import io
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from dct_jax.data.sources import LANDSCAPES
from dct_jax.experiment import FOLDER, load_experiment

SMALL = {"RUN": "run", "STEPS": 2, "BATCH_SIZE": 4, "HELD_OUT": 4, "SIZE": (32, 32), "WIDTH": 64, "SAMPLES": 3}
REPLACED = {
    "quickstart": SMALL,
    "train_your_own": {**SMALL, "PICTURES": "folder:pictures", "FIT": "whole", "CLASSES": True, "CHUNK_SIZE": 48},
}
PICTURES = {"quickstart": 5, "train_your_own": 4}  # in the outputs


@pytest.fixture(params=REPLACED)
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
        ast.parse(TransformerManager().transform_cell(cell.source))
    assert assigned(tagged(book, "parameters")) >= set(REPLACED[name])
    assert "%pip install" in tagged(book, "install").source


def test_both_are_installed_alike() -> None:
    first, second = (tagged(read(name), "install").source for name in REPLACED)
    assert first == second


def test_the_quick_start_is_the_landscapes_experiment() -> None:
    lines = "\n".join(cell.source for cell in code(read("quickstart")) if cell.id in ("device", "parameters")).splitlines()
    (codec,) = [line for cell in code(read("quickstart")) for line in cell.source.splitlines() if line.startswith("codec =")]
    (config,) = [cell.source for cell in code(read("quickstart")) if cell.id == "config"]
    names: dict[str, Any] = {}
    exec("\n".join([line for line in lines if line[:1].isalpha() and "devices" not in line] + [codec, config]), names)
    ours, theirs = names["config"].to_dict(), load_experiment("landscapes").to_dict()
    for config in (ours, theirs):
        del config["training"]["evaluate_every"]  # it does not change what is learnt
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", REPLACED)
def test_it_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nbclient raises if a cell fails."""
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    for place, picture in enumerate(sorted(LANDSCAPES.glob("canyon*.jpg"))[:12]):
        folder = tmp_path / "pictures" / ("even", "odd")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)
    book = read(name)
    book.cells.remove(tagged(book, "install"))
    tagged(book, "parameters").source += "".join(f"\n{key} = {value!r}" for key, value in REPLACED[name].items())
    (config,) = [cell for cell in code(book) if cell.id == "config"]
    config.source = config.source.replace('"muon"', '"adam"').replace("(1, 1)", "(1,)")  # which compiles sooner
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    shown = images(book)
    assert len(shown) == PICTURES[name]
    assert all(len(set(image.convert("L").tobytes())) > 1 for image in shown)
    (samples,) = [cell for cell in code(book) if cell.id == "samples"]
    (grid,) = images(NotebookNode(cells=[samples]))
    if name == "quickstart":
        assert grid.size == (3 * (64 + 4) + 4, 64 + 2 * 4)
    else:
        assert grid.width == 3 * (4 * 32 + 4) + 4
        assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == [
            f"{i:04d}.{suffix}" for i in range(2 * 3) for suffix in ("jpg", "png")
        ]
        assert (tmp_path / "run.zip").stat().st_size > 10_000
