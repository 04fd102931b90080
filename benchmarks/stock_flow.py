"""How much faster are run_qa.py and run_xnli.py than the flow of Hugging Face's scripts of these names?

    OMP_NUM_THREADS=1 python benchmarks/stock_flow.py --data path/to/data
    python benchmarks/stock_flow.py --data path/to/data --model tiny --rounds 1 --steps 2
    python benchmarks/stock_flow.py --table

The stock flow is written here from those scripts' arguments and known behaviour: the stock `Trainer`, every example
padded to the maximum length (384 tokens for questions, 128 for pairs of sentences), random order, post-processing in
Python loops over features and pairs of tokens. Ours is the package's own problems and MTL with one task a step, as the
scripts set them up. Both have the same model, examples, batch size (12 and 16) and optimizer.

Times are medians of rounds in which the flows take turns, within one process of one thread, by the processor's time
and by the clock. How long a training step of ours takes depends on its examples. So the steps measured are spread
evenly over all batches of an epoch sorted by padded length; the stock flow, where all steps take as long, gets the
same examples. `--data` has TyDiQA in `tydiqa_goldp/LANGUAGE_tydiqa_{train,dev}.json` and XNLI in
`xnli/en/{train,test}.jsonl`. `results/stock_flow.json` keeps what was last measured with the encoder.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import platform
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from stock_scripts import (
    PAIR_TOKENS,
    QUESTION_TOKENS,
    Logits,
    stock_accuracy,
    stock_answers,
    stock_pair_features,
    stock_question_features,
    stock_spans,
)
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)
from transformers.trainer_utils import PredictionOutput

from hf_seqreptile import MultiTaskTrainingArguments
from hf_seqreptile.data import load_tasks
from hf_seqreptile.metrics import SquadMetric
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.problem import Problem, Splits, Tasks
from hf_seqreptile.problems.question_answering import QuestionAnswering
from hf_seqreptile.problems.sequence_classification import SequenceClassification
from hf_seqreptile.training.sampling import TaskBatchSampler
from hf_seqreptile.training.task_datasets import example_lengths
from hf_seqreptile.training.trainer import MultiTaskTrainer

RESULT = Path(__file__).parent / "results" / "stock_flow.json"
LANGUAGES = ("english", "swahili", "korean")
STOCK = "stock"
CLOCKS = {"processor": time.process_time, "clock": time.perf_counter}

Seconds = dict[str, float]
"""By each of `CLOCKS`."""
Batch = list[tuple[str, int]]
"""Task and row of each example."""


@dataclass(frozen=True)
class Setup:
    """What is trained for.

    Args:
        ours: the package's class of the problem.
        stock_features: the stock flow's, from rows, tokenizer and whether they are for training.
        stock_removes: columns of the examples that the stock features do not keep; `None` for all.
        files: below `--data`, by argument.
        max_length: of the stock flow's examples, in tokens.
        batch: examples of a batch.
        train: examples that features are made of.
        evaluated: examples that are evaluated.
    """

    ours: type[Problem]
    stock_features: Callable[..., Any]
    stock_removes: list[str] | None
    files: dict[str, dict[str, str]]
    max_length: int
    batch: int
    train: int
    evaluated: int


PROBLEMS = {
    "qa": Setup(
        QuestionAnswering,
        stock_question_features,
        None,
        {
            "train_file": {x: f"tydiqa_goldp/{x}_tydiqa_train.json" for x in LANGUAGES},
            "validation_file": {x: f"tydiqa_goldp/{x}_tydiqa_dev.json" for x in LANGUAGES},
        },
        max_length=QUESTION_TOKENS,
        batch=12,
        train=2000,
        evaluated=96,
    ),
    "xnli": Setup(
        SequenceClassification,
        stock_pair_features,
        ["premise", "hypothesis"],
        {"train_file": {"en": "xnli/en/train.jsonl"}, "validation_file": {"en": "xnli/en/test.jsonl"}},
        max_length=PAIR_TOKENS,
        batch=16,
        train=4000,
        evaluated=160,
    ),
}


class StepTimes(TrainerCallback):
    """When each optimizer step began, and the last one ended, by each clock."""

    def __init__(self) -> None:
        self.readings: list[Seconds] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.readings.append(read_clocks())

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.readings.append(read_clocks())

    @property
    def seconds(self) -> Seconds:
        """Of all steps but the first."""
        return {clock: self.readings[-1][clock] - self.readings[1][clock] for clock in CLOCKS}


class ChosenBatches(TaskBatchSampler):
    """The batches it is given, in place of its parent's."""

    def __init__(self, chosen: Sequence[Batch], *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.chosen = chosen

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.chosen)


