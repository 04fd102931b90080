"""Every method on several processes: it ends where one process ends, and where it would have ended if not stopped."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import BertForTokenClassification
from transformers.distributed import DistributedConfig

import hf_seqreptile
from hf_seqreptile import InputError
from hf_seqreptile.methods.mtl import MTLTrainer
from hf_seqreptile.methods.slow_weights import SlowWeights
from hf_seqreptile.training.backends import SHARDED_METHODS
from hf_seqreptile.training.trainer import MultiTaskMixin
from tests import tiny
from tests.methods.test_swep import fix_noise
from tests.processes import together
from tests.scripts import ROOT, SEQ_REPTILE, Workplace, main, write_model
from tests.training.test_evaluation import mean_loss, partly_labelled

BATCH = 6
"""Examples of a draw, on however many processes. The smallest task has fewer, and no task a multiple of it."""
FAST = ("seq_reptile", "reptile", "mtl", "gradnorm", "swep")
"""Methods that keep and communicate different things."""
METHODS = pytest.mark.parametrize("method", tiny.methods(*FAST))
PROCESSES = pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])


def tasks(method: str) -> dict[str, Dataset]:
    every = {"de": tiny.task(23, 1), "en": tiny.task(11, 2), "sw": tiny.task(4, 3)}
    return every if method != "stl" else {"de": every["de"]}


def trainer(method: str, processes: int, folder: Path, dropout: float, **changes: Any) -> MultiTaskMixin:
    """A trainer for one of so many processes. An epoch has 7 draws, so that with M = 2 its last step takes one."""
    settings: dict[str, Any] = {"per_device_train_batch_size": BATCH // processes, "max_steps": 8}
    if method == "reptile":
        # Each process has draws of its own: two outer updates over three tasks, K = 2.
        settings = {"per_device_train_batch_size": BATCH, "max_steps": 2 * 2 * -(-3 // processes), "inner_steps": 2}
    elif method not in ("seq_reptile", "stl"):
        settings |= {"tasks_per_step": 2, "max_steps": 6}
    settings |= {"method": method, "learning_rate": 1e-3, "adam_epsilon": 1e-5, "logging_steps": 1} | changes
    made = tiny.trainer(folder, tasks(method), dropout=dropout, **settings)
    # Processes draw SWEP's noise each on its own.
    return fix_noise(made, mean=0.5) if method == "swep" and not dropout else made


def run(method: str, processes: int, folder: Path) -> dict[str, Any]:
    """Where a run without dropout ends."""
    made = tiny.train(trainer(method, processes, folder, dropout=0.0))
    return {
        "weights": tiny.weights(made.model),
        "state": made.multitask_state(),
        "draws": made.draw_counts,
        "losses": [entry["loss"] for entry in made.state.log_history if "loss" in entry],
    }


def whole_and_continued(method: str, processes: int, folder: Path) -> list[dict[str, Any]]:
    """Where a run with dropout ends, and where one ends that continues from its first checkpoint."""
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole, continued = (trainer(method, processes, folder, dropout=0.1, **saving) for _ in range(2))
    tiny.train(whole)
    tiny.train(continued, resume_from_checkpoint=str(folder / f"checkpoint-{4 if method == 'reptile' else 3}"))
    return [tiny.weights(each.model) for each in (whole, continued)]


def all_of(
    methods: Sequence[str], processes: int, folder: Path
) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """One of several processes: [`run`] and [`whole_and_continued`] of the methods."""
    return {
        method: (run(method, processes, folder), whole_and_continued(method, processes, folder / str(number)))
        for number, method in enumerate(methods)
    }


@cache
def several(processes: int, is_fast: bool) -> list[dict[str, Any]]:
    """What [`all_of`] gives on each process, of the fast or the other methods; a start takes as long as a training."""
    methods = [method for method in tiny.EVERY_METHOD if (method in FAST) == is_fast]
    with TemporaryDirectory() as folder:
        return together(processes, all_of, methods, processes, Path(folder))


@PROCESSES
@METHODS
def test_several_processes_end_where_one_ends(tmp_path, method, processes):
    """Law 5: at the batch divided among them, Reptile at the same; with the same losses and, bit for bit, together."""
    alone = run(method, 1, tmp_path)
    ends = [of_process[method][0] for of_process in several(processes, method in FAST)]
    for end in ends:
        assert tiny.largest_difference(end["weights"], alone["weights"]) < 1e-5
        assert end["draws"] == alone["draws"]
        tiny.assert_equal(end["weights"], ends[0]["weights"])
        assert end["state"] == ends[0]["state"]
    if method != "reptile":
        # Reptile logs after rounds of different tasks.
        assert ends[0]["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    assert tiny.largest_difference(alone["weights"], tiny.weights(tiny.model())) > 1e-3


@PROCESSES
@METHODS
def test_a_continued_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(method, processes):
    """Law 4: in the middle of a trajectory, with dropout, whose random states differ between processes."""
    for of_process in several(processes, method in FAST):
        whole, continued = of_process[method][1]
        tiny.assert_equal(continued, whole)
        assert tiny.largest_difference(whole, of_process[method][0]["weights"]) > 0


def losses_of_a_process(sizes: list[int], batch: int, folder: Path) -> list[tuple[float, int]]:
    made = tiny.trainer(folder, method="mtl", per_device_eval_batch_size=batch)
    outputs = [made.predict(partly_labelled(size)) for size in sizes]
    return [(output.metrics["test_loss"], len(output.predictions)) for output in outputs]


def test_what_fills_up_the_last_batches_of_an_evaluation_counts_once(tmp_path):
    """With 2 and 9 examples one of the processes has nothing else in its last batch."""
    sizes = [2, 9, 13, 24]
    for of_process in together(2, losses_of_a_process, sizes, 4, tmp_path):
        for (loss, number), size in zip(of_process, sizes, strict=True):
            assert number == size
            assert loss == pytest.approx(mean_loss(partly_labelled(size)), rel=1e-5)


# Parameters sharded over the processes (FSDP2).


SHARDS = pytest.mark.skipif(torch.__version__ < (2, 8), reason="transformers shards models with torch 2.8 or later")


def load(folder: Path, processes: int, **sharding: Any) -> BertForTokenClassification:
    """The model in `folder`, sharded where it is for several processes."""
    if processes > 1:
        sharding = {"distributed_config": DistributedConfig(fsdp_size=processes, **sharding)}
    return BertForTokenClassification.from_pretrained(folder, **sharding)


def evaluated(method: str, folder: Path, processes: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Where a run ends, its model sharded where it is for several processes, and φ's scores on the way."""
    model = load(folder / "start", processes)
    batch = BATCH // processes // changes.get("gradient_accumulation_steps", 1)
    settings = {"per_device_train_batch_size": batch, "per_device_eval_batch_size": 8 // processes, "max_steps": 10}
    settings |= {"method": method, "learning_rate": 1e-3, "eval_strategy": "steps", "eval_steps": 3} | changes
    # Of one length, since a loss is the mean over batches, and a batch has half as many rows on two processes.
    alike = tiny.task(200, 5).filter(lambda row: len(row["labels"]) == 6).select(range(16))
    scored = {"eval_dataset": {"de": alike}}
    made = tiny.train(tiny.trainer(folder, tasks(method), model, init=scored, **settings))
    made.save_model(str(folder / f"of-{processes}"))
    weights = {n: p.full_tensor() if isinstance(p, DTensor) else p for n, p in tiny.weights(made.model).items()}
    return {
        "weights": weights,
        "scores": [entry["eval_loss"] for entry in made.state.log_history if "eval_loss" in entry],
        "sharded": all(isinstance(p, DTensor) for p in made.model.parameters()),
        "resumable": made.is_resumable,
    }


@SHARDS
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("seq_reptile", {"gradient_accumulation_steps": 3}),
        pytest.param("seq_reptile", {"inner_optimizer_state": "reset"}, marks=pytest.mark.slow),
        pytest.param("seq_reptile", {"slow_weights_device": "cpu", "optim": "sgd"}, marks=pytest.mark.slow),
        ("mtl", {"tasks_per_step": 2}),
        pytest.param("stl", {}, marks=pytest.mark.slow),
        pytest.param("reptile", {"inner_steps": 2, "max_steps": 14}, marks=pytest.mark.slow),
        pytest.param("recadam", {"recadam_t0": 5, "recadam_gamma": 100}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_sharded_model_ends_where_a_whole_one_ends(tmp_path, method, changes):
    """Laws 1 and 5: evaluated as φ in the middle of trajectories, after which θ goes on; saved whole."""
    tiny.model(dropout=0.0).save_pretrained(tmp_path / "start")
    results = together(2, evaluated, method, tmp_path, 2, changes)
    alone = evaluated(method, tmp_path, 1, changes)
    saved = tiny.weights(BertForTokenClassification.from_pretrained(tmp_path / "of-2"))
    for result in results:
        assert result["sharded"] and not result["resumable"]
        assert result["scores"] == pytest.approx(alone["scores"], abs=1e-5)
        assert tiny.largest_difference(result["weights"], alone["weights"]) < 1e-5
        tiny.assert_equal(result["weights"], saved)
    assert len(alone["scores"]) > 2 and not alone["sharded"] and alone["resumable"]


def refusals(folder: Path) -> dict[str, str]:
    """One of two processes: what is said of each method, of settings, and of other ways to shard."""
    start = folder / "start"
    asked = {
        **{method: (load(start, 2), {"method": method}) for method in tiny.EVERY_METHOD},
        "parallel": (load(start, 2), {"parallel_trajectories": True}),
        "offloaded": (load(start, 2, fsdp_cpu_offload=True), {}),
        "adapter": (get_peft_model(load(start, 2), LoraConfig(target_modules=["query"])), {}),
        "by hand": (fully_shard(tiny.model()), {}),
        "FSDP1": (FullyShardedDataParallel(tiny.model(), device_id=torch.device("cpu")), {}),
    }
    return {name: refusal(partial(tiny.trainer, folder, None, model, **of)) for name, (model, of) in asked.items()}


def refusal(make: Callable[[], Any]) -> str:
    try:
        make()
    except InputError as error:
        return str(error)
    return "accepted"


@SHARDS
def test_what_cannot_be_sharded_is_refused_by_name(tmp_path):
    tiny.model().save_pretrained(tmp_path / "start")
    (said, other) = together(2, refusals, tmp_path)
    assert said == other
    for method in tiny.EVERY_METHOD:
        refused = f"--method {method.partition(':')[0]} is not supported with a sharded model (FSDP2)"
        assert said[method] == "accepted" if method in SHARDED_METHODS else said[method].startswith(refused)
    assert said["parallel"].startswith("--parallel_trajectories is not supported with a sharded model")
    for name in ("offloaded", "adapter", "by hand"):
        assert "DistributedConfig(fsdp_size=2)" in said[name]
    assert said["FSDP1"].startswith("FSDP1 is not supported")


def outer_updates(shard: bool, folder: Path) -> list[dict[str, torch.Tensor]]:
    """φ, then θ, after trajectories of which some were saved, restored, swapped for φ, and averaged."""
    model = tiny.model(layers=2)
    if shard:
        for layer in model.bert.encoder.layer:
            fully_shard(layer)
        fully_shard(model)
    parameters = dict(model.named_parameters())
    whole = lambda: {n: p.full_tensor() if shard else p.clone() for n, p in tiny.weights(model).items()}  # noqa: E731
    own = folder / str(dist.get_rank() if shard else "whole")
    own.mkdir()

    def inner_steps(seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        for p in parameters.values():
            step = torch.randn(p.shape, generator=random)
            p.data += distribute_tensor(step, p.device_mesh, p.placements) if isinstance(p, DTensor) else step
        slow.on_trajectory = True

    slow, seen = SlowWeights(parameters), []
    for seed in range(3):
        inner_steps(seed)
        slow.end_trajectory(counts=seed != 1)
    slow.outer_update(0.5)
    inner_steps(3)
    slow.save(own)
    with slow.in_model():
        seen.append(whole())
        slow = SlowWeights(parameters)
    slow.load(own, on_trajectory=True)
    seen.append(whole())
    slow.outer_update(0.1)
    return [*seen, whole()]


def test_slow_weights_of_shards_are_shards_of_the_slow_weights(tmp_path):
    expected = outer_updates(False, tmp_path)
    for of_process in together(2, outer_updates, True, tmp_path):
        for sharded, whole in zip(of_process, expected, strict=True):
            assert tiny.largest_difference(sharded, whole) < 1e-6


# What is refused by name, before training.

DDP = "use DistributedDataParallel (torchrun, accelerate launch)."


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "A parallelism_config"),
    ],
)
def test_what_accelerate_launch_asks_for_is_refused(tmp_path, monkeypatch, variable, name):
    args = tiny.arguments(tmp_path, method="mtl")
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InputError) as refused:
        MTLTrainer(tiny.model(), args, train_dataset=tasks("mtl"))
    assert str(refused.value) == f"{name} is not supported: {DDP}"


