"""All experiments: that they load, their sizes, their batches on mocked data, and a step of each
with a small network (of autoencoders, the sizes alone)."""

import ast
import io
import math
import re
import shlex
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dct_jax.commands.arguments import parse
from dct_jax.commands.train import Train
from dct_jax.config import DataConfig, RunConfig, TrainingConfig
from dct_jax.data.pipeline import training_batches, training_sizes
from dct_jax.data.skipped import Skipped
from dct_jax.data.sources import open_sources
from dct_jax.dct.chunks import Chunk
from dct_jax.dct.config import DCTConfig, ModelConfig
from dct_jax.dct.network import DCTransformer, network
from dct_jax.dct.paper import PAPER_MODEL, PAPER_TRAINING
from dct_jax.dct.reader import ChunkReader
from dct_jax.experiment import FOLDER, experiments, load_experiment
from dct_jax.training import loop
from dct_jax.training.optimizer import learning_rate
from dct_jax.vq.config import VQVAEConfig
from tests.toys import random_image

ONE = jax.local_devices()[:1]

# The grid, its channels, positions and values, the window of the decoders and the encoder's tokens.
SIZES = {
    "clevr": ((40, 60), 192, 2400, 943, 1024, 2400),
    "debug": ((4, 4), 192, 16, 77, 56, 16),
    "diabetic_retinopathy": ((64, 64), 768, 4096, 755, 1024, 1024),
    "fashion": ((7, 7), 16, 49, 189, 80, 49),
    "ffhq": ((64, 64), 768, 4096, 271, 1024, 1024),
    "imagenet": ((48, 48), 192, 2304, 377, 1024, 2304),
    "imagenet_upsampling": ((48, 48), 192, 2304, 377, 1024, 2304),
    "landscapes": ((8, 8), 192, 64, 189, 112, 64),
    "landscapes_qualities": ((8, 8), 192, 64, 943, 112, 64),
    "lsun_bedrooms": ((48, 48), 192, 2304, 377, 1024, 2304),
    "lsun_churches": ((48, 48), 192, 2304, 377, 1024, 2304),
    "lsun_towers": ((48, 48), 192, 2304, 377, 1024, 2304),
    "openimages_colorization": ((48, 48), 192, 2304, 377, 1024, 2304),
    "plant_leaves": ((64, 64), 3072, 4096, 755, 1024, 1024),
    "tiny_imagenet": ((8, 8), 192, 64, 189, 1024, 64),
    "tiny_imagenet_64": ((8, 8), 192, 64, 189, 112, 64),
    "tiny_imagenet_64_classes": ((8, 8), 192, 64, 189, 112, 64),
    "tiny_imagenet_64_luma_first": ((8, 8), 192, 64, 189, 112, 64),
}
NAMES = sorted(SIZES)
AUTOENCODERS = {  # rows and columns of codes, of the finest grain, and how many codes there are
    "dq_dual_imagenet": ((32, 32), 1024),
    "dq_entropy_imagenet": ((32, 32), 1024),
    "dq_fashion": ((14, 14), 512),
    "dq_ffhq": ((32, 32), 1024),
    "dq_landscapes_64": ((16, 16), 512),
    "dq_triple_imagenet": ((32, 32), 1024),
    "vqgan_ffhq1024": ((32, 32), 8192),
    "vqgan_ffhq256": ((16, 16), 1024),
    "vqgan_imagenet256": ((16, 16), 1024),
    "vqgan_landscapes_64": ((16, 16), 512),
    "vqgan_tiny_imagenet_64": ((16, 16), 1024),
    "vqvae_256_channels": ((7, 7), 512),
    "vqvae_fashion": ((7, 7), 512),
    "vqvae_landscapes_64": ((16, 16), 512),
}
PRIORS = {  # rows and columns of codes, and how many codes there are
    "dq_transformer_fashion": ((14, 14), 512),
    "dq_transformer_imagenet": ((32, 32), 1024),
    "dq_transformer_imagenet_classes": ((32, 32), 1024),
    "sundae_celeba256": ((16, 16), 1024),
    "sundae_fashion": ((7, 7), 512),
    "sundae_fashion_pixels": ((28, 28), 256),
    "sundae_ffhq1024": ((32, 32), 8192),
    "sundae_ffhq256": ((16, 16), 1024),
    "sundae_imagenet256": ((16, 16), 1024),
    "sundae_landscapes_64": ((16, 16), 512),
    "sundae_mnist": ((28, 28), 256),
    "window_fashion": ((7, 7), 512),
    "window_ffhq256": ((16, 16), 1024),
    "window_landscapes_64": ((16, 16), 512),
}
ORIGINAL = {  # millions of parameters of the original's networks, in the order of the docstring
    "sundae_celeba256": (199,),
    "sundae_ffhq1024": (671, 747, 823, 214, 214, 235),
    "sundae_ffhq256": (178, 199),
    "sundae_imagenet256": (200, 266, 917, 917),
    "sundae_mnist": (156, 177),
}
PAGE = Path(__file__).parent.parent / "docs" / "experiments.md"
NOT_IN_THE_PAPER = {"debug", "fashion", "landscapes", "landscapes_qualities"} | {
    name for name in NAMES if name.startswith("tiny")
}


