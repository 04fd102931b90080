"""The trainer of every method: several tasks, drawn one after another, under the stock training loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import ProgressCallback, TrainingArguments

from ..errors import InputError
from ..models.adapters import adapter_notes, adapter_settings, save_beside_adapters
from ..models.batch_norm import normalises_by_batch
from ..models.multi_head import MultiHeadModel
from ..publishing.training_facts import SettingRow, TrainingFacts
from .backends import check_sharding, refuse_unsupported_backends
from .checkpoint_size import checkpoint_notes
from .checkpoints import failed_writes_explained
from .drawing import DrawingMixin
from .method import COMPARED_IN_THE_PAPER
from .plan import TrainingPlan, few_steps_notes, one_task_notes
from .progress import TaskProgressCallback
from .task_datasets import TaskDatasets
from .task_shares import SHARES, check_tasks_of, numbers_by_task
from .training_args import BY_TASK, MultiTaskTrainingArguments

DRAWS_BY_TASK = (*SHARES, "task_batch_sizes")
"""Arguments that draws depend on where they are given."""


class MultiTaskMixin(DrawingMixin):
    """What every method needs: tasks drawn with p_t ∝ N_t^q, a loss and metrics for each, exact resume.

    An optimizer step is an accumulation window of M draws (`tasks_per_step`); a draw is
    `gradient_accumulation_steps` micro-batches of one task on every process.

    Combine it with another `Trainer` subclass by naming it first: `class Mine(MultiTaskMixin, TheirTrainer)`.

    Args:
        train_dataset: one dataset for each task, by name; each needs a length. `None` when only evaluating.
        eval_dataset: one dataset for each task, by name, or a single dataset as in the stock trainer.
        Everything else is as in [`DrawLossMixin`], [`EvaluationMixin`] and `transformers.Trainer`.

    Raises:
        InputError: no or empty tasks, another method's arguments, or a set-up that the method cannot run on.
    """

    args: MultiTaskTrainingArguments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: MultiTaskTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Mapping[str, Dataset] | None = None,
        eval_dataset: Mapping[str, Dataset] | Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        if args is None:
            args = MultiTaskTrainingArguments(method=self.method, output_dir="tmp_trainer")
        self.check_arguments(args)
        # Before the stock trainer prepares what it would do otherwise.
        refuse_unsupported_backends(args)
        self.run_args = self.own_arguments(args)
        self.tasks = TaskDatasets(train_dataset) if train_dataset is not None else None
        super().__init__(
            model, self.run_args, data_collator, train_dataset=self.tasks, eval_dataset=eval_dataset, **kwargs
        )
        self.check_set_up()
        if self.pop_callback(ProgressCallback):
            self.add_callback(TaskProgressCallback)

    def check_set_up(self) -> None:
        """As in the parent; refuses settings of another method, and what the method cannot run on."""
        super().check_set_up()
        evaluated = self.eval_dataset if isinstance(self.eval_dataset, Mapping) else ()
        self.check_task_parts([*(self.tasks.sizes if self.tasks is not None else ()), *evaluated])
        self.check_arguments(self.run_args)
        if self.tasks is not None:
            for name in BY_TASK:
                given = numbers_by_task(name, getattr(self.run_args, name), whole=False)
                check_tasks_of(name, given, list(self.tasks.sizes), all_needed=bool(given) and name == "task_weights")
            self._spend_budget()
        refuse_unsupported_backends(self.run_args)
        assert self.model is not None
        check_sharding(self.model, self.method, self.run_args, self.processes_share_draws)

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """What a run of `optimizer_steps` will do; printed before training. A method adds its own notes.

        Raises:
            InputError: the run cannot work as set.
        """
        sampler = self._epoch_sampler() if self._sampler is None else self._sampler
        return TrainingPlan(
            method=self.run_args.method,
            sizes=self._training_tasks.sizes,
            probabilities=self.task_probabilities,
            expected_draws=sampler.expected_counts(optimizer_steps * sampler.draws_per_step),
            optimizer_steps=optimizer_steps,
            tasks_per_step=self.tasks_per_step,
            parallel_draws=sampler.parallel_draws,
            processes=self.args.world_size,
            batch_size=self._train_batch_size,
            batch_sizes=self._batch_sizes,
            accumulation_steps=self._micro_batches_per_draw,
            notes=[
                *adapter_notes(self.model),
                *self._warnings(optimizer_steps),
                *self._alignment_notes(),
                *self._batch_norm_notes(),
                *checkpoint_notes(self, optimizer_steps, sampler.steps_per_epoch),
            ],
        )

    def _warnings(self, optimizer_steps: int) -> list[str]:
        """Of a run that will hardly do what the method is for."""
        tasks = list(self._training_tasks.sizes)
        alone = one_task_notes(tasks[0], self.run_args.method) if self.is_about_several and len(tasks) == 1 else []
        return few_steps_notes(optimizer_steps, self.tasks_per_step, self.could_take_one_task_a_step) + alone

    def _batch_norm_notes(self) -> list[str]:
        if self.model is None or not normalises_by_batch(self.model):
            return []
        return [
            "BatchNorm: each micro-batch is normalised by its own examples, so that other sizes of micro-batches, or "
            "other numbers of processes, end elsewhere; not so with it frozen (docs/run_image_classification.md)"
        ]

    def describe_training(self) -> str:
        """What an optimizer step is made of, in a sentence or two for the model card."""
        if not self.draws_tasks:
            return f"Each optimizer step took one batch of each of the {self.tasks_per_step} tasks."
        return (
            f"Tasks were drawn with probability {self.describe_probabilities(self.run_args)}; each optimizer step "
            f"took M = {self.tasks_per_step} of them."
        )

    def training_facts(self) -> TrainingFacts:
        """As in the parent.

        Raises:
            InputError: there are no training tasks.
        """
        if self.tasks is None:
            raise InputError("A model card describes a training run, but this trainer has no train_dataset.")
        args, state = self.run_args, self.state
        best = (state.best_global_step or 0, str(args.metric_for_best_model)) if state.best_model_checkpoint else None
        return TrainingFacts(
            method=args.method,
            title=self.title,
            description=self.describe_training(),
            citation=self.citation,
            tags=self.tags,
            sizes=self.tasks.sizes,
            probabilities=self.task_probabilities,
            draws=self.draw_counts,
            settings=self._rows_of_settings(),
            model=self.model,
            best=best if args.load_best_model_at_end else None,
        )

    def _rows_of_settings(self, step: str = "optimizer step", rate: str = "learning rate") -> list[SettingRow]:
        """All that the result depends on.

        Args:
            step: what the method calls an optimizer step.
            rate: what it calls the learning rate of one.
        """
        args, own = self.run_args, self.own_settings(type(self.run_args))
        return [
            ("method", "", args.method),
            *((own[name].words, own[name].symbol, value) for name, value in self.settings(args).items()),
            *adapter_settings(self.model),
            (rate, "α", args.learning_rate),
            ("learning rate schedule", "", args.lr_scheduler_type),
            ("optimizer", "", args.optim),
            (f"drawn tasks of an {step}", "M", self.tasks_per_step),
            *self._rows_of_draws(),
            ("batch: examples of a draw", "B", self.examples_per_draw),
            *((f"batch of {task}", "", self.examples_of_draw(task)) for task in self._batch_sizes),
            (f"{step}s of the run", "S", self.state.global_step),
            *self._rows_of_outcome(),
            ("seed", "", str(args.seed)),
        ]

    def _rows_of_draws(self) -> list[SettingRow]:
        """What p_t follow from."""
        args = self.run_args
        if not (self.draws_tasks and self.exponent_counts()):
            return []
        of_tasks = ("task weights", "", ", ".join(args.task_weights or ()))
        rows = [of_tasks if args.task_weights else ("task sampling exponent", "q", args.task_sampling_exponent)]
        return rows + ([("passes over a task at most", "", args.max_task_passes)] if args.max_task_passes else [])

    def _rows_of_outcome(self) -> list[SettingRow]:
        """What a method adds to the number of steps."""
        return []

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple:
        """As in the stock trainer; the number of steps is now known, so the plan is printed."""
        values = super().set_initial_training_values(args, dataloader)
        plan = self.plan(optimizer_steps=values[-1])
        if self.is_world_process_zero():
            print(plan, flush=True)
        return values

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The stock log; training losses come with `loss/TASK` and the number of draws so far, `draws/TASK`."""
        if "loss" in logs and self._sampler is not None:
            draws = {f"draws/{task}": float(number) for task, number in self.draw_counts.items()}
            logs |= self._logs_of_losses(list(self._training_tasks.sizes)) | draws
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in the stock trainer; of a model with several heads a folder a head, and the encoder's."""
        model, has_adapters = self.several_heads, hasattr(self.model, "peft_config")
        if model is None or _internal_call or has_adapters:
            super().save_model(output_dir, _internal_call)
        if not self.args.should_save or not (has_adapters or (model is not None and not _internal_call)):
            return
        folder = Path(output_dir) if output_dir else self.args.folder
        with failed_writes_explained(folder):
            of_heads: Mapping[str, Any] = self.head_processing_classes
            if model is not None and not of_heads and self.processing_class is not None:
                of_heads = dict.fromkeys(model.head_names, self.processing_class)
            if has_adapters:
                save_beside_adapters(self.model, folder, of_heads)
            else:
                assert model is not None
                model.save_pretrained(folder, of_heads)
                self.run_args.save(folder)

    # What a checkpoint must agree in with the run that continues it.

    def run_identity(self) -> dict[str, Any]:
        """Method, tasks, their data, and everything that draws, trajectories or steps depend on."""
        args, model = self.run_args, self.several_heads
        return {
            **super().run_identity(),
            **({"heads": self._identity_of_heads(model)} if model else {}),
            **({"adapters": adapters} if (adapters := adapter_settings(self.model)) else {}),
            "method": args.method,
            "tasks": dict(self._training_tasks.sizes),
            "rows": dict(self._training_tasks.rows),
            "examples": self._training_tasks.digests,
            "tasks_per_step": self.tasks_per_step,
            "all_tasks_each_step": args.all_tasks_each_step,
            "examples_per_draw": self.examples_per_draw,
            "task_sampling_exponent": args.task_sampling_exponent,
            **{name: value for name in DRAWS_BY_TASK if (value := getattr(args, name)) is not None},
            "seed": self._draw_seed,
            **self.settings(args),
        }

    def _identity_of_heads(self, model: MultiHeadModel) -> dict[str, Any]:
        """Each head's class and labels, and each task's head."""
        heads = {name: model.head(name) for name in model.head_names}
        return {
            "heads": {name: [type(head).__name__, head.config.id2label] for name, head in heads.items()},
            "tasks": {task: self.head_of(task) for task in self._training_tasks.sizes},
        }


class MultiTaskTrainer(MultiTaskMixin):
    """The mean of the drawn tasks' losses (Eq. 1 without regularizer): the paper's MTL, and the base of all methods.

    See [`MultiTaskMixin`] for the arguments.
    """

    method = "mtl"
    is_about_several = False
    title = "MTL (multi-task learning without regularizer)"
    citation = COMPARED_IN_THE_PAPER
