"""What codes of several sizes are worth: how much DQ-VAEs and VQ-VAEs lose of the same pictures,
and how many codes they take for that.

    python benchmarks/grains.py RUN ... [--data fashion --split test --num 2000 --json FILE]

A run that was trained on enlarged pictures gets them enlarged, and its reconstructions are reduced
again: so a VQ-VAE can have any number of codes. Bits are log2 K for each code, and for a DQ-VAE
log2 G for each region besides.
"""

from pathlib import Path
from typing import Annotated, cast

import numpy as np
import tyro
from machine import Figure, machine_figures, report
from PIL import Image

from dct_jax.commands.ending import run_script
from dct_jax.commands.runs import load_autoencoder
from dct_jax.data.pixels import pixels
from dct_jax.data.sources import open_source
from dct_jax.evaluation.features import feature_network
from dct_jax.training.batches import pictures_at_a_time
from dct_jax.vq.findings import compare_features
from dct_jax.vq.measures import measure
from dct_jax.vq.stage import AutoencoderStage


def main(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional],
    data: str = "fashion",
    split: str = "test",
    num: int = 2000,
    json: Path | None = None,
) -> None:
    """Reconstructs the same pictures with all runs.

    Args:
        runs: of autoencoders.
        data, split: the source of the pictures, all of one size.
        num: how many of its first pictures.
        json: where to write the figures.
    """
    source = open_source(data, split)
    pictures = np.stack([pixels(source[i]) for i in range(min(num, len(source)))])
    network = feature_network("alexnet")
    figures = machine_figures()
    for run in runs:
        model = load_autoencoder(run, "grains.py")
        size = model.config.data.image_size
        codes, copies = model.reconstruct(resize_all(pictures, size))
        copies = resize_all(copies, (pictures.shape[1], pictures.shape[2]))
        batch_size = pictures_at_a_time(*pictures.shape[:3])
        distances, _ = compare_features(network, pictures, copies, batch_size, np.arange(len(pictures)))
        k = model.config.quantizer.num_codes
        numbers = measure(pictures, copies, codes, k) | cast(AutoencoderStage, model.stage).describe_codes(codes)
        lengths = (codes < k).sum(axis=(1, 2))  # [N]; a DQ-VAE's grids have holes
        bits = numbers["bits_per_pixel"] * pictures[0].size / 3 + numbers.get("map_bits_per_pixel", 0) * np.prod(size)
        name = f"{Path(run).name} ({model.config.system})"
        figures += [
            Figure(f"{name}: PSNR", numbers["psnr"], "dB"),
            Figure(f"{name}: FD-AlexNet", distances["FD-AlexNet"]),
            Figure(
                f"{name}: codes of a picture",
                float(lengths.mean()),
                f"variance {lengths.var():.0f}, {lengths.min()} to {lengths.max()}",
            ),
            Figure(f"{name}: bits of a picture", float(bits)),
        ]
    report(figures, json)


def resize_all(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes pictures as training does, uint8 [N, H, W, 3], to (H', W')."""
    if pictures.shape[1:3] == size:
        return pictures
    return np.stack([np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling.LANCZOS)) for x in pictures])


if __name__ == "__main__":
    run_script(main)
