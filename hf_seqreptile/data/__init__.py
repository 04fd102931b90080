"""Where examples come from: the Hub, local files, the bundled sample; imports nothing but the files at the top."""

from .arguments import DataArguments
from .load import load_tasks

__all__ = ["DataArguments", "load_tasks"]
