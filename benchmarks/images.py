"""What the methods bring on pictures, what becomes of BatchNorm's statistics, and how fast pictures are read.

    python benchmarks/images.py run --data path/to/shared/data
    python benchmarks/images.py table
    python benchmarks/images.py speed --data path/to/shared/data

`run` trains a small ResNet anew with `run_image_classification.py` on three tasks, CIFAR-10's animals and vehicles
and scikit-learn's digits, with each method at equal gradient computations, in a process of one thread each, and
leaves one JSON in `results/images`; runs whose JSON is there are not repeated. Each model is scored with several
statistics in its BatchNorm layers: those that the library gives it (averaged at outer updates as parameters are),
those of the last trajectory's end (what φ would have if only parameters were averaged), and such as are estimated
anew with φ's parameters over training batches of all tasks, or of the evaluated task alone. With statistics frozen,
of which a model that is trained anew has none worth the name, it is another run. Nothing was tuned.

`speed` trains the same model on the same pictures in turns with the stock trainer under the transforms of Hugging
Face's script, and with this package's, in one process, and reports pictures a second of the processor's time.
torchvision must be there.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "images"
TASKS = ("animals", "vehicles", "digits")
CLASSES = {"animals": "bird,cat,deer,dog,frog,horse", "vehicles": "airplane,automobile,ship,truck"}
SEEDS = (1, 2, 3)
GRADIENTS = 600
"""Of each run, of 16 pictures."""
WAYS = ("averaged", "last θ", "anew", "anew by task")
BATCHES = 40
"""That statistics are estimated anew over."""


@dataclass(frozen=True)
class Spec:
    """A method as it is compared."""

    method: str
    arguments: tuple[str, ...]
    steps: int = GRADIENTS
    frozen: bool = False

    @property
    def name(self) -> str:
        """For files and tables."""
        m = ("-M1" if self.steps == GRADIENTS else "-MT") if self.method == "mtl" else ""
        k = f"-K{self.arguments[1]}" if self in LONG else ""
        return f"{self.method}{m}{k}{'-frozen' if self.frozen else ''}"


METHODS = (
    ("mtl", ("--tasks_per_step", "1"), GRADIENTS),
    ("mtl", ("--all_tasks_each_step",), GRADIENTS // len(TASKS)),
    ("reptile", ("--inner_steps", "10", "--outer_learning_rate", "1"), GRADIENTS),
    ("seq_reptile", ("--inner_steps", "30", "--outer_learning_rate", "0.5"), GRADIENTS),
)
LONG = [Spec("reptile", ("--inner_steps", "50", "--outer_learning_rate", "1"))]
"""Trajectories so long that there are few of them, as the paper's of 1,000 steps are."""
SPECS = [*(Spec(*one, frozen=frozen) for frozen in (False, True) for one in METHODS), *LONG]


def result_of(spec: Spec, seed: int) -> Path:
    """Where a run's result is written."""
    return RESULTS / f"{spec.name}-seed{seed}.json"


def write_model(folder: Path, seed: int) -> None:
    """A small ResNet with random weights, and its image processor."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic",
        downsample_in_first_stage=False,
    )  # fmt: skip
    ResNetModel(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)


def write_digits(folder: Path) -> None:
    """scikit-learn's digits as pictures, one folder a class: two thirds to train on."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("test" if i % 3 == 2 else "train") / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((32, 32)).save(place / f"{i:04}.png")


def command(spec: Spec, seed: int, data: Path, folder: Path) -> list[str]:
    """The script's arguments."""
    cifar = [f"{task}={data / 'cifar10'}" for task in CLASSES]
    return [
        "--method", spec.method, *spec.arguments, "--model_name_or_path", str(folder / "model"),
        "--train_dir", *(f"{item}/train" for item in cifar), f"digits={folder / 'digits/train'}",
        "--validation_dir", *(f"{item}/test" for item in cifar), f"digits={folder / 'digits/test'}",
        "--classes", *(f"{task}={names}" for task, names in CLASSES.items()), "--augment", "false",
        *(["--freeze_batch_norm"] if spec.frozen else []), "--max_steps", str(spec.steps), "--learning_rate", "1e-3",
        "--per_device_train_batch_size", "16", "--per_device_eval_batch_size", "64", "--save_strategy", "no",
        "--disable_tqdm", "true", "--do_train", "--do_eval", "--seed", str(seed), "--output_dir", str(folder / "out"),
    ]  # fmt: skip


