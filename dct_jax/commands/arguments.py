"""What the commands share: reading arguments, and writing pictures."""

import contextlib
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from PIL import Image

from dct_jax.storage.files import replacing
from dct_jax.tables import printable

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
        raise ValueError(f"{_in_short(' '.join(text))}; see {name} --help") from None


_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text", "{True,False}": "True or False"}


def _in_short(message: str) -> str:
    """tyro's message without the names of Python's types and functions."""
    if found := re.match(r"Error parsing (\S+): no type matching (.+?) could be instantiated from \[(.*?)\]\.", message):
        flag, kinds, values = found.groups()
        named = [_KINDS.get(kind, f"{len(kind.split())} numbers") for kind in kinds.split("|") if kind != "{None}"]
        return f"{flag} is {values}; it must be {' or '.join(named)}"
    if found := re.match(r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", message):
        return f"{found[1]} is {found[2]}; it must be a whole number"
    if found := re.match(r"Error parsing (\S+): could not convert string to float: (.*)", message):
        return f"{found[1]} is {found[2]}; it must be a number"
    if found := re.match(r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*?)\]", message):
        return f"{found[1]} cannot be {found[2]}"
    return message


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


def write_report(out: Path, report: dict[str, Any]) -> None:
    """Writes what was measured as JSON, which has no word for NaN, such as the standard error of a single image: it is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(part) for name, part in value.items()}
        if isinstance(value, list):
            return [known(part) for part in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    with replacing(out) as path:
        path.write_text(json.dumps(known(report), indent=1) + "\n")


def say(*lines: str) -> int:
    """Prints a command's last lines; returns its exit code."""
    for line in lines:
        print(printable(line))
    return 0
