"""Arguments of the stock trainer that it would fail on late: once a model is loaded, or training has begun."""

import copy
import multiprocessing
import re
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import (
    get_available_reporting_integrations,
    get_reporting_integration_callbacks,
)
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames
from transformers.utils.import_utils import is_liger_kernel_available, is_torch_xla_available

from ..errors import InputError
from ..json_text import parse_json
from ..ranges import AT_LEAST_1, FROM_0_TO_1, NOT_NEGATIVE, POSITIVE, Range, check_ranges
from .backends import launched_processes

_SEED: Range = (lambda x: 0 <= x < 2**32, "from 0 to 2**32 - 1")
_MOMENT: Range = (lambda x: 0 <= x < 1, "in [0, 1)")
STOCK_RANGES: tuple[tuple[str, str, Range], ...] = (
    ("learning_rate", "α", POSITIVE),
    ("num_train_epochs", "", POSITIVE),
    ("per_device_train_batch_size", "", AT_LEAST_1),
    ("per_device_eval_batch_size", "", AT_LEAST_1),
    ("gradient_accumulation_steps", "", AT_LEAST_1),
    ("eval_accumulation_steps", "", AT_LEAST_1),
    ("label_smoothing_factor", "", FROM_0_TO_1),
    ("weight_decay", "", NOT_NEGATIVE),
    ("adam_beta1", "", _MOMENT),
    ("adam_beta2", "", _MOMENT),
    ("adam_epsilon", "", NOT_NEGATIVE),
    ("seed", "", _SEED),
    ("data_seed", "", _SEED),
    ("dataloader_num_workers", "", NOT_NEGATIVE),
    ("dataloader_prefetch_factor", "", AT_LEAST_1),
    ("neftune_noise_alpha", "", NOT_NEGATIVE),
)
_CHOICES: tuple[tuple[str, type[Enum]], ...] = (
    ("optim", OptimizerNames),
    ("lr_scheduler_type", SchedulerType),
    ("logging_strategy", IntervalStrategy),
    ("eval_strategy", IntervalStrategy),
    ("save_strategy", SaveStrategy),
    ("hub_strategy", HubStrategy),
)


def check_as_given(args: TrainingArguments) -> None:
    """Refuse what `TrainingArguments.__post_init__` takes as it is, or fails on without naming the argument."""
    check_ranges(args, STOCK_RANGES)
    _check_choices(args)
    _check_output_dir(args)
    _check_json(args)
    _check_precision(args)
    _check_loaders(args)
    _check_selection(args)
    _refuse_unsupported(args)


def check_with_the_library(args: TrainingArguments) -> None:
    """Refuse trackers, an optimizer or a schedule that transformers cannot make, after `__post_init__`.

    Settings of accelerate are refused that would break draws into pieces, or leave evaluations unequal.
    """
    _check_accelerator(args)
    _check_trackers(args)
    _check_optimizer(args)
    _check_schedule(args)


def schedule_settings(args: TrainingArguments) -> dict[str, Any]:
    """The `lr_scheduler_kwargs`, with the `mode` that `greater_is_better` means where a schedule follows a metric.

    Raises:
        InputError: another mode was given.
    """
    settings: Any = args.lr_scheduler_kwargs or {}
    if args.lr_scheduler_type not in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY):
        return settings
    mode = "max" if args.greater_is_better else "min"
    if settings.get("mode", mode) != mode:
        raise InputError(
            f"--lr_scheduler_kwargs has mode {settings['mode']}, but --metric_for_best_model "
            f"{args.metric_for_best_model} is to be {'large' if args.greater_is_better else 'small'}: leave the mode "
            f"out, or set --greater_is_better {not args.greater_is_better}."
        )
    return {**settings, "mode": mode}