def test_these_are_the_experiments() -> None:
    known = sorted([*NAMES, *AUTOENCODERS, *PRIORS])
    assert experiments() == known
    with pytest.raises(ValueError, match=f"there is no experiment 'none'; known are {', '.join(known)}, or the path"):
        load_experiment("none")


def test_an_experiment_of_another_system_is_refused() -> None:
    assert load_experiment("debug", DCTConfig) == load_experiment("debug", RunConfig) == load_experiment("debug")
    with pytest.raises(ValueError, match=r"debug\.py is an experiment of the system DCTransformer; it must be one of VQ-VAE$"):
        load_experiment("debug", VQVAEConfig)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_IN_THE_PAPER))
def test_the_paper_s_network_and_training(name: str) -> None:
    """What an experiment may change of them."""
    config = load_experiment(name)
    model, training = config.model, config.training
    by_data = {"encoder_stride": 1, "max_chunks": 1, "num_classes": 0}
    assert replace(model, **by_data) == replace(PAPER_MODEL, **by_data)
    by_size = {"steps": 10**6, "batch_size": 512, "accumulate": 16}
    assert replace(training, **by_size) == replace(PAPER_TRAINING, **by_size)
    elements = training.steps * training.batch_size * model.chunk_size
    assert not name.startswith("lsun") or elements == pytest.approx(300e9, rel=0.01)
    assert training.batch_size // (8 * training.accumulate) == 4  # chunks at once on each of 8 devices, as the docstrings say
    assert config.data.fit == "whole"


def mostly_slow(names: Iterable[str]) -> list[Any]:
    """Marks names as slow, but for those of small networks: all are made by the same functions."""
    return [name if name.endswith(("fashion", "landscapes")) else pytest.param(name, marks=pytest.mark.slow) for name in names]


def docstring(name: str) -> str:
    """That of an experiment, as one line."""
    return " ".join(str(ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))).split())


def with_flags(name: str, flags: str) -> Train:
    """What `train NAME FLAGS` would do."""
    return parse(Train, shlex.split(flags), f"train {name}", Train(load_experiment(name), "runs"))


@cache
def shapes(model: DCTransformer, batch: tuple[tuple[tuple[int, ...], np.dtype], ...]) -> tuple[list[tuple[int, ...]], int]:
    """Those of the logits, and the number of parameters; several experiments have the same."""
    arrays = Chunk(*(jax.ShapeDtypeStruct(*array) for array in batch))
    logits, params = jax.eval_shape(model.init_with_output, jax.random.key(0), arrays)
    return [x.shape for x in logits], sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("name", mostly_slow(NAMES))
