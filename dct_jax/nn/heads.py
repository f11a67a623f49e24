"""Which layers give the logits of symbols, and which matrices lie between layers."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from flax.linen.module import InterceptorContext


class SymbolHead(nn.Dense):
    """A dense layer whose outputs are the logits of symbols."""


def is_hidden_matrix(model: nn.Module, batch: Any, variables: Any) -> Any:
    """Tells of each variable of a model whether it is a matrix between layers: the kernel of a layer that is no `SymbolHead`.

    Args:
        model: whose heads are found by a trace of `model.init`.
        batch: what the model is applied to; it gives shapes only.
        variables: of the model, a tree.

    Returns:
        A tree of bool.
    """
    heads: set[tuple[str, ...]] = set()

    def note(layer: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        if isinstance(context.module, SymbolHead):
            heads.add(context.module.path)
        return layer(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), batch)

    def one(path: Any, leaf: Any) -> bool:
        *module, name = (entry.key for entry in path[1:])  # after the collection
        return name == "kernel" and tuple(module) not in heads

    return jax.tree_util.tree_map_with_path(one, variables)
