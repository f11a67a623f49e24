"""Settings of how grids are sampled; they need no JAX."""

from dataclasses import dataclass

from dct_jax.fields import require

LARGEST_STEPS = 2**20


@dataclass(frozen=True)
class SundaePolicy:
    """How a grid is denoised, step by step. The program takes all of this as data: other settings
    need no other program.

    Attributes:
        steps: the largest number of steps.
        temperature: divides the logits: at the first step, and at the last. In between it changes
            linearly.
        proportion: the probability with which a cell takes its new code: at the first step, and at
            the last. In between it changes linearly.
        min_steps: a sample that does not change in a step after the first `min_steps` is frozen.
            With `steps` no sample is frozen.
    """

    steps: int = 100
    temperature: tuple[float, float] = (0.8, 0.8)
    proportion: tuple[float, float] = (0.5, 0.5)
    min_steps: int = 10

    def __post_init__(self) -> None:
        require(1 <= self.steps <= LARGEST_STEPS, "steps", self.steps, f"from 1 to {LARGEST_STEPS}")
        # Far above, the logits say nothing; far below, they are no longer finite.
        fits = len(self.temperature) == 2 and all(1e-6 <= x <= 1e6 for x in self.temperature)
        require(fits, "temperature", self.temperature, "a first and a last value, each from 1e-6 to 1e6")
        fits = len(self.proportion) == 2 and all(0 <= x <= 1 for x in self.proportion)
        require(fits, "proportion", self.proportion, "a first and a last value, each from 0 to 1")
        require(self.min_steps >= 0, "min_steps", self.min_steps, "0 or more")
        if self.steps < self.min_steps:
            raise ValueError(f"steps is {self.steps} and min_steps is {self.min_steps}; min_steps must be at most steps")
