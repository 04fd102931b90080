"""`--dry_run`: what a command is going to do, as far as its arguments alone tell."""

from dataclasses import dataclass, field

from transformers import SchedulerType

from ..data.arguments import DataArguments
from ..methods.outer_loop import OuterLoopMixin, refuse_too_few_steps
from ..methods.reptile import ReptileMixin
from ..models.adapters import adapters_in_words
from ..models.loading import ModelArguments, check_model_arguments
from ..problems.problem import Problem
from ..training.plan import batch_in_words, reach_notes, reptile_notes, steps_of_budget
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments
from .steps import wanted_splits
from .zero_shot import draw_clusters_equally


@dataclass
class CommandArguments:
    """The arguments that every script has beside those of model, data and training."""

    dry_run: bool = field(
        default=False,
        metadata={
            "help": "Check the arguments, print the plan as far as they tell it, and stop: nothing is downloaded, "
            "loaded, trained or written."
        },
    )
    save_example_sums: bool = field(
        default=False,
        metadata={
            "help": "With --do_eval or --do_predict, write what each example adds to its task's score, from which "
            "`hf_seqreptile.compare` tells how far chance goes."
        },
    )


def dry_run(
    problem: type[Problem],
    method: type[MultiTaskMixin],
    model_args: ModelArguments,
    data_args: DataArguments,
    args: MultiTaskTrainingArguments,
) -> str:
    """The plan as far as it is known before any data is loaded: a text to print.

    Args:
        problem: the kind of task.
        method: the trainer's class, which `args` have been checked to suit.
        model_args: which model.
        data_args: which data.
        args: of the training; changed as `num_clusters` wants it.

    Raises:
        InputError: what the command would be refused for whatever the data is.
    """
    check_model_arguments(model_args)
    splits = wanted_splits(args)
    problem.check(data_args, splits)
    if args.do_train and data_args.num_clusters is not None:
        draw_clusters_equally(args, data_args.num_clusters, data_args.languages)
    rows = [("model", str(model_args.model_name_or_path))]
    rows += [row for split in splits for row in data_args.described(split)]
    if model_args.use_peft:
        rows.append(("adapters", adapters_in_words(model_args)))
    if args.do_train:
        rows += _training(method, data_args, args)
    rows.append(("output", str(args.output_dir)))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {text}" for name, text in rows]
    return "\n".join([f"Dry run ({args.method}): nothing is downloaded, loaded, trained or written.", *lines])


def _training(
    method: type[MultiTaskMixin], data_args: DataArguments, args: MultiTaskTrainingArguments
) -> list[tuple[str, str]]:
    number_of_tasks = data_args.number_of_tasks
    drawn, draws_per_step = _drawn_tasks(method, args, number_of_tasks)
    schedule = SchedulerType(args.lr_scheduler_type).value
    rows = [
        ("method", method.title),
        ("a step", drawn),
        ("a batch", f"B = {_batch_size(method, args)} examples of one task"),
        ("", _batch_in_words(method, args)),
        ("α", f"{args.learning_rate:g}, {schedule} schedule"),
        ("settings", ", ".join(f"{name} {value}" for name, value in method.settings(args).items()) or "none"),
    ]
    each = " for each task's model" if args.method == "stl" else ""
    budget, models = args.max_gradient_computations, number_of_tasks if args.method == "stl" else 1
    draws_of_processes = args.world_size if _have_own_draws(method, args) else 1
    if budget is not None and draws_per_step and models:
        args.max_steps = steps_of_budget(budget // models, draws_per_step * draws_of_processes)
    if args.max_steps > 0:
        draws = f", {args.max_steps * draws_per_step:,} batches" if draws_per_step else ""
        rows.append(("length", f"{args.max_steps:,} optimizer steps{draws}{each}"))
        return rows + [("", note) for note in _outer_updates(method, args, number_of_tasks)]
    if budget is not None:
        return [*rows, ("length", f"{budget:,} gradient computations; how many optimizer steps, the tasks tell")]
    outcome = ", outer updates and reach" if issubclass(method, OuterLoopMixin) else ""
    epochs = f"{args.num_train_epochs:g} epochs of ⌈ΣN_t / {_batch_size(method, args)}⌉ batches{each}"
    return [*rows, ("length", f"{epochs}; how many optimizer steps{outcome}, the data tells")]


def _drawn_tasks(
    method: type[MultiTaskMixin], args: MultiTaskTrainingArguments, number_of_tasks: int | None
) -> tuple[str, int | None]:
    """Which tasks an optimizer step takes, and how many batches of one process that are, where it is known."""
    if args.method == "stl":
        return "one batch of the model's task", 1
    if issubclass(method, ReptileMixin):
        return "one batch of the task whose trajectory it is on", 1
    if args.all_tasks_each_step:
        return "a batch of every task", number_of_tasks
    number = args.tasks_per_step or method.default_tasks_per_step
    is_uniform = number_of_tasks and method.exponent_counts() and not args.task_sampling_exponent
    probabilities = f"p_t = 1/{number_of_tasks}" if is_uniform else method.describe_probabilities(args)
    return f"M = {number} drawn task{'s' if number > 1 else ''}, a batch each, {probabilities}", number


def _batch_size(method: type[MultiTaskMixin], args: MultiTaskTrainingArguments) -> int:
    """Examples of one draw, on all processes that share it."""
    shared_by = 1 if _have_own_draws(method, args) else args.world_size
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * shared_by


def _batch_in_words(method: type[MultiTaskMixin], args: MultiTaskTrainingArguments) -> str:
    has_several = args.world_size > 1 and _have_own_draws(method, args)
    return batch_in_words(
        args.world_size, args.per_device_train_batch_size, args.gradient_accumulation_steps, has_several
    )


def _have_own_draws(method: type[MultiTaskMixin], args: MultiTaskTrainingArguments) -> bool:
    return issubclass(method, ReptileMixin) or args.parallel_trajectories


def _outer_updates(
    method: type[MultiTaskMixin], args: MultiTaskTrainingArguments, number_of_tasks: int | None
) -> list[str]:
    """What `max_steps` optimizer steps mean for φ, as far as the tasks are known."""
    if not issubclass(method, OuterLoopMixin):
        return []
    inner_steps, outer_learning_rate = method.trajectory_settings(args)
    if not issubclass(method, ReptileMixin):
        refuse_too_few_steps(args.max_steps, inner_steps, rounds=1)
        return reach_notes(args.max_steps, inner_steps, outer_learning_rate)
    rounds = -(-(number_of_tasks or 1) // args.world_size)
    refuse_too_few_steps(args.max_steps, inner_steps, rounds)
    if number_of_tasks is None:
        return []
    return reptile_notes(args.max_steps, inner_steps, outer_learning_rate, number_of_tasks, args.world_size)
