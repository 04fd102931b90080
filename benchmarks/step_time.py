"""What does Sequential Reptile cost per step, over the stock trainer on the same batches?

    python benchmarks/step_time.py --data path/to/wikiann

Trains the offline encoder on WikiAnn German and English with the stock `Trainer` and with `SeqReptileTrainer`, on the
same batches in the same order, in turns within one process of one thread. A step lasts from its beginning to the next
one's, so an outer update counts towards the step it follows. Time is the processor's, which other programs on the
machine disturb less than the clock's. Reported are medians over the turns, as ratios to the stock trainer's.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from hf_seqreptile import MultiTaskTrainingArguments, SeqReptileTrainer
from hf_seqreptile.data import load_tasks
from hf_seqreptile.methods.slow_weights import SlowWeights
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments

RESULT = Path(__file__).parent / "results" / "step_time.json"


class InGivenOrder(Trainer):
    """The stock trainer, which shuffles unless told not to."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class StepTimes(TrainerCallback):
    """Seconds of each optimizer step, with all that follows it up to the next."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.starts.append(time.process_time())

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.starts.append(time.process_time())

    @property
    def seconds(self) -> list[float]:
        """One number for each step."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with de/ and en/")
    parser.add_argument("--steps", type=int, default=100, help="steps of one turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each trainer")
    args = parser.parse_args()
    torch.set_num_threads(1)

    files = [f"{x}={args.data / x / 'train.conllu'}" for x in ("de", "en")]
    data_args = TokenClassificationArguments(train_file=files, max_train_samples=["6000"], max_seq_length=128)
    tasks = load_tasks(data_args, ["train"])
    problem = TokenClassification(tasks, data_args)
    model, tokenizer = load_model(
        AutoModelForTokenClassification,
        ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True),
        problem.labels,
        lambda: problem.texts(tasks),
    )
    start = {name: value.clone() for name, value in model.state_dict().items()}
    train = problem.encode(tasks["train"], tokenizer, "train")
    common: dict[str, Any] = {
        "per_device_train_batch_size": 16, "max_steps": args.steps, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "lr_scheduler_type": "constant", "learning_rate": 3e-5, "logging_steps": args.steps,
    }  # fmt: skip
    collator = DataCollatorForTokenClassification(tokenizer)

    def timed(make: Any) -> float:
        model.load_state_dict(start)
        times = StepTimes()
        with tempfile.TemporaryDirectory() as folder:
            trainer = make(folder, [times])
            set_seed(0)
            trainer.train()
        return statistics.fmean(times.seconds[5:])

    def seq_reptile(inner_steps: int) -> Any:
        def make(folder: str, callbacks: list[TrainerCallback]) -> SeqReptileTrainer:
            own = MultiTaskTrainingArguments(output_dir=folder, inner_steps=inner_steps, **common)
            return SeqReptileTrainer(model, own, collator, train, callbacks=callbacks)

        return make

    with tempfile.TemporaryDirectory() as folder:
        loader = seq_reptile(10)(folder, []).get_train_dataloader()
        order = [example for batch in loader.batch_sampler for example in batch][: args.steps * 16]
        rows = [train[task][row] for task, row, _ in order]

    def stock(folder: str, callbacks: list[TrainerCallback]) -> Trainer:
        own = TrainingArguments(output_dir=folder, **common)
        return InGivenOrder(model, own, collator, train_dataset=rows, callbacks=callbacks)  # type: ignore[arg-type]

    makers = {"stock": stock, "K=10": seq_reptile(10), "K=100": seq_reptile(100)}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for turn in range(args.turns):
        # Each turn begins with another one, so that a drifting machine favours none.
        for name in [*makers][turn % len(makers) :] + [*makers][: turn % len(makers)]:
            seconds[name].append(timed(makers[name]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "seconds_per_step": seconds,
        "ratio_to_stock": {name: round(value / medians["stock"], 4) for name, value in medians.items()},
        "outer_update_seconds": outer_update_seconds(model),
        "parameters_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "slow_weights_bytes": SlowWeights(dict(model.named_parameters())).memory,
        "steps": args.steps,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def outer_update_seconds(model: PreTrainedModel) -> float:
    """Median time of an outer update alone, from which the cost at any K follows."""
    slow = SlowWeights(dict(model.named_parameters()))
    times = []
    for _ in range(15):
        begin = time.process_time()
        slow.outer_update(0.1)
        times.append(time.process_time() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    main()
