"""Runs and pictures away from this disk: gs://, s3:// and whatever else fsspec reaches.

A run in training lies on this disk, in the folder for caches, and is copied there after each
checkpoint. So training itself needs no other disk, and goes on while the other one cannot be
reached.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from dct_jax.storage.caches import cache_folder
from dct_jax.storage.files import replacing
from dct_jax.storage.manifest import MANIFEST
from dct_jax.tables import first_line

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for which what has failed is tried again."""

SECONDS_BETWEEN_NOTES = 60.0
"""How often it is noted which pictures are copied already."""

CHECKPOINTS = "checkpoints"

AGREED = ".agreed"
"""In a copy: the whole checkpoints of both sides when they were equal last, a line each."""


VERSIONS = ".versions.json"
"""In a copy of pictures: the version of each file, by its path below the folder."""

VERSION_FIELDS = ("ETag", "etag", "md5Hash", "mtime", "modified", "created", "updated", "LastModified")
"""What fsspec's file systems call an entity tag, a checksum or a time of a file."""


def is_url(name: str | Path) -> bool:
    """Returns whether this names a place that is reached by a protocol."""
    return re.match(r"[a-z][a-z0-9+.-]*://", str(name)) is not None


class Mirror:
    """The folder of a run somewhere else, and its copy on this disk.

    Files below checkpoints/STEP/ do not change once the step has its manifest, which is copied last
    and removed first, as on this disk. Other files are copied whole each time; they are small.
    """

    def __init__(self, url: str, copy: str) -> None:
        """Finds the folder, and the place of its copy.

        Args:
            url: the folder.
            copy: the copy's name; a run in training and one that is read must have different ones.

        Raises:
            ValueError: if no installed package reaches the place.
        """
        self.url = url
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")
        self.folder = _local_folder(url, copy)

    def start(self) -> None:
        """Brings the copy to the state that a run goes on from: what is there, or the copy if that
        has later checkpoints, because they could not be copied when the run ended. Whoever has
        removed checkpoints there since then, or has trained anew, means that: they stay removed.

        Raises:
            ValueError: if the place cannot be reached.
        """
        if _retry(self.url, lambda _: self._is_ahead()):
            _retry(self.url, self._push)
        else:
            self.pull()

    def pull(self) -> None:
        """Makes the copy equal to what is there.

        Raises:
            ValueError: if the place cannot be reached.
        """
        _retry(self.url, self._pull)

    def push(self) -> None:
        """Makes the place equal to the copy; where that fails, it warns, and the next call does it.

        Raises:
            OSError: if the copy cannot be read.
        """
        try:
            _retry(self.url, self._push)
        except ValueError as error:
            log.warning("%s; the run goes on, and is in %s", error, self.folder)

    def finish(self) -> None:
        """Pushes at the end of a run.

        Raises:
            ValueError: if the place cannot be reached.
        """
        try:
            _retry(self.url, self._push)
        except ValueError as error:
            raise ValueError(f"{error}; the run is in {self.folder}, and the same command copies it") from None

    def _files(self) -> set[str]:
        """Returns the files that are there, as paths below the folder."""
        self._fs.invalidate_cache()
        names = {path[len(self._root) + 1 :] for path in self._fs.find(self._root)}
        return {name for name in names if _is_below(name)}

    def _local_files(self) -> set[str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(self.folder).as_posix() for path in paths}

    def _pull(self, done: set[str]) -> None:
        """Makes the copy equal, but for the files that are done; adds those that it copies."""
        there, here = self._files(), self._local_files()
        same, outdated = self._compare(there & here)
        for name in [*outdated, *sorted(here - there, key=_removal_order)]:
            (self.folder / name).unlink()
        done -= outdated
        for name in sorted(there - same - done, key=_copy_order):
            with replacing(self.folder / name) as path:
                self._fs.get_file(f"{self._root}/{name}", str(path))
            done.add(name)
        self._agree()

    def _push(self, done: set[str]) -> None:
        """Makes the place equal, but for the files that are done; adds those that it copies."""
        there, here = self._files(), self._local_files()
        same, outdated = self._compare(there & here)
        for name in outdated:
            self._fs.rm_file(f"{self._root}/{name}")
        done -= outdated
        for name in sorted(here - same - done, key=_copy_order):
            self._fs.makedirs(f"{self._root}/{PurePosixPath(name).parent}", exist_ok=True)
            self._fs.put_file(str(self.folder / name), f"{self._root}/{name}")
            done.add(name)
        for name in sorted(there - here, key=_removal_order):
            self._fs.rm_file(f"{self._root}/{name}")
        self._agree()

    def _agree(self) -> None:
        """Notes that both sides are equal."""
        with replacing(self.folder / AGREED) as path:
            path.write_text("\n".join(sorted(self._checkpoints_here(self._local_files()))))

    def _is_ahead(self) -> bool:
        """Returns whether the copy has later checkpoints, and the others have been there when both
        sides were equal, or come from a push that failed in its middle."""
        there, here = self._files(), self._local_files()
        if max(_manifests(there).values(), default=-1) >= max(_manifests(here).values(), default=-1):
            return False
        agreed = self.folder / AGREED
        before = set(agreed.read_text().splitlines()) if agreed.exists() else None
        ours, theirs = self._checkpoints_here(here), self._checkpoints_there(there)
        if before is not None and before & ours <= theirs <= before | ours:
            return True
        log.warning("%s was changed elsewhere: later checkpoints in %s are removed", self.url, self.folder)
        return False

    def _checkpoints_here(self, names: set[str]) -> set[str]:
        """Identifies the whole checkpoints among the copy's files."""
        return {_identity(name, (self.folder / name).read_bytes()) for name in _manifests(names)}

    def _checkpoints_there(self, names: set[str]) -> set[str]:
        """Identifies the whole checkpoints among the files that are there."""
        return {_identity(name, self._fs.cat_file(f"{self._root}/{name}")) for name in _manifests(names)}

    def _compare(self, both: set[str]) -> tuple[set[str], set[str]]:
        """Returns, of the files on both sides, those of checkpoints whose manifests are equal, and
        the manifests that differ."""
        manifests = {name for name in both if _is_manifest(name)}
        equal = {name for name in manifests if (self.folder / name).read_bytes() == self._fs.cat_file(f"{self._root}/{name}")}
        folders = {PurePosixPath(name).parent for name in equal}
        return {name for name in both if not folders.isdisjoint(PurePosixPath(name).parents)}, manifests - equal


