"""A trainer's push: the finished model with this package's card, once."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from huggingface_hub import CommitInfo, HfApi
from transformers import Trainer

from ..publishing.hub_repository import open_repository, push, repository_name
from ..publishing.model_card import write_model_card
from ..publishing.training_facts import TrainingFacts
from ..scores import Metric, scores_by_task
from .training_args import MultiTaskTrainingArguments

PIPELINE_TAGS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "fill-mask",
}
"""The Hub's name of a problem, by how the names of its models' classes end."""


class PushMixin(Trainer):
    """Publishes the finished model, once, with this package's card; nothing during training, and no pickle."""

    args: MultiTaskTrainingArguments
    hub_model_id: str | None  # type: ignore[assignment]
    """The repository's full name, on the process that pushes; `None` before one was opened."""

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in the stock trainer: before training, so that a wrong token or name costs none.

        Raises:
            InputError: it cannot be opened, or written to.
        """
        args = self.args
        if self.is_world_process_zero():
            self.hub_model_id = open_repository(
                repository_name(args),
                token=token or args.hub_token,
                private=args.hub_private_repo if private is None else private,
                revision=args.hub_revision,
            )
            print(f"The finished model will be pushed to {self.hub_model_id}; nothing is before.", flush=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in the stock trainer, but saving publishes nothing."""
        super().save_model(output_dir, _internal_call=True)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing: an unfinished model is not published, and the stock push writes a pickle that holds the token."""

    def create_model_card(
        self,
        language: str | Sequence[str] | None = None,
        license: str | None = None,
        tags: str | Sequence[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | Sequence[str] | None = None,
        dataset_tags: str | Sequence[str] | None = None,
        dataset: str | Sequence[str] | None = None,
        dataset_args: str | Sequence[str] | None = None,
        metric: Metric | None = None,
    ) -> None:
        """Write this package's card into the output folder, in place of the stock one.

        Args:
            language: what was trained on. Default: the tasks' names.
            license: of the model. Default: the card names none.
            tags: beside this package's.
            model_name: what the card calls the model. Default: the repository, or the folder.
            finetuned_from: the base model. Default: what the model was loaded from.
            tasks: the problem as the Hub names it. Default: that of the model's class.
            dataset_tags: the dataset's Hub id; the card speaks of local files without one.
            dataset: without a use; taken for scripts that were written for the stock trainer.
            dataset_args: likewise.
            metric: whose scores the card shows, as the last `evaluate` since training gave them. Default: none.

        Raises:
            InputError: the trainer has no training tasks.
        """
        if not self.is_world_process_zero():
            return
        write_model_card(
            self.training_facts(),
            self.args.folder,
            pipeline_tag=next(iter(_listed(tasks)), None) or _pipeline_tag(self.model),
            base_model=str(finetuned_from or getattr(self.model, "name_or_path", "")),
            dataset_name=next(iter(_listed(dataset_tags)), None),
            tables=self._tables(metric) if metric else {},
            zero_shot=[task for task in self._evaluated_tasks if task not in self._trained_tasks],
            metric=metric,
            languages=_listed(language) or None,
            name=model_name or self.hub_model_id,
            license=license,
            tags=_listed(tags),
        )

    def training_facts(self) -> TrainingFacts:
        """What the card tells of the training."""
        raise NotImplementedError

    @property
    def _trained_tasks(self) -> list[str]:
        return list(getattr(self.train_dataset, "sizes", ()))

    @property
    def _evaluated_tasks(self) -> list[str]:
        return list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []

    def _tables(self, metric: Metric) -> dict[str, dict[str, dict[str, float]]]:
        logs = self.state.log_history
        # What was evaluated while training were other weights, if only by the last outer update.
        trained = max((i for i, entry in enumerate(logs) if "train_runtime" in entry), default=len(logs))
        metrics = {name: value for entry in logs[trained:] for name, value in entry.items()}
        scores = scores_by_task(metrics, "eval", self._evaluated_tasks, metric)
        return {"validation": {self.args.method: scores}} if scores else {}

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> CommitInfo | Future[CommitInfo] | None:
        """Save the model and its card into the output folder, and publish what `published_files` names of it.

        Args:
            commit_message: of the commit.
            blocking: wait until it has arrived.
            token: in place of `hub_token`.
            revision: in place of `hub_revision`; must exist.
            private: in place of `hub_private_repo`, for a new repository.
            kwargs: for `create_model_card`.

        Returns:
            The commit, or its future where that is not waited for; `None` on all processes but the first.

        Raises:
            InputError: the repository cannot be opened, or the push failed; then the message says how to push later.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model()
        self.create_model_card(**kwargs)
        if self.hub_model_id is None:
            return None
        start = push if blocking else partial(HfApi().run_as_future, push)
        return start(
            self.args.folder,
            self.hub_model_id,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            commit_message=commit_message or "End of training",
        )


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _pipeline_tag(model: Any) -> str | None:
    return next((tag for end, tag in PIPELINE_TAGS.items() if type(model).__name__.endswith(end)), None)
