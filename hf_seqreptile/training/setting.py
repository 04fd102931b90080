"""A setting: an argument of ours, declared once with all that checks, help, cards and plots need to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

import torch

from ..errors import InputError
from ..ranges import Range, check_ranges


@dataclass(frozen=True)
class Setting:
    """What belongs to a setting beside its type, default, help and choices.

    It stands in the field's type: `K: Annotated[int, Setting("inner steps", "K")] = field(default=20, metadata=…)`.

    Args:
        words: what it is, for the model card.
        symbol: in the paper; empty where it has none.
        range: of a number.
        methods: the methods that have it, by name, and with them all that are derived from them. Empty: every method.
        is_place: whether it is a device, which decides where something is kept and nothing else, so that a run may
            be continued with another.
    """

    words: str
    symbol: str = ""
    range: Range | None = None
    methods: tuple[str, ...] = ()
    is_place: bool = False


def settings_of(arguments: Any) -> Mapping[str, Setting]:
    """The settings that `arguments`, a dataclass, declares, by name."""
    return _settings_of(arguments)


@cache
def _settings_of(arguments: Any) -> Mapping[str, Setting]:
    hints = get_type_hints(arguments, include_extras=True)
    return {
        name: setting
        for name, hint in hints.items()
        for setting in getattr(hint, "__metadata__", ())
        if isinstance(setting, Setting)
    }


def check_settings(arguments: Any) -> None:
    """Refuse values outside of their range or choices, and places that are no device.

    Raises:
        InputError: names the argument, its value and what it may be.
    """
    settings = settings_of(type(arguments))
    check_ranges(arguments, [(name, s.symbol, s.range) for name, s in settings.items() if s.range])
    for one in fields(arguments):
        value, choices = getattr(arguments, one.name), one.metadata.get("choices")
        if one.name not in settings:
            continue
        if choices and value not in choices:
            raise InputError(f"--{one.name} is {value!r}; choose {' or '.join(choices)}.")
        if settings[one.name].is_place:
            try:
                torch.device(value or "cpu")
            except RuntimeError as error:
                raise InputError(f"--{one.name} {value} is no device; write cpu, cuda or cuda:0.") from error
