"""`python -m hf_seqreptile.clustering`: splits a dataset into tasks, and writes one that the scripts load."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..console.arguments import parse_arguments
from ..console.bad_input import bad_input_exits
from ..data import DataArguments, load_tasks
from ..errors import InputError
from ..models.loading import ModelArguments, load_encoder
from .dataset_clusters import (
    DATA,
    EXAMPLES,
    FIGURE,
    MAX_LENGTH,
    NUM_CLUSTERS,
    REPORT,
    TASK_COLUMN,
    cluster,
)
from .gaussian_clusters import COVARIANCE_TYPE, COVARIANCE_TYPES, DIMENSION

EPILOG = f"""examples:
  python -m hf_seqreptile.clustering --dataset_name rajpurkar/squad --text_columns question context \\
    --model_name_or_path google-bert/bert-base-multilingual-cased --output_dir clusters/squad
  run_qa.py --dataset_name clusters/squad --task_column {TASK_COLUMN} ...

The folder gets {DATA} with a column `{TASK_COLUMN}`, {REPORT}, {FIGURE} and {EXAMPLES}. A second run with the same
inputs does nothing, and one that was killed goes on where it stopped."""


@dataclass
class ClusteringArguments:
    """What to cluster, and how."""

    text_columns: list[str] = field(
        default_factory=list,
        metadata={"nargs": "+", "help": "The columns of text, encoded together: `question context`."},
    )
    output_dir: str = field(default="clusters", metadata={"help": "The folder for the result."})
    dimension: int | None = field(
        default=None,
        metadata={"help": f"Principal components to cluster. Default: {DIMENSION}, or as many as there can be."},
    )
    covariance_type: str = field(
        default=COVARIANCE_TYPE, metadata={"help": f"Of the Gaussian mixture: {', '.join(COVARIANCE_TYPES)}."}
    )
    max_length: int = field(default=MAX_LENGTH, metadata={"help": "Subwords after which a row is cut."})
    seed: int = field(default=42, metadata={"help": "Of the mixture's start."})


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    with bad_input_exits():
        model_args, data_args, args = parse_arguments(
            (ModelArguments, DataArguments, ClusteringArguments), argv, EPILOG
        )
        if not args.text_columns:
            raise InputError("--text_columns is missing: name the columns of text.")
        tasks = load_tasks(data_args, ["train"], cache_dir=model_args.cache_dir, token=model_args.token)["train"]
        if len(tasks) > 1:
            raise InputError(f"The data has the tasks {', '.join(tasks)}; choose one with --languages.")
        (dataset,) = tasks.values()
        model, tokenizer = load_encoder(model_args)
        cluster(
            dataset,
            args.text_columns,
            model,
            tokenizer,
            Path(args.output_dir),
            num_clusters=NUM_CLUSTERS if data_args.num_clusters is None else data_args.num_clusters,
            dimension=args.dimension,
            covariance_type=args.covariance_type,
            max_length=args.max_length,
            seed=args.seed,
        )


if __name__ == "__main__":
    main()
