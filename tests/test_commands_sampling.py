"""The folder that samples go to."""

from pathlib import Path

import pytest

from dct_jax.commands.sampling import filling


def test_a_folder_that_is_refused_keeps_its_samples(tmp_path: Path) -> None:
    """Samples of an earlier call were removed before a figure was found to be in the way."""
    sample = tmp_path / "samples" / "0000.png"
    with filling(tmp_path, ["samples.png"]) as add:
        sample.touch()
        add(0, {"file": "samples/0000.png"})
    figure = tmp_path / "samples.png"
    figure.mkdir()
    with pytest.raises(ValueError, match=f"^{figure} is a folder; remove it or name another --out$"):
        with filling(tmp_path, ["samples.png"]):
            pass
    assert sample.exists()
    figure.rmdir()
    with filling(tmp_path, ["samples.png"]):
        assert not sample.exists()
