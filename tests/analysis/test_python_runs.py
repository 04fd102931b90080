"""Runs that no script made, and those of a user's own method, read back and reported."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from hf_seqreptile import MultiTaskTrainer
from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.errors import InputError
from hf_seqreptile.report.__main__ import main
from hf_seqreptile.report.tables import make_tables
from tests import tiny
from tests.written_runs import write_run


class Own(MultiTaskTrainer):
    """MTL under another name."""

    method = "own"
    default_tasks_per_step = 2


def macro_f1(prediction: Any) -> dict[str, float]:
    """A metric that is not the problem's."""
    return {"macro_f1": float((prediction.predictions.argmax(-1) == 0).mean()), "a_count": 3.0}


def python_run(folder: Path, several: bool = True, metric: Any = macro_f1, **changes: Any) -> Any:
    evaluated = {name: tiny.task(8, seed) for name, seed in (("de", 5), ("en", 6), ("tr", 7))}
    trainer = tiny.trainer(
        folder, trainer_class=Own, method="own", max_steps=4, tasks_per_step=2, logging_steps=2,
        init={"compute_metrics": metric, "eval_dataset": evaluated if several else evaluated["de"]}, **changes,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return trainer


def test_a_run_in_python_by_an_own_method_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer = python_run(tmp_path / "own", learning_rate=3e-4)
    metrics = trainer.evaluate()
    trainer.save_metrics("eval", metrics)
    trainer.save_state()
    run = read_run(tmp_path / "own")
    assert (run.method, run.metric.name, run.zero_shot) == ("own", "macro_f1", ["tr"])
    own = {task: metrics[f"eval_{task}_macro_f1"] for task in ("de", "en", "tr")}
    assert run.scores == {"validation": {"own": pytest.approx(own | {"avg": sum(own.values()) / 3})}}
    assert (run.steps, run.gradients, run.setting("tasks_per_step")) == (4, 8, 2)
    capsys.readouterr()
    main([str(tmp_path / "*"), "--output_dir", str(tmp_path / "report")])
    printed = capsys.readouterr().out
    assert printed.startswith("Token classification, validation: macro f1 (%)")
    assert (tmp_path / "report/token-classification-validation-macro_f1.csv").is_file()


def test_without_saved_metrics_the_last_evaluation_of_the_final_weights_counts(tmp_path: Path) -> None:
    trainer = python_run(tmp_path / "logged", eval_strategy="steps", eval_steps=2)
    trainer.save_state()
    run = read_run(tmp_path / "logged")
    last = [entry for entry in run.log if "eval_macro_f1" in entry][-1]
    assert last["step"] == 4 and run.score("validation", "de") == last["eval_de_macro_f1"]
    state = tmp_path / "logged/trainer_state.json"
    log = json.loads(state.read_text())
    log["log_history"] = [entry for entry in log["log_history"] if entry["step"] < 4 or "eval_macro_f1" not in entry]
    log["log_history"] = [
        entry for entry in log["log_history"] if "eval_de_macro_f1" not in entry or entry["step"] < 4
    ]
    state.write_text(json.dumps(log))
    assert read_run(tmp_path / "logged").scores == {}


def test_one_dataset_without_a_name(tmp_path: Path) -> None:
    trainer = python_run(tmp_path / "one", several=False)
    trainer.save_metrics("eval", trainer.evaluate())
    run = read_run(tmp_path / "one")
    # No state was saved, so neither the tasks nor the steps are known.
    assert run.scores["validation"]["own"].keys() == {"all", "avg"} and run.steps is None
    (table,) = make_tables([run])
    assert table.columns == ["all"] and table.budgets == []


def test_the_chosen_metric_and_its_direction(tmp_path: Path) -> None:
    trainer = python_run(
        tmp_path / "error", metric=lambda p: {"accuracy": 0.5, "error": 0.25}, metric_for_best_model="error",
        greater_is_better=False,
    )  # fmt: skip
    trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_state()
    run = read_run(tmp_path / "error")
    assert run.metric.name == "error" and not run.metric.greater_is_better
    other = write_run(
        tmp_path / "other",
        "mtl",
        {"de": 0.2, "en": 0.3, "tr": 0.1},
        split="validation",
        zero_shot=["tr"],
        trained=["de", "en", "sw"],
    )
    path = tmp_path / "other/scores.json"
    content = json.loads(path.read_text())
    content["metric"] = {"name": "error", "perfect": 1.0, "greater_is_better": False}
    path.write_text(json.dumps(content))
    table = make_tables([read_run(tmp_path / "other"), run])[0]
    assert table.metric.name == "error" and other.method == "mtl"
    best = {row.label for row in table.rows if table.is_bold(row, "de")}
    assert best == {"mtl"}


def test_a_model_that_is_none_of_transformers(tmp_path: Path) -> None:
    trainer = python_run(tmp_path / "module")
    trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_state()
    (tmp_path / "module/config.json").unlink()
    assert read_run(tmp_path / "module").problem == "other-problems"
    assert isinstance(trainer.model, nn.Module)


def test_a_metric_that_scores_do_not_name_is_told_by_its_values(tmp_path: Path) -> None:
    """And is no longer that of the model's class."""
    results = {"predict_de_macro_f1": 0.5, "predict_de_accuracy": 0.7, "predict_sw_macro_f1": 0.6}
    write_run(tmp_path / "a", "mtl", {"de": 0.5, "sw": 0.6}, problem="text-classification", results=results)
    path = tmp_path / "a/scores.json"
    content = json.loads(path.read_text())
    del content["metric"]
    path.write_text(json.dumps(content))
    assert read_run(tmp_path / "a").metric.label == "macro f1"
    (tmp_path / "a/all_results.json").write_text("{}")
    assert read_run(tmp_path / "a").metric.label == "score"


def test_a_script_that_was_stopped_while_it_saved_is_no_finished_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "mtl", {"de": 0.5})
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("trainer_state.json"))
    with pytest.raises(InputError, match=r"b has no trainer_state\.json"):
        read_run(tmp_path / "b")
