"""The configuration of a prior over grids of codes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import tyro

from dct_jax.config import RunConfig
from dct_jax.data.codes_file import is_codes_file, read_codes
from dct_jax.data.sources import source_path
from dct_jax.fields import MAY_CHANGE, require
from dct_jax.vq.config import AutoencoderRunConfig, VQVAEConfig, check_range, check_sees_crops
from dct_jax.vq.gan.config import VQGANConfig

if TYPE_CHECKING:
    import flax.linen as nn

    from dct_jax.codes.reader import CodesReader
    from dct_jax.training.stage import Trained

LEVELS = 256
"""Codes of grey pixels."""


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """Which codes a prior learns.

    Attributes:
        run: of the autoencoder: its folder, a URL, or a file of `export`. If it is empty, the
            levels of grey pixels are the codes.
        num_classes: the prior is told the class of a picture, one of so many; 0 for no class.
    """

    run: str = field(default="", metadata=MAY_CHANGE)
    num_classes: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.num_classes <= 2**20, "codes.num_classes", self.num_classes, "from 0 to 2^20")


@dataclass(frozen=True, kw_only=True)
class CodePriorConfig(RunConfig):
    """Determines a run of a prior over grids of codes. Each kind of prior adds the room `model`.

    Attributes:
        autoencoders: of which kinds the autoencoder may be.
        autoencoder: the configuration of the autoencoder, which `complete` takes from its run; None
            for pixels. An experiment that names it tells the sizes before that run exists.
    """

    classes_field = "codes.num_classes"
    autoencoders: ClassVar[tuple[type[AutoencoderRunConfig], ...]] = (VQVAEConfig, VQGANConfig)
    codes: CodesConfig = field(default_factory=CodesConfig)
    autoencoder: Annotated[AutoencoderRunConfig | None, tyro.conf.Suppress] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sees_crops(self)
        require(
            self.training.label_dropout == 0, "training.label_dropout", self.training.label_dropout, f"0 for a {self.system}"
        )
        if inner := self.autoencoder:
            if type(inner) not in self.autoencoders:
                raise ValueError(f"autoencoder is a {inner.system}; a {self.system} needs a {self._fitting()}")
            inner.check_sides(f"data.image_size is {self.data.image_size}", self.data.image_size)
        if self.training.samples and self.from_file:
            raise ValueError(
                f"training.samples is {self.training.samples}; samples are compared with pictures, and data.source has codes "
                "alone: name a source of pictures, or make it 0"
            )

    @property
    def from_file(self) -> bool:
        """Whether the source is a file of codes."""
        return self.data.source.startswith("codes:")

    @property
    def num_codes(self) -> int:
        """K."""
        return self.autoencoder.quantizer.num_codes if self.autoencoder else LEVELS

    @property
    def region_side(self) -> int:
        """See `AutoencoderRunConfig.region_side`."""
        return self.autoencoder.region_side if self.autoencoder else 1

    @property
    def num_symbols(self) -> int:
        """How many symbols a cell of a grid may have; see `AutoencoderRunConfig.num_symbols`."""
        return self.autoencoder.num_symbols if self.autoencoder else LEVELS

    @property
    def downsampling(self) -> int:
        """f, pixels of a side of a cell of the grid of codes."""
        return self.autoencoder.sizes.downsampling if self.autoencoder else 1

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes of a crop."""
        size = self.data.image_size
        return self.autoencoder.grid_of(size) if self.autoencoder else size

    @property
    def extent(self) -> str:
        """How many codes a crop has, in words."""
        return f"{self.grid[0]} x {self.grid[1]} codes"

    def check_codes(self, codes: np.ndarray) -> None:
        """Checks grids of codes from outside, int [N, h, w] of any h and w.

        Raises:
            ValueError: if no picture has them.
        """
        if self.autoencoder:
            self.autoencoder.check_codes(codes)
        else:
            check_range(codes, LEVELS)

    @property
    def sizes(self) -> object:
        """The room `model`."""
        raise NotImplementedError

    def network(self) -> "nn.Module":
        """The Flax module: of grids of codes, int32 [B, h, w], and labels, int32 [B], to logits."""
        raise NotImplementedError

    def reader(self) -> "CodesReader":
        """From records to codes, or to pixels that the stage turns into codes."""
        from dct_jax.codes.reader import CodesReader

        return CodesReader(self)

    def complete(self, load: Callable[[str], "Trained"]) -> tuple[Self, dict[str, Any]]:
        """Takes configuration and variables of the autoencoder from its run.

        Raises:
            ValueError: if it is none of an autoencoder, or the source is a file of other codes.
        """
        if not self.codes.run:
            if self.autoencoder:
                raise ValueError(f"codes.run is empty; it must be a run of a {self.autoencoder.system}")
            self._check_file("")
            return self, {}
        model = load(self.codes.run)
        inner = model.config
        if not isinstance(inner, AutoencoderRunConfig) or type(inner) not in self.autoencoders:
            what = f"codes.run is {self.codes.run}, a run of the system {inner.system}"
            raise ValueError(f"{what}; a {self.system} needs a {self._fitting()}")
        config = replace(self, autoencoder=inner)
        config._check_file(model.fingerprint)
        return config, {"autoencoder": model.variables}

    def _fitting(self) -> str:
        """Names the kinds of autoencoders. A kind that derives from one of them is another one."""
        return " or a ".join(one.system for one in self.autoencoders)

    def _check_file(self, fingerprint: str) -> None:
        """Refuses a file of another model's codes; a text file does not say whose codes it has."""
        if not self.from_file or not is_codes_file(path := source_path(self.data.source)):
            return
        header = read_codes(path).header
        if header.fingerprint != fingerprint:
            whose = f"the model {fingerprint[:8]} in codes.run" if fingerprint else "pixels, as codes.run is empty"
            raise ValueError(f"{path}: these are codes of the model {header.fingerprint[:8]}; they must be those of {whose}")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON; the autoencoder's say its system, too."""
        return super().to_dict() | {"autoencoder": self.autoencoder and self.autoencoder.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of to_dict. Raises ValueError as that of RunConfig."""
        inner = values.get("autoencoder") if isinstance(values, dict) else None
        config = super().from_dict(values | {"autoencoder": None} if inner else values)
        if inner is None:
            return config
        by_name = {one.system: one for one in cls.autoencoders}
        if not isinstance(inner, dict) or inner.get("system") not in by_name:
            raise ValueError("the configuration's autoencoder is of no system that is known")
        return replace(config, autoencoder=by_name[inner["system"]].from_dict(inner))
