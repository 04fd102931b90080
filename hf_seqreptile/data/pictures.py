"""One picture, as a file or as bytes: opened, checked and decoded as transformers' pipeline does it."""

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Elsewhere imported when it is needed: scripts of texts start without it.
    from PIL import Image

Encoded = Mapping[str, Any]
"""A picture as `datasets` has it before it is decoded: `bytes`, or where these are `None` the `path` of its file."""
MOST_PIXELS = 2**28 // 3
"""Of a picture: a quarter of a gigabyte in RGB. Pillow warns of more."""
_CUT_OFF = ("I", "F")
"""What modes begin with whose values conversion to RGB would cut off at 255."""


def open_picture(picture: Encoded) -> "Image.Image":
    """The picture, of which no more than the header has been read.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: no picture, or one of too many pixels.
    """
    from PIL import Image

    opened = Image.open(picture["path"] if picture["bytes"] is None else BytesIO(picture["bytes"]))
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} × {height} pixels are more than {MOST_PIXELS:,}; scale it down")
    return opened


def decode(picture: Encoded) -> "Image.Image":
    """The picture turned as its camera was held, in RGB. Errors are those of [`open_picture`]."""
    from PIL import ImageOps

    with open_picture(picture) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def fault(picture: Encoded | None) -> str:
    """Why a picture cannot be used; empty if it can. All of it is read, JPEG at an eighth of its size."""
    if picture is None:
        return "it is missing (null)"
    try:
        with open_picture(picture) as opened:
            if opened.mode.startswith(_CUT_OFF):
                return f"its mode is {opened.mode}, more than 8 bits a channel; convert it to 8"
            opened.draft("RGB", (1, 1))
            opened.load()
    except Exception as error:
        # Pillow's readers raise what they meet: OSError, SyntaxError, struct.error, zlib.error, ….
        return _without_object(str(error)) or type(error).__name__
    return ""


def _without_object(message: str) -> str:
    """Pillow's message without the buffer or path that it names, which the caller does."""
    return "it is no picture of a format that Pillow knows" if message.startswith("cannot identify") else message
