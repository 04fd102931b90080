"""Pictures as a model's inputs: at random crops for training, as the pipeline will see them otherwise."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.image_folder import IMAGE, LABEL
from ..data.pictures import decode
from ..errors import InputError

if TYPE_CHECKING:
    # Elsewhere imported when it is needed: scripts of texts start without it.
    from PIL import Image

PIXELS, LABEL_IDS = "pixel_values", "labels"
"""What a batch holds, as models call it."""
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of a random crop: its share of the picture, its width by its height, and how often one is drawn that must fit."""


def output_size(processor: Any) -> tuple[int, int]:
    """Height and width of the pictures that an image processor gives.

    Raises:
        InputError: they differ with the pictures that it is given, so that they make no batches.
    """
    from PIL import Image

    wide, high = (
        np.shape(processor(Image.new("RGB", size), return_tensors="np")[PIXELS])[-2:]
        for size in ((640, 480), (480, 640))
    )
    if wide != high:
        raise InputError(
            f"{type(processor).__name__} gives pictures of {wide[0]} × {wide[1]} and of {high[0]} × {high[1]} pixels, "
            f"which make no batch. Set do_center_crop and crop_size, or a fixed size, in preprocessor_config.json."
        )
    return int(wide[0]), int(wide[1])


class Pictures:
    """Turns rows with encoded pictures into `pixel_values` and, where they have classes, `labels`.

    It decodes the pictures when they are asked for, as in the loader's workers.

    Args:
        processor: of the model.
        ids: of the values in the column of classes.
        size: height and width of random crops that are flipped at random, as in Hugging Face's script; `None` for what
            the processor does by itself, as in a pipeline. What is random follows from the numbers of `random`.
    """

    def __init__(self, processor: Any, ids: Mapping[Any, int], size: tuple[int, int] | None = None) -> None:
        self.processor = processor
        self.ids = ids
        self.size = size

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The features of rows, by column."""
        pictures = [decode(picture) for picture in rows[IMAGE]]
        settings: dict[str, Any] = {}
        if self.size is not None:
            pictures = [_random_flip(_random_crop(picture, self.size)) for picture in pictures]
            settings = {"do_resize": False}
            if hasattr(self.processor, "do_center_crop"):
                settings["do_center_crop"] = False
        pixels = self.processor(pictures, return_tensors="np", **settings)[PIXELS]
        labels = {LABEL_IDS: [self.ids[value] for value in rows[LABEL]]} if LABEL in rows else {}
        return {PIXELS: list(pixels)} | labels


def _random_crop(picture: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """A part of the picture of random area and form, scaled to `size`, as torchvision's RandomResizedCrop."""
    from PIL import Image

    width, height = picture.size
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_AREA)
        ratio = math.exp(random.uniform(*map(math.log, _RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            break
    else:
        ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
        w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    return picture.resize(size[::-1], Image.Resampling.BILINEAR, box=box)


def _random_flip(picture: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    return ImageOps.mirror(picture) if random.random() < 0.5 else picture
