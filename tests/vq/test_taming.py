"""Checkpoints of Taming Transformers: a network in NumPy computes with their names and layouts what
ours computes with the imported weights; the original program's results are met; wrong input is
refused in a line."""

import copy
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import yaml

import dct_jax
from dct_jax.commands import main
from dct_jax.commands.imports import left_aside
from dct_jax.vq.gan.config import VQGANConfig
from dct_jax.vq.taming.config import make_config, parse_yaml, read_config
from dct_jax.vq.taming.weights import read_weights
from tests.conftest import Refused
from tests.torch_writer import described, number, state_dict, torch_file, zip_file
from tests.vq.taming_reference import CONFIG, Reference, checkpoint, combined, make_weights

SHARED = Path(__file__).parents[3] / "shared" / "data" / "taming"


def forked(**changes: Any) -> dict[str, Any]:
    """CONFIG with other values of fields, wherever they are."""
    values = copy.deepcopy(CONFIG)
    rooms = (values["model"], values["model"]["params"], values["model"]["params"]["ddconfig"])
    for name, value in changes.items():
        room = next((room for room in rooms if name in room), rooms[1] if name == "remap" else rooms[2])
        room[name] = value
    return values


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.ckpt and config.yaml."""
    folder = tmp_path_factory.mktemp("taming")
    (folder / "model.ckpt").write_bytes(checkpoint(combined(make_weights())))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def compute(config: VQGANConfig, variables: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors before the quantiser, the codes and the reconstruction."""
    copies, vectors, quantized = jax.jit(config.network().apply)(variables, image)
    return np.asarray(vectors), np.asarray(quantized.codes), np.asarray(copies)


