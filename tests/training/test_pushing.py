"""A push to the Hub: what arrives, what never does, and what is left when it fails."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from hub_server import LocalHub, run_client
from huggingface_hub import CommitInfo, ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file
from transformers import BertForTokenClassification

from hf_seqreptile import InputError
from hf_seqreptile.publishing.hub_repository import PushError, published_files, push
from hf_seqreptile.scores import Metric
from tests import processes, tiny
from tests.scripts import SEQ_REPTILE, WITHOUT_PACKAGE, Workplace, sentences

WRITER, READER = "hf_writersecret", "hf_readersecret"
PUSH = ["--push_to_hub", "--hub_model_id", "me/ner-3", "--hub_token", WRITER]
MODEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
RUN = MODEL | {
    "README.md", "training_args.json", "trainer_state.json", "training.png", "scores.md", "scores.json",
    "train_results.json", "eval_results.json", "predict_results.json", "all_results.json",
}  # fmt: skip
DECOYS = [
    "clusters/en/0.jsonl", "runs/events.out.tfevents.1", "nohup.out", "training_args.bin", "optimizer.pt", "notes.txt",
    ".env", "model.safetensors.lock", "checkpoint-9/model.safetensors",
]  # fmt: skip


def use(hub: LocalHub, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the clients of this process use this hub, which they look up when they are imported, and not wait."""
    http = "huggingface_hub.utils._http.time"
    monkeypatch.setattr(http, SimpleNamespace(time=time.time, sleep=lambda seconds: None))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "served", writers={WRITER: "me"}, readers={READER: "me"}) as hub:
        use(hub, monkeypatch, tmp_path)
        yield hub


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("pushes"))


def arrived(hub: LocalHub, name: str = "me/ner-3") -> dict[str, bytes]:
    """What the hub has of a repository, by path, but for its own file."""
    folder = hub.root / "models" / name
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop(".gitattributes", None)
    return files


def posted(hub: LocalHub) -> list[str]:
    """What was posted, by the last part of its address: a branch's name, to preupload and commit."""
    return [target.rpartition("/")[2] for method, target in hub.requests if method == "POST"]


def assert_private(published: dict[str, bytes], *secrets: str) -> None:
    for secret in (WRITER, READER, str(Path.home()) + "/", os.getcwd(), *secrets):
        assert [name for name, content in published.items() if secret.encode() in content] == [], secret


def run_and_push(place: Workplace, output: str, *arguments: str) -> str:
    """What a run prints that is pushed, from a folder that holds what is not to be."""
    for decoy in DECOYS:
        place.path(output, decoy).parent.mkdir(parents=True, exist_ok=True)
        place.path(output, decoy).write_text("private")
    settings = [*SEQ_REPTILE, "--do_train", "--do_eval", "--do_predict", *PUSH]
    return place.printed_by(*place.arguments(output, *settings, *arguments))


def test_a_run_arrives(place: Workplace, hub: LocalHub) -> None:
    printed = run_and_push(
        place, "out", "--save_steps", "7", "--eval_strategy", "steps", "--eval_steps", "7",
        "--load_best_model_at_end", "--metric_for_best_model", "f1",
    )  # fmt: skip
    assert "The finished model will be pushed to me/ner-3; nothing is before." in printed
    assert printed.rstrip().endswith(f"Pushed: {hub.url}/me/ner-3")

    published = arrived(hub)
    assert published.keys() == RUN
    assert_private(published, str(place.folder))
    local = place.files("out")
    assert published == {name: local[name] for name in RUN}
    # One commit, of the finished model; before training nothing but whether it will be possible.
    assert posted(hub) == ["create", "validate-yaml", "main", "batch", "main"]


