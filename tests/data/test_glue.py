"""GLUE's files as they are distributed: rows, labels and splits as the Hub has them, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Value

from hf_seqreptile import InputError
from hf_seqreptile.data.build import Cache
from hf_seqreptile.data.glue import TASKS, GlueSource
from tests.hub_server import write_repository
from tests.scripts import ROOT, write

REAL = ROOT / "../shared/data/glue"
QUOTED = 'He said "no .'
FILES = {
    "CoLA/train.tsv": f"gj04\t1\t\tAnna laughs.\nks08\t0\t*\t{QUOTED}\n",
    "CoLA/test.tsv": "index\tsentence\n0\tAnna sings.\n",
    "MNLI/train.tsv": "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tAnna sleeps.\tAnna rests.\t-\tneutral\n",
    "MNLI/dev_matched.tsv": "index\tsentence1\tsentence2\tgold_label\n0\tA.\tB.\tcontradiction\n1\tC.\tD.\t-\n",
    "MNLI/dev_mismatched.tsv": "index\tsentence1\tsentence2\tgold_label\n0\tE.\tF.\tentailment\n",
    "MNLI/test_matched.tsv": "index\tsentence1\tsentence2\n0\tG.\tH.\n",
    "MRPC/train.tsv": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tA.\tB.\n0\t3\t4\tC.\tD.\n",
    "QNLI/dev.tsv": "index\tquestion\tsentence\tlabel\n0\tWho?\tAnna.\tnot_entailment\n",
    "QQP/train.tsv": "id\tqid1\tquestion1\tquestion2\tis_duplicate\n1\t1\tA?\tB?\t1\n2\t3\tC?\n3\t5\tE?\tF?\t0\n",
    "RTE/train.tsv": "index\tsentence1\tsentence2\tlabel\r\n0\tA.\tB.\tentailment\r\n",
    "SST-2/train.tsv": "sentence\tlabel\nfine and dandy \t1\n",
    "STS-B/train.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\tA.\tB.\t3.800\n",
    "STS-B/test.tsv": "index\tgenre\tsentence1\tsentence2\n0\tx\tA.\tB.\n",
    "WNLI/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t1\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    for name, content in FILES.items():
        write(folder / name, content)
    return folder


def read(folder: Path, task: str, split: str = "train") -> Dataset:
    return GlueSource([task], str(folder), Cache(str(folder / "cache")), None).read(task, split)


def rows(*args: Any) -> list[tuple]:
    return [tuple(row.values()) for row in read(*args)]


@pytest.mark.parametrize(
    ("task", "split", "expected"),
    [
        ("cola", "train", [("Anna laughs.", 1), (QUOTED, 0)]),
        ("cola", "test", [("Anna sings.", None)]),
        ("mnli", "train", [("Anna sleeps.", "Anna rests.", 1)]),
        ("mnli", "validation", [("A.", "B.", 2), ("C.", "D.", None)]),
        ("mnli-mm", "validation", [("E.", "F.", 0)]),
        ("mnli", "test", [("G.", "H.", None)]),
        ("mrpc", "train", [("A.", "B.", 1), ("C.", "D.", 0)]),
        ("qnli", "validation", [("Who?", "Anna.", 1)]),
        ("rte", "train", [("A.", "B.", 0)]),
        ("sst2", "train", [("fine and dandy ", 1)]),
        ("stsb", "train", [("A.", "B.", pytest.approx(3.8))]),
        ("stsb", "test", [("A.", "B.", None)]),
        ("wnli", "train", [("A.", "B.", 1)]),
    ],
)
def test_rows_of_every_task(folder: Path, task: str, split: str, expected: list[tuple]) -> None:
    dataset = read(folder, task, split)
    assert [tuple(row.values()) for row in dataset] == expected
    assert tuple(dataset.column_names) == (*TASKS[task].texts, "label")
    assert isinstance(dataset.features["label"], Value if task == "stsb" else ClassLabel)


def test_rows_of_qqp_that_lack_columns_are_left_out_and_told_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert rows(folder, "qqp") == [("A?", "B?", 1), ("E?", "F?", 0)]
    assert "train.tsv: 1 rows lack columns, and are left out." in caplog.text


def test_mrpc_as_microsoft_distributes_it(tmp_path: Path) -> None:
    """GLUE's list of ids tells the training rows from those held out."""
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    write(tmp_path / "MRPC/msr_paraphrase_train.txt", f'\ufeff{header}1\t1\t2\tA "x.\tB.\n0\t3\t4\tC.\tD.\n')
    write(tmp_path / "MRPC/msr_paraphrase_test.txt", f"{header}1\t5\t6\tE.\tF.\n")
    with pytest.raises(InputError, match=r"has no dev_ids\.tsv, which says which of msr_paraphrase_train"):
        read(tmp_path, "mrpc")
    write(tmp_path / "MRPC/dev_ids.tsv", "3\t4\n")
    assert rows(tmp_path, "mrpc") == [('A "x.', "B.", 1)]
    assert rows(tmp_path, "mrpc", "validation") == [("C.", "D.", 0)]
    assert rows(tmp_path, "mrpc", "test") == [("E.", "F.", 1)]


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("CoLA", "gj04\t1\t\tA.\ngj04\t1\tB.\n", r"train\.tsv, line 2: 3 values, not as many as the header has"),
        ("CoLA", "gj04\t2\t\tA.\n", r"line 1: `2` is not a label\. The task has unacceptable, acceptable"),
        ("RTE", "sentence1\tsentence2\tlabel\nA.\tB.\tneutral\n", "line 2: `neutral` is not a label"),
        ("RTE", "sentence1\tlabel\nA.\tentailment\n", "has no column 'sentence2', only sentence1, label"),
        ("STS-B", "sentence1\tsentence2\tscore\nA.\tB.\thigh\n", "line 2: `high` is not a number"),
        ("STS-B", "sentence1\tsentence2\tscore\nA.\tB.\tnan\n", "line 2: `nan` is not a number"),
        ("RTE", "sentence1\tsentence1\tlabel\nA.\tB.\tentailment\n", "line 1: a column occurs twice"),
        ("STS-B", "sentence1\tsentence2\nA.\tB.\n", "has no column 'score'"),
    ],
)
def test_files_that_are_wrong_are_refused(tmp_path: Path, task: str, content: str, message: str) -> None:
    write(tmp_path / task / "train.tsv", content)
    name = next(name for name, of in TASKS.items() if of.folder == task)
    with pytest.raises(InputError, match=message):
        read(tmp_path, name)


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"WNLI holds no validation\.tsv or valid\.tsv or val\.tsv or dev\.tsv"):
        read(folder, "wnli", "validation")
    with pytest.raises(InputError, match=r"--glue_dir .*/CoLA holds no folder RTE; each task has one there"):
        read(folder / "CoLA", "rte")
    source = GlueSource(["mnli"], str(folder), Cache(), None)
    with pytest.raises(InputError, match="--languages: mnli-mm has no training examples of its own; name mnli"):
        source.check("mnli-mm", "train", "--languages")
    with pytest.raises(InputError, match=r"--eval_languages: unknown task 'mnli_mm'\. Did you mean 'mnli-mm'"):
        source.check("mnli_mm", "validation", "--eval_languages")


