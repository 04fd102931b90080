"""One dataset in one language becomes several tasks: the paper's setting for zero-shot transfer (section 4.3).

Each row is encoded with a pretrained model, the vectors are reduced with PCA, and a Gaussian mixture puts each row
into one cluster. `python -m hf_seqreptile.clustering` does it and writes a dataset that the scripts load.
"""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..digests import dataset_digest, digest
from ..durable import sync_file, write_whole
from ..embeddings.sentence_embeddings import SentenceEncoder
from ..errors import InputError
from ..json_text import parse_json
from .cluster_report import cluster_name, plot_clusters, summary, write_examples
from .gaussian_clusters import COVARIANCE_TYPE, check_settings, find_clusters

TASK_COLUMN = "task"
NUM_CLUSTERS = 4
"""The paper's."""
MAX_LENGTH = 512
DATA, REPORT, FIGURE, EXAMPLES, EMBEDDINGS = (
    "train.parquet",
    "clusters.json",
    "clusters.png",
    "clusters.md",
    "embeddings",
)
# Goes into the key: raise it when the same inputs must give another result than they did before.
_RECIPE = 1


def cluster(
    dataset: Dataset,
    columns: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    num_clusters: int = NUM_CLUSTERS,
    dimension: int | None = None,
    covariance_type: str = COVARIANCE_TYPE,
    max_length: int = MAX_LENGTH,
    seed: int = 42,
    cache: Path | None = None,
) -> DatasetDict:
    """Split a dataset into tasks: encode each row, PCA, Gaussian mixture, hard assignment.

    Encodes on the accelerator, in bf16, where there is one. A call that was killed goes on where it stopped; a folder
    that holds the result of the same inputs is read, and any other result, or a damaged one, is written over. Says
    which on stdout.

    Args:
        dataset: at least `num_clusters` rows, without a column `task`.
        columns: the columns of text, encoded together; two make a pair (question and context).
        model: a pretrained encoder; of a model with a head, the part below it is used.
        tokenizer: its own.
        folder: gets train.parquet (the result), clusters.json, clusters.png and clusters.md.
        num_clusters: tasks to make.
        dimension: principal components that the mixture sees. None: 50, or as many as there can be.
        covariance_type: of the mixture: `full`, `tied`, `diag` or `spherical`.
        max_length: subwords after which a row is cut; at most what the model takes.
        seed: of the mixture's start.
        cache: where the embeddings are kept for later calls, in a folder of their own. Default: `folder`/embeddings,
            which has room for those of one call.

    Returns:
        The dataset under "train", with a column `task`: `cluster_1` is the largest.

    Raises:
        InputError: missing columns or texts, fewer rows than clusters, equal texts, a dimension larger than possible,
            an empty cluster.
    """
    began = perf_counter()
    encoder = SentenceEncoder(model, tokenizer, tuple(columns), max_length)
    check_settings(len(dataset), num_clusters, dimension, covariance_type, seed)
    encoder.check(dataset)
    if TASK_COLUMN in dataset.column_names:
        raise InputError(f"The data has a column {TASK_COLUMN!r} already; rename it or leave it out.")
    settings = {
        "num_clusters": num_clusters,
        "dimension": dimension,
        "covariance_type": covariance_type,
        "max_length": max_length,
        "seed": seed,
        "columns": list(columns),
    }
    embeddings_key = encoder.key(dataset)
    key = digest(_RECIPE, embeddings_key, dataset_digest(dataset), settings)
    tasks = _read_tasks(folder, key)
    if tasks is not None and len(tasks) == len(dataset):
        print(f"{folder} holds the clusters of these inputs already; nothing to do.", flush=True)
        return _with_tasks(dataset, tasks)

    folder.mkdir(parents=True, exist_ok=True)
    # It comes back last, so what a killed call leaves never passes for a result.
    (folder / REPORT).unlink(missing_ok=True)
    embeddings = encoder.embed(
        dataset, cache / f"{EMBEDDINGS}-{embeddings_key[:16]}" if cache else folder / EMBEDDINGS
    )
    clusters = find_clusters(embeddings.array, num_clusters, dimension, covariance_type, seed)
    result = _with_tasks(dataset, [cluster_name(number) for number in clusters.numbers])
    result["train"].to_parquet(folder / DATA)
    plot_clusters(clusters, folder / FIGURE)
    write_examples(clusters, dataset, columns, folder / EXAMPLES)
    settings |= {"dimension": clusters.points.shape[1], "model": _model_name(model), "key": key}
    for name in (DATA, FIGURE, EXAMPLES):
        sync_file(folder / name)
    write_whole(folder / REPORT, summary(clusters, settings))
    print(
        f"{len(dataset):,} examples in {num_clusters} clusters of {', '.join(f'{n:,}' for n in clusters.sizes)}. "
        f"Encoded {embeddings.encoded:,} in {embeddings.seconds:.1f} s; all else took "
        f"{perf_counter() - began - embeddings.seconds:.1f} s. Written: {folder}",
        flush=True,
    )
    return result


def _with_tasks(dataset: Dataset, tasks: list[str]) -> DatasetDict:
    return DatasetDict({"train": dataset.add_column(TASK_COLUMN, tasks)})


def _read_tasks(folder: Path, key: str) -> list[str] | None:
    """Each row's task, if the folder holds a whole result of what `key` is of."""
    try:
        report = parse_json((folder / REPORT).read_text(encoding="utf-8"))
        is_whole = all((folder / name).exists() for name in (DATA, FIGURE, EXAMPLES))
        if not (is_whole and isinstance(report, dict) and report.get("key") == key):
            return None
        return pq.read_table(folder / DATA, columns=[TASK_COLUMN])[TASK_COLUMN].cast(pa.string()).to_pylist()
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def _model_name(model: PreTrainedModel) -> str:
    """As on the Hub; of a folder its own name, since its path says nothing to others."""
    name = str(model.config.name_or_path)
    return Path(name).name if Path(name).is_dir() else name
