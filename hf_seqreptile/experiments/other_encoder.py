"""The scores of a finished run's models with another encoder under their heads."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import CONFIG_NAME

from ..analysis.encoders import Encoder, load_encoder
from ..analysis.runs import read_run
from ..analysis.saved_json import read_object
from ..models.multi_head_folder import ENCODER, heads_in
from ..scores import SCORES_FILE, SCORES_JSON, SPLITS
from .commands import run_script
from .run_node import COMMAND_FILE

WeightsOf = Callable[[Encoder], Mapping[str, torch.Tensor]]
"""What the encoder of a finished run is to be replaced by; what it leaves out stays."""


def write_on(run: Path, folder: Path, weights_of: WeightsOf) -> None:
    """Copy a finished run's models with other encoders; heads stay.

    Args:
        run: the run's folder.
        folder: of the copy.
        weights_of: gives the encoder.
    """
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoint-*", "runs", "clusters"))
    heads = heads_in(folder)
    for part in [folder / name for name in (*heads, ENCODER)] if heads else [folder]:
        end = load_encoder(str(part))
        config = read_object(part / CONFIG_NAME)
        model = getattr(transformers, config["architectures"][0]).from_pretrained(part, dtype=torch.float32)
        encoder = dict(model.base_model.named_parameters())
        with torch.no_grad():
            for name, value in weights_of(end).items():
                # Not every model has a pooler.
                if name in encoder:
                    encoder[name].copy_(value)
        model.save_pretrained(part)


def scores_on(run: Path, folder: Path, weights_of: WeightsOf, *others: str) -> dict[str, Any]:
    """The scores of a finished run's models with other encoders, by split and task.

    Args:
        run: the run's folder, with the command that it came from.
        folder: of the copy, which is removed afterwards.
        weights_of: gives the encoder.
        others: further arguments of the command.
    """
    _, *argv = shlex.split((run / COMMAND_FILE).read_text(encoding="utf-8"))
    # What a killed process left.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_on(run, folder, weights_of)
        for stale in (SCORES_JSON, SCORES_FILE):
            (folder / stale).unlink(missing_ok=True)
        own = ["--do_train", "False", "--eval_strategy", "no", "--model_name_or_path", str(folder)]
        run_script([*argv, *own, *others, "--trim_vocabulary", "False", "--output_dir", str(folder)])
        return own_scores(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def own_scores(folder: Path) -> dict[str, Any]:
    """A run's scores by split and task."""
    run = read_run(folder)
    return {split: dict(run.scores[split][run.method]) for split in SPLITS if run.method in run.scores.get(split, {})}
