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
from .methods.task_gradients import TaskGradientTrainer
from .methods.torchjd import TorchJDTrainer
from .models.multi_head import MultiHeadModel
from .pipelines.question_answering import register_pipeline
from .training.trainer import MultiTaskTrainer
from .training.training_args import MultiTaskTrainingArguments
from .version import __version__ as __version__

# transformers 5 has no pipeline("question-answering"): from here on it has ours.
register_pipeline()

__all__ = [
    "METHODS",
    "GradNormTrainer",
    "GradVacTrainer",
    "InputError",
    "MTLTrainer",
    "MultiHeadModel",
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
