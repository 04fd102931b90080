"""By which metric a script selects its best model: one that an evaluation reports, in the metric's direction."""

import pytest

from hf_seqreptile.scores import TIMINGS
from tests.scripts import Place
from tests.stock_runs import place_of, run

PLATEAU = ("--lr_scheduler_type", "reduce_lr_on_plateau", "--eval_strategy", "steps", "--eval_steps", "2")
OPTIONS = {"run_ner": "--return_entity_level_metrics", "run_qa": "--version_2_with_negative"}
"""An option of each script that adds metrics."""


@pytest.fixture(
    scope="module",
    params=["run_ner", "run_qa", *(pytest.param(name, marks=pytest.mark.slow) for name in ("run_xnli", "run_glue"))],
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_of(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("metric", ["eval_de_f11", "fr_f1", "runtime", "lss"])
def test_an_unknown_metric_is_refused_before_training(place: Place, metric: str) -> None:
    for others in ((), PLATEAU):
        seen = run(place, f"unknown-{metric}", ["--metric_for_best_model", metric, *others])
        assert seen.code == 2 and f"--metric_for_best_model {metric} is unknown." in seen.err
        assert seen.trainer is None and "Loading weights" not in seen.err


def test_the_loss_selects_where_an_evaluation_has_one(place: Place) -> None:
    seen = run(place, "loss", ["--metric_for_best_model", "loss"])
    if place.script == "run_qa":
        assert seen.code == 2 and "loss is unknown." in seen.err and "reports exact_match, f1:" in seen.err
    else:
        assert seen.code == 0 and seen.results["eval_loss"] > 0


def test_a_plateau_is_one_of_the_problems_metric(place: Place) -> None:
    """In run_qa, whose evaluations have no loss, F1 is to grow; it halved the learning rate while F1 rose."""
    seen = run(place, "plateau", PLATEAU)
    grows = place.script == "run_qa"
    assert seen.code == 0 and seen.trainer.lr_scheduler.mode == ("max" if grows else "min")
    assert seen.trainer.args.metric_for_best_model == ("f1" if grows else "loss")
    seen = run(place, "against", [*PLATEAU, "--lr_scheduler_kwargs", f'{{"mode": "{"min" if grows else "max"}"}}'])
    assert seen.code == 2 and "error: --lr_scheduler_kwargs has mode" in seen.err and seen.trainer is None


@pytest.mark.parametrize("has_option", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_metric_of_an_evaluation_may_select(place: Place, has_option: bool) -> None:
    if has_option and place.script not in OPTIONS:
        pytest.skip("has no option that adds metrics")
    seen = run(place, f"all-{has_option}", [OPTIONS[place.script]] if has_option else [])
    assert seen.code == 0, seen.err
    reported = {name.removeprefix("eval_de_") for name in seen.results if name.startswith("eval_de_")} - {*TIMINGS}
    # Counts of what was cut, which are no scores.
    reported -= {"cut_examples", "entities_behind_cut", "words_behind_cut"}
    problem = (seen.trainer.compute_metrics or seen.trainer.compute_dataset_metrics).__self__
    assert reported - {"loss"} <= problem.metric_names and problem.metric.name in reported
