"""What a representation loses is measured on what bits are of."""

import dataclasses

import numpy as np
import pytest

from dct_jax.codec import DCTCodec
from dct_jax.comparison.representation import measure_prior_distortion
from dct_jax.dct.reader import HeldOut
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.vq import findings
from dct_jax.vq.measures import measure
from tests.toys import SMALLEST, random_image, tiny_config


def test_lists_of_several_qualities_lose_what_they_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits of lists of random qualities once stood beside the PSNR of one quality."""
    monkeypatch.setattr(findings, "has_lpips", lambda: False)
    model = dataclasses.replace(SMALLEST, qualities=(20, 60))
    config = dataclasses.replace(tiny_config(), codec=DCTCodec(8, 30), model=model)
    rng = np.random.default_rng(0)
    pictures = [random_image(rng) for _ in range(2)]
    lists = [config.codec_of(quality).encode(one) for quality, one in zip((20, 60), pictures)]
    content = HeldOut(lists, np.zeros(2, np.int32))
    found = measure_prior_distortion(TrainedModel(config, {}, ()), pictures, content, 2)
    copies = np.stack([one.codec.decode(one) for one in lists])
    assert found.psnr == measure(np.stack(pictures), copies, np.zeros((2, 1, 1), int), 1)["psnr"]
    assert found.notes == ("LPIPS and FD-AlexNet are left out; they need pip install 'dct_jax[metrics]'",)
