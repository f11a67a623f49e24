"""The pictures that a model was trained on; its file, which others may have made, says where."""

from typing import TYPE_CHECKING

from dct_jax.config import DataConfig

if TYPE_CHECKING:
    from dct_jax.data.sources import Source


def own_sources(data: DataConfig, own_data: bool) -> "tuple[Source, Source]":
    """Opens the training and held-out pictures of a configuration: bundled ones, others if asked.

    Raises:
        ValueError: if they are not bundled and `own_data` is false, or if there are none.
    """
    from dct_jax.data.sources import BUNDLED, open_sources

    if data.source not in BUNDLED and not own_data:
        raise ValueError(f"this model says that its pictures are {data.source!r}: open them with --own-data if you trust it")
    return open_sources(data)
