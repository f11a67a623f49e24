"""The flags that messages name are there, spelt as they are."""

import ast
import contextlib
import dataclasses
import io
import re
from pathlib import Path

from dct_jax.commands import COMMANDS
from dct_jax.commands.sampling import Sampling

PACKAGE = Path(__file__).parent.parent / "dct_jax"
OF_OTHERS = {"--quiet", "--cluster", "--processes"}
"""Flags of programs that this package calls, and of its launcher."""


def named() -> dict[str, str]:
    """Flags in the texts of the package, and the file of each. Those with an underscore are other
    programs'."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z.-]*[a-z](?![\w=])", node.value):
                    found[flag] = f"{path.relative_to(PACKAGE)}, line {node.lineno}"
    return found


def offered() -> set[str]:
    """The flags of all commands, as their help lists them."""
    flags = {"--version", "--help"}
    for name, command in COMMANDS.items():
        said = io.TextIOWrapper(io.BytesIO(), "utf-8")
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            command(["debug", "--help"] if name == "train" else ["--help"])
        said.seek(0)
        flags |= set(re.findall(r"--[a-z][a-z.-]*[a-z]", said.read()))
    return flags


def test_every_flag_that_a_message_names_is_there() -> None:
    """One said --data.flip False for what is called --data.no-flip."""
    flags, texts = offered(), named()
    assert {"--data.source", "--guidance", "--held-out"} <= flags and {"--data.no-flip", "--run-dir"} <= texts.keys()
    missing = {flag: where for flag, where in texts.items() if flag not in flags | OF_OTHERS}
    assert not missing


def test_every_flag_is_used_by_a_test() -> None:
    """Of what `train` takes, test_settings.py walks over the configuration, and of what drawing
    commands take, test_sampling_settings.py over the settings."""
    rooms = ("--codec.", "--data.", "--model.", "--training.")
    settings = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Sampling)} | {"--seed", "--help"}
    texts = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py") if path != Path(__file__))
    flags = {flag.replace("--no-", "--") for flag in offered() if not flag.startswith(rooms)} - settings
    unused = [flag for flag in sorted(flags) if not re.search(rf"{flag}\b|--no-{flag[2:]}\b", texts)]
    assert not unused
