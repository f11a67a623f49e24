"""The documentation: the site builds without a warning, pages are the same on GitHub and on the
site, and the commands, flags, experiments, files and names that pages speak of are there."""

import ast
import dataclasses
import importlib
import importlib.util
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import markdown
import pytest
import tyro
from markdown_it import MarkdownIt
from markdown_it.token import Token

import dct_jax
from dct_jax.commands import COMMANDS
from dct_jax.systems import SYSTEMS
from tests.test_flags import OF_OTHERS, offered

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
OF_NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what once was
GITHUB = MarkdownIt("commonmark", {"html": True}).enable("table")
OF_LAUNCHERS = OF_OTHERS | {"--devices-per-process", "--gpus-per-task"}


class Parsed(BaseException):
    """A command has read its arguments, and runs no further."""


def tokens(page: Path) -> Iterator[Token]:
    for token in GITHUB.parse(page.read_text()):
        yield token
        yield from token.children or ()


def code(page: Path) -> list[str]:
    """Lines of code blocks and code in sentences, without comments and what stands before
    `python`; not Python's code."""
    blocks = [x.content for x in tokens(page) if x.type in ("fence", "code_block") and x.info != "python"]
    lines = [line for block in blocks for line in re.sub(r"\\\n *", "", block).splitlines()]
    spans = [" ".join(x.content.split()) for x in tokens(page) if x.type == "code_inline"]
    return [re.sub(r"^.*?\b(?=python )|[ ]#.*|\"$", "", line) for line in (*lines, *spans)]


