"""Sequential Reptile and the methods it is compared with, as `transformers.Trainer` subclasses."""

from .errors import InputError
from .methods import METHODS
from .methods.seq_reptile import SeqReptileTrainer
from .trainer import MultiTaskTrainer
from .training_args import MultiTaskTrainingArguments

__version__ = "0.1.0"

__all__ = ["METHODS", "InputError", "MultiTaskTrainer", "MultiTaskTrainingArguments", "SeqReptileTrainer"]
