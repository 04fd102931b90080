"""The bundled sample of pictures: shapes, colours and digits, drawn when they are asked for, always the same."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image

from .image_folder import IMAGE, LABEL

SIZE = 32
"""Pixels of a side."""
EXAMPLES = {"train": 120, "validation": 40, "test": 40}
COLOURS = {"blue": (40, 70, 220), "green": (40, 170, 60), "red": (220, 50, 40), "yellow": (235, 210, 50)}
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: x**2 + y**2 < 1,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.35) & (np.maximum(abs(x), abs(y)) < 1),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.85,
    "triangle": lambda x, y: (y < 0.8) & (y > 1.8 * abs(x) - 1),
}
"""What is inside of each, in a frame from −1 to 1."""
DIGITS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
}
"""A font: 7 rows of 5 points each."""
CLASSES = {"shapes": list(SHAPES), "colours": list(COLOURS), "digits": list(DIGITS)}
"""Of each task."""


def draw_sample(task: str, split: str) -> Dataset:
    """A task's pictures of a split: columns `image` (PNG) and `label`, each class in its turn."""
    names = CLASSES[task]
    random = np.random.default_rng([[*CLASSES].index(task), [*EXAMPLES].index(split)])
    labels = [number % len(names) for number in range(EXAMPLES[split])]
    pictures = [{"path": None, "bytes": _png(_picture(task, names[label], random))} for label in labels]
    features = Features({IMAGE: Image(decode=False), LABEL: ClassLabel(names=names)})
    return Dataset.from_dict({IMAGE: pictures, LABEL: labels}, features=features)


def _picture(task: str, name: str, random: np.random.Generator) -> np.ndarray:
    """Pixels of one picture, shape (SIZE, SIZE, 3): a figure in one colour on a grey ground, with noise."""
    shapes, colours = list(SHAPES), list(COLOURS)
    shape = name if task == "shapes" else shapes[random.integers(len(shapes))]
    colour = name if task == "colours" else colours[random.integers(len(colours))]
    height = random.uniform(11, 14)
    left, top = random.uniform(height, SIZE - height, 2)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    x, y = (x - left) / height, (y - top) / height
    inside = _digit(name, x, y) if task == "digits" else SHAPES[shape](x, y)
    ground = np.full((SIZE, SIZE, 3), random.uniform(60, 200))
    pixels = np.where(inside[..., None], np.array(COLOURS[colour], float), ground)
    return np.clip(pixels + random.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


def _digit(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether the points are on the digit, whose 5 × 7 points fill the height of the frame."""
    points = np.array([[point == "1" for point in row] for row in DIGITS[name].split()])
    rows, columns = np.floor((y + 1) * 3.5).astype(int), np.floor((x * 7 / 5 + 1) * 2.5).astype(int)
    inside = (rows >= 0) & (rows < 7) & (columns >= 0) & (columns < 5)
    return inside & points[rows.clip(0, 6), columns.clip(0, 4)]


def _png(pixels: np.ndarray) -> bytes:
    # Imported when it is needed: scripts of texts start without it.
    from PIL import Image as Pictures

    file = BytesIO()
    Pictures.fromarray(pixels).save(file, "png")
    return file.getvalue()