def nearest(vectors: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows, and whether the second-nearest is farther away by more than 0.001."""
    distances = np.linalg.norm(vectors[..., None, :] - table, axis=-1)
    two = np.sort(distances, axis=-1)[..., :2]
    return distances.argmin(axis=-1), two[..., 1] - two[..., 0] > 1e-3


def test_a_checkpoint_computes_what_numpy_does_with_its_names(files: Path) -> None:
    config = read_config(files / "config.yaml", "landscapes")
    assert config.model.attention == (2,) and config.data.image_size == (16, 16)
    imported = read_weights(files / "model.ckpt", config)
    assert imported.left_aside == {"loss": 1, "model_ema": 2, "transformer": 1, "cond_stage_model": 1}
    assert sum(x.size for x in jax.tree.leaves(imported.variables)) == sum(x.size for x in make_weights().values())
    image = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    vectors, codes, copies = compute(config, imported.variables, image)
    reference, table = Reference(make_weights()), make_weights()["quantize.embedding.weight"]
    for i in range(2):
        expected = reference.encode(image[i].transpose(2, 0, 1)).transpose(1, 2, 0)  # [h, w, D]
        np.testing.assert_allclose(vectors[i], expected, atol=1e-4)
        expected_codes, is_clear = nearest(expected, table)
        assert is_clear.mean() > 0.9 and len(np.unique(expected_codes)) > 4
        np.testing.assert_array_equal(codes[i][is_clear], expected_codes[is_clear])
        pixels = reference.decode(table[codes[i]].transpose(2, 0, 1)).transpose(1, 2, 0)
        assert pixels.std() > 0.1
        np.testing.assert_allclose(copies[i], pixels, atol=1e-3)


@pytest.mark.skipif(not SHARED.exists(), reason="the original program's results are not in a clone")
@pytest.mark.parametrize("name", ["small", "legacy"])
def test_the_original_program_s_results_are_met(name: str) -> None:
    expected = np.load(SHARED / name / "expected.npz")
    config = read_config(SHARED / name / "config.yaml", "landscapes")
    variables = read_weights(SHARED / name / "model.ckpt", config).variables
    vectors, codes, copies = compute(config, variables, expected["image"])
    np.testing.assert_allclose(vectors, expected["pre_quantised"], rtol=0, atol=1e-4)
    _, is_clear = nearest(expected["pre_quantised"], variables["params"]["quantizer"]["table"])
    assert is_clear.mean() > 0.9
    np.testing.assert_array_equal(codes[is_clear], expected["codes"][is_clear])
    agrees = (codes == expected["codes"]).all(axis=(1, 2))
    assert agrees.any()
    np.testing.assert_allclose(copies[agrees], expected["reconstruction"][agrees], rtol=0, atol=1e-3)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", ml_dtypes.bfloat16, "<f8"])
def test_weights_of_other_types_and_older_files_are_read(dtype: Any, old: bool, tmp_path: Path) -> None:
    """Of a file that is the dictionary of weights itself, too."""
    weights = {name: array.astype(dtype) for name, array in make_weights().items()}
    (tmp_path / "model.ckpt").write_bytes(torch_file(weights, old))
    params = read_weights(tmp_path / "model.ckpt", make_config(CONFIG, "landscapes")).variables["params"]
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    kernel = weights["encoder.down.0.downsample.conv.weight"].astype(np.float32)  # [O, I, h, w]
    np.testing.assert_array_equal(params["encoder"]["halve0"]["conv"]["kernel"][2, 1, 5, 7], kernel[7, 5, 2, 1])
    np.testing.assert_array_equal(params["quantizer"]["table"], weights["quantize.embedding.weight"].astype(np.float32))


def change(name: str, array: Any) -> dict[str, np.ndarray]:
    return make_weights() | {name: array}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: change("encoder.conv_in.bias", np.zeros(31, "<f4")), r"encoder\.conv_in\.bias is \[31\]; .* needs \[32\]$"),
        (lambda: change("quant_conv.weight", np.zeros((6, 5, 1, 1), "<f4")), r"is \[6, 5, 1, 1\]; .* needs \[5, 6, 1, 1\]$"),
        (lambda: change("decoder.conv_out.bias", np.array([0, np.nan, 1], "<f4")), r"conv_out\.bias has numbers that are not"),
        (lambda: change("decoder.conv_out.bias", np.array([0, 1e300, 1], "<f8")), r"conv_out\.bias has numbers that are not"),
        (lambda: change("quantize.used", np.zeros(3, "<i8")), r"the weight quantize\.used is in no place of the network; "),
        (
            lambda: change("a", np.zeros(3)) | {"b": np.zeros(3)},
            r"the weight a is in no place of the network, and 1 more are",
        ),
        (lambda: {"loss.logvar": np.zeros(1, "<f4")}, r"the weight decoder\.conv_in\.bias is missing, and \d+ more are; "),
    ],
)
def test_other_weights_are_refused_by_name(data: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(checkpoint(data()))
    with pytest.raises(ValueError, match=message) as error:
        read_weights(tmp_path / "model.ckpt", make_config(CONFIG, "landscapes"))
    assert str(error.value).startswith(f"{tmp_path / 'model.ckpt'}: ") and "\n" not in str(error.value)


def test_files_without_a_dictionary_of_arrays_are_refused(tmp_path: Path) -> None:
    weights = make_weights()
    items = described(weights, False) | {"quant_conv.bias": number(3)}
    data = {str(i): array.tobytes() for i, array in enumerate(weights.values())}
    for pickled, message in (
        (b"\x80\x02" + number(3) + b".", "it has no dictionary of weights"),
        (state_dict(items), r"the weight quant_conv\.bias is no array; the configuration needs \[5\]"),
    ):
        (tmp_path / "model.ckpt").write_bytes(zip_file(pickled, data))
        with pytest.raises(ValueError, match=message):
            read_weights(tmp_path / "model.ckpt", make_config(CONFIG, "landscapes"))


def test_what_a_configuration_says_is_kept() -> None:
    """Also of latent diffusion's, and where the autoencoder is the first stage of another model."""
    config = make_config(CONFIG, "folder:a")
    assert (config.data.source, config.data.image_size) == ("folder:a", (16, 16))
    assert (config.model.channels, config.model.multipliers, config.model.residual_blocks) == (32, (1, 2, 2), 1)
    assert (config.model.latent_channels, config.model.downsampling) == (6, 4)
    quantizer = config.quantizer
    assert (quantizer.kind, quantizer.codes, quantizer.dim, quantizer.start) == ("gradient", 12, 5, "uniform")
    for target in ("ldm.models.autoencoder.VQModel", "ldm.models.autoencoder.VQModelInterface"):
        assert make_config(forked(target=target, attn_type="vanilla", remap=None), "folder:a") == config
        stage = {"params": {"first_stage_config": forked(target=target)["model"]}, "target": "any.Net2NetTransformer"}
        assert make_config({"model": stage}, "folder:a") == config
    levels = {(): (), (16,): (1,), (8, 4): (2, 4), (2, 5, 32): ()}  # levels have 16, 8 and 4 pixels a side
    for resolutions, attention in levels.items():
        assert make_config(forked(attn_resolutions=list(resolutions)), "").model.attention == attention


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "taming.models.vqgan.GumbelVQ"}, "class taming.models.vqgan.GumbelVQ; only a VQModel"),
        ({"target": "taming.models.vqgan.EMAVQ"}, "class taming.models.vqgan.EMAVQ; only a VQModel"),
        ({"target": "ldm.models.autoencoder.AutoencoderKL"}, "only a VQModel, with a plain table, can be imported"),
        ({"target": None}, "class missing; only"),
        ({"remap": "used.npy"}, "remap is used.npy; an autoencoder whose codes are remapped cannot"),
        ({"double_z": True}, "ddconfig.double_z is True; only autoencoders in which it is False"),
        ({"in_channels": 1}, "ddconfig.in_channels is 1; only autoencoders in which it is 3"),
        ({"out_ch": 4}, "ddconfig.out_ch is 4"),
        ({"resamp_with_conv": False}, "ddconfig.resamp_with_conv is False"),
        ({"attn_type": "none"}, "ddconfig.attn_type is none"),
        ({"attn_type": "linear"}, "ddconfig.attn_type is linear"),
        ({"use_linear_attn": True}, "ddconfig.use_linear_attn is True"),
        ({"give_pre_end": True}, "ddconfig.give_pre_end is True"),
        ({"tanh_out": True}, "ddconfig.tanh_out is True"),
        ({"resolution": 18}, "ddconfig.resolution is 18; it must be a multiple of 4, as there are 3 ch_mult"),
        ({"resolution": -16}, "ddconfig.resolution is -16"),
        ({"resolution": 2**20}, "data.image_size"),
        ({"resolution": "${size}"}, "resolution is ${size}; it must be a whole number"),
        ({"ch": 48}, "model.channels is 48; it must be a multiple of 32"),
        ({"ch_mult": []}, "model.multipliers is ()"),
        ({"ch_mult": None}, "ch_mult is missing; it must be a list"),
        ({"ch_mult": [1] * 65}, "ch_mult is a list; it must be a list of at most 64 whole numbers"),
        ({"ch_mult": [1, 2.5]}, "ch_mult is a list; it must be a list of at most 64 whole numbers"),
        ({"num_res_blocks": True}, "num_res_blocks is True; it must be a whole number"),
        ({"n_embed": 1}, "quantizer.codes is 1; it must be from 2 to"),
        ({"ddconfig": 3}, "it has no ddconfig with fields"),
        ({"params": [1]}, "it has no params with fields"),
    ],
)
def test_autoencoders_that_compute_something_else_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        make_config(forked(**changes), "landscapes")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["double_z", "in_channels", "z_channels", "attn_resolutions"])
def test_fields_without_a_default_must_be_there(missing: str) -> None:
    """The original's default of double_z is true."""
    values = forked()
    del values["model"]["params"]["ddconfig"][missing]
    with pytest.raises(ValueError, match=f"{missing} is "):
        make_config(values, "landscapes")


