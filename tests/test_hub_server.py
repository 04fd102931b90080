"""The real clients against ``hub_server.LocalHub``: what they load, what they ask for, and how they fail."""

import http.client
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from hub_server import (
    WIKIANN_ID,
    WIKIANN_LABELS,
    LocalHub,
    run_client,
    write_script_repository,
    write_wikiann_repository,
)
from transformers import BertConfig, BertModel, BertTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "habari", "dunia"]
WIKIANN = {
    "sw": {
        "validation": [(["Butiama", "ni", "kijiji"], ["B-LOC", "O", "O"])],
        "test": [(["CCM", "ilishinda"], ["B-ORG", "O"])],
        "train": [
            (["Julius", "Nyerere", "alizaliwa", "Butiama"], ["B-PER", "I-PER", "O", "B-LOC"]),
            (["Chuo", "Kikuu", "cha", "Nairobi"], ["B-ORG", "I-ORG", "I-ORG", "I-ORG"]),
        ],
    },
    # YAML reads a bare "no" as false; the card must keep it a name.
    "no": {"train": [(["Oslo"], ["B-LOC"])]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a hub's folder with the model "org/tiny" and the dataset "unimelb-nlp/wikiann"."""
    root = tmp_path / "served"
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(root / "models/org/tiny")
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    BertTokenizer(vocab=vocabulary).save_pretrained(root / "models/org/tiny")
    write_wikiann_repository(root, WIKIANN)
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[LocalHub]:
    with LocalHub(root) as hub:
        yield hub


def client(environment: dict[str, str], code: str) -> Any:
    """Run ``code`` in a new process and return what it printed as JSON.

    ``error(function, *arguments)`` is there for it to call: it returns the class and the message of what is raised.
    """
    prelude = """
        import json

        def error(function, *arguments, **options):
            try:
                function(*arguments, **options)
            except Exception as error:
                return [f"{type(error).__module__}.{type(error).__qualname__}", str(error)]
    """
    return json.loads(run_client(environment, textwrap.dedent(prelude) + textwrap.dedent(code)))


def request(hub: LocalHub, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    answer = response.status, dict(response.headers), response.read()
    connection.close()
    return answer


@pytest.mark.slow
def test_model_and_tokenizer(root: Path, tmp_path: Path) -> None:
    load = """
        from transformers import AutoModel, AutoTokenizer

        model, tokenizer = AutoModel.from_pretrained("org/tiny"), AutoTokenizer.from_pretrained("org/tiny")
        states = model(**tokenizer("habari dunia", return_tensors="pt")).last_hidden_state
        print(json.dumps(states.tolist()))
    """
    with LocalHub(root) as hub:
        environment = hub.environment(tmp_path / "cache")
        online = client(environment, load)
    model = BertModel.from_pretrained(root / "models/org/tiny")
    torch.testing.assert_close(torch.tensor(online), model(torch.tensor([[2, 5, 6, 3]])).last_hidden_state)
    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(hub.downloads()) == [f"models/org/tiny/{file}" for file in files]
    assert all(target.startswith("/") for _, target in hub.requests)
    # The server is stopped now.
    assert client(environment | {"HF_HUB_OFFLINE": "1"}, load) == online


@pytest.mark.slow
def test_dataset(root: Path, tmp_path: Path) -> None:
    load = """
        import datasets

        data = datasets.load_dataset("unimelb-nlp/wikiann", "sw")
        rows = {split: data[split].to_list() for split in data}
        print(json.dumps([rows, data["train"].features["ner_tags"].feature.names]))
    """
    with LocalHub(root) as hub:
        environment = hub.environment(tmp_path / "cache")
        rows, names = client(environment, load)
    assert names == WIKIANN_LABELS
    assert rows["train"][0] == {
        "tokens": ["Julius", "Nyerere", "alizaliwa", "Butiama"],
        "ner_tags": [1, 2, 0, 5],
        "langs": ["sw", "sw", "sw", "sw"],
        "spans": ["PER: Julius Nyerere", "LOC: Butiama"],
    }
    assert {split: len(sentences) for split, sentences in rows.items()} == {"validation": 1, "test": 1, "train": 2}
    repository = f"datasets/{WIKIANN_ID}"
    splits = ["test", "train", "validation"]
    expected = [f"{repository}/README.md", *(f"{repository}/sw/{split}-00000-of-00001.parquet" for split in splits)]
    assert sorted(hub.downloads()) == expected
    elsewhere = [target for _, target in hub.requests if not target.startswith("/")]
    assert elsewhere == [f"{hub.url.replace('://', '://datasets-server.')}/info?dataset={WIKIANN_ID}"]
    # The server is stopped now.
    assert client(environment | {"HF_HUB_OFFLINE": "1"}, load) == [rows, names]


@pytest.mark.slow
def test_config_names_and_errors(hub: LocalHub, tmp_path: Path) -> None:
    names, missing_config, missing_repository, missing_revision, missing_model = client(
        hub.environment(tmp_path),
        """
        from datasets import get_dataset_config_names, load_dataset
        from transformers import AutoConfig

        answers = [
            get_dataset_config_names("unimelb-nlp/wikiann"),
            error(load_dataset, "unimelb-nlp/wikiann", "xx"),
            error(load_dataset, "org/missing", "sw"),
            error(load_dataset, "unimelb-nlp/wikiann", "sw", revision="v9"),
            error(AutoConfig.from_pretrained, "org/missing"),
        ]
        print(json.dumps(answers))
        """,
    )
    assert names == ["sw", "no"]
    assert missing_config == ["builtins.ValueError", "BuilderConfig 'xx' not found. Available: ['sw', 'no']"]
    not_found = "datasets.exceptions.DatasetNotFoundError"
    assert missing_repository == [not_found, "Dataset 'org/missing' doesn't exist on the Hub or cannot be accessed."]
    assert missing_revision == [not_found, f"Revision 'v9' doesn't exist for dataset '{WIKIANN_ID}' on the Hub."]
    assert missing_model[0] == "builtins.OSError"
    assert missing_model[1].startswith("org/missing is not a local folder and is not a valid model identifier")


def test_hub_calls(hub: LocalHub, root: Path, tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from huggingface_hub import HfApi, HfFileSystem, snapshot_download

        api, repository = HfApi(), dict(repo_id="{WIKIANN_ID}", repo_type="dataset")
        parquet = HfFileSystem().open("datasets/{WIKIANN_ID}/sw/test-00000-of-00001.parquet", block_size=100)
        parquet.seek(-4, 2)
        answers = dict(
            sha=api.repo_info(**repository).sha,
            files=api.list_repo_files(**repository),
            top=[entry.path for entry in api.list_repo_tree(**repository)],
            paths=[entry.path for entry in api.get_paths_info(paths=["README.md", "sw", "none"], **repository)],
            snapshot=Path(snapshot_download(**repository)).name,
            magic=parquet.read().decode(),
            missing_folder=error(lambda: list(api.list_repo_tree(path_in_repo="xx", **repository)))[0],
            whoami=error(api.whoami, token="hf_unknown")[0],
        )
        print(json.dumps(answers))
    """
    environment = hub.environment(tmp_path / "cache")
    answers = client(environment, code)
    sha = answers["sha"]
    languages = {"no": ["train"], "sw": ["test", "train", "validation"]}
    files = [f"{key}/{split}-00000-of-00001.parquet" for key, splits in languages.items() for split in splits]
    assert answers == {
        "sha": sha,
        "files": ["README.md", *files],
        "top": ["README.md", "no", "sw"],
        "paths": ["README.md", "sw"],
        "snapshot": sha,
        "magic": "PAR1",
        "missing_folder": "huggingface_hub.errors.RemoteEntryNotFoundError",
        "whoami": "huggingface_hub.errors.HfHubHTTPError",
    }
    # A changed file is a new commit, of which only that file is downloaded.
    hub.requests.clear()
    with (root / "datasets" / WIKIANN_ID / "README.md").open("a") as card:
        card.write("More.\n")
    assert client(environment, code)["snapshot"] != sha
    assert f"datasets/{WIKIANN_ID}/README.md" in hub.downloads()
    assert f"datasets/{WIKIANN_ID}/sw/train-00000-of-00001.parquet" not in hub.downloads()


@pytest.mark.slow
def test_parquet_branch(root: Path, tmp_path: Path) -> None:
    """A script is refused, and the branch with the copy looks to `datasets` as if it had one configuration."""
    write_script_repository(root, "org/pairs", {config: {"test": [{"id": config}]} for config in ("de.de", "de.en")})
    with LocalHub(root) as hub:
        scripts, names, ids, branch, main = client(
            hub.environment(tmp_path),
            """
            from datasets import get_dataset_config_names, load_dataset
            from huggingface_hub import HfApi

            copy, api = dict(revision="refs/convert/parquet"), HfApi()
            answers = [
                error(get_dataset_config_names, "org/pairs"),
                get_dataset_config_names("org/pairs", **copy),
                load_dataset("org/pairs", split="test", **copy)["id"][:],
                api.list_repo_files("org/pairs", repo_type="dataset", **copy),
                api.list_repo_files("org/pairs", repo_type="dataset"),
            ]
            print(json.dumps(answers))
            """,
        )
    assert scripts == ["builtins.RuntimeError", "Dataset scripts are no longer supported, but found pairs.py"]
    assert names == ["default"]
    assert ids == ["de.de", "de.en"]
    assert branch == ["de.de/test/0000.parquet", "de.en/test/0000.parquet"]
    assert main == ["README.md", "pairs.py"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/org/missing", "RepoNotFound"),
        ("/api/models/org/tiny/revision/v9", "RevisionNotFound"),
        ("/org/tiny/resolve/v9/config.json", "RevisionNotFound"),
        ("/org/tiny/resolve/main/adapter_config.json", "EntryNotFound"),
        ("/org/tiny/resolve/main/../../../datasets/unimelb-nlp/wikiann/README.md", "EntryNotFound"),
        ("/bert-base-cased/resolve/main/config.json", "RepoNotFound"),
        ("/datasets/org/tiny/resolve/main/config.json", "RepoNotFound"),
        ("/api/unknown", None),
    ],
)
def test_not_found(hub: LocalHub, path: str, code: str | None) -> None:
    status, headers, _ = request(hub, "GET", path, {})
    assert status == 404
    assert headers.get("X-Error-Code") == code
    assert ("X-Repo-Commit" in headers) == (code == "EntryNotFound")


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [(None, 200, slice(0, None)), ("bytes=3-5", 206, slice(3, 6)), ("bytes=2-", 206, slice(2, None))],
)
def test_ranges(hub: LocalHub, root: Path, wanted: str | None, status: int, part: slice) -> None:
    content = (root / "models/org/tiny/config.json").read_bytes()
    ranged = {"Range": wanted} if wanted else {}
    answer = request(hub, "GET", "/org/tiny/resolve/main/config.json", ranged)
    assert answer[0] == status
    assert answer[2] == content[part]
    head = request(hub, "HEAD", "/org/tiny/resolve/main/config.json", {})
    assert head[2] == b""
    assert head[1]["Content-Length"] == str(len(content))
    assert head[1]["ETag"] == answer[1]["ETag"]
    assert len(head[1]["X-Repo-Commit"]) == 40


def test_range_past_the_end(hub: LocalHub) -> None:
    status, headers, _ = request(hub, "GET", "/org/tiny/resolve/main/config.json", {"Range": "bytes=1000000-"})
    assert status == 416
    assert headers["Content-Range"].startswith("bytes */")
