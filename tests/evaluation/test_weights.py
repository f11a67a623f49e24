"""Files of weights in every format, written here without PyTorch, and files that mean harm."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dct_jax.evaluation.features.inception import inception, variable_shapes
from dct_jax.evaluation.features.numpy_pickle import read_arrays
from dct_jax.evaluation.features.weights import inception_variables, parse_weights
from tests.torch_writer import name, number, pair, sequence_file, state_dict, storage, tensor, text, torch_file, zip_file

ARRAYS = {
    "a.weight": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "a.bias": np.array([1.5, -2], "<f2"),
    "b": np.array([[1e300]], "<f8"),
    "steps": np.array(7, "<i8"),
}


def safetensors_file(arrays: Mapping[str, np.ndarray], **changes: Any) -> bytes:
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for key, array in arrays.items():
        kind = {"f": "F", "i": "I"}[array.dtype.kind] + str(8 * array.itemsize)
        header[key] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]} | changes.get(
            key, {}
        )
        at += array.nbytes
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(array.tobytes() for array in arrays.values())


WRITERS: dict[str, Callable[[Mapping[str, np.ndarray]], bytes]] = {
    "zip": lambda arrays: torch_file(arrays, old=False),
    "sequence": lambda arrays: torch_file(arrays, old=True),
    "safetensors": safetensors_file,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_arrays_come_back(kind: str) -> None:
    arrays = parse_weights(WRITERS[kind](ARRAYS))
    assert arrays.keys() == ARRAYS.keys()
    for key, array in arrays.items():
        assert array.dtype == ARRAYS[key].dtype
        np.testing.assert_array_equal(array, ARRAYS[key])


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_cut_short_is_refused(kind: str) -> None:
    data = WRITERS[kind](ARRAYS)
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"^this is no .*[^\n]$"):
            parse_weights(data[:length])


@pytest.mark.parametrize("kind", WRITERS)
def test_damage_gives_one_line_or_other_numbers(kind: str) -> None:
    data = WRITERS[kind](ARRAYS)
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        try:
            parse_weights(bytes(damaged))
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_dictionaries_that_share_one_are_refused_soon(tmp_path: Path) -> None:
    """Eight levels of eight names, with nothing at their end, once were walked for hours."""
    tree: dict[str, Any] = {}
    for _ in range(8):
        tree = dict.fromkeys("abcdefgh", tree)
    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps(tree, 2))
    with pytest.raises(ValueError, match="it has more than 1000 names"):
        read_arrays(tmp_path / "weights.ckpt")
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"": deep or 1}
    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps(deep, 2))
    with pytest.raises(ValueError, match="too many levels"):
        read_arrays(tmp_path / "weights.ckpt")


HARMFUL: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda harm: name("os", "system") + pair(text(f"echo harm > {harm}")) + b"R.",
    "builtins.eval": lambda harm: name("builtins", "eval") + pair(text(f"open('{harm}', 'w')")) + b"R.",
    "builtins.getattr": lambda _: name("builtins", "getattr") + pair(name("collections", "OrderedDict"), text("pop")) + b"R.",
    "of a module": lambda harm: name("torch._utils", "os.system") + pair(text(f"echo harm > {harm}")) + b"R.",
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("harmful", HARMFUL)
def test_pickles_call_nothing(harmful: str, old: bool, tmp_path: Path) -> None:
    harm, path = tmp_path / "harm", tmp_path / "weights.ckpt"
    pickled = b"\x80\x02" + HARMFUL[harmful](harm)
    with pytest.raises(ValueError, match=r"no PyTorch file of tensors \(it holds no dictionary of tensors"):
        parse_weights(sequence_file(pickled + pickle.dumps([], 2), {}) if old else zip_file(pickled, {}))
    path.write_bytes(pickled)
    with pytest.raises(ValueError, match=r"weights.ckpt: .*\(it asks for .*, which no file of weights needs"):
        read_arrays(path)
    assert not harm.exists()


def forged(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, length: int = 4) -> bytes:
    """A file in the old format whose storage has 4 numbers."""
    pickled = state_dict({"a": tensor(storage("0", "<f4", length, True), shape, strides, offset)})
    return sequence_file(pickled, {"0": (4, bytes(16))})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (forged((5,), (1,)), "does not fit into its storage of 4 numbers"),
        (forged((2,), (1,), offset=3), "does not fit"),
        (forged((1 << 30, 1 << 30), (1 << 30, 1)), "does not fit"),
        (forged((1 << 30,), (0,)), "does not fit"),
        (forged((2, 2), (2, 2)), "does not fit"),
        (forged((2, 2), (1 << 30, 1)), "does not fit"),
        (forged((1,) * 9, (1,) * 9), "has 9 axes; it may have at most 8"),
        (forged((-1,), (1,)), "describes a tensor wrongly"),
        (forged((4,), (1,), offset=-4), "describes a tensor wrongly"),
        (forged((4,), (1,), length=1 << 30), "cut short, or has not the 1073741824 numbers"),
        (zip_file(state_dict({"a": tensor(storage("0", "<f4", 9, False), (9,), (1,))}), {"0": bytes(16)}), "must have 36"),
        (zip_file(state_dict({}), {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED), "an entry is compressed"),
        (zip_file(state_dict({"a": number(3)}), {}), "a is no tensor; save a state_dict"),
        (zip_file(b"\x80\x02" + number(3) + b".", {}), "no dictionary of tensors"),
        (zip_file(b"\x80\x02r\xff\xff\xff\x7f.", {}), "no PyTorch file"),  # the memo's entry 2^31 - 1
        (zip_file(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".", {}), "no PyTorch file"),  # 2^60 bytes
        (
            zip_file(b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".", {}),
            "no PyTorch file",
        ),  # the same, taken before reading
    ],
)
def test_forged_torch_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_weights(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_offsets": [0, 16]}, "no safetensors file"),
        ({"data_offsets": [4, 12]}, "no safetensors file"),  # overlaps the one before
        ({"data_offsets": [16, 24]}, "no safetensors file"),  # leaves a hole, and ends after the file
        ({"data_offsets": [-8, 0]}, "no safetensors file"),
        ({"data_offsets": [8, 1e9]}, "no safetensors file"),
        ({"shape": [1 << 40]}, "no safetensors file"),
        ({"shape": [-1, -2]}, "no safetensors file"),
        ({"shape": None}, "no safetensors file"),
        ({"shape": [2] + [1] * 600_000}, "no safetensors file"),
        ({"dtype": "BF16", "shape": [4]}, "of a type other than F16, F32, F64, I64"),
    ],
)
def test_forged_safetensors_are_refused(changes: dict[str, Any], message: str) -> None:
    arrays = {"a": np.ones(2, "<f4"), "b": np.zeros(2, "<f4")}
    with pytest.raises(ValueError, match=message):
        parse_weights(safetensors_file(arrays, b=changes))


@pytest.mark.parametrize(
    "header",
    [b'{"a": 1}', b"[]", b"{" * 5000, b'{"a": {}, "a": {}}', b"\xff\xff", b"9" * 10_000],
)
def test_headers_that_are_none_are_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"^this is no safetensors file \([^\n]*\)$"):
        parse_weights(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match=r"no safetensors file"):
        parse_weights(struct.pack("<Q", 1 << 60) + header)


def test_keys_of_dictionaries_are_not_nested(tmp_path: Path) -> None:
    """Hashing a tuple that is nested so deeply ended the process, by the end of the stack."""
    nested = b"(" * 1 + b"t" + b"\x85" * 400_000  # 8 MiB of stack end below 200,000
    for body in (b"}" + nested + b"K\x01s.", b"(" + nested + b"K\x01d.", b"}(" + nested + b"K\x01u."):
        (tmp_path / "weights.ckpt").write_bytes(b"\x80\x02" + body)
        with pytest.raises(ValueError, match="keys are neither text nor whole numbers"):
            read_arrays(tmp_path / "weights.ckpt")


def test_pickled_numpy_arrays_come_back_or_are_refused(tmp_path: Path) -> None:
    """Whatever version of NumPy wrote them."""
    path = tmp_path / "weights.ckpt"
    tree = {"x": {"y": np.arange(6, dtype=np.float32).reshape(2, 3)}, "z": np.ones(2)}
    for new, old in ((b"", b""), (b"numpy._core", b"numpy.core")):
        path.write_bytes(pickle.dumps(tree, 3).replace(new, old))
        arrays = read_arrays(path)
        assert arrays.keys() == {"x/y", "z"}
        np.testing.assert_array_equal(arrays["x/y"], tree["x"]["y"])
    for wrong in ({"x": np.array(["a"])}, {"x": np.arange(3, dtype=">f4")}, {"x": np.array([None])}, {"x": 3}, [1], {2: 3}):
        path.write_bytes(pickle.dumps(wrong, 3))
        with pytest.raises(ValueError, match=r"weights.ckpt: this is no file of NumPy arrays \([^\n]*\)$"):
            read_arrays(path)
    short = pickle.dumps({"x": np.arange(3, dtype=np.float32)}, 3).replace(b"K\x03\x85", b"K\x7f\x85")  # 127 numbers, not 3
    path.write_bytes(short)
    with pytest.raises(ValueError, match="no file of NumPy arrays"):
        read_arrays(path)
    with pytest.raises(ValueError, match="there is no such file"):
        read_arrays(tmp_path / "missing")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """The arrays of the usual file, all of one storage, with the names and shapes of some of them
    written out."""
    stock = np.random.default_rng(0).random(1 << 21, np.float32)
    names = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variable_shapes()):
        keys = [key.key for key in path]
        shape = leaf.shape if len(leaf.shape) == 1 else (leaf.shape[3], leaf.shape[2], *leaf.shape[:2])
        found[".".join((*keys[1:-1], names[keys[-1]]))] = stock[: np.prod(shape)].reshape(shape)
    known = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6c.branch7x7_2.conv.weight": (160, 160, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch1x1.bn.bias": (320,),
    }
    assert known.items() <= {key: array.shape for key, array in found.items()}.items()
    assert len(found) == 94 * 5
    return found | {"fc.weight": stock[: 1008 * 2048 // 8].reshape(1008, -1), "fc.bias": stock[:1008]}


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_inception_reads_a_file(old: bool, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    stock = arrays["fc.bias"].base

    def described(array: np.ndarray) -> bytes:
        return tensor(storage("0", "<f4", stock.size, old), array.shape, tuple(s // 4 for s in array.strides))

    pickled = state_dict({key: described(array) for key, array in arrays.items()})
    data = {"0": stock.tobytes()}
    path = tmp_path / "weights.pth"
    path.write_bytes(sequence_file(pickled, {"0": (stock.size, data["0"])}) if old else zip_file(pickled, data))
    network = inception(path)
    assert "not byte for byte" in network.notes[0]
    kernel = network.variables["params"]["Mixed_6c"]["branch7x7_2"]["conv"]["kernel"]  # [1, 7, 160, 160]
    np.testing.assert_array_equal(kernel[0, 3, 11, 5], arrays["Mixed_6c.branch7x7_2.conv.weight"][5, 11, 0, 3])
    stored = network.variables["batch_stats"]["Mixed_7c"]["branch1x1"]["bn"]["mean"]
    np.testing.assert_array_equal(stored, arrays["Mixed_7c.branch1x1.bn.running_mean"])


def test_arrays_must_be_the_networks(arrays: dict[str, np.ndarray]) -> None:
    def without(key: str) -> dict[str, np.ndarray]:
        return {name: array for name, array in arrays.items() if name != key}

    extra = {"AuxLogits.fc.bias": np.zeros(3), "Mixed_5b.branch1x1.bn.num_batches_tracked": np.array(0)}
    _, used = inception_variables(arrays | extra, variable_shapes())
    assert len(used) == 94 * 5
    with pytest.raises(ValueError, match=r"Conv2d_2b_3x3.bn.bias is missing; it must be \[64\]"):
        inception_variables(without("Conv2d_2b_3x3.bn.bias"), variable_shapes())
    with pytest.raises(ValueError, match=r"Mixed_7b.branch1x1.conv.weight is \[1, 2\]; it must be \[320, 1280, 1, 1\]"):
        inception_variables(arrays | {"Mixed_7b.branch1x1.conv.weight": np.zeros((1, 2))}, variable_shapes())
    with pytest.raises(ValueError, match=r"module.x has no place in the network"):
        inception_variables(arrays | {"module.x": np.zeros(3)}, variable_shapes())
    with pytest.raises(ValueError, match="take the weights of FID, not torchvision's own"):
        inception_variables(arrays | {"fc.weight": np.zeros((1000, 2048))}, variable_shapes())


def test_without_a_file_the_error_says_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DCT_JAX_INCEPTION", raising=False)
    with pytest.raises(ValueError, match=r"^[^\n]*fid_weights[^\n]*mseitzer/pytorch-fid[^\n]*--features alexnet$"):
        inception()
    monkeypatch.setenv("DCT_JAX_INCEPTION", str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"none.pth: there is no such file"):
        inception()
    (tmp_path / "none.pth").write_bytes(WRITERS["zip"](ARRAYS))
    with pytest.raises(ValueError, match=r"none.pth: the array .* is missing"):
        inception()
