"""Runs of a DCTransformer, for the commands that only it can do."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dct_jax.dct.trained_model import TrainedModel


def load_dct(run: str, command: str, dtype: str | None = None) -> "TrainedModel":
    """Loads a run for a command that needs a DCTransformer; raises ValueError for another
    system."""
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.run import load

    model = load(run, dtype)
    if not isinstance(model, TrainedModel):
        raise ValueError(f"{run} is a run of the system {model.config.system}; {command} needs one of DCTransformer")
    return model
