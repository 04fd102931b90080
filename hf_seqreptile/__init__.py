"""Sequential Reptile and the methods it is compared with, as `transformers.Trainer` subclasses."""

from .errors import InputError
from .methods import METHODS
from .methods.mtl import MTLTrainer
from .methods.reptile import ReptileTrainer
from .methods.seq_reptile import SeqReptileTrainer
from .methods.stl import STLTrainer
from .trainer import MultiTaskTrainer
from .training_args import MultiTaskTrainingArguments

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "InputError",
    "MTLTrainer",
    "MultiTaskTrainer",
    "MultiTaskTrainingArguments",
    "ReptileTrainer",
    "STLTrainer",
    "SeqReptileTrainer",
    "TaskGradientTrainer",
]
