"""The flow of every script: from the command line to a trained, evaluated and described model."""

from collections.abc import Sequence

from transformers import set_seed

from ..console.arguments import parse_arguments
from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..data.load import load_all_rows, take_samples
from ..models.class_head import add_unpredicted, label_names
from ..models.loading import load_model
from ..problems.problem import Problem, Splits
from ..publishing.hub_repository import push_all
from ..training.training_args import MultiTaskTrainingArguments
from .dry_run import DryRunArguments, dry_run
from .finished_run import finish, refuse_results_of_another_model, refuse_scores_by_another_metric, report
from .selection import check_metric, take_metric_of_problem
from .steps import (
    evaluate,
    plan_runs,
    predict,
    set_up_logging,
    train,
    trainer_class,
    wanted_splits,
)
from .unused_arguments import refuse_unused_arguments
from .zero_shot import split_into_clusters


def fine_tune(problem_class: type[Problem], example: str, argv: Sequence[str] | None = None) -> None:
    """Train, evaluate and predict as the command line says.

    Args:
        problem_class: the kind of task: named entities, answers to questions, ….
        example: a command that ends the help.
        argv: the command line; default the process's own.
    """
    with bad_input_exits(), verbosity_put_back():
        model_args, data_args, args, run_args = parse_arguments(
            (problem_class.model_arguments, problem_class.arguments, MultiTaskTrainingArguments, DryRunArguments),
            argv,
            example,
        )
        make_trainer = trainer_class(args)
        refuse_unused_arguments(args, problem_class.without_effect)
        refuse_results_of_another_model(args, str(model_args.model_name_or_path))
        if run_args.dry_run:
            if args.process_index == 0:
                print(dry_run(make_trainer, model_args, data_args, args), flush=True)
            return
        set_up_logging(args)
        with args.main_process_first(desc="loading"):
            rows = load_all_rows(
                data_args, wanted_splits(args), cache_dir=model_args.cache_dir, token=model_args.token
            )
        # All rows tell the labels, however few of them are used.
        problem: Problem = problem_class(rows, data_args)
        refuse_unused_arguments(args, problem.without_effect)
        tasks: Splits = take_samples(rows, data_args)
        refuse_scores_by_another_metric(args, problem.metric)
        if args.process_index == 0:
            print(*problem.notes, sep="\n", end="\n" if problem.notes else "", flush=True)
        take_metric_of_problem(args, problem)
        languages = list(tasks.get("train", ()))
        if data_args.num_clusters is not None and languages:
            tasks = split_into_clusters(tasks, problem, data_args.num_clusters, model_args, args)

        runs = plan_runs(args, tasks, languages)
        check_metric(runs, problem)
        finished = []
        for run in runs:
            set_seed(args.seed)
            model, tokenizer = load_model(
                problem_class.auto_model,
                model_args,
                problem.labels,
                texts=lambda: problem.texts(tasks),
                will_train=args.do_train,
                problem_type=problem.problem_type,
            )
            if problem.labels is not None:
                if not args.do_train:
                    add_unpredicted(model, problem.labels_beside(label_names(model.config)))
                problem.use_labels(label_names(model.config))
            with args.main_process_first(desc="tokenizing"):
                features = {split: problem.encode(data, tokenizer, split) for split, data in run.tasks.items()}
            trainer = make_trainer(
                model=model,
                args=run.args,
                train_dataset=features.get("train"),
                eval_dataset=features.get("validation"),
                data_collator=problem.collator(tokenizer),
                processing_class=tokenizer,
                **problem.scoring(),
            )
            if args.do_train:
                train(trainer)
            metrics: dict[str, float] = {}
            if args.do_eval:
                metrics |= evaluate(trainer, features["validation"], problem.write_predictions)
            if args.do_predict:
                metrics |= predict(trainer, features["test"], problem.write_predictions)
            finished.append(finish(run, trainer, metrics, model_args, data_args, problem))
        report(finished, args, problem.metric)
        # A process that leaves while another still writes would close the connections under it.
        trainer.accelerator.wait_for_everyone()
        trainer.end()
        # Last, so that no other process waits while files travel.
        push_all({one.run.args.folder: one.repository for one in finished if one.repository}, args)
