"""Gradients and statistics averaged over the processes by us, where DistributedDataParallel would leave some out."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn


def average_over_processes(parameters: Sequence[nn.Parameter]) -> None:
    """Make each parameter's gradient the mean over the processes; without processes, leave all as they are.

    A parameter that only some processes' examples touch has no gradient on the others: there it is zero. One that no
    process touches has none afterwards either.
    """
    if not parameters or not dist.is_initialized():
        return
    touched = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device).int()
    dist.all_reduce(touched, dist.ReduceOp.MAX)
    for parameter, is_touched in zip(parameters, touched.tolist(), strict=True):
        if is_touched:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradient /= dist.get_world_size()
            dist.all_reduce(gradient)
            parameter.grad = gradient


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Make running statistics, such as BatchNorm's, the mean over the processes; without processes, leave them.

    DistributedDataParallel keeps them alike, though not where it is told not to average gradients.
    """
    if not dist.is_initialized():
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer /= dist.get_world_size()
            dist.all_reduce(buffer)
