"""Which tasks datasets of the Hub have, as the real clients learn it from a real HTTP server."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hub_server import LocalHub, run_client, write_repository, write_script_repository

# Run by a process of its own: `HF_ENDPOINT` and `HF_HUB_OFFLINE` are read on import.
CLIENT = textwrap.dedent("""
    import datasets, json, os, sys
    from hf_seqreptile.data import DataArguments, load_tasks
    from hf_seqreptile.errors import InputError

    class Questions(DataArguments):
        id_names_task = True

    def load(splits, arguments):
        try:
            loaded = load_tasks(Questions(**arguments), splits)
        except InputError as error:
            return str(error)
        return {split: {task: data["id"][:] for task, data in tasks.items()} for split, tasks in loaded.items()}

    if name := os.environ.get("CACHED"):
        datasets.load_dataset(name, revision="refs/convert/parquet")
    print(json.dumps([load(*call) for call in json.loads(sys.argv[1])]))
""")
XQUAD = "google/xquad"
MLQA = "facebook/mlqa"
XNLI = "facebook/xnli"
TYDIQA = "google-research-datasets/tydiqa"
BARE = "org/bare"


def question(name: str) -> dict[str, Any]:
    return {"id": name, "context": "Rome", "question": "Where?", "answers": {"text": ["Rome"], "answer_start": [0]}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    xquad = {f"xquad.{task}": {"validation": [question(f"5733{task}")]} for task in ("ar", "de", "zh")}
    write_repository(root, XQUAD, xquad)
    pairs = (
        "mlqa-translate-train.de",
        "mlqa-translate-train.es",
        "mlqa.ar.ar",
        "mlqa.ar.de",
        "mlqa.de.de",
        "mlqa.de.ar",
    )
    write_script_repository(
        root, MLQA, {pair: {split: [question(pair + split)] for split in ("validation", "test")} for pair in pairs}
    )
    xnli = {task: {"train": [{"id": task, "premise": task}]} for task in ("de", "sw")}
    write_repository(root, XNLI, {"all_languages": {"train": [{"id": "all", "premise": {"de": "a"}}]}, **xnli})
    ids = {"train": ["swahili--17-2", "korean-3-0", "swahili-4-1"], "validation": ["korean-5-0", "swahili-6-1"]}
    write_repository(
        root,
        TYDIQA,
        {
            "primary_task": {"train": [{"language": "swahili"}]},
            "secondary_task": {split: [question(name) for name in names] for split, names in ids.items()},
        },
    )
    write_script_repository(root, BARE, {})
    return root


def ask(environment: dict[str, str], *calls: tuple[list[str], dict[str, Any]]) -> list[Any]:
    """What `load_tasks` says to each (splits, arguments): ids by split and task, or its refusal."""
    return json.loads(run_client(environment, CLIENT, json.dumps(calls)))


def test_tasks_of_hub_datasets(served: Path, tmp_path: Path) -> None:
    evaluation = ["validation"]
    german_xquad = (evaluation, {"dataset_name": XQUAD, "languages": ["de"]})
    two_mlqa = (["validation", "test"], {"dataset_name": MLQA, "languages": ["ar", "de"]})
    swahili = {"dataset_name": TYDIQA, "dataset_config_name": "secondary_task", "languages": ["swahili"]}
    with LocalHub(served) as hub:
        environment = hub.environment(tmp_path)
        # As versions of `datasets` did that ran scripts; later ones answer from such a cache.
        answers = ask(
            environment | {"CACHED": MLQA},
            (evaluation, {"dataset_name": XQUAD}),
            german_xquad,
            (evaluation, {"dataset_name": XQUAD, "languages": ["xx"]}),
            (evaluation, {"dataset_name": MLQA}),
            two_mlqa,
            (evaluation, {"dataset_name": MLQA, "languages": ["mlqa.de.ar", "mlqa-translate-train.de"]}),
            (["train", "validation"], {**swahili, "languages": None, "eval_dataset": MLQA, "eval_languages": ["de"]}),
            (["train"], {"dataset_name": XNLI}),
            (["train"], {"dataset_name": XNLI, "languages": ["all_languages"]}),
            (["train", "validation"], swahili),
            (["train"], {**swahili, "languages": ["dutch"]}),
            (["test"], swahili),
            (["train"], {"dataset_name": BARE}),
        )
    (
        xquad, xquad_de, xquad_xx, mlqa, mlqa_two, mlqa_pairs, zero_shot, xnli, xnli_all, tydiqa, dutch, no_test, bare
    ) = answers  # fmt: skip
    assert xquad == {"validation": {"ar": ["5733ar"], "de": ["5733de"], "zh": ["5733zh"]}}
    assert xquad_de == {"validation": {"de": ["5733de"]}}
    assert xquad_xx == "--languages: unknown language 'xx'. Known: ar, de, zh."
    assert mlqa == {"validation": {"ar": ["mlqa.ar.arvalidation"], "de": ["mlqa.de.devalidation"]}}
    assert mlqa_two == mlqa | {"test": {"ar": ["mlqa.ar.artest"], "de": ["mlqa.de.detest"]}}
    assert mlqa_pairs["validation"] == {
        pair: [f"{pair}validation"] for pair in ("mlqa.de.ar", "mlqa-translate-train.de")
    }
    swahili_and_korean = {"swahili": ["swahili--17-2", "swahili-4-1"], "korean": ["korean-3-0"]}
    assert zero_shot == {"train": swahili_and_korean, "validation": {"de": ["mlqa.de.devalidation"]}}
    assert xnli == {"train": {"de": ["de"], "sw": ["sw"]}}
    assert xnli_all == {"train": {"all_languages": ["all"]}}
    assert tydiqa == {
        "train": {"swahili": ["swahili--17-2", "swahili-4-1"]},
        "validation": {"swahili": ["swahili-6-1"]},
    }
    assert dutch == "--languages: unknown language 'dutch'. Known: korean, swahili."
    assert no_test.startswith(f"--dataset_name {TYDIQA} has no split 'test', only train, validation.")
    assert bare.startswith(f"--dataset_name {BARE}: Dataset scripts are no longer supported, but found bare.py.")
    # The server is stopped now.
    offline = ask(environment | {"HF_HUB_OFFLINE": "1"}, german_xquad, two_mlqa, (["train", "validation"], swahili))
    assert offline == [xquad_de, mlqa_two, tydiqa]
