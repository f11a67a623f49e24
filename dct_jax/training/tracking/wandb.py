"""W&B: online if the user is logged in, and else in the folder of the run, for `wandb sync`."""

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dct_jax.training.tracking.tracker import TrackedRun, Tracker, numbers_of


class WandbTracker(Tracker):
    """Writes a run of W&B. Offline, it is written anew when our run goes on, and becomes that of
    one that never stopped. Online, W&B removes nothing: what was logged after the last checkpoint
    stays, and is not logged a second time."""

    def __init__(self, run: TrackedRun) -> None:
        """Makes a run in W&B, or goes on with one."""
        # Else it tells its makers how it is used, also offline. The user may say otherwise.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        settings = wandb.Settings(silent=True, console="off", reinit="create_new")
        mode: Any = wandb.setup(settings).settings.mode  # as WANDB_MODE or `wandb offline` say
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            mode = "offline"
        folder = run.folder / "wandb"
        name = _find_id(folder) if run.step else None
        for before in folder.glob("offline-run-*"):
            shutil.rmtree(before)
        if name is None:
            name = secrets.token_hex(4)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run_id").write_text(name)
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "dct_jax"),
            id=name,
            name=run.folder.resolve().name,
            dir=run.folder,
            config=run.config,
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=settings,
        )
        self._first = self._run.step  # W&B takes no step before it

    def log_numbers(self, record: Mapping[str, Any]) -> None:
        self._log(record["step"], record["time"], numbers_of(record))

    def log_pictures(self, step: int, time: float, pictures: Mapping[str, np.ndarray]) -> None:
        if step >= self._first:
            # Not the array, whose range W&B would guess.
            images = {f"pictures/{name}": self._image(Image.fromarray(picture)) for name, picture in pictures.items()}
            self._log(step, time, images)

    def flush(self) -> None:
        """Does nothing: W&B's own process writes, and has a step when the next one begins."""

    def close(self) -> None:
        self._run.finish()

    def _log(self, step: int, time: float, values: Mapping[str, Any]) -> None:
        if step >= self._first:
            self._run.log({**values, "_timestamp": time}, step=step)


def _find_id(folder: Path) -> str | None:
    """Returns the identifier of the run that W&B's folder is of, if it has one."""
    file = folder / "run_id"
    name = file.read_text().strip() if file.exists() else ""
    return name if re.fullmatch(r"[0-9a-f]{8}", name) else None