def fetch(url: str) -> Path:
    """Copies a file or a folder of pictures to this disk, but for files that it has in equal size
    and from the same version of the file, also from a copy that was interrupted. The copy loses the
    files that are no longer there.

    Raises:
        ValueError: if there is nothing, or it cannot be reached.
    """
    fs, root = _file_system(url)
    folder = _local_folder(url, "data")

    def copy(done: set[str]) -> list[str]:
        fs.invalidate_cache()
        try:
            files = fs.find(root, detail=True)
        except FileNotFoundError:
            files = {}
        if not files:
            return []
        names = {path: name for path in files if _is_below(name := _name_below(path, root))}
        _remove_others(folder, set(names.values()))
        known = _read_versions(folder)
        here: dict[str, str] = {}
        for path, name in names.items():
            version, target = _version_of(files[path]), folder / name
            is_here = target.is_file() and target.stat().st_size == files[path]["size"]
            if is_here and (known is None or known.get(name) == version):
                here[name] = version
        if not known or here != known:  # of other files that are here, from an interrupted copy, no version is known
            _write_versions(folder, here)
        noted = time.monotonic()
        try:
            for path in (path for path, name in names.items() if name not in here):
                with replacing(folder / names[path]) as temporary:
                    fs.get_file(path, str(temporary))
                here[names[path]] = _version_of(files[path])
                done.add(names[path])
                if time.monotonic() - noted > SECONDS_BETWEEN_NOTES:
                    _write_versions(folder, here)
                    noted = time.monotonic()
        finally:
            if done:
                _write_versions(folder, here)
        return list(files)

    files = _retry(url, copy)
    if not files:
        raise ValueError(f"{url}: there is no such file or folder")
    single = folder / PurePosixPath(root).name
    return single if files == [root] else folder


