"""The pretrained model of pictures and its image processor."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel

from ..errors import InputError
from .loading import MODEL, ModelArguments, check_model_arguments, from_pretrained, load_config, load_weights

_TIMM = "timm_wrapper"


def load_image_model(
    args: ModelArguments, processor_name: str | None, labels: Sequence[str], will_train: bool = True
) -> tuple[PreTrainedModel, Any]:
    """The model with a classifier for `labels`, in float32, and its image processor.

    What labels the model has already, and their rows, stay as [`load_with_labels`] says.

    Args:
        args: which model.
        processor_name: the image processor, if it lies elsewhere.
        labels: names of the classes.
        will_train: whether the classifier can still learn other labels.

    Raises:
        InputError: no such model, or one whose classifier is a part of its encoder.
    """
    path = check_model_arguments(args)
    config, hub = load_config(args, path)
    if config.model_type == _TIMM:
        raise _inseparable(path, "transformers' wrapper of timm")
    argument, place = ("image_processor_name", processor_name) if processor_name else (MODEL, path)
    processor = from_pretrained(argument, AutoImageProcessor, place, **hub)
    model = load_weights(AutoModelForImageClassification, args, path, config, labels, hub, will_train)
    encoder = {id(p) for p in model.base_model.parameters()}
    if all(id(p) in encoder for p in model.parameters()):
        raise _inseparable(path, type(model).__name__)
    return model, processor


def _inseparable(path: str, kind: str) -> InputError:
    return InputError(
        f"--{MODEL} {path} is of {kind}, whose classifier is a part of the encoder, so that tasks cannot have one "
        f"each. Choose one whose classifier is apart, such as ResNet, ViT, ConvNeXt, Swin or DINOv2 of transformers."
    )
