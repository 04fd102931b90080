"""MTL: multi-task learning without regularizer, the paper's first baseline (Eq. 1)."""

from ..training.trainer import MultiTaskTrainer


class MTLTrainer(MultiTaskTrainer):
    """φ ← φ − α ∇ (1/M) Σ_m L(φ; B_m) with M tasks drawn for each step: the base trainer as it stands."""
