"""Sequential Reptile and the methods it is compared with, as `transformers.Trainer` subclasses."""

from .errors import InputError
from .methods import METHODS
from .methods.gradnorm import GradNormTrainer
from .methods.gradvac import GradVacTrainer
from .methods.mtl import MTLTrainer
from .methods.pcgrad import PCGradTrainer
from .methods.recadam import RecAdamTrainer
from .methods.reptile import ReptileTrainer
from .methods.seq_reptile import SeqReptileTrainer
from .methods.stl import STLTrainer
from .methods.swep import SWEPTrainer
from .methods.torchjd import TorchJDTrainer
from .question_answering_pipeline import register_pipeline
from .task_gradients import TaskGradientTrainer
from .trainer import MultiTaskTrainer
from .training_args import MultiTaskTrainingArguments

__version__ = "0.1.0"

# transformers 5 has no pipeline("question-answering"): from here on it has ours.
register_pipeline()

__all__ = [
    "METHODS",
    "GradNormTrainer",
    "GradVacTrainer",
    "InputError",
    "MTLTrainer",
    "MultiTaskTrainer",
    "MultiTaskTrainingArguments",
    "PCGradTrainer",
    "RecAdamTrainer",
    "ReptileTrainer",
    "STLTrainer",
    "SWEPTrainer",
    "SeqReptileTrainer",
    "TaskGradientTrainer",
    "TorchJDTrainer",
]
