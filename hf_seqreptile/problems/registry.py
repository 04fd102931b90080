"""The problems by the names that a tasks' file gives them. A new one is a file in this folder and a line here."""

from .image_classification import ImageClassification
from .multiple_choice import MultipleChoice
from .parts_of_speech import PartsOfSpeech
from .problem import Problem
from .question_answering import QuestionAnswering
from .sequence_classification import SequenceClassification
from .text_classification import TextClassification
from .token_classification import TokenClassification

PROBLEMS: dict[str, type[Problem]] = {
    "ner": TokenClassification,
    "pos": PartsOfSpeech,
    "qa": QuestionAnswering,
    "nli": SequenceClassification,
    "text": TextClassification,
    "choice": MultipleChoice,
    "image": ImageClassification,
}
