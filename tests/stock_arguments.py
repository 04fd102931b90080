"""What becomes of each argument of the stock trainer in the scripts: what is tried, and what is to be seen.

`python -m tests.stock_arguments` prints the table of docs/stock_arguments.md.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.stock_runs import Breaks, Seen, memory_for_two, not_finite_from_step_2

Check = Callable[[Seen, Seen], None]
"""Asserts what is to be seen of a run with the argument, beside one without it."""


@dataclass(frozen=True)
class Entry:
    """What becomes of an argument.

    Args:
        tried: the value, and what goes with it on the command line. `METRIC` stands for a metric of the script, `BASE`
            for the folder of the run without the argument.
        outcome: what it does, in words, or why it is refused or left out.
        check: what is to be seen where it works.
        refused: a part of the message with which it is refused when arguments are parsed.
        refused_by: the scripts that do so. Default: all, if there is a message.
        base: what the run without the argument has beside what all have.
        on_cpu: whether it is so only where there is no accelerator.
        breaks: breaks the model while it trains.
        code: the run's exit code where it works.
        without_effect_in: the scripts where it changes nothing.
    """

    tried: tuple[str, ...] = ()
    outcome: str = ""
    check: Check | None = None
    refused: str = ""
    refused_by: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    on_cpu: bool = False
    breaks: Breaks = nullcontext
    code: int = 0
    without_effect_in: tuple[str, ...] = ()

    @property
    def is_left_out(self) -> bool:
        """Whether nothing is tried."""
        return not (self.check or self.refused)

    def is_refused_by(self, script: str) -> bool:
        """Whether the script refuses it."""
        return bool(self.refused) and (script in self.refused_by or not self.refused_by)


def refused(*tried: str, by: str, because: str = "", on_cpu: bool = False) -> Entry:
    """An argument that every script refuses, with a message that has `by`."""
    return Entry(tried, because, refused=by, on_cpu=on_cpu)


def left_out(reason: str) -> Entry:
    """An argument that is not tried here."""
    return Entry(outcome=reason)


# What is to be seen.


def written_elsewhere(seen: Seen, base: Seen) -> None:
    """In the folder that was named last."""
    assert Path(f"{base.folder}-elsewhere", "model.safetensors").exists() and not seen.folder.exists()


def other_weights(seen: Seen, base: Seen) -> None:
    """It trains, and otherwise."""
    assert tiny.largest_difference(seen.weights, base.weights) > 0
    assert all(bool(p.isfinite().all()) for p in seen.weights.values())


def same_weights(seen: Seen, base: Seen) -> None:
    """Bit for bit."""
    tiny.assert_equal(seen.weights, base.weights)


def same_end(seen: Seen, base: Seen) -> None:
    """The same weights, and the same scores to rounding."""
    same_weights(seen, base)
    assert seen.results == pytest.approx(base.results, rel=1e-5)


def that(condition: Callable[[Seen], object], *others: Check) -> Check:
    """The condition holds of the run, and not of the one without the argument; and the others hold."""

    def check(seen: Seen, base: Seen) -> None:
        assert condition(seen)
        assert not condition(base)
        for other in others:
            other(seen, base)

    return check


def of_all_groups(name: str, value: object) -> Check:
    """A setting of the optimizer, and the weights are others."""
    return that(lambda seen: seen.optimizer.param_groups[0][name] == value, other_weights)


def rates(condition: Callable[[list[float]], bool]) -> Check:
    """The learning rates of the steps."""
    return that(lambda seen: condition(seen.logged("learning_rate")))


def best(of: Callable[[list[float]], float]) -> Check:
    """The best metric of the run is this one of its evaluations."""

    def is_best(seen: Seen) -> bool:
        values = seen.logged(f"eval_{seen.trainer.args.metric_for_best_model}")
        return len(values) > 1 and seen.json("trainer_state.json")["best_metric"] == of(values)

    return that(is_best)


def best_is_loaded(seen: Seen, base: Seen) -> None:
    """The first of equally good checkpoints, which is not the last."""
    name = seen.json("trainer_state.json")["best_model_checkpoint"]
    assert name != "checkpoint-4"
    saved = load_file(seen.folder / name / "model.safetensors")
    tiny.assert_equal(dict(seen.trainer.model.state_dict()) if seen.has("heads.json") else seen.weights, saved)
    other_weights(seen, base)


def evaluated_in(dtype: torch.dtype) -> Check:
    """The model was saved before."""
    return that(lambda seen: next(seen.trainer.model.parameters()).dtype == dtype, same_weights)


def more_moves_to_the_cpu(seen: Seen, base: Seen) -> None:
    """With the same scores."""
    assert seen.moves_to_cpu > base.moves_to_cpu
    same_end(seen, base)


def reduces_overhead(seen: Seen) -> bool:
    """By CUDA graphs, as the compiler was told, if there is one."""
    compiler = getattr(seen.trainer.model_wrapped, "dynamo_ctx", None)
    return compiler is not None and compiler.compiler_config["triton.cudagraphs"]


def two_thirds_of_the_steps(seen: Seen, base: Seen) -> None:
    """2 epochs in place of 3."""
    assert 3 * len(seen.steps("loss")) == 2 * len(base.steps("loss")) > 0


def ends_at_the_log(seen: Seen, base: Seen) -> None:
    """And not at the step, for whose loss nothing waits."""
    assert base.code == 2 and "is nan at step 2." in base.err
    assert "error: The loss of task" in seen.err and "is nan at step 2." not in seen.err


def has_bar(seen: Seen) -> bool:
    """Of the training."""
    return "4/4" in seen.err


EVALUATING = ("--eval_strategy", "steps", "--eval_steps", "1")
OFTEN_AND_FAST = (*EVALUATING, "--learning_rate", "0.1", "--warmup_steps", "3")
"""So that the scores of evaluations differ: the first step, at a learning rate of 0, changes nothing."""
SAVING = ("--save_strategy", "steps", "--save_steps", "2")
BY_EPOCHS = ("--max_steps", "-1", "--num_train_epochs", "2")
NO_EFFECT = "has no effect here"
ON_PROCESSES = "several processes ([tests/test_several_processes.py](../tests/test_several_processes.py))"
ON_NODES = "several machines"
THE_HUB = "the Hub ([tests/training/test_pushing.py](../tests/training/test_pushing.py))"
TRACKERS = "trackers ([tests/training/test_trackers.py](../tests/training/test_trackers.py))"
DEVICES = "accelerators"

ENTRIES: dict[str, Entry] = {
    # Output and length.
    "output_dir": Entry(("BASE-elsewhere",), "everything is written there", written_elsewhere),
    "do_train": Entry(("False",), "nothing is trained", that(lambda seen: not seen.has("train_results.json"))),
    "do_eval": Entry(("False",), "no validation data is scored", that(lambda seen: not seen.has("eval_results.json"))),
    "do_predict": Entry(("False",), "nothing is predicted", that(lambda seen: not seen.has("predict_results.json"))),
    "max_steps": Entry(("5",), "optimizer steps of the run", that(lambda seen: seen.steps("loss") == [1, 2, 3, 4, 5])),
    "num_train_epochs": Entry(
        ("2", "--max_steps", "-1"),
        "an epoch is ⌈ΣN_t / B⌉ drawn batches",
        two_thirds_of_the_steps,
        base=("--max_steps", "-1"),
    ),
    "per_device_train_batch_size": Entry(
        ("2",), "examples of a micro-batch", that(lambda seen: "batch: 2 examples" in seen.out, other_weights)
    ),
    "gradient_accumulation_steps": Entry(
        ("2",), "micro-batches of a draw", that(lambda seen: "4 × 2 accumulated = 8" in seen.out, other_weights)
    ),
    "auto_find_batch_size": Entry(
        ("True",),
        "a batch that does not fit into memory is made smaller, and the run begins anew",
        that(lambda seen: seen.trainer._train_batch_size == 2 and seen.steps("loss") == [1, 2, 3, 4]),
        breaks=memory_for_two,
    ),
    # Optimizer and schedule.
    "learning_rate": Entry(("1e-3",), "α", that(lambda seen: seen.logged("learning_rate")[0] == 1e-3, other_weights)),
    "lr_scheduler_type": Entry(("constant",), "the schedule", rates(lambda rates: len(set(rates)) == 1)),
    "lr_scheduler_kwargs": Entry(
        ('{"num_cycles": 2}', "--lr_scheduler_type", "cosine_with_restarts"),
        "the schedule's settings; with `reduce_lr_on_plateau` and `greedy`, `mode` is that of `greater_is_better`",
        rates(lambda rates: rates[2] > rates[1]),
        base=("--lr_scheduler_type", "cosine_with_restarts"),
    ),
    "warmup_steps": Entry(("2",), "steps, or below 1 a share of them", rates(lambda rates: rates[0] < rates[2])),
    "optim": Entry(
        ("sgd",),
        "the optimizer; those that change weights within the backward pass are refused (`lomo`, `…_layerwise`)",
        that(lambda seen: type(seen.optimizer) is torch.optim.SGD, other_weights),
    ),
    "optim_args": Entry(
        ("momentum=0.5", "--optim", "sgd"),
        "the optimizer's own",
        of_all_groups("momentum", 0.5),
        base=("--optim", "sgd"),
    ),
    "optim_target_modules": refused("all-linear", by="--optim_target_modules is for GaLore and APOLLO"),
    "weight_decay": Entry(("0.5",), "of all but biases and norms", of_all_groups("weight_decay", 0.5)),
    "adam_beta1": Entry(("0.5",), "β1 of Adam", of_all_groups("betas", (0.5, 0.999))),
    "adam_beta2": Entry(("0.5",), "β2 of Adam", of_all_groups("betas", (0.9, 0.5))),
    "adam_epsilon": Entry(("0.01",), "ε of Adam", of_all_groups("eps", 0.01)),
    "max_grad_norm": Entry(("0.01",), "gradients are clipped", other_weights),
    "label_smoothing_factor": Entry(
        ("0.2",),
        "labels are smoothed; refused in run_qa, whose loss has none",
        other_weights,
        refused="--label_smoothing_factor has no effect here",
        refused_by=("run_qa",),
    ),
    "neftune_noise_alpha": Entry(
        ("5",),
        "embeddings get noise while training; refused in run_image_classification, whose models have none of words",
        other_weights,
        refused=f"--neftune_noise_alpha {NO_EFFECT}",
        refused_by=("run_image_classification",),
    ),
    "average_tokens_across_devices": refused(
        "False",
        by="--average_tokens_across_devices False is not supported",
        because="a draw's loss is the mean over the labels of all processes",
    ),
    # Numbers and devices.
    "bf16": Entry(("True",), "forward passes in bfloat16", other_weights),
    "fp16": refused("True", by="--fp16 would have no effect on the CPU", on_cpu=True),
    "bf16_full_eval": Entry(("True",), "evaluation after training is in bfloat16", evaluated_in(torch.bfloat16)),
    "fp16_full_eval": Entry(("True",), "evaluation after training is in float16", evaluated_in(torch.float16)),
    "tf32": refused("True", by="--tf32 requires Ampere", on_cpu=True),
    "activation_checkpointing": Entry(
        ("True",),
        "activations are computed again, which changes no weights",
        that(lambda seen: seen.checkpointed, same_end),
    ),
    "activation_checkpointing_kwargs": Entry(
        ('{"use_reentrant": true}', "--activation_checkpointing"),
        "of `torch.utils.checkpoint`",
        that(lambda seen: seen.checkpointed[0].keywords["use_reentrant"], same_end),
        base=("--activation_checkpointing",),
    ),
    "gradient_checkpointing": Entry(
        ("True",), "the deprecated name of `activation_checkpointing`", that(lambda seen: seen.checkpointed, same_end)
    ),
    "gradient_checkpointing_kwargs": Entry(
        ('{"use_reentrant": true}', "--gradient_checkpointing"),
        "the deprecated name of `activation_checkpointing_kwargs`",
        that(lambda seen: seen.checkpointed[0].keywords["use_reentrant"], same_end),
        base=("--gradient_checkpointing",),
    ),
    "torch_compile": Entry(
        ("True", "--torch_compile_backend", "eager"),
        "the model is compiled",
        that(lambda seen: hasattr(seen.trainer.model_wrapped, "_orig_mod"), same_end),
    ),
    "torch_compile_backend": Entry(
        ("eager",),
        "likewise, by this compiler",
        that(lambda seen: hasattr(seen.trainer.model_wrapped, "_orig_mod"), same_end),
    ),
    "torch_compile_mode": Entry(("reduce-overhead",), "likewise, in this mode", that(reduces_overhead)),
    "use_liger_kernel": refused("True", by="--use_liger_kernel needs the package liger-kernel"),
    "liger_kernel_config": refused(
        '{"rope": true}', by="argument --liger_kernel_config", because="the command line takes no such value"
    ),
    "use_cache": Entry(("True",), "stands in config.json", that(lambda seen: seen.config["use_cache"])),
    "use_cpu": left_out(DEVICES),
    "torch_empty_cache_steps": left_out(DEVICES),
    "full_determinism": Entry(
        ("True",), "torch's algorithms are deterministic", that(lambda seen: seen.was_deterministic)
    ),
    "seed": Entry(("1",), "of everything random", other_weights),
    "data_seed": Entry(("1",), "of the draws and of each task's order", other_weights),
    # Logs.
    "logging_strategy": Entry(
        ("epoch", *BY_EPOCHS),
        "when training is logged",
        that(lambda seen: len(seen.steps("loss")) == 2),
        base=BY_EPOCHS,
    ),
    "logging_steps": Entry(("2",), "how often", that(lambda seen: seen.steps("loss") == [2, 4])),
    "logging_first_step": Entry(
        ("True", "--logging_steps", "3"),
        "the first step too",
        that(lambda seen: 1 in seen.steps("loss")),
        base=("--logging_steps", "3"),
    ),
    "logging_nan_inf_filter": Entry(
        ("False", "--logging_steps", "3"),
        "an evaluation's loss may be infinite; a training loss that is not finite ends the run in any case",
        ends_at_the_log,
        base=("--logging_steps", "3"),
        breaks=not_finite_from_step_2,
        code=2,
    ),
    "log_on_each_node": left_out(ON_NODES),
    "log_level": Entry(
        ("info",), "of this package and of transformers", that(lambda seen: "***** Running training" in seen.err)
    ),
    "log_level_replica": left_out(ON_PROCESSES),
    "disable_tqdm": Entry(
        ("True",), "no progress bar", that(lambda seen: not has_bar(seen)), base=("--disable_tqdm", "False")
    ),
    "include_num_input_tokens_seen": Entry(
        ("True",),
        "the log counts tokens; refused in run_image_classification, where there are none",
        that(lambda seen: seen.logged("num_input_tokens_seen")),
        refused=f"--include_num_input_tokens_seen {NO_EFFECT}",
        refused_by=("run_image_classification",),
    ),
    "skip_memory_metrics": Entry(
        ("False",),
        "results tell of memory",
        that(lambda seen: {"train_mem_cpu_alloc_delta", "eval_mem_cpu_alloc_delta"} <= seen.results.keys()),
    ),
    "report_to": left_out(TRACKERS),
    "run_name": left_out(TRACKERS),
    "project": left_out(TRACKERS),
    "trackio_space_id": left_out(TRACKERS),
    "trackio_bucket_id": left_out(TRACKERS),
    "trackio_static_space_id": left_out(TRACKERS),
    # Evaluation.
    "eval_strategy": Entry(
        ("steps", "--eval_steps", "2"), "evaluation while training", that(lambda seen: seen.evaluations == [2, 4])
    ),
    "eval_steps": Entry(
        ("1", "--eval_strategy", "steps"),
        "how often",
        that(lambda seen: seen.evaluations == [1, 2, 3, 4]),
        base=("--eval_strategy", "steps", "--eval_steps", "2"),
    ),
    "eval_delay": Entry(
        ("3", *EVALUATING), "when it begins", that(lambda seen: seen.evaluations == [3, 4]), base=EVALUATING
    ),
    "eval_on_start": Entry(
        ("True", *EVALUATING), "before training too", that(lambda seen: 0 in seen.evaluations), base=EVALUATING
    ),
    "per_device_eval_batch_size": Entry(
        ("3",),
        "changes no score, the loss included",
        that(lambda seen: seen.trainer.callback_handler.eval_dataloader.total_batch_size == 3, same_end),
    ),
    "eval_accumulation_steps": Entry(
        ("1",),
        "what is gathered goes to the CPU that often, which changes no score",
        more_moves_to_the_cpu,
    ),
    "prediction_loss_only": refused("True", by=f"--prediction_loss_only {NO_EFFECT}"),
    "eval_do_concat_batches": refused("False", by=f"--eval_do_concat_batches {NO_EFFECT}"),
    "eval_use_gather_object": refused("True", by=f"--eval_use_gather_object {NO_EFFECT}"),
    "include_for_metrics": refused("inputs", "loss", by=f"--include_for_metrics {NO_EFFECT}"),
    "batch_eval_metrics": refused("True", by=f"--batch_eval_metrics {NO_EFFECT}"),
    # Checkpoints and the best model.
    "save_strategy": Entry(
        ("epoch", *BY_EPOCHS),
        "when checkpoints are written",
        that(lambda seen: len(seen.checkpoints) == 2),
        base=BY_EPOCHS,
    ),
    "save_steps": Entry(
        ("1", "--save_strategy", "steps"), "how often", that(lambda seen: len(seen.checkpoints) == 4), base=SAVING
    ),
    "save_total_limit": Entry(
        ("1", *SAVING), "older ones are deleted", that(lambda seen: seen.checkpoints == ["checkpoint-4"]), base=SAVING
    ),
    "save_only_model": Entry(
        ("True", *SAVING),
        "without what continues a run",
        that(lambda seen: not seen.has("checkpoint-4", "optimizer.pt")),
        base=SAVING,
    ),
    "save_on_each_node": left_out(ON_NODES),
    "enable_jit_checkpoint": refused("True", by="--enable_jit_checkpoint is not supported"),
    "load_best_model_at_end": Entry(
        (
            "True",
            *EVALUATING,
            "--save_strategy",
            "steps",
            "--save_steps",
            "1",
            "--metric_for_best_model",
            "METRIC",
            "--greater_is_better",
            "False",
        ),
        "the best checkpoint is the result",
        best_is_loaded,
    ),
    "metric_for_best_model": Entry(
        ("METRIC", *OFTEN_AND_FAST),
        "any metric of a task or their mean; another is refused",
        best(max),
        base=OFTEN_AND_FAST,
    ),
    "greater_is_better": Entry(
        ("False", *OFTEN_AND_FAST, "--metric_for_best_model", "METRIC"),
        "whether it is to grow",
        best(min),
        base=(*OFTEN_AND_FAST, "--metric_for_best_model", "METRIC"),
    ),
    "resume_from_checkpoint": Entry(
        ("BASE/checkpoint-2",),
        "ends bit for bit where the whole run ends",
        that(lambda seen: seen.trainer._initial_global_step == 2, same_weights),
        base=SAVING,
    ),
    "restore_callback_states_from_checkpoint": Entry(
        ("True", "--resume_from_checkpoint", "BASE/checkpoint-2", "--log_level", "info"),
        "of callbacks that can be saved",
        that(lambda seen: "restoring any callbacks" in seen.err, same_weights),
        base=SAVING,
    ),
    "ignore_data_skip": refused(
        "True",
        by="--ignore_data_skip is not supported",
        because="a run that is continued goes on with the draws that are due, which costs no time",
    ),
    "push_to_hub": left_out(THE_HUB),
    "hub_token": left_out(THE_HUB),
    "hub_private_repo": left_out(THE_HUB),
    "hub_model_id": left_out(THE_HUB),
    "hub_strategy": left_out(THE_HUB),
    "hub_always_push": left_out(THE_HUB),
    "hub_revision": left_out(THE_HUB),
    # Data.
    "train_sampling_strategy": Entry(
        ("random",),
        "the order of a task's examples: `group_by_length` (pictures have none) or `random`; others are refused",
        other_weights,
        without_effect_in=("run_image_classification",),
    ),
    "length_column_name": refused("length", "--length_column_name", "len", by=f"--length_column_name {NO_EFFECT}"),
    "remove_unused_columns": Entry(("False",), "changes nothing: the model is given its own inputs alone", same_end),
    "label_names": refused(
        "labels", by=f"--label_names {NO_EFFECT}", because="run_ner takes it where tags are numbers, which it names"
    ),
    "dataloader_drop_last": Entry(
        ("True",), "changes nothing: draws are whole batches in any case, and evaluation sees all the data", same_end
    ),
    "dataloader_num_workers": Entry(
        ("1",),
        "processes that load data, which changes no result",
        that(lambda seen: seen.loader.num_workers == 1, same_end),
    ),
    "dataloader_persistent_workers": Entry(
        ("True", "--dataloader_num_workers", "1"),
        "training's stay from epoch to epoch",
        that(lambda seen: seen.loader.persistent_workers, same_end),
        base=("--dataloader_num_workers", "1"),
    ),
    "dataloader_prefetch_factor": Entry(
        ("3", "--dataloader_num_workers", "1"),
        "batches that a worker loads ahead",
        that(lambda seen: seen.loader.prefetch_factor == 3, same_end),
        base=("--dataloader_num_workers", "1"),
    ),
    "dataloader_multiprocessing_context": Entry(
        ("fork", "--dataloader_num_workers", "1"),
        "how workers are started",
        that(lambda seen: seen.loader.multiprocessing_context is not None, same_end),
        base=("--dataloader_num_workers", "1"),
    ),
    "dataloader_pin_memory": left_out(DEVICES),
    "dataloader_in_order": refused(
        "False",
        by="--dataloader_in_order False is not supported",
        because="batches must come in the order of the draws",
    ),
    # Processes.
    "accelerator_config": refused(
        '{"split_batches": true}',
        by="--accelerator_config with another split_batches is not supported",
        because="as `dispatch_batches`, `even_batches` and `num_steps` are; the others work as in the stock trainer",
    ),
    "parallelism_config": refused(
        "x", by="argument --parallelism_config", because="the command line takes no such value, and Python refuses it"
    ),
    "ddp_backend": refused("gloo", by="--ddp_backend gloo is for several processes", because="on one process"),
    "ddp_find_unused_parameters": left_out(ON_PROCESSES),
    "ddp_bucket_cap_mb": left_out(ON_PROCESSES),
    "ddp_broadcast_buffers": left_out(ON_PROCESSES),
    "ddp_static_graph": refused(
        "True",
        by="--ddp_static_graph is not supported",
        because="it fails where a step has several micro-batches",
    ),
    "ddp_timeout": left_out(ON_PROCESSES),
    "fsdp": refused("full_shard", by="FSDP is not supported"),
    "fsdp_config": refused('{"version": 2}', by="FSDP is not supported"),
    "deepspeed": refused("config.json", by="DeepSpeed is not supported"),
    "local_rank": left_out("without effect in transformers 5"),
    "debug": refused(
        "underflow_overflow",
        by="--debug underflow_overflow is not supported",
        because="it fails on these models' masks; a loss that is not finite ends the run and is named in any case",
    ),
}
"""What becomes of each field of `TrainingArguments`."""


def table() -> str:
    """The entries as a Markdown table."""
    rows = ["| argument | tried | outcome |", "|---|---|---|"]
    for name, entry in ENTRIES.items():
        kind = "not tried: " if entry.is_left_out else "refused" if entry.refused and not entry.check else ""
        outcome = f"{kind}{': ' if kind == 'refused' and entry.outcome else ''}{entry.outcome}"
        tried = " ".join(entry.tried)
        rows.append(f"| `{name}` | {f'`{tried}`' if tried else ''} | {outcome} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
