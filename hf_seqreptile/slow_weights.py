"""The slow weights φ, kept beside the fast weights θ that are being trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

TRAJECTORY_FILE = "trajectory.safetensors"


class SlowWeights:
    """φ of Equations 3 and 6: a copy of the trainable parameters that only outer updates change.

    The parameters themselves hold θ during a trajectory and φ between two of them. φ is kept in float32, whatever
    the parameters' type, so that small outer updates are not rounded away.

    Args:
        parameters: the trainable parameters by name; φ starts as their present values.
        device: where φ is kept; `None` keeps each tensor beside its parameter.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], device: str | torch.device | None = None) -> None:
        self._fast = dict(parameters)
        self._slow = {
            name: p.detach().to(device=device or p.device, dtype=torch.float32, copy=True)
            for name, p in self._fast.items()
        }
        self.on_trajectory = False
        self._in_model = False

    @property
    def memory(self) -> int:
        """Bytes that φ takes."""
        return sum(slow.numel() * slow.element_size() for slow in self._slow.values())

    @torch.no_grad()
    def outer_update(self, outer_learning_rate: float) -> None:
        """φ ← φ − η(φ − θ), then θ ← φ (Eq. 6 and line 3 of Algorithm 1)."""
        slow = list(self._slow.values())
        fast = [p.to(device=s.device, dtype=s.dtype) for p, s in zip(self._fast.values(), slow, strict=True)]
        torch._foreach_lerp_(slow, fast, outer_learning_rate)
        self._copy_to_model()
        self.on_trajectory = False

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Within, the model is φ; afterwards it is θ again. Takes the memory of one more copy, as gradients do."""
        if not self.on_trajectory or self._in_model:
            yield
            return
        fast = [p.detach().clone() for p in self._fast.values()]
        self._copy_to_model()
        self._in_model = True
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self._fast.values()), fast)
            self._in_model = False

    def save(self, folder: Path) -> None:
        """Write what `model.safetensors` (φ) does not hold: θ on a trajectory, and φ where the model rounds it."""
        tensors = {f"slow.{n}": s for n, s in self._slow.items() if self._fast[n].dtype != s.dtype}
        if self.on_trajectory:
            tensors |= {f"fast.{n}": p.detach() for n, p in self._fast.items()}
        if tensors:
            save_file({name: t.contiguous() for name, t in tensors.items()}, folder / TRAJECTORY_FILE)

    def load(self, folder: Path, on_trajectory: bool) -> None:
        """Restore what [`save`] wrote. The model must hold φ, as loaded from `model.safetensors`."""
        path = folder / TRAJECTORY_FILE
        tensors = load_file(path) if path.is_file() else {}
        self.on_trajectory = on_trajectory
        with torch.no_grad():
            for name, parameter in self._fast.items():
                self._slow[name].copy_(tensors.get(f"slow.{name}", parameter))
                if on_trajectory:
                    parameter.copy_(tensors[f"fast.{name}"])

    @torch.no_grad()
    def _copy_to_model(self) -> None:
        torch._foreach_copy_(list(self._fast.values()), list(self._slow.values()))
