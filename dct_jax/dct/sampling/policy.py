"""Settings of how the three symbols of a triple are sampled."""

import numbers

import flax.struct

from dct_jax.nn.temperature import SymbolPolicy


@flax.struct.dataclass
class Policy:
    """A policy for each symbol, after guidance.

    Attributes:
        channel, position, value: how each is sampled from its logits.
        guidance: w of classifier-free guidance (Ho and Salimans, 2021), for a model that was
            trained with hidden classes. All logits become u + w (c - u), where c are those with the
            class and u those without. Above 1 pictures are more like their class and less varied.
            None samples from the model with the class, in half of the time.
    """

    channel: SymbolPolicy = SymbolPolicy()
    position: SymbolPolicy = SymbolPolicy()
    value: SymbolPolicy = SymbolPolicy()
    guidance: float | None = None

    def __post_init__(self) -> None:
        # In a program it is an array, and was checked before.
        if isinstance(self.guidance, numbers.Real) and not 0 <= self.guidance <= 100:
            raise ValueError(f"guidance is {self.guidance}; it must be from 0 (without the class) to 100")
