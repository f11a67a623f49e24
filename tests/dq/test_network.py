"""The network of a DQ-VAE: the grain of a region, its codes, and the pictures that they become."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.config import DataConfig
from dct_jax.dq.config import DQVAEConfig, GrainsConfig, RouterConfig
from dct_jax.dq.decoder import Positions
from dct_jax.dq.network import assemble
from dct_jax.nn.initial import initial_params
from dct_jax.vq.autoencoder import TrainedAutoencoder
from dct_jax.vq.config import QuantizerConfig
from dct_jax.vq.network import to_float, to_uint8
from tests.dq.toys import CODES, dqvae_config, entropies_of, maps_of, random_dqvae, smooth_and_rough_pictures

slow = pytest.mark.slow
TOYS = [
    (2, "feature", 2),
    pytest.param(3, "entropy", 1, marks=slow),
    pytest.param(2, "entropy", 2, marks=slow),
    pytest.param(3, "feature", 1, marks=slow),
]
"""Grains, router and stem."""


@cache
def model_of(grains: int, kind: str, stem: int) -> TrainedAutoencoder:
    return random_dqvae(dqvae_config(grains, kind, stem))


@cache
def call_whole(grains: int, kind: str, stem: int) -> Any:
    """The network as a program of variables and pictures."""
    network = model_of(grains, kind, stem).network
    return jax.jit(lambda variables, pictures: network.apply(variables, to_float(pictures)))


def with_grain(model: TrainedAutoencoder, grain: int) -> TrainedAutoencoder:
    """A model of the router of features that gives all regions one grain."""
    params = dict(model.variables["params"])
    router, last = dict(params["router"]), params["router"]["logits"]
    bias = np.where(np.arange(len(last["bias"])) == grain, 1e4, 0).astype(np.float32)
    params["router"] = router | {"logits": last | {"bias": bias}}
    return replace(model, variables=model.variables | {"params": params})


@pytest.mark.parametrize(("grains", "kind", "stem"), TOYS)
def test_grids_with_holes_become_the_reconstructions(grains: int, kind: str, stem: int) -> None:
    """The network, called whole, has a code in each cell; those of a square are equal."""
    model = model_of(grains, kind, stem)
    pictures = smooth_and_rough_pictures(5, model.config)
    codes, copies = model.reconstruct(pictures)
    found, vectors, quantized = call_whole(grains, kind, stem)(model.variables, pictures)
    maps, vectors = maps_of(codes, grains), np.asarray(vectors)
    assert set(np.unique(maps)) == set(range(grains)) and len(np.unique(codes)) > 6
    model.config.check_codes(codes)
    side = 2 ** (grains - 1)
    for (i, y, x), grain in np.ndenumerate(maps):
        size = side // 2**grain
        for top in range(side * y, side * (y + 1), size):
            for left in range(side * x, side * (x + 1), size):
                square = (i, slice(top, top + size), slice(left, left + size))
                assert np.ptp(vectors[square].reshape(-1, 4), axis=0).max() < 1e-5
                assert np.all(np.asarray(quantized.codes)[square] == codes[i, top, left])
    mask = 4.0 ** (maps.repeat(side, axis=1).repeat(side, axis=2) - grains + 1)[..., None]
    table = model.variables["codebook"]["quantizer"]["table"]
    loss = np.mean(mask * np.square(vectors - table[np.asarray(quantized.codes)]))
    assert quantized.commitment_loss == pytest.approx(loss, rel=1e-3)
    assert copies.std() > 5
    assert np.abs(copies.astype(int) - np.asarray(to_uint8(found))).max() <= 1
    np.testing.assert_array_equal(np.concatenate(list(model.detokenize(codes))), copies)


def test_all_regions_may_be_coarse_or_fine() -> None:
    """All-coarse grids have one code a region, all-fine ones have no hole."""
    model = model_of(2, "feature", 2)
    pictures = smooth_and_rough_pictures(5, model.config)
    for grain in (0, 1):
        codes, copies = with_grain(model, grain).reconstruct(pictures)
        assert np.all((codes < CODES).sum(axis=(1, 2)) == np.prod(model.config.regions) * 4**grain)
        found, *_ = call_whole(2, "feature", 2)(with_grain(model, grain).variables, pictures)
        assert np.abs(copies.astype(int) - np.asarray(to_uint8(found))).max() <= 1


@pytest.mark.parametrize("grains", [2, 3])
def test_a_region_has_the_features_of_its_grain_and_each_gate_the_gradient_of_its_own(grains: int) -> None:
    rng, side = np.random.default_rng(0), 2 ** (grains - 1)
    heads = tuple(rng.normal(size=(2, 2 * 2**g, 3 * 2**g, 5)).astype(np.float32) for g in range(grains))
    maps, weights = rng.integers(0, grains, (2, 2, 3)), rng.normal(size=(2, 2 * side, 3 * side, 5))
    gates = np.eye(grains, dtype=np.float32)[maps]

    @jax.jit
    def run() -> tuple[jax.Array, jax.Array]:
        found, pull = jax.vjp(lambda x: assemble(heads, x), gates)
        return found, pull(jnp.asarray(weights, jnp.float32))[0]

    found, slopes = run()
    expected, of_gates = np.zeros(weights.shape), np.zeros(gates.shape)
    for (i, y, x), _ in np.ndenumerate(np.zeros(weights.shape[:3])):
        region = i, y // side, x // side
        of_cell = [heads[g][i, y * 2**g // side, x * 2**g // side] for g in range(grains)]
        expected[i, y, x] = of_cell[maps[region]]
        of_gates[region] += np.array(of_cell) @ weights[i, y, x]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    np.testing.assert_allclose(slopes, of_gates, rtol=1e-4, atol=1e-5)


@slow
@pytest.mark.parametrize(("grains", "stem"), [(2, 2), (3, 1)])
def test_every_kernel_learns_and_the_router_only_in_training(grains: int, stem: int) -> None:
    """Of the reconstruction and the commitment; with noise the router has a gradient."""
    model = model_of(grains, "feature", stem)
    pixels = to_float(jnp.asarray(smooth_and_rough_pictures(4, model.config)))
    rest = {"codebook": jax.tree.map(jnp.asarray, model.variables["codebook"])}
    noise = jax.random.gumbel(jax.random.key(0), (4, *model.config.regions, grains))

    def loss(params: Any, noise: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        variables = {"params": params, **rest}
        features, routed, quantized = model.network.apply(variables, pixels, noise, method="routed_features")
        copies = model.network.to_pixels.apply({"params": params["to_pixels"]}, features)
        return jnp.square(copies - pixels).mean() + quantized.commitment_loss, routed.grain_map

    for given in (noise, None):
        gradient, maps = jax.jit(jax.grad(loss, has_aux=True))(model.variables["params"], given)
        assert set(np.unique(maps)) == set(range(grains))
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            if leaf.ndim > 1:
                is_silent = given is None and path[0].key == "router"
                assert np.abs(leaf).max() == 0 if is_silent else np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize("grains", [2, 3])
def test_the_router_of_entropies_compares_regions_with_its_thresholds(grains: int) -> None:
    """Noise changes nothing, and nothing has a gradient there. Fresh thresholds are infinite."""
    config = dqvae_config(grains, "entropy", 2, image_size=(8, 16))
    network, pictures = config.network(), smooth_and_rough_pictures(4, config)
    pixels = to_float(jnp.asarray(pictures))
    variables = dict(initial_params(network, pixels[:1], seed=0))
    np.testing.assert_array_equal(variables["router"]["thresholds"], np.full(grains - 1, np.inf, np.float32))
    entropies = entropies_of(pixels, 2**grains)
    thresholds = np.sort(np.unique(entropies))[[2, 5][: grains - 1]]
    run = jax.jit(lambda variables: network.apply(variables, pixels, method="route").grain_map)
    np.testing.assert_array_equal(run(variables), np.zeros((4, *config.regions)))
    maps = np.asarray(run(variables | {"router": {"thresholds": jnp.asarray(thresholds)}}))
    np.testing.assert_array_equal(maps, sum((entropies > threshold).astype(int) for threshold in thresholds))
    assert set(np.unique(maps)) == set(range(grains))
    assert "router" not in variables["params"]


def test_a_pictures_codes_do_not_depend_on_the_others() -> None:
    model = model_of(2, "feature", 2)
    pictures = smooth_and_rough_pictures(10, model.config)
    together = np.concatenate(list(model.tokenize(pictures, 5)))
    one = np.concatenate(list(model.tokenize(pictures[4:5], 5)))
    np.testing.assert_array_equal(together[4:5], one)


def test_positions_are_sines_of_both_coordinates_and_vectors_of_rows_and_columns() -> None:
    positions = Positions(6, (3, 5))
    params = jax.device_get(jax.jit(positions.init)(jax.random.key(0)))["params"]
    kernel = np.asarray(params["waves"]["kernel"])
    assert np.abs(kernel).max() < 4.5**0.5 and np.abs(params["rows"]).max() < 2 and params["columns"].shape == (5, 6)
    params = jax.tree.map(lambda x: x + 0.3, params)
    found = np.asarray(jax.jit(positions.apply)({"params": params}))
    for y in range(3):
        for x in range(5):
            waves = np.sin(np.array([x / 2 - 1, y - 1]) @ (kernel + 0.3) + 0.3)
            np.testing.assert_allclose(found[y, x], waves + params["rows"][y] + params["columns"][x], rtol=1e-5, atol=1e-6)


def test_pictures_of_another_grid_are_refused() -> None:
    model = model_of(2, "feature", 2)
    for refused in (
        lambda: list(model.tokenize(np.zeros((1, 16, 24, 3), np.uint8))),
        lambda: list(model.detokenize(np.zeros((1, 8, 12), np.int32))),
        lambda: model.network.apply(model.variables, np.zeros((1, 8, 12), np.int32), method="from_codes"),
    ):
        with pytest.raises(ValueError, match="the grid has 8 x 12 cells; it must have 8 x 8, those of training"):
            refused()


@slow
def test_sides_that_the_regions_do_not_divide_are_padded_if_the_field_says_so() -> None:
    config = dqvae_config(2, "feature", 2)
    model = random_dqvae(config)
    data = replace(config.data, image_size=(15, 13))
    model = replace(model, config=replace(config, model=replace(config.model, sides="pad"), data=data))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 15, 13, 3)).astype(np.uint8)
    codes, copies = model.reconstruct(pictures)
    assert codes.shape == (2, 8, 8) and copies.shape == pictures.shape
    padded = np.pad(pictures, [(0, 0), (0, 1), (0, 3), (0, 0)], mode="edge")
    np.testing.assert_array_equal(np.concatenate(list(model.tokenize(padded))), codes)


@pytest.mark.parametrize(("stem", "attention", "levels"), [(1, (2,), [1]), (2, (2,), [0]), (2, (2, 4), [0, 1])])
def test_levels_have_attention_by_their_pixels(stem: int, attention: tuple[int, ...], levels: list[int]) -> None:
    """A cell of the first level has as many as the stem makes of it, in both halves."""
    config = dqvae_config(2, stem=stem)
    model = replace(config.model, multipliers=(1, 1, 1), attention=attention)
    network = replace(config, model=model).network()
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    for half, number in (("encoder", 3), ("decoder", 2)):
        assert [i for i in range(number) if "attention0" in shapes[half][f"level{i}"]] == levels


def test_a_level_that_the_stem_leaves_out_has_no_attention() -> None:
    with pytest.raises(ValueError, match=r"model.attention is \(1,\); it must be some of 2, 4, 8"):
        GrainsConfig(multipliers=(1, 1, 1), attention=(1,), stem=2)


@pytest.mark.parametrize(
    ("grains", "multipliers", "attention", "encoder", "router"),
    [
        (2, (1, 1, 2, 2, 4), (8, 16), 33.0, 0.26),
        pytest.param(3, (1, 1, 2, 2, 4, 4), (8, 16, 32), 58.6, 0.59, marks=slow),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    grains: Any, multipliers: tuple[int, ...], attention: tuple[int, ...], encoder: float, router: float
) -> None:
    config = DQVAEConfig(
        data=DataConfig(image_size=(256, 256)),
        quantizer=QuantizerConfig(kind="ema", codes=1024, dim=256),
        model=GrainsConfig(multipliers=multipliers, attention=attention, grains=grains),
        router=RouterConfig(ratios=(0.3,) * (grains - 1)),
    )
    shapes = jax.eval_shape(config.network().init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))["params"]
    millions = {name: sum(x.size for x in jax.tree.leaves(tree)) / 1e6 for name, tree in shapes.items()}
    assert millions["encoder"] == pytest.approx(encoder, abs=0.05)
    assert millions["decoder"] + millions["to_pixels"] == pytest.approx(14.4, abs=0.1)
    assert millions["router"] == pytest.approx(router, abs=0.01)
    assert config.grid == (32, 32) and config.regions == (2 ** (6 - grains),) * 2
