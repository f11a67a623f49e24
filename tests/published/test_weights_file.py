"""Files of weights: the same model comes back, and nothing that is damaged or foreign is loaded."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from dct_jax import published, run
from dct_jax.commands import main
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.published import locate, read_records_of, results_folder, weights_file
from dct_jax.published.weights_file import About, Weights, read_about, read_weights, round_to, write_weights
from dct_jax.run import load
from dct_jax.storage import files
from tests.conftest import Refused
from tests.toys import SMALLEST, save_run, tiny_config, untrained

ABOUT = About("toys", "CC0-1.0", "train toys", {"bits_per_pixel": 1.25})


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    plain = tiny_config()
    config = dataclasses.replace(
        plain,
        model=dataclasses.replace(SMALLEST, num_classes=2),
        training=dataclasses.replace(plain.training, label_dropout=0.1),
    )
    return untrained(config, ("hat", "shoe"))


def write(path: Path, model: TrainedModel, kind: str = "float32") -> Path:
    params = round_to(model.variables, kind)
    fingerprint = dataclasses.replace(model, variables=params).fingerprint
    write_weights(path, Weights(model.config, params, model.sizes, model.classes, fingerprint, ABOUT), kind)
    return path


@pytest.fixture(scope="module")
def file(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "toy.safetensors", model, "bfloat16")


@pytest.mark.parametrize(
    ("kind", "dtype"), [("float32", np.float32), ("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)]
)
def test_the_model_comes_back(model: TrainedModel, tmp_path: Path, kind: str, dtype: type) -> None:
    again = load(write(tmp_path / "a.safetensors", model, kind))
    assert (again.config, again.sizes, again.classes) == (model.config, model.sizes, model.classes)
    for ours, theirs in zip(jax.tree.leaves(again.variables), jax.tree.leaves(model.variables), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, np.asarray(theirs).astype(dtype).astype(np.float32))
    assert (again.fingerprint == model.fingerprint) == (kind == "float32")
    size = sum(leaf.size for leaf in jax.tree.leaves(model.variables)) * np.dtype(dtype).itemsize
    assert size < (tmp_path / "a.safetensors").stat().st_size < size + 20_000
    assert read_about(tmp_path / "a.safetensors") == (ABOUT, size // np.dtype(dtype).itemsize)


def test_what_is_written_can_be_read_and_what_cannot_is_refused_before(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may be larger than other files from outside; its parameters are limited."""
    monkeypatch.setattr(files, "LARGEST_FILE", 100)
    weights = read_weights(file)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(weights.variables))
    monkeypatch.setattr(weights_file, "LARGEST_MODEL", parameters)
    write_weights(tmp_path / "a.safetensors", weights, "bfloat16")
    assert (tmp_path / "a.safetensors").stat().st_size == file.stat().st_size
    assert read_about(file) == (ABOUT, parameters)
    monkeypatch.setattr(weights_file, "LARGEST_MODEL", parameters - 1)
    why = f"the model has {parameters} parameters; a file of weights has at most {parameters - 1}"
    with pytest.raises(ValueError, match=rf"b\.safetensors cannot be written: {why}"):
        write_weights(tmp_path / "b.safetensors", weights, "bfloat16")
    assert not (tmp_path / "b.safetensors").exists()
    with pytest.raises(ValueError, match=f"toy.safetensors: .*{why}"):
        read_weights(file)


