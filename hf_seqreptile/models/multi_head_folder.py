"""Where a model with several heads lies: a folder a head, the encoder's, and a file that names them."""

from pathlib import Path, PureWindowsPath

from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError
from ..json_text import parse_json

ENCODER, HEADS_FILE = "encoder", "heads.json"
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
    """Whether a finished model lies in the folder, with one head or several."""
    return (folder / SAFE_WEIGHTS_NAME).exists() or heads_in(folder) is not None


def encoder_folder(folder: str) -> str:
    """The folder that `AutoModel` loads the encoder of a finished model from; anything else stays as it is."""
    return str(Path(folder) / ENCODER) if heads_in(Path(folder)) is not None else folder


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
