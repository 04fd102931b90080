"""Pictures as inputs: random crops, and what a pipeline sees."""

import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hf_seqreptile import InputError
from hf_seqreptile.problems.image_features import Pictures, _random_crop, output_size
from tests import pictures

IDS = {0: 1, 1: 0, -1: -100}


def encoded(picture: Image.Image, suffix: str = "png") -> dict:
    file = BytesIO()
    picture.save(file, suffix)
    return {"path": None, "bytes": file.getvalue()}


def test_crops_have_any_area_and_form_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 to 100 % of the picture, from 3:4 to 4:3, anywhere."""
    boxes = []
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, resample, box: boxes.append(box) or self)
    random.seed(0)
    picture = Image.new("RGB", (300, 200))
    for _ in range(400):
        _random_crop(picture, (32, 32))
    left, top, right, bottom = np.array(boxes).T
    width, height = right - left, bottom - top
    areas, ratios = width * height / 60_000, width / height
    assert (left >= 0).all() and (top >= 0).all() and (right <= 300).all() and (bottom <= 200).all()
    assert areas.min() == pytest.approx(0.08, abs=0.02) and 0.8 < areas.max() <= 1
    assert ratios.min() >= 0.72 and ratios.max() <= 1.36 and ratios.std() > 0.1
    assert left.min() < 10 and right.max() > 290


def test_a_very_long_picture_is_cropped_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, resample, box: boxes.append(box) or self)
    _random_crop(Image.new("RGB", (2000, 10)), (32, 32))
    assert boxes == [(993, 0, 1006, 10)]


@pytest.mark.parametrize("kind", pictures.CONFIGS)
def test_what_is_evaluated_is_what_the_pipeline_sees(kind: str) -> None:
    """Grey, transparent, turned: as transformers' own loading has them."""
    processor = pictures.processor(kind)
    assert output_size(processor) == (32, 32)
    turned = pictures.picture(0)
    turned.getexif()[0x0112] = 6
    file = BytesIO()
    turned.save(file, "jpeg", exif=turned.getexif())
    given = [encoded(pictures.picture(1)), {"path": None, "bytes": file.getvalue()}]
    given += [encoded(pictures.picture(2).convert(mode)) for mode in ("L", "RGBA", "P")]
    ours = Pictures(processor, IDS)({"image": given, "label": [0, 1, 0, 1, -1]})
    assert ours["labels"] == [1, 0, 1, 0, -100]
    from transformers.image_utils import load_image

    from hf_seqreptile.data.pictures import decode

    theirs = [processor(load_image(Image.open(BytesIO(one["bytes"]))), return_tensors="np") for one in given]
    for pixels, wanted, one in zip(ours["pixel_values"], theirs, given, strict=True):
        assert np.array_equal(pixels, wanted["pixel_values"][0])
        assert decode(one).mode == "RGB"


@pytest.mark.parametrize("kind", pictures.CONFIGS)
def test_crops_are_as_large_as_what_is_evaluated(kind: str) -> None:
    processor = pictures.processor(kind)
    given = {"image": [encoded(pictures.picture(0)), encoded(pictures.picture(1, size=(90, 20)))], "label": [0, 1]}
    random.seed(0)
    made = Pictures(processor, IDS, (32, 32))(given)
    assert [pixels.shape for pixels in made["pixel_values"]] == [(3, 32, 32)] * 2
    again = Pictures(processor, IDS, (32, 32))(given)
    assert not np.array_equal(made["pixel_values"][0], again["pixel_values"][0])


def test_a_processor_whose_pictures_make_no_batch_is_refused() -> None:
    class Free:
        def __call__(self, picture, return_tensors):
            return {"pixel_values": np.zeros((1, 3, picture.height, picture.width))}

    with pytest.raises(InputError, match="480 × 640 and of 640 × 480 pixels"):
        output_size(Free())