@pytest.mark.parametrize("version", [1, 2])
def test_fsdp_as_an_argument_is_refused(tmp_path, version):
    with pytest.raises(InputError, match="FSDP is not supported"):
        tiny.trainer(tmp_path, method="mtl", fsdp=True, fsdp_config={"version": version})


def test_deepspeed_as_an_argument_is_refused(tmp_path):
    """By the arguments themselves, whether or not deepspeed is installed."""
    with pytest.raises(InputError, match="DeepSpeed is not supported"):
        tiny.arguments(tmp_path, method="mtl", deepspeed={"zero_optimization": {"stage": 2}})


def test_dataparallel_is_refused(tmp_path):
    """Which transformers would use of itself where one process sees two GPUs."""
    args = tiny.arguments(tmp_path, method="mtl")
    args._n_gpu = 2
    with pytest.raises(InputError, match="DataParallel is not supported: start one process a GPU with torchrun"):
        MTLTrainer(tiny.model(), args, train_dataset=tasks("mtl"))


def started(folder: Path, **changes: Any) -> str:
    """Why a trainer is refused, or on how many processes it trains."""
    made: list[Any] = []
    said = refusal(lambda: made.append(tiny.trainer(folder, method="mtl", **changes)))
    return f"{made[0].args.world_size} processes" if made else said


