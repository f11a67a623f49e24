"""What the commands that sample share: how to sample, and a folder that fills meanwhile."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tqdm import tqdm

from dct_jax.commands.arguments import check_least, save_image
from dct_jax.storage.files import replacing

if TYPE_CHECKING:
    from dct_jax.dct.sampling.lists import Sample, Start
    from dct_jax.dct.sampling.policy import Policy
    from dct_jax.dct.trained_model import TrainedModel

MANIFEST = "samples.jsonl"
_NAME = re.compile(r'\{"file": "(samples/\d{4,}\.(?:png|jpg))"')


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        seed: one seed gives equal samples in every call.
        temperature: one number for all symbols, or three: channel, position, value.
        top_k: only the k likeliest symbols can be sampled; 0 for all; one number or three.
        top_p: only the likeliest symbols with this probability together can be sampled; one number
            or three.
        guidance: of classifier-free guidance, 1 for none; above 1 samples are more like their class
            and less varied. It needs a model that was trained with training.label_dropout.
        max_triples: samples are cut off at so many triples.
        max_chunks: samples are cut off at so many chunks of the model.
        batch_size: samples that grow at a time.
        dtype: of the network's weights, activations and caches; by default as in training. bfloat16
            needs half of the memory.
        format: of the images; "jpg" has exactly the sample's coefficients.
    """

    seed: int = 0
    temperature: tuple[float, ...] = (1.0,)
    top_k: tuple[int, ...] = (0,)
    top_p: tuple[float, ...] = (1.0,)
    guidance: float = 1.0
    max_triples: int | None = None
    max_chunks: int | None = None
    batch_size: int = 16
    dtype: Literal["float32", "bfloat16"] | None = None
    format: Literal["png", "jpg"] = "png"

    def policy(self) -> "Policy":
        """Returns how to sample each symbol."""
        from dct_jax.dct.sampling.policy import Policy
        from dct_jax.evaluation.settings import changed_settings

        defaults = Policy().settings
        return Policy.of(**changed_settings("DCTransformer", defaults, {name: getattr(self, name) for name in defaults}))

    def limit(self, chunk_size: int) -> int | None:
        """The number of triples at which samples are cut off."""
        check_least(self, max_triples=1, max_chunks=1)
        limits = [self.max_triples, self.max_chunks and self.max_chunks * chunk_size]
        return min((limit for limit in limits if limit), default=None)


def sample_into(
    out: Path,
    figures: Sequence[str],
    model: "TrainedModel",
    starts: Sequence["Start"],
    sampling: Sampling,
    made_from: Callable[["Start"], dict[str, Any]] = lambda start: {},
) -> tuple[list["Sample"], list[np.ndarray]]:
    """Samples, and writes each sample when it ends: samples/NUMBER.png and a line in samples.jsonl.

    Args:
        out: the folder. Samples that an earlier call's manifest names, and its figures, are
            removed.
        figures: their names.
        model: to sample from.
        starts: what the samples begin with.
        sampling: how to sample.
        made_from: what else a sample's line says of its start.

    Returns:
        The samples and their pictures, uint8 [H, W, 3], in the order of `starts`.
    """
    if sampling.format == "jpg" and model.codec.block_size != 8:
        raise ValueError(f"the model's blocks have {model.codec.block_size} pixels; a JPEG file's have 8: use --format png")
    largest = max(model.network.vocabulary_of(start.given.codec).largest_value for start in starts)
    if sampling.format == "jpg" and largest > 1023:
        raise ValueError("the model's values can be larger than a JPEG file has room for (quality above 97): use --format png")
    policy, limit = sampling.policy(), sampling.limit(model.config.model.chunk_size)
    chunks = model.sample_from(starts, sampling.seed, policy, sampling.batch_size, limit)
    results: dict[int, tuple[Sample, np.ndarray]] = {}
    triples = 0
    with filling(out, figures) as add, tqdm(total=len(starts), desc="samples", unit="", disable=None) as bar:
        for number, batch in enumerate(chunks, 1):
            ended_samples = [sample for sample in batch if sample.state != "growing"]
            for sample in ended_samples:
                triples += len(sample.sparse) - len(sample.start.given)
                picture = sample.sparse.codec.decode(sample.sparse)
                _save(out / "samples" / _file(sample, sampling), sample, picture)
                results[sample.start.number] = sample, picture
                add(sample.start.number, _line(sample, sampling, model, made_from))
            growing = sum(len(one.sparse) - len(one.start.given) for one in batch if one.state == "growing")
            bar.set_postfix_str(f"chunk {number}, {triples + growing} triples")
            bar.update(len(ended_samples))
    samples, pictures = zip(*(results[start.number] for start in starts))
    return list(samples), list(pictures)


