"""`python -m hf_seqreptile.retrieval`: what it prints and writes, where pairs come from, and what it refuses."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoModel, AutoTokenizer

from hf_seqreptile.embeddings import sentence_embeddings
from hf_seqreptile.embeddings.sentence_embeddings import SentenceEncoder
from hf_seqreptile.metrics.example_sums import sums_of_run
from hf_seqreptile.retrieval import __main__ as command
from hf_seqreptile.retrieval import retrieval_accuracy
from tests.hub_server import LocalHub, run_client, write_repository
from tests.retrieval.conftest import ENGLISH, GERMAN
from tests.scripts import write

BUCC = {
    side: "".join(f"{side}-{i:04}\t{sentence}\n" for i, sentence in enumerate(sentences))
    for side, sentences in (("de", [*GERMAN, "Anna", "Juma"]), ("en", [*ENGLISH, "Mary"]))
}
FILES = {
    "de.txt": "\n".join(GERMAN) + "\n",
    "en.txt": "\n".join(ENGLISH) + "\n\n",
    "dev/de.txt": "\n".join(GERMAN[:8]),
    "dev/en.txt": "\n".join(ENGLISH[:8]),
    "short.txt": "\n".join(ENGLISH[:-1]),
    "one.txt": "Anna\n",
    "empty.txt": "",
    "blank.txt": "\n \n",
    "hole.txt": "\n".join(["", *ENGLISH[1:]]),
    "hole-too.txt": "\n".join(["", *GERMAN[1:]]),
    "bucc.de": BUCC["de"],
    "bucc.en": BUCC["en"],
    "bucc.gold": "".join(f"de-{i:04}\ten-{i:04}\n" for i in range(len(ENGLISH))),
    "unknown.gold": "de-0001\ten-0001\nde-0001\ten-9999\n",
    "twice.de": BUCC["de"] + BUCC["de"][:20],
    "form.gold": "de-0001 en-0001\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        write(tmp_path / name, text)
    (tmp_path / "latin.txt").write_bytes("Köln\n".encode("latin-1") * len(ENGLISH))
    return tmp_path


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The message that the command ends with, and code 2; no weights are loaded."""

    def refuse(*arguments: str) -> str:
        monkeypatch.setattr("hf_seqreptile.models.loading.load_model", lambda *_, **__: pytest.fail("it was loaded"))
        with pytest.raises(SystemExit) as exit_:
            command.main(list(arguments))
        assert exit_.value.code == 2
        return capsys.readouterr().err

    return refuse


def result() -> dict:
    return json.loads(Path("retrieval/retrieval.json").read_text(encoding="utf-8"))