@pytest.mark.parametrize(
    "data",
    [
        b"a: [1",
        b"a: !!python/object/apply:os.system ['true']",
        b"a: &a {b: 1}\nc: {<<: [*a, *a]}",
        b"[" * 5000,
        b"\xff\xfe\x00",
        b"a: 2021-99-99",
        b"{[1]: 2}",
        b"a: " + b"9" * 5000,
        b'a: !!int ""',
        b'a: !!bool "x"',
        b'a: !!timestamp "x"',
    ],
)
def test_files_that_are_no_plain_yaml_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_config(tmp_path / "config.yaml", "landscapes")
    assert str(error.value).startswith(f"{tmp_path / 'config.yaml'}: ") and "\n" not in str(error.value)
    assert parse_yaml(b"a: &x [1, 2.5]\nb: *x\n") == {"a": [1, 2.5], "b": [1, 2.5]}


def test_import_makes_a_run_that_is_loaded(files: Path, tmp_path: Path, refused: Refused, capsys: Any) -> None:
    run = tmp_path / "run"
    arguments = ["import", "taming", files / "model.ckpt", files / "config.yaml", "--out", run, "--source", "fashion"]
    assert main(list(map(str, arguments))) == 0
    said = capsys.readouterr().out
    assert "left aside: cond_stage_model (1), loss (1), model_ema (2), transformer (1)\n" in said
    model = dct_jax.load(run)
    assert f"{run} has the model {model.fingerprint[:8]}, a VQ-GAN with 12 codes, f = 4\n" in said
    assert model.config == read_config(files / "config.yaml", "fashion")
    params = read_weights(files / "model.ckpt", model.config).variables
    jax.tree.map(np.testing.assert_array_equal, dict(model.variables), params)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["0"]
    assert "there is a run here already; name another --out" in refused(*arguments)


