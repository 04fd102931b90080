"""Which checkpoint a run may continue from."""

import json
import logging
import re
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .errors import InputError

logger = logging.getLogger(__name__)

MULTITASK_STATE_FILE = "multitask_state.json"


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest complete checkpoint in `output_dir`; incomplete ones are skipped with a warning.

    The trainer's state is the last file of a checkpoint to be written, so a checkpoint is complete where that
    file is.
    """
    if not output_dir.is_dir():
        return None
    numbered = {
        int(match[1]): path
        for path in output_dir.iterdir()
        if path.is_dir() and (match := re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name))
    }
    for _, path in sorted(numbered.items(), reverse=True):
        if _is_json(path / TRAINER_STATE_NAME):
            return path
        logger.warning("%s is incomplete (the run stopped while writing it) and is skipped.", path)
    return None


def read_multitask_state(checkpoint: Path) -> dict[str, Any]:
    """The state that a trainer of this package keeps in `checkpoint`, beside the stock trainer's."""
    path = checkpoint / MULTITASK_STATE_FILE
    if not path.is_file():
        raise InputError(
            f"{checkpoint} was not written by this package (it has no {MULTITASK_STATE_FILE}), so its run cannot be "
            f"continued. To start from its weights, pass it as --model_name_or_path with another --output_dir."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def check_same_run(checkpoint: Path, saved: dict[str, Any], present: dict[str, Any]) -> None:
    """Refuse to continue a run of another method, on other tasks or with other draws; the message names each."""
    differences = [
        f"  {name}: {saved.get(name)!r} in the checkpoint, {value!r} now"
        for name, value in present.items()
        if saved.get(name) != value
    ]
    if differences:
        raise InputError(
            "\n".join([f"{checkpoint} belongs to another run:", *differences])
            + "\nGive the arguments of that run, or start a new one in another --output_dir."
        )


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
