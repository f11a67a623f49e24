"""The command line: what each command leaves, and one clear line for each kind of bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from PIL import Image

from dct_jax import DCTCodec
from dct_jax.codec import SparseDCT, load_npz
from dct_jax.commands import COMMANDS, main
from dct_jax.commands.evaluate import Evaluate, measured_pictures
from dct_jax.data.pixels import read_image
from dct_jax.data.sources import LANDSCAPES, open_sources
from dct_jax.dct import stage
from dct_jax.dct.config import DCTConfig
from dct_jax.dct.reader import HeldOut
from dct_jax.storage.files import replacing
from dct_jax.training import loop
from dct_jax.training.run_folder import describe_pictures, note_pictures
from dct_jax.training.stage import Metrics, TrainState
from tests.conftest import Refused
from tests.toys import tiny_config, untrained

LANDSCAPE = str(LANDSCAPES / "canyon4.jpg")


def test_a_run_leaves_what_the_readme_says(debug_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (debug_run / "metrics.jsonl").stat().st_size > 0
    assert list(debug_run.glob("events.out.tfevents.*"))
    assert {p.name for p in (debug_run / "checkpoints").iterdir()} == {"10", "20"}

    assert main(["sample", str(debug_run), "--num", "3", "--temperature", "1", "1", "0.5", "--out", str(tmp_path)]) == 0
    assert "3 samples are in" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == [
        "0000.png", "0001.png", "0002.png", "positions.png", "progressive.png", "samples.png",
    ]  # fmt: skip
    assert Image.open(tmp_path / "samples" / "0000.png").size == (32, 32)


def test_encode_and_decode_are_the_codec(tmp_path: Path) -> None:
    triples, image = tmp_path / "a.npz", tmp_path / "a-decoded.png"
    assert main(["encode", LANDSCAPE, "--out", str(triples), "--quality", "35", "--block-size", "16"]) == 0
    codec = DCTCodec(block_size=16, quality=35)
    expected = codec.encode(read_image(LANDSCAPE))
    assert load_npz(triples) == expected
    assert main(["decode", str(triples)]) == 0
    np.testing.assert_array_equal(np.array(Image.open(image)), codec.decode(expected))
    assert {p.name for p in tmp_path.iterdir()} == {"a.npz", "a-decoded.png"}


def test_a_jpeg_file_goes_there_and_back_without_loss(tmp_path: Path) -> None:
    triples, again = tmp_path / "a.npz", tmp_path / "again.jpg"
    assert main(["encode", LANDSCAPE, "--out", str(triples), "--own-coefficients", "--channel-order", "luma_first"]) == 0
    expected = SparseDCT.from_jpeg(LANDSCAPE, "luma_first")
    assert load_npz(triples) == expected
    assert main(["decode", str(triples), "--out", str(again)]) == 0
    assert SparseDCT.from_jpeg(again, "luma_first") == expected


def test_show_draws_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "show.png"
    assert main(["show", LANDSCAPE, "--out", str(out)]) == 0
    assert Image.open(out).size[0] > 1000


def test_stats_prints_a_table_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(Path(LANDSCAPE).read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"broken")
    out = tmp_path / "plots" / "stats.png"
    sizes = ("--block-sizes", "4", "8", "--qualities", "30", "60", "--size", "32", "40")
    assert main(["stats", f"folder:{tmp_path}", *sizes, "--quality", "60", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    first, second, header, *rows, last = captured.out.splitlines()
    assert second == "1 picture cannot be used (1 not readable)"
    assert first == "2 of 3 pictures; lengths are in triples"
    assert header.split() == ["B", "q", "mean", "p5", "p50", "p95", "max", "non-zero", "%", "largest", "PSNR", "dB"]
    assert [row.split()[:2] for row in rows] == [["4", "30"], ["4", "60"], ["8", "30"], ["8", "60"]]
    assert all(len(row.split()) == 10 and len(row) == len(header) for row in rows)
    assert last == f"the plot is in {out}"
    assert captured.err == ""  # no progress bar where there is no terminal
    assert Image.open(out).size[0] > 1000


def test_bad_stats(refused: Refused, tmp_path: Path) -> None:
    assert "--images is 'abc'; it must be a whole number; see stats --help" in refused("stats", "landscapes", "--images", "abc")
    assert "--size is 'a', 'b'; it must be 2 numbers; see" in refused("stats", "landscapes", "--size", "a", "b")
    assert "--num is 'abc'; it must be a whole number; see" in refused("sample", "x", "--num", "abc")
    assert "--dtype is 'half'; it must be one of None, float32, bfloat16; see" in refused("sample", "x", "--dtype", "half")
    assert "--temperature cannot be 'hot'; see sample" in refused("sample", "x", "--temperature", "hot")
    assert "canyon4.jpg is a file; name the folder that it is in" in refused("stats", f"folder:{LANDSCAPE}")
    assert "there is no folder ~nosuchuser/x" in refused("stats", "folder:~nosuchuser/x")
    assert "x.png: a file of triples must be .npz" in refused("encode", LANDSCAPE, "--out", tmp_path / "x.png")
    assert "--no-strict is for the coefficients of a JPEG file" in refused("encode", LANDSCAPE, "--no-strict")
    assert "Unrecognized options: --qualitiez" in refused("stats", "landscapes", "--qualitiez", 3)
    assert "it must be 'landscapes', 'fashion', 'folder:PATH'" in refused("stats", "sunsets")
    assert "quality is 101; it must be from 1 to 100" in refused("stats", "landscapes", "--qualities", 101)
    assert "block_size is 5; it must be one of" in refused("stats", "landscapes", "--block-sizes", 5)
    assert "images is 0; it must be 1 or more" in refused("stats", "landscapes", "--images", 0)
    assert "size is (0, 8); it must be positive" in refused("stats", "landscapes", "--size", 0, 8)
    assert "a picture must be .png, .pdf or .svg" in refused("stats", "landscapes", "--out", tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_bad_commands(refused: Refused, tmp_path: Path) -> None:
    assert "there is no command 'trian'; known are train" in refused("trian")
    assert "there is no experiment 'nope'; known are clevr, debug, " in refused("train", "nope")
    experiment = tmp_path / "mine.py"
    experiment.write_text("from dct_jax import DCTConfig\nCONFIG = DCTConfig(modle=1)")
    assert "mine.py: this experiment fails (TypeError: " in refused("train", experiment)
    config = "DCTConfig(training=TrainingConfig(steps=1e3))"
    experiment.write_text(f"from dct_jax import DCTConfig\nfrom dct_jax.config import *\nCONFIG = {config}")
    assert "fails (the configuration's training.steps is 1000.0; it must be int)" in refused("train", experiment)
    experiment.write_text("from dct_jax.config import RunConfig\nCONFIG = RunConfig()")
    assert "mine.py defines no CONFIG; it must be a system's" in refused("train", experiment)
    experiment.write_text("CONFIG = 3")
    assert "mine.py defines no CONFIG" in refused("train", experiment)
    assert "train needs the name of an experiment" in refused("train")
    assert "Unrecognized options: --training.stepz" in refused("train", "debug", "--training.stepz", 3)
    assert "--training.steps is 'x'; it must be a whole number" in refused("train", "debug", "--training.steps", "x")
    assert "training.steps is -4; it must be 1 or more" in refused("train", "debug", "--training.steps", -4)
    assert "quality is 200; it must be from 1 to 100" in refused("encode", LANDSCAPE, "--quality", 200)


def test_bad_files(refused: Refused, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(LANDSCAPE).read_bytes()[:700])
    for command in ("encode", "show"):
        assert "nowhere.png: there is no such file" in refused(command, tmp_path / "nowhere.png")
        assert "broken.jpg: this image cannot be read" in refused(command, broken)
    assert "there is no such file" in refused("decode", tmp_path / "nowhere.npz")
    assert "broken.jpg: this is no file of triples" in refused("decode", broken)
    assert "cannot be written" in refused("encode", LANDSCAPE, "--out", broken / "a.npz")
    assert "an image must be .png, .jpg or .webp" in refused("decode", _triples(tmp_path), "--out", tmp_path / "a.xyz")
    assert {p.name for p in tmp_path.iterdir()} == {"broken.jpg", "a.npz"}


def test_bad_data(refused: Refused, tmp_path: Path) -> None:
    def train(*args: object) -> str:
        return refused("train", "debug", "--run-dir", tmp_path / "run", *args)

    (tmp_path / "empty").mkdir()
    assert "there is no folder" in train("--data.source", f"folder:{tmp_path}/nowhere")
    assert "no image file below that folder" in train("--data.source", f"folder:{tmp_path}/empty")
    assert "it must be 'landscapes', 'fashion', 'folder:PATH'" in train("--data.source", "sunsets")
    assert "must have at least 500 x 500" in train("--data.image-size", 500, 500)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("loaded_once")
def test_bad_runs(refused: Refused, debug_run: Path, tmp_path: Path) -> None:
    assert "there is no run here" in refused("sample", tmp_path)
    assert "temperature is 0.0" in refused("sample", debug_run, "--temperature", 0)
    assert "seed is 99999999999; it must be" in refused("sample", debug_run, "--seed", 99999999999)
    assert "this model samples images of up to 32 x 32" in refused("sample", debug_run, "--size", 32, 33)
    assert "this model has seen images of 32 x 32 alone" in refused("sample", debug_run, "--size", 20, 9)
    assert "top_k has 2 numbers; it must have one, or 3" in refused("sample", debug_run, "--top-k", 1, 2)
    assert "another configuration (seed 0 -> 1)" in refused("train", "debug", "--run-dir", debug_run, "--seed", 1)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("sample", debug_run, "--num", 1, "--out", tmp_path / "file" / "out")


def _triples(folder: Path) -> Path:
    path = folder / "a.npz"
    assert main(["encode", LANDSCAPE, "--out", str(path)]) == 0
    return path


@pytest.mark.slow
def test_programs_are_kept_for_the_next_process(debug_run: Path, tmp_path: Path) -> None:
    environment = os.environ | {"DCT_JAX_CACHE": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):  # JAX itself has set the second one, in this process
        environment.pop(name, None)
    command = [sys.executable, "-m", "dct_jax", "sample", str(debug_run), "--num", "1", "--max-triples", "2"]
    errors, programs = [], []
    for _ in range(2):
        process = subprocess.run(
            [*command, "--out", str(tmp_path)], check=True, capture_output=True, text=True, env=environment
        )
        errors += [line for line in process.stderr.splitlines() if "cpu_aot" in line]
        programs.append(sorted(path.name for path in (tmp_path / "cache" / "programs").glob("*/*-cache")))
    assert not errors  # what XLA said of each program that it read
    assert any("sample_chunk" in name for name in programs[0])
    assert programs[0] == programs[1]


@pytest.mark.slow
def test_bfloat16_draws_and_evaluates(debug_run: Path, tmp_path: Path) -> None:
    low = ["--dtype", "bfloat16", "--out", str(tmp_path / "low")]
    assert main(["sample", str(debug_run), "--num", "2", "--max-triples", "8", *low]) == 0
    bits = []
    for args in (low, ["--out", str(tmp_path / "full")]):
        assert main(["evaluate", str(debug_run), "--num", "10", "--no-coders", *args]) == 0
        report = json.loads((Path(args[-1]) / "evaluation.json").read_text())
        bits.append(report["bits"]["bits_per_pixel"]["mean"])
    assert bits[0] != bits[1]
    assert bits[0] == pytest.approx(bits[1], rel=0.01)


@pytest.mark.slow
def test_a_platform_that_is_not_there() -> None:
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    command = [sys.executable, "-m", "dct_jax", "sample", "fashion", "--num", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "JAX finds no device of the kind 'nonsense'" in done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), (None, 0)])
def test_the_exit_code_says_which_signal_stopped_a_run(
    name: str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = loop.Outcome(DCTConfig().build(), 7, name, {"bits_per_pixel": 1.5}, HeldOut([], np.zeros(0)), [])
    monkeypatch.setattr(loop, "train", lambda *_, **__: outcome)
    monkeypatch.setattr(stage, "available_coders", lambda codec: [])
    assert main(["train", "debug", "--run-dir", str(tmp_path / "run")]) == code
    said = capsys.readouterr().out
    assert (f"stopped by {name} after step 7, saved" in said) == bool(name)
    assert ("1.5 bits per pixel" in said) == (name is None)


@pytest.fixture
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_a_command_with_nothing_half_written(
    default_handler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def write(args: Sequence[str]) -> int:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # the signal would end the tests
        with replacing(tmp_path / "a.txt") as path:
            path.write_text("half")
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)  # sent twice, it does not disturb the end
                ended.append("well")
        return 0

    monkeypatch.setitem(COMMANDS, "decode", write)
    with pytest.raises(SystemExit) as end:
        main(["decode"])
    assert end.value.code == 143 and ended == ["well"] and not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_stays_as_a_caller_has_set_it(default_handler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[Any] = []

    def note(args: Sequence[str]) -> int:
        handlers.append(signal.getsignal(signal.SIGTERM))
        return 0

    monkeypatch.setitem(COMMANDS, "decode", note)
    worker = threading.Thread(target=main, args=[["decode"]])  # only the main thread can set handlers
    worker.start()
    worker.join()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert main(["decode"]) == 0
    assert handlers == [signal.SIG_DFL, signal.SIG_IGN]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_what_encodes_flags_say_stands_in_the_file(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    flags = ["--block-size", "1", "--quality", "None", "--chroma-subsampling", "4:4:4", "--tables", "2", "3", "4"]
    assert main(["encode", LANDSCAPE, "--out", str(out), *flags, "--channel-order", "luma_first"]) == 0
    assert load_npz(out).codec == DCTCodec(1, None, "4:4:4", "luma_first", (2, 3, 4))


def test_a_file_with_more_data_than_blocks_is_encoded_if_that_is_asked_for(tmp_path: Path, refused: Refused) -> None:
    data = Path(LANDSCAPE).read_bytes()
    (tmp_path / "longer.jpg").write_bytes(data[:-2] + b"\0\0" + data[-2:])
    arguments = ["encode", str(tmp_path / "longer.jpg"), "--own-coefficients"]
    assert "the data of a scan go on after its last block" in refused(*arguments, "--strict")
    assert main([*arguments, "--no-strict"]) == 0
    assert load_npz(tmp_path / "longer.npz") == SparseDCT.from_jpeg(data)


def test_a_run_whose_latest_checkpoint_is_damaged_goes_on_from_another(
    debug_run: Path,
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The steps do nothing; test_systems.py has a run that goes on."""
    run = Path(shutil.copytree(debug_run, tmp_path / "run"))
    latest = max(int(path.name) for path in (run / "checkpoints").iterdir())
    file = next((run / "checkpoints" / str(latest) / "params").rglob("d/*"))
    file.write_bytes(file.read_bytes()[:-1])
    arguments = ["train", "debug", "--run-dir", str(run)]
    assert "or train with --latest-whole" in refused(*arguments)
    taken: list[int] = []

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        taken.append(int(state.step))
        return state._replace(step=state.step + 1), Metrics({}, jnp.ones(()), jnp.zeros(()))

    monkeypatch.setattr(loop, "parallel", lambda *_, **__: step)
    monkeypatch.setattr(stage.DCTStage, "evaluate", lambda *_: {"bits_per_pixel": 1.5})
    assert main([*arguments, "--latest-whole"]) == 0
    assert taken == list(range(10, latest))  # from the checkpoint before
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {f"{latest}.damaged", str(latest)}
    assert "bits per pixel (the best checkpoint)" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dct_jax {version('dct_jax')}\n"


@pytest.mark.parametrize("error", [JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more"), MemoryError()])
def test_too_little_memory_is_a_line(error: Exception, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once was a traceback of hundreds of lines."""

    def fail(args: Sequence[str]) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "decode", fail)
    said = refused("decode")
    assert "out of memory (" in said and "a lower training.batch_size or a higher training.accumulate" in said


def test_a_run_whose_pictures_have_changed_is_evaluated_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pictures that a run was trained on once were evaluated as held-out ones without a word."""
    model, run = untrained(tiny_config()), tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    training, held_out = open_sources(model.config.data)
    note_pictures(run, describe_pictures(training, held_out))
    measured_pictures(model, Evaluate(run=str(run)))
    assert not caplog.text
    note_pictures(run, describe_pictures(held_out, training))
    measured_pictures(model, Evaluate(run=str(run)))
    assert f"{run} had {len(held_out)} training and {len(training)} held-out pictures, and now" in caplog.text
