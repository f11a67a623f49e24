"""What a release is made of: files that must name the same versions and the same licence."""

import re
import tomllib
from pathlib import Path

from setuptools._distutils.filelist import FileList

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_licence_is_one_and_is_there() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "license: Apache-2.0\n" in read("CITATION.cff")
    first, *others = PROJECT["license-files"]
    assert "Apache License" in read(first) and "END OF TERMS AND CONDITIONS" in read(first)
    for name in others:  # of bundled data
        assert "Permission is hereby granted" in read(name)
    assert (ROOT / "dct_jax/data/landscapes/CREDITS.tsv").is_file()


def test_versions_agree() -> None:
    assert f"\nversion: {PROJECT['version']}\n" in read("CITATION.cff")
    oldest = PROJECT["requires-python"].removeprefix(">=")
    tested = re.findall(r'"(3\.\d+)"', read(".github/workflows/test.yml"))
    assert oldest in tested
    assert {f"Programming Language :: Python :: {version}" for version in tested} <= set(PROJECT["classifiers"])
    (hook,) = re.findall(r"rev: v([\d.]+)", read(".pre-commit-config.yaml"))
    assert f"ruff>={hook}," in read("requirements-dev.txt")  # the oldest that the requirements allow


def test_a_source_distribution_has_what_its_tests_read_and_no_runs() -> None:
    """It lacked .github/ and others, which this file reads, and took runs along."""
    needed = [".github/workflows/test.yml", ".pre-commit-config.yaml", ".ci/run", ".gitignore", "docs/style.md"]
    ours = ["experiments/runs/a/config.json", "experiments/results/a.json", "tests/__pycache__/a.pyc"]
    files = FileList()
    files.set_allfiles(needed + ours)
    for line in read("MANIFEST.in").splitlines():
        files.process_template_line(line)
    assert sorted(files.files) == sorted(needed)


def test_links_between_documents_lead_somewhere() -> None:
    """A page that moved left links behind."""
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert target.startswith(("http://", "https://")) or (page.parent / target).exists(), f"{page}: {target}"
