"""JSON from files that anybody may have written: what Python's own reader fails on or silently changes is refused.

And JSON of many numbers, which Python's own writer takes long for.
"""

import json
import re
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 32
"""Lists and objects within each other; Arrow takes 64."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    """The value that `text` holds.

    Raises:
        ValueError: broken syntax (a `json.JSONDecodeError`, which knows the place), an object with a key twice, an
            integer of more than 4,300 digits, half of a surrogate pair, or more than 32 levels; [`reason`] shows it.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
        _check_depth(value)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{error.object[error.start]!r} is half of a character") from None
    return value


encode_text = json.JSONEncoder(ensure_ascii=False).encode
"""The JSON text of a value, with all characters as they are."""


def numbers_as_json(values: NDArray[np.floating]) -> list[str]:
    """The text that `json` writes for each of many numbers, (numbers,); each distinct one is turned into text once."""
    # By their bits: 0 and -0 are equal, and a NaN is not equal to itself.
    bits, places = np.unique(values.view(f"i{values.itemsize}"), return_inverse=True)
    # As `json` does it, but for what is around that: it takes three times as long.
    texts = [repr(number) if isfinite(number) else encode_text(number) for number in bits.view(values.dtype).tolist()]
    return [texts[place] for place in places.tolist()]


def reason(error: ValueError) -> str:
    """What is wrong, for a message that says in which line."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    # Python's own advice on many digits follows a semicolon.
    return str(error).partition(";")[0]


_TOO_DEEP = f"lists and objects within each other more than {MAX_DEPTH} deep"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice[:80]!r} twice")
    return content


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)
