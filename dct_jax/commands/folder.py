"""What a command does with each file of a folder: the others go on if one cannot be used."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from dct_jax.commands.arguments import say
from dct_jax.storage.files import replacing
from dct_jax.tables import printable

LISTED = 5
"""So many files are named for each reason."""

Content = TypeVar("Content")
Result = TypeVar("Result")


class Folder:
    """The files of a folder, where what becomes of them goes, and which could not be used, and why.

    Use it in this order: `files`, `take` or `leave_out` each, `check`, `readable`, `write`.
    """

    def __init__(self, folder: Path, out: Path | None, done: str) -> None:
        """Args: the folder; where to write to, None for the folder itself; and what its files will be: "compressed", say."""
        self._folder, self._done = folder, done
        self._is_beside = out is None or out.resolve() == folder.resolve()
        self._out = folder if out is None else out
        self._outputs: dict[Path, Path] = {}
        self._read: list[Path] = []
        self._left_out: dict[str, list[Path]] = {}

    def files(self, is_wanted: Callable[[str], bool]) -> list[Path]:
        """All in the folder's tree whose suffix, in small letters, is wanted; but for hidden ones."""
        found = (file for file in sorted(self._folder.rglob("*")) if file.is_file() and is_wanted(file.suffix.lower()))
        return [file for file in found if not any(part.startswith(".") for part in file.relative_to(self._folder).parts)]

    def take(self, file: Path, suffix: str) -> None:
        """What becomes of this file gets its name with another suffix. Beside it the name of a JPEG file also says what was
        done, as the original may stand there."""
        is_copy = self._is_beside and suffix == ".jpg"
        name = f"{file.stem}-{self._done}{suffix}" if is_copy else f"{file.stem}{suffix}"
        self._outputs[file] = self._out / file.relative_to(self._folder).with_name(name)

    def leave_out(self, file: Path, reason: str) -> None:
        """Notes why a file cannot be used; reasons of the same words are listed together."""
        self._left_out.setdefault(reason.removeprefix(f"{file}: "), []).append(file)

    def check(self) -> None:
        """Raises ValueError if there is nothing to do, or two files would become one."""
        if not self._outputs and not self._left_out:
            raise ValueError(f"{self._folder}: no file in this folder can be {self._done}")
        first: dict[Path, Path] = {}
        for file, out in self._outputs.items():
            if (other := first.setdefault(out, file)) != file:
                raise ValueError(f"{other} and {file} would both become {out}; rename one of them")

    def readable(self, read: Callable[[Path], Content]) -> Iterator[Content]:
        """What `read` makes of each file; those of which it raises ValueError are left out."""
        for file in self._outputs:
            try:
                content = read(file)
            except ValueError as error:
                self.leave_out(file, str(error))
            else:
                self._read.append(file)
                yield content

    def write(self, results: Iterable[tuple[int, Result | ValueError]], to_bytes: Callable[[Result], bytes]) -> int:
        """Writes a file for each result, the n-th of what was `readable`, and says what was done.

        Returns:
            The command's exit code: 2 if a file was left out.
        """
        done = before = after = 0
        with tqdm(total=len(self._outputs), unit=" files", disable=None) as bar:
            for number, result in results:
                file = self._read[number]
                bar.update()
                try:
                    if isinstance(result, ValueError):
                        raise result
                    data = to_bytes(result)
                except ValueError as error:
                    self.leave_out(file, str(error))
                    continue
                with replacing(self._outputs[file]) as path:
                    path.write_bytes(data)
                done, before, after = done + 1, before + file.stat().st_size, after + len(data)
        share = f" ({100 * after / before:.1f} %)" if before else ""
        say(f"{done} file{'s' * (done != 1)} {self._done}: {before:,} bytes became {after:,}{share} in {self._out}")
        for reason, files in self._left_out.items():
            names = ", ".join(str(file.relative_to(self._folder)) for file in files[:LISTED])
            more = f" and {len(files) - LISTED} more" if len(files) > LISTED else ""
            number = f"{len(files)} file{'s were' if len(files) != 1 else ' was'}"
            print(printable(f"dct_jax: {number} left out ({names}{more}): {reason}"), file=sys.stderr)
        return 2 if self._left_out else 0
