"""Where examples come from: the Hub, local files, the bundled sample."""

from hf_seqreptile.data.arguments import DataArguments
from hf_seqreptile.data.load import load_tasks

__all__ = ["DataArguments", "load_tasks"]
