"""Published models and files of exported ones: what a command's RUN can name besides a folder."""

import difflib
import hashlib
from pathlib import Path
from typing import Any

from dct_jax.storage.mirror import CHECKPOINTS, Mirror, is_url

FOLDER = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"
RESULTS = Path("results")
"""Where commands leave what they make of models that have no folder of a run."""
RECORDS = "metrics.jsonl"


def published_models() -> dict[str, Path]:
    """Returns the published models' files, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


def locate(run: str | Path) -> Path:
    """Finds what a command's RUN means: the folder of a run, also at a URL, or of a checkpoint, a
    file of weights, or the name of a published model. A folder or a file comes before a name.

    Raises:
        ValueError: if there is none of these, or a published model's file has another checksum.
    """
    if is_url(run):
        mirror = Mirror(str(run), "read")
        mirror.pull()
        if not (mirror.folder / CHECKPOINTS).is_dir():
            raise ValueError(f"{run}: there is no run here")
        return mirror.folder
    path = Path(run)
    try:
        if (path / CHECKPOINTS).is_dir() or is_checkpoint(path) or (path.suffix == SUFFIX and path.exists()):
            return path
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ValueError(f"{run}: this cannot be looked at ({error.strerror})") from None
    models = published_models()
    if str(run) in models:
        _check_published(models[str(run)])
        return models[str(run)]
    near = difflib.get_close_matches(str(run), models, cutoff=0.5) or sorted(models)
    hint = f"; the nearest published models are {', '.join(near)}" if near else ""
    raise ValueError(f"{run}: there is no run here (no folder {path / CHECKPOINTS}), no file of weights, and no published "
                     f"model of this name{hint}")  # fmt: skip


def results_folder(run: str | Path) -> Path:
    """Returns where a command's results of RUN go: the run's own folder, or results/NAME."""
    path = Path(run)
    if is_url(run):
        return RESULTS / path.name
    if is_checkpoint(path):
        return path.absolute().parent.parent
    return path if (path / CHECKPOINTS).is_dir() else RESULTS / path.name.removesuffix(SUFFIX)


def read_records_of(run: str | Path) -> list[dict[str, Any]]:
    """Reads the records of metrics.jsonl that a command's RUN has: of the folder of a run, also at
    a URL, all; of one checkpoint, those up to its step; of a file or a published model, none.

    Raises:
        ValueError: as `locate`, or if they cannot be read.
    """
    from dct_jax.training.metrics_log import read_records

    folder = run_of(run)
    records = [] if folder is None else read_records(folder / RECORDS)
    return [record for record in records if record["step"] <= int(Path(run).name)] if is_checkpoint(Path(run)) else records


def run_of(run: str | Path) -> Path | None:
    """Returns the folder on this disk of the run that a command's RUN is, or is a checkpoint of;
    None of a file or a published model.

    Raises:
        ValueError: as `locate`.
    """
    path = locate(run)
    if path.is_file():
        return None
    return path.absolute().parent.parent if is_checkpoint(path) else path


def is_checkpoint(path: Path) -> bool:
    """Whether this is the folder of one checkpoint, RUN/checkpoints/STEP."""
    return path.name.isdecimal() and path.absolute().parent.name == CHECKPOINTS and path.is_dir()


def _check_published(path: Path) -> None:
    """Raises ValueError unless the file has the checksum that was published with it."""
    sums = FOLDER / "SHA256SUMS"
    lines = [line.split() for line in sums.read_text().splitlines()] if sums.exists() else []
    known = {name: digest for digest, name in lines}
    if known.get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest():
        raise ValueError(f"{path}: this is not the file that was published; install the package again")