def test_processes_that_would_not_train_as_asked_are_refused(tmp_path):
    """Without the refusals, the first would run DistributedDataParallel and the second a training in each process."""
    for said in together(2, partial(started, fsdp=True), tmp_path):
        assert said == f"FSDP is not supported: {DDP}"
    if not torch.accelerator.is_available():
        for said in together(2, partial(started, use_cpu=False), tmp_path):
            # The first versions of accelerate that we take need not be told of the CPU.
            assert said == "2 processes" or (said.startswith("2 processes were started") and "--use_cpu" in said)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, "^MASTER_ADDR is set, .* WORLD_SIZE is not: .* alone"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "^2 processes were started"),
        ({"WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}, "^4 processes were started"),
    ],
)
def test_a_process_that_was_to_have_others_is_refused(tmp_path, monkeypatch, variables, message):
    args = tiny.arguments(tmp_path, method="mtl")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        MTLTrainer(tiny.model(), args, train_dataset=tasks("mtl"))


def test_a_process_that_was_started_alone_trains(tmp_path, monkeypatch):
    args = tiny.arguments(tmp_path, method="mtl")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("WORLD_SIZE", "1")
    MTLTrainer(tiny.model(), args, train_dataset=tasks("mtl"))


DDP_SETTINGS = {
    "ddp_find_unused_parameters": False, "ddp_bucket_cap_mb": 7, "ddp_broadcast_buffers": False, "ddp_backend": "gloo",
}  # fmt: skip


