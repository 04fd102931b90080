"""`--use_peft`: adapters and the head are trained from the command line, in all scripts."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForTokenClassification
from safetensors.torch import load_file
from transformers import AutoConfig

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.methods import METHODS
from hf_seqreptile.publishing.hub_repository import published_files
from tests import scripts
from tests.scripts import SAMPLES, SEQ_REPTILE, Place, Workplace, write

LORA = ["--use_peft", "--lora_r", "2", "--lora_alpha", "4"]
ALL = ["--do_train", "--do_eval", "--do_predict"]
TASKS = {
    "ner-de": {"problem": "ner", "dataset_name": "sample", "languages": ["de"], "max_train_samples": 20},
    "nli-de": {"problem": "nli", "dataset_name": "sample", "languages": ["de"], "max_train_samples": 20},
    "qa": {
        "problem": "qa",
        "dataset_name": "sample",
        "languages": ["de"],
        "max_train_samples": 10,
        "max_seq_length": 64,
        "doc_stride": 16,
    },
    "choice": {"problem": "choice", "train_file": "choice.jsonl", "validation_file": "choice.jsonl"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def printed(place: Workplace) -> str:
    return place.printed_by(*place.arguments("out", *SEQ_REPTILE, *LORA, *ALL, "--save_steps", "8"))


def is_score(name: str) -> bool:
    return name.startswith(("eval_", "predict_")) and not name.endswith(("runtime", "_second", "_time"))


def scores_of(place: Place, output: str) -> dict[str, float]:
    return {name: value for name, value in place.json(output, "all_results.json").items() if is_score(name)}


def test_the_folder_has_adapters_and_the_head_in_place_of_a_model(place: Workplace, printed: str) -> None:
    files = {path.name for path in place.path("out").iterdir() if path.is_file()}
    adapters = {"adapter_model.safetensors", "adapter_config.json", "model_config.json"}
    predictions = {"predictions.txt"} | {f"predictions_{task}.txt" for task in scripts.LANGUAGES}
    assert files - predictions == scripts.FILES - {"model.safetensors", "config.json"} | adapters
    weights = load_file(place.path("out", "adapter_model.safetensors"))
    assert {name.split(".")[2] for name in weights} == {"bert", "classifier"}
    assert all("lora_" in name or "classifier" in name for name in weights)
    config = place.json("out", "adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 4, 0.05)
    assert config["task_type"] == "TOKEN_CLS" and set(config["target_modules"]) == {"query", "value"}


def test_plan_and_card_name_the_adapters(place: Workplace, printed: str) -> None:
    trained = sum(tensor.numel() for tensor in load_file(place.path("out", "adapter_model.safetensors")).values())
    assert (
        f"LoRA: lora_r 2, lora_alpha 4, lora_dropout 0.05, layers with adapters query, value; {trained:,} of"
        in printed
    )
    rows = [line.split("|")[1:4] for line in place.card("out").text.splitlines() if "LoRA" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["rank of LoRA's adapters", "lora_r", "2"],
        ["scale of LoRA's adapters", "lora_alpha", "4"],
        ["dropout of LoRA's adapters", "lora_dropout", "0.05"],
    ]
    assert place.card("out").data.library_name == "peft"


def test_the_lines_of_the_card_use_it(
    place: Workplace, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place.folder)
    names: dict = {}
    exec(place.usage("out"), names)
    assert isinstance(eval(capsys.readouterr().out), list)
    assert names["model"].peft_config["default"].r == 2


def test_a_finished_folder_is_evaluated(place: Workplace, printed: str) -> None:
    again = place.arguments("again", "--do_eval", "--do_predict", model=str(place.path("out")))
    place.printed_by(*again)
    expected = scores_of(place, "out")
    assert len(expected) > 20 and scores_of(place, "again") == pytest.approx(expected, abs=1e-6)
    place.printed_by(*place.arguments("out", "--do_eval", model=str(place.path("out"))))
    assert place.json("out", "scores.json")["scores"]["test"].keys() == {"seq_reptile"}


def test_adapters_of_before_are_not_trained_on(place: Workplace, printed: str, capsys: pytest.CaptureFixture) -> None:
    assert scripts.main(*place.arguments("more", *SEQ_REPTILE, "--do_train", model=str(place.path("out")))) == 2
    assert "is an adapter, as PEFT saves LoRA's, and no model. Merge it into its model" in capsys.readouterr().err
    assert scripts.main(*place.arguments("out", "--method", "mtl", *LORA, "--do_train", "--max_steps", "40")) == 2
    assert "belongs to another run" in capsys.readouterr().err
    shutil.copytree(place.path("out"), place.path("moved"), ignore=shutil.ignore_patterns("checkpoint-*"))
    assert scripts.main(*place.arguments("moved", "--method", "mtl", *LORA, "--do_train")) == 2
    assert "holds a finished model already" in capsys.readouterr().err


def test_adapters_whose_model_is_gone(place: Workplace, printed: str, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(place.path("out"), place.path("orphan"), ignore=shutil.ignore_patterns("checkpoint-*"))
    config = place.json("orphan", "adapter_config.json") | {"base_model_name_or_path": "/nowhere/model"}
    write(place.path("orphan", "adapter_config.json"), json.dumps(config))
    assert scripts.main(*place.arguments("evaluated", "--do_eval", model=str(place.path("orphan")))) == 2
    assert "names '/nowhere/model' as the model that the adapters in" in capsys.readouterr().err


def test_a_run_continues_bit_for_bit(place: Workplace, printed: str) -> None:
    shutil.copytree(place.path("out", "checkpoint-8"), place.path("continued", "checkpoint-8"))
    said = place.printed_by(*place.arguments("continued", *SEQ_REPTILE, *LORA, *ALL, "--save_steps", "8"))
    assert "Continuing from" in said
    ends = [place.path(name, "adapter_model.safetensors").read_bytes() for name in ("out", "continued")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("changed", "told"),
    [(["--lora_alpha", "8"], "adapters: "), (["--lora_dropout", "0"], "adapters: "), (None, "adapters: ")],
    ids=str,
)
def test_other_adapters_do_not_continue_it(
    place: Workplace, printed: str, changed: list[str] | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(place.path("out", "checkpoint-8"), tmp_path / "checkpoint-8")
    own = [*LORA, *changed] if changed else []
    assert scripts.main(*place.arguments(str(tmp_path), *SEQ_REPTILE, *own, "--do_train", "--save_steps", "8")) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("recadam", "seq_reptile", "torchjd")])
def test_every_method_trains_adapters(place: Workplace, method: str) -> None:
    own = {
        "stl": ["--languages", "de", "--eval_languages", "de"],
        "reptile": ["--inner_steps", "1"],
    }
    arguments = [*LORA, "--method", method, *own.get(method, []), "--do_train", "--max_steps", "3"]
    place.printed_by(*place.arguments(f"of-{method}", *arguments, "--max_train_samples", "8"))
    folder = place.path(f"of-{method}", *(["de"] if method == "stl" else []))
    labels = place.json(folder, "model_config.json")["id2label"]
    base = AutoPeftModelForTokenClassification.from_pretrained(folder, num_labels=len(labels))
    trained = [p for name, p in base.named_parameters() if "lora_B" in name]
    assert trained and all(torch.any(p != 0) for p in trained)
    assert read_run(folder).is_adapter


def test_a_dry_run_tells_the_adapters(place: Workplace) -> None:
    said = place.printed_by(*place.arguments("dry", "--method", "mtl", *LORA, "--do_train", "--dry_run"))
    assert (
        "adapters  LoRA: lora_r 2, lora_alpha 4, lora_dropout 0.05, on the layers that PEFT names for the kind of "
        "model; the head is trained whole"
    ) in said
    assert not place.path("dry").exists()


REFUSED = [
    (["--lora_r", "0"], "--lora_r is 0; it must be at least 1."),
    (["--lora_alpha", "0"], "--lora_alpha is 0; it must be above 0."),
    (["--lora_dropout", "1"], "--lora_dropout is 1.0; it must be in [0, 1)."),
    (["--lora_target_modules", "query", "qury"], "'qury' is the name of no layer of the encoder. It has dense, key,"),
    (["--lora_target_modules", "classifier"], "'classifier' is of the head, which is trained whole"),
    (["--lora_target_modules", "LayerNorm"], "'LayerNorm' is the name of no layer"),
    (["--use_peft", "false"], "--lora_r has no effect without --use_peft"),
    (["--do_train", "false", "--do_eval"], "--use_peft makes adapters to train, and there is no --do_train"),
    (["--method", "recadam", "--recadam_gamma", "5"], "--method recadam does not support adapters"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_bad_input(place: Workplace, arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert scripts.main(*place.arguments("refused", "--method", "mtl", *LORA, "--do_train", *arguments)) == 2
    assert message in capsys.readouterr().err
    assert not place.path("refused").exists()


def test_without_peft(place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "peft" else found(name, *rest))
    assert scripts.main(*place.arguments("refused", "--method", "mtl", *LORA, "--do_train")) == 2
    assert "--use_peft needs the package peft, which is missing: pip install" in capsys.readouterr().err


def test_all_linear_layers(place: Workplace) -> None:
    arguments = ["--method", "mtl", *LORA, "--lora_target_modules", "all-linear", "--do_train", "--max_steps", "2"]
    place.printed_by(*place.arguments("linear", *arguments))
    assert set(place.json("linear", "adapter_config.json")["target_modules"]) == {"query", "key", "value", "dense"}


# Other scripts, and several heads.


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("lora-heads")
    words = {word for problem in ("ner", "nli", "qa") for word in scripts.words_of_sample(problem, ["de"])}
    rows = [
        {"context": "Anna wohnt hier.", "choices": ["Sie wohnt hier.", "Der Mann."], "label": i % 2} for i in range(8)
    ]
    write(folder / "choice.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    tasks = write(folder / "tasks.yaml", json.dumps(TASKS))
    return Place(folder, "run_multitask", scripts.write_model(folder / "model", words=words), ["--tasks_file", tasks])


@pytest.fixture(scope="module")
def trained(several: Place) -> Place:
    several.printed_by(*several.arguments("out", *SEQ_REPTILE, *LORA, "--do_train", "--do_eval"))
    return several


def test_every_head_is_a_folder_that_peft_loads(
    trained: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(trained.folder)
    text = trained.card("out").text
    blocks = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 4 and all("from peft import AutoPeftModel" in block for block in blocks)
    for block in blocks:
        exec(block, {})
        assert capsys.readouterr().out.strip()


def test_several_heads_are_evaluated_again(trained: Place) -> None:
    trained.printed_by(*trained.arguments("again", "--do_eval", model=str(trained.path("out"))))
    assert scores_of(trained, "again") == pytest.approx(scores_of(trained, "out"), abs=1e-5)
    assert read_run(trained.path("out")).is_adapter


def test_no_path_of_this_machine_is_published(trained: Place) -> None:
    files = published_files(trained.path("out"))
    for name, content in files.items():
        text = content if isinstance(content, bytes) else Path(content).read_bytes()
        assert str(trained.folder).encode() not in text, name


@pytest.mark.parametrize(
    ("script", "problem", "data"),
    [
        ("run_qa", "qa", ["--languages", "de", "sw", "--max_seq_length", "64", "--doc_stride", "16"]),
        ("run_xnli", "nli", ["--languages", "de", "sw"]),
        ("run_glue", "glue", ["--languages", "mood-de", "mood-sw"]),
    ],
)
def test_the_other_scripts(tmp_path: Path, script: str, problem: str, data: list[str]) -> None:
    languages = [path.name for path in (SAMPLES / problem).iterdir()] if problem == "glue" else ["de", "sw"]
    model = scripts.write_model(tmp_path / "model", words=scripts.words_of_sample(problem, languages))
    place = Place(tmp_path, script, model, ["--dataset_name", "sample", *data])
    few = ["--max_steps", "3", "--max_train_samples", "8", "--max_eval_samples", "4"]
    place.printed_by(*place.arguments("out", "--method", "mtl", *LORA, "--do_train", "--do_eval", *few))
    again = place.arguments("again", "--do_eval", *few, model=str(place.path("out")))
    place.printed_by(*again)
    assert scores_of(place, "again") == pytest.approx(scores_of(place, "out"), abs=1e-4)


@pytest.mark.slow
def test_a_trimmed_vocabulary(tmp_path: Path) -> None:
    place = Place(tmp_path, "run_ner", "offline-multilingual", ["--dataset_name", "sample", "--languages", "de"])
    few = ["--max_steps", "1", "--max_train_samples", "4", "--max_eval_samples", "4"]
    arguments = place.arguments("out", "--method", "mtl", *LORA, "--trim_vocabulary", "--do_train", "--do_eval", *few)
    place.printed_by(*arguments)
    place.printed_by(*place.arguments("again", "--do_eval", *few, model=str(place.path("out"))))
    assert scores_of(place, "again") == pytest.approx(scores_of(place, "out"), abs=1e-4)
    base = place.json("out", "adapter_config.json")["base_model_name_or_path"]
    assert AutoConfig.from_pretrained(base).vocab_size < 250_002
