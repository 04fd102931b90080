"""What a finished run leaves behind: its scores, plot and model card, and several runs' scores together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from ..analysis.runs import SavedRun, read_run
from ..data.arguments import DataArguments
from ..errors import InputError
from ..models.loading import ModelArguments
from ..problems.problem import Problem
from ..problems.question_answering import QuestionAnsweringArguments
from ..publishing.file_names import TRAINING_PLOT
from ..publishing.model_card import write_model_card
from ..publishing.training_facts import TaskFacts
from ..scores import (
    AVERAGE,
    SCORES_FILE,
    SCORES_JSON,
    SPLITS,
    START,
    Metric,
    ScoreTables,
    average_over_tasks,
    scores_by_task,
    write_scores,
)
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments
from .steps import Run, counts_of


@dataclass
class FinishedRun:
    """What remains of a run once its trainer and model are gone."""

    run: Run
    metrics: Mapping[str, float]
    """All metrics, as the trainer named them."""
    tables: ScoreTables
    repository: str | None
    """Where the model is to be pushed, on the process that pushes."""


def finished_run_in(folder: Path) -> SavedRun | None:
    """The run that left its results in the folder, if one did; of scores those that it wrote as such."""
    try:
        run = read_run(folder)
    except InputError:
        return None
    # Other evaluations that lie there may be those of weights that are no more.
    return run if (folder / SCORES_JSON).is_file() else replace(run, scores={}, zero_shot=[])


def refuse_results_of_another_model(args: MultiTaskTrainingArguments, model: str) -> None:
    """Refuse to evaluate a model into the folder of a finished run that is not the model's own.

    Raises:
        InputError: as said.
    """
    if not args.do_train and Path(model).resolve() != args.folder.resolve() and finished_run_in(args.folder):
        raise InputError(
            f"--output_dir {args.folder} holds the results of a finished run, and the model to evaluate is {model}; "
            f"choose another folder."
        )


def refuse_scores_by_another_metric(args: MultiTaskTrainingArguments, metric: Metric) -> None:
    """Refuse to evaluate into the folder of a finished run whose scores are by another metric.

    Raises:
        InputError: as said.
    """
    saved = None if args.do_train else finished_run_in(args.folder)
    if saved and any(saved.scores.values()) and saved.metric != metric:
        raise InputError(
            f"--output_dir {args.folder} holds scores by {saved.metric.label}, and this evaluation is by "
            f"{metric.label}; choose another folder."
        )


def finish(
    run: Run,
    trainer: MultiTaskMixin,
    metrics: Mapping[str, float],
    model_args: ModelArguments,
    data_args: DataArguments,
    problem: Problem,
) -> FinishedRun:
    """Write the run's score table and, where it trained, its plot and model card.

    Scores of splits that were evaluated before, of the same model, stay.

    Args:
        run: what was done.
        trainer: did it.
        metrics: of all splits.
        model_args: for the card.
        data_args: for the card.
        problem: what the tasks are, and which metric table and plot show.
    """
    finished = FinishedRun(run, metrics, {}, trainer.hub_model_id)
    if trainer.is_world_process_zero():
        folder, saved = run.args.folder, finished_run_in(run.args.folder)
        name = saved.method if saved else "model"
        now = score_tables(run, trainer.state.log_history, metrics, problem.metric, name)
        finished.tables = merged([saved.scores, now] if saved and saved.metric == problem.metric else [now])
        zero_shot = _zero_shot(run, saved)
        write_scores(folder, finished.tables, zero_shot, problem.metric)
        if run.args.do_train:
            # Imported when it is needed: matplotlib takes most of a second.
            from ..plots import plot_training

            title = f"{trainer.title}: {folder.resolve().name}"
            plot_training(trainer.state.log_history, problem.metric, folder / TRAINING_PLOT, title)
            facts = task_facts(run, problem)
            write_model_card(
                trainer.training_facts(),
                folder,
                pipeline_tag=None if facts else problem.pipeline_tag,
                base_model=str(model_args.model_name_or_path),
                dataset_name=data_args.dataset_of(None),
                languages=run.languages,
                tables=finished.tables,
                zero_shot=zero_shot,
                metric=problem.metric,
                of_tasks=facts,
                eval_dataset_name=data_args.eval_dataset,
                trims_vocabulary=model_args.trim_vocabulary,
                no_answer_threshold=_no_answer_threshold(data_args),
                texts=_number_of_texts(run, problem),
                tasks_are_languages=problem.tasks_are_languages,
                name=trainer.hub_model_id,
                data_notes=problem.card_notes,
                counts={split: counts_of(problem, split, run.tasks[split]) for split in run.tasks},
            )
    return finished


def task_facts(run: Run, problem: Problem) -> dict[str, TaskFacts]:
    """What the card tells of each task, where they have heads of their own; else empty."""
    tasks = {task: dataset for of_split in run.tasks.values() for task, dataset in of_split.items()}
    facts = {}
    for task, dataset in tasks.items():
        head, own = problem.head_of(task), problem.of_task(task)
        if head is not None:
            threshold, texts = _no_answer_threshold(own.args), len(own.text_columns(task, dataset))
            named = own.args.languages if task in run.tasks.get("train", ()) else None
            # Of tasks with common arguments these are all the tasks' names.
            languages = (task,) if task in (named or ()) else tuple(named or ())
            kind = (own.pipeline_tag, own.metric.name, own.args.dataset_of(task))
            facts[task] = TaskFacts(head, *kind, threshold, texts, languages)
    return facts


def _number_of_texts(run: Run, problem: Problem) -> int:
    task, dataset = next(item for of_split in run.tasks.values() for item in of_split.items())
    return len(problem.text_columns(task, dataset))


def _no_answer_threshold(data_args: DataArguments) -> float | None:
    if isinstance(data_args, QuestionAnsweringArguments) and data_args.version_2_with_negative:
        return data_args.null_score_diff_threshold
    return None


def report(finished: Sequence[FinishedRun], args: MultiTaskTrainingArguments, metric: Metric) -> None:
    """Print the scores and where everything is; scores of runs in folders of their own are gathered above."""
    if args.process_index != 0:
        return
    if [one.run.args.folder for one in finished] != [args.folder]:
        _gather_results(finished, args.folder)
        write_scores(args.folder, merged([one.tables for one in finished]), [], metric)
    if any(one.tables for one in finished):
        print("\n" + (args.folder / SCORES_FILE).read_text(encoding="utf-8"))
    for one in finished:
        if args.do_train:
            print(f"Model, card (README.md) and plot ({TRAINING_PLOT}) are in {one.run.args.folder}")


def score_tables(
    run: Run,
    log_history: Sequence[Mapping[str, float]],
    metrics: Mapping[str, float],
    metric: Metric,
    name: str,
) -> dict[str, dict[str, dict[str, float]]]:
    """For each split that was evaluated a row of scores, under one for the start if that was evaluated too.

    Args:
        run: what was done.
        log_history: with the scores of the start, at step 0.
        metrics: of all splits.
        metric: which of them is shown.
        name: of the row.
    """
    start = {name: value for entry in log_history if entry["step"] == 0 for name, value in entry.items()}
    # Without training, step 0 is all there is.
    rows = {START: start, name: metrics} if run.args.do_train else {name: metrics}
    tables = {}
    for split, prefix in SPLITS.items():
        scored = {row: scores_by_task(of, prefix, list(run.tasks.get(split, ())), metric) for row, of in rows.items()}
        tables[split] = {row: scores for row, scores in scored.items() if scores}
    return tables


def merged(several: Sequence[ScoreTables]) -> dict[str, dict[str, dict[str, float]]]:
    """Tables with the scores of all of them; where two score the same task, the later one's.

    A row has an average where it has a score for every task of its table, and every part of it had an average.
    """
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for split in SPLITS:
        parts = [(name, scores) for one in several for name, scores in one.get(split, {}).items()]
        rows: dict[str, dict[str, float]] = {name: {} for name, _ in parts}
        for name, scores in parts:
            rows[name] |= {task: score for task, score in scores.items() if task != AVERAGE}
        tasks = {task for scores in rows.values() for task in scores}
        lacking = {name for name, scores in parts if AVERAGE not in scores}
        for name, scores in rows.items():
            if scores.keys() == tasks and name not in lacking:
                scores[AVERAGE] = fmean(scores.values())
        if rows:
            tables[split] = rows
    return tables


def _zero_shot(run: Run, saved: SavedRun | None) -> list[str]:
    """What was evaluated, now or before, without being trained on."""
    if saved is None:
        return run.zero_shot
    trained = {*run.languages, *saved.languages, *saved.tasks}
    evaluated = [task for split in SPLITS for task in run.tasks.get(split, ())]
    return list(dict.fromkeys([*saved.zero_shot, *(task for task in evaluated if trained and task not in trained)]))


def _gather_results(finished: Sequence[FinishedRun], folder: Path) -> None:
    """Write each split's metrics of all runs, with their averages, as one trainer would have written them."""
    metrics = {name: value for one in finished for name, value in one.metrics.items()}
    gathered: dict[str, float] = {}
    for split, prefix in SPLITS.items():
        tasks = [task for one in finished for task in one.run.tasks.get(split, ())]
        own = {name: v for name, v in metrics.items() if any(name.startswith(f"{prefix}_{task}_") for task in tasks)}
        if own:
            own |= average_over_tasks(own, tasks, prefix)
            gathered |= own
            _write_metrics(folder / f"{prefix}_results.json", own)
    _write_metrics(folder / "all_results.json", gathered)


def _write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    path.write_text(json.dumps(metrics, indent=4, sort_keys=True) + "\n", encoding="utf-8")
