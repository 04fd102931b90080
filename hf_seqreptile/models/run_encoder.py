"""`RUN/encoder`: what a next run starts from, the encoder of a finished run without its heads."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModel
from transformers.utils import CONFIG_NAME

from ..errors import InputError
from ..json_text import parse_json
from .multi_head_folder import ADAPTER_WEIGHTS, ENCODER, heads_in, holds_model

logger = logging.getLogger(__name__)


def run_of(path: str) -> Path | None:
    """The finished run whose encoder `path` is, as `RUN/encoder`; `None` of any other path."""
    place = Path(path)
    is_encoder = place.name == ENCODER and holds_model(place.parent)
    return place.parent if is_encoder else None


def encoder_folder(path: str) -> str:
    """The folder that `AutoModel` loads the encoder of a finished run from; anything else stays as it is.

    A run with several heads has a folder for it; that of one with a single head lies in the run's own.

    Args:
        path: `RUN`, `RUN/encoder`, or any model.
    """
    if heads_in(Path(path)) is not None:
        return str(Path(path) / ENCODER)
    run = run_of(path)
    return str(run) if run is not None and heads_in(run) is None else path


@contextmanager
def without_head(path: str, trust_remote_code: bool = False) -> Iterator[str]:
    """A folder that has the encoder of a run alone, so that any head on it is new; any other path stays as it is.

    Args:
        path: `RUN/encoder`, or any model.
        trust_remote_code: as of `from_pretrained`.

    Raises:
        InputError: the run is an adapter's.
    """
    run = run_of(path)
    if run is None:
        yield path
        return
    heads = heads_in(run)
    if heads is not None:
        logger.warning("%s: the heads %s are left behind.", path, ", ".join(heads))
        yield path
        return
    if (run / ADAPTER_WEIGHTS).exists():
        raise InputError(
            f"{run} holds adapters, and no encoder of its own. Merge them into their model, as docs/lora.md shows, "
            f"and give the folder of what comes out."
        )
    # What is drawn here is dropped below, and must not change what comes after.
    with torch.random.fork_rng(devices=[]):
        model, found = AutoModel.from_pretrained(
            run, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust_remote_code
        )
    (kind,) = parse_json((run / CONFIG_NAME).read_text(encoding="utf-8")).get("architectures") or ("model",)
    left = ", ".join(sorted({name.partition(".")[0] for name in found["unexpected_keys"]})) or "none"
    logger.warning("%s: the head of the %s is left behind (%s).", path, kind, left)
    with tempfile.TemporaryDirectory(prefix=f"{ENCODER}-") as folder:
        weights = {name: value for name, value in model.state_dict().items() if name not in found["missing_keys"]}
        model.save_pretrained(folder, state_dict=weights)
        for file in run.iterdir():
            # The tokenizer's files, or the image processor's.
            if file.is_file() and file.suffix != ".safetensors" and not (Path(folder) / file.name).exists():
                (Path(folder) / file.name).symlink_to(file.resolve())
        yield folder
