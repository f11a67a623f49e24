"""The flags that messages name are there, spelt as they are."""

import ast
import contextlib
import io
import re
from pathlib import Path

from dct_jax.commands import COMMANDS

PACKAGE = Path(__file__).parent.parent / "dct_jax"
OF_OTHERS = {"--quiet", "--cluster", "--processes"}
"""Flags of programs that this package calls, and of its launcher."""


def named() -> dict[str, str]:
    """Flags in the texts of the package, and the file of each. Those with an underscore are other programs'."""
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
