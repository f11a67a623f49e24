"""The commands export, which makes a file of a run's model, and models, which lists models."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dct_jax.commands.arguments import parse, say
from dct_jax.storage.files import read_limited
from dct_jax.tables import align, first_line

FIGURES = {"bits_per_pixel": "bits per pixel", "FD-AlexNet": "FD-AlexNet", "FID": "FID"}
"""What is taken of an evaluation, and what the table calls it."""


@dataclass(frozen=True)
class Export:
    """Writes the best checkpoint of a run as one file, which every command takes in place of the
    run's folder.

    Attributes:
        run: folder of the run.
        out: the file, NAME.safetensors.
        dtype: of the numbers; bfloat16 and float16 halve the file and change probabilities a bit.
        source: pictures that `evaluate` and `upsample --held-out` of the file open in place of the
            run's own, as data.source of an experiment.
        data: what the model was trained on, for people.
        licence: of the weights, for people.
        command: the command that trained the model, for people.
        evaluation: an evaluation.json whose figures the file says.
    """

    run: Annotated[str, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.Positional]
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    source: str = ""
    data: str = ""
    licence: str = ""
    command: str = ""
    evaluation: Path | None = None


@dataclass(frozen=True)
class Models:
    """Lists the published models, which commands take by name in place of a run's folder."""


def export(args: Sequence[str]) -> int:
    """Runs `export RUN OUT`."""
    command = parse(Export, args, "export")
    figures, measured = _figures(command.evaluation)
    from dct_jax.published.weights_file import About, Weights, round_to, write_weights
    from dct_jax.run import load

    trained = load(command.run)
    model = replace(trained, variables=round_to(trained.variables, command.dtype))
    # An evaluation is of the run, of what export made of it, or has `--dtype bfloat16`.
    if command.evaluation and measured not in {one.fingerprint for one in (trained, model, trained.with_dtype("bfloat16"))}:
        raise ValueError(
            f"{command.evaluation}: these are figures of the model {measured[:8]}, and {command.run} has the model "
            f"{trained.fingerprint[:8]}: evaluate {command.run}"
        )
    config = model.config
    if command.source:
        config = replace(config, data=replace(config.data, source=command.source))
    about = About(command.data or model.config.data.source, command.licence, command.command, figures)
    weights = Weights(config, model.variables, model.sizes, model.classes, model.fingerprint, about)
    write_weights(command.out, weights, command.dtype)
    size = command.out.stat().st_size / 1e6
    return say(f"{command.out} has the model {model.fingerprint[:8]} in {size:.1f} MB ({command.dtype})")


def models(args: Sequence[str]) -> int:
    """Runs `models`."""
    parse(Models, args, "models")
    from dct_jax.published import published_models
    from dct_jax.published.weights_file import read_about

    files = published_models()
    if not files:
        return say("no model is published with this version")
    rows, commands = [], []
    for name, path in files.items():
        about, parameters = read_about(path)
        figures = [f"{about.results[key]:.3f}" if key in about.results else "-" for key in FIGURES]
        rows.append((name, about.data, about.licence, f"{path.stat().st_size / 1e6:.1f}", f"{parameters / 1e6:.2f}", *figures))
        commands.append((name, about.command))
    print(align([("", "data", "licence", "MB", "M parameters", *FIGURES.values()), *rows], names=3) + "\n")
    print(align([("", "made by"), *commands], names=2) + "\n")
    return say("python -m dct_jax sample NAME samples from one")


def _figures(evaluation: Path | None) -> tuple[dict[str, float], str]:
    """Reads what a file says of its model from an evaluation.json, and the fingerprint of the model
    that it is of."""
    if evaluation is None:
        return {}, ""
    text = read_limited(evaluation)
    try:
        report = json.loads(text)
        if "bits" in report:
            figures = {"bits_per_pixel": report["bits"]["bits_per_pixel"]["mean"]}
        else:
            figures = dict(report["held_out"])  # of a system that breaks down no bits
        figures |= {name: row["value"] for name, row in report.get("samples", {}).get("measures", {}).items()}
        finite = {name: float(value) for name, value in figures.items() if value is not None}
        return finite, str(report["fingerprint"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"{evaluation}: this is no evaluation.json of a run ({reason})") from None
