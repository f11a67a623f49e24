"""Where things that can be made again are kept."""

import os
from pathlib import Path

import pytest

from dct_jax.storage.caches import make_private


def test_programs_are_kept_where_this_user_alone_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are executed; a folder that another user had made in the temporary folder was
    accepted."""
    monkeypatch.setenv("DCT_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "programs" / "x"
    assert make_private(folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.parents[:2])] == [0o700] * 3
    (tmp_path / "cache").chmod(0o777)
    assert not make_private(folder)
    (tmp_path / "cache").chmod(0o755)
    assert make_private(folder)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not make_private(folder)
