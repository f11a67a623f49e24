"""The command import, which turns the checkpoint of another program into a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dct_jax.commands.arguments import parse, say
from dct_jax.storage.files import replacing_folder
from dct_jax.storage.mirror import CHECKPOINTS, is_url
from dct_jax.tables import printable

SHOWN, LONGEST = 8, 80
"""Names of parts of a checkpoint that are printed, and letters of each."""


@dataclass(frozen=True)
class Import:
    """Turns the checkpoint of another program into a run, which every command takes.

    Attributes:
        format: "taming" for a VQ-GAN of Taming Transformers, also within a transformer's
            checkpoint, or one of latent diffusion's autoencoders with codes.
        checkpoint: the file of weights, MODEL.ckpt.
        description: the file of sizes, CONFIG.yaml.
        out: folder of the run to make.
        source: pictures that `evaluate` measures the run on, as data.source of an experiment.
    """

    format: Annotated[Literal["taming"], tyro.conf.Positional]
    checkpoint: Annotated[Path, tyro.conf.Positional]
    description: Annotated[Path, tyro.conf.Positional]
    out: str
    source: str = "landscapes"


def import_(args: Sequence[str]) -> int:
    """Runs `import taming MODEL.ckpt CONFIG.yaml --out RUN`."""
    command = parse(Import, args, "import")
    folder = Path(command.out) / CHECKPOINTS
    if is_url(command.out):
        raise ValueError(f"{command.out}: a run is imported into a folder on this disk; name one, and copy it")
    if folder.exists():
        raise ValueError(f"{command.out}: there is a run here already; name another --out")
    from dct_jax.training.checkpoints import Checkpoints
    from dct_jax.vq.taming.config import read_config
    from dct_jax.vq.taming.weights import read_weights

    config = read_config(command.description, command.source)
    found = read_weights(command.checkpoint, config)
    stage = config.build()
    state = stage.init()._replace(variables=found.variables)
    sizes = ((*config.data.image_size, 1),)
    with replacing_folder(folder) as temporary:
        Checkpoints(temporary).save(state, sizes, config, None, score=stage.best)
    if found.left_aside:
        print(left_aside(found.left_aside))
    fingerprint, f, k = stage.trained(found.variables, sizes, ()).fingerprint, config.model.downsampling, config.quantizer.codes
    return say(f"{command.out} has the model {fingerprint[:8]}, a VQ-GAN with {k} codes, f = {f}")


def left_aside(counts: Mapping[str, int]) -> str:
    """Makes the line of what is left aside: the arrays of each part, by its name in the checkpoint,
    which anybody may have made."""
    parts = [f"{printable(name[:LONGEST])} ({number})" for name, number in sorted(counts.items())]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return f"left aside: {', '.join(parts[:SHOWN])}{more}"