def _version_of(info: Mapping[str, Any]) -> str:
    """Returns what a service says that differs for another file of equal name and size: an entity
    tag, a checksum or a time, whatever it has."""
    return " ".join(str(info[name]) for name in VERSION_FIELDS if info.get(name))


def _read_versions(folder: Path) -> dict[str, str] | None:
    """Reads the versions of the files of a copy; None if it was made before there were any."""
    try:
        versions = json.loads((folder / VERSIONS).read_text())
    except (OSError, ValueError):
        return None if folder.exists() else {}
    return versions if isinstance(versions, dict) else None


def _write_versions(folder: Path, versions: Mapping[str, str]) -> None:
    with replacing(folder / VERSIONS) as path:
        path.write_text(json.dumps(versions))


def _name_below(path: str, root: str) -> str:
    """Names a file by its way from a folder; a file that is the root itself by its own name."""
    root = root.rstrip("/")
    return PurePosixPath(path).name if path == root else path[len(root) + 1 :]


def _is_below(name: str) -> bool:
    """Returns whether a name from elsewhere is that of a file below the folder that it is joined
    to. Services for objects allow any name, and those that end in "/" stand for folders."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not name.endswith("/")


def _remove_others(folder: Path, names: set[str]) -> None:
    """Removes the files of a copy that have none of these names, and folders that are empty then.
    Hidden files stay: another process may be writing them."""
    kept = {str(folder / name) for name in names}
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if not name.startswith(".") and os.path.join(place, name) not in kept:
                Path(place, name).unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            os.rmdir(place)


def _retry(url: str, do: Callable[[set[str]], Any]) -> Any:
    """Does it, again and again if it fails: services and networks may be gone for a minute.

    Args:
        url: where.
        do: gets a set, to which it adds what it need not do again.

    Raises:
        ValueError: if it has failed for `PATIENCE` seconds without getting on.
    """
    done: set[str] = set()
    before, end, wait = -1, 0.0, 1.0
    while True:
        try:
            return do(done)
        # Each service has errors of its own.
        except Exception as error:
            if len(done) > before:  # it fails for the first time, or has got on since it failed
                before, end, wait = len(done), time.monotonic() + PATIENCE, 1.0
            if time.monotonic() + wait > end:
                raise ValueError(f"{url} cannot be reached ({first_line(error)})") from None
            if wait == 1.0:
                log.warning("%s cannot be reached (%s); it is tried again for %d seconds", url, first_line(error), PATIENCE)
        time.sleep(wait)
        wait = min(2 * wait, 30.0)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url} cannot be reached ({error}): pip install 'dct_jax[remote]'") from None


def _local_folder(url: str, copy: str) -> Path:
    name = re.sub(r"\W+", "-", url)[-60:].strip("-")
    return cache_folder() / "mirrors" / copy / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def _manifests(names: set[str]) -> dict[str, int]:
    """Returns the manifests of whole checkpoints among these files, with their steps."""
    steps = {name: PurePosixPath(name).parts[1] for name in names if _is_manifest(name)}
    return {name: int(step) for name, step in steps.items() if step.isdecimal()}


def _is_manifest(name: str) -> bool:
    """Returns whether a file is a checkpoint's manifest, also that of one that was set aside."""
    parts = PurePosixPath(name).parts
    return len(parts) == 3 and parts[0] == CHECKPOINTS and parts[2] == MANIFEST


def _identity(name: str, manifest: bytes) -> str:
    """Returns what tells a checkpoint from others, even of the same step: the checksums of all."""
    return f"{name} {hashlib.sha256(manifest).hexdigest()}"


def _copy_order(name: str) -> tuple[bool, str]:
    return name.endswith(f"/{MANIFEST}"), name


def _removal_order(name: str) -> tuple[bool, str]:
    return not name.endswith(f"/{MANIFEST}"), name
