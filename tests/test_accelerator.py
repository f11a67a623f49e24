"""benchmarks/accelerator.py and its parts, without an accelerator: what they would say of one, and
that they run on a CPU."""

import importlib
import inspect
import json
import math
import os
import runpy
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from dct_jax.dct.network import network
from dct_jax.dct.sampling.prefill import prefill
from dct_jax.experiment import load_experiment
from dct_jax.run import load
from dct_jax.systems import SYSTEMS
from dct_jax.training.checkpoints import Checkpoints
from dct_jax.window.attention import cheaper_form
from tests.toys import save_run, tiny_config, untrained

FOLDER = Path(__file__).parent.parent / "benchmarks"

Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Imports one of the benchmarks."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


class TestRoofline:
    def test_attention_is_what_remains_of_a_step_without_weights(self, script: Script) -> None:
        roofline = script("roofline")
        model = network(load_experiment("lsun_bedrooms"))
        tokens = roofline.tokens_of(model.config, model.vocabulary)
        assert tokens == 48 * 48
        assert roofline.attention_flops(model.config, tokens) == script("train_step").step_flops(model, {}, 1)

    def test_a_step_of_the_sampler_reads_the_arrays_that_it_has(self, script: Script) -> None:
        roofline, config = script("roofline"), script("accelerator_device").large_config(tiny=True)
        model, batch = network(config), jax.tree.map(jax.numpy.asarray, script("random_network").random_batch(config, 3))
        params = jax.eval_shape(model.init, jax.random.key(0), batch)
        begun = jax.eval_shape(lambda params: prefill(model, params, batch), params)
        memory = (begun.caches, begun.encoding.memory)
        columns = config.model.window + roofline.tokens_of(config.model, model.vocabulary)
        assert roofline.columns_bytes(config.model, 3, columns) == script("compile").size_of(memory)

    def test_filled_columns(self, script: Script) -> None:
        config = load_experiment("debug").model
        filled = [config.overlap + step + 1 for step in range(config.chunk_size)]  # a step sees its own column
        assert script("roofline").filled_columns(config) == np.mean(filled)

    def test_the_prediction_for_an_h200_is_that_of_the_documentation(self, script: Script) -> None:
        roofline, config = script("roofline"), load_experiment("lsun_bedrooms").model
        device = roofline.device_of("NVIDIA H200", roofline.Device(1.0, 1.0, "measured"))
        plain, again = (
            roofline.training_seconds(device, config, 2304, 16 * 3.76e12, 401_000_000, 16, x) for x in (False, True)
        )
        assert plain == pytest.approx(0.124, rel=0.03)
        assert 1.3 < again / plain < 4 / 3
        assert roofline.training_bytes(config, 2304, 401_000_000, 1) == pytest.approx(6.4e9 + 3.1e9, rel=0.03)
        assert roofline.sampling_seconds(device, config, 2304, 616_000_000, 64) == pytest.approx(1 / 250, rel=0.03)

    def test_a_device_without_a_data_sheet_is_taken_as_measured(self, script: Script) -> None:
        roofline = script("roofline")
        measured = roofline.Device(2e12, 3e11, "measured")
        assert roofline.device_of("something new", measured) == measured
        assert roofline.device_of("TPU v4", measured).source == "datasheet"


@pytest.mark.parametrize(
    ("holds", "tried"), [(0, [8, 4, 2, 1]), (3, [8, 4, 2]), (8, [8, 16]), (40, [8, 16, 32, 64]), (999, [8, 16, 32, 64])]
)
def test_the_batch_grows_until_it_does_not_fit(script: Script, holds: int, tried: list[int]) -> None:
    sizes, fits = script("accelerator_training").sizes, {}
    while (batch := sizes(8, 64, fits)) is not None:
        fits[batch] = batch <= holds
    assert list(fits) == tried


