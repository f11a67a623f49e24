"""The page of a prior over codes: samples, whose states go by, and regions of a picture that are
sampled anew.

It needs Gradio: pip install dct_jax[demo].
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dct_jax.codes.prior import TrainedCodePrior
from dct_jax.config import DataConfig
from dct_jax.data.crops import central_crop
from dct_jax.data.pixels import decode_image
from dct_jax.demo.code_frames import MOST_STEPS, Region, frames
from dct_jax.demo.layout import Action, Frame, add_class, add_results, add_seed, add_upload, check_choice, messages
from dct_jax.demo.uploads import LARGEST_MASK, MOST_PIXELS, read_upload
from dct_jax.dq_transformer.policy import StackPolicy
from dct_jax.dq_transformer.stage import TrainedDQTransformer
from dct_jax.nn.temperature import SymbolPolicy
from dct_jax.sundae.policy import SundaePolicy
from dct_jax.window.stage import TrainedWindow

if TYPE_CHECKING:
    import gradio
    from gradio.components import Component

CANVAS = 336
"""Pixels of the longer side that a small picture has under the brush, at most."""

PAUSE = 0.08
"""Seconds between two states, so that they can be seen."""


def enlargement(size: tuple[int, int]) -> int:
    """Returns how many times larger a picture of (H, W) pixels is under the brush."""
    return max(1, CANVAS // max(size))


def read_mask(data: bytes | None, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels that are marked, bool [H, W]: the brush touches a part of them.

    Args:
        data: an image file, or None for no mark. It has the size under the brush, and is painted
            with any colour but white.
        size: (H, W) of the picture.

    Raises:
        ValueError: if this is no such file, too large, or of another size.
    """
    if data is None:
        return np.zeros(size, bool)
    if len(data) > LARGEST_MASK:
        raise ValueError(f"the mask has more than {LARGEST_MASK >> 20} MiB")
    scale = enlargement(size)
    painted = decode_image(data, ("PNG", "WEBP"), MOST_PIXELS)
    height, width = size[0] * scale, size[1] * scale
    if painted.shape[:2] != (height, width):
        raise ValueError(f"the mask has {painted.shape[0]} x {painted.shape[1]} pixels; it must have {height} x {width}")
    marked = (painted < 255).any(axis=-1).reshape(size[0], scale, size[1], scale)
    return np.asarray(marked.any(axis=(1, 3)))


def read_picture(path: str | None, data: DataConfig) -> np.ndarray:
    """Reads the middle of an upload as a crop of a run, uint8 [H, W, 3].

    Raises:
        ValueError: as `read_upload`, or if it is too small.
    """
    return central_crop(read_upload(path), data.image_size, data.enlarge)


def build(model: TrainedCodePrior) -> "gradio.Blocks":
    """Builds the page."""
    import gradio as gr

    from dct_jax.demo.mask_editor import add_mask_editor

    data, size = model.config.data, model.config.data.image_size
    scale = enlargement(size)

    def show(path: str | None) -> np.ndarray | None:
        """Puts an upload under the brush."""
        with messages():
            return None if path is None else read_picture(path, data).repeat(scale, axis=0).repeat(scale, axis=1)

    def inpaint(path: str | None, mask: bytes | None, pastes: bool, *settings: Any) -> Iterator[Frame]:
        with messages():
            region = Region(read_picture(path, data), read_mask(mask, size), pastes)
            yield from sample(*settings, region=region)

    def sample(chosen: int | None, seed: float | None, *values: Any, region: Region | None = None) -> Iterator[Frame]:
        with messages():
            label, number = check_choice(chosen, seed)
            for frame in frames(replace(model, policy=to_policy(*values)), number, label, region):
                yield frame
                time.sleep(PAUSE)

    with gr.Blocks(title="dct_jax", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            f"# dct_jax\nPictures of {size[0]} x {size[1]} pixels, as {model.config.extent} of a {model.config.system}."
        )
        with gr.Row():
            with gr.Column():
                with gr.Tab("Sample"):
                    actions: list[Action] = [(gr.Button("Sample", elem_id="draw"), sample, [])]
                with gr.Tab("Inpaint"):
                    gr.Markdown(_note(model))
                    file = add_upload("inpaint")
                    editor = add_mask_editor(scale * max(size) // 16, "editor")
                    pastes = gr.Checkbox(label="paste the known pixels back")
                    actions.append((gr.Button("Inpaint", elem_id="inpaint"), inpaint, [file, editor, pastes]))
                    file.change(show, [file], [editor], api_name="show")
                first = [add_class([model.class_name(label) for label in range(model.config.codes.num_classes)]), add_seed()]
                inputs, to_policy = _add_policy(model)
            add_results(actions, [*first, *inputs])
    return page


def _add_policy(model: TrainedCodePrior) -> tuple[list["Component"], Callable[..., Any]]:
    """Adds the choices of how to sample, and returns them with what makes a policy of them. A
    slider needs no other program; a choice of a list does."""
    import gradio as gr

    if isinstance(model, TrainedWindow):
        return (
            [gr.Slider(0.1, 2.0, value=1.0, step=0.05, label="temperature"), *_add_likeliest(model.config.num_codes)],
            lambda temperature, top_k, top_p: SymbolPolicy(float(temperature), top_k, top_p),  # an int is another program
        )
    if isinstance(model, TrainedDQTransformer):
        with gr.Row():
            temperatures = [
                gr.Slider(0.1, 2.0, value=1.0, step=0.05, label=f"temperature of {x}") for x in ("positions", "codes")
            ]
        # Which positions there are is no matter of taste: the choices are of codes.
        return [*temperatures, *_add_likeliest(model.config.num_codes)], lambda first, last, top_k, top_p: StackPolicy(
            (float(first), float(last)), (0, top_k), (1.0, top_p)
        )
    default = SundaePolicy()

    def to_policy(steps: float, *ends: float) -> SundaePolicy:
        temperature, proportion = (ends[0], ends[1]), (ends[2], ends[3])
        return SundaePolicy(int(steps), temperature, proportion, min(default.min_steps, int(steps)))

    with gr.Row():
        sliders = [gr.Slider(1, MOST_STEPS, value=min(default.steps, MOST_STEPS), step=1, label="most steps")]
    for name, values, least, most in (
        ("temperature", default.temperature, 0.1, 2.0),
        ("proportion", default.proportion, 0.0, 1.0),
    ):
        with gr.Row():
            for value, end in zip(values, ("first", "last")):
                sliders.append(gr.Slider(least, most, value=value, step=0.05, label=f"{name} at the {end} step"))
    return list(sliders), to_policy


def _add_likeliest(codes: int) -> list["Component"]:
    """Adds the choices of the likeliest of so many codes."""
    import gradio as gr

    return [
        gr.Radio([("all", 0), *((str(k), k) for k in (10, 50, 200) if k < codes)], value=0, label="the likeliest codes"),
        gr.Radio([("1", 1.0), ("0.95", 0.95), ("0.9", 0.9), ("0.8", 0.8)], value=1.0, label="of this probability together"),
    ]


def _note(model: TrainedCodePrior) -> str:
    height, width = model.config.data.image_size
    note = f"The middle of the picture, resized to {height} x {width} pixels, appears below. Mark what is to be sampled anew."
    return f"{note} Note that {limit}." if (limit := model.limit_of_known) else note
