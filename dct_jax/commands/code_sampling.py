"""What the commands that sample codes share: settings of priors, and samples in a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from dct_jax import plots
from dct_jax.commands.arguments import save_image
from dct_jax.commands.sampling import Sampling, filling
from dct_jax.config import LARGEST_IMAGE
from dct_jax.storage.files import replacing

if TYPE_CHECKING:
    from dct_jax.codes.prior import Sampled, TrainedCodePrior

FIGURES = ("history.png", "history.gif")
ROWS, COLUMNS = 8, 10
"""Samples and states of history.png."""
ANIMATED, FRAMES = 16, 64
"""Samples and states of history.gif, at most."""
FRAME_TIME, LAST_TIME = 80, 2000
"""Milliseconds of a state, and of the last one."""


@dataclass(frozen=True)
class CodeSettings:
    """How a prior over codes samples. What is not named is as the prior's system has it.

    Attributes:
        temperature: divides the logits; below 1, likely codes are favoured. For SUNDAE one number,
            or two: at the first and the last step. For a DQ-Transformer one, or two: of positions
            and of codes.
        top_k: only the k likeliest codes can be sampled; 0 for all. For a DQ-Transformer one
            number, or two: of positions and of codes. Not for SUNDAE.
        top_p: only the likeliest codes with this probability together can be sampled. For a
            DQ-Transformer one number, or two: of positions and of codes. Not for SUNDAE.
        steps: of SUNDAE, the largest number of steps.
        proportion: of SUNDAE, the share of codes that a step replaces; one number, or two: at the
            first and the last step.
        min_steps: of SUNDAE, a sample that does not change in a step after so many is finished.
    """

    temperature: tuple[float, ...] = ()
    top_k: tuple[int, ...] = ()
    top_p: tuple[float, ...] = ()
    steps: int | None = None
    proportion: tuple[float, ...] = ()
    min_steps: int | None = None


@dataclass(frozen=True)
class PriorSettings(CodeSettings):
    """How a model of any system samples. Each system has some of these settings, and refuses
    others. What is not named is as the model's system has it.

    Attributes:
        temperature: divides the logits; below 1, likely symbols are favoured. For a DCTransformer
            one number, or three: channel, position, value. For SUNDAE one, or two: at the first and
            the last step. For a DQ-Transformer one, or two: of positions and of codes.
        top_k: only the k likeliest symbols can be sampled; 0 for all. For a DCTransformer one
            number or three, for a DQ-Transformer one or two. Not for SUNDAE.
        top_p: only the likeliest symbols with this probability together can be sampled. For a
            DCTransformer one number or three, for a DQ-Transformer one or two. Not for SUNDAE.
        guidance: of classifier-free guidance, by default 1, which is none; above 1 samples are more
            like their class and less varied. It needs a DCTransformer that was trained with
            training.label_dropout.
    """

    guidance: float | None = None


@dataclass(frozen=True)
class AnySampling(PriorSettings, Sampling):
    """How to sample, for all systems; each has some of these settings, and refuses others."""


def named_settings(settings: CodeSettings, but: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the settings that somebody has named, without some: those that are no defaults."""
    values = {one.name: (getattr(settings, one.name), one.default) for one in fields(settings) if one.name not in but}
    return {name: value for name, (value, default) in values.items() if value != default}


def dct_sampling(settings: AnySampling) -> Sampling:
    """Returns the settings of a DCTransformer. Raises ValueError if another is named."""
    named, known = named_settings(settings), [one.name for one in fields(Sampling)]
    for name in named:
        if name not in known:
            raise ValueError(f"a DCTransformer has no {name}; its settings are {', '.join(known)}")
    return Sampling(**named)


class History(NamedTuple):
    """States of samples, at even distances from the start to the end.

    Attributes:
        steps: int [S], after how many steps each was.
        states: uint8 [S, H, W, 3] of each sample.
    """

    steps: np.ndarray
    states: list[np.ndarray]


class CodeSamples(NamedTuple):
    """What `sample_codes_into` has sampled.

    Attributes:
        pictures: uint8 [H, W, 3] each.
        codes: int32 [h, w] each, the grids of these pictures.
        history: if it was asked for.
    """

    pictures: list[np.ndarray]
    codes: list[np.ndarray]
    history: History | None


