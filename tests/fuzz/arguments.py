"""Files of arguments, through the scripts' own parser."""

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from hf_seqreptile.console.arguments import parse_arguments
from tests.fuzz.reader import Reader


@dataclass
class Arguments:
    """One of each kind that the scripts have."""

    method: str = field(default="mtl", metadata={"help": "A text."})
    inner_steps: int | None = field(default=None, metadata={"help": "A number that may be missing."})
    learning_rate: float = field(default=0.1, metadata={"help": "A number."})
    do_train: bool = field(default=False, metadata={"help": "A truth value."})
    languages: list[str] | None = field(default=None, metadata={"nargs": "+", "help": "Texts."})


def _read(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    # A value of the wrong type ends the process as argparse does.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            parse_arguments([Arguments], [str(path)])
        except SystemExit as exit_:
            if exit_.code not in (0, 2):
                raise


def read_yaml(data: bytes, folder: Path) -> None:
    """As `run_ner.py config.yaml` does."""
    _read(data, folder / "config.yaml")


def read_json(data: bytes, folder: Path) -> None:
    """As `run_ner.py config.json` does."""
    _read(data, folder / "config.json")


YAML = Reader(
    read_yaml,
    seeds=(
        b"method: seq_reptile\ninner_steps: 1000\nlearning_rate: 1e-4\ndo_train: true\nlanguages: [de, no]\n",
        b"languages:\n- de\n- sw\n",
        b"method: {a: 2001-01-01, b: [1, null]}\n",
        b"a: &a [x]\nb: [*a, *a]\n",
    ),
    words=(
        b": ", b"\n", b"- ", b"[", b"]", b"{", b"}", b"&a", b"*a", b"!!int", b"!!python/object:os.system", b"<<: ",
        b"? ", b"--- ", b"|", b">", b"'", b'"', b"method", b"inner_steps", b"2001-99-99", b".inf", b"0x", b"1:60",
        b"9" * 5000, b"[" * 2000, b"\0", b"\xef\xbb\xbf",
    ),
    names_file=False,
)  # fmt: skip
JSON = Reader(
    read_json,
    seeds=(b'{"method": "seq_reptile", "inner_steps": 1000, "do_train": true, "languages": ["de", "no"]}',),
    words=(b'"method": ', b'"inner_steps": ', b"[", b"]", b"{", b"}", b",", b"null", b"NaN", b"9" * 5000, b"[" * 2000),
    names_file=False,
)