class OursOnChosenBatches(MultiTaskTrainer):
    """MTL on given batches."""

    chosen: Sequence[Batch] = ()

    def _make_sampler(self, sampler_class: Any, **settings: Any) -> TaskBatchSampler:
        return super()._make_sampler(partial(ChosenBatches, self.chosen) if self.chosen else sampler_class, **settings)


class Flows:
    """Both flows on one problem, with one model that both train and evaluate.

    Args:
        problem: what for.
        data: the folder with all data.
        small: whether the model is a tiny one, to try things out.
        folder: for caches and outputs.
    """

    def __init__(self, problem: Setup, data: Path, small: bool, folder: Path) -> None:
        self.problem, self.folder = problem, folder
        files: dict[str, Any] = {
            name: [f"{task}={data / path}" for task, path in x.items()] for name, x in problem.files.items()
        }
        data_args = problem.ours.arguments(**files, overwrite_cache=True)
        self.all: Splits = load_tasks(data_args, ["train", "validation"], cache_dir=str(folder))
        self.ours: Any = problem.ours(self.all, data_args)
        set_seed(0)
        model_args = ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True)
        self.model, self.tokenizer = load_model(
            problem.ours.auto_model, model_args, self.ours.labels, lambda: self.ours.texts(self.all)
        )
        if small:
            self.model = tiny_like(self.model, problem.ours.auto_model)

    def stock_features(self, tasks: Tasks, split: str) -> Any:
        """All tasks as one."""
        together = concatenate_datasets(list(tasks.values()))
        make = partial(self.problem.stock_features, tokenizer=self.tokenizer, is_training=split == "train")
        removed = self.problem.stock_removes or together.column_names
        return together.map(make, batched=True, remove_columns=removed, load_from_cache_file=False)

    def our_features(self, tasks: Tasks, split: str) -> dict[str, Dataset]:
        """Each task's."""
        return self.ours.encode(tasks, self.tokenizer, split)

    def settings(self, steps: int = 1) -> dict[str, Any]:
        """Both trainers' arguments."""
        return {
            "output_dir": str(self.folder / "out"), "per_device_train_batch_size": self.problem.batch,
            "per_device_eval_batch_size": self.problem.batch, "max_steps": steps, "learning_rate": 1e-4,
            "lr_scheduler_type": "constant", "save_strategy": "no", "logging_strategy": "no", "report_to": "none",
            "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False,
        }  # fmt: skip

    def stock_trainer(self, train: Dataset | None, steps: int = 1, **options: Any) -> Trainer:
        """The stock trainer; the collator only stacks, since all examples are as long."""
        args = TrainingArguments(**self.settings(steps))
        return Trainer(self.model, args, default_data_collator, train_dataset=train, **options)

    def our_trainer(self, train: Tasks, steps: int = 1, **options: Any) -> Any:
        """MTL with one task a step."""
        args = MultiTaskTrainingArguments(method="mtl", tasks_per_step=1, **self.settings(steps))
        return OursOnChosenBatches(self.model, args, self.ours.collator(self.tokenizer), train, **options)


