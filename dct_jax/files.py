"""Writing files so that nothing half-written stays behind."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, with the same suffix, that takes its place when the block ends well, and is removed
    when it does not.

    Raises:
        ValueError: if the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); name a place that can be") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; give what an ordinary new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; name a file") from None
    finally:
        temporary.unlink(missing_ok=True)
