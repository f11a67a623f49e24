"""What all demo pages share: choices, uploads, results that grow, and messages."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import gradio
    from gradio.components import Component

SAMPLES = 4
"""How many grow together: one number for all, as another would need another compiled program."""

Frame = tuple[np.ndarray, str]
"""What the page shows: a picture, uint8 [H, W, 3], and a line below it."""

Action = tuple["gradio.Button", Callable[..., Iterator[Frame]], Sequence["Component"]]
"""A button, what its click yields, and the inputs that come before the settings."""


@contextmanager
def messages() -> Iterator[None]:
    """Turns a ValueError in its block into a message on the page."""
    import gradio as gr

    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from None


def check_choice(chosen: int | None, seed: float | None) -> tuple[int | None, int]:
    """Returns the label, or None for any, and the seed that a visitor chose.

    Raises:
        ValueError: if one is missing.
    """
    if chosen is None or seed is None:
        raise ValueError("choose a class and a seed")
    return None if chosen < 0 else int(chosen), int(seed)


def add_class(names: Sequence[str]) -> "gradio.Dropdown":
    """Adds the choice of a class by its label, or of any, -1; it is hidden without names."""
    import gradio as gr

    choices = [("any", -1), *((name, label) for label, name in enumerate(names))]
    return gr.Dropdown(choices, value=-1, label="class", visible=bool(names))


def add_seed() -> "gradio.Number":
    """Adds the choice of a seed."""
    import gradio as gr

    return gr.Number(value=0, precision=0, minimum=0, maximum=2**32 - 1, label="seed")


def add_upload(name: str) -> "gradio.File":
    """Adds a place for the upload of a picture, whose bytes stay as they are."""
    import gradio as gr

    return gr.File(label="picture", file_count="single", type="filepath", file_types=["image"], elem_id=f"{name}-file")


def add_results(actions: Sequence[Action], settings: Sequence["Component"]) -> None:
    """Adds the column of results, where the frames of a click replace one another. One request runs
    at a time, and *Stop* ends it."""
    import gradio as gr

    with gr.Column():
        shown = gr.Image(
            show_label=False,
            format="png",
            elem_id="shown",
            interactive=False,
            buttons=["download", "fullscreen"],  # and none that shares a picture elsewhere
        )
        line = gr.Markdown(elem_id="line")
        stop = gr.Button("Stop", elem_id="stop")
    clicks: list[dict[str, Any]] = [
        button.click(
            frames_of,
            [*inputs, *settings],
            [shown, line],
            api_name=button.elem_id,
            show_progress_on=[shown],
            concurrency_limit=1,
            concurrency_id="sample",
        )
        for button, frames_of, inputs in actions
    ]
    stop.click(None, cancels=clicks)
