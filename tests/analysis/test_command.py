"""`python -m hf_seqreptile.analysis` on real, tiny runs: what it reads, draws, writes and says."""

import contextlib
import io
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from matplotlib import image
from transformers import AutoModel, BertModel, BertTokenizer

from hf_seqreptile.analysis.__main__ import main
from hf_seqreptile.analysis.cosine_and_loss import cosine_and_loss
from hf_seqreptile.analysis.gradient_computations import gradient_computations
from hf_seqreptile.analysis.gradient_cosines import gradient_cosines
from hf_seqreptile.analysis.groups import Group, families, group_by_setting
from hf_seqreptile.analysis.inner_steps import inner_steps
from hf_seqreptile.analysis.learning_rate import learning_rate
from hf_seqreptile.analysis.retrieval import ParallelTexts, retrieval
from hf_seqreptile.analysis.runs import SavedRun, read_run
from hf_seqreptile.analysis.texts import bundled_texts
from hf_seqreptile.analysis.wall_clock import wall_clock
from hf_seqreptile.errors import InputError
from hf_seqreptile.retrieval import retrieval_accuracy
from hf_seqreptile.retrieval.pairs import Pair
from tests.scripts import SEQ_REPTILE, Place, sentences, write, write_data, write_model

NAMES = {
    "gradient_cosines", "retrieval", "masked_language_model_loss", "distance_from_start", "cosine_and_loss",
    "learning_rate", "gradient_computations", "wall_clock", "inner_steps",
}  # fmt: skip
MEASURED = [
    "--log_gradient_alignment", "5", "--eval_strategy", "steps", "--eval_steps", "5",
    "--eval_languages", "de", "en", "sw", "nl",
]  # fmt: skip
COMMANDS = {
    "mtl": ["--method", "mtl", "--tasks_per_step", "2", *MEASURED],
    "mtl-seed-7": ["--method", "mtl", "--tasks_per_step", "2", "--seed", "7", *MEASURED],
    "seq": [*SEQ_REPTILE, *MEASURED],
    "seq-faster": [*SEQ_REPTILE, "--learning_rate", "4e-2", *MEASURED],
    "stl": ["--method", "stl", "--languages", "de", "sw", "--eval_languages", "de", "sw", "--max_steps", "2"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("analysis")
    data = [
        argument for split, files in write_data(folder / "data").items() for argument in (f"--{split}_file", *files)
    ]
    made = Place(folder, "run_ner", write_model(folder / "model"), data)
    for output, arguments in COMMANDS.items():
        made.printed_by(*made.arguments(output, "--do_train", "--do_eval", *arguments))
    for language in ("de", "en", "nl"):
        lines = [" ".join(words) for words, _ in sentences(language)]
        write(folder / f"{language}.txt", "\n".join(lines))
    return made


def analyse(place: Place, *folders: str, report: str = "report", texts: tuple[str, ...] = ("de", "nl")) -> str:
    """What the command prints."""
    files = [f"{language}={place.path(f'{language}.txt')}" for language in texts]
    arguments = [*(str(place.path(folder)) for folder in folders), "--output_dir", str(place.path(report))]
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        main([*arguments, "--base_model", place.model, "--masked_language_model", "--text_files", *files])
    return stdout.getvalue()


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    return analyse(place, *COMMANDS)


@pytest.fixture(scope="module")
def report(place: Place, printed: str) -> dict[str, Any]:
    """The JSON of each figure, by its name."""
    listed = place.json("report", "analysis.json")["figures"]
    assert {figure["name"] for figure in listed} == NAMES
    return {figure["name"]: place.json("report", f"{figure['name']}.json") for figure in listed}


@pytest.fixture(scope="module")
def runs(place: Place) -> dict[str, SavedRun]:
    return {folder: read_run(place.path(folder)) for folder in COMMANDS}


def test_a_run_is_read_as_the_script_left_it(place: Place, runs: dict[str, SavedRun]) -> None:
    run = runs["mtl-seed-7"]
    assert (run.method, run.problem, run.seed) == ("mtl", "token-classification", 7)
    assert set(run.tasks) == {"de", "en", "sw"} and run.zero_shot == ["nl"]
    assert run.score("validation") == pytest.approx(place.json("mtl-seed-7", "all_results.json")["eval_avg_f1"])
    assert run.score("test") is None
    assert run.setting("learning_rate") == 0.02 and run.setting("inner_steps") is None
    assert runs["seq"].setting("inner_steps") == 6
    assert (runs["mtl"].seed, run.draws_per_step) == (42, 2)
    stl = runs["stl"]
    assert stl.is_gathered and stl.log == [] and stl.tasks == ["de", "sw"]
    assert set(stl.scores["validation"]["stl"]) == {"de", "sw", "avg"}
    assert stl.train_samples == sum(
        place.json("stl", task, "all_results.json")["train_samples"] for task in ("de", "sw")
    )


def test_seeds_make_one_setting_and_labels_say_what_differs(runs: dict[str, SavedRun]) -> None:
    groups = group_by_setting(list(runs.values()))
    assert {group.label: len(group.runs) for group in groups} == {
        "mtl": 2, "seq_reptile, α=0.02": 1, "seq_reptile, α=0.04": 1, "stl": 1,
    }  # fmt: skip
    (family,) = families(groups, "learning_rate").items()
    assert family[0] == "seq_reptile" and [g.settings["learning_rate"] for g in family[1]] == [0.02, 0.04]
    assert families(groups, "inner_steps") == {}


def test_labels_are_distinct_whatever_differs(runs: dict[str, SavedRun]) -> None:
    run = runs["seq"]
    copies = [
        run,
        replace(run, tasks=["de"]),
        replace(run, tasks=["sw"]),
        replace(run, arguments={**run.arguments, "learning_rate": 0.020000001}),
        replace(run, arguments={**run.arguments, "learning_rate": 0.02000001, "inner_steps": 7, "max_steps": 9}),
        replace(run, arguments={**run.arguments, "warmup_steps": 3}),
    ]
    copies = [replace(copy, folder=Path(f"{number}/seq")) for number, copy in enumerate(copies)]
    labels = [group.label for group in group_by_setting(copies)]
    assert len(set(labels)) == len(copies)


def test_every_figure_is_drawn_or_said_to_be_missing(place: Place, report: dict[str, Any], printed: str) -> None:
    for name, figure in report.items():
        assert figure["caption"] and figure["title"]
        if figure["file"]:
            height, width, _ = image.imread(place.path("report", figure["file"])).shape
            assert width == 1120 and 300 < height < 1600
        else:
            assert figure["missing"] and not figure["numbers"], name
        assert all(reason in printed for reason in figure["missing"])
    assert [name for name, figure in report.items() if not figure["file"]] == ["inner_steps"]
    assert "no two runs differ in --inner_steps alone" in printed
    (reason,) = report["distance_from_start"]["missing"]
    assert str(place.path("stl")) in reason and "one model for each language" in reason


def test_cosines_are_those_of_the_log(runs: dict[str, SavedRun], report: dict[str, Any]) -> None:
    found = report["gradient_cosines"]["numbers"]
    assert list(found) == ["mtl", "seq_reptile, α=0.02", "seq_reptile, α=0.04"]
    logged = [
        value
        for seed in ("mtl", "mtl-seed-7")
        for entry in runs[seed].log
        for key, value in entry.items()
        if entry["step"] > 0 and key.startswith("cosine/") and key != "cosine/avg"
    ]
    assert len(logged) == 2 * 4 * 3
    assert sorted(found["mtl"]["values"]) == sorted(logged)
    assert found["mtl"]["median"] == pytest.approx(np.median(logged))
    assert found["mtl"]["mean"] == pytest.approx(np.mean(logged))
    assert found["mtl"]["share_below_zero"] == pytest.approx(np.mean(np.array(logged) < 0))


def test_a_cosine_before_training_alone_is_not_drawn(runs: dict[str, SavedRun]) -> None:
    log = [{"step": 0, "cosine/de/sw": 0.5, "cosine/avg": 0.5}, {"step": 5, "loss": 1.0}]
    result = gradient_cosines([Group("mtl", [replace(runs["mtl"], log=log)])])
    assert result.figure is None and "--log_gradient_alignment 100" in result.missing[0]


def test_the_distance_is_the_one_that_training_logged_but_for_the_head(
    runs: dict[str, SavedRun], report: dict[str, Any]
) -> None:
    for label, name in (("seq_reptile, α=0.02", "seq"), ("seq_reptile, α=0.04", "seq-faster")):
        (of_run,) = report["distance_from_start"]["numbers"][label]
        (logged,) = [entry["distance"] for entry in runs[name].log if "distance" in entry][-1:]
        assert 0.8 * logged < of_run["distance"] < logged


def test_losses_are_apart_for_seen_and_unseen_languages(report: dict[str, Any]) -> None:
    numbers = report["masked_language_model_loss"]["numbers"]
    assert "fitted once on the frozen start encoder" in numbers["head"]
    assert "fitted once on the frozen start encoder" in report["masked_language_model_loss"]["caption"]
    (run,) = numbers["runs"]["seq_reptile, α=0.02"]
    assert run["seen"] == {"loss": run["losses"]["de"], "start": numbers["start"]["de"]}
    assert run["unseen"] == {"loss": run["losses"]["nl"], "start": numbers["start"]["nl"]}
    assert run["losses"] != numbers["start"]


PAIRS = {
    name: [" ".join(words) for split in ("train", "validation", "test") for words, _ in sentences(name, split)][:12]
    for name in ("de", "en", "nl")
}
TEXTS = ParallelTexts({name: Pair(PAIRS[name], PAIRS["en"]) for name in ("de", "nl")}, "some sentences")


def test_retrieval_is_that_of_the_folders_and_of_their_start(place: Place, runs: dict[str, SavedRun]) -> None:
    groups = group_by_setting([runs["mtl"], runs["seq"], runs["stl"], runs["mtl-seed-7"]])
    result = retrieval(groups, TEXTS, place.model)
    pairs = {name: (PAIRS[name], PAIRS["en"]) for name in ("de", "nl")}
    of_start = retrieval_accuracy(place.model, pairs)
    assert [len(of_label) for of_label in result.numbers["runs"].values()] == [2, 1]
    for label, folder, number in (("mtl", "mtl", 0), ("mtl", "mtl-seed-7", 1), ("seq_reptile", "seq", 0)):
        found = retrieval_accuracy(place.path(folder), pairs)
        run = result.numbers["runs"][label][number]
        assert run["pairs"]["de"] == asdict(found["de"]) | {"start": asdict(of_start["de"])}
        assert run["seen"] == {"accuracy": found["de"].mean, "start": of_start["de"].mean}
        assert run["unseen"] == {"accuracy": found["nl"].mean, "start": of_start["nl"].mean}
        assert run["all"]["accuracy"] == pytest.approx((found["de"].mean + found["nl"].mean) / 2)
    (headline,) = result.headlines.values()
    assert headline["start encoder"] == pytest.approx(50 * (of_start["de"].mean + of_start["nl"].mean))
    assert headline["mtl"] == pytest.approx(50 * sum(run["all"]["accuracy"] for run in result.numbers["runs"]["mtl"]))
    (reason,) = result.missing
    assert "one model for each language" in reason and result.figure is not None
    other_layer = retrieval(groups, TEXTS, place.model, layer=0)
    assert other_layer.numbers["runs"] != result.numbers["runs"] and "after block 0" in other_layer.caption


def test_a_trimmed_vocabulary_gets_its_tokens_back(place: Place, runs: dict[str, SavedRun], tmp_path: Path) -> None:
    """Training did not change them: as if the run had had them all along."""
    whole = BertTokenizer.from_pretrained(place.model)
    vocabulary = {**whole.get_vocab(), "onlythere": len(whole)}

    def enlarged(path: str) -> BertModel:
        model = AutoModel.from_pretrained(path)
        model.resize_token_embeddings(len(vocabulary))
        with torch.no_grad():
            model.get_input_embeddings().weight[-1] = torch.linspace(-1, 1, 16)
        return model

    start = enlarged(place.model)
    start.save_pretrained(tmp_path / "larger")
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=False)
    tokenizer.save_pretrained(tmp_path / "larger")
    pairs = {"x": (["onlythere", *PAIRS["de"]], ["onlythere", *PAIRS["en"]])}
    groups = group_by_setting([runs["seq"]])
    texts = ParallelTexts({name: Pair(*sides) for name, sides in pairs.items()}, "some sentences")
    result = retrieval(groups, texts, str(tmp_path / "larger"))
    assert result.missing == [] and "Unknown tokens" not in result.caption
    (run,) = result.numbers["runs"]["seq_reptile"]
    expected = retrieval_accuracy(enlarged(str(runs["seq"].folder)), pairs, tokenizer)["x"]
    of_start = retrieval_accuracy(start, pairs, tokenizer)["x"]
    assert run["pairs"]["x"] == asdict(expected) | {"start": asdict(of_start)}


def test_masked_language_model_loss_is_measured_when_asked_for(place: Place) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        main([str(place.path("seq")), "--base_model", place.model, "--output_dir", str(place.path("quick"))])
    names = [figure["name"] for figure in place.json("quick", "analysis.json")["figures"]]
    assert {*names} == NAMES - {"masked_language_model_loss"}
    assert "retrieval (%)" in stdout.getvalue() and "MLM loss" not in stdout.getvalue()
    assert len(place.json("quick", "retrieval.json")["numbers"]["runs"]["seq_reptile"][0]["pairs"]) == 9


def lines(figure: Any) -> list[list[tuple[list[float], list[float]]]]:
    """The lines of each panel, (x, y) each."""
    return [[(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] for axes in figure.axes]


def test_curves_are_drawn_from_the_log(runs: dict[str, SavedRun]) -> None:
    run = runs["mtl"]
    groups = [Group("mtl", [run])]
    steps = [entry["step"] for entry in run.log if "eval_f1" in entry]
    scores = [100 * entry["eval_f1"] for entry in run.log if "eval_f1" in entry]
    assert steps == [5, 10, 15, 20]
    assert lines(gradient_computations(groups).figure) == [[([2.0 * step for step in steps], scores)]]

    ((of_clock,),) = lines(wall_clock(groups).figure)
    (minutes,) = [entry["train_runtime"] / 60 for entry in run.log if "train_runtime" in entry]
    assert of_clock == (pytest.approx([minutes * step / 20 for step in steps]), scores)

    ((of_loss,),) = lines(cosine_and_loss(groups).figure)
    losses = [entry["loss"] for entry in run.log if "loss" in entry]
    # Logged at steps 5, 10, 15 and 20; measured at 0 too, before the first.
    assert of_loss[0] == pytest.approx([losses[0], *losses])
    assert of_loss[1] == [entry["cosine/avg"] for entry in run.log if "cosine/avg" in entry]


def test_sweeps_show_the_mean_over_seeds(runs: dict[str, SavedRun]) -> None:
    made = []
    for rate, seed, cosine, score in ((0.01, 1, 0.5, 0.7), (0.01, 2, 0.7, 0.8), (0.1, 1, 0.9, 0.6)):
        made.append(
            replace(
                runs["seq"],
                seed=seed,
                arguments={**runs["seq"].arguments, "learning_rate": rate, "seed": seed},
                log=[{"step": 0, "cosine/avg": 0.1}, {"step": 9, "cosine/avg": cosine}],
                scores={
                    "validation": {"seq_reptile": {"de": score, "avg": score}},
                    "test": {"seq_reptile": {"avg": 0.9}},
                },
            )
        )
    (cosines, scores) = lines(learning_rate(group_by_setting(made)).figure)
    assert cosines[0] == ([0.01, 0.1], pytest.approx([0.6, 0.9]))
    assert scores[0] == ([0.01, 0.1], pytest.approx([75, 60]))
    assert sorted(scores[1:]) == [([0.01], [70]), ([0.01], [80]), ([0.1], [60])]
    other = replace(made[0], arguments={**made[0].arguments, "inner_steps": 12})
    assert inner_steps(group_by_setting([made[0], other])).numbers == {
        "seq_reptile": {"score": [{"inner_steps": 6, "score": 0.7}, {"inner_steps": 12, "score": 0.7}]}
    }


def test_a_run_without_measurements_is_told_how_to_get_them(runs: dict[str, SavedRun]) -> None:
    bare = [Group("mtl", [replace(runs["mtl"], log=[], scores={})])]
    for analysis, mend in (
        (gradient_cosines, "--log_gradient_alignment 100"),
        (cosine_and_loss, "--log_gradient_alignment 100"),
        (gradient_computations, "--eval_strategy steps --eval_steps 100"),
        (wall_clock, "--eval_strategy steps --eval_steps 100"),
        (learning_rate, "no two runs differ in --learning_rate alone"),
    ):
        result = analysis(bare)
        assert result.figure is None and result.numbers == {}
        assert len(result.missing) == 1 and mend in result.missing[0]


def test_bundled_texts_are_the_default_and_unknown_languages_are_said(place: Place) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        main([str(place.path("seq")), "--masked_language_model", "--output_dir", str(place.path("bundled"))])
    assert "its card does not name what it started from; give --base_model" in stdout.getvalue()
    assert "none of the texts' languages (nl) is one of its tasks" in analyse(place, "seq", report="r", texts=("nl",))


def test_bundled_texts_are_read_when_there_is_a_use_for_them(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "of-a-lost-model"
    shutil.copytree(place.path("seq"), run, ignore=shutil.ignore_patterns("checkpoint-*"))
    write(run / "README.md", "---\nbase_model: /lost/model\n---\n")
    monkeypatch.setattr(
        "hf_seqreptile.analysis.texts.load_tasks", lambda *args, **kwargs: pytest.fail("texts were read")
    )
    main([str(run), "--masked_language_model", "--output_dir", str(tmp_path / "report")])
    assert "/lost/model cannot be loaded" in capsys.readouterr().out
    assert not datasets.are_progress_bars_disabled()
    monkeypatch.undo()
    assert set(bundled_texts().measured) >= {"de", "sw"} and len(bundled_texts().fitted["sw"]) > 10


def test_bad_input_ends_with_a_message_and_code_2(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(place.path("seq"), unfinished, ignore=shutil.ignore_patterns("trainer_state.json", "checkpoint-*"))
    (tmp_path / "empty").mkdir()
    short = write(tmp_path / "short.txt", "one\n\n")
    long = write(tmp_path / "long.txt", "one\ntwo\nthree\n")
    run, loss = str(place.path("seq")), ["--masked_language_model"]
    for arguments, message in (
        (["/no/folder"], "/no/folder is no folder"),
        ([str(tmp_path / "empty")], "empty has no training_args.json"),
        ([str(unfinished)], "unfinished has no trainer_state.json"),
        ([run, "--base_model", "/no/model"], "/no/model cannot be loaded"),
        ([run, "--text_files", "en=/no/file"], "--text_files is for --masked_language_model"),
        ([run, "--pairs", "de"], "--pairs de: write name=source,target"),
        ([run, "--pairs", f"de={short},{short}"], "short.txt would be paired with itself"),
        ([run, "--pairs", f"de={short},{long}"], "short.txt has 1 lines and"),
        ([run, "--base_model", place.model, "--layer", "9"], "--layer: 9 is no layer of this model"),
        ([run, "--base_model", place.model, "--layer", "-1"], "--layer: -1 is no layer of this model"),
        ([run, *loss, "--text_files", "en"], "write language=file"),
        ([run, *loss, "--text_files", "en=/no/file"], "/no/file is no file"),
        ([run, *loss, "--text_files", f"en={short}"], "short.txt has 1 sentences; give at least two"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main([*arguments, "--output_dir", str(tmp_path / "report")])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("report/*"))


def test_a_bad_folder_and_a_quoted_pattern_do_not_end_it(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs/empty").mkdir(parents=True)
    write(tmp_path / "runs/notes.txt", "none")
    for name in ("seq", "mtl"):
        (tmp_path / "runs" / name).symlink_to(place.path(name))
    main([str(tmp_path / "runs/*"), str(tmp_path / "no*ne"), "--output_dir", str(tmp_path / "r")])
    printed = capsys.readouterr()
    assert "| mtl " in printed.out and "| seq_reptile " in printed.out
    reasons = [line for line in printed.err.splitlines() if line.startswith("skipped: ")]
    assert len(reasons) == 3 and "matches nothing" in reasons[0]
    assert "empty has no training_args.json" in reasons[1] and "notes.txt is no folder" in reasons[2]


def test_models_of_other_classes_are_read_and_what_is_broken_is_named(tmp_path: Path) -> None:
    for name, content in {
        "training_args.json": {"method": "mtl"},
        "config.json": {"architectures": ["BertForMaskedLM"]},
        "trainer_state.json": {},
    }.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert read_run(tmp_path).problem == "BertForMaskedLM"
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        read_run(tmp_path)


def test_adapters_are_read_but_have_no_encoder_to_compare(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.path("seq"), tmp_path / "lora", ignore=shutil.ignore_patterns("checkpoint-*", "config.json"))
    write(tmp_path / "lora/adapter_config.json", json.dumps({"task_type": "TOKEN_CLS", "peft_type": "LORA"}))
    run = read_run(tmp_path / "lora")
    assert run.is_adapter and run.problem == "token-classification"
    printed = analyse(place, str(tmp_path / "lora"), report="lora-report")
    assert printed.count("PEFT's adapters, which leave the encoder as it was") == 3
