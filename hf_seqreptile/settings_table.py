"""The settings of a run, as its model card tells them."""

from typing import Any

from .methods.seq_reptile import SeqReptileMixin
from .outer_loop import OuterLoopMixin
from .scores import markdown_table
from .trainer import MultiTaskMixin

SETTING_WORDS = {
    "inner_steps": ("inner steps of a trajectory", "K"),
    "outer_learning_rate": ("outer learning rate", "η"),
    "inner_optimizer_state": ("optimizer's state at an outer update", ""),
    "parallel_trajectories": ("a trajectory for each process", ""),
    "task_gradients_dtype": ("type of the kept gradients", ""),
    "gradvac_beta": ("rate of the target cosines", "β"),
    "gradvac_granularity": ("gradients compared by", ""),
    "gradnorm_exponent": ("exponent of the relative training rates", "a"),
    "gradnorm_learning_rate": ("learning rate of the tasks' weights", ""),
    "recadam_k": ("rate of the annealing", "k"),
    "recadam_t0": ("midpoint of the annealing, in steps", "t0"),
    "recadam_gamma": ("pull towards the pretrained weights", "γ"),
    "swep_p": ("dropout rate of the perturbation's prior", "p"),
    "swep_beta": ("weight of the divergence from the prior", "β"),
    "swep_learning_rate": ("learning rate of the perturbation network", ""),
}
"""A row of the table of settings for each of a method's own: its words and symbol."""


def settings_table(trainer: MultiTaskMixin) -> str:
    """A finished run's settings as a Markdown table: what each is, its symbol and its value."""
    args, steps = trainer.args, trainer.state.global_step
    inner = "inner " if isinstance(trainer, OuterLoopMixin) else ""
    rows: list[tuple[str, str, Any]] = [
        ("method", "", args.method),
        *((*SETTING_WORDS[name], value) for name, value in trainer.settings(args).items()),
        (f"{inner}learning rate", "α", args.learning_rate),
        ("learning rate schedule", "", args.lr_scheduler_type),
        ("optimizer", "", args.optim),
        (f"drawn tasks of an {inner or 'optimizer '}step", "M", trainer.tasks_per_step),
        *([("task sampling exponent", "q", args.task_sampling_exponent)] if trainer.draws_tasks else []),
        ("batch: examples of a draw", "B", trainer.examples_per_draw),
        (f"{inner or 'optimizer '}steps of the run", "S", steps),
    ]
    if isinstance(trainer, OuterLoopMixin):
        rows.append(("outer updates of the run", "n", trainer.outer_updates))
    if isinstance(trainer, SeqReptileMixin):
        rows.append(("reach", "η·S", trainer.outer_learning_rate * steps))
    rows.append(("seed", "", str(args.seed)))
    return markdown_table(["setting", "symbol", "value"], [[words, sign, _shown(v)] for words, sign, v in rows])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str(getattr(value, "value", value))
