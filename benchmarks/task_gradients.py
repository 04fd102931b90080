"""What do PCGrad, GradVac and GradNorm cost over the tasks' backward passes alone, and beside other libraries?

    OMP_NUM_THREADS=1 python benchmarks/task_gradients.py
    OMP_NUM_THREADS=1 python benchmarks/task_gradients.py --model bert --tasks 8
    python benchmarks/task_gradients.py --table

A step takes a batch of 8×64 tokens of each of T tasks and leaves one gradient. The limit is T forward and backward
passes whose gradients add up, which is what MTL does. Ours is the trainer's own path, from `get_batch_samples` to the
last `training_step`. The others run as their documentation says, with those of its options that are fastest here; one
that is not installed is left out, with a line that says how to install it. First of all, ours and the others must find
the same gradient for two tasks that conflict. What some of the others cost depends on how many pairs of tasks
conflict; so that some do, one sentence of each batch has the task's own label alone, and their share is reported.

Times are medians of steps that take turns within one process of one thread, processor time and the clock's. Memory is
by how much resident memory at a step's peak exceeds what it was before, which is the model. Each variant's is measured
in a process forked for it, with large tensors in mappings of their own, so that what is freed is given back at once;
that needs Linux. `results/task_gradients.json` keeps what was measured last for each model and number of tasks.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import io
import json
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    PreTrainedModel,
    set_seed,
)

from hf_seqreptile import METHODS, MultiTaskTrainingArguments
from hf_seqreptile.data import load_tasks
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments
from hf_seqreptile.training.task_datasets import LABELS_IN_BATCH, TASK_OF_BATCH

RESULT = Path(__file__).parent / "results" / "task_gradients.json"
SENTENCES, TOKENS, LABELS = 8, 64, 7
BETA = 0.5
"""GradVac's, the other libraries' default."""
SAME = 1e-3
"""Largest difference between ours and another library's gradient, relative to ours."""

Batch = dict[str, torch.Tensor]
Step = Callable[[], Any]
"""Leaves the step's gradient in the parameters' `.grad`."""


@dataclass(frozen=True)
class Variant:
    """A way to compute the step's gradient.

    Args:
        name: in the table.
        make: from the model and the tasks' batches to the step.
        kind: `limit`, what no method can do without; `ours`; `peer`; or `assembled` from a peer's parts in a way that
            it does not document.
        needs: the distribution that it needs.
        same_as: name of that one of ours which finds the same gradient.
        is_sum: whether it adds the altered gradients, where ours takes their mean.
        large: whether it is measured on the large model too.
    """

    name: str
    make: Callable[[PreTrainedModel, Sequence[Batch]], Step]
    kind: str
    needs: str | None = None
    same_as: str | None = None
    is_sum: bool = True
    large: bool = field(default=False, kw_only=True)