@pytest.mark.slow
def test_no_flipped_bit_and_no_cut_file_is_loaded(file: Path, tmp_path: Path) -> None:
    data, copy = file.read_bytes(), tmp_path / "a.safetensors"
    header = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    places = [*rng.integers(header, len(data), 25), *rng.integers(0, header, 25), header, len(data) - 1]
    loaded = 0
    for place in map(int, places):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :])
        try:
            again = load(copy)
        except ValueError as error:
            assert str(error).startswith(str(copy)) and "\n" not in str(error)
        else:  # what the fingerprint does not cover: names, sizes, what people are told
            loaded += 1
            assert place < header and again.fingerprint == load(file).fingerprint
    assert loaded < 25
    for length in (0, 7, 8, 100, header - 1, header, len(data) // 2, len(data) - 1):
        copy.write_bytes(data[:length])
        with pytest.raises(ValueError, match="this is no file of weights that can be used"):
            load(copy)


def changed(file: Path, out: Path, **changes: str | None) -> Path:
    """The file with other metadata; None removes an entry."""
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    arrays = {}
    for name, entry in safetensors.deserialize(file.read_bytes()):
        arrays[name] = np.frombuffer(entry["data"], ml_dtypes.bfloat16).reshape(entry["shape"])
    kept = {name: value for name, value in (metadata | changes).items() if value is not None}
    out.write_bytes(safetensors.numpy.save(arrays, kept))
    return out


def test_other_versions_and_other_networks_are_refused(file: Path, model: TrainedModel, tmp_path: Path) -> None:
    config, out = model.config.to_dict(), tmp_path / "a.safetensors"
    wider = json.dumps(config | {"model": config["model"] | {"width": 32}})
    unknown = json.dumps(config | {"model": config["model"] | {"depth": 3}})
    for changes, message in (
        ({"format": "dct_jax model 2"}, "its format is 'dct_jax model 2'; this version reads 'dct_jax model 1'"),
        ({"format": None}, "its format is 'none'"),
        ({"classes": None}, "its header has no classes"),
        ({"config": wider}, "its configuration needs"),
        ({"config": unknown}, "the configuration's field model.depth is unknown"),
        ({"config": "[" * 100_000}, "this is no file of weights"),
        ({"sizes": f"[[1, 1{'0' * 400}, 1]]"}, "the sizes of its pictures are not lists of height, width and count"),
        ({"classes": '["a"]'}, r"it names 1 classes; its model has 2 \(model.num_classes\)"),
        ({"about": "{}"}, "this is no file of weights"),
        ({"fingerprint": "0" * 64}, "the weights are damaged"),
    ):
        with pytest.raises(ValueError, match=message) as refusal:
            load(changed(file, out, **changes))
        assert str(refusal.value).startswith(str(out)) and "\n" not in str(refusal.value)
    out.write_bytes(safetensors.numpy.save({"a": np.zeros(3, np.int64)}, {"format": "dct_jax model 1"}))
    with pytest.raises(ValueError, match="its header has no config"):
        read_weights(out)
    with pytest.raises(ValueError, match=r"a\.bin: the name of a file of weights must end in \.safetensors"):
        write(tmp_path / "a.bin", model)


@pytest.fixture
def shop(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one published model, toy, and an empty working directory."""
    folder = tmp_path / "weights"
    folder.mkdir()
    data = file.read_bytes()
    (folder / "toy.safetensors").write_bytes(data)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  toy.safetensors\n")
    monkeypatch.setattr(published, "FOLDER", folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_a_published_model_is_loaded_by_name_and_a_run_of_that_name_comes_first(
    shop: Path, file: Path, model: TrainedModel
) -> None:
    assert load("toy").fingerprint == load(file).fingerprint
    assert results_folder("toy-0.1") == results_folder("elsewhere/toy-0.1.safetensors") == Path("results/toy-0.1")
    assert results_folder("toy") == Path("results/toy") == results_folder("elsewhere/toy.safetensors")
    Path("toy").mkdir()
    assert load("toy").fingerprint == load(file).fingerprint  # a folder that is no run
    save_run(Path("toy"), model)
    assert load("toy").fingerprint == model.fingerprint
    assert locate("toy") == results_folder("toy") == Path("toy")


def test_records_are_those_of_the_model(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a checkpoint end at its step."""
    records = [{"step": step, "seconds": 1.0} for step in (1, 2, 3)]
    for folder in (Path("run"), Path("results/toy")):
        (folder / "checkpoints" / "2").mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read_records_of("run") == records and read_records_of("run/checkpoints/2") == records[:2]
    assert read_records_of("toy") == read_records_of(shop / "toy.safetensors") == []
    monkeypatch.chdir("run/checkpoints")
    assert read_records_of("2") == records[:2]


def test_what_is_not_the_file_s_fault_is_not_blamed_on_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(weights_file, "_shapes", without_memory)
    with pytest.raises(MemoryError):
        load(file)


def test_a_name_that_is_too_long_is_refused_in_a_line() -> None:
    """It once was an OSError, in Python 3.11."""
    with pytest.raises(ValueError, match=r"this cannot be looked at|there is no run here"):
        load(300 * "a")


def test_a_published_model_that_is_another_is_refused(shop: Path, model: TrainedModel, refused: Refused) -> None:
    write(shop / "toy.safetensors", model)
    assert "toy.safetensors: this is not the file that was published" in refused("sample", "toy")
    (shop / "SHA256SUMS").unlink()
    assert "this is not the file that was published" in refused("sample", "toy")


def test_every_command_takes_the_name(shop: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Each asks `load` for it, and says so in one line when there is nothing of that name."""
    Path("a.jpg").write_bytes(b"")
    for command in (
        ("sample", "tay"),
        ("upsample", "tay", "a.jpg"),
        ("colorize", "tay", "a.jpg"),
        ("continue", "tay", "a.jpg"),
        ("evaluate", "tay"),
        ("export", "tay", "b.safetensors"),
        ("compress", "tay", "a.jpg", "-o", "a.dct"),
    ):
        assert "no published model of this name; the nearest published models are toy" in refused(*command)
    assert "there is no run here (no folder nothing.safetensors/checkpoints)" in refused("sample", "nothing.safetensors")


@pytest.mark.slow
def test_what_commands_make_of_a_published_model_is_in_the_working_directory(shop: Path) -> None:
    assert main(["sample", "toy", "--num", "2", "--max-triples", "9"]) == 0
    assert sorted(path.name for path in Path("results/toy/samples").iterdir()) == ["0000.png", "0001.png"]
    assert {path.name for path in shop.iterdir()} == {"toy.safetensors", "SHA256SUMS"}


def test_a_run_is_exported_and_models_are_listed(
    shop: Path, model: TrainedModel, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    run = save_run(Path("run"), model)
    measures = {"FD-AlexNet": {"value": 2.25}, "FID": {"value": None}}  # null: it is not finite
    report = {"bits": {"bits_per_pixel": {"mean": 1.5}}, "samples": {"measures": measures}}
    Path("e.json").write_text(json.dumps(report | {"fingerprint": model.with_dtype("bfloat16").fingerprint}))
    options = [
        "--source",
        "fashion",
        "--data",
        "some toys",
        "--licence",
        "CC0",
        "--command",
        "train toys",
        "--evaluation",
        "e.json",
    ]
    out = shop / "mine.safetensors"
    assert main(["export", str(run), str(out), "--dtype", "float32", *options]) == 0
    again = load(out)
    assert again.fingerprint == model.fingerprint
    assert again.config.data == dataclasses.replace(model.config.data, source="fashion")
    capsys.readouterr()
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("mine"))
    assert row.split() == ["mine", "some", "toys", "CC0", *row.split()[4:6], "1.500", "2.250", "-"]
    assert any(line.split() == ["mine", "train", "toys"] for line in lines)
    of_file = dataclasses.replace(model, variables=round_to(model.variables, "bfloat16"))
    Path("e.json").write_text(json.dumps(report | {"fingerprint": of_file.fingerprint}))
    assert main(["export", str(run), "a.safetensors", "--evaluation", "e.json"]) == 0
    Path("e.json").write_text(json.dumps(report | {"fingerprint": "0123456789"}))
    line = f"these are figures of the model 01234567, and {run} has the model {model.fingerprint[:8]}"
    assert line in refused("export", run, "b.safetensors", "--evaluation", "e.json")  # it took another model's
    Path("e.json").write_text("{}")
    assert "this is no evaluation.json of a run" in refused("export", run, "b.safetensors", "--evaluation", "e.json")
    Path("e.json").write_bytes(b"{" + 1000 * b"\xff")
    assert len(refused("export", run, "b.safetensors", "--evaluation", "e.json")) < 300  # it once said the whole file
    assert "e.txt: there is no such file" in refused("export", run, "b.safetensors", "--evaluation", "e.txt")
    assert "must end in .safetensors" in refused("export", run, "b.bin")
    assert not Path("b.safetensors").exists() and not Path("b.bin").exists()


def test_published_models_are_what_their_files_say() -> None:
    """Each file that comes with the package has its checksum, is small, says what it is, and is
    loaded, which its own fingerprint would refuse if a number were another one."""
    for name, path in published.published_models().items():
        about, parameters = read_about(path)
        assert parameters > 100_000 and path.stat().st_size <= 8_000_000
        assert about.data and about.licence and about.command and about.results["bits_per_pixel"] > 0
        assert run.load(name).variables["params"]
