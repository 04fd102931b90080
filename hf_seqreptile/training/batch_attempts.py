"""`auto_find_batch_size`: a batch that does not fit into memory is made smaller, and the run begins anew."""

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from ..errors import InputError
from .checkpoints import ResumableMixin

logger = logging.getLogger(__name__)


class BatchAttemptsMixin(ResumableMixin):
    """Begins anew where a batch does not fit into memory: it ends as a run that was given the smaller batch.

    The stock trainer goes on from the weights and the optimizer of the attempt that failed. Here the weights of the
    start are kept on the CPU for that, and checkpoints of the attempt are deleted: no run continues from them. A run
    that is continued begins with the batch that was found.

    Raises:
        InputError: not even one example fits.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_of_run: _Start | None = None
        self._attempts = 0
        self._written: set[Path] = set()

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in the parent.

        Raises:
            InputError: as in the parent, and where not even one example fits into memory.
        """
        try:
            return super().train(*args, **kwargs)
        except RuntimeError as error:
            if self.args.auto_find_batch_size and "No executable batch size found" in str(error):
                raise InputError(
                    "Not even a batch of one example fits into memory. Shorten the examples (--max_seq_length), or "
                    "take a smaller model."
                ) from error
            raise
        finally:
            self._start_of_run = None

    def _hp_search_setup(self, trial: Any) -> None:
        super()._hp_search_setup(trial)
        self._attempts, self._written = 0, set()
        # The weights are the start's here, whatever checkpoint is loaded next.
        self._start_of_run = _Start(self) if self.args.auto_find_batch_size else None

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        self._attempts += 1
        if self._attempts > 1 and self._start_of_run is not None:
            self._begin_anew(int(args[0]))
            kwargs |= {"resume_from_checkpoint": None}
        return super()._inner_training_loop(*args, **kwargs)

    def _begin_anew(self, batch_size: int) -> None:
        assert self._start_of_run is not None
        logger.warning(
            "A batch of %d does not fit into memory: the run begins anew with %d.", self._train_batch_size, batch_size
        )
        self._delete_checkpoints()
        self._start_of_run.put_back(self)
        self._saved_state = self._resumed_from = None
        self._seen_step = self._saved_step = -1
        self.restore_multitask_state(None)

    def _delete_checkpoints(self) -> None:
        """Those of the attempt that failed, also where an earlier process wrote them."""
        if self.args.should_save:
            earlier = self.args.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if self._resumed_from else ()
            for folder in {*self._written, *earlier}:
                shutil.rmtree(folder, ignore_errors=True)
        self._written = set()
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self._written.add(self._checkpoint_folder(trial))
        super()._save_checkpoint(model, trial)


class _Start:
    """What a run begins with: the weights, the optimizer and schedule that it was given, and the random numbers."""

    def __init__(self, trainer: BatchAttemptsMixin) -> None:
        assert trainer.model is not None
        self._weights = {
            name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
            for name, value in trainer.model.state_dict().items()
        }
        self._given = (trainer.optimizer, trainer.lr_scheduler)
        self._states = [copy.deepcopy(one.state_dict()) if one is not None else None for one in self._given]
        self._random = torch.get_rng_state()
        self._random_of_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def put_back(self, trainer: BatchAttemptsMixin) -> None:
        assert trainer.model is not None
        trainer.model.load_state_dict(self._weights)
        trainer.model.zero_grad(set_to_none=True)
        trainer.optimizer, trainer.lr_scheduler = self._given
        for one, state in zip(self._given, self._states, strict=True):
            if one is not None and state is not None:
                one.load_state_dict(copy.deepcopy(state))
        # Python's and numpy's, of which a run takes none but in callbacks, begin with the seed.
        set_seed(trainer.args.seed)
        torch.set_rng_state(self._random)
        if self._random_of_devices:
            torch.cuda.set_rng_state_all(self._random_of_devices)
