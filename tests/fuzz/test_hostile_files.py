"""Data files that nobody wrote in good faith: each is read, or refused by name, in little time and memory."""

import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_seqreptile.data import load_tasks
from hf_seqreptile.data.conll import read_conll
from hf_seqreptile.data.csv_file import read_csv
from hf_seqreptile.data.json_file import read_json, read_json_lines
from hf_seqreptile.errors import InputError
from tests.data.conftest import Words

READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".conll": read_conll,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".csv": lambda path: read_csv(path, ("tokens", "ner_tags")),
}
SOUND = {
    ".conll": "{}\tB-PER\nlacht\tO\n",
    ".json": '[{{"tokens": ["{}", "lacht"], "ner_tags": ["B-PER", "O"]}}]',
    ".jsonl": '{{"tokens": ["{}", "lacht"], "ner_tags": ["B-PER", "O"]}}\n',
    ".csv": "tokens,ner_tags\n{} lacht,B-PER O\n",
}
"""A sentence in each format, its first word left out."""
ESCAPE, OVERRIDE = "\x1b[31m", "\u202e"
"""What colours a terminal, and what turns the direction of writing."""


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[Path], str]:
    """The message with which `load_tasks` refuses a file, which it names."""

    def call(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            load_tasks(Words(train_file=[f"de={path}"]), ["train"], cache_dir=str(tmp_path / "cache"))
        assert str(path) in str(caught.value)
        return str(caught.value)

    return call


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(READERS[path.suffix](path))


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", SOUND)
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, suffix: str) -> None:
    text = SOUND[suffix].format("Anna")
    expected = rows_of(write(tmp_path / f"de{suffix}", text))
    assert expected == [{"tokens": ["Anna", "lacht"], "ner_tags": ["B-PER", "O"]}]
    assert rows_of(write(tmp_path / f"de{suffix}", "\ufeff" + text.replace("\n", "\r\n"))) == expected


@pytest.mark.parametrize("suffix", SOUND)
@pytest.mark.parametrize(("content", "what"), [(b"\0", "a NUL byte"), (b"\xff", "byte 0xff")])
def test_bytes_that_are_no_text(tmp_path: Path, suffix: str, content: bytes, what: str) -> None:
    before, after = SOUND[suffix].format("|").encode().split(b"|")
    with pytest.raises(InputError, match=f"de{suffix}, line [12]: {what}"):
        rows_of(write(tmp_path / f"de{suffix}", before + content + after))


@pytest.mark.parametrize("suffix", SOUND)
def test_a_word_of_a_megabyte(tmp_path: Path, suffix: str) -> None:
    """It is read, in a few times its own memory; a CSV file's values have a limit, which the message gives."""
    path = write(tmp_path / f"de{suffix}", SOUND[suffix].format("x" * 10**6))
    tracemalloc.start()
    try:
        if suffix == ".csv":
            with pytest.raises(InputError, match=r"line 2: not CSV .* at most 131,072 characters"):
                rows_of(path)
        else:
            assert len(rows_of(path)[0]["tokens"][0]) == 10**6
        assert tracemalloc.get_traced_memory()[1] < 10 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", SOUND)
def test_controls_in_a_message_are_escaped(tmp_path: Path, suffix: str) -> None:
    """Neither colours nor another direction of writing reach the terminal."""
    broken = {
        ".conll": f"a\tO\n{ESCAPE}{OVERRIDE}\tB-\n",
        ".json": json.dumps([f"{ESCAPE}{OVERRIDE}"]),
        ".jsonl": json.dumps(f"{ESCAPE}{OVERRIDE}"),
        ".csv": f"tokens,ner_tags\n['{ESCAPE}{OVERRIDE},O\n",
    }
    with pytest.raises(InputError) as caught:
        rows_of(write(tmp_path / f"de{suffix}", broken[suffix]))
    message = str(caught.value)
    assert r"\x1b[31m\u202e" in message and message.isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "within each other"),
        ('{"a":' * 100_000, "within each other"),
        ('[{"a": ' + "[" * 40 + "]" * 40 + "}]", "within each other more than 32 deep"),
        ('[{"a": 1, "a": 2}]', "the key 'a' twice"),
        ('[{"a": %s}]' % ("9" * 5000), "Exceeds the limit (4300 digits)"),
        ('[{"a": "\\ud800"}]', "half of a character"),
        ('[{"a": %s}]' % ("9" * 40), "do not fit"),
    ],
)  # fmt: skip
def test_json_that_python_would_fail_on_or_change(
    tmp_path: Path, refusal: Callable[[Path], str], text: str, message: str
) -> None:
    assert message in refusal(write(tmp_path / "de.json", text))
    assert message in refusal(write(tmp_path / "de.jsonl", text[1:-1] if text.endswith("]") else text))


