"""Evaluation of several tasks: each one's metrics, and their average."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput, denumpify_detensorize

from ..errors import InputError
from ..scores import average_over_tasks
from .task_datasets import example_lengths


class EvaluationMixin(Trainer):
    """Evaluates several tasks as one, batches examples of similar length, and leaves no trace in training.

    Args:
        compute_dataset_metrics: as `compute_metrics`, for metrics that need more than logits and labels: it is given
            the predicted dataset too, row by row in the order of the predictions.
        Everything else is as in `transformers.Trainer`.
    """

    def __init__(
        self,
        *args: Any,
        compute_dataset_metrics: Callable[[EvalPrediction, Dataset], dict[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.compute_dataset_metrics = compute_dataset_metrics
        super().__init__(*args, **kwargs)

    def evaluate(
        self,
        eval_dataset: dict[str, Dataset] | Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        on_prediction: Callable[[str, PredictionOutput], None] | None = None,
    ) -> dict[str, float]:
        """Metrics of every task, `eval_TASK_f1`, and their mean over the tasks, `eval_avg_f1`.

        The mean stands under `eval_f1` too, where callbacks and `metric_for_best_model` look by default. Callbacks
        see one evaluation with all tasks' metrics. `on_prediction` is given each task's name and predictions. A
        single dataset's metrics are named as in the stock trainer.
        """
        given = self.eval_dataset if eval_dataset is None else eval_dataset
        if given is None:
            raise InputError("Evaluation needs an eval_dataset: a dict with one dataset for each task.")
        tasks = given if isinstance(given, Mapping) else {"": given}
        metrics: dict[str, float] = {}
        with self._keeping_predictions(on_prediction is not None):
            for task, dataset in tasks.items():
                prefix = f"{metric_key_prefix}_{task}" if task else metric_key_prefix
                prediction = self.predict(dataset, ignore_keys, prefix)
                metrics |= prediction.metrics or {}
                if on_prediction is not None:
                    on_prediction(task, prediction)
        if given is tasks:
            metrics |= average_over_tasks(metrics, list(tasks), metric_key_prefix)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(
        self, test_dataset: Dataset, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """As in the stock trainer, in the order of `test_dataset`, though similar lengths are computed together."""
        lengths = self._lengths(test_dataset)
        if lengths is None or self._metrics_see_batches:
            output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        else:
            # The longest come first: what does not fit into memory fails at once.
            order = np.argsort(np.negative(lengths), kind="stable")
            with self._without_metrics():
                by_length = cast(datasets.Dataset, test_dataset).select(order)
                output = super().predict(by_length, ignore_keys, metric_key_prefix)
            output = _rearranged(output, np.argsort(order))
            if self.compute_metrics is not None and output.predictions is not None and output.label_ids is not None:
                _add_metrics(output, self.compute_metrics(_as_eval_prediction(output)), metric_key_prefix)
        if self.compute_dataset_metrics is not None:
            own = self.compute_dataset_metrics(_as_eval_prediction(output), test_dataset)
            _add_metrics(output, own, metric_key_prefix)
        return output

    @property
    def _metrics_see_batches(self) -> bool:
        """Whether metrics are computed from more than the predictions, which alone can be put into order again."""
        args = self.args
        return bool(args.include_for_metrics) or args.batch_eval_metrics or args.dataloader_drop_last

    def _lengths(self, dataset: Dataset) -> Sequence[int] | None:
        """The examples' lengths, by which similar ones are batched together; `None` where they are not."""
        if self.args.train_sampling_strategy != "group_by_length":
            return None
        return example_lengths(dataset, self.args.length_column_name)

    @contextmanager
    def _keeping_predictions(self, are_wanted: bool) -> Iterator[None]:
        """Losses alone are kept, as in the stock trainer, where nothing is computed from the predictions."""
        args = self.args
        only_losses = args.prediction_loss_only
        has_metrics = self.compute_metrics is not None or self.compute_dataset_metrics is not None
        args.prediction_loss_only = only_losses or not (are_wanted or has_metrics)
        try:
            yield
        finally:
            args.prediction_loss_only = only_losses

    @contextmanager
    def _without_metrics(self) -> Iterator[None]:
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            yield
        finally:
            self.compute_metrics = compute_metrics

    def _get_eval_sampler(self, eval_dataset: Dataset) -> None:
        # The stock trainer groups evaluation by length too, and gives predictions back in that order, not the data's.
        return None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in the stock trainer, without a trace in the random numbers of training.

        A data loader draws from them each time; a run that is resumed after an evaluation would go on with others.
        """
        with torch.random.fork_rng(devices=[]):
            return super().evaluation_loop(*args, **kwargs)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        wanted = self.args.metric_for_best_model
        if wanted and f"eval_{wanted.removeprefix('eval_')}" not in metrics:
            raise InputError(
                f"--metric_for_best_model {wanted} is not among the metrics of an evaluation: {', '.join(metrics)}."
            )
        return super()._determine_best_metric(metrics, trial)


def _rearranged(output: PredictionOutput, order: np.ndarray) -> PredictionOutput:
    return output._replace(predictions=_rows(output.predictions, order), label_ids=_rows(output.label_ids, order))


def _rows(arrays: Any, order: np.ndarray) -> Any:
    if isinstance(arrays, tuple | list):
        return type(arrays)(_rows(array, order) for array in arrays)
    if isinstance(arrays, dict):
        return {name: _rows(array, order) for name, array in arrays.items()}
    return None if arrays is None else arrays[order]


def _as_eval_prediction(output: PredictionOutput) -> EvalPrediction:
    # Without labels, `label_ids` is None: the metrics of a dataset may have the answers from there.
    return EvalPrediction(predictions=output.predictions, label_ids=output.label_ids)  # type: ignore[arg-type]


def _add_metrics(output: PredictionOutput, metrics: Mapping[str, Any], prefix: str) -> None:
    assert output.metrics is not None
    for name, value in denumpify_detensorize(dict(metrics)).items():
        output.metrics[name if name.startswith(f"{prefix}_") else f"{prefix}_{name}"] = value
