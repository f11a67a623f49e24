"""Tiled attention gives the numbers, and the gradients, of attention written out."""

from collections.abc import Callable
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax import kernels
from dct_jax.nn import tiled_attention as tiled
from dct_jax.nn.attention import KeysValues, attend, attend_step, attend_window

BATCH, HEADS, SIZE = 2, 3, 8


def written_out(q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray) -> jax.Array:
    """The formula: keys and values [B, H, K, T], mask [B, S, T]."""
    scores = jnp.einsum("bhsk,bhkt->bhst", q, k) / np.sqrt(q.shape[-1])
    return jnp.einsum("bhst,bhkt->bhsk", jax.nn.softmax(jnp.where(mask[:, None], scores, -jnp.inf)), v)


def example(length: int, keys: int, dtype: type = jnp.float32) -> tuple[jax.Array, ...]:
    """Queries, keys and values whose scores are far apart."""
    shapes = [(BATCH, HEADS, length, SIZE), *[(BATCH, HEADS, SIZE, keys)] * 2]
    return tuple(3 * jax.random.normal(jax.random.key(i), shape).astype(dtype) for i, shape in enumerate(shapes))


def gradients(f: Callable[..., jax.Array], inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Of a sum in which every output counts differently."""
    factors = jnp.cos(jnp.arange(inputs[0].size)).reshape(inputs[0].shape)
    return jax.jit(jax.grad(lambda *x: jnp.sum(f(*x) * factors), argnums=(0, 1, 2)))(*inputs)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # small tiles, or all heads at once
@pytest.mark.parametrize(("causal", "hides"), [(False, False), (False, True), (True, False), (True, True)])
def test_outputs_and_gradients(backend: str, causal: bool, hides: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(tiled, "QUERY_BLOCK", 16)
    monkeypatch.setattr(tiled, "CACHED_WEIGHTS", 16 * 40 * 2)  # so tiles of two heads
    length = 40  # two blocks and a half
    inputs = example(length, length if causal else 23)
    keys = inputs[1].shape[-1]
    visible = np.arange(keys) < np.array([[keys], [7]]) if hides else None
    mask = np.ones((BATCH, length, keys), bool)
    mask &= np.tril(np.ones((length, keys), bool)) if causal else True
    mask &= visible[:, None] if hides else True
    ours = lambda q, k, v: tiled.tiled_attention(q, k, v, visible, causal)  # noqa: E731
    plain = lambda q, k, v: written_out(q, k, v, mask)  # noqa: E731
    np.testing.assert_allclose(jax.jit(ours)(*inputs), jax.jit(plain)(*inputs), atol=2e-5)
    for one, other in zip(gradients(ours, inputs), gradients(plain, inputs)):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_bfloat16_stays_near_float32() -> None:
    low = tuple(x.astype(jnp.bfloat16) for x in example(40, 40))
    inputs = tuple(x.astype(jnp.float32) for x in low)
    f = lambda q, k, v: tiled.tiled_attention(q, k, v, None, True)  # noqa: E731
    assert f(*low).dtype == jnp.bfloat16
    np.testing.assert_allclose(f(*low).astype(jnp.float32), f(*inputs), atol=0.05)
    for one, other in zip(gradients(f, low), gradients(f, inputs)):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(jnp.float32), other, atol=0.05 * float(jnp.abs(other).max()))


def test_no_weights_are_kept_for_the_backward_pass() -> None:
    """The largest array that the forward pass leaves is as large as the queries."""
    q, k, v = example(1024, 1024)
    _, backward = jax.vjp(lambda *x: attend(x[0], KeysValues(*x[1:]), q.dtype, causal=True), q, k, v)
    assert max(x.size for x in jax.tree.leaves(backward)) <= q.size


@pytest.mark.parametrize("with_kernels", [True, False])
def test_a_step_is_the_same_attention(with_kernels: bool) -> None:
    q, k, v = example(40, 40)
    empty = KeysValues(jnp.zeros_like(k), jnp.zeros_like(v))
    with nullcontext() if with_kernels else kernels.without_kernels():
        attended, written = attend_window(q, KeysValues(k, v), empty, 0)
    np.testing.assert_allclose(attended, attend(q, KeysValues(k, v), q.dtype, causal=True), atol=2e-5)
    np.testing.assert_array_equal(written.keys, k)


def test_gpus_read_a_bfloat16_cache_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With float32 queries each step once made float32 copies of all keys and values."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    queries, visible = jax.ShapeDtypeStruct((2, 3, 1, 8), jnp.float32), jax.ShapeDtypeStruct((2, 9), bool)
    cache = KeysValues(*[jax.ShapeDtypeStruct((2, 3, 8, 9), jnp.bfloat16)] * 2)
    program = jax.make_jaxpr(attend_step)(queries, cache, visible)
    assert "bf16[2,3,8,9]" in str(program) and "f32[2,3,8,9]" not in str(program).replace("bf16", "")
    assert program.out_avals[0].dtype == jnp.float32
