"""The page of a DCTransformer: pictures that grow while they are sampled, from nothing or from an
upload.

It needs Gradio: pip install dct_jax[demo].
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dct_jax.dct.sampling.conditioning import share
from dct_jax.dct.sampling.lists import Start
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.steering import Given, starts_of, to_colorize, to_continue, to_restore, to_upsample
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.demo.layout import SAMPLES, Action, Frame, add_class, add_results, add_seed, add_upload, check_choice, messages
from dct_jax.demo.uploads import read_upload
from dct_jax.plots import image_grid

if TYPE_CHECKING:
    import gradio

Settings = tuple[int | None, float, float, float | None]
"""A class, or -1 for any; temperature; guidance; seed."""


def reduction(model: TrainedModel, image: np.ndarray) -> Given:
    """Returns what a sample is given: one pixel a block; a larger picture is reduced first."""
    small = all(ours <= most for ours, most in zip(image.shape[:2], model.network.vocabulary.grid))
    return to_upsample(model, image) if small else to_restore(model, image)


def grow(
    model: TrainedModel, starts: Sequence[Start], seed: int, policy: Policy, given: Given | None = None
) -> Iterator[Frame]:
    """Yields the samples side by side after each chunk, between what is given and the original."""
    before = [] if given is None else [given.shown]
    after = [] if given is None or given.original is None else [given.original]
    latest = {start.number: start.given for start in starts}

    def frame(line: str) -> Frame:
        images = before + [sparse.codec.decode(sparse) for sparse in latest.values()] + after
        scale = max(1, 192 // max(max(image.shape[:2]) for image in images))
        return image_grid(images, columns=3 if before else 2, scale=scale), line

    yield frame("starting; the first picture takes longer, as programs are compiled")
    for number, samples in enumerate(model.sample_from(starts, seed, policy, SAMPLES), 1):
        latest |= {sample.start.number: sample.sparse for sample in samples}
        triples = sum(len(latest[start.number]) - len(start.given) for start in starts)
        yield frame(f"chunk {number}: {triples} triples sampled")
    yield frame(f"complete: {triples} triples sampled, seed {seed}")


def build(model: TrainedModel) -> "gradio.Blocks":
    """Builds the page."""
    import gradio as gr

    classes = model.config.model.num_classes

    def frames(
        make_starts: Callable[[int, int | None], tuple[Sequence[Start], Given | None]],
        chosen: int | None,
        temperature: float,
        guidance: float,
        seed: float | None,
    ) -> Iterator[Frame]:
        """Runs one request; what is wrong with it becomes a message on the page."""
        with messages():
            label, number = check_choice(chosen, seed)
            model.check_label(label or 0)
            starts, given = make_starts(number, label)
            policy = model.with_settings({"temperature": float(temperature), "guidance": float(guidance)}).policy
            yield from grow(model, starts, number, policy, given)

    def sample(*settings: *Settings) -> Iterator[Frame]:
        yield from frames(
            lambda seed, label: (model.starts(SAMPLES, seed, None if label is None else [label]), None), *settings
        )

    def steer(to_given: Callable[[TrainedModel, np.ndarray], Given], path: str | None, *settings: *Settings) -> Iterator[Frame]:
        def make_starts(seed: int, label: int | None) -> tuple[Sequence[Start], Given]:
            given = to_given(model, read_upload(path))
            return starts_of(model, [given.prefix], SAMPLES, seed, label), given

        yield from frames(make_starts, *settings)

    def continue_(path: str | None, keep: float, *settings: *Settings) -> Iterator[Frame]:
        yield from steer(lambda model, image: to_continue(model, image, partial(share, keep=keep)), path, *settings)

    height, width = model.config.data.image_size
    rows, cols = model.network.vocabulary.grid
    with gr.Blocks(title="dct_jax", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f"# dct_jax\nPictures of up to {height} x {width} pixels, sampled as lists of DCT coefficients.")
        with gr.Row():
            actions: list[Action] = []
            with gr.Column():
                settings = [
                    add_class([model.class_name(label) for label in range(classes + model.hides)] if classes else []),
                    gr.Slider(0.1, 2.0, value=1.0, step=0.05, label="temperature"),
                    gr.Slider(1.0, 6.0, value=1.0, step=0.25, label="guidance", visible=model.hides),
                    add_seed(),
                ]
                with gr.Tab("Sample"):
                    actions.append((gr.Button("Sample", elem_id="draw"), sample, []))
                for title, note, to_given in (
                    ("Upsample", f"A picture of {rows} x {cols} pixels, or a larger one, which is reduced first.", reduction),
                    ("Colorize", "A grey picture, or one whose colours are to be sampled anew.", to_colorize),
                ):
                    with gr.Tab(title):
                        gr.Markdown(note)
                        file = add_upload(title.lower())
                        button = gr.Button(title, elem_id=title.lower())
                        actions.append((button, partial(steer, to_given), [file]))
                with gr.Tab("Continue"):
                    gr.Markdown("The coarse part of a picture is kept, the rest sampled.")
                    file = add_upload("continue")
                    keep = gr.Slider(0.0, 1.0, value=0.2, step=0.05, label="share of the list to keep")
                    actions.append((gr.Button("Continue", elem_id="continue"), continue_, [file, keep]))
            add_results(actions, settings)
    return page
