"""Settings of how the three symbols of a triple are sampled."""

import numbers
from typing import Any, Self

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

    @classmethod
    def of(
        cls,
        temperature: tuple[float, float, float] = (1.0, 1.0, 1.0),
        top_k: tuple[int, int, int] = (0, 0, 0),
        top_p: tuple[float, float, float] = (1.0, 1.0, 1.0),
        guidance: float = 1.0,
    ) -> Self:
        """Returns the policy of settings as commands have them.

        Args:
            temperature, top_k, top_p: of channel, position and value; see `SymbolPolicy`.
            guidance: w; 1 for none.

        Raises:
            ValueError: if a setting is out of range.
        """
        channel, position, value = (SymbolPolicy(*one) for one in zip(temperature, top_k, top_p, strict=True))
        return cls(channel, position, value, None if guidance == 1 else guidance)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `of` that make this policy."""
        symbols = (self.channel, self.position, self.value)
        by_name = {name: tuple(getattr(x, name) for x in symbols) for name in ("temperature", "top_k", "top_p")}
        return by_name | {"guidance": 1.0 if self.guidance is None else self.guidance}
