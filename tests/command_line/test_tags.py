"""`run_ner.py` on tags in any scheme: what it says of them, and what tells later that scores are of another kind."""

import ast
import contextlib
import io
import json
import re
from collections.abc import Callable
from itertools import accumulate, groupby
from pathlib import Path

import pytest
from transformers import AutoTokenizer, pipeline

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.report.tables import make_tables
from hf_seqreptile.scores import Metric
from tests import scripts
from tests.scripts import Place, Sentence

ALL = ["--do_train", "--do_eval", "--do_predict", "--method", "mtl", "--tasks_per_step", "1"]
PARTS = {"O": "X", "B-PER": "PROPN", "I-PER": "PROPN", "B-LOC": "NOUN", "I-LOC": "NOUN", "B-ORG": "X", "I-ORG": "X"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scripts.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def make_place(tmp_path_factory: pytest.TempPathFactory, model: str) -> Callable[..., Place]:
    """A place with German and Swahili sentences, whose tags are changed, as objects in columns of one's choice."""

    def make(change: Callable[[str], str], columns: tuple[str, str]) -> Place:
        folder = tmp_path_factory.mktemp("place")
        arguments = []
        for split in ("train", "validation", "test"):
            arguments.append(f"--{split}_file")
            for language in ("de", "sw"):
                rows: list[Sentence] = scripts.sentences(language, split)
                objects = [
                    {"id": str(i), columns[0]: words, columns[1]: [change(tag) for tag in tags]}
                    for i, (words, tags) in enumerate(rows)
                ]
                lines = "".join(json.dumps(one) + "\n" for one in objects)
                arguments.append(f"{language}={scripts.write(folder / split / f'{language}.jsonl', lines)}")
        return Place(folder, "run_ner", model, arguments)

    return make


@pytest.fixture(scope="module")
def parts(make_place: Callable[..., Place]) -> Place:
    """A finished run on parts of speech."""
    place = make_place(PARTS.get, ("tokens", "upos"))
    place.printed = place.printed_by(*place.arguments("out", *ALL))
    return place


def runs_of(tags: list[str]) -> set[tuple[int, int, str]]:
    """Places and types of the entities, by another way than the package's."""
    lengths = [(tag, len(list(run))) for tag, run in groupby(tags)]
    starts = accumulate((length for _, length in lengths), initial=0)
    return {(start, length, tag) for start, (tag, length) in zip(starts, lengths, strict=False) if tag != "O"}


def test_runs_of_equal_tags(make_place: Callable[..., Place]) -> None:
    """They are learnt as they are, scored as entities, and found again by a stock pipeline."""
    place = make_place(lambda tag: tag[2:] or tag, ("tokens", "tags"))
    printed = place.printed_by(*place.arguments("out", *ALL))
    assert "Tags (column 'tags'): IO (runs of equal tags are entities).\n" in printed
    assert "# Scores: F1\n" in printed
    assert set(place.json("out", "config.json")["label2id"]) == {"LOC", "O", "PER"}
    assert place.json("out", "scores.json")["metric"] == {"name": "f1", "perfect": 1.0}
    rows = scripts.sentences("de", "test")
    predicted = [line.split() for line in place.path("out", "predictions_de.txt").read_text("utf-8").splitlines()]
    found, true = (list(map(runs_of, each)) for each in (predicted, [[t[2:] or t for t in tags] for _, tags in rows]))
    right = sum(len(one & other) for one, other in zip(found, true, strict=True))
    f1 = 2 * right / (sum(map(len, found)) + sum(map(len, true)))
    assert f1 > 0 and place.json("out", "predict_results.json")["predict_de_f1"] == pytest.approx(f1)
    tag = pipeline("token-classification", str(place.path("out")), aggregation_strategy="first")
    for (words, _), entities in zip(rows, found, strict=True):
        expected = [(of, " ".join(words[start : start + length])) for start, length, of in sorted(entities)]
        text = " ".join(words)
        assert [(e["entity_group"], text[e["start"] : e["end"]]) for e in tag(text)] == expected


def test_parts_of_speech_are_scored_by_accuracy_everywhere(parts: Place) -> None:
    assert "Tags (column 'upos'): no scheme (each tag stands for itself). Scored by accuracy.\n" in parts.printed
    assert "# Scores: accuracy\n" in parts.printed
    assert set(parts.json("out", "config.json")["label2id"]) == {"NOUN", "PROPN", "X"}
    results = parts.json("out", "all_results.json")
    accuracy = scripts.scores(results, "predict", "accuracy", ["de", "sw"])
    assert "predict_de_macro_f1" in results and "predict_de_f1" not in results
    saved = parts.json("out", "scores.json")
    assert saved["metric"] == {"name": "accuracy", "perfect": 1.0}
    assert saved["scores"]["test"]["mtl"] == pytest.approx(accuracy)
    card = parts.card("out")
    assert card.data.metrics == ["accuracy"]
    assert "Accuracy, test (%)" in card.text
    run = read_run(parts.path("out"))
    assert run.metric == Metric("accuracy")
    assert run.settings["metric"] == "accuracy"
    assert [table.title for table in make_tables([run])] == [
        "Token classification, validation: accuracy (%)", "Token classification, test: accuracy (%)"
    ]  # fmt: skip


def test_the_card_shows_each_words_part_of_speech(parts: Place) -> None:
    with contextlib.chdir(parts.folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(parts.usage("out"), {})
    words, tags = zip(*ast.literal_eval(printed.getvalue()), strict=True)
    assert words == ("Angela", "Merkel", "wurde", "in", "Hamburg", "geboren", ".")
    assert set(tags) <= {"NOUN", "PROPN", "X"}


def test_runs_by_different_metrics_are_in_tables_of_their_own(parts: Place, tmp_path: Path) -> None:
    """Where `scores.json` does not name its metric, it is the one that has its values."""
    unnamed = parts.json("out", "scores.json")
    del unnamed["metric"]
    old = unnamed | {"metric": {"name": "f1", "perfect": 1.0}}
    for name, content in parts.files("out").items():
        if name.endswith((".json", ".md")) and "/" not in name:
            scripts.write(tmp_path / "old" / name, content.decode())
    scripts.write(tmp_path / "old" / "scores.json", json.dumps(unnamed))
    assert read_run(tmp_path / "old").metric.name == "accuracy"
    scripts.write(tmp_path / "old" / "scores.json", json.dumps(old))
    runs = [read_run(parts.path("out")), read_run(tmp_path / "old")]
    assert [run.metric.name for run in runs] == ["accuracy", "f1"]
    tables = {table.title: [str(row.runs[0].folder) for row in table.methods] for table in make_tables(runs)}
    assert tables["Token classification, test: accuracy (%)"] == [str(parts.path("out"))]
    assert tables["Token classification, test: F1 (%)"] == [str(tmp_path / "old")]


def test_scores_by_another_metric_do_not_join_those_of_a_folder(parts: Place, capsys: pytest.CaptureFixture) -> None:
    arguments = parts.arguments("out", "--do_eval", "--tag_scheme", "io", model=str(parts.path("out")))
    before = parts.files("out")
    assert parts.main(*arguments) == 2
    assert f"--output_dir {parts.path('out')} holds scores by accuracy, and this evaluation is by F1; choose" in (
        capsys.readouterr().err
    )
    assert parts.files("out") == before


def test_labels_come_from_all_rows_however_few_are_used(
    make_place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    """And a task that is left with one tag is warned of."""
    place = make_place(str, ("tokens", "ner_tags"))
    file = place.path("train", "sw.jsonl")
    rows = file.read_text("utf-8")
    words = json.loads(rows.splitlines()[0])["tokens"]
    scripts.write(file, json.dumps({"id": "0", "tokens": words, "ner_tags": ["O"] * len(words)}) + "\n" + rows)
    few = ["--max_train_samples", "1", "--max_eval_samples", "2", "--max_steps", "1"]
    assert place.main(*place.arguments("few", *ALL, *few)) == 0
    assert set(place.json("few", "config.json")["label2id"]) == {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}
    assert place.json("few", "train_results.json")["train_samples"] == 2
    assert "Task 'sw': all training tags are `O`; it teaches nothing else." in caplog.text


def test_what_lies_behind_cuts_is_in_results_and_card(make_place: Callable[..., Place]) -> None:
    """Of each task, counted here by the words that are left; and what was done with labels."""
    place = make_place(str, ("tokens", "ner_tags"))
    arguments = ["--max_seq_length", "9", "--label_map", "PER=O", "--max_steps", "1"]
    assert place.main(*place.arguments("cut", *ALL, *arguments)) == 0
    results, card = place.json("cut", "all_results.json"), place.path("cut", "README.md").read_text("utf-8")
    tokenizer = AutoTokenizer.from_pretrained(place.model)
    for split, stage in (("train", "train"), ("validation", "eval"), ("test", "predict")):
        for task in ("de", "sw"):
            cut = lost = 0
            for words, tags in scripts.sentences(task, split):
                kept = max(i for i in tokenizer(words, is_split_into_words=True).word_ids()[:8] if i is not None)
                cut += len(tokenizer(words, is_split_into_words=True)["input_ids"]) > 9
                lost += sum(tag == "B-LOC" for tag in tags[kept + 1 :])
            assert results[f"{stage}_{task}_entities_behind_cut"] == lost
            assert results[f"{stage}_{task}_cut_examples"] == cut
            assert not lost or re.search(rf"\| {split} +\| +{task} \| +entities behind cut \| +{lost} \|", card)
    assert "Labels are mapped: PER=O (words: de " in card
