"""A checkpoint of Taming Transformers with random weights, and its autoencoder in NumPy."""

from typing import Any

import numpy as np

from tests.torch_writer import described, number, state_dict, text, torch_file

CONFIG: dict[str, Any] = {
    "model": {
        "target": "taming.models.vqgan.VQModel",
        "params": {
            "embed_dim": 5,
            "n_embed": 12,
            "ddconfig": {
                "double_z": False,
                "z_channels": 6,
                "resolution": 16,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 32,
                "ch_mult": [1, 2, 2],
                "num_res_blocks": 1,
                "attn_resolutions": [8],
                "dropout": 0.0,
            },
        },
    }
}
WIDTHS = (32, 64, 64)  # of the levels, of which the second has attention


def make_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the names, and in the shapes, of CONFIG's checkpoint."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def conv(name: str, before: int, after: int, side: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, (before * side**2) ** -0.5, (after, before, side, side))
        weights[f"{name}.bias"] = rng.normal(0, 0.2, after)

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = rng.normal(1, 0.3, width), rng.normal(0, 0.3, width)

    def block(name: str, before: int, after: int) -> None:
        norm(f"{name}.norm1", before)
        conv(f"{name}.conv1", before, after, 3)
        norm(f"{name}.norm2", after)
        conv(f"{name}.conv2", after, after, 3)
        if before != after:
            conv(f"{name}.nin_shortcut", before, after, 1)

    def attention(name: str, width: int) -> None:
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    def middle(name: str) -> None:
        block(f"{name}.block_1", 64, 64)
        attention(f"{name}.attn_1", 64)
        block(f"{name}.block_2", 64, 64)

    conv("encoder.conv_in", 3, 32, 3)
    for level, (before, after) in enumerate(((32, 32), (32, 64), (64, 64))):
        block(f"encoder.down.{level}.block.0", before, after)
        if level == 1:
            attention("encoder.down.1.attn.0", 64)
        if level < 2:
            conv(f"encoder.down.{level}.downsample.conv", after, after, 3)
    middle("encoder.mid")
    norm("encoder.norm_out", 64)
    conv("encoder.conv_out", 64, 6, 3)
    conv("quant_conv", 6, 5, 1)
    weights["quantize.embedding.weight"] = rng.normal(0, 0.7, (12, 5))
    conv("post_quant_conv", 5, 6, 1)
    conv("decoder.conv_in", 6, 64, 3)
    middle("decoder.mid")
    for level, before, after in ((2, 64, 64), (1, 64, 64), (0, 64, 32)):
        for i, width in enumerate((before, after)):
            block(f"decoder.up.{level}.block.{i}", width, after)
            if level == 1:
                attention(f"decoder.up.1.attn.{i}", after)
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", after, after, 3)
    norm("decoder.norm_out", 32)
    conv("decoder.conv_out", 32, 3, 3)
    return {name: array.astype(np.float32) for name, array in weights.items()}


class Reference:
    """The autoencoder of a checkpoint in NumPy, [C, h, w], float64, by the names of its weights."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def conv(self, name: str, x: np.ndarray, padding: tuple[int, int], stride: int = 1) -> np.ndarray:
        kernel = self.weights[f"{name}.weight"].astype(np.float64)
        padded = np.pad(x, ((0, 0), padding, padding))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
        return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + self.weights[f"{name}.bias"][:, None, None]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        groups = x.reshape(32, -1)
        normed = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-6)
        scale, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return normed.reshape(x.shape) * scale[:, None, None] + bias[:, None, None]

    def swish_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        normed = self.norm(name, x)
        return normed / (1 + np.exp(-normed))

    def block(self, name: str, x: np.ndarray) -> np.ndarray:
        hidden = self.conv(f"{name}.conv1", self.swish_norm(f"{name}.norm1", x), (1, 1))
        hidden = self.conv(f"{name}.conv2", self.swish_norm(f"{name}.norm2", hidden), (1, 1))
        has_shortcut = f"{name}.nin_shortcut.weight" in self.weights
        return hidden + (self.conv(f"{name}.nin_shortcut", x, (0, 0)) if has_shortcut else x)

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        normed = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", normed, (0, 0)).reshape(len(x), -1) for part in "qkv")
        weights = np.exp(q.T @ k / np.sqrt(len(x)))  # [queries, keys]
        found = v @ (weights / weights.sum(1, keepdims=True)).T
        return x + self.conv(f"{name}.proj_out", found.reshape(x.shape), (0, 0))

    def level(self, name: str, blocks: int, x: np.ndarray) -> np.ndarray:
        for i in range(blocks):
            x = self.block(f"{name}.block.{i}", x)
            if f"{name}.attn.{i}.q.weight" in self.weights:
                x = self.attention(f"{name}.attn.{i}", x)
        return x

    def middle(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.block(f"{name}.block_2", self.attention(f"{name}.attn_1", self.block(f"{name}.block_1", x)))

    def encode(self, x: np.ndarray) -> np.ndarray:
        x = self.conv("encoder.conv_in", x, (1, 1))
        for i in range(3):
            x = self.level(f"encoder.down.{i}", 1, x)
            x = self.conv(f"encoder.down.{i}.downsample.conv", x, (0, 1), 2) if i < 2 else x
        x = self.swish_norm("encoder.norm_out", self.middle("encoder.mid", x))
        return self.conv("quant_conv", self.conv("encoder.conv_out", x, (1, 1)), (0, 0))

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", vectors, (0, 0)), (1, 1))
        x = self.middle("decoder.mid", x)
        for i in (2, 1, 0):
            x = self.level(f"decoder.up.{i}", 2, x)
            x = self.conv(f"decoder.up.{i}.upsample.conv", x.repeat(2, 1).repeat(2, 2), (1, 1)) if i else x
        return self.conv("decoder.conv_out", self.swish_norm("decoder.norm_out", x), (1, 1))


def checkpoint(weights: dict[str, np.ndarray], old: bool = False) -> bytes:
    """A file as Lightning's: the weights are one of its items."""
    pickled = b"\x80\x02}(" + text("epoch") + number(3) + text("state_dict") + state_dict(described(weights, old))[2:-1] + b"u."
    return torch_file(weights, old, pickled)


def combined(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a transformer with its first stage, and those that only training needs."""
    others = ("loss.discriminator.main.0.weight", "model_ema.encoderconv_inweight", "model_ema.decay")
    found = {f"first_stage_model.{name}": array for name, array in weights.items()}
    found |= {f"first_stage_model.{name}": np.zeros(2, "<f4") for name in others}
    return found | {"transformer.tok_emb.weight": np.zeros((3, 4), "<f4"), "cond_stage_model.dummy": np.zeros(1, "<f4")}
