"""The arguments of words with tags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..data.formats import Reading
from ..data.tags import OUTSIDE, TAG_SCHEMES, is_tag
from ..errors import InputError
from ..models.loading import ModelArguments
from .label_map import LabelArguments


@dataclass
class TokenClassificationModelArguments(ModelArguments):
    """Model arguments of `run_ner.py`."""

    takes_words: ClassVar[bool] = True


@dataclass
class TokenClassificationArguments(LabelArguments):
    """Data arguments of `run_ner.py`."""

    problem: ClassVar[str] = "ner"
    stock_names: ClassVar[Mapping[str, str]] = {"label_names": "tag_names"}

    task_name: str = field(default="ner", metadata={"help": "Names the label column: `ner` reads `ner_tags`."})
    text_column_name: str | None = field(
        default=None, metadata={"help": "The column of words. Default: `tokens`, else the only one that can be."}
    )
    label_column_name: str | None = field(
        default=None,
        metadata={
            "help": "The column of tags; in CoNLL files as its format names it (`upos`), or its number from 1. "
            "Default: `{task_name}_tags`, else the only one that can be."
        },
    )
    tag_names: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "What tags that are the numbers 0, 1, … mean, where the data has no names: `O B-PER I-PER`. The "
            "scripts take label_names for the same.",
        },
    )
    tag_scheme: str | None = field(
        default=None,
        metadata={
            "choices": TAG_SCHEMES,
            "help": "How the tags are written; entities are learnt and scored as such whatever it is. `io`: runs of "
            "equal tags are entities. `none`: each tag stands for itself (parts of speech), scored by accuracy. "
            "Default: recognised in each task's tags.",
        },
    )
    max_seq_length: int | None = field(
        default=None, metadata={"help": "Subwords after which a sentence is cut. Default: what the model takes."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad every sentence to the maximum, not to the longest of its batch."}
    )
    label_all_tokens: bool = field(
        default=False,
        metadata={"help": "Train on a word's tag in all of its subwords, not in the first alone; words are scored."},
    )
    return_entity_level_metrics: bool = field(
        default=False,
        metadata={"help": "Report the scores of each entity type, or tag, beside the overall ones."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tag_scheme is not None and self.tag_scheme not in TAG_SCHEMES:
            raise InputError(f"--tag_scheme {self.tag_scheme} is unknown. Choose one of {', '.join(TAG_SCHEMES)}.")
        for item in self.label_map or () if self.tag_scheme != "none" else ():
            new = item.rpartition("=")[2]
            if new == OUTSIDE.lower() or (new != OUTSIDE and is_tag(new)):
                raise InputError(f"--label_map {item}: name a type without a prefix, or {OUTSIDE} for outside.")

    @property
    def label_by_default(self) -> str:
        """What the column of tags is called where the user does not name it."""
        return f"{self.task_name.lower()}_tags"

    @property
    def reading(self) -> Reading:
        """As in the parent."""
        columns = (self.text_column_name or "tokens", self.label_column_name or self.label_by_default)
        return Reading(columns, self.tag_scheme, self.label_column_name, frozenset({*columns, self.task_column or ""}))
