"""The commands of `python -m dct_jax`: each reads arguments, calls the library and reports."""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from dct_jax.commands import (
    codes,
    compare,
    compress,
    demo,
    distance,
    evaluate,
    export,
    imports,
    inpaint,
    pictures,
    prepare,
    sample,
    steer,
    thresholds,
    train,
)
from dct_jax.commands.arguments import say, set_up_logging
from dct_jax.commands.ending import exit_code, leave, tidy_end
from dct_jax.storage.caches import keep_programs

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.train,
    "sample": sample.sample,
    "upsample": steer.upsample,
    "colorize": steer.colorize,
    "continue": steer.continue_,
    "inpaint": inpaint.inpaint,
    "demo": demo.demo,
    "evaluate": evaluate.evaluate,
    "compare": compare.compare,
    "distance": distance.distance,
    "compress": compress.compress,
    "decompress": compress.decompress,
    "reconstruct": codes.reconstruct,
    "tokenize": codes.tokenize,
    "detokenize": codes.detokenize,
    "import": imports.import_,
    "export": export.export,
    "models": export.models,
    "encode": pictures.encode,
    "decode": pictures.decode,
    "show": pictures.show,
    "stats": pictures.stats,
    "thresholds": thresholds.thresholds,
    "prepare": prepare.prepare,
}

USAGE = """usage: python -m dct_jax COMMAND

  train EXPERIMENT     train a model, or go on with it
  sample RUN           sample pictures from a run
  upsample RUN SMALL   sample pictures whose reduction is given
  colorize RUN GREY    sample colours for a grey picture
  continue RUN IMAGE   keep the coarse part of a picture, or of a file that ends early, and sample the rest
  inpaint RUN IMAGE    sample a part of a picture anew from a prior over codes
  demo RUN             a web page on this machine that does all of these
  evaluate RUN         measure a run on held-out pictures, beside JPEG's and JPEG XL's coders
  compare RUN RUN ...  runs of any systems in one table: bits, distortion, samples, time and memory
  distance REAL FAKE   measure how near two folders of pictures are
  compress RUN IMAGE   compress a JPEG file, or a folder of them, without loss, with a run's model
  decompress RUN FILE  make the JPEG file again, or all of a folder
  reconstruct RUN SRC  show and measure what an autoencoder leaves of pictures
  tokenize RUN SOURCE  turn all pictures of a source into codes
  detokenize RUN FILE  turn codes into pictures
  import FORMAT FILE   turn the checkpoint of another program into a run
  export RUN FILE      write a run's model as one file, which every command takes in its place
  models               list the published models, whose names every command takes, too
  encode IMAGE         turn an image into a file of triples
  decode TRIPLES       turn a file of triples into an image
  show IMAGE           plot an image's DCT, the traces of its list and its stages
  stats SOURCE         tabulate list lengths and PSNR over block sizes and qualities
  thresholds SOURCE    measure the entropy of patches, for the router of a DQ-VAE
  prepare SOURCE       make a TFDS data set: one of TFDS's own, or of a folder, a tar file or idx files

COMMAND --help lists what each takes; --version says which version this is."""


def main(args: Sequence[str]) -> int:
    """Runs a command. Returns the exit code: 0, 2 for wrong input, 128 + n after signal n.

    Raises:
        SystemExit: with that code at SIGTERM, if a command does not return it itself.
    """
    set_up_logging()
    return exit_code("dct_jax", lambda: _run(args))


def _run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        return say(*USAGE.splitlines())
    if args[0] == "--version":
        return say(f"dct_jax {version('dct_jax')}")
    if args[0] not in COMMANDS:
        raise ValueError(f"there is no command {args[0]!r}; known are {', '.join(COMMANDS)}")
    keep_programs()
    with tidy_end():
        return COMMANDS[args[0]](args[1:])


def entry() -> NoReturn:
    """Runs the command of the command line."""
    leave("dct_jax", lambda: main(sys.argv[1:]))
