"""What a program multiplies."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest

from dct_jax.nn import precision


def operands_of(program: Callable[..., Any], *args: Any) -> list[tuple[Any, Any]]:
    """The shapes and types of both operands of all matrix products, as JAX sees the program on a
    machine with units for bfloat16. Nothing is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_bfloat16_units", lambda: True)
        found = list(_products(jax.make_jaxpr(program)(*args).jaxpr))
    assert found
    return found


def _products(jaxpr: Any) -> Iterator[tuple[Any, Any]]:
    """Goes through a program and those inside: branches, bodies of loops, backward passes."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(operand.aval for operand in equation.invars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _products(inner)
