"""Weights whose names in files differ from those in memory, as those of ViT, Swin and DINOv2 do."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from .checkpoint_damage import DamageExplainedMixin, damage_explained


class CheckpointWeightsMixin(DamageExplainedMixin):
    """Loads a checkpoint's weights by the names that `from_pretrained` finds them under.

    The stock trainer looks for the names in memory, leaves those weights as they are, and only warns.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        own = self.model if model is None else model
        with damage_explained(resume_from_checkpoint):
            if _are_renamed(own, Path(resume_from_checkpoint)):
                _load(own, resume_from_checkpoint)
                return
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is not None and _are_renamed(self.model, Path(best)):
            _load(self.model, best)
            return
        super()._load_best_model()


def _are_renamed(model: Any, folder: Path) -> bool:
    """Whether the folder holds weights under names that a model of transformers does not have in memory."""
    if not isinstance(model, PreTrainedModel):
        return False
    index, file = folder / SAFE_WEIGHTS_INDEX_NAME, folder / SAFE_WEIGHTS_NAME
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].keys()
    elif file.is_file():
        with safe_open(file, "pt") as opened:
            names = opened.keys()
    else:
        return False
    return not set(names) <= model.state_dict().keys()


def _load(model: Any, folder: str) -> None:
    loaded, found = type(model).from_pretrained(
        folder, config=model.config, dtype=model.dtype, output_loading_info=True
    )
    if lacking := [*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]:
        raise ValueError(f"it has no weights for {lacking[0]}")
    model.load_state_dict(loaded.state_dict())
