"""The scripts' command line: Hugging Face's parser, with arguments from a file that the command line overrides."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from .errors import InputError
from .methods import METHODS


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
        InputError: a file that cannot be read. (An unknown argument ends the process with code 2, as argparse does.)
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(dataclasses, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    for action in parser._actions:
        if action.dest == "method":
            action.choices = list(METHODS)
    if argv and argv[0].endswith((".json", ".yaml", ".yml")):
        argv = _arguments_of_file(Path(argv[0])) + argv[1:]
    return parser.parse_args_into_dataclasses(argv, look_for_args_file=False)


def _arguments_of_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The arguments' file {path} cannot be read: {error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"The arguments' file {path} is not valid {path.suffix[1:]}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"The arguments' file {path} must hold arguments by name, such as `method: seq_reptile`.")
    argv: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(json.dumps(item) if isinstance(item, dict) else str(item) for item in items)]
    return argv
