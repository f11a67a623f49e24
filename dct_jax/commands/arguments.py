"""What the commands share: reading arguments, and writing pictures."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from PIL import Image

from dct_jax.files import replacing

JPEG_SUFFIXES = (".jpg", ".jpeg")


def parse(command: type, args: Sequence[str], name: str, default: Any = None) -> Any:
    """The command's dataclass, filled from the arguments. tyro's boxed messages become one line."""
    defaults = {} if default is None else {"default": default}
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        with contextlib.ExitStack() as captured:
            if not any(arg in ("-h", "--help") for arg in args):
                captured.enter_context(contextlib.redirect_stderr(said))
                captured.enter_context(contextlib.redirect_stdout(said))  # its encoding decides how tyro draws boxes
            return tyro.cli(command, args=list(args), prog=f"python -m dct_jax {name}", **defaults)
    except SystemExit as stop:
        if not stop.code:
            raise
        said.seek(0)
        lines = [line.strip("│ \n") for line in said if line.startswith("│")]
        text = lines[: next((i for i, line in enumerate(lines) if set(line) == {"─"}), None)]
        raise ValueError(f"{' '.join(text)}; see {name} --help") from None


def save_image(image: Any, out: Path) -> None:
    """uint8 [H, W, 3] -> a file of the kind that its suffix names."""
    if out.suffix.lower() not in (".png", *JPEG_SUFFIXES, ".webp"):
        raise ValueError(f"{out}: an image must be .png, .jpg or .webp")
    with replacing(out) as path:
        Image.fromarray(image).save(path)


def figure_file(out: Path) -> contextlib.AbstractContextManager[Path]:
    """A place to save a matplotlib figure, as `files.replacing`."""
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{out}: a picture must be .png, .pdf or .svg")
    return replacing(out)


def say(message: str) -> int:
    """Prints a command's last line; returns its exit code."""
    print(message)
    return 0
