"""What the command evaluate says of a prior over codes, beside codes that are all as likely."""

import numpy as np

from dct_jax.codes.config import CodePriorConfig
from dct_jax.tables import align, say_pictures
from dct_jax.training.stage import Findings, HeldOutPictures, words

UNIFORM = "equally likely codes"
DIGITS = 4


def code_findings(
    config: CodePriorConfig,
    numbers: dict[str, float],
    uniform: dict[str, float],
    held: HeldOutPictures,
    whole: str,
    note: str,
) -> Findings:
    """Tabulates numbers of held-out pictures; see `training.stage.Stage.findings`.

    Args:
        config: of the prior.
        numbers: what its stage's `evaluate` returned.
        uniform: what its stage's `equally_likely` returned.
        held: the pictures.
        whole: what the nats are of: "code" or "picture".
        note: what these numbers mean, or "".

    Returns:
        The lines, and a report of the numbers and of those of equally likely codes.
    """
    (height, width), f = config.data.image_size, config.downsampling
    uniform = {name: uniform[name] for name in numbers}
    whose = f"a {config.autoencoder.system}, f = {f}" if config.autoencoder else "grey pixels"
    table = [
        ("", *(f"nats per {whole}" if name == "nats" else words(name) for name in numbers)),
        ("this model", *(f"{x:.{DIGITS}f}" for x in numbers.values())),
        (f"{UNIFORM} (log2 K = {np.log2(config.num_codes):.2f} bits)", *(f"{x:.{DIGITS}f}" for x in uniform.values())),
    ]
    lines = [
        f"{say_pictures(len(held.pictures), len(set(held.pictures)))} of {held.name}: {height} x {width} pixels, "
        f"{config.extent} of K = {config.num_codes} ({whose})",
        "",
        align(table),
    ]
    return Findings(lines + [note] * bool(note), {"held_out": numbers, "equally_likely_codes": uniform}, {})


def uniform_numbers(num_codes: int, grid: tuple[int, int], size: tuple[int, int]) -> dict[str, float]:
    """Returns what a stage's numbers are if all K codes are equally likely: log2 K bits each.

    Args:
        num_codes: K.
        grid: (h, w) codes.
        size: (H, W) pixels.
    """
    bits = float(np.log2(num_codes)) * grid[0] * grid[1]
    return {
        "bits_per_pixel": bits / (size[0] * size[1]),
        "bits_per_picture": bits,
        "nats": float(np.log(num_codes)),
        "accuracy": 1 / num_codes,
    }
