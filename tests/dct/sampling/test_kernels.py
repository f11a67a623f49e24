"""The sampler draws the same with kernels and without, and copies no cache in its loop."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from dct_jax import kernels
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.sampling.sampler import SampledChunk, Span, sample_chunk
from tests.toys import SMALLEST, batch_of, random_list, random_params, tiny_model

BATCH = 8


def program(with_kernels: bool) -> tuple[SampledChunk, str]:
    """What a program draws, and its compiled text; traced anew."""
    model = tiny_model(dataclasses.replace(SMALLEST, chunk_size=12, overlap=4))
    lists = [random_list(np.random.default_rng(i), model.vocabulary, 40)[:6] for i in range(BATCH)]
    chunk, zeros = batch_of(model, lists, 0), np.zeros(BATCH, np.int32)
    params = random_params(model, chunk, scale=0.1)

    def sample(*args: object) -> SampledChunk:
        return sample_chunk.__wrapped__(model, False, Policy(), *args)

    arguments = params, chunk, jax.random.split(jax.random.key(0), BATCH), Span(zeros, zeros + 12, zeros)
    if with_kernels:
        compiled = jax.jit(sample).lower(*arguments).compile()
    else:
        with kernels.without_kernels():
            compiled = jax.jit(sample).lower(*arguments).compile()
    return compiled(*arguments), compiled.as_text()


@pytest.fixture(scope="module")
def programs() -> dict[bool, tuple[SampledChunk, str]]:
    return {with_kernels: program(with_kernels) for with_kernels in (True, False)}


def test_the_same_samples_with_kernels_and_without(programs: dict[bool, tuple[SampledChunk, str]]) -> None:
    ours, plain = programs[True][0], programs[False][0]
    for name in ("channels", "positions", "values"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))
    for one, other in zip(ours.nats, plain.nats):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert "dct_jax_attend_window_float32" in programs[True][1]
    assert "dct_jax" not in "".join(re.findall(r'custom_call_target="[^"]*"', programs[False][1]))


def loop_text(text: str) -> str:
    """The computations of a compiled program that its loop over elements runs, step by step."""
    computations = dict(re.findall(r"^(?:ENTRY )?(%?[\w.\-]+) \([^\n]*\{\n(.*?)^\}", text, re.M | re.S))
    computations = {name.lstrip("%"): body for name, body in computations.items()}
    pending, seen = re.findall(r"body=%?([\w.\-]+)", text), {}
    while pending:
        name = pending.pop()
        if name not in seen:
            seen[name] = computations[name]
            pending += re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", computations[name])
    return "\n".join(seen.values())


@pytest.mark.parametrize("with_kernels", [True, False])
def test_no_cache_is_copied_in_the_loop(programs: dict[bool, tuple[SampledChunk, str]], with_kernels: bool) -> None:
    """A cache, [B, H, K, T], is never the result of a copy or of anything that writes all of it."""
    body = loop_text(programs[with_kernels][1])
    cache = re.escape(f"f32[{BATCH},2,8,16]")
    made = re.findall(rf"= {cache}\S* ([\w\-]+)\(", body)
    assert made  # the caches are there
    assert set(made) <= {"parameter", "get-tuple-element", "dynamic-update-slice", "fusion", "bitcast"}
    for call in re.findall(rf"= {cache}\S* fusion\([^\n]*", body):
        assert "dynamic-update-slice" in call or "dynamic_update_slice" in call, call
    if with_kernels:
        assert set(made) <= {"parameter", "get-tuple-element"}
        assert re.search(r'custom_call_target="dct_jax_attend_window_float32"[^\n]*output_to_operand_aliasing', body)