def settings_of_ddp(folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """One of several processes: how its model is wrapped, and where the run ends."""
    made = tiny.train(trainer("mtl", 2, folder, dropout=0.0, **changes))
    wrapped = made.model_wrapped
    told = {
        "ddp_find_unused_parameters": wrapped.find_unused_parameters,
        "ddp_bucket_cap_mb": wrapped.bucket_bytes_cap / 2**20,
        "ddp_broadcast_buffers": wrapped.broadcast_buffers,
        "ddp_backend": dist.get_backend(),
    }
    return told, tiny.weights(made.model)


def test_settings_of_ddp_are_taken_and_change_no_result(tmp_path):
    ends = together(2, partial(settings_of_ddp, **DDP_SETTINGS), tmp_path)
    plain = together(2, settings_of_ddp, tmp_path)
    for (told, weights), (others, expected) in zip(ends, plain, strict=True):
        assert told == DDP_SETTINGS
        assert all(told[name] != others[name] for name in told if name != "ddp_backend")
        assert tiny.largest_difference(weights, expected) < 1e-6


def plan_lines(folder: Path, **changes: Any) -> list[str]:
    made = tiny.trainer(folder, per_device_train_batch_size=3, gradient_accumulation_steps=2, **changes)
    return str(made.plan(optimizer_steps=12)).splitlines()


def test_the_plan_says_processes_batch_and_draw(tmp_path):
    mtl, own_draws = {"method": "mtl"}, {"parallel_trajectories": True}
    alone = plan_lines(tmp_path, **mtl)
    assert alone[1] == "  processes: 1; batch: 3 examples on each; draw: 3 × 2 accumulated = 6 examples"
    for of_process in together(2, partial(plan_lines, **mtl), tmp_path):
        assert of_process[1] == (
            "  processes: 2; batch: 3 examples on each; draw: 3 × 2 accumulated × 2 processes = 12 examples"
        )
    for of_process in together(2, partial(plan_lines, **own_draws), tmp_path):
        assert of_process[1] == f"  processes: 2, each with draws of its own; {alone[1].partition('; ')[2]}"


def launched(place: Workplace, launcher: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    settings = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *settings, *launcher]
    return subprocess.run(
        [*command, *place.command(*arguments)[1:]], cwd=place.folder, env=place.environment(), capture_output=True,
        text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_accelerate_launch(tmp_path):
    """A script ends where one process ends; with FSDP it is refused, on both processes."""
    place = Workplace(tmp_path)
    model = write_model(tmp_path / "model", dropout=0)
    common = [*SEQ_REPTILE, "--do_train", "--learning_rate", "1e-3"]
    assert main(*place.arguments("one", *common, model=model)) == 0
    halved = place.arguments("two", *common, "--per_device_train_batch_size", "2", model=model)
    process = launched(place, ["--multi_gpu"], halved)
    assert process.returncode == 0, process.stderr
    ends = [load_file(place.path(output, "model.safetensors")) for output in ("one", "two")]
    assert tiny.largest_difference(*ends) < 1e-5
    process = launched(place, ["--use_fsdp", "--fsdp_version", "2"], halved)
    assert process.returncode != 0 and "FSDP is not supported" in process.stderr
    process = launched(place, ["--cpu"], halved)
    assert process.returncode != 0 and "error: MASTER_ADDR is set" in process.stderr


# The page on several processes.

PAGE = ROOT / "docs" / "several_processes.md"


def test_the_table_of_the_page_says_what_the_code_does():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text("utf-8").splitlines()]
    start = next(i for i, row in enumerate(rows) if row[0] == "method")
    backends = rows[start][1:]
    assert backends == ["one process", "DDP", "FSDP2", "FSDP1", "DeepSpeed", "DataParallel"]
    table = {row[0].strip("`"): row[1:] for row in rows[start + 2 :][: len(hf_seqreptile.METHODS) + 1]}
    assert table.keys() == {*hf_seqreptile.METHODS, "seq_reptile --parallel_trajectories"}
    for method, (_, ddp, fsdp2, *others) in table.items():
        assert "refused" not in ddp
        assert (fsdp2 == "refused") == (method not in SHARDED_METHODS)
        assert others == ["refused"] * 3
