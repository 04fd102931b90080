"""Checkpoints: which one a run may continue from, and what is written into them."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from .errors import InputError
from .training_args import MultiTaskTrainingArguments

logger = logging.getLogger(__name__)

MULTITASK_STATE_FILE = "multitask_state.json"


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest complete checkpoint in `output_dir`; incomplete ones are skipped with a warning."""
    if not output_dir.is_dir():
        return None
    numbered = {
        int(match[1]): path
        for path in output_dir.iterdir()
        if path.is_dir() and (match := re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name))
    }
    for _, path in sorted(numbered.items(), reverse=True):
        if _is_complete(path):
            return path
        logger.warning("%s is incomplete (the run stopped while writing it) and is skipped.", path)
    return None


@contextmanager
def failed_writes_explained(folder: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk while `folder` is written into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # safetensors and tokenizers, in Rust, raise classes of their own, and torch a bare RuntimeError.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, RuntimeError) and re.search(r"inline_container\.cc|iostream error", reason):
            reason = "the disk is full, or writing failed otherwise"
        elif not isinstance(error, OSError) and not re.search(r"\(os error \d+\)", reason):
            raise
        raise InputError(
            f"Could not write {folder}: {reason}. Earlier checkpoints are untouched; make room, then run the same "
            f"command again to continue from the newest."
        ) from error


def read_multitask_state(checkpoint: Path) -> dict[str, Any]:
    """The state that a trainer of this package keeps in `checkpoint`, beside the stock trainer's."""
    if not checkpoint.is_dir():
        raise InputError(f"--resume_from_checkpoint {checkpoint}: no such folder.")
    path = checkpoint / MULTITASK_STATE_FILE
    if not path.is_file():
        raise InputError(
            f"{checkpoint} was not written by this package (it has no {MULTITASK_STATE_FILE}), so its run cannot be "
            f"continued. To start from its weights, pass it as --model_name_or_path with another --output_dir."
        )
    if not _is_complete(checkpoint):
        raise InputError(f"{checkpoint} is incomplete (the run stopped while writing it); give an earlier one.")
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


def _is_complete(checkpoint: Path) -> bool:
    # The trainer's state is the last of a checkpoint's files to be written.
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


class ResumableMixin(Trainer):
    """Checkpoints that are complete or ignored, serve no other run, and hold no pickle of ours.

    A run that was stopped anywhere and continued ends bit for bit where it would have ended.
    """

    args: MultiTaskTrainingArguments

    def run_identity(self) -> dict[str, Any]:
        """What a checkpoint and the run that continues it must agree in, as JSON. Trainers extend it."""
        return {}

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, or continue a run.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or `True` for the newest complete one in `output_dir`.
            trial: as in the stock trainer.
            ignore_keys_for_eval: as in the stock trainer.

        Raises:
            InputError: no complete checkpoint, one of another run, or a loss that is not finite.
        """
        if resume_from_checkpoint is True:
            newest = last_complete_checkpoint(self.args.folder)
            if newest is None:
                raise InputError(f"There is no complete checkpoint in {self.args.output_dir} to resume from.")
            resume_from_checkpoint = str(newest)
        saved = None
        if resume_from_checkpoint:
            folder = Path(resume_from_checkpoint)
            saved = read_multitask_state(folder)
            check_same_run(folder, saved["run"], self.run_identity())
        self.restore_multitask_state(saved)
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # The stock loop would take one step more when it continues from the last checkpoint of a finished run.
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def multitask_state(self) -> dict[str, Any]:
        """What a checkpoint needs beyond the stock trainer's state, as JSON. Methods extend it."""
        return {"run": self.run_identity()}

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """Take up what [`multitask_state`] gave, or, where `saved` is `None`, begin anew. Methods extend it."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            # Written last, this file marks a checkpoint as complete; one of an earlier attempt must not.
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
        with failed_writes_explained(folder):
            super()._save_checkpoint(model, trial)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            text = json.dumps(self.multitask_state(), indent=2, ensure_ascii=False)
            (Path(output_dir) / MULTITASK_STATE_FILE).write_text(text + "\n", encoding="utf-8")

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # What follows marks the checkpoint as complete, so the other processes' files must be there.
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir) if output_dir else self.args.folder
        with failed_writes_explained(folder):
            super()._save(output_dir, state_dict)
            if self.args.should_save:
                # The stock file is a pickle that holds tokens and paths of this machine.
                (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
                self.args.save(folder)

    def save_state(self) -> None:
        """As in the stock trainer, but the best checkpoint goes by its name, without this machine's path."""
        best = self.state.best_model_checkpoint
        self.state.best_model_checkpoint = Path(best).name if best else None
        try:
            super().save_state()
        finally:
            self.state.best_model_checkpoint = best
