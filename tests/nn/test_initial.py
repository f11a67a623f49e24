from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import pytest

from dct_jax.nn.initial import SHORTEST, Initializer, fan_in, initial_params, normal

OURS_AND_FLAXS = [
    pytest.param(normal(0.02), nn.initializers.normal(0.02), id="normal"),
    pytest.param(fan_in, nn.initializers.lecun_normal(), id="fan_in"),
]


@pytest.mark.parametrize("shape", [(5, 3), (3, SHORTEST // 2)])
@pytest.mark.parametrize("ours, flaxs", OURS_AND_FLAXS)
def test_initialisers_draw_flaxs_numbers(ours: Initializer, flaxs: Initializer, shape: tuple[int, int]) -> None:
    key = jax.random.key(7)
    np.testing.assert_allclose(ours(key, shape), flaxs(key, shape), rtol=3e-7)


class Watched(nn.Module):
    """A network that calls `note` when its output is computed."""

    note: Callable[[np.ndarray], np.ndarray]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(3, kernel_init=fan_in)(x)
        return nn.LayerNorm()(jax.pure_callback(self.note, x, x))


def test_parameters_are_those_of_init_and_no_output_is_computed() -> None:
    computed: list[np.ndarray] = []

    def note(x: np.ndarray) -> np.ndarray:
        computed.append(x)
        return x

    model, x = Watched(note), np.ones((2, 5), np.float32)
    ours = initial_params(model, x, seed=3)
    assert not computed
    wanted = model.init(jax.random.key(3), x)
    assert computed
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-7), ours, wanted)