@pytest.mark.slow
def test_a_pushed_run_serves_from_there(place: Workplace, hub: LocalHub) -> None:
    """From command to pipeline: the model that is pulled tags as the run did, with nothing of ours installed."""
    run_and_push(place, "served-run")
    code = """
import json
from transformers import pipeline

tagger = pipeline("token-classification", model="me/ner-3", ignore_labels=[])
for text in json.loads(sys.argv[1]):
    starts = {i for i in range(len(text)) if i == 0 or text[i - 1] == " "}
    print(" ".join(piece["entity"] for piece in tagger(text) if piece["start"] in starts))
"""
    texts = [" ".join(words) for words, _ in sentences("sw", "test")]
    snippet = re.search("```python\n(.*?)```", ModelCard.load(place.path("served-run", "README.md")).text, re.DOTALL)
    assert snippet is not None and 'name = "me/ner-3"' in snippet[1]
    code = WITHOUT_PACKAGE + code + snippet[1]
    *tags, _ = run_client(hub.environment(place.path("home")), code, json.dumps(texts)).splitlines()
    assert tags == place.path("served-run", "predictions_sw.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("status", [500, 0], ids=["error", "hung up"])
@pytest.mark.parametrize("route", ["validate_yaml", "preupload", "large_files", "store", "commit"])
def test_a_failed_push_loses_nothing(
    tmp_path: Path, hub: LocalHub, route: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing local is touched, nothing half arrives, and once the server is back, the folder can be pushed."""
    trainer = trained(tmp_path / "out")
    hub.faults[route] = status
    with pytest.raises(PushError, match="complete, but was not pushed") as failure:
        trainer.push_to_hub()
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}
    assert before.keys() >= MODEL | {"README.md"}
    assert arrived(hub) == {}
    hub.faults.clear()
    command = str(failure.value).splitlines()[-1]
    assert command.startswith(f"hf upload me/ner-3 {tmp_path / 'out'} . ")
    assert WRITER not in str(failure.value)
    push(tmp_path / "out", "me/ner-3", token=WRITER)
    assert arrived(hub) == {name: before[name] for name in published_files(tmp_path / "out")}


def test_the_printed_command_pushes_the_same(
    place: Workplace, hub: LocalHub, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a script, whose exit code 3 says that the model is finished."""
    hub.faults["commit"] = 500
    for decoy in DECOYS:
        place.path("later", decoy).parent.mkdir(parents=True, exist_ok=True)
        place.path("later", decoy).write_text("private")
    settings = [*SEQ_REPTILE, "--do_train", "--do_eval", "--do_predict", *PUSH, "--hub_revision", "first"]
    assert place.main(*place.arguments("later", *settings)) == 3
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err and WRITER not in captured.err + captured.out
    error = captured.err[captured.err.index("error: ") :].splitlines()
    assert error[0] == (
        f"error: {place.path('later')} is complete, but was not pushed: 500: Something went wrong on our side. "
        f"Push it later:"
    )
    hub.faults.clear()
    program, *arguments = shlex.split(error[1])
    assert program == "hf"
    environment = os.environ | hub.environment(place.path("home")) | {"HF_TOKEN": WRITER}
    command = [str(Path(sys.executable).with_name("hf")), *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    local = place.files("later")
    assert arrived(hub, "me/ner-3@first") == {name: local[name] for name in RUN}
    assert arrived(hub) == {}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--hub_token", ""], "401: Invalid username or password.*`hf auth login`"),
        (["--hub_token", "hf_wrong"], "401: Invalid username or password.*`hf auth login`"),
        (["--hub_token", READER], "403: You don't have the rights to write to me/ner-3.*another name"),
        (["--hub_model_id", "others/ner"], "403: You don't have the rights to write to others/ner"),
        (["--hub_model_id", "me/ner 3"], "Repo id must .*'me/ner 3'. Choose another --hub_model_id"),
        (["--hub_model_id", "a/b/c"], "Repo id must .*'a/b/c'.*Choose another --hub_model_id"),
    ],
)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "exists"])
def test_what_cannot_be_pushed_is_refused_before_training(
    place: Workplace,
    hub: LocalHub,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
    exists: bool,
) -> None:
    """Also where the repository exists and can be read, which the stock trainer takes for good."""
    for name in ("me/ner-3", "others/ner") if exists else ():
        (hub.root / "models" / name).mkdir(parents=True)
    assert place.main(*place.arguments("refused", *SEQ_REPTILE, "--do_train", *PUSH, *arguments)) == 2
    assert re.search(f"error: --push_to_hub: .*{reason}", capsys.readouterr().err)
    assert not place.path("refused", "model.safetensors").exists()


