"""The slow weights φ, kept beside the fast weights θ that are being trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

TRAJECTORY_FILE = "trajectory.safetensors"


class SlowWeights:
    """φ of Equations 3 and 6: a copy of what training moves that only outer updates change.

    The parameters themselves hold θ during a trajectory and φ between two of them. φ is kept in float32, whatever
    the parameters' type, so that small outer updates are not rounded away.

    Where parameters are sharded over the processes, each process keeps its shards of φ: outer updates are elementwise.

    Args:
        parameters: the trainable parameters, and statistics such as BatchNorm's, by name; φ starts as their present
            values.
        device: where φ is kept; `None` keeps each tensor beside its parameter.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], device: str | torch.device | None = None) -> None:
        self._parameters = dict(parameters)
        self._slow = {
            name: p.to(device=device or p.device, dtype=torch.float32, copy=True) for name, p in self._fast().items()
        }
        self._sums: list[torch.Tensor] = []
        self._ended = 0
        self.on_trajectory = False
        self._set_aside: dict[str, torch.Tensor] | None = None

    @property
    def memory(self) -> int:
        """Bytes that φ takes, and the sum of ended trajectories where there is one."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self._slow.values(), *self._sums])

    @property
    def has_ended_trajectories(self) -> bool:
        """Whether trajectories have ended that the next outer update takes the mean of."""
        return bool(self._sums)

    @torch.no_grad()
    def end_trajectory(self, counts: bool = True) -> None:
        """Add θ to the sum that the next outer update takes the mean of, then θ ← φ, where a new trajectory starts.

        The sum takes the memory of another φ. A trajectory that does not count leaves it as it is.
        """
        if not self._sums:
            self._sums = [torch.zeros_like(slow) for slow in self._slow.values()]
        if counts:
            torch._foreach_add_(self._sums, self._fast_as_slow())
            self._ended += 1
        self._return_to_slow()

    @torch.no_grad()
    def outer_update(self, outer_learning_rate: float, over_processes: bool = False) -> None:
        """φ ← φ − η(φ − θ), then θ ← φ (Eq. 6 and line 3 of Algorithm 1).

        Where trajectories were ended before, θ is the mean of their ends (Eq. 3) and not the model's present
        parameters.

        Args:
            outer_learning_rate: η.
            over_processes: θ is the mean over all processes' trajectories; all must call this together.
        """
        slow = list(self._slow.values())
        ends, count = (self._sums, self._ended) if self._sums else (self._fast_as_slow(), 1)
        if over_processes and dist.is_initialized():
            ends, count = self._sum_over_processes(ends, count)
        if count > 1:
            torch._foreach_div_(ends, count)
        torch._foreach_lerp_(slow, ends, outer_learning_rate)
        self._sums, self._ended = [], 0
        self._return_to_slow()

    def forget_trajectories(self) -> None:
        """θ ← φ without an outer update, where there are inner steps since the last one."""
        self._sums, self._ended = [], 0
        if self.on_trajectory:
            self._return_to_slow()

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Within, the model is φ; afterwards it is θ again. Takes the memory of one more copy, as gradients do."""
        if not self.on_trajectory or self._set_aside is not None:
            yield
            return
        self._set_aside = fast = {name: p.clone() for name, p in self._fast().items()}
        self._copy_to_model(self._slow)
        try:
            yield
        finally:
            self._copy_to_model(fast)
            self._set_aside = None

    def save(self, folder: Path) -> None:
        """Write what `model.safetensors` (φ) does not hold: θ on a trajectory, and φ where the model rounds it."""
        fast = self._fast() if self._set_aside is None else self._set_aside
        tensors = {f"slow.{n}": s for n, s in self._slow.items() if fast[n].dtype != s.dtype}
        if self.on_trajectory:
            tensors |= {f"fast.{n}": p for n, p in fast.items()}
        if tensors:
            save_file({name: t.contiguous() for name, t in tensors.items()}, folder / TRAJECTORY_FILE)

    def load(self, folder: Path, on_trajectory: bool) -> None:
        """Restore what [`save`] wrote. The model must hold φ, as loaded from `model.safetensors`."""
        path = folder / TRAJECTORY_FILE
        tensors = load_file(path) if path.is_file() else {}
        self.on_trajectory = on_trajectory
        for name, parameter in self._fast().items():
            self._slow[name].copy_(tensors.get(f"slow.{name}", parameter))
            if on_trajectory:
                parameter.copy_(tensors[f"fast.{name}"])

    def _return_to_slow(self) -> None:
        """θ ← φ."""
        self._copy_to_model(self._slow)
        self.on_trajectory = False

    def _fast_as_slow(self) -> list[torch.Tensor]:
        slow = self._slow.values()
        return [p.to(device=s.device, dtype=s.dtype) for p, s in zip(self._fast().values(), slow, strict=True)]

    def _sum_over_processes(self, ends: list[torch.Tensor], count: int) -> tuple[list[torch.Tensor], int]:
        """The sum of all processes' trajectories' ends, and how many there are."""
        parameters = list(self._fast().values())
        counts = torch.tensor(count, device=parameters[0].device)
        dist.all_reduce(counts)
        summed = []
        for end, parameter in zip(ends, parameters, strict=True):
            # On the parameters' device, since that is where the processes can reach each other.
            total = end.to(parameter.device, copy=True)
            dist.all_reduce(total)
            summed.append(total.to(end.device))
        return summed, int(counts)

    def _fast(self) -> dict[str, torch.Tensor]:
        """What the model's parameters are now, or this process's shards of them; a change is one of the model."""
        own = {name: p.detach() for name, p in self._parameters.items()}
        return {name: p.to_local() if isinstance(p, DTensor) else p for name, p in own.items()}

    def _copy_to_model(self, values: Mapping[str, torch.Tensor]) -> None:
        torch._foreach_copy_(list(self._fast().values()), list(values.values()))
