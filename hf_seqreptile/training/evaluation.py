"""Evaluation of several tasks: each one's metrics, and their average."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput

from ..errors import InputError
from ..scores import average_over_tasks, is_number
from .checked_metrics import checked
from .drawn_examples import has_transform
from .evaluation_loss import LabelMean, own_rows
from .stock_arguments import schedule_settings
from .task_datasets import check_evaluated, check_task_names, count_labels, example_lengths
from .task_parts import TaskPartsMixin, changed


class EvaluationMixin(TaskPartsMixin):
    """Evaluates several tasks as one, batches examples of similar length, and leaves no trace in training.

    Every example is evaluated, with `dataloader_drop_last` too, and the loss is the mean over all labels, whatever
    the batches are.

    Args:
        compute_dataset_metrics: as `compute_metrics`, for metrics that need more than logits and labels: it is given
            the predicted dataset too, row by row in the order of the predictions.
        Everything else is as in [`TaskPartsMixin`] and `transformers.Trainer`.

    Raises:
        InputError: `eval_dataset` is a dict whose names are no names of tasks, or that is empty.
    """

    def __init__(
        self,
        *args: Any,
        compute_dataset_metrics: Callable[[EvalPrediction, Dataset], dict[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.compute_dataset_metrics = compute_dataset_metrics
        self._loss_of_evaluation: LabelMean | None = None
        self._selects_best_model = False
        super().__init__(*args, **kwargs)
        if isinstance(self.eval_dataset, Mapping):
            check_task_names(self.eval_dataset, "eval_dataset")

    def evaluate(
        self,
        eval_dataset: Mapping[str, Dataset] | Dataset | str | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        on_prediction: Callable[[str, PredictionOutput], None] | None = None,
    ) -> dict[str, float]:
        """Metrics of every task, `eval_TASK_f1`, and their mean over the tasks, `eval_avg_f1`.

        The mean stands under `eval_f1` too, where callbacks and `metric_for_best_model` look by default; a metric
        that is no number has none. Callbacks see one evaluation with all tasks' metrics. `on_prediction` is given
        each task's name and predictions. A single dataset's metrics are named as in the stock trainer, and so are
        those of a task that is given by its name.

        Raises:
            InputError: no data, or none of that name, or `compute_metrics` returns what cannot be reported.
        """
        self._memory_tracker.start()
        given = self._evaluation_data(eval_dataset)
        tasks = given if isinstance(given, Mapping) else {"": given}
        metrics: dict[str, float] = {}
        with self._keeping_predictions(on_prediction is not None):
            for task, dataset in tasks.items():
                prefix = f"{metric_key_prefix}_{task}" if task else metric_key_prefix
                prediction = self.predict(dataset, ignore_keys, prefix, task=task or None)
                metrics |= prediction.metrics or {}
                if on_prediction is not None:
                    on_prediction(task, prediction)
        if given is tasks:
            metrics |= average_over_tasks(metrics, list(tasks), metric_key_prefix)
        if self._selects_best_model:
            self._check_selection(metrics)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._memory_tracker.stop_and_update_metrics(metrics)
        return metrics

    def _evaluation_data(self, given: Mapping[str, Dataset] | Dataset | str | None) -> Any:
        """What to evaluate: that, the task of that name, or all of the trainer's `eval_dataset`."""
        data = self.eval_dataset if given is None or isinstance(given, str) else given
        if data is None:
            raise InputError("Evaluation needs an eval_dataset: a dict with one dataset for each task.")
        if isinstance(given, str):
            if not isinstance(data, Mapping) or given not in data:
                names = ", ".join(data) if isinstance(data, Mapping) else "the trainer's eval_dataset is no dict"
                raise InputError(f"There is no task {given!r} to evaluate. Known: {names}.")
            return data[given]
        if isinstance(data, Mapping):
            check_task_names(data, "eval_dataset")
        return data

    def predict(
        self,
        test_dataset: Dataset,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
        task: str | None = None,
    ) -> PredictionOutput:
        """As in the stock trainer, in the order of `test_dataset`, though similar lengths are computed together.

        `task` says whose data it is, where tasks have heads, collators or metrics of their own.

        Raises:
            InputError: no single dataset, one that can be neither indexed nor iterated over, or no task where one is
                needed.
        """
        check_evaluated(test_dataset)
        with self.serving(task):
            return self._predict(test_dataset, ignore_keys, metric_key_prefix)

    def _predict(
        self, test_dataset: Dataset, ignore_keys: list[str] | None, metric_key_prefix: str
    ) -> PredictionOutput:
        self.check_columns(test_dataset)
        lengths = self._lengths(test_dataset)
        output = None
        if lengths is not None and not self._metrics_see_batches:
            # The longest come first: what does not fit into memory fails at once.
            order = np.argsort(np.negative(lengths), kind="stable")
            with self._computing(None):
                by_length = cast(datasets.Dataset, test_dataset).select(order)
                output = super().predict(by_length, ignore_keys, metric_key_prefix)
            # What has no row for each example, such as a loss among the outputs, cannot be put into order again.
            is_by_example = _have_rows((output.predictions, output.label_ids), len(order))
            output = _rearranged(output, np.argsort(order)) if is_by_example else None
        compute_metrics = self.compute_metrics and checked(self.compute_metrics)
        if output is None:
            with self._computing(compute_metrics):
                output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        elif compute_metrics and output.predictions is not None and output.label_ids is not None:
            _add_metrics(output, compute_metrics(_as_eval_prediction(output)), metric_key_prefix)
        if self.compute_dataset_metrics is not None:
            own = checked(self.compute_dataset_metrics)(_as_eval_prediction(output), test_dataset)
            _add_metrics(output, own, metric_key_prefix)
        return output

    @property
    def _metrics_see_batches(self) -> bool:
        """Whether metrics are computed from more than the predictions, which alone can be put into order again."""
        args = self.args
        return bool(args.include_for_metrics) or args.batch_eval_metrics or not args.eval_do_concat_batches

    def _lengths(self, dataset: Dataset) -> Sequence[int] | None:
        """The examples' lengths, by which similar ones are batched together; `None` where they are not."""
        if self.args.train_sampling_strategy != "group_by_length":
            return None
        return example_lengths(dataset, self.args.length_column_name)

    @contextmanager
    def _keeping_predictions(self, are_wanted: bool) -> Iterator[None]:
        """Losses alone are kept, as in the stock trainer, where nothing is computed from the predictions."""
        has_metrics = self.compute_metrics is not None or self.compute_dataset_metrics is not None
        only_losses = self.args.prediction_loss_only or not (are_wanted or has_metrics)
        with changed(self.args, prediction_loss_only=only_losses):
            yield

    @contextmanager
    def _computing(self, compute_metrics: Callable[..., dict] | None) -> Iterator[None]:
        with changed(self, compute_metrics=compute_metrics):
            yield

    def _get_eval_sampler(self, eval_dataset: Dataset) -> None:
        # The stock trainer groups evaluation by length too, and gives predictions back in that order, not the data's.
        return None

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        if kwargs.get("is_training"):
            return super()._get_dataloader(*args, **kwargs)
        # What is dropped would be missing in scores and files. Each evaluation makes a loader for each task, whose
        # workers would never end.
        collator = self.data_collator
        if has_transform(args[0] if args else kwargs["dataset"]):
            collator = self._get_collator_with_removed_columns(collator, description="evaluation")
        with (
            changed(self.args, dataloader_drop_last=False, dataloader_persistent_workers=False),
            changed(self, data_collator=collator),
        ):
            return super()._get_dataloader(*args, **kwargs)

    def check_columns(self, dataset: Dataset) -> None:
        """Refuse data of which the model would be given no column, because its `forward` names none of them.

        Raises:
            InputError: as said, unless `remove_unused_columns` is off.
        """
        if not self.args.remove_unused_columns:
            return
        if isinstance(dataset, datasets.Dataset):
            self._remove_unused_columns(dataset)
        elif all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in self.parameters_of_forward()):
            raise InputError(
                f"{type(self.model).__name__}.forward names none of its inputs, so the trainer would remove them all: "
                f"set remove_unused_columns=False, and label_names to those of the labels."
            )

    def _remove_unused_columns(self, dataset: datasets.Dataset, description: str | None = None) -> datasets.Dataset:
        if has_transform(dataset):
            # It may need any column; what it gives that the model does not take goes when a batch is made.
            return dataset
        try:
            return super()._remove_unused_columns(dataset, description)
        except ValueError as error:
            raise InputError(str(error)) from error

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As in the stock trainer, with the loss over all labels, and without a trace in training's random numbers.

        A data loader draws from them each time; a run that is resumed after an evaluation would go on with others.
        """
        losses = LabelMean(skips_not_finite=self.args.logging_nan_inf_filter)
        with torch.random.fork_rng(devices=[]), changed(self, _loss_of_evaluation=losses):
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        loss = losses.over_processes(self.accelerator)
        if loss is not None and output.metrics is not None:
            output.metrics[f"{metric_key_prefix}_loss"] = loss
        return output

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """As in the stock trainer; the evaluation's loss takes note of this batch's."""
        # The loss may take the labels out of the inputs.
        own, labels = own_rows(inputs, self.accelerator), count_labels(inputs)
        step = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        loss = step[0]
        if loss is not None and self._loss_of_evaluation is not None:
            if own is not None:
                labels = count_labels(own.inputs) if own.number else 0
                loss = super().prediction_step(model, own.inputs, True, ignore_keys)[0]
            self._loss_of_evaluation.add(cast(torch.Tensor, loss), labels)
        return step

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """As in the stock trainer; a schedule that follows a metric knows whether the metric is to grow."""
        with changed(self.args, lr_scheduler_kwargs=schedule_settings(self.args)):
            return super().create_scheduler(num_training_steps, optimizer)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with changed(self, _selects_best_model=True):
            return super()._evaluate(*args, **kwargs)

    def _check_selection(self, metrics: Mapping[str, Any]) -> None:
        wanted = self.args.metric_for_best_model
        if not wanted:
            return
        name = f"eval_{wanted.removeprefix('eval_')}"
        if name not in metrics:
            raise InputError(
                f"--metric_for_best_model {wanted} is not among the metrics of an evaluation: {', '.join(metrics)}."
            )
        if not is_number(metrics[name]):
            raise InputError(f"--metric_for_best_model {wanted} is no number: {metrics[name]!r}.")


def _rearranged(output: PredictionOutput, order: np.ndarray) -> PredictionOutput:
    return output._replace(predictions=_rows(output.predictions, order), label_ids=_rows(output.label_ids, order))


def _rows(arrays: Any, order: np.ndarray) -> Any:
    if isinstance(arrays, tuple | list):
        return type(arrays)(_rows(array, order) for array in arrays)
    if isinstance(arrays, dict):
        return {name: _rows(array, order) for name, array in arrays.items()}
    return None if arrays is None else arrays[order]


def _have_rows(arrays: Any, number: int) -> bool:
    """Whether all arrays have a row for each of so many examples."""
    if isinstance(arrays, tuple | list):
        return all(_have_rows(array, number) for array in arrays)
    if isinstance(arrays, dict):
        return _have_rows(list(arrays.values()), number)
    return arrays is None or np.shape(arrays)[:1] == (number,)


def _as_eval_prediction(output: PredictionOutput) -> EvalPrediction:
    # Without labels, `label_ids` is None: the metrics of a dataset may have the answers from there.
    return EvalPrediction(predictions=output.predictions, label_ids=output.label_ids)  # type: ignore[arg-type]


def _add_metrics(output: PredictionOutput, metrics: Mapping[str, Any], prefix: str) -> None:
    assert output.metrics is not None
    for name, value in metrics.items():
        output.metrics[name if name.startswith(f"{prefix}_") else f"{prefix}_{name}"] = value