def plain(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
    """T forward and backward passes."""

    def step() -> None:
        for batch in batches:
            (model(**batch).loss / len(batches)).backward()

    return step


def kept(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
    """As `plain`, each task's gradient kept, then read once, as for any Gram matrix, then added up in place."""
    parameters = list(model.parameters())

    def step() -> None:
        of_tasks: list[list[torch.Tensor]] = []
        for batch in batches:
            (model(**batch).loss / len(batches)).backward()
            touched = [p for p in parameters if p.grad is not None]
            of_tasks.append([p.grad for p in touched if p.grad is not None])
            model.zero_grad()
        for gradients in of_tasks:
            for gradient in gradients:
                gradient.sum()
        for parameter, total, *others in zip(touched, *of_tasks, strict=True):
            for other in others:
                total += other
            parameter.grad = total

    return step


def ours(method: str, **settings: Any) -> Callable[[PreTrainedModel, Sequence[Batch]], Step]:
    """The trainer of `method`, set up by a step of training on a few words that changes no weight, then set back."""

    def make(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
        names = [str(i) for i in range(len(batches))]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            args = MultiTaskTrainingArguments(
                method=method, output_dir=folder, max_steps=1, all_tasks_each_step=True, learning_rate=1e-30,
                optim="sgd", per_device_train_batch_size=SENTENCES, save_strategy="no", logging_strategy="no",
                report_to="none", disable_tqdm=True, use_cpu=True, **settings,
            )  # fmt: skip
            examples = [Dataset.from_dict({key: x[:1, :2].tolist() for key, x in batch.items()}) for batch in batches]
            trainer = METHODS[method](model, args, train_dataset=dict(zip(names, examples, strict=True)))
            trainer.train()
            trainer.restore_multitask_state(None)

        def step() -> None:
            named = zip(names, batches, strict=True)
            window = iter(
                [{TASK_OF_BATCH: n, LABELS_IN_BATCH: batch["labels"].numel(), **batch} for n, batch in named]
            )
            for inputs in trainer.get_batch_samples(window, len(batches), trainer.args.device)[0]:
                trainer.training_step(model, inputs)

        return step

    return make


def libmtl(method: str, **settings: Any) -> Callable[[PreTrainedModel, Sequence[Batch]], Step]:
    """LibMTL's weighting `method`, all parameters shared."""

    def make(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
        if "LibMTL" not in sys.modules:
            # Its own __init__ imports packages that weightings do not need, and some that are no more.
            package = types.ModuleType("LibMTL")
            spec = importlib.util.find_spec("LibMTL")
            assert spec is not None and spec.submodule_search_locations is not None
            package.__path__ = spec.submodule_search_locations
            sys.modules["LibMTL"] = package
        weighting = getattr(importlib.import_module("LibMTL.weighting"), method)()
        weighting.task_num, weighting.device, weighting.rep_grad = len(batches), torch.device("cpu"), False
        weighting.get_share_params = model.parameters
        # It writes to gradients after this, as it could before zero_grad set them to None.
        weighting.zero_grad_share_params = lambda: model.zero_grad(set_to_none=False)
        return lambda: weighting.backward([model(**batch).loss for batch in batches], **settings)

    return make


def pytorch_optimizer_pcgrad(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
    """`PCGrad.pc_backward`."""
    from pytorch_optimizer import PCGrad

    optimizer = PCGrad(torch.optim.SGD(model.parameters()))
    return lambda: optimizer.pc_backward([model(**batch).loss for batch in batches])


def torchjd(method: str, **settings: Any) -> Callable[[PreTrainedModel, Sequence[Batch]], Step]:
    """`backward` of all losses, then `jac_to_grad`."""

    def make(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
        from torchjd import aggregation, autojac

        aggregator = getattr(aggregation, method)(**settings)

        def step() -> None:
            autojac.backward([model(**batch).loss for batch in batches], parallel_chunk_size=1)
            autojac.jac_to_grad(model.parameters(), aggregator, optimize_gramian_computation=True)

        return step

    return make


def torchjd_by_task(model: PreTrainedModel, batches: Sequence[Batch]) -> Step:
    """A `jac` for each task, so that no backward pass goes through another task's graph."""
    from torchjd import aggregation, autojac

    parameters = list(model.parameters())

    def step() -> None:
        rows = [autojac.jac(model(**batch).loss, parameters) for batch in batches]
        for parameter, *of_tasks in zip(parameters, *rows, strict=True):
            parameter.jac = torch.cat(of_tasks)
        rows.clear()
        autojac.jac_to_grad(parameters, aggregation.PCGrad(), optimize_gramian_computation=True)

    return step


PCGRAD, GRADVAC = "`pcgrad`", "`gradvac`, whole model"
VARIANTS = [
    Variant("T backward passes", plain, "limit", large=True),
    Variant("T gradients kept, read once and added up", kept, "limit", large=True),
    Variant("`mtl`", ours("mtl"), "ours"),
    Variant(PCGRAD, ours("pcgrad"), "ours", large=True),
    Variant(GRADVAC, ours("gradvac", gradvac_granularity="model", gradvac_beta=BETA), "ours"),
    Variant("`gradvac`, by layer", ours("gradvac", gradvac_beta=BETA), "ours", large=True),
    Variant("`gradnorm`", ours("gradnorm"), "ours", large=True),
    Variant("LibMTL PCGrad", libmtl("PCGrad"), "peer", "LibMTL", PCGRAD, large=True),
    Variant("LibMTL GradVac", libmtl("GradVac", beta=BETA), "peer", "LibMTL", GRADVAC),
    Variant("pytorch_optimizer PCGrad", pytorch_optimizer_pcgrad, "peer", "pytorch_optimizer", PCGRAD, is_sum=False),
    Variant("torchjd PCGrad", torchjd("PCGrad"), "peer", "torchjd", PCGRAD),
    Variant("torchjd GradVac", torchjd("GradVac", beta=BETA), "peer", "torchjd", GRADVAC),
    Variant("torchjd PCGrad, a `jac` for each task", torchjd_by_task, "assembled", "torchjd", PCGRAD),
]
INSTALL = {
    "LibMTL": "pip install --no-deps --target peers LibMTL==1.1.5, then PYTHONPATH=peers",
    "pytorch_optimizer": "pip install pytorch_optimizer==4.1.0",
    "torchjd": "pip install torchjd==0.18.0",
}


def small_bert() -> PreTrainedModel:
    """BERT with 4 layers of 192 and the vocabulary of English BERT, random weights."""
    config = BertConfig(
        hidden_size=192, num_hidden_layers=4, num_attention_heads=4, intermediate_size=768, num_labels=LABELS
    )
    return BertForTokenClassification(config)


def offline_encoder() -> PreTrainedModel:
    """The offline encoder, its vocabulary trimmed to the bundled sample, as run_ner.py does."""
    data_args = TokenClassificationArguments(dataset_name="sample")
    tasks = load_tasks(data_args, ["train"])
    problem = TokenClassification(tasks, data_args)
    model_args = ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True)
    return load_model(AutoModelForTokenClassification, model_args, problem.labels, lambda: problem.texts(tasks))[0]


MODELS = {"bert": small_bert, "encoder": offline_encoder}


def random_batches(model: PreTrainedModel, tasks: int, alike: int) -> list[Batch]:
    """A batch of random tokens and labels for each task; `alike` of its sentences have the task's own label."""
    shape, labels = (SENTENCES, TOKENS), model.config.num_labels
    batches = [
        {
            "input_ids": torch.randint(model.config.vocab_size, shape),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "labels": torch.randint(labels, shape),
        }
        for _ in range(tasks)
    ]
    for task, batch in enumerate(batches):
        batch["labels"][:alike] = task % labels
    return batches


def check_same_gradients(model: PreTrainedModel, variants: Sequence[Variant]) -> dict[str, float]:
    """Relative difference of each peer's gradient from ours on two tasks that conflict.

    With two tasks the order of the others does not matter. GradVac's targets are zero in the first step, so the third
    is compared.
    """

    def third(variant: Variant) -> torch.Tensor:
        return gradient_of(model, variant.make(model, batches), steps=3)

    batches = random_batches(model, 2, alike=SENTENCES)
    first, second = (gradient_of(model, plain(model, [batch])) for batch in batches)
    cosine = torch.cosine_similarity(first, second, dim=0).item()
    if cosine >= 0:
        raise SystemExit(f"The two tasks do not conflict: the cosine of their gradients is {cosine:.3f}.")
    gradients = {variant.name: third(variant) for variant in variants if variant.name in (PCGRAD, GRADVAC)}
    mean = (first + second) / 2
    differences = {f"{name}, from the mean": relative(own, mean) for name, own in gradients.items()}
    for variant in variants:
        if variant.same_as is not None:
            gradient = third(variant) / (len(batches) if variant.is_sum else 1)
            differences[variant.name] = relative(gradient, gradients[variant.same_as])
            if differences[variant.name] > SAME:
                raise SystemExit(f"{variant.name} differs from {variant.same_as}: {differences[variant.name]:.1e}.")
    print(f"Two tasks, cosine {cosine:.3f}; relative differences of the gradients:")
    print("\n".join(f"  {name}: {difference:.1e}" for name, difference in differences.items()), flush=True)
    return differences


def conflicting_pairs(model: PreTrainedModel, batches: Sequence[Batch]) -> float:
    """The share of pairs of tasks whose gradients have a negative product."""
    gradients = torch.stack([gradient_of(model, plain(model, [batch])) for batch in batches])
    tasks = len(batches)
    return (gradients @ gradients.T < 0).sum().item() / (tasks * (tasks - 1))


def relative(gradient: torch.Tensor, other: torch.Tensor) -> float:
    """‖gradient − other‖ / ‖other‖."""
    return ((gradient - other).norm() / other.norm()).item()


def gradient_of(model: PreTrainedModel, step: Step, steps: int = 1) -> torch.Tensor:
    """The gradient of the last of some steps, all with the same dropout, as one vector."""
    for _ in range(steps):
        model.zero_grad()
        set_seed(0)
        step()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return gradient


def measure_times(
    model: PreTrainedModel, batches: Sequence[Batch], variants: Sequence[Variant], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each step, by the processor's and by the clock's time; the variants take turns."""
    steps = {variant.name: variant.make(model, batches) for variant in variants}
    times: dict[str, dict[str, list[float]]] = {name: {"processor": [], "clock": []} for name in steps}
    for turn in range(rounds + 1):
        # Each round begins with another one, so that a drifting machine favours none; the first warms up.
        order = [*steps][turn % len(steps) :] + [*steps][: turn % len(steps)]
        for name in order:
            processor, clock = time.process_time(), time.perf_counter()
            steps[name]()
            model.zero_grad()
            if turn:
                times[name]["processor"].append(time.process_time() - processor)
                times[name]["clock"].append(time.perf_counter() - clock)
    return times


def measure_memory(model: PreTrainedModel, batches: Sequence[Batch], variants: Sequence[Variant]) -> dict[str, int]:
    """Bytes of a step's peak over what is in use before it, which is the model.

    No backward pass may have run in this process: autograd does not survive a fork.
    """
    fork = multiprocessing.get_context("fork")
    peaks = {}
    for variant in variants:
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=send_peak, args=(sender, model, batches, variant))
        process.start()
        sender.close()
        peaks[variant.name] = receiver.recv()
        process.join()
    return peaks


def send_peak(sender: Connection, model: PreTrainedModel, batches: Sequence[Batch], variant: Variant) -> None:
    """Measure one variant's step, after a pass of one task in which the backends allocate what they keep."""
    libc = ctypes.CDLL(None)
    threshold = -3  # M_MMAP_THRESHOLD in malloc.h
    libc.mallopt(threshold, 1 << 16)
    step = variant.make(model, batches)
    plain(model, batches[:1])()
    model.zero_grad()
    gc.collect()
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    step()
    sender.send(resident("VmHWM") - before)


def resident(name: str) -> int:
    """Bytes of resident memory: `VmRSS` now, `VmHWM` at its peak."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def installed(variants: Sequence[Variant]) -> list[Variant]:
    """Those that can run here; prints how to install what the others need."""
    missing = {name for name in INSTALL if importlib.util.find_spec(name) is None}
    for name in sorted(missing):
        print(f"{name} is not installed, and left out: {INSTALL[name]}")
    return [variant for variant in variants if variant.needs not in missing]


def machine() -> str:
    """What the numbers were measured on."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    name = found[1] if found else platform.machine()
    peers = [f"{name} {importlib.metadata.version(name)}" for name in INSTALL if importlib.util.find_spec(name)]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before it"
    return ", ".join([f"1 thread of {name}", load, f"torch {torch.__version__}", *peers])


def table(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    lines = []
    for key, result in sorted(results.items()):
        numbers, tasks = result["parameters"], result["tasks"]
        limit, *_ = (variant.name for variant in VARIANTS)
        cost = {name: median(times["processor"]) for name, times in result["seconds"].items()}
        clock = {name: median(times["clock"]) for name, times in result["seconds"].items()}
        of_limit = result["peak_bytes"][limit]
        lines += [
            f"### {key}",
            "",
            f"{numbers / 1e6:.1f} M parameters, {result['conflicting_pairs']:.0%} of the pairs conflict, "
            f"{result['rounds']} rounds, {result['machine']}",
            "",
            "| | processor ms | to the limit's | clock ms | memory MiB | over the limit's | to T gradients' |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for variant in VARIANTS:
            name = variant.name
            if name in cost:
                peak = result["peak_bytes"][name]
                lines.append(
                    f"| {name} | {1000 * cost[name]:.0f} | {cost[name] / cost[limit]:.2f} | {1000 * clock[name]:.0f} "
                    f"| {peak / 2**20:.0f} | {(peak - of_limit) / 2**20:.0f} | {peak / (4 * numbers * tasks):.2f} |"
                )
        lines += ["", *comparisons(cost), ""]
    return "\n".join(lines)


def comparisons(cost: dict[str, float]) -> list[str]:
    """How many times as long as ours the fastest of the others takes, for each of ours that has one."""
    lines = []
    for own in (PCGRAD, GRADVAC):
        for kind in ("peer", "assembled"):
            others = [v.name for v in VARIANTS if v.kind == kind and v.same_as == own and v.name in cost]
            if own in cost and others:
                best = min(others, key=lambda name: cost[name])
                lines.append(f"- {best} takes {cost[best] / cost[own]:.2f} times as long as {own}.")
    return lines


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, help="measure this one alone")
    parser.add_argument("--tasks", type=int, help="measure this number of tasks alone; default: 4 and 8")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each variant")
    parser.add_argument("--table", action="store_true", help="only print what was measured before")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if args.table:
        print(table(results))
        return
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*")
    of_machine, variants = machine(), installed(VARIANTS)
    counts = [args.tasks] if args.tasks else [4, 8]
    set_seed(0)
    models = {name: MODELS[name]().train() for name in ([args.model] if args.model else MODELS)}
    batches = {(name, n): random_batches(model, n, alike=1) for name, model in models.items() for n in counts}
    chosen = {name: [v for v in variants if v.large or name == "bert"] for name in models}
    peaks = {key: measure_memory(models[key[0]], of_tasks, chosen[key[0]]) for key, of_tasks in batches.items()}
    differences = {name: check_same_gradients(model, chosen[name]) for name, model in models.items()}
    for (name, tasks), of_tasks in batches.items():
        model = models[name]
        results[f"{name}, T = {tasks}"] = {
            "machine": of_machine,
            "tasks": tasks,
            "parameters": sum(p.numel() for p in model.parameters()),
            "conflicting_pairs": conflicting_pairs(model, of_tasks),
            "rounds": args.rounds,
            "peak_bytes": peaks[name, tasks],
            "differences": differences[name],
            "seconds": measure_times(model, of_tasks, chosen[name], args.rounds),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
