"""RecAdam, the optimizer: AdamW that first stays near the pretrained weights (Chen et al. 2020, Recall and Learn)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.adamw import adamw

from ..errors import InputError


def annealing(step: int, k: float, t0: float) -> float:
    """λ(t) = σ(k(t − t0)), the share of the tasks' loss in the objective of step t; the first step has t = 1."""
    x = k * (step - t0)
    return math.exp(min(x, 0.0)) / (1 + math.exp(-abs(x)))


class RecAdam(AdamW):
    """AdamW on λ(t)·L(θ) + (1 − λ(t))·(γ/2)·‖θ − θ*‖², with the second term kept out of Adam's moments.

    ```text
    θ ← θ − lr·wd·θ                      (decoupled weight decay, as in AdamW)
    θ ← θ − lr·λ(t)·m̂ / (√v̂ + ε)        (AdamW's step, for the loss)
    θ ← θ − lr·(1 − λ(t))·γ·(θ − θ*)     (the pull towards the pretrained weights)
    ```

    Source: the optimizer of Chen et al. 2020 as the authors' code has it, except that weight decay comes first and ε
    is added after the bias correction. Both are as in `torch.optim.AdamW`, which this is where λ = 1.

    t is 1 in the first step. It counts the steps of this optimizer, hence not those that a loss scaler skips, and is
    kept in the parameter groups, so `state_dict` holds it. `state_dict` does not hold θ*.

    A parameter without a gradient is left alone, as in AdamW: it is neither decayed nor pulled.

    Args:
        params: parameters or parameter groups, as in AdamW.
        pretrained: θ* of every parameter that has one, of its shape, type and device; not copied. All other
            parameters, a new head's, have plain AdamW: λ = 1.
        k: how fast λ rises, per step.
        t0: the step at which λ is a half.
        gamma: γ, the strength of the pull. The weights diverge where lr·(1 − λ)·γ stays above 2.
        lr: learning rate.
        betas: decay rates of Adam's two moments.
        eps: ε.
        weight_decay: wd.
        fused: whether AdamW's step is taken by torch's fused kernel.

    Raises:
        InputError: in a step, on a sparse gradient.
    """

    def __init__(
        self,
        params: Any,
        pretrained: Mapping[Tensor, Tensor],
        *,
        k: float,
        t0: float,
        gamma: float,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, fused=fused)
        self.k, self.t0, self.gamma = k, t0, gamma
        self._pretrained = dict(pretrained)
        # On an overflow the fused kernel would skip its own part and not the pull; so the scaler must skip the step.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One optimizer step on the parameters' gradients; `closure`, if any, computes them first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            share = annealing(group["steps"], self.k, self.t0)
            with_gradient = [p for p in group["params"] if p.grad is not None]
            if any(p.grad.is_sparse for p in with_gradient):
                raise InputError("RecAdam does not support sparse gradients; make the embeddings with sparse=False.")
            pretrained = [p for p in with_gradient if p in self._pretrained]
            self._adamw([p for p in with_gradient if p not in self._pretrained], group, 1.0)
            self._adamw(pretrained, group, share)
            pull = group["lr"] * (1 - share) * self.gamma
            if pretrained and pull > 0:
                torch._foreach_lerp_(pretrained, [self._pretrained[p] for p in pretrained], pull)
        return loss

    def _adamw(self, params: list[Tensor], group: Mapping[str, Any], share: float) -> None:
        """AdamW's step, its learning rate times `share`; weight decay is not affected by that."""
        if not params:
            return
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        states = [self.state[p] or self._new_state(p, group) for p in params]
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"] * share,
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def _new_state(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        # The fused kernel wants the count beside the parameter; elsewhere a launch for each would be slow.
        place = parameter.device if group["fused"] else "cpu"
        self.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=place),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return self.state[parameter]
