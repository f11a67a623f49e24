"""Reports as JSON, and what compare keeps of runs."""

import json
import math
from pathlib import Path

from dct_jax.commands.arguments import write_report
from dct_jax.commands.kept import Kept
from dct_jax.comparison.measures import Distortion


def test_a_report_has_no_number_that_json_lacks(tmp_path: Path) -> None:
    """Infinity, and NaN inside of a tuple, became words that JSON does not know."""
    write_report(tmp_path / "a.json", {"psnr": math.inf, "rows": ([-math.inf, 1.5], (math.nan, 2, "inf")), "none": None})
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: name)
    assert read == {"psnr": None, "rows": [[None, 1.5], [None, 2, "inf"]], "none": None}


def test_an_infinite_measure_is_kept(tmp_path: Path) -> None:
    """The PSNR of pictures that lose nothing is infinite; a report says null, which is no PSNR."""
    measured = Distortion(3, math.inf, {}, {}, ())
    for again in (True, False):  # as it is measured, and as the file has it
        assert Kept(tmp_path, {}, again).find("distortion", {}, Distortion, lambda: measured) == measured
