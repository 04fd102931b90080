"""The settings that only some methods have, each declared once; their defaults are from the papers."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from ..ranges import AT_LEAST_1, FROM_0_TO_1, NOT_NEGATIVE, POSITIVE
from .setting import Setting

_OUTER_LOOP = ("seq_reptile", "reptile")
_TASK_GRADIENTS = ("pcgrad", "gradvac", "torchjd")


@dataclass
class MethodSettings:
    """The fields of [`MultiTaskTrainingArguments`] that belong to single methods.

    Given to another method, one is refused rather than ignored.
    """

    inner_steps: Annotated[int | None, Setting("inner steps of a trajectory", "K", AT_LEAST_1, _OUTER_LOOP)] = field(
        default=None,
        metadata={"help": "K: inner steps of one trajectory."},
    )
    outer_learning_rate: Annotated[
        float | None, Setting("outer learning rate", "η", (lambda x: 0 < x <= 1, "in (0, 1]"), _OUTER_LOOP)
    ] = field(
        default=None,
        metadata={"help": "η: the outer update is φ ← φ − η(φ − θ_K), the mean over the trajectories for reptile."},
    )
    slow_weights_device: Annotated[str | None, Setting("where φ is kept", methods=_OUTER_LOOP, is_place=True)] = field(
        default=None,
        metadata={"help": "Where φ is kept while θ is trained. Default: beside θ; `cpu` saves memory."},
    )
    inner_optimizer_state: Annotated[
        str, Setting("optimizer's state at an outer update", methods=("seq_reptile",))
    ] = field(
        default="keep",
        metadata={
            "help": "Whether the optimizer's moments survive an outer update. The paper does not say.",
            "choices": ["keep", "reset"],
        },
    )
    parallel_trajectories: Annotated[bool, Setting("a trajectory for each process", methods=("seq_reptile",))] = field(
        default=False,
        metadata={
            "help": "Each process follows a trajectory of its own, and only outer updates communicate: "
            "φ ← φ − η mean_w(φ − θ_w)."
        },
    )
    task_gradients_device: Annotated[
        str | None, Setting("where gradients are kept", methods=_TASK_GRADIENTS, is_place=True)
    ] = field(
        default=None,
        metadata={"help": "Where the tasks' gradients wait for their combination. Default: beside the parameters."},
    )
    task_gradients_dtype: Annotated[str, Setting("type of the kept gradients", methods=_TASK_GRADIENTS)] = field(
        default="float32",
        metadata={
            "help": "In which type the tasks' gradients wait; bfloat16 halves their memory. Their products are "
            "summed in float32 either way.",
            "choices": ["float32", "bfloat16"],
        },
    )
    gradvac_beta: Annotated[float, Setting("rate of the target cosines", "β", FROM_0_TO_1, ("gradvac",))] = field(
        default=0.01, metadata={"help": "β: the rate at which a pair's target cosine follows the observed one."}
    )
    gradvac_granularity: Annotated[str, Setting("gradients compared by", methods=("gradvac",))] = field(
        default="layer",
        metadata={
            "help": "Compare the tasks' gradients layer by layer, or those of the whole model.",
            "choices": ["layer", "model"],
        },
    )
    gradnorm_exponent: Annotated[
        float, Setting("exponent of the relative training rates", "a", NOT_NEGATIVE, ("gradnorm",))
    ] = field(
        default=1.5, metadata={"help": "a: how strongly tasks that learn slowly are favoured; 0: all norms equal."}
    )
    gradnorm_learning_rate: Annotated[
        float, Setting("learning rate of the tasks' weights", range=POSITIVE, methods=("gradnorm",))
    ] = field(default=0.025, metadata={"help": "The learning rate of the tasks' weights w."})
    recadam_k: Annotated[float, Setting("rate of the annealing", "k", POSITIVE, ("recadam",))] = field(
        default=0.5, metadata={"help": "k: how fast λ(t) = σ(k(t − t0)) rises."}
    )
    recadam_t0: Annotated[
        float, Setting("midpoint of the annealing, in steps", "t0", (math.isfinite, "a number"), ("recadam",))
    ] = field(default=250.0, metadata={"help": "t0: the optimizer step at which λ is a half. Scale it to the run."})
    recadam_gamma: Annotated[
        float, Setting("pull towards the pretrained weights", "γ", NOT_NEGATIVE, ("recadam",))
    ] = field(default=5000.0, metadata={"help": "γ: how strongly the weights are pulled back to the pretrained ones."})
    swep_p: Annotated[
        float, Setting("dropout rate of the perturbation's prior", "p", (lambda x: 0 < x < 1, "in (0, 1)"), ("swep",))
    ] = field(default=0.1, metadata={"help": "p: the prior of the perturbation is that of dropout with this rate."})
    swep_beta: Annotated[float, Setting("weight of the divergence from the prior", "β", NOT_NEGATIVE, ("swep",))] = (
        field(default=1.0, metadata={"help": "β: the weight of the divergence of the perturbation from its prior."})
    )
    swep_learning_rate: Annotated[
        float, Setting("learning rate of the perturbation network", range=POSITIVE, methods=("swep",))
    ] = field(default=3e-5, metadata={"help": "The learning rate of the perturbation network."})
