"""RecAdam: MTL under an optimizer that recalls the pretrained weights before it learns (Chen et al. 2020)."""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from ..digests import fingerprint
from ..errors import InputError
from ..training.method import COMPARED_IN_THE_PAPER
from ..training.plan import TrainingPlan
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments
from .recadam_optimizer import RecAdam, annealing

ADAMW = (OptimizerNames.ADAMW_TORCH, OptimizerNames.ADAMW_TORCH_FUSED)
"""What `--optim` may be: AdamW's step, of which RecAdam is made, in one of torch's two forms."""

WORKING_SHARE = 0.9
"""A run whose last λ is below this has hardly begun to train its encoder."""


class RecAdamMixin(MultiTaskMixin):
    """MTL with [`RecAdam`] in place of AdamW: θ −= lr·λ·AdamDirection, θ −= lr·(1 − λ)·γ·(θ − θ*), λ = σ(k(t − t0)).

    θ* are the model's weights as they are given to the trainer. What is not in the pretrained model, which is what
    lies outside `model.base_model`, a new head, has plain AdamW. θ* is not written to checkpoints: the run that
    continues one must be given the same weights again, and is refused otherwise.
    """

    method = "recadam"
    title = "RecAdam (recall and learn)"
    citation = COMPARED_IN_THE_PAPER
    is_about_several = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self.model is not None
        if self.tasks is not None:
            self._refuse_other_optimizers_and_adapters(self.model)
        self._take_pretrained(self.model)
        self._refuse_different_processes()

    def _take_pretrained(self, model: nn.Module) -> None:
        parameters = pretrained_parameters(model) if self.tasks is not None else {}
        self._pretrained = {name: p.detach().clone() for name, p in parameters.items()}
        self._fingerprint = fingerprint(self._pretrained)

    @classmethod
    def check_arguments(cls, args: TrainingArguments) -> None:
        """As in the parent; refuses other optimizers than AdamW, and a pull under which the weights diverge."""
        super().check_arguments(args)
        assert isinstance(args, MultiTaskTrainingArguments)
        if args.optim not in ADAMW:
            raise InputError(
                f"--optim {OptimizerNames(args.optim).value} has no effect with --method {cls.method}, which is an "
                f"optimizer of its own, made from AdamW; remove it."
            )
        pull = args.learning_rate * (1 - annealing(1, args.recadam_k, args.recadam_t0)) * args.recadam_gamma
        if pull > 2:
            raise InputError(
                f"--learning_rate {args.learning_rate:g} is too large for --recadam_gamma (γ) "
                f"{args.recadam_gamma:g}: each of the first steps would pull the weights {pull:.3g} times as far as "
                f"they are from the pretrained ones, and above 2 they diverge. Lower --recadam_gamma to "
                f"{_two_digits(args.recadam_gamma / pull)} or --learning_rate to "
                f"{_two_digits(args.learning_rate / pull)}."
            )

    def _refuse_other_optimizers_and_adapters(self, model: nn.Module) -> None:
        if self.optimizer is not None or self.optimizer_cls_and_kwargs is not None:
            raise InputError(
                f"{type(self).__name__} makes its own optimizer, RecAdam; remove `optimizers` or "
                f"`optimizer_cls_and_kwargs`."
            )
        if hasattr(model, "peft_config"):
            self.refuse_adapters()

    @classmethod
    def refuse_adapters(cls) -> None:
        """As in the parent: this one cannot."""
        raise InputError(
            f"--method {cls.method} does not support adapters (PEFT, LoRA): it pulls what is trained towards its "
            f"pretrained values, and an adapter has none. Train the whole model, or choose another method."
        )

    def _refuse_different_processes(self) -> None:
        if not dist.is_initialized():
            return
        fingerprints: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(fingerprints, self._fingerprint)
        if len(set(fingerprints)) > 1:
            raise InputError(
                "The processes were given different models, so they would pull towards different weights; call "
                "transformers.set_seed before making the model, with the same seed in all processes."
            )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in the stock trainer, RecAdam in place of AdamW."""
        trained = self.model if model is None else model
        assert trained is not None
        pretrained = {}
        for name, parameter in pretrained_parameters(trained).items():
            if name not in self._pretrained:
                raise InputError(
                    f"{name} was not trainable when the trainer was made, so its pretrained value is not known; set "
                    f"requires_grad before making the trainer."
                )
            pretrained[parameter] = self._pretrained[name].to(parameter)
        _, settings = self.get_optimizer_cls_and_kwargs(self.args)
        settings |= {
            "pretrained": pretrained,
            "k": self.run_args.recadam_k,
            "t0": self.run_args.recadam_t0,
            "gamma": self.run_args.recadam_gamma,
        }
        self.optimizer_cls_and_kwargs = (RecAdam, settings)
        return super().create_optimizer(model)

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the course of λ and the memory of θ*."""
        plan = super().plan(optimizer_steps)
        plan.notes[:0] = annealing_notes(optimizer_steps, self.run_args.recadam_k, self.run_args.recadam_t0)
        memory = sum(value.numel() * value.element_size() for value in self._pretrained.values())
        plan.notes.append(f"extra memory: θ*, {memory / 2**20:,.0f} MiB on {self.args.device}")
        return plan

    def run_identity(self) -> dict[str, Any]:
        """As in the parent, with a fingerprint of θ*."""
        return super().run_identity() | {"pretrained_weights": self._fingerprint}

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent; a trainer that has trained before starts with t = 1 again, or with the checkpoint's t."""
        super().restore_multitask_state(saved)
        if self.model_init is not None:
            assert self.model is not None
            self._take_pretrained(self.model)
        self.optimizer = None


class RecAdamTrainer(RecAdamMixin):
    """RecAdam over `transformers.Trainer`. See [`RecAdamMixin`] and, for the arguments, its parent."""


def pretrained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters of `model.base_model`, by their names in `model`; all where it has no base model."""
    base = set(getattr(model, "base_model", model).parameters())
    return {name: p for name, p in model.named_parameters() if p.requires_grad and p in base}


def annealing_notes(optimizer_steps: int, k: float, t0: float) -> list[str]:
    """How λ runs, and, where it ends so low that the encoder stays all but frozen, which t0 would do.

    Args:
        optimizer_steps: S, of the whole run.
        k: how fast λ rises, per step.
        t0: the step at which λ is a half.
    """
    first, last = annealing(1, k, t0), annealing(optimizer_steps, k, t0)
    notes = [f"λ = {first:.2g} at the first optimizer step, 0.5 at t0 = {t0:g}, {last:.2g} at the last"]
    if last < WORKING_SHARE:
        latest = optimizer_steps - math.log(WORKING_SHARE / (1 - WORKING_SHARE)) / k
        proposed = min(optimizer_steps // 4, math.floor(latest))
        notes.append(
            f"warning: λ ends at {last:.2g}, so the pretrained weights hardly leave their place. Scale t0 to the run: "
            f"--recadam_t0 {proposed} ends at {annealing(optimizer_steps, k, proposed):.2g} (docs/methods/recadam.md)"
        )
    return notes


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
