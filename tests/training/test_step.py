"""The training step: golden first numbers, equality over devices, and that it learns."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dct_jax.codec import Vocabulary
from dct_jax.config import TrainingConfig
from dct_jax.dct.chunks import Chunk, num_chunks
from dct_jax.dct.network import DCTransformer, Triples, log_likelihood
from dct_jax.dct.network.transformer import Logits
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.stage import init_state, train_step
from dct_jax.distributed.parallel import parallel, place, replicate
from dct_jax.nn.modules import is_hidden_matrix
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.training.optimizer import make_optimizer
from dct_jax.training.stage import TrainState
from tests.toys import (
    SMALLEST,
    TINY,
    batch_of,
    random_image,
    random_list,
    random_params,
    sampled_lists,
    tiny_config,
    tiny_model,
)


def fit(model: DCTransformer, batches: list[Chunk], config: TrainingConfig, devices: int = 1) -> tuple[TrainState, list]:
    """Trains on the batches by turns; the state and every step's metrics."""
    optimizer = make_optimizer(config)
    where = jax.local_devices()[:devices]
    state = replicate(init_state(model, optimizer, batches[0], seed=0), where)
    step = parallel(partial(train_step, model, optimizer, seed=0, accumulate=config.accumulate), where, donate_first=True)
    metrics = []
    for i in range(config.steps):
        state, last = step(state, place(batches[i % len(batches)], where))
        metrics.append(jax.device_get(last))
    return state, metrics


@pytest.mark.slow
def test_the_first_step_of_a_fixed_configuration() -> None:
    """Golden numbers. After an intended change of the network, copy the new ones from this test's
    failure."""
    model = tiny_model()
    batch = batch_of(model, [random_list(np.random.default_rng(i), model.vocabulary, 40) for i in range(4)])
    optimizer = make_optimizer(TrainingConfig())
    params = random_params(model, batch, scale=0.1)
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    where = jax.local_devices()[:1]
    _, metrics = parallel(partial(train_step, model, optimizer, seed=0), where)(state, place(batch, where))
    total = metrics.means["nats_per_triple/total"]
    loss = total.sum / total.divisor
    assert [float(loss), float(metrics.gradient_norm)] == pytest.approx([13.034207, 4.226318], rel=1e-3)


@pytest.mark.slow
def test_devices_and_parts_of_a_batch_give_the_parameters_of_one() -> None:
    """Chunks with different numbers of targets, so that a mean of the devices' or of the parts'
    means would be wrong."""
    model, rng = tiny_model(SMALLEST), np.random.default_rng(0)
    batches = [batch_of(model, [random_list(rng, model.vocabulary, n) for n in (3, 5, 30, 40)]) for _ in range(3)]
    config = TrainingConfig(steps=6, warmup_steps=1, learning_rate=1e-3)
    one, metrics_one = fit(model, batches, config)
    for devices, accumulate in ((1, 4), (2, 2)):
        other, metrics_other = fit(model, batches, dataclasses.replace(config, accumulate=accumulate), devices)
        for a, b in zip(jax.tree.leaves(one.variables), jax.tree.leaves(other.variables)):
            np.testing.assert_allclose(a, b, atol=2e-5)
        for a, b in zip(jax.tree.leaves(metrics_one), jax.tree.leaves(metrics_other)):
            np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.slow
def test_rematerialisation_changes_nothing() -> None:
    """With dropout, whose units must be the same when a block runs again."""
    plain = tiny_model(dataclasses.replace(TINY, dropout=0.3))
    batch = batch_of(plain, [random_list(np.random.default_rng(i), plain.vocabulary, 40) for i in range(2)])
    params = random_params(plain, batch, scale=0.1)

    def gradient(model: DCTransformer) -> tuple[Any, int]:
        def loss(params: Any) -> jax.Array:
            logits = model.apply(params, batch, rngs={"dropout": jax.random.key(1)})
            return -sum(x.sum() for x in log_likelihood(logits, batch, model.vocabulary))

        backward = jax.jit(lambda params: jax.vjp(loss, params)[1])(params)
        return jax.jit(lambda backward: backward(1.0)[0])(backward), sum(x.size for x in jax.tree.leaves(backward))

    again = tiny_model(dataclasses.replace(TINY, dropout=0.3, rematerialise=True))
    (one, kept), (other, kept_again) = gradient(plain), gradient(again)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert kept_again < 0.5 * kept


