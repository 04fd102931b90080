"""Models of pictures: their classifiers, and BatchNorm."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageClassification

from hf_seqreptile import InputError
from hf_seqreptile.models import image_model
from hf_seqreptile.models.batch_norm import freeze_batch_norm, normalises_by_batch
from hf_seqreptile.models.image_model import load_image_model
from hf_seqreptile.models.loading import ModelArguments
from tests import pictures


@pytest.mark.parametrize("kind", pictures.CONFIGS)
def test_a_classifier_is_put_on_the_encoder(kind: str, tmp_path: Path) -> None:
    args = ModelArguments(model_name_or_path=pictures.write_model(tmp_path, kind))
    model, processor = load_image_model(args, None, ["crow", "gull", "owl"])
    assert model.config.label2id == {"crow": 0, "gull": 1, "owl": 2}
    pixels = processor(pictures.picture(0), return_tensors="pt")
    assert model(**pixels).logits.shape == (1, 3)


def test_a_head_without_parameters_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of transformers' wrapper of timm, whatever it is called."""
    args = ModelArguments(model_name_or_path=pictures.write_model(tmp_path))

    def swallowed(*given: object) -> nn.Module:
        model = AutoModelForImageClassification.from_config(pictures.CONFIGS["resnet"])
        model.resnet.classifier, model.classifier = model.classifier, nn.Identity()
        return model

    monkeypatch.setattr(image_model, "load_weights", swallowed)
    with pytest.raises(
        InputError, match="is of ResNetForImageClassification, whose classifier is a part of the encoder"
    ):
        load_image_model(args, None, ["crow", "gull"])


def test_frozen_batch_norm_is_the_same_while_training(tmp_path: Path) -> None:
    model = AutoModelForImageClassification.from_config(pictures.CONFIGS["resnet"])
    pixels = torch.randn(4, 3, 32, 32)
    assert normalises_by_batch(model)
    assert not torch.allclose(model.train()(pixels).logits, model.eval()(pixels).logits, atol=1e-3)
    freeze_batch_norm(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert not normalises_by_batch(model)
    assert torch.equal(model.train()(pixels).logits, model.eval()(pixels).logits)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    model.train()(pixels).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