def execute(spec: Spec, seed: int, data: Path) -> None:
    """Train, evaluate in all ways, and write the result."""
    with tempfile.TemporaryDirectory(prefix="images-") as name:
        folder = Path(name)
        write_model(folder / "model", seed)
        write_digits(folder / "digits")
        arguments = command(spec, seed, data, folder)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        process = subprocess.run(
            [sys.executable, __file__, "one", str(folder / "scores.json"), *arguments],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"{spec.name} failed:\n{process.stdout[-500:]}{process.stderr[-3000:]}")
        kept = {
            "arguments": [part.replace(name, "FOLDER").replace(str(data), "DATA") for part in arguments],
            "scores": json.loads((folder / "scores.json").read_text()),
            "machine": f"1 thread, torch {torch.__version__}",
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        result_of(spec, seed).write_text(json.dumps(kept, indent=1) + "\n")


def one(place: Path, arguments: list[str]) -> None:
    """One run in this process, whose model is scored with each kind of statistics."""
    sys.path.insert(0, str(HERE.parent))
    from hf_seqreptile import METHODS as BY_NAME

    method = arguments[arguments.index("--method") + 1]
    scores: dict[str, dict[str, float]] = {}

    class Scored(BY_NAME[method]):  # type: ignore[misc]
        """Scores its model in several ways, and leaves it as it was."""

        last: dict[str, torch.Tensor] | None = None

        def end_trajectory(self, *args: Any, **kwargs: Any) -> None:
            self.last = _statistics(self.model)
            super().end_trajectory(*args, **kwargs)

        def evaluate(self, tasks: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
            own = _statistics(self.model)
            for way in WAYS if own else WAYS[:1]:
                if way == "last θ" and self.last is None:
                    continue
                scores[way] = {}
                for task, dataset in tasks.items():
                    if way == "last θ":
                        _set(self.model, self.last or {})
                    elif way != "averaged":
                        self._estimate(None if way == "anew" else task)
                    found = self.predict(dataset, metric_key_prefix="x", task=task).metrics
                    scores[way][task] = found["x_accuracy"]
                    _set(self.model, own)
            return super().evaluate(tasks, *args, **kwargs)

        def _estimate(self, task: str | None) -> None:
            """Statistics over training batches of all tasks in turn, or of one, with the present parameters."""
            layers = [module for module in self.model.modules() if isinstance(module, _BatchNorm)]
            for layer in layers:
                layer.reset_running_stats()
            before = [layer.momentum for layer in layers]
            for layer in layers:
                layer.momentum = None
            self.model.train()
            with torch.no_grad():
                for i in range(BATCHES):
                    each = task or TASKS[i % len(TASKS)]
                    dataset = self.tasks.datasets[each]
                    rows = np.random.default_rng(i).choice(len(dataset), 16, replace=False)
                    with self.serving(each):
                        batch = self.data_collator([dataset[int(row)] for row in rows])
                    self.model(**batch)
            for layer, momentum in zip(layers, before, strict=True):
                layer.momentum = momentum
            self.model.eval()

    BY_NAME[method] = Scored
    importlib.import_module("run_image_classification").main(arguments)
    place.write_text(json.dumps(scores))


def _statistics(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running_" in name}


def _set(model: torch.nn.Module, values: dict[str, torch.Tensor]) -> None:
    for name, buffer in model.named_buffers():
        if name in values:
            buffer.copy_(values[name])


def rows() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Each method and way with the scores of the seeds that have run, by task."""
    for spec in SPECS:
        done = [json.loads(p.read_text())["scores"] for seed in SEEDS if (p := result_of(spec, seed)).exists()]
        ways = WAYS if not spec.frozen else WAYS[:1]
        for way in ways:
            read = [scores[way] for scores in done if way in scores]
            if read:
                shown = "" if spec.frozen else f", {way}"
                yield f"{spec.name}{shown}", {task: [100 * one[task] for one in read] for task in TASKS}


def table() -> str:
    """The scores in Markdown: means over the seeds, and the averages of each seed."""
    lines = [f"| accuracy (%) | {' | '.join(TASKS)} | avg | each seed |", "|---|--:|--:|--:|--:|---|"]
    for name, of_tasks in rows():
        averages = [fmean(of_seed) for of_seed in zip(*of_tasks.values(), strict=True)]
        cells = [f"{fmean(scores):.1f}" for scores in of_tasks.values()]
        each = ", ".join(f"{average:.1f}" for average in averages)
        lines.append(f"| {name} | {' | '.join(cells)} | {fmean(averages):.1f} | {each} |")
    return "\n".join(lines)


def speed(data: Path, steps: int, turns: int) -> dict[str, Any]:
    """Pictures a second of processor time under the stock trainer with Hugging Face's transforms, and under ours."""
    from datasets import load_dataset
    from transformers import (
        AutoImageProcessor,
        AutoModelForImageClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    sys.path.insert(0, str(HERE.parent))
    # After transformers, whose image processors would else be those of torchvision.
    from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor

    from hf_seqreptile import MultiTaskTrainer, MultiTaskTrainingArguments
    from hf_seqreptile.problems.image_classification import ImageArguments, ImageClassification

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="images-") as name:
        folder = Path(name)
        write_model(folder / "model", 0)
        processor = AutoImageProcessor.from_pretrained(folder / "model")
        normalize = Normalize(mean=processor.image_mean, std=processor.image_std)
        transforms = Compose([RandomResizedCrop(32), RandomHorizontalFlip(), ToTensor(), normalize])

        def transform(batch: dict[str, Any]) -> dict[str, Any]:
            batch["pixel_values"] = [transforms(picture.convert("RGB")) for picture in batch["image"]]
            return batch

        def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            pixels = torch.stack([example["pixel_values"] for example in examples])
            return {"pixel_values": pixels, "labels": torch.tensor([example["label"] for example in examples])}

        stock = load_dataset(
            "imagefolder", data_files={"train": str(data / "cifar10/train/**")}, cache_dir=str(folder / "cache")
        )["train"]
        stock.set_transform(transform)
        problem, raw = ImageClassification.read(
            ImageArguments(train_dir=[str(data / "cifar10/train")], train_val_split=0), ["train"]
        )
        ours = problem.encode(raw["train"], processor, "train")
        common: dict[str, Any] = {
            "output_dir": str(folder / "out"), "max_steps": steps, "per_device_train_batch_size": 16,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
            "remove_unused_columns": False, "logging_steps": steps,
        }  # fmt: skip

        def timed(which: str) -> float:
            model = AutoModelForImageClassification.from_pretrained(folder / "model", num_labels=10)
            trainer: Trainer
            if which == "stock":
                trainer = Trainer(model, TrainingArguments(**common), data_collator=collate, train_dataset=stock)
            else:
                args = MultiTaskTrainingArguments(method="mtl", tasks_per_step=1, **common)
                trainer = MultiTaskTrainer(model, args, problem.collator(processor), ours)
            set_seed(0)
            begin = time.process_time()
            trainer.train()
            return steps * 16 / (time.process_time() - begin)

        seconds: dict[str, list[float]] = {"stock": [], "ours": []}
        for which in seconds:
            timed(which)
        for turn in range(turns):
            for which in ("stock", "ours") if turn % 2 else ("ours", "stock"):
                seconds[which].append(round(timed(which), 1))
    ratios = [b / a for a, b in zip(seconds["stock"], seconds["ours"], strict=True)]
    return {
        "pictures_a_second": seconds,
        "ratios": [round(ratio, 4) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 4),
        "machine": f"1 thread, torch {torch.__version__}",
    }


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["one"]:
        one(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "speed"])
    parser.add_argument("--data", type=Path, help="the folder that holds cifar10")
    parser.add_argument("--steps", type=int, default=60, help="steps of one turn of `speed`")
    parser.add_argument("--turns", type=int, default=6, help="turns of each trainer")
    args = parser.parse_args()
    if args.what != "table" and args.data is None:
        parser.error("--data is missing")
    if args.what == "speed":
        result = speed(args.data.resolve(), args.steps, args.turns)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "speed.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result, indent=1))
        return
    if args.what == "run":
        for seed in SEEDS:
            for spec in SPECS:
                if not result_of(spec, seed).exists():
                    execute(spec, seed, args.data.resolve())
                    print(result_of(spec, seed), flush=True)
    print(table())


if __name__ == "__main__":
    main()