@pytest.mark.slow
def test_out_of_memory_is_reported_and_a_smaller_batch_tried(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training, figure = script("accelerator_training"), script("machine").Figure

    def timed(config: object, params: object, device: object, batch: int) -> object:
        if batch > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
        return training.StepTime([figure("1 chunks: step", 0.5, "s")], 1e6, 0.3)

    monkeypatch.setattr(training, "_time_step", timed)
    assert training.main(tiny=True, json=tmp_path / "figures.json") == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["2 chunks"]["value"].startswith("does not fit: out of memory")
    assert figures["1 chunks: step"]["value"] == 0.5
    assert figures["the best MFU"] == {"value": 30.0, "unit": "% (bar 45: MISSED)"}


class TestParity:
    def test_an_error_is_the_worst_arrays(self, script: Script) -> None:
        parity, record = script("accelerator_parity"), script("machine").Record(None)
        theirs = {"gradient: a": np.array([1.0, 1.0]), "gradient: b": np.array([1e-3])}
        parity.compare(
            record, "training step", parity.FLOAT32, {"gradient: a": theirs["gradient: a"], "gradient: b": 2e-3}, theirs
        )
        assert record.failed
        for broken in (math.nan, math.inf):
            record.failed = False
            parity.compare(record, f"training step, {broken}", parity.FLOAT32, theirs | {"gradient: a": broken}, theirs)
            assert record.failed

    def test_what_is_within_its_bound_passes(self, script: Script) -> None:
        parity, record = script("accelerator_parity"), script("machine").Record(None)
        theirs = {"rows": np.array([1.0, 2.0])}
        parity.compare(record, "embedding", parity.FLOAT32, {"rows": theirs["rows"] * (1 + 1e-7)}, theirs)
        assert not record.failed

    def test_one_list_may_take_another_way_but_not_two(self, script: Script) -> None:
        same_lists = script("accelerator_parity").same_lists
        rng = np.random.default_rng(0)
        theirs = {"triples": rng.integers(1, 9, (4, 6, 3)), "nats": -rng.random((4, 6, 3))}
        ours = {name: array.copy() for name, array in theirs.items()}
        ours["triples"][2, 3:] += 1
        ours["nats"][2, 3:] -= 5  # what follows a difference cannot be compared
        assert same_lists(ours, theirs)[0].value == 3
        ours["triples"][0, 5] += 1
        with pytest.raises(AssertionError, match="2 of 4 lists are the same"):
            same_lists(ours, theirs)
        with pytest.raises(AssertionError, match="log-likelihoods differ"):
            same_lists({**theirs, "nats": theirs["nats"] - 1e-3}, theirs)

    def test_both_ways_of_a_step_see_the_filled_columns(self, script: Script) -> None:
        parity, record = script("accelerator_parity"), script("machine").Record(None)
        ours, theirs = (parity.attention_step(lengths, "float32", True) for lengths in (False, True))
        parity.compare(record, "attention, a step", parity.FLOAT32, ours, {k: np.asarray(x) for k, x in theirs.items()})
        assert not record.failed

    @pytest.mark.parametrize("name", ["plain", "causal", "hidden keys"])
    def test_attention_in_bfloat16_is_within_its_bound(self, script: Script, name: str) -> None:
        parity, record = script("accelerator_parity"), script("machine").Record(None)
        theirs, ours = (
            {k: np.asarray(x) for k, x in parity.attention(name, dtype, True).items()} for dtype in ("float32", "bfloat16")
        )
        parity.compare(record, "attention", parity.BFLOAT16, ours, theirs)
        assert not record.failed
        assert all(not np.array_equal(ours[k], theirs[k]) for k in ours), "both were made in float32"

    @pytest.mark.parametrize(("late", "needed"), [(False, False), (True, False), (True, True)])
    def test_a_step_taken_twice_is_told_and_what_is_late_is_left_out(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, late: bool, needed: bool
    ) -> None:
        """All comparisons failed when the CPU was late with one. The first ones are needed."""
        parity, machine = script("accelerator_parity"), script("machine")
        arrays = {"step: losses": np.ones(3), script("accelerator_systems").DIFFERING: np.array(2)}
        for name, value in {"ATTENTION": {}, "STEP": {}, "step": lambda *_: {}, "attention_path": str}.items():
            monkeypatch.setattr(parity, name, value)
        monkeypatch.setattr(parity, "cases", lambda tiny: {"VQ-VAE": lambda: arrays} if needed else {})
        monkeypatch.setattr(parity, "systems", lambda tiny: {} if needed else {"VQ-VAE": lambda: arrays})

        def reference(name: str) -> dict[str, np.ndarray]:
            if late and name == "VQ-VAE":
                raise TimeoutError("too late")
            return arrays

        record = machine.Record(tmp_path / "figures.json")
        parity.compare_all(record, script("accelerator_device").Clock(record, 60), True, reference)
        figures = json.loads((tmp_path / "figures.json").read_text())
        assert record.failed == needed
        assert figures["VQ-VAE, float32: a step taken twice"]["value"] == "other bits in 2 arrays"
        assert late or figures["VQ-VAE, float32: step"]["value"] == 0
        assert not late or figures["VQ-VAE, float32"]["value"].startswith("FAILED: " if needed else "skipped: too late")


class TestSystems:
    def test_all_of_them_are_compared(self, script: Script) -> None:
        """The window's attention has a form for large grids, whose tiles accelerators take at
        once."""
        configs = script("accelerator_systems").configs()
        assert configs.keys() == {system.system for system in SYSTEMS}
        window = configs["window transformer"]
        assert cheaper_form(window.grid, window.model.window) == "gathered"

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [system.system for system in SYSTEMS])
    def test_a_system_takes_a_step_and_makes_pictures(self, script: Script, name: str) -> None:
        systems = script("accelerator_systems")
        found = systems.run_system(systems.configs()[name])
        assert found.pop(systems.DIFFERING) == 0
        assert all(np.isfinite(x).all() and x.any() for x in found.values())
        assert found["sample"].std() > 1
        assert any("gradient" in array for array in found)


