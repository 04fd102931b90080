"""Checkpoints: which one a run may continue from, and what is written into them."""

import copy
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, IntervalStrategy, TrainOutput
from transformers.utils import CONFIG_NAME

from ..durable import sync_file, sync_names, sync_tree
from ..errors import InputError
from ..json_text import parse_json
from ..ranges import check_ranges
from .checkpoint_damage import damage_explained
from .checkpoint_weights import CheckpointWeightsMixin
from .interruption import EXIT_CODE, TerminationSignal, outlive_sigterm
from .setting import check_settings
from .stock_arguments import STOCK_RANGES
from .training_args import CHANGEABLE, MultiTaskTrainingArguments

logger = logging.getLogger(__name__)

MULTITASK_STATE_FILE = "multitask_state.json"
STEP_ARGUMENTS = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "optim_args", "weight_decay",
    "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor", "neftune_noise_alpha",
    "bf16", "fp16", "train_sampling_strategy",
)  # fmt: skip
"""The stock arguments that an optimizer step's result depends on."""


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest complete checkpoint in `output_dir`; incomplete ones are skipped with a warning."""
    numbered = {
        int(match[1]): path
        for path in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
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
            f"Could not write {folder}: {reason}. Earlier checkpoints are untouched; make room, or make it writable, "
            f"then run the same command again to continue from the newest."
        ) from error


def read_multitask_state(checkpoint: Path) -> dict[str, Any]:
    """The state that a trainer of this package keeps in `checkpoint`, beside the stock trainer's."""
    if not checkpoint.is_dir():
        raise InputError(f"--resume_from_checkpoint {checkpoint}: no such folder.")
    path = checkpoint / MULTITASK_STATE_FILE
    if not path.is_file():
        raise InputError(
            f"{checkpoint} was not written by this package, or with --save_only_model (it has no "
            f"{MULTITASK_STATE_FILE}), so its run cannot be continued. To start from its weights, pass it as "
            f"--model_name_or_path with another --output_dir."
        )
    if not _is_complete(checkpoint):
        raise InputError(f"{checkpoint} is incomplete (the run stopped while writing it); give an earlier one.")
    with damage_explained(checkpoint):
        state = parse_json(path.read_text(encoding="utf-8"))
        if not (isinstance(state, dict) and isinstance(state.get("run"), dict)):
            raise ValueError(f"{MULTITASK_STATE_FILE} does not say of which run")
        if not TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).global_step > 0:
            raise ValueError(f"{TRAINER_STATE_NAME} does not say of which step")
        return state


def check_same_run(
    checkpoint: Path, saved: Mapping[str, Any], present: Mapping[str, Any], allowed: Collection[str] = ()
) -> None:
    """Refuse to continue a run of another method, on other data or with other steps; the message names each.

    Args:
        checkpoint: for the message.
        saved: the identity of the run that wrote it.
        present: that of the run that is to continue it.
        allowed: in what they may differ; of these, what [`CHANGEABLE`] has.
    """
    # As text, since the order of the tasks matters to the draws.
    different = {name for name in {**saved, **present} if json.dumps(saved.get(name)) != json.dumps(present.get(name))}
    if "tasks" in different:
        # Other numbers of examples say it already.
        different.discard("examples")
    may_change = different & set(CHANGEABLE)
    described = {name: _difference(name, saved, present) for name in sorted(different)}
    refused = different - (may_change & set(allowed))
    if refused:
        lines = [f"{checkpoint} belongs to another run:", *(f"  {described[name]}" for name in sorted(refused))]
        lines.append("Give the arguments and data of that run, or start a new one in another --output_dir.")
        if refused <= may_change:
            lines.append(f"To continue it all the same, add --allow_changes {' '.join(sorted(may_change))}")
        raise InputError("\n".join(lines))
    for text in described.values():
        logger.warning("Continuing from %s with a change: %s.", checkpoint, text)


