"""Several processes that train together, for tests."""

import gc
import multiprocessing
import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from torch import nn
from transformers import TrainerCallback

from tests import forks, tiny

LIMIT = 240
"""Seconds after which processes that wait for each other in vain are ended."""


def together(processes: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What `function(*args)` returns in each of so many processes, which find each other as torchrun's do.

    `function` is one that a module holds; what it returns can be pickled. Where a process raises or dies, this raises.
    """
    context = forks.server()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(sender, rank, processes, port, function, args))
        process.start()
        sender.close()
        started.append((process, receiver))
    try:
        answers = [_answer(receiver) for _, receiver in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()
    failures = [f"process {rank}: {answer}" for rank, answer in enumerate(answers) if not isinstance(answer, tuple)]
    if failures:
        raise RuntimeError("\n".join(failures))
    return [result for (result,) in answers]


def _answer(receiver: Connection) -> tuple[Any] | str:
    if not receiver.poll(LIMIT):
        return f"no answer within {LIMIT} seconds"
    try:
        return pickle.loads(receiver.recv_bytes())
    except EOFError:
        return "died"


def _run(
    sender: Connection, rank: int, processes: int, port: int, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    # As torchrun sets them.
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
    }  # fmt: skip
    # accelerate collects garbage in every training, and would go through all that was imported.
    gc.freeze()
    # Data loaders start their workers as in any process, not as this one was started.
    multiprocessing.set_start_method(None, force=True)
    try:
        answer: tuple[Any] | str = (function(*args),)
    except BaseException:
        answer = traceback.format_exc()
    # `send` would pass tensors as handles to memory of this process, which is about to end.
    sender.send_bytes(pickle.dumps(answer))


class Communication(TrainerCallback):
    """Counts what a process tells the others while it trains.

    Attributes:
        gradients: how often the stock trainer's model, a DistributedDataParallel, averaged gradients.
        sums: how often any other tensor was summed; single numbers are not counted.
    """

    def __init__(self) -> None:
        self.gradients = self.sums = 0
        self._all_reduce = dist.all_reduce

    def watch(self, model: nn.parallel.DistributedDataParallel) -> None:
        """Count from now on."""
        model.register_comm_hook(None, self._average)
        dist.all_reduce = self._sum

    def _average(self, state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.gradients += 1
        return dist.algorithms.ddp_comm_hooks.default_hooks.allreduce_hook(None, bucket)

    def _sum(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.sums += tensor.dim() > 0
        return self._all_reduce(tensor, *args, **kwargs)


def trained(
    changes: Mapping[str, Any],
    tasks: Mapping[str, Dataset] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    dropout: float = 0.0,
    init: Mapping[str, Any] | None = None,
    of_model: nn.Module | None = None,
) -> dict[str, Any]:
    """One of several processes: a run of the tiny model, and what became of it; no files without a folder."""
    communication = Communication()

    class Watching(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            communication.watch(trainer.model_wrapped)

    init = {"callbacks": []} | dict(init or {})
    init["callbacks"] = [*init["callbacks"], Watching()]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = tiny.trainer(folder or Path(scratch), tasks, of_model, dropout=dropout, init=init, **changes)
        tiny.train(trainer, resume_from_checkpoint=resume)
    return {
        "weights": tiny.weights(trainer.model),
        "steps": trainer.state.global_step,
        "outer_updates": trainer.outer_updates,
        "draws": trainer.draw_counts,
        "log": trainer.state.log_history,
        "averaged_gradients": communication.gradients,
        "sums": communication.sums,
    }