@pytest.fixture
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, with one checkpoint."""
    return save_run(tmp_path_factory.mktemp("runs") / "tiny", untrained(tiny_config()))


class TestRun:
    @pytest.mark.parametrize("seconds", [None, 200, 2000])
    def test_training_ends_long_before_it_is_stopped(self, script: Script, seconds: float | None) -> None:
        """Its last step was planned for the moment at which it was stopped, so the run never had
        an evaluation. None stands for the least that the part needs."""
        run, accelerator = script("accelerator_run"), script("accelerator")
        seconds = seconds or accelerator.NAMED["run"].least - 2 * accelerator.MARGIN
        steps, stop = run.plan(seconds)
        assert stop + run.END_SECONDS == seconds
        assert run.STEPS[0] <= steps <= run.STEPS[1]
        assert run.START_SECONDS + 1.5 * steps * run.STEP_SECONDS <= stop

    @pytest.mark.parametrize(("devices", "pictures"), [(1, 16), (3, 18), (6, 18), (8, 16), (32, 32)])
    def test_devices_share_a_batch(self, script: Script, devices: int, pictures: int) -> None:
        """On 3 or 6 devices the run was refused."""
        assert script("accelerator_run").batch_for(devices, 16) == pictures

    def test_what_is_packed_is_a_run(self, script: Script, a_run: Path, tmp_path: Path) -> None:
        size = script("accelerator_run").pack(a_run, tmp_path / "run.tar.gz")
        assert size == (tmp_path / "run.tar.gz").stat().st_size
        with tarfile.open(tmp_path / "run.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        Checkpoints(tmp_path / a_run.name / "checkpoints").check(1)
        jax.tree.map(np.testing.assert_array_equal, load(tmp_path / a_run.name).variables, load(a_run).variables)

    def test_the_optimizer_is_not_packed(self, script: Script, a_run: Path, tmp_path: Path) -> None:
        """With it the run of `landscapes` had 16.6 MB, and was left out."""
        run, config = script("accelerator_run"), load_experiment("landscapes")
        run.pack(a_run, tmp_path / "run.tar.gz")
        with tarfile.open(tmp_path / "run.tar.gz") as archive:
            names = {part for name in archive.getnames() for part in Path(name).parts}
        assert {"params", "config", "sizes"} < names
        assert "optimizer" not in names
        batch = jax.tree.map(jax.numpy.asarray, script("random_network").random_batch(config, 1))
        variables = jax.eval_shape(network(config).init, jax.random.key(0), batch)
        assert 1.2 * script("compile").size_of(variables) < run.LARGEST_FILE

    def test_what_is_too_large_is_left_out(
        self, script: Script, a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = script("accelerator_run")
        monkeypatch.setattr(run, "LARGEST_FILE", 1000)
        with pytest.raises(ValueError, match="MB; it may have 0 and is left out"):
            run.pack(a_run, tmp_path / "run.tar.gz")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("left", "least", "later", "allowed"),
    [(100, 20, [30, 40], 30), (100, 20, [90, 40], 60), (50, 20, [40], 50), (19, 20, [], None)],
    ids=["the later ones keep what they need", "one that cannot fit in keeps nothing", "none fits in", "too late"],
)
def test_time_is_shared(script: Script, left: float, least: float, later: list[float], allowed: float | None) -> None:
    accelerator = script("accelerator")
    first, *others = (accelerator.Part(str(i), Path(), least=seconds) for i, seconds in enumerate([least, *later]))
    assert accelerator.time_limit(left, first, others) == allowed


def test_all_parts_fit_into_the_time_by_default(script: Script) -> None:
    """The parts' least was all of the time, and the last part never had its share."""
    accelerator = script("accelerator")
    minutes = inspect.signature(accelerator.main).parameters["minutes"].default
    left = 60 * minutes - 2 * accelerator.MARGIN - 15  # of imports
    for i, part in enumerate(accelerator.PARTS):
        assert accelerator.time_limit(left, part, accelerator.PARTS[i + 1 :]) is not None, part.name
        left -= part.least + 1


