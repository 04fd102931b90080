"""Learned noise on word embeddings: where it comes from, its prior, and how a model gets it (Lee et al. 2021)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import InputError


class PerturbationNetwork(nn.Module):
    """From a token's hidden state to q(z) = N(μ, σ²), the distribution of the factors on its word embedding.

    Args:
        hidden_size: numbers in a hidden state, h.
        embedding_size: numbers in a word embedding, e, each of which has a factor of its own.
        seed: of the initial weights, which are torch's defaults; the global random generators are left as they are.
    """

    def __init__(self, hidden_size: int, embedding_size: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(hidden_size, embedding_size), nn.ReLU(), nn.Linear(embedding_size, 2 * embedding_size)
            )

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """μ and log σ², each of shape (..., e), from hidden states of shape (..., h)."""
        mean, log_variance = self.layers(hidden).chunk(2, dim=-1)
        return mean, log_variance


def draw_noise(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A draw of z ~ N(μ, σ²), differentiable in μ and log σ²; of their shape."""
    return mean + torch.randn_like(mean) * (log_variance / 2).exp()


def prior_variance(p: float) -> float:
    """The variance of the prior N(1, s): s = √(p/(1 − p)), as in the authors' code.

    Gaussian dropout of rate p would have s².
    """
    return math.sqrt(p / (1 - p))


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor, variance: float) -> torch.Tensor:
    """KL(N(μ, σ²) ‖ N(1, s)) in nats, summed over the last dimension; `variance` is s."""
    terms = (log_variance.exp() + (mean - 1) ** 2) / variance - 1 - log_variance + math.log(variance)
    return terms.sum(dim=-1) / 2


@contextmanager
def perturbed_words(embeddings: nn.Module, noise: torch.Tensor) -> Iterator[None]:
    """Within, `embeddings` multiplies the word embeddings of the second half of a batch by `noise`.

    The model still gets its `input_ids`: from `inputs_embeds` XLM-R cannot tell padding, whose positions differ, and
    the softmax of a question-answering head runs over padding too.

    Args:
        embeddings: the model's module of word embeddings.
        noise: shape (batch, tokens, e) for `input_ids` of shape (2 · batch, tokens).

    Raises:
        InputError: the model did not call `embeddings` exactly once.
    """
    calls = 0

    def perturb(module: nn.Module, args: Any, words: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        clean, perturbed = words.chunk(2)
        return torch.cat([clean, perturbed * noise.to(words.dtype)])

    handle = embeddings.register_forward_hook(perturb)
    try:
        yield
    finally:
        handle.remove()
    if calls != 1:
        raise InputError(
            f"--method swep multiplies word embeddings by noise, but this model looks them up {calls} times in a "
            f"forward pass, not once, by the module that get_input_embeddings() gives; choose another model or method."
        )