@pytest.mark.slow
def test_muon_orthogonalises_what_moves_the_matrices_of_layers() -> None:
    """Its first update of a matrix has singular values that are nearly equal; of symbols' matrices,
    Adam's first update moves every number by the same: the learning rate times 1 + 0.9 (1 - 0.9) /
    (1 - 0.9^2), as optax gives it Nesterov's momentum."""
    model = tiny_model()
    batch = batch_of(model, [random_list(np.random.default_rng(i), model.vocabulary, 40) for i in range(4)])
    config = TrainingConfig(optimizer="muon", learning_rate=1e-3, muon_learning_rate=4e-3, warmup_steps=0, clip_norm=1e9)
    optimizer, params = make_optimizer(config, partial(is_hidden_matrix, model, batch)), random_params(model, batch)
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    where = jax.local_devices()[:1]
    after, _ = parallel(partial(train_step, model, optimizer, seed=0), where)(state, place(batch, where))
    moved = jax.tree.map(lambda new, old: np.asarray(new - old), after.variables, params)["params"]
    layer = moved["value_decoder"]["blocks_0"]["feed_forward"]["layer_0"]["Dense_0"]["kernel"]  # [D, 4 D]
    assert np.sqrt(np.mean(layer**2)) == pytest.approx(0.2 * config.muon_learning_rate, rel=0.3)
    sizes = np.linalg.svd(layer, compute_uv=False)
    assert sizes.max() < 3 * sizes.min()
    head = np.abs(moved["channel_head"]["kernel"])
    step = config.learning_rate * (1 + 0.09 / 0.19)
    assert np.median(head) == pytest.approx(step, rel=1e-2)
    assert np.abs(moved["value_decoder"]["norm"]["scale"]).max() == pytest.approx(step, rel=1e-2)


@pytest.mark.slow
def test_it_overfits_two_images_and_gives_one_back() -> None:
    rng = np.random.default_rng(0)
    config = tiny_config()
    lists = [config.codec.encode(random_image(rng)) for _ in range(2)]
    model = tiny_model(dataclasses.replace(TINY, width=48, channel_decoder=(1,), value_decoder=(1,)))
    count = max(num_chunks(len(sparse), TINY.chunk_size) for sparse in lists)
    assert count > 1
    chunks = [batch_of(model, lists, k) for k in range(count)]
    batch = Chunk(*map(np.concatenate, zip(*chunks)))
    state, metrics = fit(model, [batch], TrainingConfig(steps=300, warmup_steps=20, learning_rate=5e-3))
    total = metrics[-1].means["nats_per_triple/total"]
    assert total.sum / total.divisor < 0.1
    cold = SymbolPolicy(temperature=0.1)
    drawn, _ = sampled_lists(model, state.variables, 4, 0, Policy(cold, cold, cold))
    assert any(sparse in lists for sparse in drawn)


@pytest.mark.slow
def test_the_value_decoder_uses_the_current_channel_and_position() -> None:
    """In a sister project the stream of the previous decoder outgrew the embeddings that are added
    to it, and the current symbol was ignored. Here a value's magnitude depends on its channel alone
    and its sign on its position alone.

    The network must learn them from these embeddings: contexts, whose tables know both, are off,
    and the encoder has one token, so its features are the same at all positions. With these the
    loss got worse, too, if the embeddings were ignored."""
    vocabulary = Vocabulary(2, (4, 4), 3, "4:4:4", "interleaved")
    alone = {"contexts": False, "position_pointer": False, "encoder_stride": 4}
    sizes = {"width": 32, "chunk_size": 32, "channel_decoder": (1,), "value_decoder": (1,)}
    model = DCTransformer(vocabulary, dataclasses.replace(TINY, **alone, **sizes))
    rng = np.random.default_rng(0)
    magnitude = rng.integers(1, 4, vocabulary.num_channels)
    sign = rng.choice([-1, 1], vocabulary.num_positions)

    def batch() -> Chunk:
        lists = [random_list(rng, vocabulary, 31) for _ in range(16)]
        lists = [dataclasses.replace(s, values=(magnitude[s.channels] * sign[s.positions]).astype(np.int32)) for s in lists]
        return batch_of(model, lists)

    batches = [batch() for _ in range(30)]
    state, _ = fit(model, batches, TrainingConfig(steps=200, warmup_steps=20, learning_rate=4e-3))
    test = batch()
    shuffle = rng.permutation(16)

    @jax.jit
    def value_loss(channels: jax.Array, positions: jax.Array) -> jax.Array:
        """Nats per value when the value decoder alone is told these current channels and
        positions."""

        def run(model: DCTransformer) -> jax.Array:
            encoding = model.encode(test)
            last = Triples(test.channels[:, :-1], test.positions[:, :-1], test.values[:, :-1])
            channel, stream, _ = model.predict_channel(last, encoding)
            position, stream, _ = model.predict_position(stream, test.channels[:, 1:], last, encoding)
            value, _ = model.predict_value(stream, channels, positions, encoding)
            return log_likelihood(Logits(channel, position, value), test, vocabulary).value.sum() / (16 * 31)

        return -model.apply(state.variables, method=run)

    channels, positions = test.channels[:, 1:], test.positions[:, 1:]
    true = float(value_loss(channels, positions))
    assert true < 0.2
    assert float(value_loss(channels[shuffle], positions)) > true + 0.5
    assert float(value_loss(channels, positions[shuffle])) > true + 0.5
