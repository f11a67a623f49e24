"""What `parallel` relies on in JAX's pmap, whose insides have changed from version to version."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest

from dct_jax.distributed.parallel import (
    DATA_AXIS,
    any_process,
    first_replica,
    gather_batch,
    parallel,
    place,
    places_of,
    replicate,
)

State = dict[str, jax.Array]


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of what is compiled meanwhile, or read from the cache of compiled programs."""
    names: list[str] = []

    def note(event: str, seconds: float, **about: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def step(state: State, batch: np.ndarray) -> tuple[State, jax.Array]:
    return {"w": state["w"] + jax.lax.pmean(batch.sum(axis=0), DATA_AXIS)}, jax.lax.psum(batch.sum(), DATA_AXIS)


@pytest.mark.parametrize("number", [1, 2])
def test_steps_are_compiled_once_and_overwrite_the_state(number: int, compiled: list[str]) -> None:
    """And its first replica, which is no copy."""
    devices = jax.local_devices()[:number]
    program = parallel(step, devices, donate_first=True)
    batch = np.arange(12, dtype=np.float32).reshape(4, 3)
    before = replicate({"w": np.ones(3, np.float32)}, devices)
    after, total = program(before, place(batch, devices))
    assert compiled and before["w"].is_deleted()
    assert after["w"].sharding.is_equivalent_to(replicate(np.ones(3), devices).sharding, 1)
    compiled.clear()
    (first,) = first_replica([after["w"]], devices)
    assert (first.shape, first.devices()) == ((3,), {devices[0]})
    again, _ = program(after, place(batch, devices))
    assert not compiled and after["w"].is_deleted() and first.is_deleted()
    np.testing.assert_array_equal(again["w"], 1 + 2 * batch.sum(axis=0) / number)
    assert (float(total), total.shape) == (batch.sum(), ())


def test_rows_are_numbered_and_joined_as_the_batch_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes with a device each, the first makes pictures 0, 2, 4, the second 1, 3, 5.
    Rows were once joined process by process, and numbered so."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    made = np.array([[0, 2, 4], [1, 3, 5]])
    joined, places = jax.pmap(lambda x: (gather_batch({"a": x[:, None]}), places_of(3)), axis_name=DATA_AXIS)(made)
    np.testing.assert_array_equal(joined["a"], np.stack([np.arange(6)[:, None]] * 2))
    np.testing.assert_array_equal(places, made)


def test_one_yes_is_an_answer() -> None:
    ask = any_process(jax.local_devices())
    assert [bool(ask(yes)) for yes in (False, True, False)] == [False, True, False]