def _difference(name: str, saved: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    if name == "examples":
        before = saved.get(name, {})
        others = [repr(task) for task, rows in present[name].items() if before.get(task) != rows]
        return f"examples: other rows than the checkpoint's, of task {', '.join(others)}"
    values = [repr(run[name]) if name in run else "not set" for run in (saved, present)]
    return f"{name}: {values[0]} in the checkpoint, {values[1]} now"


def _is_complete(checkpoint: Path) -> bool:
    # The trainer's state is the last of a checkpoint's files to be written.
    return _is_whole(checkpoint / TRAINER_STATE_NAME)


def _is_whole(json_file: Path) -> bool:
    try:
        return isinstance(parse_json(json_file.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _labels_in(checkpoint: Path) -> list[str]:
    """The names of the classes of the model in a checkpoint; none where it is no model of transformers' or damaged."""
    try:
        config = parse_json((checkpoint / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return _names(config.get("id2label")) if isinstance(config, dict) else []


def _names(id2label: Any) -> list[str]:
    return [str(label) for label in id2label.values()] if isinstance(id2label, Mapping) else []


@contextmanager
def _whole_on_disk(state: TrainerState, folder: Path) -> Iterator[None]:
    """Within, the file that marks the checkpoint as complete is written once all others are on the disk.

    It is there itself before the stock trainer goes on to delete earlier checkpoints.
    """

    def save_to_json(path: str) -> None:
        sync_tree(folder)
        TrainerState.save_to_json(state, path)
        sync_file(Path(path))
        sync_names(folder)

    # The stock trainer calls nothing else between the last file and the deletions.
    state.save_to_json = save_to_json  # type: ignore[assignment]
    try:
        yield
    finally:
        del state.save_to_json


class ResumableMixin(CheckpointWeightsMixin):
    """Checkpoints that are complete or ignored, serve no other run, and hold no pickle of ours.

    A run that was stopped anywhere and continued ends bit for bit where it would have ended. SIGTERM while training
    saves a checkpoint at the end of the step, on all processes the same one, and ends the process with code 143.
    """

    args: MultiTaskTrainingArguments
    run_args: MultiTaskTrainingArguments
    """The arguments as they were when training started, by which all is drawn, trained and told; `args` before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run_args = self.args
        self._saved_state: dict[str, Any] | None = None
        self._signal = TerminationSignal()
        self._seen_step = self._saved_step = -1

    def run_identity(self) -> dict[str, Any]:
        """What a checkpoint and the run that continues it must agree in, as JSON. Trainers extend it."""
        values = self.run_args.to_dict()
        length = "max_steps" if self.run_args.max_steps > 0 else "num_train_epochs"
        return {name: values[name] for name in (length, *STEP_ARGUMENTS)}

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
            InputError: settings that `args` was given since and that do not work, no complete checkpoint, one of
                another run, or a loss that is not finite.
            SystemExit: SIGTERM came, and a checkpoint was saved.
        """
        if resume_from_checkpoint is True:
            newest = last_complete_checkpoint(self.args.folder)
            if newest is None:
                raise InputError(f"There is no complete checkpoint in {self.args.output_dir} to resume from.")
            resume_from_checkpoint = str(newest)
        if trial is None:
            # Of a search, the trial's settings are taken, once they are known and it has its model.
            self._take_settings()
        self._saved_state = None
        if resume_from_checkpoint:
            folder = Path(resume_from_checkpoint)
            self._saved_state = read_multitask_state(folder)
            if self.args.auto_find_batch_size and _is_complete(folder):
                # The batch that was found to fit is the run's, not the one that the arguments begin with.
                state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
                found = state.train_batch_size or self._train_batch_size
                if found != self._train_batch_size:
                    logger.warning("The batch that was found to fit into memory goes on: %d examples.", found)
                self._train_batch_size = found
            saved, present = self._saved_state["run"], self.run_identity()
            if labels := _labels_in(folder):
                # A model's own configuration tells them, also in checkpoints of earlier versions.
                saved = {**saved, "labels": labels}
                present["labels"] = _names(getattr(getattr(self.model, "config", None), "id2label", None))
            check_same_run(folder, saved, present, self.run_args.allow_changes or ())
        self._resumed_from = resume_from_checkpoint or None
        self._seen_step = self._saved_step = -1
        self._signal = TerminationSignal()
        try:
            with self._signal if self.is_resumable else nullcontext():
                return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            # Evaluation asks for it, also after a run that was interrupted or refused.
            self.is_in_train = False

    def _take_settings(self) -> None:
        self.run_args = copy.copy(self.args)
        self.check_set_up()

    def check_set_up(self) -> None:
        """Refuse settings that do not work; they may have been set after the trainer was made. Trainers extend it."""
        check_settings(self.run_args)
        check_ranges(self.run_args, STOCK_RANGES)

    def _hp_search_setup(self, trial: Any) -> None:
        # The seam at which a search's settings and a new model are there, and no checkpoint's weights yet.
        super()._hp_search_setup(trial)
        self._take_settings()
        with damage_explained(self._resumed_from):
            self.restore_multitask_state(self._saved_state)

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """As in the stock trainer; every evaluation takes its batches from here."""
        return outlive_sigterm(super().get_test_dataloader(test_dataset))

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # The stock loop would take one step more when it continues from the last checkpoint of a finished run.
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    @property
    def is_resumable(self) -> bool:
        """Whether a run can be continued from its checkpoints. If not, SIGTERM ends it as it would without us."""
        return not (self.args.save_only_model or isinstance(self.model, FSDPModule))

    @property
    def can_save(self) -> bool:
        """Whether a checkpoint can be saved after the present step. Methods extend it."""
        return True

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: Any, model: nn.Module, trial: Any, *args: Any, **kwargs: Any
    ) -> None:
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        if self._is_told_to_stop():
            if self._saved_step != self.state.global_step:
                self._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                folder = self._checkpoint_folder(trial)
                print(f"Stopped by SIGTERM. The same command continues from {folder}.", flush=True)
            self.accelerator.end_training()
            raise SystemExit(EXIT_CODE)

    def _is_told_to_stop(self) -> bool:
        """Whether SIGTERM came to any process, as all of them know it, and a checkpoint can be saved here."""
        ends_epoch = self._seen_step == self.state.global_step
        self._seen_step = self.state.global_step
        # The stock loop comes here after a step, and at an epoch's end once more; a run that is continued from there
        # does not repeat the evaluation of the epoch's end.
        evaluates_next = (
            self.args.eval_strategy == IntervalStrategy.EPOCH
            and float(self.state.epoch or 0).is_integer()
            and not ends_epoch
        )
        if evaluates_next or not self.can_save:
            return False
        if self.accelerator.num_processes == 1:
            return self._signal.came
        came = torch.tensor(int(self._signal.came), device=self.args.device)
        return bool(self.accelerator.reduce(came, reduction="sum"))

    @property
    def weights_in_checkpoint(self) -> int:
        """How often a checkpoint may hold the trainable parameters beside the model. Methods extend it."""
        return 0

    @property
    def optimizers_in_checkpoint(self) -> int:
        """How many optimizers' states a checkpoint holds. Methods extend it."""
        return 1

    def multitask_state(self) -> dict[str, Any]:
        """What a checkpoint needs beyond the stock trainer's state, as JSON. Methods extend it."""
        return {"run": self.run_identity()}

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """Take up what [`multitask_state`] gave, or, where `saved` is `None`, begin anew. Methods extend it."""

    def _checkpoint_folder(self, trial: Any) -> Path:
        return Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = self._checkpoint_folder(trial)
        mark = folder / TRAINER_STATE_NAME
        if self.args.should_save and mark.exists():
            # Written last, this file marks a checkpoint as complete; one of an earlier attempt must not.
            mark.unlink()
            sync_names(folder)
        with failed_writes_explained(folder), _whole_on_disk(self.state, folder):
            super()._save_checkpoint(model, trial)
        self._saved_step = self.state.global_step

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
                self.run_args.save(folder)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """As in the stock trainer, which adds to the file of all results: one that a kill cut short is begun anew."""
        if self.is_world_process_zero() and not _is_whole(all_results := self.args.folder / "all_results.json"):
            all_results.unlink(missing_ok=True)
        super().save_metrics(split, metrics, combined)

    def save_state(self) -> None:
        """As in the stock trainer, but the best checkpoint goes by its name, without this machine's path."""
        best = self.state.best_model_checkpoint
        self.state.best_model_checkpoint = Path(best).name if best else None
        try:
            super().save_state()
        finally:
            self.state.best_model_checkpoint = best
