"""One file a method, and what some of them share; imports training."""

from difflib import get_close_matches

from ..errors import InputError
from ..training.trainer import MultiTaskMixin
from .gradnorm import GradNormTrainer
from .gradvac import GradVacTrainer
from .mtl import MTLTrainer
from .pcgrad import PCGradTrainer
from .recadam import RecAdamTrainer
from .reptile import ReptileTrainer
from .seq_reptile import SeqReptileTrainer
from .stl import STLTrainer
from .swep import SWEPTrainer
from .torchjd import TorchJDTrainer

METHODS: dict[str, type[MultiTaskMixin]] = {
    "seq_reptile": SeqReptileTrainer,
    "reptile": ReptileTrainer,
    "mtl": MTLTrainer,
    "stl": STLTrainer,
    "pcgrad": PCGradTrainer,
    "gradvac": GradVacTrainer,
    "gradnorm": GradNormTrainer,
    "recadam": RecAdamTrainer,
    "swep": SWEPTrainer,
    "torchjd": TorchJDTrainer,
}
"""The trainer of each method, by the name typed after `--method`; `torchjd` is typed with a weighting's name."""


def method_class(method: str) -> type[MultiTaskMixin]:
    """The trainer of the method typed as `method`; `torchjd:UPGrad` names one of TorchJD's weightings.

    Raises:
        InputError: there is none of that name.
    """
    name, colon, _ = method.partition(":")
    if name not in METHODS or bool(colon) != (name == "torchjd"):
        known = ", ".join("torchjd:NAME" if other == "torchjd" else other for other in METHODS)
        nearest = get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest and nearest[0] != name else ""
        raise InputError(f"--method {method} is unknown.{hint} Choose one of {known}.")
    return METHODS[name]
