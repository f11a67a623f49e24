"""The configuration of a SUNDAE's run."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dct_jax.codes.config import CodePriorConfig
from dct_jax.config import LARGEST_DEPTH, LARGEST_WIDTH
from dct_jax.fields import MAY_CHANGE, require

if TYPE_CHECKING:
    from dct_jax.sundae.network import SundaeNetwork
    from dct_jax.sundae.stage import SundaeStage

Dtype = Literal["float32", "bfloat16"]

LARGEST_LEVELS = 10
"""This bound is far above what anybody trains; see `dct_jax.config.LARGEST_IMAGE`."""


@dataclass(frozen=True, kw_only=True)
class SundaeModelConfig:
    """The sizes of an hourglass transformer, or of a plain one.

    `before`, `valley` and `after` of (2,), 10 and (2,) are the 2-10-2 of the paper. (2, 1), 8 and
    (2, 1) have an hourglass within an hourglass: 2 layers, a halving, 1 layer, a halving, 8 layers,
    and back. (), 8 and () are a plain transformer of 8 layers.

    Attributes:
        width: D, the width of the residual stream.
        heads: attention heads.
        head_size: the channels of a head, a quarter of them for each axis' frequencies. The product
            of heads and head_size may differ from the width.
        before: the layers before each halving of the grid, the finest level first.
        valley: the layers at the coarsest level.
        after: the layers after each doubling of the grid, the finest level first.
        dropout: probability of dropping a unit of a residual branch in training.
        dtype: the type of the activations. Parameters, softmax and loss are float32.
        products: the type of the operands of matrix products; their sums are always float32. With
            activations in float32, "bfloat16" makes training faster on processors that have units
            for it (AMX, AVX512-BF16); others use float32.
    """

    width: int = 256
    heads: int = 4
    head_size: int = 64
    before: tuple[int, ...] = (2,)
    valley: int = 4
    after: tuple[int, ...] = (2,)
    dropout: float = 0.0
    dtype: Dtype = "float32"
    products: Dtype = field(default="float32", metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        require(1 <= self.width <= LARGEST_WIDTH, "model.width", self.width, f"from 1 to {LARGEST_WIDTH}")
        require(1 <= self.heads <= LARGEST_WIDTH, "model.heads", self.heads, f"from 1 to {LARGEST_WIDTH}")
        fits = self.head_size % 4 == 0 and 8 <= self.head_size <= LARGEST_WIDTH
        require(fits, "model.head_size", self.head_size, f"a multiple of 4, from 8 to {LARGEST_WIDTH}")
        for name in ("before", "after"):
            layers = getattr(self, name)
            fits = len(layers) <= LARGEST_LEVELS and all(0 <= n <= LARGEST_DEPTH for n in layers)
            require(fits, f"model.{name}", layers, f"at most {LARGEST_LEVELS} counts, each from 0 to {LARGEST_DEPTH}")
        if len(self.before) != len(self.after):
            raise ValueError(
                f"model.before is {self.before} and model.after is {self.after}; each halving of the grid needs a count in both"
            )
        require(1 <= self.valley <= LARGEST_DEPTH, "model.valley", self.valley, f"from 1 to {LARGEST_DEPTH}")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(self.dtype in ("float32", "bfloat16"), "model.dtype", self.dtype, "float32 or bfloat16")
        require(self.products in ("float32", "bfloat16"), "model.products", self.products, "float32 or bfloat16")

    @property
    def levels(self) -> int:
        """How often the grid is halved."""
        return len(self.before)

    def check_grid(self, size: tuple[int, int]) -> None:
        """Checks that the hourglass can halve a grid of (h, w) codes.

        Raises:
            ValueError: if a side is below 1, or not divisible by 2^levels.
        """
        factor = 2**self.levels
        if min(size) < 1 or size[0] % factor or size[1] % factor:
            raise ValueError(
                f"the grid is {size[0]} x {size[1]} codes; both sides must be divisible by 2^{self.levels} = {factor}, as "
                "model.before halves them so often"
            )


@dataclass(frozen=True, kw_only=True)
class UnrollConfig:
    """How a SUNDAE learns.

    Attributes:
        steps: T, how often the network denoises a grid in a step of training: first a corrupted
            one, then its own samples.
    """

    steps: int = 2

    def __post_init__(self) -> None:
        require(1 <= self.steps <= 64, "unroll.steps", self.steps, "from 1 to 64")


@dataclass(frozen=True, kw_only=True)
class SundaeConfig(CodePriorConfig):
    """Determines a run of a SUNDAE."""

    system = "SUNDAE"
    model: SundaeModelConfig = field(default_factory=SundaeModelConfig)
    unroll: UnrollConfig = field(default_factory=UnrollConfig)

    @property
    def sizes(self) -> SundaeModelConfig:
        """The room `model`."""
        return self.model

    def network(self) -> "SundaeNetwork":
        """The Flax module."""
        from dct_jax.sundae.network import SundaeNetwork

        return SundaeNetwork(self.model, self.num_codes, self.codes.num_classes)

    def build(self) -> "SundaeStage":
        """The stage that trains a SUNDAE. Raises ValueError if the hourglass cannot halve the
        grid."""
        from dct_jax.sundae.stage import SundaeStage  # JAX starts there

        self.model.check_grid(self.grid)
        return SundaeStage(self)
