"""The synthetic experiment: the problem is the paper's, the trainers' own, and what its page says comes out."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image
from torch.nn.functional import cosine_similarity

from hf_seqreptile.synthetic import experiment
from hf_seqreptile.synthetic.__main__ import main
from hf_seqreptile.synthetic.experiment import COMPARED, Run, run_all, table
from hf_seqreptile.synthetic.problem import CENTRE, OPTIMA, STARTS, mean_cosine, path, task_losses, total_loss, trainer

# Rounded, since the square of a far smaller number than these is 0.
COORDINATES = st.floats(-20, 20).map(lambda x: round(x, 6))
ARGUMENTS = {compared.label: compared.arguments for compared in COMPARED}
EVERY_TASK = ARGUMENTS["MTL"]


@pytest.fixture(autouse=True, scope="module")
def garbage_set_aside() -> Iterator[None]:
    with experiment.garbage_set_aside():
        yield


def gradient(point: list[float], optimum: tuple[float, float]) -> list[float]:
    """∇L_i: of length 40 exp(−0.2 r), straight away from the optimum; 0 there."""
    away = [p - o for p, o in zip(point, optimum, strict=True)]
    distance = math.hypot(*away)
    return [40 * math.exp(-0.2 * distance) * x / distance if distance else 0.0 for x in away]


def step(point: list[float], gradients: list[list[float]]) -> list[float]:
    """A step of SGD with α = 0.1 on the mean of the gradients."""
    return [x - 0.1 * sum(of_task) / len(gradients) for x, *of_task in zip(point, *gradients, strict=True)]


def distance(path_or_point: torch.Tensor, point: tuple[float, float]) -> float:
    end = path_or_point[-1] if path_or_point.dim() == 2 else path_or_point
    return (end - torch.tensor(point)).norm().item()


@given(COORDINATES, COORDINATES)
def test_losses_and_their_gradients_are_those_of_the_formula(x: float, y: float) -> None:
    point = torch.tensor([x, y], dtype=torch.float64, requires_grad=True)
    losses = task_losses(point)
    for loss, optimum in zip(losses, OPTIMA, strict=True):
        assert loss.item() == pytest.approx(-200 * math.exp(-0.2 * math.dist((x, y), optimum)))
        (found,) = torch.autograd.grad(loss, point, retain_graph=True)
        assert found.tolist() == pytest.approx(gradient([x, y], optimum), abs=1e-9)
    assert total_loss(point).item() == pytest.approx(losses.sum().item())


@given(COORDINATES, COORDINATES)
def test_the_cosine_is_that_of_the_gradients(x: float, y: float) -> None:
    point = torch.tensor([x, y], dtype=torch.float64)
    g = torch.tensor([gradient([x, y], optimum) for optimum in OPTIMA], dtype=torch.float64)
    pairs = [cosine_similarity(g[i], g[j], dim=0, eps=1e-30) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert mean_cosine(point).item() == pytest.approx(sum(pairs).item() / 3, abs=1e-9)


@pytest.mark.parametrize("optimum", OPTIMA)
@given(angle=st.floats(0, 2 * math.pi))
def test_each_optimum_of_a_task_is_a_local_one_of_the_sum(optimum: tuple[float, float], angle: float) -> None:
    at = torch.tensor(optimum)
    beside = at + 0.1 * torch.tensor([math.cos(angle), math.sin(angle)])
    assert total_loss(beside) > total_loss(at)


def test_at_an_optimum_nothing_is_undefined() -> None:
    points = torch.tensor(OPTIMA, requires_grad=True)
    total_loss(points).sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()
    assert mean_cosine(points.detach()).isfinite().all()
    # φ stays where its only drawn task has its optimum.
    start = path("mtl", OPTIMA[1], tasks_per_step=1, max_steps=1, seed=first_seed_that_draws(1))
    assert start[1].tolist() == list(OPTIMA[1])


def first_seed_that_draws(task: int) -> int:
    for seed in range(100):
        made = trainer("mtl", STARTS[0], tasks_per_step=1, max_steps=1, seed=seed)
        made.get_train_dataloader()
        assert made._sampler is not None
        if made._sampler.drawn_tasks(0)[0] == task:
            return seed
    raise AssertionError("no seed drew it")


def test_mtl_follows_the_mean_gradient() -> None:
    expected = [list(STARTS[0])]
    for _ in range(20):
        expected.append(step(expected[-1], [gradient(expected[-1], optimum) for optimum in OPTIMA]))
    found = path("mtl", all_tasks_each_step=True, max_steps=20)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


def test_reptile_and_sequential_reptile_follow_algorithm_1() -> None:
    """Two outer updates each; the path has φ alone."""
    draws = trainer("seq_reptile", STARTS[0], max_steps=20, inner_steps=10, seed=3)
    draws.get_train_dataloader()
    assert draws._sampler is not None
    drawn = [int(task) for task in draws._sampler.drawn_tasks(0)[:20]]
    trajectories = {"seq_reptile": [[drawn[:10]], [drawn[10:]]], "reptile": [[[0] * 10, [1] * 10, [2] * 10]] * 2}
    for method, updates in trajectories.items():
        expected = [list(STARTS[0])]
        for tasks_of_trajectories in updates:
            ends = []
            for tasks in tasks_of_trajectories:
                theta = expected[-1]
                for task in tasks:
                    theta = step(theta, [gradient(theta, OPTIMA[task])])
                ends.append(theta)
            mean = [sum(x) / len(ends) for x in zip(*ends, strict=True)]
            expected.append([phi - 0.3 * (phi - end) for phi, end in zip(expected[-1], mean, strict=True)])
        steps = 10 * sum(map(len, updates))
        found = path(method, inner_steps=10, outer_learning_rate=0.3, max_steps=steps, seed=3)
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("compared", COMPARED, ids=lambda compared: compared.label)
def test_what_is_followed_is_the_trainers_model(compared: experiment.Compared) -> None:
    changes = {"max_steps": 30} | ({"inner_steps": 10} if "inner_steps" in compared.arguments else {})
    arguments = {**compared.arguments, **changes, "seed": 5}
    trained = trainer(compared.method, STARTS[1], **arguments)
    trained.train()
    draws: list[int] = []
    followed = path(compared.method, STARTS[1], draws.append, **arguments)
    assert torch.equal(followed[-1], trained.model.phi)
    assert sum(draws) == sum(trained.draw_counts.values()) == replace(compared, arguments=arguments).draws


@pytest.mark.parametrize(("start", "optimum"), [*zip(STARTS, (OPTIMA[2], OPTIMA[0], OPTIMA[1]), strict=True)])
def test_mtl_ends_in_the_local_optimum_nearest_to_its_start(
    start: tuple[float, float], optimum: tuple[float, float]
) -> None:
    assert distance(path("mtl", start, **EVERY_TASK), optimum) < 1.5


@pytest.mark.parametrize("method", ["pcgrad", pytest.param("gradvac", marks=pytest.mark.slow)])
def test_the_methods_that_alter_gradients_end_in_another_local_optimum(method: str) -> None:
    assert distance(path(method, **EVERY_TASK), OPTIMA[1]) < 2


@pytest.mark.slow
def test_recadam_ends_where_mtl_does() -> None:
    assert distance(path("recadam", **ARGUMENTS["RecAdam"]), OPTIMA[2]) < 0.2


@pytest.mark.slow
def test_gradnorm_ends_in_a_local_optimum() -> None:
    """It moves to and fro, since its largest weight comes near to 3: a step of up to 4."""
    near = torch.cdist(path("gradnorm", **ARGUMENTS["GradNorm"])[-100:], torch.tensor(OPTIMA)).min(dim=1)
    assert len(near.indices.unique()) == 1
    assert near.values.mean() < 2.5


@pytest.mark.slow
def test_reptile_ends_in_the_centre() -> None:
    """From nearer than in the comparison, since this is a test of a few seconds."""
    assert distance(path("reptile", (8.0, 4.0), **{**ARGUMENTS["Reptile"], "max_steps": 2100}), CENTRE) < 1


def test_sequential_reptile_does_not_end_in_a_local_optimum() -> None:
    end = path("seq_reptile", **{**ARGUMENTS["Sequential Reptile"], "max_steps": 3000})
    assert distance(end, OPTIMA[2]) > 5
    assert distance(end, CENTRE) < 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_comparison_comes_out_as_documented() -> None:
    runs = run_all(8)
    numbers = [run.numbers() for run in runs]
    mtl = {run["start"]: run["nearest_optimum"] for run in numbers if run["method"] == "MTL"}
    assert list(mtl.values()) == [OPTIMA[2], OPTIMA[0], OPTIMA[1]]
    for run in numbers:
        label, near, centre = run["method"], run["distance_to_nearest"], run["distance_to_centre"]
        if label in ("MTL", "PCGrad", "GradVac"):
            assert near < 1.5, run
        elif label == "GradNorm":
            assert near < 2.5, run
        elif label == "RecAdam":
            assert near < 0.2, run
            assert run["nearest_optimum"] == mtl[run["start"]]
        elif label == "Reptile":
            assert centre < 1.5, run
        elif label == "Sequential Reptile":
            assert min(run["distances_to_optima"][0], run["distances_to_optima"][2]) > 4, run
            assert centre < 4, run
            assert -230 < run["loss"] < -165, run
            # Not what the paper reports: hardly any point has less similar gradients.
            assert run["cosine"] < -0.35, run
    assert all(of in table(runs) for of in ("From (20, 5):", "Sequential Reptile    8"))


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(compared: experiment.Compared) -> experiment.Compared:
        inner = {"inner_steps": 2} if "inner_steps" in compared.arguments else {}
        return replace(compared, arguments={**compared.arguments, "max_steps": 6, **inner})

    monkeypatch.setattr(experiment, "COMPARED", tuple(map(shortened, COMPARED)))


@pytest.mark.usefixtures("short_runs")
def test_the_command_writes_numbers_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(matplotlib.rcParams)
    # With this entry, importing pyplot raises.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    main(["--output_dir", str(tmp_path / "new" / "figures"), "--seeds", "2"])
    assert dict(matplotlib.rcParams) == before

    printed = capsys.readouterr()
    assert "Plan" not in printed.out and "train_loss" not in printed.out
    files = [Path(line.strip()) for line in printed.out.partition("Written:\n")[2].splitlines()]
    assert {file.name for file in files} == {
        "synthetic.json", "synthetic_20_5.png", "synthetic_8_19.png", "synthetic_-8_-6.png", "synthetic_cosine.png"
    }  # fmt: skip
    assert all(image.imread(file).shape[1] == 768 for file in files if file.suffix == ".png")
    results = json.loads(files[0].read_text(encoding="utf-8"))
    assert len(results["runs"]) == len(STARTS) * len(COMPARED) + 4
    assert sorted({run["seed"] for run in results["runs"]}) == [0, 1]
    for run in results["runs"]:
        to_optima = [math.dist(run["end"], optimum) for optimum in OPTIMA]
        assert run["nearest_optimum"] == list(OPTIMA[to_optima.index(min(to_optima))])
        assert run["method"] in printed.out


@pytest.mark.usefixtures("short_runs")
@pytest.mark.slow
def test_runs_can_be_repeated_and_differ_by_seed() -> None:
    first, second = run_all(2), run_all(2)
    assert all(torch.equal(one.path, other.path) for one, other in zip(first, second, strict=True))
    one, other = (run for run in first if (run.label, run.start) == ("Sequential Reptile", STARTS[0]))
    assert not torch.equal(one.path, other.path)


def test_numbers_are_means_over_the_last_tenth() -> None:
    run = Run("MTL", STARTS[0], 0, torch.cat([torch.zeros(18, 2), torch.tensor([[10.0, 3.0], [10.0, -1.0]])]))
    numbers = run.numbers()
    assert numbers["end"] == [10, -1]
    assert numbers["nearest_optimum"] == (10, 0)
    assert numbers["distance_to_nearest"] == pytest.approx(2)
    assert numbers["distances_to_optima"][2] == pytest.approx(2)
    assert numbers["loss"] == pytest.approx(total_loss(torch.tensor([[10.0, 3.0], [10.0, -1.0]])).mean().item())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; it must be at least 1."),
        (["--seed", "3", "--x"], "Unknown argument"),
        (["--output_dir", "file/figures"], "--output_dir file/figures cannot be made: Not a directory."),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "python -m hf_seqreptile.synthetic --output_dir figures" in capsys.readouterr().out
