"""What does a step cost over the stock trainer's on the same batches?

    OMP_NUM_THREADS=1 python benchmarks/step_time.py --data path/to/wikiann
    OMP_NUM_THREADS=1 python benchmarks/step_time.py --tiny

Trains the offline encoder on WikiAnn German and English, or with `--tiny` a BERT of a few thousand parameters on made
sentences, with the stock `Trainer` and with ours: each reads the same rows of `datasets` in the same order, 16 at a
time. The two take turns step by step, each in a thread of its own, so that what other programs on the machine take is
taken from both. A step lasts from its beginning to the next one's, so an outer update counts towards the step it
follows. Time is the thread's own on the processor. All of a run may be some hundred µs a step faster or slower than
the next, perhaps by where tensors lie in memory, so there are several runs of a pair, the one built first and begun
first in turns, and what counts is the median over them.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from hf_seqreptile import METHODS, MultiTaskTrainingArguments
from hf_seqreptile.data import load_tasks
from hf_seqreptile.methods.slow_weights import SlowWeights
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments

RESULT = Path(__file__).parent / "results" / "step_time.json"
BATCH = 16
WARM_UP = 5
"""Steps at the start that are not counted."""
OURS: dict[str, dict[str, Any]] = {
    "mtl, M = 1": {"method": "mtl", "tasks_per_step": 1},
    "seq_reptile, K = 10": {"method": "seq_reptile", "inner_steps": 10},
    "seq_reptile, K = 100": {"method": "seq_reptile", "inner_steps": 100},
}


class InGivenOrder(Trainer):
    """The stock trainer on rows whose order is given, where its own would be random."""

    order: list[int]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order


class InTurns(TrainerCallback):
    """Waits at the beginning of each step until the other trainer has made one; takes the time of its own.

    Args:
        begins: whether it has the first turn.
        lock: what both wait for.
    """

    other: "InTurns"

    def __init__(self, begins: bool, lock: threading.Condition) -> None:
        self.has_turn = begins
        self.is_done = False
        self.lock = lock
        self.seconds: list[float] = []
        self.start: float | None = None

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        if self.start is not None:
            self.seconds.append(time.thread_time() - self.start)
            self.hand_over()
        with self.lock:
            self.lock.wait_for(lambda: self.has_turn or self.other.is_done)
        self.start = time.thread_time()

    def hand_over(self) -> None:
        """Let the other make a step."""
        with self.lock:
            self.has_turn, self.other.has_turn = False, True
            self.lock.notify_all()


def tiny() -> tuple[PreTrainedModel, dict[str, Dataset], Any]:
    """Model, tasks and collator."""
    random = np.random.default_rng(0)
    tasks = {
        name: Dataset.from_dict({
            "input_ids": random.integers(4, 64, (size, 12)).tolist(),
            "attention_mask": [[1] * 12] * size,
            "labels": random.integers(0, 5, (size, 12)).tolist(),
        })
        for name, size in {"a": 6000, "b": 3700, "c": 900}.items()
    }  # fmt: skip
    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, num_labels=5,
    )  # fmt: skip
    return BertForTokenClassification(config), tasks, default_data_collator


def encoder(data: Path) -> tuple[PreTrainedModel, dict[str, Dataset], Any]:
    """Model, tasks and collator."""
    files = [f"{x}={data / x / 'train.conllu'}" for x in ("de", "en")]
    data_args = TokenClassificationArguments(train_file=files, max_train_samples=["6000"], max_seq_length=128)
    tasks = load_tasks(data_args, ["train"])
    problem = TokenClassification(tasks, data_args)
    model, tokenizer = load_model(
        AutoModelForTokenClassification,
        ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True),
        problem.labels,
        lambda: problem.texts(tasks),
    )
    return model, problem.encode(tasks["train"], tokenizer, "train"), DataCollatorForTokenClassification(tokenizer)


def compare(
    make: Callable[[], Any], steps: int, settings: dict[str, Any], folder: str, stock_is_first: bool
) -> tuple[list[float], ...]:
    """Seconds of each step of the stock trainer and of ours."""
    common: dict[str, Any] = {
        "output_dir": folder, "per_device_train_batch_size": BATCH, "max_steps": steps, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "lr_scheduler_type": "constant", "learning_rate": 3e-5,
        "logging_steps": 100, "use_cpu": True,
    }  # fmt: skip
    made = [make(), make()]
    (model, tasks, collator), (other_model, _, _) = reversed(made) if stock_is_first else made
    args = MultiTaskTrainingArguments(**settings, **common)
    ours = METHODS[args.method](model, args, collator, tasks)
    starts = dict(zip(tasks, np.cumsum([0, *map(len, tasks.values())]).tolist(), strict=False))
    stock = InGivenOrder(other_model, TrainingArguments(**common), collator, concatenate_datasets([*tasks.values()]))
    batches: Any = ours.get_train_dataloader().batch_sampler
    stock.order = []
    for epoch in range(1 + steps // len(batches)):
        batches.set_epoch(epoch)
        stock.order += [starts[task] + row for batch in batches for task, row, _ in batch]

    lock = threading.Condition()
    turns = [InTurns(begins, lock) for begins in (stock_is_first, not stock_is_first)]
    turns[0].other, turns[1].other = turns[1], turns[0]

    def train(trainer: Trainer, own: InTurns) -> None:
        trainer.add_callback(own)
        try:
            trainer.train()
        finally:
            own.is_done = True
            own.hand_over()

    with contextlib.redirect_stdout(io.StringIO()), ThreadPoolExecutor(2) as threads:
        for trained in [threads.submit(train, *each) for each in zip((stock, ours), turns, strict=True)]:
            trained.result()
    return tuple(turn.seconds[WARM_UP:] for turn in turns)


def summary(pairs: list[tuple[list[float], ...]]) -> dict[str, Any]:
    """Of several runs of pairs of steps on the same batch."""
    rounds = [[own - other for other, own in zip(stock, ours, strict=True)] for stock, ours in pairs]
    medians = [1e6 * statistics.median(differences) for differences in rounds]
    milliseconds = [[1e3 * statistics.median(seconds) for seconds in pair] for pair in pairs]
    return {
        "steps": len(rounds[0]),
        "stock_milliseconds": statistics.median(stock for stock, _ in milliseconds),
        "ours_milliseconds": statistics.median(ours for _, ours in milliseconds),
        "ratio": statistics.median(ours / stock for stock, ours in milliseconds),
        "difference_microseconds": statistics.median(medians),
        "difference_of_each_round_microseconds": medians,
    }


def outer_update_seconds(model: PreTrainedModel) -> float:
    """Median time of an outer update alone, from which the cost at any K follows."""
    slow = SlowWeights(dict(model.named_parameters()))
    times = []
    for _ in range(15):
        begin = time.process_time()
        slow.outer_update(0.1)
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main() -> None:
    """Measure, print and write the result; what was measured of the other model stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", type=Path, help="the folder with de/ and en/, for the offline encoder")
    which.add_argument("--tiny", action="store_true", help="a BERT of a few thousand parameters")
    parser.add_argument("--steps", type=int, help="of each trainer in a round; default: 100, with --tiny 300")
    parser.add_argument("--rounds", type=int, default=10, help="default: 10")
    args = parser.parse_args()
    torch.set_num_threads(1)
    make, steps = (tiny, args.steps or 300) if args.tiny else (lambda: encoder(args.data), args.steps or 100)

    pairs = {}
    # A run that ends before its first outer update is refused.
    long_enough = {name: settings for name, settings in OURS.items() if settings.get("inner_steps", 0) <= steps}
    for name, settings in long_enough.items():
        with tempfile.TemporaryDirectory() as folder:
            rounds = [compare(make, steps, settings, folder, number % 2 == 0) for number in range(args.rounds)]
        pairs[name] = summary(rounds)
        print(name, json.dumps(pairs[name]), flush=True)
    model = make()[0]
    result = {
        "pairs": pairs,
        "outer_update_milliseconds": 1e3 * outer_update_seconds(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "slow_weights_bytes": SlowWeights(dict(model.named_parameters())).memory,
    }
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results["tiny" if args.tiny else "encoder"] = result
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