def sample_codes_into(
    out: Path,
    figures: Sequence[str],
    model: "TrainedCodePrior",
    num: int,
    seed: int,
    labels: Sequence[int],
    batch_size: int,
    grid: tuple[int, int],
    known: tuple[np.ndarray, np.ndarray] | None = None,
    history: bool = False,
    made_from: dict[str, Any] | None = None,
    finish: Callable[[np.ndarray], np.ndarray] = lambda pictures: pictures,
) -> CodeSamples:
    """Samples, and writes samples/NUMBER.png and a line in samples.jsonl for each.

    Args:
        out, figures: the folder, and its figures; see `sampling.filling`.
        model: to sample from, by its policy.
        num, seed, labels, batch_size, grid, known: as of the model's `sample_batches`.
        history: whether the first ANIMATED samples have one.
        made_from: what else a sample's line says.
        finish: what becomes of pictures, uint8 [N, H, W, 3].
    """
    batches = model.sample_batches(num, seed, labels, batch_size, grid, known, ANIMATED if history else 0)
    has_classes = bool(model.config.codes.num_classes)
    has_holes = model.config.num_symbols > model.config.num_codes
    pictures: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    shown: list[Sampled] = []
    with filling(out, figures) as add, tqdm(total=num, desc="samples", unit="", disable=None) as bar:
        for part, sampled in batches:
            for i, (number, picture) in enumerate(zip(part, finish(model.decode(sampled.codes)))):
                save_image(picture, out / "samples" / f"{number:04d}.png")
                label = labels[number % len(labels)] if labels else model.random_label(seed, number)
                its_class = {"label": label, "class": model.class_name(label)} if has_classes else {}
                line = {"file": f"samples/{number:04d}.png", "seed": seed, "number": number}
                line |= model.settings | its_class | (made_from or {}) | {"size": list(picture.shape[:2]), "grid": list(grid)}
                if has_holes:
                    line["codes"] = int((sampled.codes[i] < model.config.num_codes).sum())
                add(number, line if sampled.steps is None else line | {"steps_taken": int(sampled.steps[i])})
                pictures.append(picture)
                codes.append(sampled.codes[i])
            if sampled.history is not None:
                shown.append(sampled)
            bar.update(len(part))
    return CodeSamples(pictures, codes, _history(model, shown, finish) if history else None)


def write_history(history: History, out: Path) -> str:
    """Writes history.png, a row for each sample and a column for each state; and history.gif, all
    samples as one picture that moves. Returns a line that says which states these are."""
    steps, states = history
    scale = max(1, 96 // max(states[0].shape[1:3]))
    shown = plots.even_places(len(steps), COLUMNS)
    tiles = [one[i] for one in states[:ROWS] for i in shown]
    save_image(plots.image_grid(tiles, columns=len(shown), scale=scale), out / "history.png")
    columns = max(1, round(len(states) ** 0.5))
    grids = (plots.image_grid([one[i] for one in states], columns, scale) for i in range(len(steps)))
    first, *others = [Image.fromarray(grid) for grid in grids]
    with replacing(out / "history.gif") as path:
        times = [FRAME_TIME] * len(others) + [LAST_TIME]
        first.save(path, save_all=True, append_images=others, duration=times, loop=0)
    return f"history.png has a row a sample, and the states after {', '.join(map(str, steps[shown]))} steps"


def pixel_grid(model: "TrainedCodePrior", size: tuple[int, int]) -> tuple[int, int]:
    """Returns the grid of codes of a picture of (H, W) pixels.

    Raises:
        ValueError: if it is not the size of the training crops, and the model has that one alone,
            or f does not divide a side, or the picture is too large.
    """
    f, (height, width) = model.config.downsampling, size
    if size == model.config.data.image_size:
        return model.config.grid
    if model.has_one_grid:
        one = " x ".join(map(str, model.config.data.image_size))
        raise ValueError(
            f"the size is {height} x {width} pixels; a {model.config.system} samples pictures of {one} pixels alone, those of "
            "its training"
        )
    if min(size) < 1 or height % f or width % f or height * width > LARGEST_IMAGE:
        raise ValueError(
            f"the size is {height} x {width} pixels; this model's codes stand for {f} x {f} pixels, so {f} must divide both "
            f"sides, and there must be at most {LARGEST_IMAGE} pixels"
        )
    return height // f, width // f


def _history(model: "TrainedCodePrior", batches: Sequence["Sampled"], finish: Callable[[np.ndarray], np.ndarray]) -> History:
    """Turns codes of states into pictures. The states end where the last of the
    ANIMATED samples ended."""
    codes = np.concatenate([one.history for one in batches if one.history is not None], axis=1)[:, :ANIMATED]
    last = int(np.concatenate([one.steps for one in batches if one.steps is not None])[:ANIMATED].max())
    steps = plots.even_places(last + 1, FRAMES)
    return History(steps, [finish(model.decode(codes[steps, i])) for i in range(codes.shape[1])])