def test_sizes_are_as_documented(name: str) -> None:
    config = load_experiment(name)
    model = network(config)
    v, grid, window = model.vocabulary, model.vocabulary.grid, config.model.window
    tokens = math.prod(-(-side // config.model.encoder_stride) for side in grid)
    assert (grid, v.num_channels, v.num_positions, v.num_values, window, tokens) == SIZES[name]

    batch = ChunkReader(config).example()
    assert batch.dct_image.shape == (1, v.num_channels, *grid)
    logits, parameters = shapes(model, tuple((x.shape, x.dtype) for x in batch))
    assert logits == [(1, window, v.num_channels + 1), (1, window, v.num_positions), (1, window, v.num_values)]
    (said,) = re.findall(r"([\d.]+) M parameters", docstring(name))
    assert float(said) == pytest.approx(parameters / 1e6, rel=0.01)


@pytest.mark.parametrize("name", mostly_slow(AUTOENCODERS))
def test_sizes_of_autoencoders_are_as_documented(name: str) -> None:
    config = load_experiment(name)
    network, picture = config.network(), jax.ShapeDtypeStruct((1, *config.data.image_size, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), picture)
    codes = jax.eval_shape(partial(network.apply, method="to_codes"), shapes, picture)
    assert (codes.shape[1:], config.quantizer.num_codes) == AUTOENCODERS[name]
    said, *_ = re.findall(r"([\d.]+) M parameters", docstring(name))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    assert float(said) == pytest.approx(parameters / 1e6, rel=0.01)


@pytest.mark.parametrize("name", mostly_slow(PRIORS))
def test_sizes_of_priors_are_as_documented(name: str) -> None:
    """Those of each network that the docstring has, by its flags; the original's has 2 D H K + 2 D
    parameters more, which learn nothing (see `sundae.layers.Spread`)."""
    text = docstring(name)
    flags = ["", *re.findall(r"`([^`]*)`: [\d.]+ M parameters", text)]
    counts, originals = [], []
    for config in (with_flags(name, one).config for one in flags):
        assert (config.grid, config.num_codes) == PRIORS[name]
        codes = jax.ShapeDtypeStruct((1, *config.grid), np.int32), jax.ShapeDtypeStruct((1,), np.int32)
        params = jax.eval_shape(config.build().network.init, jax.random.key(0), *codes)
        counts.append(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) / 1e6)
        if name in ORIGINAL:
            m = config.model
            originals.append(counts[-1] + 2 * m.width * (m.heads * m.head_size + 1) / 1e6)
    assert [float(said) for said in re.findall(r"([\d.]+) M parameters", text)] == pytest.approx(counts, rel=0.01)
    assert originals == pytest.approx(ORIGINAL.get(name, ()), abs=0.55)


@pytest.mark.parametrize("name", [*AUTOENCODERS, *PRIORS])
def test_the_page_has_the_sizes_of_the_docstring(name: str) -> None:
    """In the row of an experiment, and in the rows after it of what its flags make."""
    (rows,) = re.findall(rf"^\| `{name}` \|.*\n(?:\| by flags.*\n)*", PAGE.read_text(), re.M)
    number = 1 if name in AUTOENCODERS else None  # not of discriminators
    assert re.findall(r"([\d.]+) M \|", rows) == re.findall(r"([\d.]+) M parameters", docstring(name))[:number]


@pytest.mark.parametrize("name", PRIORS)
def test_autoencoders_of_priors(name: str) -> None:
    """A prior sees the pictures of its autoencoder, whose run has the name of its experiment."""
    config = load_experiment(name)
    assert (config.autoencoder is None) == (not config.codes.run) == (name in ("sundae_fashion_pixels", "sundae_mnist"))
    if config.autoencoder is None:
        return
    assert config.data == config.autoencoder.data
    if name == "sundae_celeba256":  # has none of its own: a command makes that run
        (flags,) = re.findall(r"launch.py vqgan_ffhq256 ([^`]*)`", docstring(name))
        launched = with_flags("vqgan_ffhq256", flags)
        assert (launched.config, launched.run_dir) == (config.autoencoder, config.codes.run)
    else:
        assert config.autoencoder == load_experiment(config.codes.run.removeprefix("runs/"))


@pytest.mark.parametrize("name", sorted({*ORIGINAL, "window_ffhq256"}))
def test_the_training_of_original_priors(name: str) -> None:
    training = load_experiment(name).training
    betas = (0.9, 0.95) if name.startswith("window") else (0.9, 0.999)
    assert (training.optimizer, training.betas, training.weight_decay) == ("adam", betas, 0.01)
    assert (training.schedule, training.warmup_steps, training.accumulate) == ("constant", 0, 1)
    assert float(learning_rate(training)(0)) == pytest.approx(training.learning_rate)
    assert training.clip_norm >= 1e9 and load_experiment(name).model.dropout == 0


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pictures(data: DataConfig, folder: Path, classes: int) -> str:
    """A small source in the place of a folder or a tar file, and the bundled files in the place of
    others of MNIST's format; other sources stay."""
    kind = data.source.partition(":")[0]
    if kind == "idx":
        return "fashion"
    rng = np.random.default_rng(0)
    if kind == "folder":
        for i in range(4):
            (folder / f"{i}.png").write_bytes(png(random_image(rng, 40, 40)))
        return f"folder:{folder}"
    if kind == "tar":
        file = png(random_image(rng, *data.image_size))
        with tarfile.open(folder / "a.tar", "w") as tar:
            for split in (data.split, data.held_out_split):
                for label in range(max(classes, 1)):
                    member = tarfile.TarInfo(f"{split}/{label}/0.png")
                    member.size = len(file)
                    tar.addfile(member, io.BytesIO(file))
        return f"tar:{folder / 'a.tar'}"
    return data.source


def small_data(data: DataConfig, folder: Path, classes: int) -> DataConfig:
    """Little data: mocked pictures have 5 to 49 pixels a side."""
    small = {"enlarge": 1000.0, "held_out_every": 2, "held_out_crops": 1, "threads": 1}
    return replace(data, source=pictures(data, folder, classes), **small)


def on_small_data(config: DCTConfig, folder: Path) -> DCTConfig:
    """The same experiment with little data."""
    return replace(
        config,
        data=small_data(config.data, folder, config.model.num_classes),
        training=replace(config.training, batch_size=2, accumulate=1),
    )


@pytest.mark.parametrize("name", NAMES)
def test_batches(name: str, tmp_path: Path) -> None:
    """A batch of each, with the experiment's own codec, canvas and chunks."""
    config = on_small_data(load_experiment(name), tmp_path)
    with tfds.testing.mock_data(num_examples=4):
        training, held_out = open_sources(config.data)
        assert not config.model.num_classes or len(training.classes) == len(held_out.classes) == config.model.num_classes
        skipped = Skipped(len(training), 0.0)
        batch = next(training_batches(training, config, skipped))
        sizes = training_sizes(training, config.data)
    shapes_of = [x.shape[1:] for x in batch]
    assert shapes_of == [x.shape[1:] for x in ChunkReader(config).example()]
    assert batch.is_target.any(axis=1).all()
    assert (batch.grid >= 1).all() and (batch.grid <= SIZES[name][0]).all()
    assert (batch.grid.max(axis=1) == max(SIZES[name][0])).all() or name == "clevr"  # whose canvas is no square
    assert (len(skipped), sum(count for *_, count in sizes) > 0) == (0, True)


def shrunk(config: DCTConfig) -> DCTConfig:
    """The same experiment on 4 x 4 blocks of 4 x 4 pixels, in colour, with the smallest network.
    Experiments of one kind become equal but for their data, so that a kind is compiled once."""
    smallest = ModelConfig(width=16, heads=2, encoder=(0,), channel_decoder=(0,), position_decoder=(0,), value_decoder=(1,))
    has_classes = config.model.num_classes and config.codec.channel_order == "banded"
    kept = {"encoder_stride": config.model.encoder_stride, "num_classes": 1000 if has_classes else 0}
    kept["qualities"] = config.model.qualities
    return replace(
        config,
        codec=replace(config.codec, block_size=4, quality=50, chroma_subsampling="4:2:0"),
        data=replace(config.data, image_size=(16, 16)),
        model=replace(smallest, chunk_size=24, overlap=8, max_chunks=4, **kept),
        training=TrainingConfig(batch_size=2, warmup_steps=0, evaluate_every=1000, checkpoint_every=1000),
    )


KINDS = (
    (
        *("clevr", "debug", "imagenet_upsampling", "landscapes", "lsun_bedrooms", "lsun_churches", "lsun_towers"),
        "tiny_imagenet_64",
    ),
    ("diabetic_retinopathy", "ffhq", "plant_leaves"),  # encoder_stride 2
    ("imagenet", "fashion", "tiny_imagenet", "tiny_imagenet_64_classes"),  # classes
    ("openimages_colorization", "tiny_imagenet_64_luma_first"),  # luma_first
    ("landscapes_qualities",),  # qualities
)


def test_every_experiment_is_of_one_kind() -> None:
    assert sorted(name for kind in KINDS for name in kind) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_step_of_each(kind: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run for each kind, each of whose steps has a batch of another experiment."""
    configs = []
    for name in kind:
        (tmp_path / name).mkdir()
        configs.append(on_small_data(shrunk(load_experiment(name)), tmp_path / name))
    assert len({(replace(config, data=DataConfig())) for config in configs}) == 1

    def batches(*_: object) -> Iterator[Chunk]:
        for config in configs:
            training, _ = open_sources(config.data)
            yield next(training_batches(training, config, Skipped(len(training), 0.0)))

    monkeypatch.setattr(loop, "training_batches", batches)
    run = replace(configs[0], training=replace(configs[0].training, steps=len(kind)))
    with tfds.testing.mock_data(num_examples=4):
        outcome = loop.train(run, tmp_path / "run", ONE)
    assert (outcome.step, outcome.signal, outcome.skipped) == (len(kind), None, [])  # it raises if a loss is not finite
    assert all(math.isfinite(x) for x in outcome.evaluation.values())