def test_numbers_of_answers_beyond_all_measure(tmp_path: Path) -> None:
    text = f"context,question,answer_text,answer_start\nAnna.,Who?,Anna,{'9' * 5000}\n"
    with pytest.raises(InputError, match=r"row 1 .*`answer_start` is `999"):
        rows_of(write(tmp_path / "de.csv", text))


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "empty"), [(".conll", "\n"), (".jsonl", '{"tokens": [], "ner_tags": []}\n')])
def test_a_million_empty_sentences(tmp_path: Path, suffix: str, empty: str) -> None:
    """Memory does not grow with the file."""
    path = write(tmp_path / f"de{suffix}", empty * 10**6 + SOUND[suffix].format("Anna"))
    tracemalloc.start()
    try:
        assert sum(1 for row in READERS[suffix](path) if row["tokens"]) == 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [*SOUND, ".parquet"])
def test_what_is_no_regular_file(tmp_path: Path, refusal: Callable[[Path], str], suffix: str) -> None:
    """A pipe would be waited for without end, and a device has no end."""
    pipe, device, lost = (tmp_path / f"{name}{suffix}" for name in ("pipe", "device", "lost"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    lost.symlink_to(tmp_path / "nowhere")
    for path in (pipe, device):
        assert "is neither a regular file nor a folder" in refusal(path)
        with pytest.raises(InputError, match="Give a regular file, no pipe or device"):
            load_tasks(Words(train_file=[str(tmp_path)]), ["train"])
        path.unlink()
    assert "does not exist" in refusal(lost)
    with pytest.raises(InputError, match="Give a regular file, no pipe or device"):
        load_tasks(Words(train_file=[str(tmp_path)]), ["train"])


def test_a_link_to_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "de.conll").symlink_to(write(tmp_path / "there.conll", SOUND[".conll"].format("Anna")))
    args = Words(train_file=[f"de={tmp_path / 'de.conll'}"])
    assert len(load_tasks(args, ["train"], cache_dir=str(tmp_path / "cache"))["train"]["de"]) == 1


def test_a_file_cut_short(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"tokens": [["a"]] * 100, "ner_tags": [["O"]] * 100}), buffer)
    whole = buffer.getvalue()
    assert "cannot be read" in refusal(write(tmp_path / "de.parquet", whole[: len(whole) // 2]))
    assert "line 3: not CSV" in refusal(write(tmp_path / "de.csv", 'tokens,ner_tags\na,O\n"b c'))


@pytest.mark.parametrize(
    "features",
    [
        "null", "[]", "{", "1", '{"info": 1}', '{"info": {"features": []}}', '{"info": {"features": {"a": 1}}}',
        '{"info": {"features": {"a": {"_type": "Nothing"}}}}', '{"info": {"features": {"a": {"_type": "Value"}}}}',
        '{"info": {"features": {"a": {"_type": "Value", "dtype": "int999"}}}}', "[" * 5000,
        '{"info": {"features": {"b": {"_type": "Value", "dtype": "string"}}}}',
    ],
)  # fmt: skip
def test_metadata_of_a_parquet_file(tmp_path: Path, refusal: Callable[[Path], str], features: str) -> None:
    """What `datasets` itself keeps in such files, and trusts."""
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({"huggingface": features})
    path = parquet(tmp_path / "de.parquet", table)
    try:
        load_tasks(Words(train_file=[f"de={path}"]), ["train"], cache_dir=str(tmp_path / "cache"))
    except InputError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("name", ["", " ", "</script><b>", "=cmd()", ESCAPE, OVERRIDE, "a\0b", "../../x", "x" * 5000])
def test_columns_with_any_name(tmp_path: Path, name: str) -> None:
    """A column that nothing asks for does no harm, or the file is refused."""
    row = {"tokens": ["a"], "ner_tags": ["O"], name: 1}
    files = [
        write(tmp_path / "json" / "de.json", json.dumps([row])),
        parquet(tmp_path / "parquet" / "de.parquet", pa.Table.from_pylist([row])),
    ]
    for path in files:
        try:
            loaded = load_tasks(Words(train_file=[f"de={path}"]), ["train"], cache_dir=str(tmp_path / "cache"))
            assert loaded["train"]["de"][0]["tokens"] == ["a"]
        except InputError as error:
            assert str(path) in str(error)
