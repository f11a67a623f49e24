"""Where kernels cannot be compiled or are not wanted, one line says why and XLA's own programs are
used."""

import logging

import pytest

from dct_jax import kernels
from dct_jax.kernels import choice


@pytest.fixture
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process forgets whether it has kernels, for one test."""
    monkeypatch.setattr(choice, "_register", choice._register.__wrapped__)


def refuse() -> None:
    raise RuntimeError("no such instruction\nand more")


@pytest.mark.usefixtures("asked_anew")
def test_a_kernel_that_fails_to_compile_is_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(choice, "register_attention", refuse)
    with caplog.at_level(logging.WARNING):
        assert not kernels.use_kernels()
    (record,) = caplog.records
    assert record.getMessage().endswith("which are slower: no such instruction")
    assert record.exc_info is None


@pytest.mark.usefixtures("asked_anew")
def test_the_environment_turns_them_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(choice.SWITCH, "0")
    with caplog.at_level(logging.WARNING):
        assert not kernels.use_kernels()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["DCT_JAX_KERNELS=0"]


def test_accelerators_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.jax, "default_backend", lambda: "gpu")
    assert not kernels.use_kernels()
