"""What a trace of a network tells of its modules: which matrices lie between layers, and what a method uses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    with _called_modules() as called:
        jax.eval_shape(model.init, jax.random.key(0), batch)
    heads = {module.path for module in called if isinstance(module, SymbolHead)}

    def one(path: Any, leaf: Any) -> bool:
        *module, name = (entry.key for entry in path[1:])  # after the collection
        return name == "kernel" and tuple(module) not in heads

    return jax.tree_util.tree_map_with_path(one, variables)


def used_variables(model: nn.Module, variables: Any, *args: Any, method: str) -> Any:
    """The variables of those of a model's modules that a method calls, with these arguments."""
    with _called_modules() as called:
        jax.eval_shape(lambda variables, *args: model.apply(variables, *args, method=method), variables, *args)
    names = {module.path[0] for module in called if module.path}
    return {kind: {name: tree[name] for name in names & tree.keys()} for kind, tree in variables.items()}


@contextmanager
def _called_modules() -> Iterator[list[nn.Module]]:
    """The modules of which a method is called while this is open."""
    called: list[nn.Module] = []

    def note(layer: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        called.append(context.module)
        return layer(*args, **kwargs)

    with nn.intercept_methods(note):
        yield called
