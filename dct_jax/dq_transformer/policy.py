"""Settings of how sequences are sampled."""

import flax.struct

from dct_jax.nn.temperature import SymbolPolicy


@flax.struct.dataclass
class StackPolicy:
    """How symbols are sampled from their logits; see `SymbolPolicy`. Each setting has a number for
    positions, and one for codes.

    The temperatures are data: others need no other program. Another top-k or top-p does.

    Attributes:
        temperature: divides the logits.
        top_k: only the k likeliest symbols can be sampled; 0 for all.
        top_p: only the likeliest symbols that together have this probability remain; 1 for all.
    """

    temperature: tuple[float, float] = (1.0, 1.0)
    top_k: tuple[int, int] = flax.struct.field(default=(0, 0), pytree_node=False)
    top_p: tuple[float, float] = flax.struct.field(default=(1.0, 1.0), pytree_node=False)

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, tuple):
            return  # where JAX rebuilds the tree with something else in it
        for name in ("temperature", "top_k", "top_p"):
            if len(values := getattr(self, name)) != 2:
                raise ValueError(f"{name} is {values}; it must have two numbers, for positions and for codes")
        self.of_positions(), self.of_codes()  # they check the numbers

    def of_positions(self) -> SymbolPolicy:
        """Returns the policy of positions."""
        return SymbolPolicy(self.temperature[0], self.top_k[0], self.top_p[0])

    def of_codes(self) -> SymbolPolicy:
        """Returns the policy of codes."""
        return SymbolPolicy(self.temperature[1], self.top_k[1], self.top_p[1])