def test_import_leaves_nothing_of_what_it_refuses(files: Path, tmp_path: Path, refused: Refused) -> None:
    model, config, run = files / "model.ckpt", files / "config.yaml", tmp_path / "run"
    (tmp_path / "cut.ckpt").write_bytes(model.read_bytes()[:-100])
    (tmp_path / "more.ckpt").write_bytes(checkpoint(change("a", np.zeros(3))))
    (tmp_path / "empty.yaml").write_text("")
    before = sorted(tmp_path.iterdir())
    for arguments, message in (
        (["taming", tmp_path / "cut.ckpt", config], "cut.ckpt: this is no PyTorch file of tensors"),
        (["taming", tmp_path / "more.ckpt", config], "more.ckpt: the weight a is in no place of the network"),
        (["taming", tmp_path / "none.ckpt", config], "none.ckpt: there is no such file"),
        (["taming", model, tmp_path / "none.yaml"], "none.yaml: there is no such file"),
        (["taming", model, tmp_path], "this file cannot be read (Is a directory)"),
        (["taming", model, tmp_path / "empty.yaml"], "empty.yaml: it has no model with fields"),
        (["taming", config, model], "model.ckpt: "),
        (["other", model, config], "FORMAT is 'other'; it must be one of taming"),
    ):
        assert message in refused("import", *arguments, "--out", run)
    assert "gs://a/run: a run is imported into a folder on this disk" in refused(
        "import", "taming", model, config, "--out", "gs://a/run"
    )
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_left_aside_is_said_in_one_line_whatever_its_names() -> None:
    """Escape sequences of a terminal, endless names, and many of them."""
    counts = {"\x1b[2J\n": 1, "b" * 500: 2} | {f"c{i}": 3 for i in range(9)}
    line = left_aside(counts)
    assert line == f"left aside: \\x1b[2J\\n (1), {'b' * 80} (2), {', '.join(f'c{i} (3)' for i in range(6))} and 3 more"
    assert left_aside({"a": 1}) == "left aside: a (1)"


@pytest.mark.parametrize(("resolution", "layers", "perceptual"), [(256, 3, "vgg16"), (16, 2, "vgg16"), (8, 1, "none")])
def test_the_losses_of_an_imported_run_fit_its_pictures(resolution: int, layers: int, perceptual: str) -> None:
    values = copy.deepcopy(CONFIG)
    values["model"]["params"]["ddconfig"]["resolution"] = resolution
    loss = make_config(values, "landscapes").loss
    assert (loss.discriminator_layers, loss.perceptual) == (layers, perceptual)
