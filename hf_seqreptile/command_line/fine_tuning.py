"""The flow of every script: from the command line to a trained, evaluated and described model."""

from collections.abc import Sequence

from transformers import set_seed

from ..console.arguments import parse_arguments
from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..models.adapters import check_lora_arguments, with_adapters
from ..problems.problem import Problem
from ..publishing.hub_repository import push_all
from ..training.training_args import MultiTaskTrainingArguments
from .dry_run import CommandArguments, dry_run
from .finished_run import finish, refuse_results_of_another_model, refuse_scores_by_another_metric, report
from .selection import check_metric, take_metric_of_problem, take_task_arguments
from .steps import (
    evaluate,
    plan_runs,
    predict,
    set_up_logging,
    train,
    trainer_class,
    wanted_splits,
)
from .unused_arguments import refuse_unused_arguments, take_stock_names
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
            (problem_class.model_arguments, problem_class.arguments, MultiTaskTrainingArguments, CommandArguments),
            argv,
            example,
        )
        make_trainer = trainer_class(args)
        check_lora_arguments(model_args, args.do_train)
        if model_args.use_peft:
            make_trainer.refuse_adapters()
        take_stock_names(args, data_args)
        refuse_unused_arguments(args, problem_class.without_effect)
        refuse_results_of_another_model(args, str(model_args.model_name_or_path))
        if run_args.dry_run:
            if args.process_index == 0:
                print(dry_run(problem_class, make_trainer, model_args, data_args, args), flush=True)
            return
        set_up_logging(args)
        with args.main_process_first(desc="loading"):
            problem, tasks = problem_class.read(data_args, wanted_splits(args), model_args.cache_dir, model_args.token)
        refuse_unused_arguments(args, problem.without_effect)
        refuse_scores_by_another_metric(args, problem.metric)
        if args.process_index == 0:
            print(*problem.notes, sep="\n", end="\n" if problem.notes else "", flush=True)
        take_metric_of_problem(args, problem)
        take_task_arguments(args, problem)
        languages = list(tasks.get("train", ()))
        if data_args.num_clusters is not None and languages:
            tasks = split_into_clusters(tasks, problem, data_args.num_clusters, model_args, args)

        runs = plan_runs(args, tasks, languages)
        check_metric(runs, problem)
        finished = []
        for run in runs:
            set_seed(args.seed)
            of_run = problem.of_run(run.tasks)
            model, tokenizer = of_run.load_model(model_args, lambda: problem.texts(tasks), args.do_train)
            if model_args.use_peft:
                model = with_adapters(model, model_args, model_args.model_revision)
            with args.main_process_first(desc="tokenizing"):
                features = {split: of_run.encode(data, tokenizer, split) for split, data in run.tasks.items()}
            trainer = make_trainer(
                model=model,
                args=run.args,
                train_dataset=features.get("train"),
                eval_dataset=features.get("validation"),
                **of_run.for_trainer(tokenizer),
            )
            if args.do_train:
                train(trainer, of_run)
            metrics: dict[str, float] = {}
            if args.do_eval:
                metrics |= evaluate(trainer, features["validation"], of_run, run_args.save_example_sums)
            if args.do_predict:
                metrics |= predict(trainer, features["test"], of_run, run_args.save_example_sums)
            finished.append(finish(run, trainer, metrics, model_args, data_args, of_run))
        report(finished, args, problem.metric)
        # A process that leaves while another still writes would close the connections under it.
        trainer.accelerator.wait_for_everyone()
        trainer.end()
        # Last, so that no other process waits while files travel.
        push_all({one.run.args.folder: one.repository for one in finished if one.repository}, args)
