"""Files of arguments that nobody wrote in good faith."""

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from hf_seqreptile.console.arguments import parse_arguments
from hf_seqreptile.errors import InputError
from tests.fuzz.arguments import Arguments

BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", BOMB, "anchors"),
        ("c.yaml", "languages: &a [*a]\n", "anchors"),
        ("c.yaml", "method: !!python/object/apply:os.system [true]\n", "tags"),
        ("c.yaml", "inner_steps: !!int ''\n", "tags"),
        ("c.yaml", "languages: " + "[" * 10_000, "more than 32 levels"),
        ("c.yaml", "inner_steps: 1\ninner_steps: 2\n", "a name occurs twice"),
        ("c.yaml", "inner_steps: " + "9" * 5000, "Exceeds the limit"),
        ("c.yaml", "method: mtl\0", "not valid yaml"),
        ("c.yaml", "#" * 2**20 + "\n", "a regular file of at most 1,048,576 bytes"),
        ("c.json", "[" * 100_000, "within each other"),
        ("c.json", '{"inner_steps": 1, "inner_steps": 2}', "the key 'inner_steps' twice"),
        ("c.json", '{"inner_steps": %s}' % ("9" * 5000), "Exceeds the limit"),
    ],
    ids=range(12),
)  # fmt: skip
def test_refused_at_once(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(InputError, match=message) as caught:
        parse_arguments([Arguments], [str(path)])
    assert str(path) in str(caught.value)
    assert time.process_time() - began < 5


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"method: \xff")
    with pytest.raises(InputError, match="cannot be read: 'utf-8' codec can't decode byte 0xff"):
        parse_arguments([Arguments], [str(path)])


@pytest.mark.parametrize("target", ["/dev/zero", "."])
def test_no_regular_file(tmp_path: Path, target: str) -> None:
    pipe, link = tmp_path / "pipe.yaml", tmp_path / "link.yaml"
    os.mkfifo(pipe)
    link.symlink_to(target)
    for path in (pipe, link):
        with pytest.raises(InputError, match="must be a regular file"):
            parse_arguments([Arguments], [str(path)])


def test_a_byte_order_mark_dates_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufeffmethod: 2001-01-01\r\nlanguages: [no, de]\r\n".encode())
    (arguments,) = parse_arguments([Arguments], [str(path)])
    assert arguments.method == "2001-01-01" and arguments.languages == ["no", "de"]
