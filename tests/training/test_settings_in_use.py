"""Settings are read when training starts: what the card, the plan and the log say was used, was used."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from transformers import DataCollatorForTokenClassification

from hf_seqreptile import InputError, MTLTrainer, MultiTaskTrainingArguments, RecAdamTrainer, SeqReptileTrainer
from hf_seqreptile.methods import method_class
from hf_seqreptile.training.setting import settings_of
from tests import tiny

COLLATOR = DataCollatorForTokenClassification(tiny.tokenizer())
optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_setting_of_the_trainers_args_is_used_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = tiny.trainer(tmp_path / "set", inner_steps=4)
    trainer.args.inner_steps, trainer.args.outer_learning_rate, trainer.args.max_steps = 3, 0.25, 6
    tiny.train(trainer)
    given = tiny.train(tiny.trainer(tmp_path / "given", inner_steps=3, outer_learning_rate=0.25, max_steps=6))
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(given.model))
    assert "n = 2 of K = 3 inner steps each, η = 0.25" in capsys.readouterr().out
    settings = {words: value for words, _, value in trainer.training_facts().settings}
    assert settings["inner steps of a trajectory"] == 3 and settings["outer updates of the run"] == 2


def test_what_is_told_is_what_was_used_whatever_is_set_afterwards(tmp_path: Path) -> None:
    trainer = tiny.train(tiny.trainer(tmp_path, inner_steps=3, max_steps=6, tasks_per_step=2))
    trainer.args.inner_steps, trainer.args.tasks_per_step, trainer.args.learning_rate = 5, 7, 0.5
    settings = {words: value for words, _, value in trainer.training_facts().settings}
    assert (settings["inner steps of a trajectory"], settings["inner learning rate"]) == (3, 1e-2)
    assert settings["drawn tasks of an inner step"] == 2 and "M = 2 of them" in trainer.describe_training()
    trainer.save_model()
    assert '"inner_steps": 3' in (tmp_path / "training_args.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "name", "value", "message"),
    [
        ("seq_reptile", "inner_steps", 0, r"--inner_steps \(K\) is 0; it must be at least 1"),
        ("mtl", "inner_steps", 4, "--inner_steps is a setting of --method seq_reptile"),
        ("gradvac", "gradvac_granularity", "word", "--gradvac_granularity is 'word'; choose layer or model"),
        ("mtl", "weight_decay", -1.0, "--weight_decay is -1.0; it must be at least 0"),
        ("seq_reptile", "slow_weights_device", "attic", "--slow_weights_device attic is no device"),
    ],
)
def test_settings_are_checked_again(tmp_path: Path, method: str, name: str, value: Any, message: str) -> None:
    trainer = tiny.trainer(tmp_path, method=method)
    setattr(trainer.args, name, value)
    with pytest.raises(InputError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0 and not trainer.is_in_train


def test_one_args_serves_trainers_of_several_methods(tmp_path: Path) -> None:
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), max_steps=3, report_to="none", save_strategy="no")
    for trainer_class in (MTLTrainer, RecAdamTrainer, SeqReptileTrainer):
        trainer = trainer_class(tiny.model(), args, COLLATOR, tiny.tasks())
        assert trainer.args.method == trainer.run_identity()["method"] == trainer_class.method
    assert not args.is_given("method")


def searching(folder: Path, **changes: Any) -> Any:
    """A trainer that makes the tiny model anew for each trial."""
    args = tiny.arguments(folder, max_steps=8, eval_strategy="steps", eval_steps=4, **changes)
    return method_class(args.method)(
        None, args, COLLATOR, tiny.tasks(), {"de": tiny.task(20, 1)}, model_init=lambda: tiny.model(),
        compute_metrics=lambda p: {"matches": float((p.predictions == 0).mean())},
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )  # fmt: skip


def best_run(trainer: Any, name: str, values: list[Any]) -> Any:
    """The best run of a search that goes through all values of a setting."""
    return trainer.hyperparameter_search(
        hp_space=lambda trial: {name: trial.suggest_categorical(name, values)}, n_trials=len(values),
        backend="optuna", sampler=optuna.samplers.GridSampler({name: values}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "name", "values"),
    [
        ("seq_reptile", "inner_steps", [2, 4, 8]),
        pytest.param("reptile", "outer_learning_rate", [0.25, 1.0], marks=pytest.mark.slow),
        ("mtl", "tasks_per_step", [1, 3]),
        pytest.param("gradnorm", "gradnorm_exponent", [0.0, 3.0], marks=pytest.mark.slow),
        pytest.param("recadam", "recadam_t0", [2.0, 20.0], marks=pytest.mark.slow),
        pytest.param("gradvac", "gradvac_beta", [0.0, 0.9], marks=pytest.mark.slow),
    ],
)
def test_a_search_trains_each_trial_with_its_settings(
    tmp_path: Path, method: str, name: str, values: list[Any]
) -> None:
    """Each trial ends where a run that is given the value ends."""
    others = {"inner_steps": 2} if method == "reptile" else {}
    best = best_run(searching(tmp_path / "search", method=method, **others), name, values)
    alone = {}
    for value in values:
        trainer = searching(tmp_path / "alone", method=method, **others, **{name: value})
        trainer.train()
        alone[value] = trainer.evaluate()["eval_loss"]
    assert best.hyperparameters[name] == min(alone, key=alone.__getitem__)
    assert best.objective == pytest.approx(min(alone.values()), rel=1e-6)
    assert len(set(alone.values())) == len(values)


def test_a_search_looks_for_what_the_arguments_call_the_best(tmp_path: Path) -> None:
    values = [1e-4, 1e-1]
    trainer = searching(tmp_path, method="mtl", metric_for_best_model="matches", greater_is_better=True)
    best = best_run(trainer, "learning_rate", values)
    scores = []
    for value in values:
        alone = searching(tmp_path / "alone", method="mtl", learning_rate=value)
        alone.train()
        scores.append(alone.evaluate()["eval_matches"])
    assert best.objective == max(scores) and scores[0] != scores[1]
    with pytest.raises(InputError, match="direction='minimize' contradicts"):
        trainer.hyperparameter_search(direction="minimize", backend="optuna")


def test_the_recalled_weights_are_those_of_the_trials_model(tmp_path: Path) -> None:
    made = []

    def model_init() -> torch.nn.Module:
        made.append(tiny.model(seed=len(made)))
        return made[-1]

    args = tiny.arguments(tmp_path, method="recadam", max_steps=2, learning_rate=1e-4, recadam_gamma=5000.0)
    trainer = RecAdamTrainer(None, args, COLLATOR, tiny.tasks(), model_init=model_init)
    trainer.train()
    start = tiny.weights(tiny.model(seed=len(made) - 1))
    moved = {name: (p - start[name]).abs().max().item() for name, p in tiny.weights(trainer.model).items()}
    assert max(moved[name] for name in moved if name.startswith("bert")) < 1e-3


SEARCHED: dict[str, tuple[Any, Any]] = {
    "learning_rate": (1e-3, 1e-1),
    "tasks_per_step": (1, 2),
    "task_sampling_exponent": (0.0, 1.0),
    "max_task_passes": (5.0, 50.0),
    "log_gradient_alignment": (1, 2),
    "inner_steps": (1, 2),
    "outer_learning_rate": (0.25, 1.0),
    "inner_optimizer_state": ("keep", "reset"),
    "parallel_trajectories": (False, True),
    "task_gradients_dtype": ("float32", "bfloat16"),
    "gradvac_beta": (0.0, 0.9),
    "gradvac_granularity": ("layer", "model"),
    "gradnorm_exponent": (0.0, 3.0),
    "gradnorm_learning_rate": (0.01, 0.1),
    "recadam_k": (0.5, 5.0),
    "recadam_t0": (1.0, 2.0),
    "recadam_gamma": (1.5, 7.25),
    "swep_p": (0.1, 0.5),
    "swep_beta": (0.0, 2.0),
    "swep_learning_rate": (1e-3, 1e-1),
}
"""Two values of each setting that a result may depend on."""
FIXED = {
    "reptile": ("tasks_per_step", "task_sampling_exponent", "max_task_passes"),
    "stl": ("tasks_per_step", "task_sampling_exponent", "max_task_passes", "log_gradient_alignment"),
    "seq_reptile": ("tasks_per_step",),
}
"""What a method has no use for, or is not of use without one value."""


def test_the_settings_to_search_are_all_that_there_are() -> None:
    declared = {name for name, one in settings_of(MultiTaskTrainingArguments).items() if not one.is_place}
    # A budget is what trials have in common.
    assert SEARCHED.keys() == (declared - {"max_gradient_computations"}) | {"learning_rate"}


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "gradvac", "recadam"))
def test_every_setting_of_a_method_can_be_searched(tmp_path: Path, method: str) -> None:
    """Each trial uses what the engine gives it, and tells so."""
    own = {name for name, one in settings_of(MultiTaskTrainingArguments).items() if one.methods}
    own -= {*method_class(method).own_settings()}
    space = {name: values for name, values in SEARCHED.items() if name not in {*own, *FIXED.get(method, ())}}
    args = tiny.arguments(tmp_path, method=method, max_steps=6, logging_steps=1)
    trainer = method_class(method)(
        None, args, COLLATOR, {"de": tiny.task(20, 1)} if method == "stl" else tiny.tasks(),
        {"de": tiny.task(8, 1)}, model_init=lambda: tiny.model(),
    )  # fmt: skip
    given, used = [], []

    def suggest(trial: Any) -> dict[str, Any]:
        given.append({name: values[trial.number] for name, values in space.items()})
        return dict(given[-1])

    def objective(metrics: dict[str, float]) -> float:
        used.append({name: getattr(trainer.run_args, name) for name in space})
        told = {symbol or words: value for words, symbol, value in trainer.training_facts().settings}
        symbols = settings_of(MultiTaskTrainingArguments)
        assert all(
            told.get(symbols[n].symbol, v) == v for n, v in used[-1].items() if n in symbols and symbols[n].symbol
        )
        assert told["α"] == used[-1]["learning_rate"]
        return metrics["eval_loss"]

    trainer.hyperparameter_search(suggest, objective, n_trials=2, backend="optuna")
    assert used == given and len(used) == 2


def test_a_number_is_not_rounded_to_the_kind_of_the_first(tmp_path: Path) -> None:
    trainer = searching(tmp_path, method="recadam", recadam_gamma=50)
    best = best_run(trainer, "recadam_gamma", [12.5])
    assert best.hyperparameters == {"recadam_gamma": 12.5} and trainer.run_args.recadam_gamma == 12.5
    with pytest.raises(InputError, match=r"hp_space gives 'inner_step'.* Did you mean inner_steps\?"):
        best_run(searching(tmp_path), "inner_step", [2])