def test_what_a_crashed_part_has_started_is_ended(script: Script) -> None:
    """The process of the reference ran on beside the next part."""
    process = subprocess.Popen(["sh", "-c", "sleep 20 & kill -SEGV $$"], stdout=subprocess.PIPE, process_group=0)
    process.wait()
    script("accelerator").stop(process)
    assert process.communicate(timeout=5) == (b"", None)  # the output ends with the last that holds it


@pytest.mark.parametrize("module", ["tyro", "accelerator_run"])
def test_a_missing_module_is_a_line(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    """Each part failed by itself, on a device that was lent."""
    script("accelerator")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(FOLDER / "accelerator.py"))
    line = f"accelerator.py: there is no module {module}; python -m pip install '.[train]' installs all\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.slow
def test_a_part_that_fails_or_hangs_does_not_stop_the_others(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accelerator = script("accelerator")
    monkeypatch.setattr(accelerator, "MARGIN", 0.5)
    measures = (
        f"import json, pathlib, sys; pathlib.Path(sys.argv[sys.argv.index('--json') + 1]).write_text('{json.dumps({'x': 1})}')"
    )

    def part(name: str, code: str, least: float = 1) -> object:
        (tmp_path / f"{name}.py").write_text(code)
        return accelerator.Part(name, tmp_path / f"{name}.py", least=least)

    begun = time.monotonic()
    parts = [
        part("fails", "raise RuntimeError"),
        part("dies", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        part("hangs", f"{measures}\nimport time; time.sleep(60)"),
        part("late", "", least=60),
        part("works", measures, least=3),
    ]
    assert accelerator.run_parts(parts, tmp_path / "out", 8, tiny=False) == 1
    assert time.monotonic() - begun < 8
    results = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    ends = [results[name]["state"].partition(":")[0] for name in ("fails", "dies", "hangs", "late", "works")]
    assert ends == ["failed", "failed", "stopped", "skipped", "done"]
    assert results["hangs"]["figures"] == results["works"]["figures"] == {"x": 1}


@pytest.mark.slow
def test_training_is_timed(script: Script, tmp_path: Path) -> None:
    """Also that the compiled step runs, and tells its plan of memory, in the versions of JAX that
    are tested."""
    assert script("accelerator_training").main(tiny=True, json=tmp_path / "figures.json") == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["2 chunks: step"]["value"] > 0 < figures["2 chunks: step"]["predicted"]
    assert figures["2 chunks: memory that XLA plans"]["value"] > 0


def test_xla_knows_the_options_of_a_graph(script: Script) -> None:
    options = script("accelerator_sampling").LOOP_AS_GRAPH
    assert jax.jit(lambda x: x + 1).lower(1).compile(options)(1) == 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="not a valid enum value"):
        jax.jit(lambda x: x + 1).lower(1).compile({name: value + ",LOOP" for name, value in options.items()})


def run_tiny(out: Path, *parts: str) -> dict[str, dict]:
    """The command itself."""
    command = [sys.executable, str(FOLDER / "accelerator.py"), str(out), "--tiny", "--parts", *parts]
    env = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return json.loads((out / "accelerator.json").read_text())


@pytest.mark.slow
def test_sampling_is_timed_by_the_command(tmp_path: Path) -> None:
    figures = run_tiny(tmp_path / "out", "sampling")["sampling"]["figures"]
    speed = figures["batch 2: speed"]
    assert speed["unit"] == "steps/s"
    assert speed["value"] > 0 < speed["predicted"]
    assert sum("attention to" in name for name in figures) == 6


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path) -> None:
    """80 s of a CPU."""
    results = run_tiny(tmp_path, "parity", "training", "sampling", "rematerialised", "run")
    assert {result["state"] for result in results.values()} == {"done"}
    figures = results["parity"]["figures"]
    assert {"training step, bfloat16: gradient", "likelihood, float32: nats", "VQ-VAE, float32: sample"} < figures.keys()
    assert figures["VQ-VAE, float32: a step taken twice"]["value"] == "equal bits"
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert files.keys() == {"accelerator.json", "samples.png", "run.tar.gz"}
    assert max(files.values()) < 16e6
