"""Where a model with several heads lies: a folder a head, the encoder's, and a file that names them."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath

from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError
from ..json_text import parse_json

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ENCODER, HEADS_FILE = "encoder", "heads.json"
SCRATCH = ".heads-"
"""What the name of a folder begins with in which a model is written before it takes its place."""
OTHER_FOLDERS = ("runs", "clusters", "logs")
"""What else an output folder may hold."""
SUFFIXES_OF_FILES = (".json", ".jsonl", ".md", ".txt", ".png", ".safetensors")


def heads_in(folder: Path) -> list[str] | None:
    """The heads of the model with several heads in a folder; `None` if there is no such model."""
    try:
        heads = parse_json((folder / HEADS_FILE).read_text(encoding="utf-8"))["heads"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return [str(name) for name in heads]


def holds_model(folder: Path) -> bool:
    """Whether a finished model lies in the folder, whole or as adapters, with one head or several."""
    return (
        any((folder / name).exists() for name in (SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS)) or heads_in(folder) is not None
    )


def replace_heads(folder: Path, heads: Sequence[str], write: Callable[[Path], None]) -> None:
    """Write a model with several heads into a folder; those of an earlier one are removed.

    They appear together: where writing fails, as on a full disk, those of before are still there.

    Args:
        folder: where; made if it does not exist.
        heads: their names, which go into `heads.json`.
        write: fills an empty folder with a folder for each head, and the encoder's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{SCRATCH}*"):
        # By a process that was killed.
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        old, new = Path(scratch) / "old", Path(scratch) / "new"
        old.mkdir()
        new.mkdir()
        write(new)
        text = json.dumps({"heads": list(heads)}, indent=2, ensure_ascii=False)
        (new / HEADS_FILE).write_text(text + "\n", encoding="utf-8")
        # The file that names the heads goes first and comes last: it says that all the others are there.
        for name in dict.fromkeys([HEADS_FILE, *(heads_in(folder) or []), *heads, ENCODER]):
            if (folder / name).exists():
                (folder / name).rename(old / name)
        for name in (*heads, ENCODER, HEADS_FILE):
            (new / name).rename(folder / name)


def check_head_name(name: str) -> str:
    """Return `name` if a folder of an output folder can be called that.

    Raises:
        InputError: it cannot.
    """
    is_taken = name in (ENCODER, *OTHER_FOLDERS) or name.startswith("checkpoint-") or name.endswith(SUFFIXES_OF_FILES)
    if not name or is_taken or name[0] == "." or not name.isprintable() or PureWindowsPath(name).name != name:
        raise InputError(
            f"A head cannot be called {name!r}: it names a folder, beside those of the encoder and the checkpoints "
            f"and the files of a run. Rename it."
        )
    return name
