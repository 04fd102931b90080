"""One file a method. A new one is a file here and a line in `METHODS`."""

from ..trainer import MultiTaskMixin
from .mtl import MTLTrainer
from .seq_reptile import SeqReptileTrainer
from .stl import STLTrainer

METHODS: dict[str, type[MultiTaskMixin]] = {
    "seq_reptile": SeqReptileTrainer,
    "mtl": MTLTrainer,
    "stl": STLTrainer,
}
"""The trainer of each method, by the name typed after `--method`."""
