"""What the commands share: reading arguments, and writing pictures."""

import contextlib
import json
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import tyro
import tyro._errors
from PIL import Image

from dct_jax.storage.files import replacing
from dct_jax.tables import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Command = TypeVar("Command")

JPEG_SUFFIXES = (".jpg", ".jpeg")


def parse(command: type[Command], args: Sequence[str], name: str, default: Command | None = None) -> Command:
    """Fills the command's dataclass from the arguments.

    Raises:
        ValueError: if they are wrong.
    """
    with refused_in_a_line(name):
        preset = tyro.MISSING_NONPROP if default is None else default
        return tyro.cli(command, args=list(args), prog=f"python -m dct_jax {name}", default=preset)


def refused_in_a_line(name: str) -> contextlib.AbstractContextManager[None]:
    """While it is open, wrong arguments of what has this name are a ValueError of one line, in
    place of tyro's boxes."""

    def refuse(event: tyro._errors.ParseErrorEvent) -> NoReturn:
        raise ValueError(f"{_short_reason(event)}; see {name} --help")

    return tyro._errors.on_parse_error(refuse)


_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text", "{INT INT}": "2 numbers"}


def _short_reason(event: tyro._errors.ParseErrorEvent) -> str:
    """Says what is wrong with the arguments, without Python's names of types and functions."""
    match event:
        case tyro._errors.MissingArgs(missing_arguments=missing):
            return f"{', '.join(_flag(one.arg) for one in missing)} is missing"
        case tyro._errors.MissingSubcommand(subcommand_spec=spec):
            return f"one of {', '.join(spec.parser_from_name)} is missing"
        case tyro._errors.UnrecognizedArgs(tokens=tokens):
            return f"Unrecognized options: {' '.join(tokens)}"
        case tyro._errors.InvalidChoice(argument=argument, value=value, choices=choices):
            declared = sorted(choices, key=str(argument.lowered.metavar).find)  # those of a union come in random order
            return f"{_flag(argument)} is {value!r}; it must be one of {', '.join(declared)}"
        case tyro._errors.BadValue(argument=argument):
            return f"{_flag(argument)} has too few values"
        case tyro._errors.InstantiationFailure(message=message, argument=argument):
            return " ".join((_type_reason(argument, message) if argument else message).split())
        case _:
            return "these arguments cannot be read"


def _flag(argument: tyro._arguments.ArgumentDefinition) -> str:
    """Returns a flag, or a positional argument in capitals."""
    name = argument.display_name()
    return name if name.startswith("-") else name.rpartition(".")[2].upper()


def _type_reason(argument: tyro._arguments.ArgumentDefinition, message: str) -> str:
    """Says what a value must be, if the message says that it does not fit its type."""
    value = re.match(r".*?(?:base 10: |to float: |instantiated from \[|for arguments: \[)(.*?)(?:\]|\n|$)", message)
    kinds = [_KINDS.get(kind, "") for kind in str(argument.lowered.metavar).split("|") if kind != "{None}"]
    if not value:
        return message
    if not all(kinds):
        return f"{_flag(argument)} cannot be {value[1]}"
    return f"{_flag(argument)} is {value[1]}; it must be {' or '.join(kinds)}"


def save_image(image: Any, out: Path) -> None:
    """Writes uint8 [H, W, 3] to a file of the kind that its suffix names."""
    if out.suffix.lower() not in (".png", *JPEG_SUFFIXES, ".webp"):
        raise ValueError(f"{out}: an image must be .png, .jpg or .webp")
    with replacing(out) as path:
        Image.fromarray(image).save(path)


def save_figure(figure: "Figure", out: Path) -> None:
    """Writes a figure to a file of the kind that its suffix names."""
    with figure_file(out) as path:
        figure.savefig(path)


def figure_file(out: Path) -> contextlib.AbstractContextManager[Path]:
    """A place to save a matplotlib figure, as `files.replacing`."""
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{out}: a picture must be .png, .pdf or .svg")
    return replacing(out)


def check_least(command: Any, **least: int) -> None:
    """Raises ValueError if a field of the command is less than what is named here; None is fine."""
    for name, bound in least.items():
        if (value := getattr(command, name)) is not None and value < bound:
            raise ValueError(f"{name} is {value}; it must be {bound} or more")


def write_report(out: Path, report: dict[str, Any]) -> None:
    """Writes a report as JSON. What is not finite becomes null: NaN, such as the standard error of
    a single image, and infinity, such as the PSNR of pictures that lose nothing."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [finite(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    with replacing(out) as path:
        path.write_text(json.dumps(finite(report), indent=1, allow_nan=False) + "\n")


class _Printable(logging.Formatter):
    """Writes the message alone, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(record.getMessage())


def set_up_logging() -> None:
    """Has warnings printed, a line each; those of Orbax are left out."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Printable())
    logging.getLogger("absl").setLevel(logging.ERROR)


def say(*lines: str) -> int:
    """Prints a command's last lines; returns its exit code."""
    for line in lines:
        print(printable(line))
    return 0
