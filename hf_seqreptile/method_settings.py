"""The settings that only some methods have: their defaults, from the papers, and their ranges."""

import math
from dataclasses import dataclass, field

import torch

from .errors import InputError
from .ranges import AT_LEAST_1, FROM_0_TO_1, NOT_NEGATIVE, POSITIVE, Range, check_ranges

METHOD_SETTINGS = {
    "inner_steps": ("seq_reptile", "reptile"),
    "outer_learning_rate": ("seq_reptile", "reptile"),
    "slow_weights_device": ("seq_reptile", "reptile"),
    "inner_optimizer_state": ("seq_reptile",),
    "parallel_trajectories": ("seq_reptile",),
    "task_gradients_device": ("pcgrad", "gradvac", "torchjd"),
    "task_gradients_dtype": ("pcgrad", "gradvac", "torchjd"),
    "gradvac_beta": ("gradvac",),
    "gradvac_granularity": ("gradvac",),
    "gradnorm_exponent": ("gradnorm",),
    "gradnorm_learning_rate": ("gradnorm",),
    "recadam_k": ("recadam",),
    "recadam_t0": ("recadam",),
    "recadam_gamma": ("recadam",),
    "swep_p": ("swep",),
    "swep_beta": ("swep",),
    "swep_learning_rate": ("swep",),
}
"""Each such setting and the methods that have it; given to another method, it is refused rather than ignored."""

WHERE_SETTINGS = {"slow_weights_device", "task_gradients_device"}
"""Settings that decide where something is kept, and nothing else: a run may be continued with others."""


_RANGES: tuple[tuple[str, str, Range], ...] = (
    ("inner_steps", "K", AT_LEAST_1),
    ("outer_learning_rate", "η", (lambda x: 0 < x <= 1, "in (0, 1]")),
    ("gradvac_beta", "β", FROM_0_TO_1),
    ("gradnorm_exponent", "a", NOT_NEGATIVE),
    ("gradnorm_learning_rate", "", POSITIVE),
    ("recadam_k", "k", POSITIVE),
    ("recadam_t0", "t0", (math.isfinite, "a number")),
    ("recadam_gamma", "γ", NOT_NEGATIVE),
    ("swep_p", "p", (lambda x: 0 < x < 1, "in (0, 1)")),
    ("swep_beta", "β", NOT_NEGATIVE),
    ("swep_learning_rate", "", POSITIVE),
)


@dataclass
class MethodSettings:
    """The fields of [`MultiTaskTrainingArguments`] that belong to single methods."""

    inner_steps: int | None = field(
        default=None,
        metadata={"help": "K: inner steps of one trajectory. Default: 1000 for seq_reptile, 20 for reptile."},
    )
    outer_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "η: the outer update is φ ← φ − η(φ − θ_K), the mean over the trajectories for reptile. "
            "Default: 0.1 for seq_reptile, 1 for reptile."
        },
    )
    slow_weights_device: str | None = field(
        default=None,
        metadata={"help": "Where φ is kept while θ is trained. Default: beside θ; `cpu` saves memory."},
    )
    inner_optimizer_state: str = field(
        default="keep",
        metadata={
            "help": "Whether the optimizer's moments survive an outer update. The paper does not say.",
            "choices": ["keep", "reset"],
        },
    )
    parallel_trajectories: bool = field(
        default=False,
        metadata={
            "help": "Each process follows a trajectory of its own, and only outer updates communicate: "
            "φ ← φ − η mean_w(φ − θ_w)."
        },
    )
    task_gradients_device: str | None = field(
        default=None,
        metadata={"help": "Where the tasks' gradients wait for their combination. Default: beside the parameters."},
    )
    task_gradients_dtype: str = field(
        default="float32",
        metadata={
            "help": "In which type the tasks' gradients wait; bfloat16 halves their memory. Their products are "
            "summed in float32 either way.",
            "choices": ["float32", "bfloat16"],
        },
    )
    gradvac_beta: float = field(
        default=0.01, metadata={"help": "β: the rate at which a pair's target cosine follows the observed one."}
    )
    gradvac_granularity: str = field(
        default="layer",
        metadata={
            "help": "Compare the tasks' gradients layer by layer, or those of the whole model.",
            "choices": ["layer", "model"],
        },
    )
    gradnorm_exponent: float = field(
        default=1.5, metadata={"help": "a: how strongly tasks that learn slowly are favoured; 0: all norms equal."}
    )
    gradnorm_learning_rate: float = field(
        default=0.025, metadata={"help": "The learning rate of the tasks' weights w."}
    )
    recadam_k: float = field(default=0.5, metadata={"help": "k: how fast λ(t) = σ(k(t − t0)) rises."})
    recadam_t0: float = field(
        default=250.0, metadata={"help": "t0: the optimizer step at which λ is a half. Scale it to the run."}
    )
    recadam_gamma: float = field(
        default=5000.0, metadata={"help": "γ: how strongly the weights are pulled back to the pretrained ones."}
    )
    swep_p: float = field(
        default=0.1, metadata={"help": "p: the prior of the perturbation is that of dropout with this rate."}
    )
    swep_beta: float = field(
        default=1.0, metadata={"help": "β: the weight of the divergence of the perturbation from its prior."}
    )
    swep_learning_rate: float = field(
        default=3e-5, metadata={"help": "The learning rate of the perturbation network."}
    )

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        for name in WHERE_SETTINGS:
            try:
                torch.device(getattr(self, name) or "cpu")
            except RuntimeError as error:
                raise InputError(f"--{name} {getattr(self, name)} is no device; write cpu, cuda or cuda:0.") from error
        for name, choices in (
            ("inner_optimizer_state", ("keep", "reset")),
            ("task_gradients_dtype", ("float32", "bfloat16")),
            ("gradvac_granularity", ("layer", "model")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} is {getattr(self, name)!r}; choose {' or '.join(choices)}.")
