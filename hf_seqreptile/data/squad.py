"""SQuAD files: articles of paragraphs, and a paragraph's questions with their answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .answers import answers_from_list
from .text import shown

_MEND = 'Expected {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}.'


def check_articles(content: dict[str, Any], path: Path) -> None:
    """Refuse a file that has nothing but `data`, and perhaps its `version`, where `data` is no list."""
    if "data" in content and content.keys() <= {"data", "version"} and not isinstance(content["data"], list):
        raise InputError(
            f'{path}: "data" must be a list, in a SQuAD file of articles, not `{shown(content["data"])}`. {_MEND}'
        )


def is_nested(items: Sequence[object]) -> bool:
    """Whether `items` are articles: some of them have paragraphs."""
    return any(isinstance(item, dict) and "paragraphs" in item for item in items)


def flatten(articles: Sequence[object], path: Path) -> Iterator[dict[str, Any]]:
    """Yield each question as `{"id", "title", "context", "question", "answers"}`; ids become strings.

    `answers` is `{"text": [...], "answer_start": [...]}`: empty lists where the file lists none, left out where it
    does not say (test questions). Other keys, such as `is_impossible`, are not read.

    Raises:
        InputError: a level of the nesting that is missing or of another type; names article, paragraph and question.
    """
    for article_number, article in enumerate(articles, 1):
        article_place = f"{path}, article {article_number}"
        article = _object(article, article_place)
        title = str(article.get("title", ""))
        for paragraph_number, paragraph in enumerate(_list(article, "paragraphs", article_place), 1):
            paragraph_place = f"{article_place}, paragraph {paragraph_number}"
            paragraph = _object(paragraph, paragraph_place)
            context = _text(paragraph, "context", paragraph_place)
            for question_number, question in enumerate(_list(paragraph, "qas", paragraph_place), 1):
                row = _read_question(question, f"{paragraph_place}, question {question_number}")
                yield {"id": row.pop("id"), "title": title, "context": context, **row}


def _read_question(content: object, place: str) -> dict[str, Any]:
    question = _object(content, place)
    text = _text(question, "question", place)
    identifier = question.get("id")
    if not isinstance(identifier, str | int) or identifier == "":
        raise InputError(f'{place} (`{shown(text)}`) has no "id". Give every question an id of its own, as a string.')
    row = {"id": str(identifier), "question": text}
    if "answers" not in question:
        return row
    return {**row, "answers": answers_from_list(question["answers"], f"{place} ({shown(identifier)})")}


def _object(content: object, place: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{place}: `{shown(content)}` is not an object. {_MEND}")
    return content


def _list(parent: dict[str, Any], key: str, place: str) -> list[object]:
    content = parent.get(key)
    if not isinstance(content, list):
        raise InputError(f'{place} has no list "{key}". {_MEND}')
    return content


def _text(parent: dict[str, Any], key: str, place: str) -> str:
    content = parent.get(key)
    if not isinstance(content, str):
        raise InputError(f'{place} has no text "{key}". {_MEND}')
    return content
