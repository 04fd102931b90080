"""What methods with their settings are called: for people, and in names of files."""

import re
from collections.abc import Sequence

from ..analysis.labels import SYMBOLS


def label_of(method: str, arguments: Sequence[str]) -> str:
    """A method with its arguments by their symbols: `seq_reptile, K=20, η=0.5`."""
    named: list[list[str]] = []
    for part in arguments:
        if part.startswith("--"):
            name, _, value = part[2:].partition("=")
            named.append([SYMBOLS.get(name, name), *([value] if value else [])])
        elif named:
            named[-1].append(part)
    return ", ".join([method, *("=".join([name, *([" ".join(values)] if values else [])]) for name, *values in named)])


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    text = text.replace("α", "lr").replace("η", "eta")
    return re.sub(r"[^\w.=+]+", "-", text).strip("-")