def test_a_hub_that_cannot_be_reached_is_found_before_training(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with LocalHub(tmp_path) as hub:
        use(hub, monkeypatch, tmp_path)
    assert place.main(*place.arguments("refused", *SEQ_REPTILE, "--do_train", *PUSH)) == 2
    assert re.search(
        "error: --push_to_hub: .*Connection refused.*Try again, or train without", capsys.readouterr().err
    )


def test_a_push_needs_a_training(place: Workplace, hub: LocalHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.main(*place.arguments("out", "--do_eval", *PUSH)) == 2
    assert "--push_to_hub publishes what --do_train trains" in capsys.readouterr().err
    assert hub.requests == []


def test_stl_has_a_repository_for_each_language(
    place: Workplace, hub: LocalHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one cannot be pushed, the others are."""
    name = "hf_seqreptile.publishing.hub_repository.HfApi.create_commit"
    create_commit = huggingface_hub.HfApi.create_commit

    def fail_for_german(self: huggingface_hub.HfApi, repo_id: str, *args: object, **kwargs: object) -> CommitInfo:
        hub.faults = {"commit": 500} if repo_id.endswith("-de") else {}
        return create_commit(self, repo_id, *args, **kwargs)

    monkeypatch.setattr(name, fail_for_german)
    languages = ["--languages", "de", "sw", "--eval_languages", "de", "sw"]
    settings = ["--method", "stl", *languages, "--do_train", "--max_steps", "3"]
    assert place.main(*place.arguments("stl", *settings, *PUSH)) == 3
    captured = capsys.readouterr()
    assert f"hf upload me/ner-3-de {place.path('stl/de')} . " in captured.err
    assert "ner-3-sw" not in captured.err
    assert f"Pushed: {hub.url}/me/ner-3-sw" in captured.out
    assert arrived(hub, "me/ner-3-de") == {}
    assert arrived(hub, "me/ner-3-sw")["model.safetensors"] == place.files("stl/sw")["model.safetensors"]
    assert 'name = "me/ner-3-sw"' in arrived(hub, "me/ner-3-sw")["README.md"].decode()


# In Python.


def trained(folder: Path, **changes: object) -> tiny.MultiTaskMixin:
    settings = {"push_to_hub": True, "hub_model_id": "me/ner-3", "hub_token": WRITER, "max_steps": 10}
    trainer = tiny.trainer(folder, **settings | changes)  # type: ignore[arg-type]
    trainer.train()
    return trainer


def test_push_to_hub_writes_our_card(tmp_path: Path, hub: LocalHub) -> None:
    """Metadata survives the client's own classes and the Hub's check; what the user says is in it."""
    folder = tmp_path / "out"
    init = {
        "eval_dataset": tiny.tasks() | {"tr": tiny.task(5, 4)},
        "compute_metrics": lambda prediction: {"f1": 0.5 if prediction.predictions.size else 0.0},
    }
    trainer = trained(folder, save_strategy="steps", save_steps=3, init=init)
    assert arrived(hub) == {}, "published during training"
    trainer.save_model()
    assert arrived(hub) == {}, "published by saving"
    trainer.evaluate()
    # What HF's scripts pass.
    facts = {"finetuned_from": "google-bert/bert-base-cased", "tasks": "token-classification", "dataset": "WikiANN de"}
    result = trainer.push_to_hub(
        "Done", **facts, dataset_tags="unimelb-nlp/wikiann", license="mit", tags=["news"], metric=Metric("f1")
    )
    assert isinstance(result, CommitInfo) and result.commit_message == "Done"
    published = arrived(hub)
    assert published.keys() == MODEL | {"README.md", "training_args.json"}
    assert_private(published, str(tmp_path))
    weights = load_file(hub.root / "models/me/ner-3/model.safetensors")
    assert all(torch.equal(tensor, trainer.model.state_dict()[name]) for name, tensor in weights.items())

    # The server refuses a card whose metadata is none.
    assert ("POST", "/api/validate-yaml") in hub.requests
    card = ModelCard(published["README.md"].decode())
    data = card.data
    assert isinstance(data, ModelCardData)
    assert ModelCard(f"---\n{data.to_yaml()}\n---\n").data.to_dict() == data.to_dict()
    assert data.license == "mit" and data.library_name == "transformers" and data.model_name == "ner-3"
    assert data.base_model == "google-bert/bert-base-cased" and data.datasets == ["unimelb-nlp/wikiann"]
    assert data.tags == ["sequential-reptile", "multilingual", "news"] and data.language == ["de", "en", "sw"]
    results = {r.dataset_config: (r.metric_type, r.metric_value, r.dataset_split) for r in data.eval_results or []}
    assert results == dict.fromkeys(("de", "en", "sw", "tr"), ("f1", 0.5, "validation"))
    assert "Zero-shot (no training examples): tr." in card.text


def test_the_card_knows_no_scores_of_other_weights(tmp_path: Path, hub: LocalHub) -> None:
    """Those of an evaluation during training are of an earlier φ."""
    init = {"eval_dataset": tiny.tasks(), "compute_metrics": lambda prediction: {"f1": 0.5}}
    trainer = trained(tmp_path / "out", eval_strategy="steps", eval_steps=5, init=init)
    trainer.push_to_hub(metric=Metric("f1"))
    assert "model-index" not in arrived(hub)["README.md"].decode()


def test_a_future_and_a_branch(tmp_path: Path, hub: LocalHub) -> None:
    trainer = trained(tmp_path / "out", hub_revision="v2")
    result = trainer.push_to_hub(blocking=False)
    assert result is not None and not isinstance(result, CommitInfo)
    assert isinstance(result.result(timeout=60), CommitInfo)
    assert arrived(hub) == {}
    assert arrived(hub, "me/ner-3@v2").keys() >= MODEL
    hub.faults["commit"] = 500
    trainer.model.config.changed = True
    failing = trainer.push_to_hub(blocking=False)
    with pytest.raises(PushError, match="--revision v2"):
        failing.result(timeout=60)  # type: ignore[union-attr]


def test_without_the_argument_the_repository_is_made_at_the_push(tmp_path: Path, hub: LocalHub) -> None:
    trainer = trained(tmp_path / "a-model", push_to_hub=False, hub_model_id=None)
    assert hub.requests == []
    trainer.push_to_hub()
    assert arrived(hub, "me/a-model").keys() >= MODEL


def test_an_adapter_hides_where_its_base_model_is(tmp_path: Path, hub: LocalHub) -> None:
    """It loads from the Hub on any copy of the base model, and locally as before."""
    base, folder = tmp_path / "base", tmp_path / "out"
    tiny.model().save_pretrained(base)
    config = LoraConfig(task_type=TaskType.TOKEN_CLS, r=2, target_modules=["query"])
    model = get_peft_model(BertForTokenClassification.from_pretrained(base), config)
    trainer = trained(folder, of_model=model)
    hub.faults["commit"] = 500
    with pytest.raises(PushError, match=r"first set base_model_name_or_path in .* to null"):
        trainer.push_to_hub()
    hub.faults.clear()
    trainer.push_to_hub()
    published = arrived(hub)
    assert published.keys() >= {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert_private(published, str(tmp_path))
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert json.loads(published["adapter_config.json"])["base_model_name_or_path"] is None
    assert ModelCard(published["README.md"].decode()).data.get("library_name") == "peft"


def pushed(url: str, folder: Path) -> tuple[str, bool]:
    """One of several processes that train together and push."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(SimpleNamespace(url=url), monkeypatch, folder)  # type: ignore[arg-type]
        trainer = trained(folder / "out")
        result = trainer.push_to_hub()
    return type(result).__name__, trainer.is_world_process_zero()


@pytest.mark.slow
def test_one_of_several_processes_pushes(tmp_path: Path, hub: LocalHub) -> None:
    assert processes.together(2, pushed, hub.url, tmp_path) == [("CommitInfo", True), ("NoneType", False)]
    assert posted(hub) == ["create", "validate-yaml", "main", "batch", "main"]
    assert arrived(hub).keys() >= MODEL


def test_checkpoints_are_not_for_publishing(tmp_path: Path) -> None:
    for strategy in ("checkpoint", "all_checkpoints"):
        with pytest.raises(InputError, match=f"--hub_strategy {strategy} is not supported"):
            trained(tmp_path, hub_strategy=strategy)


def test_offline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        trained(tmp_path)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@given(st.sets(st.one_of(NAMES, st.sampled_from([*sorted(RUN), *DECOYS]))))
def test_only_named_files_are_published(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    """Whatever else a folder holds."""
    folder = tmp_path_factory.mktemp("folder")
    made = set()
    for name in names - {".", ".."}:
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")
        except OSError:  # such as a file where a folder is due
            continue
        made.add(name)
    published = set(published_files(folder))
    shutil.rmtree(folder)
    assert made & RUN <= published
    assert not published & set(DECOYS)
    ends = (".safetensors", ".py", ".model", ".jinja", ".index.json")
    assert all(n in RUN or n.startswith(("vocab", "tokenizer", "scores.")) or n.endswith(ends) for n in published)
