"""How a model may be spread over devices; everything else is refused by name."""

import os

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from transformers import TrainingArguments
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.trainer_utils import SaveStrategy
from transformers.utils.generic import strtobool

from ..errors import InputError

SHARDED_METHODS = ("seq_reptile", "reptile", "mtl", "stl", "recadam")
"""The methods that train a model whose parameters are sharded over the processes (FSDP2)."""


def refuse_unsupported_backends(args: TrainingArguments) -> None:
    """Refuse what the arguments, the environment or `accelerate launch` ask for, whether or not it would be done.

    On the CPU accelerate runs DistributedDataParallel where FSDP is asked for, and does not say so.
    """
    ddp = "use DistributedDataParallel (torchrun, accelerate launch)"
    for asked, name, mend in (
        (_is_launched_with(args, "DEEPSPEED"), "DeepSpeed", ddp),
        (args.fsdp or args.fsdp_config or _is_launched_with(args, "FSDP"), "FSDP", ddp),
        (_is_launched_with(args, "MEGATRON_LM"), "Megatron-LM", ddp),
        (args.parallelism_config or _is_launched_with(args, "PARALLELISM_CONFIG"), "A parallelism_config", ddp),
        (args.n_gpu > 1, "DataParallel", "start one process a GPU with torchrun"),
    ):
        if asked:
            raise InputError(f"{name} is not supported: {mend}.")
    _refuse_processes_apart(args.world_size)


def _refuse_processes_apart(world_size: int) -> None:
    """Refuse several processes of which each would train alone, with its part of the batch and into one folder."""
    started = dist.get_world_size() if dist.is_initialized() else launched_processes()
    if started is not None and started > world_size:
        raise InputError(
            f"{started} processes were started, but transformers would train in each of them alone, as it does on a "
            f"machine without accelerators; add --use_cpu."
        )
    if started is None and os.environ.get("MASTER_ADDR"):
        raise InputError(
            "MASTER_ADDR is set, as for several processes, but WORLD_SIZE is not: this process would train alone, "
            "with its part of the batch, as the one does that `accelerate launch --cpu --num_processes 2` starts. "
            "Start them with `torchrun --nproc_per_node 2` or `accelerate launch --multi_gpu --num_processes 2`, and "
            "without an accelerator add --use_cpu after the script's name; or unset MASTER_ADDR for one process."
        )


def launched_processes() -> int | None:
    """How many processes the launcher says that it started (torchrun, accelerate, MPI); `None` without one."""
    names = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), None)


def _is_launched_with(args: TrainingArguments, backend: str) -> bool:
    """Whether `accelerate launch` says so, or an `Accelerator` that was made before."""
    launched = strtobool(os.environ.get(f"ACCELERATE_USE_{backend}", "false"))
    state = args.distributed_state
    return bool(launched) or (state is not None and state.distributed_type == backend)


def is_sharded(model: nn.Module) -> bool:
    """Whether parameters are sharded over the processes (FSDP2)."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def check_sharding(model: nn.Module, method: str, args: TrainingArguments, processes_share_draws: bool) -> None:
    """Refuse a sharded model unless FSDP2 sharded it as it was loaded, over all processes, for a method that can.

    The units of a model that passes free their gathered weights after each forward pass, evaluation's too: φ is
    swapped in and out between two of them, and weights that stayed gathered would be those from before.
    """
    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise InputError("FSDP1 is not supported: give the trainer the model without FullyShardedDataParallel.")
    sharded = [isinstance(p, DTensor) for p in model.parameters()]
    config = getattr(getattr(model, "config", None), "distributed_config", None)
    if config is None and not any(sharded):
        return
    supported = DistributedConfig(fsdp_size=args.world_size, fsdp_plan=getattr(config, "fsdp_plan", None))
    if config != supported or not all(sharded) or not isinstance(model, FSDPModule):
        raise InputError(
            f"This sharding of the model is not supported: load the model with "
            f"from_pretrained(..., distributed_config=DistributedConfig(fsdp_size={args.world_size})), which is the "
            f"number of processes, and without further settings or adapters; or load it whole."
        )
    for asked, name in (
        (method not in SHARDED_METHODS, f"--method {method}"),
        (not processes_share_draws, "--parallel_trajectories"),
        (args.save_strategy != SaveStrategy.NO, f"--save_strategy {args.save_strategy}"),
        (getattr(args, "log_gradient_alignment", None), "--log_gradient_alignment"),
        (args.fp16, "--fp16"),
    ):
        if asked:
            raise InputError(f"{name} is not supported with a sharded model (FSDP2): change that, or load it whole.")
    model.set_reshard_after_forward(True)
