"""SWEP: stochastic word embedding perturbation, learned noise as further training data (Lee et al. 2021)."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from ..errors import InputError
from ..training.checkpoint_damage import damage_explained
from ..training.method import COMPARED_IN_THE_PAPER
from ..training.plan import TrainingPlan
from ..training.trainer import MultiTaskMixin
from .word_perturbation import PerturbationNetwork, draw_noise, kl_divergence, perturbed_words, prior_variance

PERTURBATION_FILE = "perturbation.safetensors"


class SWEPMixin(MultiTaskMixin):
    """MTL on the loss ½(L(e) + L(e ⊙ z)) + β KL(q(z) ‖ N(1, s)), z ~ q(z) = N(μ, σ²) for each token.

    e are the word embeddings, before positions and normalization; μ and log σ² come from a small network over the
    encoder's hidden states, which is trained along and never part of the model. Only training is perturbed.
    """

    method = "swep"
    title = "SWEP (stochastic word embedding perturbation)"
    citation = COMPARED_IN_THE_PAPER
    is_about_several = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.torch_compile:
            # What was compiled for an earlier model would be taken again, without a look at this one's hook.
            torch.compiler.reset()
        self.network: PerturbationNetwork | None = None
        self._token_weights: Iterator[float] = iter(())
        self._kl_sums = torch.zeros(2, device=self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As in the parent; in training, of the batch and its perturbed copy, with the divergence's gradient.

        The value is ½(L(e) + L(e ⊙ z)) alone, to compare with other methods'; the divergence is logged as `kl`.
        """
        if self._loss_weight is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        assert self.network is not None
        mean, log_variance = self.network(self._hidden_states(inputs))
        with perturbed_words(self._model.get_input_embeddings(), draw_noise(mean, log_variance)):
            # Both halves have the same labels, so the mean over all labels is the mean of the halves' losses.
            loss, outputs = super().compute_loss(model, _twice(inputs), True, num_items_in_batch)

        mask, weight = _flat(_token_mask(inputs)), next(self._token_weights)
        kl = weight * (kl_divergence(mean, log_variance, prior_variance(self.run_args.swep_p)) * mask).sum()
        self._kl_sums += torch.stack([kl.detach(), weight * mask.sum()])
        loss = loss + self.run_args.swep_beta * (kl - kl.detach())
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _hidden_states(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The encoder's last hidden states of the unperturbed batch, shape (batch, tokens, h), float32."""
        encoder = self._model.base_model
        accepted = inspect.signature(encoder.forward).parameters
        with self.accelerator.autocast():
            return encoder(**{name: _flat(value) for name, value in inputs.items() if name in accepted})[0].float()

    @property
    def _model(self) -> Any:
        """The model itself, under an adapter's wrapper."""
        return unwrap_peft_model(self.model)

    # The divergence's share of the step's loss, and the network beside the model in the stock loop.

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | None]:
        """As in the parent; the weight of each micro-batch's tokens in the step's divergence is kept."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        tokens = torch.stack([_token_mask(batch).sum().to(device) for batch in batches])
        of_draw = self.accelerator.reduce(tokens.view(self._draws_in_step, -1).sum(dim=1), reduction="sum")
        # The processes' gradients are averaged, hence the factor of their number.
        weights = self.accelerator.num_processes / (of_draw * self._draws_in_step)
        self._token_weights = iter(weights.repeat_interleave(self._micro_batches_per_draw).tolist())
        assert self.network is not None
        # The stock loop clears the model's gradients alone.
        self.network.zero_grad()
        return batches, items

    def end_draw(self, task: str, is_last_of_step: bool) -> None:
        """As in the parent; the network's gradient is averaged over the processes, as DDP does with the model's."""
        super().end_draw(task, is_last_of_step)
        assert self.network is not None
        if is_last_of_step and self.accelerator.num_processes > 1:
            for parameter in self.network.parameters():
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        assert self.network is not None
        # Apart from the model's, which the divergence's, at first far larger, would shrink to nearly nothing; and
        # after it, since the parent takes the loss scale of fp16 out of both.
        nn.utils.clip_grad_norm_(self.network.parameters(), self.args.max_grad_norm)
        return norm

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in the stock trainer, with the network's parameters as a further group.

        Raises:
            InputError: a model without word embeddings under an encoder, or a scheduler that was made before.
        """
        is_new = self.optimizer is None or self.network is None
        optimizer = super().create_optimizer(model)
        if is_new:
            if self.lr_scheduler is not None:
                raise InputError(
                    f"{type(self).__name__} adds the perturbation network to the optimizer, and the given scheduler "
                    f"does not know it: pass optimizers=(optimizer, None) and name a schedule by lr_scheduler_type."
                )
            self.network = self._make_network()
            optimizer.add_param_group(
                {"params": self.network.parameters(), "lr": self.run_args.swep_learning_rate, "weight_decay": 0.0}
            )
        return optimizer

    def _make_network(self) -> PerturbationNetwork:
        try:
            hidden_size = self._model.base_model.config.hidden_size
            embedding_size = self._model.get_input_embeddings().weight.shape[1]
        except (AttributeError, NotImplementedError) as error:
            raise InputError(
                f"--method {self.method} needs a transformers model with an encoder (base_model) and word embeddings "
                f"(get_input_embeddings), which {type(self._model).__name__} does not have; choose another model or "
                f"method."
            ) from error
        return PerturbationNetwork(hidden_size, embedding_size, self.run_args.seed).to(self.args.device)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            assert self.network is not None
            save_file(self.network.state_dict(), Path(output_dir) / PERTURBATION_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            assert self.network is not None
            with damage_explained(checkpoint):
                self.network.load_state_dict(load_file(Path(checkpoint) / PERTURBATION_FILE))

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent."""
        super().restore_multitask_state(saved)
        self._kl_sums.zero_()

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the cost."""
        plan = super().plan(optimizer_steps)
        plan.notes.append("every batch passes the encoder once more, and the model at twice its size")
        return plan

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent; training losses come with `kl`, the mean divergence of a token in nats."""
        if "loss" in logs and self._kl_sums.any():
            total, weights = self.accelerator.reduce(self._kl_sums, reduction="sum").tolist()
            logs["kl"] = total / weights
            self._kl_sums.zero_()
        super().log(logs, start_time)


class SWEPTrainer(SWEPMixin):
    """SWEP over `transformers.Trainer`. See [`SWEPMixin`] and, for the arguments, its parent."""


def _flat(tokens: torch.Tensor) -> torch.Tensor:
    """Shape (batch · choices, tokens) from (batch, choices, tokens), as models of multiple choice make it."""
    return tokens.flatten(0, 1) if tokens.dim() == 3 else tokens


def _twice(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch followed by a copy of itself."""
    size = len(inputs["input_ids"])
    return {
        name: torch.cat([value, value]) if isinstance(value, torch.Tensor) and value.shape[:1] == (size,) else value
        for name, value in inputs.items()
    }


def _token_mask(inputs: Mapping[str, Any]) -> torch.Tensor:
    """1 for a token and 0 for padding, shape (batch, tokens)."""
    mask = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"]) if mask is None else mask