def tiny_like(model: PreTrainedModel, auto_class: Any) -> PreTrainedModel:
    """A model of one small layer with the vocabulary and labels of `model`."""
    config = model.config
    config.update({"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64})
    return auto_class.from_config(config)


def sample(tasks: Tasks, number: int) -> dict[str, Dataset]:
    """So many random examples, from each task in proportion to its size."""
    share = min(1.0, number / sum(map(len, tasks.values())))
    return {task: data.shuffle(seed=0).select(range(round(share * len(data)))) for task, data in tasks.items()}


def read_clocks() -> Seconds:
    """Each clock's time."""
    return {name: clock() for name, clock in CLOCKS.items()}


def timed(action: Callable[[], Any]) -> Callable[[int], Seconds]:
    """What takes part in a round: the action's seconds."""

    def measure(turn: int) -> Seconds:
        before = read_clocks()
        action()
        return {name: end - before[name] for name, end in read_clocks().items()}

    return measure


def in_turns(
    stock: Callable[[int], Seconds], ours: Callable[[int], Seconds], rounds: int, number: int, warm_ups: int = 0
) -> dict[str, Any]:
    """Seconds of each round for `number` examples. Rounds begin with either, so that a drift favours none."""
    flows = {"stock": stock, "ours": ours}
    seconds: dict[str, list[Seconds]] = {name: [] for name in flows}
    for turn in range(rounds + warm_ups):
        for name in (*flows,) if turn % 2 else reversed(flows):
            measured = flows[name](max(0, turn - warm_ups))
            if turn >= warm_ups:
                seconds[name].append(measured)
    return {"examples": number, "seconds": seconds}


def check_same_inputs(stock: Dataset, ours: Tasks) -> None:
    """Both flows' features hold the same tokens in the same order, padding aside."""
    rows = [ids for data in ours.values() for ids in data["input_ids"]]
    if len(rows) != len(stock) or any(a[: len(b)] != b for a, b in zip(stock["input_ids"], rows, strict=True)):
        raise SystemExit("The two flows' features differ.")


def measure_training(flows: Flows, tasks: Tasks, rounds: int, steps: int) -> dict[str, Any]:
    """Optimizer steps, with the loading of their batches."""
    stock, ours = flows.stock_features(tasks, "train"), flows.our_features(tasks, "train")
    check_same_inputs(stock, ours)
    lengths = {task: example_lengths(data, "length") for task, data in ours.items()}
    first = dict(zip(ours, np.cumsum([0, *map(len, ours.values())]), strict=False))

    def padded(batch: Batch) -> int:
        return max(lengths[task][row] for task, row, _ in batch)  # type: ignore[index]

    epoch = sorted(flows.our_trainer(ours).get_train_dataloader().batch_sampler, key=padded)
    middles = (np.arange(rounds * steps) + 0.5) * len(epoch) / (rounds * steps)
    chosen = [epoch[int(i)] for i in middles]
    random = np.random.default_rng(0)
    # The first step of each warms up.
    of_rounds = [
        [epoch[len(epoch) // 2], *(chosen[i] for i in random.permutation(np.arange(turn, len(chosen), rounds)))]
        for turn in range(rounds)
    ]

    def train_stock(turn: int) -> Seconds:
        rows = [int(first[task] + row) for batch in of_rounds[turn] for task, row, _ in batch]
        times = StepTimes()
        flows.stock_trainer(stock.select(rows), steps + 1, callbacks=[times]).train()
        return times.seconds

    def train_ours(turn: int) -> Seconds:
        times = StepTimes()
        trainer = flows.our_trainer(ours, steps + 1, callbacks=[times])
        trainer.chosen = of_rounds[turn]
        trainer.train()
        return times.seconds

    return in_turns(train_stock, train_ours, rounds, steps * flows.problem.batch) | {
        "tokens": {
            "stock": flows.problem.max_length,
            "ours": float(np.mean([padded(batch) for batch in chosen])),
            "ours, whole epoch": float(np.mean([padded(batch) for batch in epoch])),
        }
    }


def measure_evaluation(flows: Flows, tasks: Tasks, rounds: int) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Forward passes, and NLI's accuracy; the result, and both flows' predictions, ours by task."""
    stock, ours = flows.stock_features(tasks, "validation"), flows.our_features(tasks, "validation")
    check_same_inputs(stock, ours)
    scoring = {name: value for name, value in flows.ours.scoring().items() if name != "compute_dataset_metrics"}
    metrics = stock_accuracy if "compute_metrics" in scoring else None
    stock_trainer = flows.stock_trainer(None, compute_metrics=metrics)
    our_trainer = flows.our_trainer(ours, **scoring)
    predictions: dict[str, Any] = {}
    result = in_turns(
        timed(lambda: predictions.update({STOCK: stock_trainer.predict(stock)})),
        timed(lambda: predictions.update({task: our_trainer.predict(data) for task, data in ours.items()})),
        rounds,
        len(stock),
    )
    return result, predictions.pop(STOCK), predictions


def peaked_logits(ours: Tasks) -> Logits:
    """As a trained model gives: low outside the context, in it noise and, somewhere, peaks of start and end."""
    random = np.random.default_rng(0)
    starts, ends = random.normal(-10, size=(2, sum(map(len, ours.values())), QUESTION_TOKENS)).astype(np.float32)
    offsets = (of_feature for data in ours.values() for of_feature in data["offset_starts"])
    for feature, of_feature in enumerate(offsets):
        context = np.flatnonzero(np.array(of_feature) >= 0)
        start = random.choice(context)
        end = min(start + random.integers(8), context[-1])
        starts[feature, context] += 10 + 8 * np.exp(-abs(context - start) / 2)
        ends[feature, context] += 10 + 8 * np.exp(-abs(context - end) / 2)
    return starts, ends


class PostProcessing:
    """Both flows' way from the logits of all features to answers, files and scores.

    Args:
        flows: the problem.
        examples: of each task.
        logits: of both flows' features.
    """

    def __init__(self, flows: Flows, examples: Tasks, logits: Logits | None = None) -> None:
        self.folder, self.problem, self.tasks = flows.folder, flows.ours, examples
        self.stock: Any = flows.stock_features(examples, "validation")
        self.ours = flows.our_features(examples, "validation")
        check_same_inputs(self.stock, self.ours)
        self.examples = concatenate_datasets(list(examples.values()))
        self.logits = logits or peaked_logits(self.ours)

    def our_logits(self) -> Iterator[tuple[str, Dataset, Any]]:
        """Each task's name, features and logits."""
        end = 0
        for task, data in self.ours.items():
            start, end = end, end + len(data)
            yield task, data, (self.logits[0][start:end], self.logits[1][start:end])

    def stock_answers(self) -> dict[str, str]:
        """Answers by question; the candidates are made as well."""
        return stock_answers(self.logits, self.examples, self.stock)[0]

    def our_answers(self) -> dict[str, str]:
        """Answers by question; the candidates are made as well."""
        answers: dict[str, str] = {}
        for _, data, logits in self.our_logits():
            found = self.problem.predict_answers(logits, data)
            answers |= dict(zip(found.ids, found.texts, strict=True))
            found.candidates()
        return answers

    def stock_files(self) -> dict[str, str]:
        """Answers and candidates as JSON; answers by question."""
        answers, candidates = stock_answers(self.logits, self.examples, self.stock)
        for name, content in (("predictions", answers), ("nbest_predictions", candidates)):
            (self.folder / f"eval_{name}.json").write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        return answers

    def our_files(self) -> None:
        """The same, for each task."""
        for task, data, logits in self.our_logits():
            self.write(task, data, logits)

    def write(self, task: str, data: Dataset, logits: Any) -> None:
        """One task's files of ours."""
        self.problem.write_predictions(self.folder, "eval", f"_{task}", PredictionOutput(logits, None, None), data)

    def stock_scores(self) -> dict[str, float]:
        """Files, exact match and F1; by our metric, since the one of `evaluate` is downloaded."""
        answers = self.stock_files()
        return SquadMetric(keep_in_memory=True).compute(
            predictions=[{"id": name, "prediction_text": text} for name, text in answers.items()],
            references=[{"id": row["id"], "answers": row["answers"]} for row in self.examples],
        )

    def our_scores(self) -> dict[str, float]:
        """The same, over all tasks' questions; of a task first the scores, then the files, as the trainer does it."""
        totals: dict[str, float] = defaultdict(float)
        for task, data, logits in self.our_logits():
            scores = self.problem.compute_metrics(EvalPrediction(logits, None), data)  # type: ignore[arg-type]
            for name, score in scores.items():
                totals[name] += score * len(self.tasks[task]) / len(self.examples)
            self.write(task, data, logits)
        return totals

    def same_answers(self) -> float:
        """The share of questions with the same answer; tokens of the stock flow may begin with a space."""
        ours = self.our_answers()
        return float(np.mean([text.strip() == ours[name] for name, text in self.stock_answers().items()]))

    def pairs(self) -> float:
        """Of the pairs of a start and an end that the stock flow looks at in a feature, how many are answers."""
        offsets = self.stock["offset_mapping"]
        return float(np.mean([len([*stock_spans(*x)]) for x in zip(*self.logits, offsets, strict=True)]))


def measure_post_processing(flows: Flows, rounds: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Post-processing of all questions, and how far the flows agree."""
    all_questions = PostProcessing(flows, flows.all["validation"])
    in_lists = copy.copy(all_questions)
    in_lists.stock = list(all_questions.stock)
    parts = {}
    for name, stock, ours in (
        ("logits to answers", all_questions.stock_answers, all_questions.our_answers),
        ("logits to answers, stock features read before", in_lists.stock_answers, all_questions.our_answers),
        ("logits to files", all_questions.stock_files, all_questions.our_files),
        ("logits to files and scores", all_questions.stock_scores, all_questions.our_scores),
    ):
        parts[name] = in_turns(timed(stock), timed(ours), rounds, len(all_questions.examples), warm_ups=1)
    return parts, {
        "peaked logits: features": len(all_questions.stock),
        "peaked logits: pairs of a feature that are answers": all_questions.pairs(),
        "peaked logits: same answers": all_questions.same_answers(),
    }


def measure(flows: Flows, rounds: int, steps: int) -> dict[str, Any]:
    """Every part of both flows, and how far they agree."""
    problem, validation = flows.problem, flows.all["validation"]
    train, evaluated = sample(flows.all["train"], problem.train), sample(validation, problem.evaluated)
    parts = {"training": measure_training(flows, train, rounds, steps)}
    parts["evaluation"], stock, ours = measure_evaluation(flows, evaluated, rounds)
    if problem.ours is SequenceClassification:
        of_flows = zip(("stock", "ours"), (stock, *ours.values()), strict=True)
        return {"parts": parts, "agreement": {f"accuracy, {name}": x.metrics["test_accuracy"] for name, x in of_flows}}
    own = [np.concatenate([padded(of_task.predictions[side]) for of_task in ours.values()]) for side in (0, 1)]
    by_stock = PostProcessing(flows, evaluated, stock.predictions)
    by_ours = PostProcessing(flows, evaluated, (own[0], own[1]))
    agreement = {
        "the model's logits: pairs of a feature that are answers": by_stock.pairs(),
        "the model's logits: same answers": by_stock.same_answers(),
        **{f"{name}, stock": score for name, score in by_stock.stock_scores().items()},
        **{f"{name}, ours": score for name, score in by_ours.our_scores().items()},
    }
    parts["logits to answers, the model's logits"] = in_turns(
        timed(by_stock.stock_answers), timed(by_stock.our_answers), rounds, len(by_stock.examples), warm_ups=1
    )
    of_all_questions, further = measure_post_processing(flows, rounds)
    return {"parts": parts | of_all_questions, "agreement": agreement | further}


def padded(logits: NDArray) -> NDArray:
    """Logits of all tasks' features in one shape; what is added is outside the context."""
    return np.pad(logits, ((0, 0), (0, QUESTION_TOKENS - logits.shape[1])))


def machine() -> str:
    """What the numbers were measured on."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    name = found[1] if found else platform.machine()
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before it"
    return f"1 thread of {name}, {load}, torch {torch.__version__}, transformers {transformers.__version__}"


def table(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    lines = []
    for problem, result in sorted(results.items()):
        lines += [f"### {problem}, {result['model']}", "", f"{result['rounds']} rounds, {result['machine']}", ""]
        lines += [
            "| | stock, examples/s | ours | ratio | lowest–highest | ratio by the clock |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for name, part in result["parts"].items():
            stock, ours = (part["seconds"][flow] for flow in ("stock", "ours"))
            ratios = {x: [a[x] / b[x] for a, b in zip(stock, ours, strict=True)] for x in CLOCKS}
            speeds = [part["examples"] / median(x["processor"] for x in flow) for flow in (stock, ours)]
            lines.append(
                f"| {name} | {speeds[0]:.3g} | {speeds[1]:.3g} | {median(ratios['processor']):.2f} | "
                f"{min(ratios['processor']):.2f}–{max(ratios['processor']):.2f} | {median(ratios['clock']):.2f} |"
            )
        tokens = result["parts"]["training"]["tokens"]
        lines += ["", *(f"- Tokens of a training example, {name}: {number:.0f}" for name, number in tokens.items())]
        lines += [*(f"- {name}: {number:.4g}" for name, number in result["agreement"].items()), ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--problem", choices=[*PROBLEMS, "all"], default="all")
    parser.add_argument("--model", choices=["encoder", "tiny"], default="encoder", help="tiny is to try things out")
    parser.add_argument("--rounds", type=int, default=3, help="times that each flow has its turn")
    parser.add_argument("--steps", type=int, default=4, help="timed training steps of a turn")
    parser.add_argument("--table", action="store_true", help="only print what was measured before")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if args.table:
        print(table(results))
        return
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    measured = {}
    for name in PROBLEMS if args.problem == "all" else [args.problem]:
        of_machine = machine()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            flows = Flows(PROBLEMS[name], args.data, args.model == "tiny", Path(folder))
            measured[name] = {"model": args.model, "machine": of_machine, "rounds": args.rounds, "steps": args.steps}
            measured[name] |= measure(flows, args.rounds, args.steps)
        if args.model == "encoder":
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(results | measured, indent=1, ensure_ascii=False) + "\n")
    print(table(measured))


if __name__ == "__main__":
    main()
