"""The configuration of a sliding-window transformer's run."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dct_jax.codes.config import CodePriorConfig
from dct_jax.config import LARGEST_DEPTH, LARGEST_WIDTH
from dct_jax.fields import MAY_CHANGE, require

if TYPE_CHECKING:
    from dct_jax.window.network import WindowTransformer
    from dct_jax.window.stage import WindowStage

LARGEST_WINDOW = 2**10
"""This bound is far above what anybody trains; see `dct_jax.config.LARGEST_IMAGE`."""

HEAD_UNIT = 8
"""Half of a head turns with the place: cosine and sine of one angle or more for row and column."""


@dataclass(frozen=True, kw_only=True)
class WindowModelConfig:
    """The sizes of a sliding-window transformer.

    Attributes:
        width: D, the width of the residual stream.
        heads: attention heads. Their size, width / heads, is a multiple of 8.
        layers: blocks of an attention and two dense layers.
        window: w. A code depends directly on w - 1 rows above it, of 2 w columns, and on w codes to
            its left.
        dropout: probability of dropping a unit of an embedding or a residual branch in training.
        products: the type of the operands of dense layers' products; attention's products, all sums
            and all activations are float32. "bfloat16" makes training faster on processors that
            have units for it; others use float32.
    """

    width: int = 128
    heads: int = 4
    layers: int = 4
    window: int = 8
    dropout: float = 0.0
    products: Literal["float32", "bfloat16"] = field(default="float32", metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        require(1 <= self.width <= LARGEST_WIDTH, "model.width", self.width, f"from 1 to {LARGEST_WIDTH}")
        require(self.heads >= 1, "model.heads", self.heads, "1 or more")
        if self.width % (HEAD_UNIT * self.heads):
            raise ValueError(
                f"model.width is {self.width} and model.heads is {self.heads}; width / heads must be a multiple of {HEAD_UNIT}"
            )
        require(1 <= self.layers <= LARGEST_DEPTH, "model.layers", self.layers, f"from 1 to {LARGEST_DEPTH}")
        require(1 <= self.window <= LARGEST_WINDOW, "model.window", self.window, f"from 1 to {LARGEST_WINDOW}")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(self.products in ("float32", "bfloat16"), "model.products", self.products, "float32 or bfloat16")

    @property
    def head_size(self) -> int:
        """Returns the size of a head."""
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True)
class WindowConfig(CodePriorConfig):
    """Determines a run of a sliding-window transformer."""

    system = "window transformer"
    model: WindowModelConfig = field(default_factory=WindowModelConfig)

    @property
    def sizes(self) -> WindowModelConfig:
        """The room `model`."""
        return self.model

    def network(self) -> "WindowTransformer":
        """The Flax module."""
        from dct_jax.window.network import WindowTransformer

        return WindowTransformer(self.model, self.num_codes, self.codes.num_classes)

    def build(self) -> "WindowStage":
        """The stage that trains a sliding-window transformer."""
        from dct_jax.window.stage import WindowStage  # JAX starts there

        return WindowStage(self)
