"""What evaluate says of a prior over codes."""

import pytest

from dct_jax.codes.findings import code_findings
from dct_jax.training.stage import HeldOutPictures
from tests.codes.toys import prior_config


@pytest.mark.parametrize(
    ("pictures", "said"), [([0, 1, 0], "3 crops of 2 pictures of hills: "), ([0, 1], "2 pictures of hills: ")]
)
def test_crops_of_few_pictures_are_not_called_as_many_images(pictures: list[int], said: str) -> None:
    """Beside a DCTransformer of the same pictures they once were "3 images"."""
    held = HeldOutPictures(None, pictures, "hills", True)
    found = code_findings(prior_config("window"), {"nats": 1.0}, {"nats": 2.0}, held, "code", "")
    assert found.lines[0].startswith(said)
