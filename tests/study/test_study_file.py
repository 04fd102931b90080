"""What a study's file may say, and what is refused with its line before anything runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_seqreptile.study.__main__ import main
from hf_seqreptile.study.study_file import read_study
from hf_seqreptile.yaml_text import lines_of, parse_yaml
from tests.scripts import ROOT, write
from tests.study.test_study import write_data, write_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_data(folder)
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = write_study(folder)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))
    return path


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on its way out; nothing was written."""
    with pytest.raises(SystemExit) as end:
        main([str(path), "--output_dir", str(path.parent / "out"), "--dry_run"])
    assert end.value.code == 2 and not (path.parent / "out").exists()
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("start"), "line 1: `start` is missing"),
        (lambda c: c.update(begin=1), "begin: unknown key 'begin'"),
        (lambda c: c["start"].pop("model_name_or_path"), "start: `model_name_or_path` is missing"),
        (lambda c: c["start"].update(trim_vocabulary=True), "start.trim_vocabulary: only offline-multilingual"),
        (
            lambda c: c["intermediate"].update(gradient_computations=0),
            "gradient_computations: is 0; give a whole number",
        ),
        (lambda c: c["intermediate"]["tasks"]["tags"].update(problem="nerr"), "tags: unknown problem 'nerr'"),
        (
            lambda c: c["intermediate"]["tasks"]["tags"].update(trian_file="x"),
            "tags: unknown key 'trian_file'. Did you",
        ),
        (lambda c: c["intermediate"]["tasks"]["tags"].update(train_file="no.conll"), "no such train_file: .*no.conll"),
        (lambda c: c["intermediate"]["tasks"]["tags"].pop("train_file"), "tags: .*needs training and validation data"),
        (lambda c: c["intermediate"]["tasks"]["tags"].update(weight=2), "tags.weight: .*remove the weight"),
        (lambda c: c.update(arguments={"seed": 3}), "arguments.seed: a study sets this argument itself"),
        (lambda c: c.update(arguments={"learning_rats": 3}), "learning_rats"),
        (lambda c: c.update(arguments={"use_peft": True}), "arguments.use_peft: a study carries whole encoders"),
        (lambda c: c.update(conditions=[{"orders": [["tags", "qa"]]}]), "unknown task 'qa'"),
        (lambda c: c.update(conditions=[{"orders": [["tags", "which", "tags"]]}]), "comes back to 'tags'"),
        (lambda c: c.update(conditions=["single", "single"]), "'tags' is asked for twice"),
        (lambda c: c.update(conditions=[{"joint": "seq_reptile --inner_steps 50"}]), "conditions: .*inner_steps"),
        (lambda c: c["targets"]["entities"].pop("train"), "entities: `train` is missing"),
        (lambda c: c["targets"]["entities"].update(problem="x"), "entities: `problem` is 'x'; give one of ner"),
        (lambda c: c["targets"]["entities"].update(evaluate=["de", "xx"]), "entities.evaluate: task 'xx' has no such"),
        (lambda c: c["targets"]["entities"].update(evaluate=["de", "de"]), "names a language twice"),
        (lambda c: c["targets"]["translations"].update(pairs={"de": ["de.txt"]}), "pairs.de: give two files"),
        (lambda c: c["targets"]["translations"].update(layers=[1, 2]), "a target is one layer"),
        (lambda c: c["targets"]["translations"].update(pairs={"de": ["de.txt", "none.txt"]}), "pairs.de: .*none.txt"),
        (lambda c: c.update(targets={}), "targets: name one"),
        (lambda c: c.update(seeds=[1, 1]), "seeds: names a seed twice"),
        (lambda c: c.update(seeds=[True]), "give a whole number"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    change: Callable[[dict[str, Any]], object], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refused(changed(folder, change), capsys)
    assert re.search(message, text), text
    assert re.match(rf"error: {re.escape(str(folder / 'study.yaml'))}, line \d+[,:] ", text), text


def test_pairs_of_unequal_length_are_refused_with_both_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "short.txt", "one\ntwo\n")
    pairs = {"de": ["de.txt", "short.txt"]}
    text = refused(changed(folder, lambda c: c["targets"]["translations"].update(pairs=pairs)), capsys)
    assert re.search(r"line \d+, targets.translations.pairs.de: .*de.txt.* 12.*short.txt.* 2;", text), text


def test_the_line_is_that_of_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n")
    assert lines_of(path) == {
        ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "d"): 5,
    }  # fmt: skip


def test_a_target_may_be_trained_on_other_data(folder: Path) -> None:
    path = changed(
        folder,
        lambda c: c["targets"]["entities"].update(
            train={"language": "en", "validation_file": "ner/sw/validation.conll"}, evaluate=["en", "de"]
        ),
    )
    target = read_study(path).targets[0]
    assert target.language == "en" and list(target.entries) == ["train-en", "en", "de"]
    assert target.entries["train-en"]["validation_file"] == "ner/sw/validation.conll"
    assert target.entries["en"]["zero_shot"] and "train_file" not in target.entries["en"]


def test_sizes_order_tasks(folder: Path) -> None:
    """`tags` has 7 sentences, `which` 31 texts."""
    path = changed(folder, lambda c: c.update(conditions=[{"orders": "size_up"}, {"orders": "size_down"}]))
    assert [one.label for one in read_study(path).conditions[1:]] == ["tags → which", "which → tags"]
    path = changed(
        folder, lambda c: (c.update(conditions=[{"orders": "size_up"}]),
                             c["intermediate"]["tasks"]["which"].update(max_train_samples=3))
    )  # fmt: skip
    assert [one.label for one in read_study(path).conditions[1:]] == ["which → tags"]


@pytest.mark.parametrize("recipe", ["intermediate", "intermediate_sample"])
def test_recipes_are_checked_without_a_network(
    recipe: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = ROOT / f"recipes/{recipe}.yaml"
    main([str(path), "--output_dir", str(tmp_path / "out"), "--dry_run"])
    text = capsys.readouterr().out
    content = parse_yaml(path.read_text(encoding="utf-8"))
    assert all(name in text for name in (*content["intermediate"]["tasks"], *content["targets"]))
    assert "0 are done" in text
