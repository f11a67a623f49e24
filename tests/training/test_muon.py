"""Muon for stacks of matrices gives the updates of Muon for each."""

import jax
import numpy as np
import optax
import optax.contrib

from dct_jax.training.muon import stacked_muon


def test_updates_are_those_of_each_matrix_alone() -> None:
    shapes = {"wide": (3, 5), "tall": (5, 3), "square": (4, 4), "other": (3, 5)}
    steps = [
        {
            name: jax.random.normal(jax.random.fold_in(jax.random.key(step), i), shape)
            for i, (name, shape) in enumerate(shapes.items())
        }
        for step in range(3)
    ]
    schedule = optax.linear_schedule(0.1, 0.0, 5)
    ours, optaxs = stacked_muon(schedule), optax.contrib.muon(schedule, consistent_rms=0.2)
    our_state, their_state = ours.init(steps[0]), optaxs.init(steps[0])
    for gradients in steps:
        (our_updates, our_state), (their_updates, their_state) = (
            jax.jit(rule.update)(gradients, state, gradients) for rule, state in ((ours, our_state), (optaxs, their_state))
        )
        for name, update in their_updates.items():
            np.testing.assert_allclose(our_updates[name], update, rtol=1e-4, atol=1e-6, err_msg=name)
