"""Files of YAML, as people mean it, or JSON: `no` is a text, and a name that occurs twice is an error."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from .errors import InputError
from .json_text import MAX_DEPTH, parse_json

MAX_BYTES = 2**20
"""Of a file: a larger one is something else."""

_TAGS_OF_YAML_1_1 = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")


class _YamlLoader(yaml.SafeLoader):
    """YAML of version 1.2: truth values are `true` and `false` alone, and `no` is Norwegian; a name may occur once."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TAGS_OF_YAML_1_1]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a name occurs twice", node.start_mark)
        return content


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)


def parse_yaml(text: str) -> Any:
    """What a file of arguments or tasks needs of YAML 1.2: no tags, and no anchors, by which a small file grows.

    Raises:
        ValueError: it is something else, or a name occurs twice in one place.
    """
    try:
        return _parse(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _parse(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, Loader=_YamlLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.YAMLError(f"tags, anchors and more than {MAX_DEPTH} levels are not read,{event.start_mark}")
    return yaml.load(text, Loader=_YamlLoader)


def lines_of(path: Path) -> dict[tuple[Any, ...], int]:
    """In which line, from 1, each name of a YAML file stands, by the names and places above it and its own.

    Args:
        path: of a file that [`read_mapping`] reads.
    """
    lines: dict[tuple[Any, ...], int] = {}

    def walk(node: yaml.Node, place: tuple[Any, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                own = (*place, key.value)
                lines[own] = key.start_mark.line + 1
                walk(value, own)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                lines[(*place, number)] = value.start_mark.line + 1
                walk(value, (*place, number))

    walk(yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=_YamlLoader), ())
    return lines


def read_mapping(path: Path, what: str, content: str) -> dict[Any, Any]:
    """The values by name that a YAML or, if it is called so, JSON file holds.

    Args:
        path: the file.
        what: what it is called in messages, `arguments' file`.
        content: what it must hold, in words.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size <= MAX_BYTES):
            raise InputError(f"The {what} {path} must be a regular file of at most {MAX_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8-sig")
        values = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except InputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The {what} {path} cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(f"The {what} {path} is not valid {path.suffix[1:]}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"The {what} {path} must hold {content}.")
    return values
