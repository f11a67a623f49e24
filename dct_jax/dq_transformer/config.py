"""The configuration of a DQ-Transformer's run."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from dct_jax.codes.config import CodePriorConfig
from dct_jax.config import LARGEST_DEPTH, LARGEST_WIDTH
from dct_jax.dq.config import DQVAEConfig
from dct_jax.fields import MAY_CHANGE, require
from dct_jax.vq.config import AutoencoderRunConfig

if TYPE_CHECKING:
    from dct_jax.dq_transformer.network import DQTransformer
    from dct_jax.dq_transformer.order import Order
    from dct_jax.dq_transformer.stage import DQTransformerStage


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """The sizes of a DQ-Transformer, a stack of two transformers.

    Attributes:
        width: D, the width of the residual stream.
        heads: attention heads.
        position_layers: blocks of the transformer that says where the next code is.
        content_layers: blocks of the transformer above it, which says which code is there.
        order: of the codes of a grain: "rows" goes through the rows of the grain's whole grid,
            "regions" through the rows of each region in turn.
        dropout: probability of dropping a unit of an embedding or a residual branch in training.
        products: the type of the operands of matrix products; their sums, and all activations, are
            float32. "bfloat16" makes training faster on processors that have units for it; others
            use float32.
    """

    width: int = 128
    heads: int = 4
    position_layers: int = 2
    content_layers: int = 4
    order: Literal["rows", "regions"] = "rows"
    dropout: float = 0.0
    products: Literal["float32", "bfloat16"] = field(default="float32", metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        require(1 <= self.width <= LARGEST_WIDTH, "model.width", self.width, f"from 1 to {LARGEST_WIDTH}")
        require(self.heads >= 1, "model.heads", self.heads, "1 or more")
        if self.width % self.heads:
            raise ValueError(f"model.width is {self.width} and model.heads is {self.heads}; the heads must divide the width")
        for name in ("position_layers", "content_layers"):
            value = getattr(self, name)
            require(1 <= value <= LARGEST_DEPTH, f"model.{name}", value, f"from 1 to {LARGEST_DEPTH}")
        require(self.order in ("rows", "regions"), "model.order", self.order, "rows or regions")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(self.products in ("float32", "bfloat16"), "model.products", self.products, "float32 or bfloat16")


@dataclass(frozen=True, kw_only=True)
class DQTransformerConfig(CodePriorConfig):
    """Determines a run of a DQ-Transformer."""

    system = "DQ-Transformer"
    autoencoders: ClassVar[tuple[type[AutoencoderRunConfig], ...]] = (DQVAEConfig,)
    model: StackConfig = field(default_factory=StackConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (inner := self.autoencoder) and inner.data.image_size != self.data.image_size:
            raise ValueError(
                f"data.image_size is {self.data.image_size}; it must be that of the DQ-VAE, {inner.data.image_size}, whose "
                "decoder knows the places of these pictures alone"
            )

    @property
    def dq_vae(self) -> DQVAEConfig:
        """The configuration of the autoencoder. Raises ValueError if there is none."""
        if not isinstance(self.autoencoder, DQVAEConfig):
            raise ValueError("codes.run is empty; a DQ-Transformer needs the run of a DQ-VAE")
        return self.autoencoder

    @property
    def order(self) -> "Order":
        """The order of the symbols of a crop."""
        from dct_jax.dq_transformer.order import Order

        return Order(self.dq_vae.regions, self.dq_vae.model.grains, self.model.order)

    @property
    def extent(self) -> str:
        """How many codes a crop has, in words."""
        height, width = self.dq_vae.regions
        return f"{height} x {width} regions of 1 to {4 ** (self.dq_vae.model.grains - 1)} codes"

    @property
    def sizes(self) -> StackConfig:
        """The room `model`."""
        return self.model

    def network(self) -> "DQTransformer":
        """The Flax module."""
        from dct_jax.dq_transformer.network import DQTransformer

        return DQTransformer(self.model, self.order, self.num_codes, self.codes.num_classes)

    def build(self) -> "DQTransformerStage":
        """The stage that trains a DQ-Transformer. Raises ValueError if it has no DQ-VAE."""
        from dct_jax.dq_transformer.stage import DQTransformerStage  # JAX starts there

        return DQTransformerStage(self)
