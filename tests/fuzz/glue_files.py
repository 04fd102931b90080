"""GLUE's tab-separated files, and MRPC's."""

import math
from pathlib import Path
from typing import Any

from hf_seqreptile.data.glue import TASKS, GlueTask
from hf_seqreptile.data.glue_files import read_glue, read_msr
from tests.fuzz.reader import Reader


def read(data: bytes, folder: Path) -> None:
    """Each row has the columns of the task, and a label that is one, or is missing where it may be."""
    path = folder / "train.tsv"
    path.write_bytes(data)
    if data.startswith(b"\xef\xbb\xbfQuality"):
        of = TASKS["mrpc"]
        rows = read_msr(path, held_out=["1\t2"], wants_held_out=False, **_options(of))
    else:
        is_headed = data.startswith((b"index", b"id"))
        of = TASKS["stsb" if b"score" in data else "qqp" if b"is_dup" in data else "rte" if is_headed else "cola"]
        options = _options(of)
        rows = read_glue(path, header=of.header, may_lack_label=False, skips_short=of.skips_short, **options)
    for row in rows:
        assert tuple(row) == (*of.texts, "label")
        label = row["label"]
        assert label is None or (label in range(len(of.labels)) if of.labels else math.isfinite(label))


def _options(of: GlueTask) -> dict[str, Any]:
    return {"texts": of.texts, "names": of.in_files, "labels": of.labels}


READER = Reader(
    read,
    seeds=(
        b"gj04\t1\t\tAnna laughs.\nks08\t0\t*\tHe said \"no .\n",
        b"index\tsentence1\tsentence2\tlabel\r\n0\tA.\tB.\tentailment\r\n1\tC.\tD.\t-\r\n",
        b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\tA?\tB?\t1\n2\t3\t4\tC?\n",
        b"index\tsentence1\tsentence2\tscore\n0\tA.\tB.\t3.800\n1\tA.\tB.\tnan\n",
        b"\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tA.\tB.\n0\t3\t4\tC.\tD.\n",
    ),
    words=(
        b"\t", b"\n", b"\r", b"\r\n", b'"', b"label", b"score", b"is_duplicate", b"sentence1", b"Quality", b"-", b"1",
        b"inf", b"1e999", b"9" * 30, b"\xef\xbb\xbf", b"\0",
    ),
)  # fmt: skip
