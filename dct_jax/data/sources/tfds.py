"""Pictures of TFDS data sets that were prepared as array_record files, read without TensorFlow."""

import difflib
import os
import shlex
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dct_jax.data.sources.record import NO_LABEL, Record

INFO = "dataset_info.json"  # lies in the folder of every prepared data set


class TFDSSource:
    """The feature "image" of a data set's records, undecoded, and its feature "label".

    The data set is looked for where TFDS looks: in TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Attributes:
        name, classes: as of any Source. A label that is a number without names is passed on, and
            there are no classes.
    """

    def __init__(self, dataset: str, split: str = "") -> None:
        """Opens NAME[/CONFIG][:VERSION], or the path of a prepared data set, with /, ./, ../ or ~
        in front. The split is as TFDS writes it ("train[:90%]"); "" is "train".

        Raises:
            ValueError: if there is no such data set or split, if it is not prepared or not as
                array_record, or if it has no feature "image".
        """
        split = split or "train"
        self.name = f"tfds:{dataset} ({split})"
        tfds = import_tfds()
        builder = open_builder(dataset)
        features = builder.info.features
        named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
        # Why it fails is asked only then: tfds.testing.mock_data needs nothing of what is checked.
        try:
            source = builder.as_data_source(split, file_format="array_record")
        except Exception as error:  # TFDS raises nearly anything for a damaged folder
            raise _why_not(self.name, dataset, split, builder, error) from None
        if not isinstance(named.get("image"), tfds.features.Image):
            known = ", ".join(sorted(named)) or "none that have names"
            raise ValueError(f"{self.name}: there is no feature 'image' of type Image; the features are {known}")
        label = named.get("label")
        self.classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
        self._labelled = label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
        # The raw records: TFDS itself would decode all features, even masks and second images.
        self._records = source.data_source

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        """Raises ValueError if the record cannot be read."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: there is no record {index} of {len(self)}")
        key = f"{self.name}, record {index}"
        try:
            image, label = self._fields(self._records[index])
        # array_record raises RuntimeError, protobuf its own error.
        except Exception as error:
            raise ValueError(f"{key}: this record cannot be read ({error})") from None
        return Record(image, label, key)

    def _fields(self, record: bytes | dict[str, Any]) -> tuple[bytes | np.ndarray, int]:
        """Returns the image and the label of a record: of a serialised tf.train.Example, or of what
        tfds.testing.mock_data gives in its place, decoded features, with pixels uint8 [H, W, 3]."""
        if isinstance(record, dict):
            return record["image"], int(record["label"]) if self._labelled else NO_LABEL
        from tensorflow_datasets.proto import tf_example_pb2

        fields = tf_example_pb2.Example.FromString(record).features.feature
        if not fields["image"].bytes_list.value:
            raise ValueError("it has no image")
        return fields["image"].bytes_list.value[0], fields["label"].int64_list.value[0] if self._labelled else NO_LABEL


def import_tfds() -> ModuleType:
    """Imports tensorflow_datasets. It takes a second, and nothing else of this package needs it.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import tensorflow_datasets
        from tensorflow_datasets.core.features.feature import FeatureConnector
    except ImportError as error:
        packages = "tensorflow-datasets array_record importlib_resources"  # it needs all three, and declares neither other one
        raise ValueError(f"tensorflow_datasets cannot be imported ({error}): pip install {packages}") from None
    # A folder's features.json names classes, and TFDS would import whatever module they are in.
    known = {
        f"{kind.__module__}.{kind.__name__}" for kind in vars(tensorflow_datasets.features).values() if isinstance(kind, type)
    }

    def of_name(name: str) -> type:
        found = FeatureConnector._registered_features.get(name) if name in known else None
        if found is None:
            raise ValueError(f"its features.json has a feature {name[:200]!r}, which is none of TFDS's own")
        return found

    FeatureConnector.cls_from_name = staticmethod(of_name)
    return tensorflow_datasets


def open_builder(dataset: str, **options: Any) -> Any:
    """Returns TFDS's builder of a data set, named as in `TFDSSource`; `tfds.builder` gets options.

    Raises:
        ValueError: if there is no such data set, configuration or version, or if it is damaged.
    """
    tfds = import_tfds()
    try:
        if not dataset.startswith(("/", "./", "../", "~")):
            return tfds.builder(dataset, **options)
        folder = Path(os.path.expanduser(dataset))
        if (folder / INFO).is_file():
            return tfds.builder_from_directory(folder)
    except tfds.core.registered.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(dataset.split("/")[0].split(":")[0], known, n=3)
        hint = _did_you_mean(near) or "tfds.list_builders() lists those that there are"
        raise ValueError(f"tfds:{dataset}: TFDS knows no such data set, and none of that name is prepared; {hint}") from None
    except Exception as error:  # TFDS raises nearly anything for a damaged folder
        raise ValueError(f"tfds:{dataset}: {one_line(error)}") from None
    below = sorted(str(path.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{INFO}"))
    hint = _did_you_mean(below) or "name that of a prepared data set"
    raise ValueError(f"tfds:{dataset}: there is no {INFO} in that folder; {hint}")


def is_prepared(builder: Any) -> bool:
    """Returns whether the files of a builder's data set are there."""
    return (builder.data_path / INFO).exists()


def wrong_format(builder: Any) -> str:
    """Returns why the files are no array_record, and what converts them; "" if they are."""
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if "array_record" in formats:
        return ""
    command = f"tfds convert_format --dataset_version_dir={shlex.quote(str(builder.data_path))} --out_file_format=array_record"
    where = "where tensorflow, apache-beam and mlcroissant are installed"  # which the command of TFDS 4.9.10 imports
    return f"it is prepared as {'/'.join(sorted(formats))}, not array_record; run, {where}: {command}"


def _why_not(name: str, dataset: str, split: str, builder: Any, error: Exception) -> ValueError:
    """Returns what to raise when `builder.as_data_source(split)` has failed with `error`."""
    if not is_prepared(builder):
        command = f"python -m dct_jax prepare {dataset}"
        return ValueError(f"{name}: it is not prepared in {builder.data_path}; prepare it with `{command}`")
    if reason := wrong_format(builder):
        return ValueError(f"{name}: {reason}")
    splits = ", ".join(f"{name} ({info.num_examples} records)" for name, info in builder.info.splits.items()) or "none"
    reason = one_line(error).rstrip(".")
    return ValueError(f"{name}: TFDS finds no records of the split {split!r} (data.split): {reason}; the splits are {splits}")


def _did_you_mean(names: list[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""


def one_line(error: Exception) -> str:
    """Returns a message in one line; TFDS's go over many, and some errors have none."""
    return textwrap.shorten(str(error) or repr(error), 600)
