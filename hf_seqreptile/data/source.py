"""What a source of examples is asked."""

from typing import Protocol

from datasets import Dataset

from ..errors import InputError


class NoSuchSplitError(InputError):
    """The data is there, but not of that split."""


class Source(Protocol):
    """Where examples come from."""

    def tasks(self, split: str) -> list[str]:
        """The tasks that the data names for `split`."""

    def check(self, task: str, split: str, argument: str) -> None:
        """Raise InputError where the task is known not to be there; `argument` named it."""

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task, at least one, with the columns that the data has."""
