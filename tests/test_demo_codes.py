"""The demo page of a prior over codes: its frames, its brush, and the page as a visitor has it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from dct_jax.codes.config import CodesConfig
from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.commands.demo import serve
from dct_jax.config import DataConfig
from dct_jax.data.crops import central_crop
from dct_jax.demo import code_page
from dct_jax.demo.code_frames import Region, frames, known_of, sample_steps
from dct_jax.demo.code_page import enlargement, read_mask, read_picture
from dct_jax.demo.layout import SAMPLES, Frame
from dct_jax.demo.uploads import LARGEST_MASK
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.sundae import sampler
from dct_jax.sundae.config import SundaeConfig, SundaeModelConfig
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.sundae.stage import TrainedSundae
from dct_jax.training.stage import Trained
from dct_jax.vq.config import AutoencoderConfig, QuantizerConfig, VQVAEConfig
from dct_jax.window.config import WindowConfig, WindowModelConfig
from dct_jax.window.sampler import sample_codes
from dct_jax.window.stage import TrainedWindow
from tests.browser import needs_browser, open_browser
from tests.conftest import Refused
from tests.window.toys import random_tree

SIZE, F = (16, 16), 4
MASK = np.zeros(SIZE, bool)
MASK[5:7, 6:10] = True  # of the cells (1, 1) and (1, 2)
SCALE = enlargement(SIZE)


@cache
def toy(kind: str) -> Any:
    """A prior and an autoencoder with random parameters."""
    data = DataConfig(source="landscapes", image_size=SIZE)
    inner = VQVAEConfig(
        data=data,
        quantizer=QuantizerConfig(kind="ema", codes=16, dim=4),
        model=AutoencoderConfig(channels=8, residual_blocks=1, downsampling=F),
    )
    shared: dict[str, Any] = {"data": data, "codes": CodesConfig(run="none", num_classes=2), "autoencoder": inner}
    small = {"width": 16, "heads": 1}
    if kind == "window":
        config = WindowConfig(model=WindowModelConfig(**small, layers=1, window=2), **shared)
    else:
        config = SundaeConfig(model=SundaeModelConfig(**small, head_size=8, before=(), valley=1, after=()), **shared)
    stage = config.build()
    return stage.trained(random_tree(jax.eval_shape(stage.init).variables), (), ("cat", "dog"))


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def tiles(frame: Frame, columns: int) -> list[np.ndarray]:
    """The pictures of a frame, row by row, uint8 [H, W, 3] each."""
    scale = 192 // max(SIZE)
    side, tall = SIZE[0] * scale + 4, frame[0].shape[0]
    corners = [(top, 4 + left * side) for top in range(4, tall, side) for left in range(columns)]
    return [frame[0][top : top + side - 4 : scale, left : left + side - 4 : scale] for top, left in corners]


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def brushed(mask: np.ndarray) -> bytes:
    """A layer that is painted where a mask, bool [h, w] of the canvas, is."""
    return png(np.where(mask[..., None], np.array([255, 0, 160, 255], np.uint8), np.uint8(0)))


@pytest.mark.slow
def test_states_are_those_of_the_sampler_and_other_policies_need_no_other_program() -> None:
    model: TrainedSundae = toy("sundae")
    known, labels = known_of(model, Region(picture(), MASK, False)), [0, 1, 0, 1]
    size = None
    for policy in (SundaePolicy(12, (0.5, 2.0), (0.2, 0.9), 12), SundaePolicy(5, (1e-3, 1e-3), (1.0, 1.0), 0)):
        *shown, last = sample_steps(replace(model, policy=policy), 3, labels, known)
        assert size in (None, sampler._sample_grids._cache_size())
        size = sampler._sample_grids._cache_size()
        right = replace(model, policy=policy).sample(range(SAMPLES), 3, labels, model.config.grid, known, policy.steps + 1)
        size = sampler._sample_grids._cache_size()
        assert right.steps is not None and right.history is not None
        for (pictures, _), codes in zip(shown, right.history[: right.steps.max() + 1], strict=True):
            np.testing.assert_array_equal(pictures, model.decode(codes))
        np.testing.assert_array_equal(last[0], model.decode(right.codes))
        assert (right.history[:, known.cells] == known.codes[known.cells]).all()


def test_a_sundae_s_frames_begin_with_noise_and_end_with_the_samples() -> None:
    model: TrainedSundae = toy("sundae")
    model = replace(model, policy=SundaePolicy(6, min_steps=6))
    shown = list(frames(model, 3, 1, None))
    right = np.asarray(model.sample(range(SAMPLES), 3, [1] * SAMPLES, model.config.grid, room=7).history)
    assert [line.split(" of")[0] for _, line in shown[1:-1]] == [f"after step {n}" for n in range(7)]
    for frame, codes in zip(shown[1:-1], right, strict=True):
        np.testing.assert_array_equal(tiles(frame, 2), model.decode(codes))
    assert shown[-1][1] == "complete: 6, 6, 6, 6 steps, seed 3"
    np.testing.assert_array_equal(tiles(shown[-1], 2), model.decode(right[-1]))


def test_a_window_s_rows_are_uncovered_from_the_top() -> None:
    model: TrainedWindow = toy("window")
    shown = list(frames(model, 3, None, None))
    labels = [model.random_label(3, i) for i in range(SAMPLES)]
    right = model.decode(model.sample(range(SAMPLES), 3, labels, model.config.grid).codes)
    for row, frame in enumerate(shown[1:-1], 1):
        pictures = np.array(tiles(frame, 2))
        np.testing.assert_array_equal(pictures[:, : F * row], right[:, : F * row])
        assert (pictures[:, F * row :] == 128).all()
    assert row == model.config.grid[0] and shown[-1][1] == "complete: 16 codes sampled in each, seed 3"
    np.testing.assert_array_equal(tiles(shown[-1], 2), right)


@pytest.mark.parametrize(("kind", "policy"), [("window", SymbolPolicy()), ("sundae", SundaePolicy(6, min_steps=6))])
def test_a_region_is_sampled_anew_and_all_else_stays(kind: str, policy: Any) -> None:
    model: TrainedCodePrior = replace(toy(kind), policy=policy)
    original = picture()
    for pastes in (False, True):
        last = tiles(list(frames(model, 1, 0, Region(original, MASK, pastes)))[-1], 3)
        np.testing.assert_array_equal(last[0], original)
        assert (last[1][MASK] == 128).all()
        outside = ~MASK.reshape(4, F, 4, F).any(axis=(1, 3)).repeat(F, axis=0).repeat(F, axis=1)
        np.testing.assert_array_equal(last[1][outside], original[outside])
        assert all((sample[~MASK] == original[~MASK]).all() == pastes for sample in last[2:])
        assert not all(np.array_equal(last[2][MASK], sample[MASK]) for sample in last[3:])
    known = known_of(model, Region(original, MASK, False))
    codes = model.encode(original[None])[0]
    grids = model.sample(range(SAMPLES), 1, [0] * SAMPLES, model.config.grid, known).codes
    changes = (grids != codes).any(axis=0)
    assert {(int(i), int(j)) for i, j in np.argwhere(changes)} <= {(1, 1), (1, 2)} and changes.any()


def test_a_pixel_is_marked_if_the_brush_touches_a_part_of_it() -> None:
    canvas = np.zeros((SIZE[0] * SCALE, SIZE[1] * SCALE, 4), np.uint8)
    canvas[3 * SCALE + 1, 5 * SCALE] = 255, 0, 160, 2  # hardly visible, as at an edge
    canvas[8 * SCALE - 1, 8 * SCALE] = 255, 0, 160, 255
    mask = read_mask(png(canvas), SIZE)
    assert {(int(i), int(j)) for i, j in np.argwhere(mask)} == {(3, 5), (7, 8)}
    assert not read_mask(None, SIZE).any() and read_mask(None, SIZE).shape == SIZE


def test_an_upload_is_enlarged_as_in_training(tmp_path: Path) -> None:
    """A small one was once refused, whatever data.enlarge of the run was."""
    (tmp_path / "a.png").write_bytes(png(picture()[::2, ::2]))
    data = DataConfig(source="landscapes", image_size=SIZE, enlarge=2.0)
    expected = central_crop(picture()[::2, ::2], SIZE, 2.0)
    np.testing.assert_array_equal(read_picture(str(tmp_path / "a.png"), data), expected)
    with pytest.raises(ValueError, match="it must have at least 16 x 16"):
        read_picture(str(tmp_path / "a.png"), replace(data, enlarge=1.0))


def test_a_mask_is_looked_at_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    side = SIZE[0] * SCALE
    with pytest.raises(ValueError, match=f"the mask has 16 x 16 pixels; it must have {side} x {side}"):
        read_mask(brushed(MASK), SIZE)
    with pytest.raises(ValueError, match="no image of a kind that is read"):
        read_mask(png(picture(), "BMP"), SIZE)
    monkeypatch.setattr(ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="this image has 5000 x 5000 pixels"):
        read_mask(png(np.zeros((5000, 5000), np.uint8)), SIZE)


def test_the_brush_keeps_little_and_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    import asyncio
    from types import SimpleNamespace

    from gradio.components.image_editor import EditorData

    from dct_jax.demo import mask_editor
    from dct_jax.demo.guard import Refusal

    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it was decoded"))
    editor = mask_editor.add_mask_editor(20, "editor")

    def send(name: str, data: bytes, kind: str = "layer", index: str = "0") -> None:
        blob: Any = SimpleNamespace(data={"type": kind, "index": index, "id": name}, files=[("blob", data)])
        asyncio.run(editor.accept_blobs(blob))

    send("a", b"mask")
    send("a", b"picture", "background", "null")
    send("a", b"both", "composite", "null")
    send("a", b"other", index="1000000000000")
    assert editor.preprocess(EditorData(id="a")) == b"mask"
    assert editor.preprocess(EditorData(id="a")) is None  # it is gone
    with pytest.raises(Refusal, match="more than 1 MiB"):
        send("a", bytes(LARGEST_MASK + 1))
    for i in range(100):
        send(str(i), bytes(i))
    assert len(editor.blob_storage) == mask_editor.MOST_MASKS
    assert editor.preprocess(EditorData(id="99")) == bytes(99)
    assert editor.preprocess(None) is None and editor.preprocess(EditorData()) is None
    assert not Path(mask_editor.__file__).with_suffix(".pyi").exists()  # Gradio would write it


@contextmanager
def served(kind: str) -> Iterator[str]:
    """The address of a page, one at a time: Gradio knows one folder of uploads."""
    pytest.importorskip("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_page, "PAUSE", 0)
        page = serve(toy(kind), "127.0.0.1", 0)
        yield page.local_url
        page.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A picture, one that is too small, a mask, and a large file."""
    canvas = MASK.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    contents = {
        "picture": png(picture().repeat(2, axis=0).repeat(3, axis=1)),
        "small": png(picture()[:9]),
        "mask": brushed(canvas),
        "large": bytes(LARGEST_MASK + 1),
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    return {name: tmp_path / f"{name}.png" for name in contents}


def layers(*files: Path) -> dict[str, Any]:
    """What a client sends as the value of the brush."""
    from gradio_client import handle_file

    return {"background": None, "layers": [handle_file(file) for file in files], "composite": None, "id": None}


@pytest.mark.parametrize(
    ("kind", "choices", "policy"),
    [
        ("window", (1.5, 10, 0.9), SymbolPolicy(1.5, 10, 0.9)),
        ("sundae", (6, 0.8, 0.4, 0.5, 1.0), SundaePolicy(6, (0.8, 0.4), (0.5, 1.0), 6)),
    ],
)
def test_the_interface_samples_and_inpaints(kind: str, choices: tuple[float, ...], policy: Any, files: dict[str, Path]) -> None:
    with served(kind) as address:
        from gradio_client import Client, handle_file
        from gradio_client.exceptions import AppError

        client, settings = Client(address, verbose=False), (-1, 3, *choices)
        job = client.submit(*settings, api_name="/draw")
        image, line = job.result()
        assert line.startswith("complete") and len(job.outputs()) > 4
        right = list(frames(replace(toy(kind), policy=policy), 3, None, None))[-1]
        np.testing.assert_array_equal(np.asarray(Image.open(image).convert("RGB")), right[0])
        request = handle_file(files["picture"]), layers(files["mask"]), True
        image, line = client.predict(*request, *settings, api_name="/inpaint")
        assert line.startswith("complete") and line.endswith("seed 3")
        shown = tiles((np.asarray(Image.open(image).convert("RGB")), line), 3)
        np.testing.assert_array_equal(shown[0], read_picture(str(files["picture"]), toy(kind).config.data))
        assert (shown[1][MASK] == 128).all() and (shown[2][~MASK] == shown[0][~MASK]).all()
        if kind == "window":
            programs = sample_codes._cache_size()
            client.predict(-1, 3, 1, 10, 0.9, api_name="/draw")
            assert sample_codes._cache_size() == programs
            with pytest.raises(AppError, match=r"11 .* is not in the list"):  # it would need a program of its own
                client.predict(-1, 3, 1.0, 11, 0.9, api_name="/draw")


def test_the_interface_names_what_is_wrong(files: dict[str, Path]) -> None:
    with served("sundae") as address:
        from gradio_client import Client, handle_file
        from gradio_client.exceptions import AppError

        client, choices = Client(address, verbose=False), (6, 0.8, 0.4, 0.5, 1.0)
        under_brush = client.predict(handle_file(files["picture"]), api_name="/show")["background"]
        assert Image.open(under_brush).size == (SIZE[1] * SCALE, SIZE[0] * SCALE)
        picture_file, mask = handle_file(files["picture"]), layers(files["mask"])
        for file, layer, chosen, message in (
            (None, mask, -1, "upload a picture first"),
            (handle_file(files["small"]), mask, -1, "the picture has 9 x 16 pixels; it must have at least 16 x 16"),
            (picture_file, layers(), -1, "the mask covers no code"),
            (picture_file, layers(files["small"]), -1, "the mask has 9 x 16 pixels"),
            (picture_file, layers(files["large"]), -1, "the mask has more than 1 MiB"),
            (picture_file, mask, None, "choose a class and a seed"),
        ):
            with pytest.raises(AppError, match=message):
                client.predict(file, layer, False, chosen, 3, *choices, api_name="/inpaint")


def test_a_browser_s_mask_comes_before_its_request(files: dict[str, Path]) -> None:
    with served("sundae") as address:
        import httpx
        from gradio_client import Client, handle_file

        client = Client(address, verbose=False)
        (editor,) = (one["id"] for one in client.config["components"] if one["type"] == "imageeditor")

        def send(mask: bytes) -> int:
            form = {
                "type": "layer",
                "index": "0",
                "id": "one",
                "component_id": editor,
                "fn_name": "accept_blobs",
                "session_hash": "x",
            }
            url = f"{address}gradio_api/component_server"
            return httpx.post(url, data=form, files={"file": ("blob", mask)}, timeout=60).status_code

        assert send(files["large"].read_bytes()) == 413
        assert send(files["mask"].read_bytes()) == 200
        value = {"background": None, "layers": [], "composite": None, "id": "one"}
        image, _ = client.predict(
            handle_file(files["picture"]), value, False, -1, 3, 6, 0.8, 0.4, 0.5, 1.0, api_name="/inpaint"
        )
        shown = tiles((np.asarray(Image.open(image).convert("RGB")), ""), 3)
        assert (shown[1][MASK] == 128).all()


@needs_browser
@pytest.mark.slow  # a browser without a graphics card
def test_a_visitor_marks_a_region_and_inpaints_it(files: dict[str, Path]) -> None:
    ActionChains = pytest.importorskip("selenium.webdriver").ActionChains
    with served("sundae") as address, open_browser("--enable-unsafe-swiftshader") as browser:  # the brush needs WebGL
        found, wait = browser.found, browser.wait
        browser.driver.get(address)
        wait(lambda: found("#inpaint-file, #draw"), "the page")
        browser.open_tab("Inpaint")
        wait(lambda: found("#inpaint-file input[type=file]"), "the upload")[0].send_keys(str(files["picture"]))
        canvas = wait(lambda: found("#editor canvas"), "the brush")[0]
        wait(lambda: "%" in browser.text("#editor"), "the picture under the brush")

        browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        stroke = ActionChains(browser.driver).move_to_element_with_offset(canvas, -30, 0).click_and_hold()
        for x in range(-30, 31, 10):
            stroke = stroke.move_to_element_with_offset(canvas, x, 0)
        stroke.release().perform()
        found("#inpaint")[0].click()
        wait(lambda: browser.text("#line, .toast-body").startswith("complete"), "samples")
        assert int(wait(lambda: found("#shown img"), "the picture")[0].get_property("naturalWidth")) > 3 * 192


def test_the_demo_names_the_systems_that_have_a_page(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setattr("dct_jax.run.load", lambda run, dtype: Trained(VQVAEConfig(), {}, ()))
    needed = "of the system VQ-VAE; demo needs one of DCTransformer, or of a prior over codes"
    assert needed in refused("demo", "x", "--port", 7999)
