"""Finds, by a trace of a network, matrices between layers and the variables of a method."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
from flax.linen.module import InterceptorContext


class SymbolHead(nn.Dense):
    """A dense layer whose outputs are the logits of symbols."""


def is_hidden_matrix(model: nn.Module, *inputs: Any) -> Any:
    """Tells of each variable of a model whether it is a matrix between layers: the kernel of a
    layer that is no `SymbolHead`.

    Args:
        model: a trace of `model.init` finds its variables and its heads.
        inputs: of the model; they give shapes only.

    Returns:
        A tree of bool, like the variables.
    """
    with _called_modules() as modules:
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    heads = {module.path for module in modules if isinstance(module, SymbolHead)}

    def one(path: Any, leaf: Any) -> bool:
        *module, name = (entry.key for entry in path[1:])  # after the collection
        return name == "kernel" and tuple(module) not in heads

    return jax.tree_util.tree_map_with_path(one, variables)


def used_variables(model: nn.Module, variables: Any, *args: Any, method: str) -> Any:
    """Returns the variables of the modules that a model's method calls with these arguments."""
    with _called_modules() as modules:
        jax.eval_shape(lambda variables, *args: model.apply(variables, *args, method=method), variables, *args)
    names = {module.path[0] for module in modules if module.path}
    return {kind: {name: tree[name] for name in names & tree.keys()} for kind, tree in variables.items()}


@contextmanager
def _called_modules() -> Iterator[list[nn.Module]]:
    """Lists the modules of which a method is called while this is open."""
    modules: list[nn.Module] = []

    def note(layer: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        modules.append(context.module)
        return layer(*args, **kwargs)

    with nn.intercept_methods(note):
        yield modules