def test_the_hub_has_a_configuration_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And MNLI's splits by genre, and -1 where labels are hidden."""
    pair = {"premise": "A.", "hypothesis": "B.", "label": 1, "idx": 0}
    close = {"sentence1": "A.", "sentence2": "B.", "label": 2.5, "idx": 0}
    splits = ("train", "validation_matched", "validation_mismatched", "test_matched")
    write_repository(
        tmp_path,
        "nyu-mll/glue",
        {
            "mnli": {split: [pair | {"hypothesis": split}] for split in splits},
            "stsb": {"validation": [close], "test": [close | {"label": -1.0}]},
        },
    )
    monkeypatch.setattr("hf_seqreptile.data.glue.GLUE", str(tmp_path / "datasets/nyu-mll/glue"))
    source = GlueSource(["mnli", "stsb"], None, Cache(str(tmp_path / "cache")), None)
    assert source.read("mnli", "train")["hypothesis"][:] == ["train"]
    assert source.read("mnli", "validation")["hypothesis"][:] == ["validation_matched"]
    assert source.read("mnli-mm", "validation")["hypothesis"][:] == ["validation_mismatched"]
    assert source.read("mnli", "test")["hypothesis"][:] == ["test_matched"]
    assert source.read("stsb", "validation")["label"][:] == [2.5]
    hidden = source.read("stsb", "test")
    assert hidden["label"][:] == [None] and hidden.features["label"].dtype.startswith("float")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs GLUE's files in ../shared/data")
@pytest.mark.parametrize(
    ("task", "split", "number", "positive"),
    [("cola", "train", 8551, 6023), ("mrpc", "validation", 408, 279), ("rte", "train", 2490, 1241),
     ("qnli", "validation", 5463, 2761), ("stsb", "validation", 1500, None)],
)  # fmt: skip
def test_the_real_files(tmp_path: Path, task: str, split: str, number: int, positive: int | None) -> None:
    """As many rows as the Hub has, and as many of the class 1."""
    dataset = GlueSource([task], str(REAL), Cache(str(tmp_path)), None).read(task, split)
    assert len(dataset) == number
    labels = dataset["label"][:]
    if positive is None:
        assert min(labels) == 0 and max(labels) == 5
    else:
        assert sum(labels) == positive
