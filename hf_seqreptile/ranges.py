"""Numeric arguments within their ranges."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from .errors import InputError

Range = tuple[Callable[[float], bool], str]
"""What a number must satisfy, and that in words."""

POSITIVE: Range = (lambda x: x > 0, "above 0")
NOT_NEGATIVE: Range = (lambda x: x >= 0, "at least 0")
AT_LEAST_1: Range = (lambda x: x >= 1, "at least 1")
FROM_0_TO_1: Range = (lambda x: 0 <= x <= 1, "in [0, 1]")


def check_ranges(arguments: Any, ranges: Iterable[tuple[str, str, Range]]) -> None:
    """Refuse numbers that are not finite or not within their range; `None` is not given.

    Args:
        arguments: has them as attributes.
        ranges: of each its name, its symbol or none, and its range.

    Raises:
        InputError: names the argument, its value and its range.
    """
    for name, symbol, (is_valid, words) in ranges:
        value = getattr(arguments, name)
        if value is not None and not (is_valid(value) and math.isfinite(value)):
            raise InputError(f"--{name}{f' ({symbol})' if symbol else ''} is {value}; it must be {words}.")
