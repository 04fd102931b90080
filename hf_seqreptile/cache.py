"""Where this package keeps what takes long to make."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The environment variable HF_SEQREPTILE_CACHE, else hf_seqreptile in $XDG_CACHE_HOME, else in ~/.cache."""
    chosen = os.environ.get("HF_SEQREPTILE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen).expanduser() if chosen else Path(base).expanduser() / "hf_seqreptile"
