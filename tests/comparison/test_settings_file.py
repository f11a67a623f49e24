"""Files of samplers' settings: what is read of them, and a line for each that is refused."""

import json
import shutil
from pathlib import Path

import pytest

from dct_jax.commands import compare
from dct_jax.commands.code_sampling import PriorSettings
from dct_jax.commands.settings_file import read_settings
from tests.codes.toys import random_autoencoder, save_run, vqvae_config
from tests.conftest import Refused


def test_settings_are_read_with_their_types(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"a": {"temperature": 1, "top_k": [1, 2], "steps": 3}}')
    good = read_settings(tmp_path / "good.json", ["a", "b"])["a"]
    assert good == PriorSettings(temperature=(1.0,), top_k=(1, 2), steps=3) and isinstance(good.temperature[0], float)


BAD_SETTINGS = (
    ("{", "bad.json is no JSON of settings: Expecting"),
    ("\udcff", "bad.json is no JSON of settings: 'utf-8' codec can't decode"),
    ('{"RUN": {"temperature": 1' + "0" * 5000 + "}}", "bad.json is no JSON of settings: Exceeds the limit"),
    ('{"RUN": {"temperature": 1' + "0" * 400 + "}}", "it is too large"),
    ('{"RUN": {"steps": 1, "steps": 1}}', "bad.json is no JSON of settings: 'steps' stands there twice"),
    ("[" + " " * 2**20 + "]", "bad.json: this file has more than 1 MiB"),
    ("[" * 9999, "bad.json is nested too deeply"),
    ("[1]", "bad.json must have settings by the names of runs"),
    ('{"RUN": 1}', "bad.json must have settings by the names of runs"),
    ('{"other": {}}', "bad.json names the run 'other'; it must be one of"),
    ('{"RUN": {"heat": 1}}', "'heat' is no setting; settings are temperature, top_k"),
    ('{"RUN": {"temperature": "1"}}', 'temperature is "1"; it must be a number, or a list'),
    ('{"RUN": {"temperature": []}}', "temperature is []; it must be a number, or a list"),
    ('{"RUN": {"top_k": 1.5}}', "top_k is 1.5; it must be an integer, or a list"),
    ('{"RUN": {"guidance": [1]}}', "guidance is [1]; it must be a number"),
    ('{"RUN": {"guidance": true}}', "guidance is true; it must be a number"),
    ('{"RUN": {"temperature": 0}}', "debug: temperature is 0.0; it must be from"),
    ('{"RUN": {"steps": 3}}', "debug: a DCTransformer has no steps"),
)


@pytest.mark.usefixtures("loaded_once")
def test_bad_settings_are_told_in_a_line(
    debug_run: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "in_child", lambda function: function())
    debug = str(shutil.copytree(debug_run, tmp_path / "debug"))
    vqvae = save_run(tmp_path / "vqvae", random_autoencoder(vqvae_config()))
    arguments = ("compare", debug, vqvae, "--mixed", "--settings", tmp_path / "bad.json")
    for text, message in BAD_SETTINGS:
        (tmp_path / "bad.json").write_text(text.replace("RUN", debug), errors="surrogateescape")
        assert message in refused(*arguments)
    (tmp_path / "bad.json").write_text(json.dumps({vqvae: {"top_k": 3}}))
    assert "has settings, but a VQ-VAE samples nothing" in refused(*arguments)
    assert "nothing.json: there is no such file" in refused("compare", debug, "--settings", tmp_path / "nothing.json")
    assert not (tmp_path / "debug" / "comparison").exists()