def cut_note(samples: Sequence["Sample"]) -> str:
    """Says how many samples were cut off, if any, for a command's last line."""
    cut = sum(sample.state == "cut" for sample in samples)
    return f" ({cut} cut off at the limit)" if cut else ""


@contextmanager
def filling(out: Path, figures: Sequence[str]) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """Makes a folder ready for samples, when all else has been checked.

    Args:
        out: the folder, without the samples that an earlier call's manifest names, and without
            its figures.
        figures: their names.

    Yields:
        A function that writes the line of a sample with a number, whose picture is there, to the
        manifest. In the end the lines are in the order of their numbers.
    """
    _prepare(out, figures)
    lines: dict[int, str] = {}
    with (out / MANIFEST).open("w") as manifest:

        def add(number: int, line: dict[str, Any]) -> None:
            lines[number] = json.dumps(line) + "\n"
            manifest.write(lines[number])
            manifest.flush()

        yield add
    with replacing(out / MANIFEST) as path:
        path.write_text("".join(lines[number] for number in sorted(lines)))


def _prepare(out: Path, figures: Sequence[str]) -> None:
    """Makes the folder, without what an earlier call left. Raises ValueError if it cannot."""
    try:
        (out / "samples").mkdir(parents=True, exist_ok=True)
        manifest = out / MANIFEST
        lines = manifest.read_text(errors="replace").splitlines() if manifest.exists() else []
        samples = [match[1] for line in lines if (match := _NAME.match(line))]
        old = [out / name for name in (*samples, *figures, MANIFEST)]
        if folder := next((path for path in old if path.is_dir()), None):  # before anything is removed
            raise ValueError(f"{folder} is a folder; remove it or name another --out")
        for path in old:
            path.unlink(missing_ok=True)
        manifest.touch()
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}); name another --out") from None


def _file(sample: "Sample", sampling: Sampling) -> str:
    return f"{sample.start.number:04d}.{sampling.format}"


def _save(out: Path, sample: "Sample", picture: np.ndarray) -> None:
    if out.suffix == ".png":
        save_image(picture, out)
        return
    with replacing(out) as path:
        path.write_bytes(sample.sparse.to_jpeg())


def _line(sample: "Sample", sampling: Sampling, model: "TrainedModel", made_from: Callable) -> dict[str, Any]:
    start, classes = sample.start, model.config.model.num_classes
    conditions: dict[str, Any] = {}
    if classes:
        hidden = start.label == classes
        conditions["label"] = None if hidden else start.label
        conditions["class"] = model.class_name(start.label)
    if model.config.model.qualities:
        conditions["quality"] = sample.sparse.codec.quality
    return {
        "file": f"samples/{_file(sample, sampling)}",
        "seed": sampling.seed,
        "number": start.number,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "guidance": sampling.guidance,
        **conditions,
        **made_from(start),
        "size": list(sample.sparse.size),
        "given": len(start.given),
        "triples": len(sample.sparse),
        "nats": {name: round(nats, 4) for name, nats in sample.nats._asdict().items()},
        "state": sample.state,
    }