def calls() -> list[tuple[Path, list[str]]]:
    """Commands with their arguments, in place of EXPERIMENT and NAME an experiment, and of N a
    number."""
    found = []
    for page in OF_NOW:
        for line in code(page):
            words = [{"EXPERIMENT": "fashion", "NAME": "fashion", "N": "1"}.get(word, word) for word in _split(line)]
            if words[:3] == ["python", "-m", "dct_jax"]:
                words = words[3:]
            elif words[:1] != ["python"] and words[1:2] != ["RUN"]:
                if len(words) < 2 or words[0] not in COMMANDS or words[1].startswith("-"):
                    continue  # a sentence names `train` or `evaluate --samples` alone
            words = [word for word in words if word != "--help"]
            if words and words != ["COMMAND"] and words[1:2] != ["-c"]:
                found.append((page, words))
    return found


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a sentence's apostrophe
        if line.startswith("python "):
            raise
        return []


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """The hooks of the site, which are no module of a package."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Without a network, too: nothing of it, and nothing that its pages load, lies elsewhere."""
    environment = os.environ | {
        "NO_MKDOCS_2_WARNING": "1",
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    pages = {str(path.relative_to(tmp_path).parent): path.read_text() for path in tmp_path.rglob("index.html")}
    assert not [name for name, html in pages.items() if re.search(r"<(script|img|link)[^>]*(src|href)=\"?(https?:)?//", html)]
    assert all(f'id="{name}"' in pages["commands"] for name in COMMANDS) and "--guidance FLOAT" in pages["commands"]
    assert all(f"<code>{flag}</code>" in pages["configuration"] for flag in fields())
    assert all(re.search(rf"> +dct_jax\.{name}\s", pages["api"]) for name in dct_jax.__all__)
    assert 'href="../design/"' in pages["contributing"] and "experiments/landscapes.py" not in pages["models"]


def test_links_that_leave_the_site(hooks: ModuleType) -> None:
    """They lead into the repository if its address is known; without one their text alone stays."""
    text = (
        "[`a`](../experiments/a.py#x) [b](data.md#y) [c](../CHANGELOG.md) [d](https://d.org) [e](#e) ![f](images/f.png) "
        "`[g](../g.py)`\n\n```python\n# `\nh[0](../h.py)\n```\n"
    )
    without = text.replace("[`a`](../experiments/a.py#x)", "`a`").replace("../CHANGELOG.md", "changelog.md")
    assert hooks.lead_links(text, "docs/page.md", "docs/page.md", "") == without
    within = without.replace("`a`", "[`a`](https://r.org/blob/HEAD/experiments/a.py)", 1)
    assert hooks.lead_links(text, "docs/page.md", "docs/page.md", "https://r.org/") == within
    assert hooks.lead_links("[a](docs/b/c.md#d)", "CHANGELOG.md", "docs/changelog.md", "") == "[a](b/c.md#d)"
    assert hooks.lead_links("[a](../../CONTRIBUTING.md)", "docs/b/c.md", "docs/b/c.md", "") == "[a](../contributing.md)"


def test_every_field_has_a_meaning(hooks: ModuleType) -> None:
    class Sample:
        """A class.

        Attributes:
            b, c: one
                two: three.
            d: four.

        Raises:
            e: five.
        """

    assert hooks.attributes(Sample) == {"b": "one two: three.", "c": "one two: three.", "d": "four."}
    described = re.findall(r"^\| `(--[^`]*)` \| .*? \| (.*) \|$", hooks.describe_fields(), re.MULTILINE)
    assert {flag for flag, _ in described} >= fields()
    assert [flag for flag, meaning in described if not meaning] == []


def anchors_of(page: Path) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    pairs = itertools.pairwise(GITHUB.parse(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", b.content.lower()).replace(" ", "-") for a, b in pairs if a.type == "heading_open"}


def test_anchors_and_pictures() -> None:
    """As GitHub has them. tests/test_release.py looks for the files of links; mkdocs knows the
    anchors of the site."""
    anchors = {page: anchors_of(page) for page in PAGES}
    missing = []
    for page in PAGES:
        for token in tokens(page):
            link = str(token.attrs.get("href", ""))
            target, _, anchor = link.partition("#")
            if anchor and ":" not in target and anchor not in anchors[(page.parent / target).resolve() if target else page]:
                missing.append(f"{page.name}: {link}")
            pictures = [str(token.attrs.get("src", "")), *re.findall(r'<img src="([^"]*)"', token.content)]
            missing += [f"{page.name}: {picture}" for picture in pictures if not (page.parent / picture).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_the_same_on_github_and_on_the_site(page: Path) -> None:
    """Their readers of Markdown differ: a list's code and pictures must be indented by four spaces,
    and a line of a paragraph that begins with a minus is a list on GitHub alone."""
    text = page.read_text()
    site = markdown.markdown(text, extensions=["attr_list", "md_in_html", "tables", "pymdownx.superfences"])
    kinds = "h1 h2 h3 h4 li ul ol table tr td pre img a strong em code".split()
    github, here = (Counter(re.findall(r"<([a-z0-9]+)[ >/]", html)) for html in (GITHUB.render(text), site))
    assert {kind: github[kind] for kind in kinds} == {kind: here[kind] for kind in kinds}


def test_commands_read_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, experiments, flags, their values, and how many words a command takes."""
    read = tyro.cli

    def read_alone(*args: Any, **kwargs: Any) -> None:
        read(*args, **kwargs)
        raise Parsed

    launch = runpy.run_path(str(ROOT / "experiments" / "launch.py"))["arguments"]
    monkeypatch.setattr(tyro, "cli", read_alone)
    wrong, seen = [], Counter[str]()
    for page, (command, *args) in calls():
        try:
            if command != "python":
                COMMANDS[command](args)
            elif args[0] == "experiments/launch.py":
                launch(args[1:])
            else:
                check_script(*args)
        except Parsed:
            seen[command] += 1
        except (KeyError, ValueError) as error:
            wrong.append(f"{page.name}: {' '.join((command, *args))}: {error}")
    assert wrong == []
    assert seen.total() > 100 and {"train", "sample", "evaluate", "python"} <= seen.keys()


def test_examples_train_each_folder_in_one_way() -> None:
    """The second of two commands of README, with other settings in the same folder, was refused."""
    ways: defaultdict[str, set[str]] = defaultdict(set)
    for _, (command, *args) in calls():
        if command == "train" and "--run-dir" in args:
            ways[args[args.index("--run-dir") + 1]].add(shlex.join(args))
    for page in OF_NOW:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "dct_jax.train":
                    ways[ast.literal_eval(node.args[1])].add(ast.unparse(node))
    assert len(ways) > 3
    assert {folder: found for folder, found in ways.items() if len(found) > 1} == {}


def check_script(name: str, *args: str) -> None:
    """Raises ValueError unless a script is there and has the options among the arguments."""
    if not (ROOT / name).is_file():
        raise ValueError("there is no such file")
    options = [arg[2:].replace("-", "_") for arg in args if arg.startswith("--")]
    if missing := [option for option in options if not re.search(rf"\b{option}: |\"{option}\"", (ROOT / name).read_text())]:
        raise ValueError(f"it has no option {', '.join(missing)}")
    raise Parsed


def fields() -> set[str]:
    """The flags of all fields of all systems."""
    found = set()
    for config in (system() for system in SYSTEMS):
        for room in dataclasses.fields(config):
            value = getattr(config, room.name)
            if dataclasses.is_dataclass(value):
                found |= {f"--{room.name}.{spec.name.replace('_', '-')}" for spec in dataclasses.fields(value)}
    return found


def test_flags_targets_and_extras() -> None:
    flags = offered() | fields() | OF_LAUNCHERS
    flags |= {flag.replace(".", ".no-", 1) for flag in fields()}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in OF_NOW:
        for line in code(page):
            if line.startswith("--"):
                assert set(re.findall(r"--[\w.-]*\w", line)) <= flags, f"{page.name}: {line}"
            elif line.startswith("make "):
                assert line.split()[1] in targets, f"{page.name}: {line}"
            elif line.startswith("pip install"):
                ours = {extra for several in re.findall(r"\.\[([\w,]+)\]", line) for extra in several.split(",")}
                assert ours <= extras.keys(), f"{page.name}: {line}"


def resolve(name: str) -> None:
    """Finds a name with points in it: a module, or what a module has. Raises AttributeError."""
    parts: Sequence[str] = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            try:
                importlib.import_module(".".join(parts[:i]))
            except ModuleNotFoundError:
                raise AttributeError(f"there is no {'.'.join(parts[:i])}") from None
        found = getattr(found, part)


def test_python_of_the_pages() -> None:
    """It can be read, and what it takes from the package is there."""
    blocks = 0
    for page in OF_NOW:
        for token in tokens(page):
            if token.type == "code_inline" and (dotted := re.match(r"dct_jax(\.\w+)+(?=\(|$)", token.content)):
                resolve(dotted[0])
            if token.type != "fence" or token.info != "python":
                continue
            blocks += 1
            for node in ast.walk(ast.parse(token.content)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dct_jax"):
                    for name in node.names:
                        resolve(f"{node.module}.{name.name}")
                if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("dct_jax."):
                    resolve(ast.unparse(node))
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
            resolve(name)
    assert blocks >= 8


def test_files_that_pages_name_are_there() -> None:
    """`tests/linear.py` from the root; `data/pixels.py` may leave out folders before it."""
    rooms = ("dct_jax", "tests", "benchmarks", "experiments")
    files = {str(path.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*.*")}
    for page in OF_NOW:
        for token in tokens(page):
            if token.type == "code_inline" and re.fullmatch(r"(\w+/)+\w+\.(py|toml|tsv|ipynb)", token.content):
                assert any(f"/{file}".endswith(f"/{token.content}") for file in files), f"{page.name}: {token.content}"
