"""Runs of one system, for the commands that only this system can do."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dct_jax.codes.prior import TrainedCodePrior
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.training.stage import Trained
    from dct_jax.vq.autoencoder import TrainedAutoencoder

Model = TypeVar("Model", bound="Trained")


def load_dct(run: str, command: str, dtype: str | None = None) -> "TrainedModel":
    """Loads a run of a DCTransformer.

    Raises:
        ValueError: as `dct_jax.load`, or if the run is of another system.
    """
    from dct_jax.dct.trained_model import TrainedModel

    return _load_kind(TrainedModel, run, f"{command} needs one of DCTransformer", dtype)


def load_autoencoder(run: str, command: str) -> "TrainedAutoencoder":
    """Loads a run of an autoencoder.

    Raises:
        ValueError: as `dct_jax.load`, or if the run is of another system.
    """
    from dct_jax.vq.autoencoder import TrainedAutoencoder

    return _load_kind(TrainedAutoencoder, run, f"{command} needs an autoencoder", None)


def load_prior(run: str, command: str, dtype: str | None = None) -> "TrainedModel | TrainedCodePrior":
    """Loads a run of a DCTransformer, or of a prior over codes.

    Raises:
        ValueError: as `dct_jax.load`, or if the run is of another system.
    """
    from dct_jax.codes.prior import TrainedCodePrior
    from dct_jax.dct.trained_model import TrainedModel
    from dct_jax.run import load

    model = load(run, dtype)
    if not isinstance(model, TrainedModel | TrainedCodePrior):
        raise _refuse(run, model, f"{command} needs one of DCTransformer, or of a prior over codes")
    return model


def load_code_prior(run: str, command: str) -> "TrainedCodePrior":
    """Loads a run of a prior over codes.

    Raises:
        ValueError: as `dct_jax.load`, or if the run is of another system.
    """
    from dct_jax.codes.prior import TrainedCodePrior

    return _load_kind(TrainedCodePrior, run, f"{command} needs a prior over codes", None)


def _load_kind(kind: type[Model], run: str, need: str, dtype: str | None) -> Model:
    """Loads a run whose model is of this class. Raises ValueError, which says the need, if not."""
    from dct_jax.run import load

    model = load(run, dtype)
    if not isinstance(model, kind):
        raise _refuse(run, model, need)
    return model


def _refuse(run: str, model: "Trained", need: str) -> ValueError:
    return ValueError(f"{run} is a run of the system {model.config.system}; {need}")
