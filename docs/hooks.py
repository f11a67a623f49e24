"""Hooks of the documentation site (mkdocs.yml): what the pages get when `make docs` builds it.

The pages in docs/ are written to be read where they lie. The site adds what their readers find
beside them: two pages of the root, the help of all commands, and the fields of all configurations,
which the code itself says.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import posixpath
import re
import textwrap
from collections.abc import Set
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT_PAGES = {"CHANGELOG.md": "docs/changelog.md", "CONTRIBUTING.md": "docs/contributing.md"}
"""Files of the root that are pages of the site, and where they would lie in docs/."""

COMMANDS_MARK = "*`make docs` puts the list of all commands here.*"
"""Stands in docs/commands.md where the commands go."""

FIELDS_MARK = "*`make docs` puts the list of all fields here.*"
"""Stands in docs/configuration.md where the fields go."""

_LINK = re.compile(
    r"^ *```.*?^ *```"  # code, in which nothing is a link
    r"|!?\[(?P<text>(?:[^\[\]`]|`[^`]*`)*)\]\((?P<target>[^()\s#]*)(?P<anchor>#[^()\s]*)?\)"
    r"|`[^`]*`",
    re.MULTILINE | re.DOTALL,
)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Adds the pages of the root."""
    root = Path(config.config_file_path).parent
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page.removeprefix("docs/"), content=(root / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Puts commands and fields where their marks are, and leads the links that leave docs/."""
    if COMMANDS_MARK in markdown:
        markdown = markdown.replace(COMMANDS_MARK, describe_commands())
    if FIELDS_MARK in markdown:
        markdown = markdown.replace(FIELDS_MARK, describe_fields())
    page_file = f"docs/{page.file.src_uri}"
    source = {page: name for name, page in ROOT_PAGES.items()}.get(page_file, page_file)
    return lead_links(markdown, source, page_file, config.repo_url or "")


def lead_links(markdown: str, source: str, page: str, repository: str) -> str:
    """Returns a page's text with links that hold on the site.

    Links to pages of docs/ and of `ROOT_PAGES` lead there. Links to other files lead into the
    repository; without one their text alone stays.

    Args:
        markdown: the text.
        source: the file that has it, to which its links are relative; as all paths from the root.
        page: where the site has it.
        repository: the address of the repository, or "".
    """

    def lead(link: re.Match[str]) -> str:
        target = link["target"]
        if not target or ":" in target or link[0].startswith("!"):  # code, an anchor alone, an address, a picture
            return link[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        file = ROOT_PAGES.get(file, file)
        if file.startswith("docs/"):
            return f"[{link['text']}]({posixpath.relpath(file, posixpath.dirname(page))}{link['anchor'] or ''})"
        return f"[{link['text']}]({repository.rstrip('/')}/blob/HEAD/{file})" if repository else link["text"]

    return _LINK.sub(lead, markdown)


def describe_commands() -> str:
    """Returns a table of all commands with their line of the usage, and the help of each, as
    Markdown. The code of the commands says both; no JAX is needed for it."""
    from dct_jax.commands import COMMANDS, USAGE

    lines = dict(re.findall(r"^  (\w+) .*?  +(.*)$", USAGE, re.MULTILINE))
    table = [f"| [`{name}`](#{name}) | {lines[name]} |" for name in COMMANDS]
    helps = [f'## {name}\n\n??? abstract "{name} --help"\n\n' + textwrap.indent(help_of(name), 8 * " ") for name in COMMANDS]
    return "\n".join(["| command | what it does |", "|---|---|", *table, "", "\n\n".join(helps)])


def help_of(name: str) -> str:
    """Returns what `python -m dct_jax NAME --help` prints, without lines and boxes; of `train`,
    what it says of the experiment fashion."""
    from dct_jax.commands import COMMANDS

    os.environ["COLUMNS"] = "100"
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        COMMANDS[name](["fashion", "--help"] if name == "train" else ["--help"])
    said.seek(0)
    lines = (line.strip("│╭╮╰╯─").rstrip("─╮ ") for line in said.read().splitlines())
    return "\n".join(lines).strip() + "\n"


def describe_fields() -> str:
    """Returns a table of the fields of each room of each system's configuration, as Markdown."""
    from dct_jax.config import RunConfig
    from dct_jax.systems import SYSTEMS

    shared = {spec.name for spec in dataclasses.fields(RunConfig)}
    parts = ["## All systems", _rooms(RunConfig(), shared)]
    for system in SYSTEMS:
        own = {spec.name for spec in dataclasses.fields(system)} - shared
        parts += [f"## {system.system}", first_line(system), _rooms(system(), own)]
    return "\n\n".join(parts)


def _rooms(config: Any, names: set[str]) -> str:
    """Returns the tables of some fields of a configuration: one of each room, and one of the
    others."""
    from dct_jax.config import RunConfig

    values = {spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config) if spec.name in names}
    rooms = {name: x for name, x in values.items() if dataclasses.is_dataclass(x) and not isinstance(x, RunConfig)}
    tables = [f"{first_line(type(room))}\n\n{_table(room, f'--{name}.')}" for name, room in rooms.items()]
    if values.keys() - rooms.keys():
        tables.append(_table(config, "--", values.keys() - rooms.keys()))
    return "\n\n".join(tables)


def _table(room: Any, prefix: str, names: Set[str] | None = None) -> str:
    """Returns the fields of a dataclass as a table of flag, default and meaning."""
    meanings = {name: text for cls in reversed(type(room).__mro__) for name, text in attributes(cls).items()}
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for spec in dataclasses.fields(room):
        if names is None or spec.name in names:
            value = getattr(room, spec.name)
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            flag, meaning = prefix + spec.name.replace("_", "-"), re.sub(r"([|\[<])", r"\\\1", meanings.get(spec.name, ""))
            rows.append(f"| `{flag}` | {f'`{shown}`' if shown else ''} | {meaning} |")
    return "\n".join(rows)


def first_line(cls: type) -> str:
    """Returns the first paragraph of the docstring of a class."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def attributes(cls: type) -> dict[str, str]:
    """Returns what the docstring of a class says of each attribute: names, a colon, a text, below
    "Attributes:". A line may have several names."""
    section = re.search(r"^Attributes:\n((?: .*\n?|\n)*)", inspect.cleandoc(cls.__doc__ or ""), re.MULTILINE)
    found = re.findall(r"^ {4}(\w[\w, ]*): ((?:.*\n?)(?: {8}.*\n?)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}
