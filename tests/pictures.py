"""Pictures and models of pictures small enough for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoModel,
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    Dinov2Config,
    PreTrainedConfig,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    ViTImageProcessor,
)

SIDE = 32
"""Pixels of what the models take."""
OF_VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE}
CONFIGS: dict[str, PreTrainedConfig] = {
    "resnet": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", downsample_in_first_stage=False
    ),
    "vit": ViTConfig(**OF_VIT, patch_size=8, intermediate_size=32),
    "convnext": ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    "swin": SwinConfig(image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4),
    "dinov2": Dinov2Config(**OF_VIT, patch_size=8, mlp_ratio=2),
}
"""Of each kind of model."""


def write_model(folder: Path, kind: str = "resnet") -> str:
    """Save a model of pictures of 32 × 32 pixels without a head, and its image processor; the folder."""
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(folder)
    processor(kind).save_pretrained(folder)
    return str(folder)


def processor(kind: str = "resnet") -> Any:
    """The image processor that such models have."""
    if kind in ("resnet", "convnext"):
        return ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=0.875)
    if kind == "dinov2":
        return BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": SIDE, "width": SIDE})
    return ViTImageProcessor(size={"height": SIDE, "width": SIDE})


def picture(colour: int, seed: int = 0, size: tuple[int, int] = (40, 36)) -> Image.Image:
    """A noisy picture in which one of the three colours is strong."""
    pixels = np.random.default_rng([seed, colour]).integers(0, 90, (size[1], size[0], 3))
    pixels[..., colour % 3] += 150
    return Image.fromarray(pixels.astype(np.uint8))


def write_pictures(folder: Path, classes: dict[str, int], suffix: str = "png", first: int = 0) -> str:
    """Write a folder with one folder a class, with so many pictures each; its path."""
    for colour, (name, number) in enumerate(sorted(classes.items())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + number):
            picture(colour, i).save(folder / name / f"{i}.{suffix}")
    return str(folder)
