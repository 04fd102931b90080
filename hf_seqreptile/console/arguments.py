"""The scripts' command line: Hugging Face's parser, with arguments from a file that the command line overrides."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import Field
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from ..errors import InputError
from ..methods import METHODS
from ..models.adapters import LoraArguments
from ..yaml_text import read_mapping


def parse_arguments(
    dataclasses: Sequence[Any], argv: Sequence[str] | None = None, epilog: str = ""
) -> tuple[Any, ...]:
    """Instances of `dataclasses` from the command line.

    The first argument may be a `.json`, `.yaml` or `.yml` file that holds arguments by name; what follows it on the
    command line takes precedence.

    Args:
        dataclasses: one class for each group of arguments.
        argv: the arguments; default those of the process.
        epilog: text that ends the help.

    Raises:
        InputError: a file that cannot be read, an unknown argument, or a value that its dataclass refuses. (A value of
            the wrong type ends the process with code 2, as argparse does.)
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(dataclasses, epilog=epilog)
    if argv and argv[0].endswith((".json", ".yaml", ".yml")):
        values = read_mapping(Path(argv[0]), "arguments' file", "arguments by name, such as `method: seq_reptile`")
        argv = _command_line(values) + argv[1:]
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            argv, look_for_args_file=False, return_remaining_strings=True
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    if unknown:
        nearest = get_close_matches(unknown[0], parser._option_string_actions, n=1, cutoff=0.75)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise InputError(f"Unknown argument {' '.join(unknown)}.{hint} --help lists all.")
    return tuple(parsed)


USAGE = "%(prog)s [recipe.yaml] [--argument value …]; --help lists all"
LORA_HEADING = "adapters in place of the whole model (docs/lora.md)"
STOCK_HEADING = "arguments of transformers.TrainingArguments"


class _Parser(HfArgumentParser):
    """Hugging Face's parser, whose help shows defaults and has headings: each method's settings, then the stock's."""

    def __init__(self, dataclasses: Sequence[Any], epilog: str) -> None:
        # The list of all arguments would bury the message of an error that argparse prints below it.
        super().__init__(dataclasses, usage=USAGE, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._action_groups.sort(key=lambda group: group.title == STOCK_HEADING)
        for action in self._actions:
            if action.help:
                action.help += _told_by_methods(action.dest)
            if action.help and "(default" not in action.help:
                action.help += _default_shown(action.default)

    @staticmethod
    def _parse_dataclass_field(parser: Any, field: Field) -> None:
        if heading := _heading(field):
            groups = {group.title: group for group in parser._action_groups}
            parser = groups.get(heading) or parser.add_argument_group(heading)
        HfArgumentParser._parse_dataclass_field(parser, field)


def _heading(field: Field) -> str | None:
    if methods := [name for name, method in METHODS.items() if field.name in method.own_settings()]:
        return f"settings of --method {', '.join(methods)}"
    if LoraArguments.__dataclass_fields__.get(field.name) is field:
        return LORA_HEADING
    is_stock = TrainingArguments.__dataclass_fields__.get(field.name) is field
    return STOCK_HEADING if is_stock else None


def _told_by_methods(argument: str) -> str:
    """What the methods add to an argument's help: which there are, and their defaults where these differ."""
    if argument == "method":
        names = ["torchjd:NAME (a weighting of TorchJD)" if name == "torchjd" else name for name in METHODS]
        return f" One of {', '.join(names)}."
    defaults: dict[Any, list[str]] = {}
    for name, method in METHODS.items():
        if (default := getattr(method, f"default_{argument}", None)) is not None:
            defaults.setdefault(default, []).append(name)
    told = [f"{value:g} for {', '.join(names)}" for value, names in defaults.items()]
    return f" Default: {'; '.join(told)}." if told else ""


def _default_shown(default: Any) -> str:
    value = default.value if isinstance(default, Enum) else default
    says_something = value or type(value) in (int, float)
    if not says_something or value == argparse.SUPPRESS:
        return ""
    return f" (default: {value})".replace("%", "%%")


def _command_line(values: dict[Any, Any]) -> list[str]:
    argv: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(json.dumps(item) if isinstance(item, dict) else str(item) for item in items)]
    return argv
