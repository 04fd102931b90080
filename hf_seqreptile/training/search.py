"""Hyperparameter search by the stock trainer, for what the arguments say the best model is."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any

from transformers import Trainer

from ..errors import InputError


class SearchMixin(Trainer):
    """A search without an objective of its own looks for the best `metric_for_best_model`."""

    _of_trial: Mapping[str, Any] = MappingProxyType({})

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | Sequence[str] | None = None,
        backend: Any = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in the stock trainer, where each trial trains anew with its settings, ours among them.

        Args:
            hp_space: the settings of a trial, by the names of arguments, from the engine's trial. Default: the stock
                trainer's, which are α, epochs, batch size and seed.
            compute_objective: what is optimized, from an evaluation's metrics. Default: `metric_for_best_model`, or
                without one the loss; the stock trainer would sum up all metrics, each task's among them.
            n_trials: how many trials.
            direction: `minimize` or `maximize`. Default: as `greater_is_better` says of that metric; `minimize` beside
                a `compute_objective`.
            backend: `optuna` or `ray`. Default: what is installed.
            hp_name: names a trial.
            kwargs: for the engine.

        Raises:
            InputError: a direction that contradicts `greater_is_better`, an evaluation without the metric, or a
                setting that there is not.
        """
        if compute_objective is None:
            metric = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
            wanted = "maximize" if self.args.metric_for_best_model and self.args.greater_is_better else "minimize"
            if direction not in (None, wanted):
                raise InputError(
                    f"direction={direction!r} contradicts what the arguments say: {metric} is best where it is "
                    f"{'largest' if wanted == 'maximize' else 'smallest'}. Leave it out, set metric_for_best_model "
                    f"and greater_is_better, or give a compute_objective."
                )
            direction = wanted

            def compute_objective(metrics: dict[str, float]) -> float:
                if f"eval_{metric}" not in metrics:
                    raise InputError(
                        f"An evaluation has no eval_{metric} to search by, only {', '.join(metrics)}. Set "
                        f"metric_for_best_model, or give a compute_objective."
                    )
                return metrics[f"eval_{metric}"]

        return super().hyperparameter_search(
            None if hp_space is None else partial(self._settings_of_trial, hp_space),
            compute_objective,
            n_trials,
            direction or "minimize",  # type: ignore[arg-type]
            backend,
            hp_name,
            **kwargs,
        )

    def _settings_of_trial(self, hp_space: Callable[[Any], dict[str, Any]], trial: Any) -> dict[str, Any]:
        self._of_trial = hp_space(trial)
        for name in self._of_trial:
            if not hasattr(self.args, name):
                nearest = get_close_matches(name, vars(self.args), n=1)
                hint = f" Did you mean {nearest[0]}?" if nearest else ""
                raise InputError(f"hp_space gives {name!r}, and there is no such argument.{hint}")
        return dict(self._of_trial)

    def _hp_search_setup(self, trial: Any) -> None:
        super()._hp_search_setup(trial)
        for name, value in self._of_trial.items():
            # The stock trainer makes 12.5 the 12 that an argument given as 5000 has room for.
            if isinstance(value, float) and getattr(self.args, name) != value:
                setattr(self.args, name, value)
