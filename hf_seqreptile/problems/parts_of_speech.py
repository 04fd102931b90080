"""Parts of speech: words with one tag each that make up no entities."""

from dataclasses import dataclass, field
from typing import ClassVar

from .tag_arguments import TokenClassificationArguments
from .token_classification import TokenClassification


@dataclass
class PartsOfSpeechArguments(TokenClassificationArguments):
    """As for entities, but that each tag stands for itself, whatever it looks like."""

    problem: ClassVar[str] = "pos"

    task_name: str = field(default="pos", metadata={"help": "Names the label column: `pos` reads `pos_tags`."})
    tag_scheme: str | None = field(default="none", metadata={"help": "Always `none`: each tag stands for itself."})


class PartsOfSpeech(TokenClassification):
    """As its parent without a tag scheme: scored by accuracy, with macro F1 beside it."""

    arguments = PartsOfSpeechArguments
