"""Times both forms of the window's attention, for a small grid of codes and a large one.

    python benchmarks/window_attention.py [--batch 4 --repeats 15 --json FILE]

The bars, on two cores: at 64 x 64 cells the gathered form's time per cell is at most 1.2 times that
at 16 x 16, and less than a quarter of the masked form's. As other programs share the cores, forms
and grids are timed by turns, so many calls at a time that both grids have equally many cells. A
ratio is the median of those of all turns.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from machine import Figure, machine_figures, peak_memory, report, spread, timings

from dct_jax.commands.ending import run_script
from dct_jax.nn.attention import KeysValues
from dct_jax.window.attention import attend_gathered, attend_masked

SMALL, LARGE = 16, 64
"""Sides of the grids, in cells."""

GROWTH_BAR, MASKED_BAR = 1.2, 0.25


def main(
    batch: int = 4, width: int = 128, heads: int = 4, window: int = 8, repeats: int = 15, json: Path | None = None
) -> None:
    """Times attention, and attention with its backward pass.

    Args:
        batch: grids at a time. The masked form of the large grid has one, for its memory's sake.
        width: of all heads together.
        heads: of attention.
        window: w.
        repeats: how often each is timed.
        json: where to write the figures.
    """
    cases: dict[tuple[str, str, int], tuple[Callable[[], Any], int, int]] = {}  # with calls, and their cells
    for side in (SMALL, LARGE):
        for form, attend in (("gathered", attend_gathered), ("masked", attend_masked)):
            number = 1 if side == LARGE and form == "masked" else batch
            arrays = _heads(number, heads, side, width // heads)
            for passes, program in zip(("forward", "both"), _programs(attend, side, window)):
                cases[form, passes, side] = (
                    partial(program, *arrays),
                    (LARGE // side) ** 2,
                    number * LARGE**2,
                )
    for call, *_ in cases.values():
        jax.block_until_ready(call())  # compiles
    seconds: dict[tuple[str, str, int], list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, (call, calls, cells) in cases.items():
            seconds[name] += [sum(timings(call, calls)) / cells]

    def ratio(over: tuple[str, str, int], under: tuple[str, str, int]) -> float:
        return statistics.median(one / other for one, other in zip(seconds[over], seconds[under]))

    figures = [peak_memory(), *machine_figures()]
    for (form, passes, side), each in seconds.items():
        figures.append(spread(f"{form}, {passes}, {side} x {side}", each, "us/cell", 1e6))
        figures.append(Figure(f"{form}, {passes}, {side} x {side}, fastest", 1e6 * min(each), "us/cell"))
    for passes in ("forward", "both"):
        growth = ratio(("gathered", passes, LARGE), ("gathered", passes, SMALL))
        share = ratio(("gathered", passes, LARGE), ("masked", passes, LARGE))
        figures.append(Figure(f"gathered, {passes}, growth", growth, f"(bar: {GROWTH_BAR})"))
        figures.append(Figure(f"gathered / masked, {passes}", share, f"(bar: {MASKED_BAR})"))
    report(figures, json)


def _heads(batch: int, heads: int, side: int, size: int) -> tuple[jax.Array, KeysValues, jax.Array]:
    """Makes queries, keys and values of all tokens, and a gradient of the outputs."""
    tokens = 1 + side * (side + 1)
    q, k, v, g = (jax.random.normal(key, (batch, heads, tokens, size)) for key in jax.random.split(jax.random.key(0), 4))
    return q, KeysValues(k.swapaxes(2, 3) + 0, v.swapaxes(2, 3) + 0), g


def _programs(attend: Callable[..., jax.Array], side: int, window: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns programs of the forward pass, and of both passes."""

    def both(queries: jax.Array, memory: KeysValues, gradient: jax.Array) -> Any:
        outputs, back = jax.vjp(lambda *x: attend(*x, (side, side), window), queries, memory)
        return outputs, back(gradient)

    return jax.jit(lambda queries, memory, _: attend(queries, memory, (side, side), window)), jax.jit(both)


if __name__ == "__main__":
    run_script(main)
