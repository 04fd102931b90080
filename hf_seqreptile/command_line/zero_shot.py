"""Training on one language in clusters, to serve languages without labels (section 4.3 of the paper)."""

from collections.abc import Sequence

from ..cache import cache_folder
from ..clustering.dataset_clusters import TASK_COLUMN, cluster
from ..clustering.gaussian_clusters import COVARIANCE_TYPE, check_settings
from ..data.columns import split_by_column
from ..errors import InputError
from ..methods import method_class
from ..methods.reptile import ReptileMixin
from ..models.loading import ModelArguments, load_encoder
from ..problems.problem import Problem, Splits
from ..training.training_args import MultiTaskTrainingArguments

CLUSTERS_FOLDER = "clusters"
"""Within the output folder: which example is in which cluster, with a figure and examples of each."""


def split_into_clusters(
    tasks: Splits, problem: Problem, num_clusters: int, model_args: ModelArguments, args: MultiTaskTrainingArguments
) -> Splits:
    """`tasks` with the one training task split into clusters, which are then the tasks.

    As in the paper, all clusters are drawn equally often, and methods that draw several tasks for a step take every
    cluster once; `args` is changed accordingly.

    Args:
        tasks: raw datasets by split and task.
        problem: knows which columns hold texts.
        num_clusters: tasks to make.
        model_args: the model to fine-tune, which also encodes the texts.
        args: of the training; the result is kept in its folder.

    Raises:
        InputError: several training tasks, fewer examples than clusters, or a method that has no use for clusters.
    """
    train = tasks["train"]
    draw_clusters_equally(args, num_clusters, list(train))
    task, dataset = next(iter(train.items()))
    # `cluster` checks this too, but only once a model was loaded for it.
    check_settings(len(dataset), num_clusters, None, COVARIANCE_TYPE, args.seed)
    with args.main_process_first(desc="clustering"):
        clustered = cluster(
            dataset,
            problem.text_columns(task, dataset),
            *load_encoder(model_args),
            args.folder / CLUSTERS_FOLDER,
            num_clusters=num_clusters,
            seed=args.seed,
            cache=cache_folder(),
        )
    by_cluster = split_by_column(clustered["train"], TASK_COLUMN, f"{args.folder / CLUSTERS_FOLDER}")
    in_order = sorted(by_cluster, key=lambda name: (len(name), name))
    return {**tasks, "train": {name: by_cluster[name] for name in in_order}}


def draw_clusters_equally(
    args: MultiTaskTrainingArguments, num_clusters: int, languages: Sequence[str] | None
) -> None:
    """Change `args` so that all clusters are drawn equally often, or are all taken in every step.

    Args:
        args: of the training.
        num_clusters: tasks to make.
        languages: the training tasks before they are split, where they are known.

    Raises:
        InputError: as in [`split_into_clusters`], as far as the arguments tell.
    """
    if languages is not None and len(languages) != 1:
        raise InputError(
            f"--num_clusters splits one training task, but there are {len(languages)}: {', '.join(languages)}. Name "
            f"one with --languages."
        )
    if args.method == "stl":
        raise InputError("--method stl trains a model for each task alone, which clusters are not for; use mtl.")
    if args.is_given("task_sampling_exponent"):
        raise InputError(
            "--task_sampling_exponent has no effect with --num_clusters, whose clusters are drawn equally often; "
            "remove it."
        )
    # Whether there are enough examples for them only the data tells.
    check_settings(num_clusters, num_clusters, None, COVARIANCE_TYPE, args.seed)
    method = method_class(args.method)
    if args.tasks_per_step is None and method.default_tasks_per_step > 1:
        args.all_tasks_each_step = True
    elif not issubclass(method, ReptileMixin):  # which draws no tasks
        args.task_sampling_exponent = 0.0