def test_what_each_sentence_adds_makes_the_accuracy(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([saved, "--pairs", "de=de.txt,en.txt", "--layers", "1", "--save_example_sums"])
    sums = sums_of_run(Path("retrieval"), "test")
    assert sums["de"].score == pytest.approx(result()["layers"]["1"]["accuracy"]["de"]["mean"])
    assert len(sums["de"].values) == len(ENGLISH)


def test_it_prints_and_writes_both_directions_of_every_layer(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([saved, "--pairs", "de=de.txt,en.txt", "a|b=en.txt,de.txt", "--layers", "1", "0"])
    printed = capsys.readouterr().out
    found = result()
    for layer in (0, 1):
        of_layer = found["layers"][str(layer)]
        expected = retrieval_accuracy(saved, {"de": (GERMAN, ENGLISH), "a|b": (ENGLISH, GERMAN)}, layer=layer)
        for name, accuracy in expected.items():
            assert of_layer["accuracy"][name] == {
                "source_to_target": accuracy.source_to_target,
                "target_to_source": accuracy.target_to_source,
                "mean": accuracy.mean,
            }
        assert of_layer["average"]["mean"] == pytest.approx(np.mean([each.mean for each in expected.values()]))
    assert found["sentences"]["de"] == {"source": len(GERMAN), "target": len(ENGLISH)}
    assert (found["model"], found["pooling"]) == (saved, "mean")
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[:2]] == ["accuracy (%)", "de"] and "mean of 2" in rows[3]
    assert r"a\|b" in rows[2]
    assert "layer 1 →" in rows[0] and "layer 0 →" in rows[0]
    one = found["layers"]["1"]["accuracy"]["de"]["source_to_target"]
    assert f" {100 * one:.1f} " in rows[1]
    assert "\n".join(rows[:1]) in Path("retrieval/retrieval.md").read_text(encoding="utf-8")


def test_a_second_call_encodes_nothing_again(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [saved, "--pairs", "de=de.txt,en.txt"]
    command.main(arguments)
    first = result()
    monkeypatch.setattr(
        "hf_seqreptile.embeddings.sentence_embeddings.SentenceEncoder._encode", lambda *_: pytest.fail("encoded again")
    )
    command.main(arguments)
    assert result() == first


def test_a_call_that_was_interrupted_goes_on_where_it_stopped(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sentence_embeddings.TOKENS_AT_ONCE, "cpu", 64)
    monkeypatch.setattr(sentence_embeddings, "SAVE_EVERY", 0.0)
    encode, encoded = SentenceEncoder._vectors, []
    stop_at = [3]

    def count(self, model, inputs, device):
        if len(encoded) in stop_at:
            raise KeyboardInterrupt
        encoded.append(len(inputs["input_ids"]))
        return encode(self, model, inputs, device)

    monkeypatch.setattr(SentenceEncoder, "_vectors", count)
    with pytest.raises(SystemExit) as exit_:
        command.main([saved, "--pairs", "de=de.txt,en.txt"])
    assert exit_.value.code == 130 and not Path("retrieval/retrieval.json").exists()
    stop_at.clear()
    command.main([saved, "--pairs", "de=de.txt,en.txt"])
    assert sum(encoded) == len({*GERMAN, *ENGLISH})
    expected = retrieval_accuracy(saved, {"de": (GERMAN, ENGLISH)})["de"]
    assert result()["layers"]["1"]["accuracy"]["de"]["mean"] == expected.mean


def test_lines_that_are_empty_in_both_files_are_passed_over(saved: str) -> None:
    command.main([saved, "--pairs", "de=hole-too.txt,hole.txt"])
    assert result()["sentences"]["de"] == {"source": len(GERMAN) - 1, "target": len(GERMAN) - 1}


def test_mining_of_files_in_any_form(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([saved, "--pairs", "de=de.txt,en.txt", "--mine", "--threshold_from", "dev", "--layers", "0", "1"])
    printed = capsys.readouterr().out
    mined = result()["layers"]["1"]["mining"]["de"]
    assert set(mined) == {"threshold", "mined", "precision", "recall", "f1", "gold", "development"}
    assert mined["threshold"] == mined["development"]["threshold"]
    assert mined["f1"] == pytest.approx(
        2 * mined["precision"] * mined["recall"] / (mined["precision"] + mined["recall"])
    )
    assert "| de, layer 1" in printed and "mean of" not in printed
    lines = Path("retrieval/mined/de-layer-1.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == mined["mined"]
    margins = [float(line.split("\t")[0]) for line in lines]
    assert margins == sorted(margins, reverse=True) and margins[-1] >= mined["threshold"] - 1e-6
    assert all(source in GERMAN and target in ENGLISH for _, source, target in (x.split("\t") for x in lines))

    command.main(
        [saved, "--pairs", "de=bucc.de,bucc.en,bucc.gold", "--mine", "--threshold_from", "de=dev/de.txt,dev/en.txt"]
    )
    found = result()
    assert found["sentences"]["de"] == {"source": len(GERMAN) + 2, "target": len(ENGLISH) + 1}
    assert found["layers"]["1"]["mining"]["de"]["gold"] == len(ENGLISH)
    assert "accuracy" not in found["layers"]["1"]


def test_the_bundled_sentences(saved: str) -> None:
    command.main([saved, "--dataset_name", "sample", "--mine", "--threshold_from", "dev"])
    found = result()
    assert list(found["sentences"]) == ["ar", "de", "es", "fr", "hi", "ru", "sw", "tr", "zh"]
    assert {*found["layers"]["1"]["mining"]} == {*found["sentences"]}
    command.main([saved, "--dataset_name", "sample", "--dataset_config_name", "s*", "--split", "dev"])
    assert result()["sentences"] == {"sw": {"source": 12, "target": 12}}


def test_a_finished_run_and_its_configuration_file(saved: str, tmp_path: Path) -> None:
    write(tmp_path / "retrieval.yaml", f"model_name_or_path: {saved}\npairs: ['de=de.txt,en.txt']\nlayers: [1]\n")
    command.main(["retrieval.yaml"])
    first = result()
    command.main(["retrieval.yaml", "--pooling", "cls"])
    assert first["pooling"] == "mean" and result()["pooling"] == "cls"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "No model. Name it first"),
        ("MODEL", "Give either --pairs name=source.txt,target.txt or --dataset_name"),
        ("MODEL --pairs de=de.txt,en.txt --dataset_name sample", "Give either --pairs"),
        ("MODEL --pairs de=de.txt,short.txt", "de.txt has {0} lines and short.txt {1}"),
        ("MODEL --pairs de=de.txt,empty.txt", "de.txt has {0} lines and empty.txt 0"),
        ("MODEL --pairs de=empty.txt,blank.txt", "empty.txt and blank.txt have 0 sentences; give at least two"),
        ("MODEL --pairs de=one.txt,one.txt", "one.txt would be paired with itself"),
        ("MODEL --pairs de=de.txt,hole.txt", "pair 'de': hole.txt, line 1 is empty, and de.txt has a sentence there"),
        ("MODEL --pairs de=hole-too.txt,en.txt", "hole-too.txt, line 1 is empty, and en.txt has a sentence"),
        ("MODEL --pairs de.txt,en.txt", "--pairs de.txt,en.txt: write name=source,target"),
        ("MODEL --pairs de=de.txt", "--pairs de=de.txt: write name=source,target"),
        ("MODEL --pairs de=de.txt,", "--pairs de=de.txt,: write name=source,target"),
        ("MODEL --pairs =de.txt,en.txt", "the pair has no name"),
        ("MODEL --pairs a/b=de.txt,en.txt", "the pair name 'a/b' is unfit for a file name"),
        ("MODEL --pairs de=de.txt,en.txt de=de.txt,en.txt", "'de' occurs twice. Name each pair once."),
        ("MODEL --pairs de=de.txt,no.txt", "no.txt is no file"),
        ("MODEL --pairs de=de.txt,dev", "dev is no file"),
        ("MODEL --pairs de=de.txt,latin.txt", "latin.txt, line 1: byte 0xf6 at offset 1 is not UTF-8"),
        (
            "MODEL --pairs de=bucc.de,bucc.en,unknown.gold --mine --threshold_from dev",
            "unknown.gold, line 2: no line of bucc.en has the id 'en-9999'",
        ),
        ("MODEL --pairs de=twice.de,bucc.en,bucc.gold --mine --threshold_from dev", "twice.de: an id occurs twice"),
        (
            "MODEL --pairs de=bucc.de,bucc.en,form.gold --mine --threshold_from dev",
            "form.gold, line 1: 'de-0001 en-0001' is not of the form id TAB id",
        ),
        ("MODEL --pairs de=bucc.de,bucc.en,empty.txt --mine --threshold_from dev", "empty.txt names no pair"),
        ("MODEL --pairs de=de.txt,en.txt,bucc.gold --mine --threshold_from dev", "is not of the form id TAB sentence"),
        ("MODEL --pairs de=bucc.de,bucc.en,bucc.gold", "a third file says what is to be mined; add --mine"),
        (
            "MODEL --pairs de=de.txt,en.txt --layers 0 2",
            "--layers: 2 is no layer of this model, whose last block is 1",
        ),
        ("MODEL --pairs de=de.txt,en.txt --layers -1", "--layers: -1 is no layer"),
        ("MODEL --pairs de=de.txt,en.txt --layers 1 0 --save_example_sums", "--save_example_sums is of one layer"),
        ("MODEL --pairs de=de.txt,en.txt --layers 1 1", "--layers 1 1: name one or more layers, each once"),
        ("MODEL --pairs de=de.txt,en.txt --layers last", "invalid int value: 'last'"),
        ("MODEL --pairs de=de.txt,en.txt --pooling max", "--pooling max is none of mean, cls"),
        ("MODEL --pairs de=de.txt,en.txt --mine", "--mine needs --threshold_from"),
        ("MODEL --pairs de=de.txt,en.txt --threshold_from dev", "--threshold_from is for --mine"),
        ("MODEL --pairs de=de.txt,en.txt --mine --threshold_from nowhere", "--threshold_from nowhere: no such folder"),
        (
            "MODEL --pairs de=hole.txt,hole-too.txt --mine --threshold_from dev",
            "--threshold_from: dev/hole.txt is no file",
        ),
        ("MODEL --pairs de=de.txt,en.txt --mine --threshold_from .", "these are the files that are searched"),
        ("MODEL --pairs de=de.txt,en.txt --mine --threshold_from sw=de.txt,en.txt", "'de' is in one of them alone"),
        ("MODEL --dataset_name sample --mine --threshold_from test", "that is what is searched"),
        ("MODEL --dataset_name sample --mine --threshold_from a b", "name one split"),
        ("MODEL --dataset_name sample --split train", "unknown split 'train'. Known: test, validation"),
        ("MODEL --dataset_name sample --dataset_config_name xx", "unknown language 'xx'. Known: ar, de"),
        ("MODEL --dataset_name sample --text_columns a b", "--text_columns names two columns"),
        ("MODEL --pairs de=de.txt,en.txt --split test", "--split is for --dataset_name"),
        ("MODEL --pairs de=de.txt,en.txt --trim_vocabulary", "--trim_vocabulary has no effect"),
        ("MODEL --dataset_name sample --layrs 3", "Unknown argument --layrs 3. Did you mean --layers?"),
        ("/no/model --pairs de=de.txt,en.txt", "--model_name_or_path /no/model cannot be loaded: no such folder"),
        ("MODEL --pairs de=de.txt,en.txt --output_dir de.txt", "de.txt"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_loaded(
    saved: str, refusal: Callable[..., str], arguments: str, message: str
) -> None:
    printed = refusal(*arguments.replace("MODEL", saved).split())
    assert message.format(len(GERMAN), len(ENGLISH) - 1) in printed and "Traceback" not in printed
    assert not Path("retrieval/retrieval.json").exists()


def test_a_folder_without_a_tokenizer_is_refused(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(saved, tmp_path / "bare", ignore=lambda _, names: [name for name in names if "token" in name])
    with pytest.raises(SystemExit) as exit_:
        command.main(["bare", "--pairs", "de=de.txt,en.txt"])
    assert exit_.value.code == 2
    assert "has no tokenizer: its vocabulary would be special tokens alone" in capsys.readouterr().err


CLIENT = """
import contextlib, io, json, sys
from hf_seqreptile.retrieval.__main__ import main
answers = []
for arguments in json.loads(sys.argv[1]):
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
            answers.append(json.load(open("retrieval/retrieval.json")))
        except SystemExit:
            answers.append(printed.getvalue().split("error: ")[-1].strip())
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_xtreme_from_the_hub(saved: str, tmp_path: Path) -> None:
    """Tatoeba and BUCC as google/xtreme has them, beside its other tasks; then the same without the Hub."""

    def rows(begin: int, end: int, language: str) -> list[dict[str, str]]:
        found = zip(GERMAN[begin:end], ENGLISH[begin:end], strict=True)
        return [
            {"source_sentence": de, "target_sentence": en, "source_lang": language, "target_lang": "eng"}
            for de, en in found
        ]

    write_repository(
        tmp_path / "hub",
        "google/xtreme",
        {
            "XNLI": {"test": [{"language": "de", "sentence1": "a", "sentence2": "b", "gold_label": "c"}]},
            "tatoeba.deu": {"validation": rows(0, 9, "deu")},
            "tatoeba.swh": {"validation": rows(9, 16, "swh")},
            "bucc18.de": {"validation": rows(0, 6, "de"), "test": rows(6, 16, "de")},
        },
    )
    write_repository(
        tmp_path / "hub",
        "some/corpus",
        {"de-en": {"train": [{"translation": {"de": d, "en": e}} for d, e in zip(GERMAN, ENGLISH, strict=True)]}},
    )
    write_repository(tmp_path / "hub", "some/table", {"x": {"test": [{"a": "x", "b": "y", "c": "z"}] * 3}})
    xtreme = [saved, "--dataset_name", "google/xtreme"]
    tatoeba = [*xtreme, "--dataset_config_name", "tatoeba.*"]
    calls = [
        tatoeba,
        [*xtreme, "--dataset_config_name", "bucc18.de", "--mine", "--threshold_from", "dev"],
        [saved, "--dataset_name", "some/corpus"],
        [saved, "--dataset_name", "some/table", "--text_columns", "c", "a"],
        xtreme,
        [*xtreme, "--dataset_config_name", "tatoeba.ger"],
        [*tatoeba, "--split", "test"],
        [saved, "--dataset_name", "some/table"],
        [saved, "--dataset_name", "some/table", "--text_columns", "c", "d"],
        [saved, "--dataset_name", "some/nothing"],
    ]
    with LocalHub(tmp_path / "hub") as hub:
        environment = hub.environment(tmp_path / "cache") | {"PYTHONPATH": os.getcwd()}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        answers = json.loads(run_client(environment, CLIENT, json.dumps(calls)))
    assert answers[0]["sentences"] == {"deu": {"source": 9, "target": 9}, "swh": {"source": 7, "target": 7}}
    expected = retrieval_accuracy(saved, {"deu": (GERMAN[:9], ENGLISH[:9])})["deu"]
    assert answers[0]["layers"]["1"]["accuracy"]["deu"]["source_to_target"] == expected.source_to_target
    assert answers[1]["sentences"] == {"de": {"source": 10, "target": 10}}
    assert answers[1]["layers"]["1"]["mining"]["de"]["gold"] == len({*zip(GERMAN[6:16], ENGLISH[6:16], strict=True)})
    assert answers[2]["sentences"] == {"de-en": {"source": len(GERMAN), "target": len(GERMAN)}}
    assert answers[3]["sentences"] == {"x": {"source": 3, "target": 3}}
    for answer, message in zip(
        answers[4:],
        [
            "has 4 configurations: ",
            "unknown configuration 'tatoeba.ger'. Did you mean 'tatoeba.deu'?",
            "configuration 'tatoeba.deu': unknown split 'test'. Known: validation.",
            "which columns hold the sentences? Name them with --text_columns source target; of texts there are a, b",
            "--text_columns: unknown column of texts 'd'. Known: a, b, c.",
            "--dataset_name some/nothing: ",
        ],
        strict=True,
    ):
        assert message in answer
    # The server is stopped now.
    (offline,) = json.loads(
        run_client(environment | {"HF_HUB_OFFLINE": "1"}, CLIENT, json.dumps([[*tatoeba[:-1], "tatoeba.deu"]]))
    )
    assert offline["layers"]["1"]["accuracy"]["deu"] == answers[0]["layers"]["1"]["accuracy"]["deu"]


def test_a_local_folder_of_a_dataset(saved: str, tmp_path: Path) -> None:
    Dataset.from_dict({"source": GERMAN, "target": ENGLISH, "id": [str(i) for i in range(len(GERMAN))]}).to_parquet(
        tmp_path / "set/test.parquet"
    )
    command.main([saved, "--dataset_name", "set", "--cache_dir", "cache"])
    (pair,) = result()["sentences"].values()
    assert pair == {"source": len(GERMAN), "target": len(GERMAN)}


def test_a_name_of_the_hub_and_a_folder_give_the_same(saved: str, tmp_path: Path) -> None:
    AutoModel.from_pretrained(saved).save_pretrained(tmp_path / "copy")
    AutoTokenizer.from_pretrained(saved).save_pretrained(tmp_path / "copy")
    command.main(["copy", "--pairs", "de=de.txt,en.txt"])
    first = result()["layers"]
    command.main([saved, "--pairs", "de=de.txt,en.txt"])
    assert result()["layers"] == first
