"""The pretrained model of pictures and its image processor."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel

from ..errors import InputError
from .loading import MODEL, ModelArguments, check_model_arguments, from_pretrained, load_config, load_weights
from .run_encoder import encoder_folder, without_head

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
    if _model_type(args.config_name or encoder_folder(path), args) == _TIMM:
        raise _inseparable(path, "transformers' wrapper of timm")
    with without_head(path, args.trust_remote_code) as folder:
        config, hub = load_config(args, folder, will_train)
        argument, place = ("image_processor_name", processor_name) if processor_name else (MODEL, folder)
        processor = from_pretrained(argument, AutoImageProcessor, place, **hub)
        model = load_weights(AutoModelForImageClassification, args, folder, config, labels, hub, will_train)
    encoder = {id(p) for p in model.base_model.parameters()}
    if all(id(p) in encoder for p in model.parameters()):
        raise _inseparable(path, type(model).__name__)
    return model, processor


def _model_type(path: str, args: ModelArguments) -> str | None:
    """As the configuration's file tells it: timm's own is made only where timm is installed."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(
            path, cache_dir=args.cache_dir, revision=args.model_revision, token=args.token
        )
    except (OSError, ValueError):
        # Loading it will say what is wrong with the path.
        return None
    return config.get("model_type")


def _inseparable(path: str, kind: str) -> InputError:
    return InputError(
        f"--{MODEL} {path} is of {kind}, whose classifier is a part of the encoder, so that tasks cannot have one "
        f"each. Choose one whose classifier is apart, such as ResNet, ViT, ConvNeXt, Swin or DINOv2 of transformers."
    )