def _check_choices(args: TrainingArguments) -> None:
    for name, choices in _CHOICES:
        given = getattr(args, name)
        names = [choice.value for choice in choices]
        if (given.value if isinstance(given, Enum) else given) not in names:
            nearest = get_close_matches(str(given), names, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise InputError(f"--{name} {given} is unknown.{hint} Choose one of {', '.join(names)}.")


def _check_output_dir(args: TrainingArguments) -> None:
    folder = Path(args.output_dir or "").expanduser()
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    if not nearest.is_dir():
        raise InputError(f"--output_dir {args.output_dir}: {nearest} is a file; choose another folder.")


def _check_json(args: TrainingArguments) -> None:
    for name in args._VALID_DICT_FIELDS:
        text = getattr(args, name)
        # The others may be names of files.
        if isinstance(text, str) and (name.endswith("_kwargs") or text.startswith("{")):
            try:
                is_object = isinstance(parse_json(text), dict)
            except ValueError:
                is_object = False
            if not is_object:
                raise InputError(f"--{name} {text} is no JSON object; write one, such as '{{\"name\": 2}}'.")


def _check_precision(args: TrainingArguments) -> None:
    has_accelerator = torch.accelerator.is_available() or is_torch_xla_available()
    if args.fp16 and (args.use_cpu or not has_accelerator):
        raise InputError("--fp16 would have no effect on the CPU; use --bf16, or remove it.")
    if args.use_cpu or has_accelerator:
        return
    for name in ("bf16", "bf16_full_eval"):
        if getattr(args, name):
            raise InputError(f"--{name} finds no accelerator on this machine; add --use_cpu, or remove --{name}.")


def _check_loaders(args: TrainingArguments) -> None:
    if args.dataloader_num_workers == 0:
        for name in ("dataloader_persistent_workers", "dataloader_multiprocessing_context"):
            if getattr(args, name):
                raise InputError(f"--{name} is about the processes of --dataloader_num_workers; add these too.")
    context, contexts = args.dataloader_multiprocessing_context, multiprocessing.get_all_start_methods()
    if context is not None and context not in contexts:
        raise InputError(f"--dataloader_multiprocessing_context {context}: choose one of {', '.join(contexts)}.")


def _check_selection(args: TrainingArguments) -> None:
    if SaveStrategy(args.save_strategy) != SaveStrategy.BEST:
        return
    if args.metric_for_best_model is None:
        raise InputError("--save_strategy best needs --metric_for_best_model, such as loss.")
    if IntervalStrategy(args.eval_strategy) == IntervalStrategy.NO:
        raise InputError("--save_strategy best saves after evaluations; add --eval_strategy steps or epoch.")


def _refuse_unsupported(args: TrainingArguments) -> None:
    """Refuse what would change the order of draws or their losses, and what fails with every model of these."""
    if args.use_liger_kernel and not is_liger_kernel_available():
        raise InputError("--use_liger_kernel needs the package liger-kernel; install it, or remove the argument.")
    if args.ddp_backend and launched_processes() is None:
        raise InputError(f"--ddp_backend {args.ddp_backend} is for several processes (torchrun), and this is one.")
    debug = args.debug if isinstance(args.debug, str) else " ".join(o.value for o in args.debug or ())
    for name, is_given, reason in (
        ("dataloader_in_order False", not args.dataloader_in_order, "batches must come in the order of the draws"),
        (
            "ddp_static_graph",
            args.ddp_static_graph,
            "processes average their gradients at the end of a step's micro-batches alone, on which it fails",
        ),
        ("ignore_data_skip", args.ignore_data_skip, "a run that is continued goes on with the draws that are due"),
        (
            "average_tokens_across_devices False",
            not args.average_tokens_across_devices,
            "a draw's loss is the mean over the labels of all processes",
        ),
        (
            f"debug {debug}",
            args.debug,
            "with the masks of these models it ends in an error. A loss that is not finite ends the run and is named",
        ),
    ):
        if is_given:
            raise InputError(f"--{name} is not supported: {reason}. Remove it.")


def _check_accelerator(args: TrainingArguments) -> None:
    config: Any = args.accelerator_config
    steps = (config.gradient_accumulation_kwargs or {}).get("num_steps")
    for name, is_given, mend in (
        ("split_batches", config.split_batches, "--per_device_train_batch_size is each process's part already"),
        ("dispatch_batches", config.dispatch_batches, "each process takes its part of a draw itself"),
        ("even_batches", not config.even_batches, "what fills up the last batch of an evaluation is not counted"),
        ("num_steps", steps is not None, f"write --gradient_accumulation_steps {steps}"),
    ):
        if is_given:
            raise InputError(f"--accelerator_config with another {name} is not supported: {mend}.")


def _check_trackers(args: TrainingArguments) -> None:
    trackers = args.report_to or []
    available = get_available_reporting_integrations() if trackers else []
    for tracker in trackers:
        try:
            (callback,) = get_reporting_integration_callbacks([tracker])
            # Made only to hear what it lacks: one that lacks nothing may start to measure at once.
            if tracker not in available:
                callback()
        except (ValueError, ImportError, RuntimeError) as error:
            raise InputError(f"--report_to {tracker}: {error}") from error


def _check_optimizer(args: TrainingArguments) -> None:
    optimizer_name = OptimizerNames(args.optim).value
    if args.optim_target_modules and not re.match("galore|apollo", optimizer_name):
        raise InputError(f"--optim_target_modules is for GaLore and APOLLO; --optim {optimizer_name} trains all.")
    if re.search("lomo|layerwise", optimizer_name):
        raise InputError(
            f"--optim {optimizer_name} is not supported: it changes weights within the backward pass of each "
            f"micro-batch, where a step may have several. Choose another."
        )
    if args.optim_args and any(part.count("=") != 1 for part in args.optim_args.split(",")):
        raise InputError(f"--optim_args {args.optim_args}: write name=value, with commas between several.")
    # Not initialized: that would change the random numbers of a model that is made after the arguments.
    model: Any = torch.nn.Sequential(torch.nn.utils.skip_init(torch.nn.Linear, 1, 1))
    args_of_model = copy.copy(args)
    # Some optimizers look for modules of these names, which only the real model has.
    args_of_model.optim_target_modules = args.optim_target_modules and "all-linear"
    try:
        optimizer, settings = Trainer.get_optimizer_cls_and_kwargs(args_of_model, model)
        if optimizer.__module__.startswith("torch."):
            optimizer(model.parameters(), **settings)
    except (ValueError, ImportError, RuntimeError, TypeError) as error:
        given = f" --optim_args {args.optim_args}" if args.optim_args else ""
        raise InputError(f"--optim {optimizer_name}{given}: {error}") from error


def _check_schedule(args: TrainingArguments) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], args.learning_rate)
    settings: Any = args.lr_scheduler_kwargs
    try:
        get_scheduler(args.lr_scheduler_type, optimizer, 0, 1, scheduler_specific_kwargs=settings)
    except (ValueError, TypeError) as error:
        name = SchedulerType(args.lr_scheduler_type).value
        raise InputError(f"--lr_scheduler_type {name} --lr_scheduler_kwargs {settings or {}}: {error}") from error
