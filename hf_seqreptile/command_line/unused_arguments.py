"""Arguments of the stock trainer that serve Python code, and that the scripts refuse rather than pass over."""

from collections.abc import Mapping

from ..data.arguments import DataArguments
from ..errors import InputError
from ..training.training_args import MultiTaskTrainingArguments

_OF_METRICS = "the script's metrics are computed from all predictions, and from them alone"
UNUSED: Mapping[str, str] = {
    "prediction_loss_only": "the script's scores and files are made from the predictions",
    "batch_eval_metrics": _OF_METRICS,
    "include_for_metrics": _OF_METRICS,
    "eval_do_concat_batches": _OF_METRICS,
    "eval_use_gather_object": "the script's predictions are arrays, which are gathered as such",
    "label_names": "the script knows the names of its labels",
    "length_column_name": "the script's features have no such column; they are grouped by their numbers of subwords",
}
"""Why each of them has no use in a script."""


def take_stock_names(args: MultiTaskTrainingArguments, data_args: DataArguments) -> None:
    """Give the data's arguments what was given under the names of stock ones.

    Args:
        args: of the training, from which they are taken out.
        data_args: of the script.

    Raises:
        InputError: an argument was given under both names.
    """
    for stock, own in data_args.stock_names.items():
        if args.is_given(stock):
            if getattr(data_args, own) is not None:
                raise InputError(f"--{stock} and --{own} mean the same. Leave one of them out.")
            setattr(data_args, own, args.take_out(stock))


def refuse_unused_arguments(args: MultiTaskTrainingArguments, of_problem: Mapping[str, str]) -> None:
    """Refuse arguments that a script has no use for.

    Args:
        args: of the training.
        of_problem: what the script's problem has no use for either, and why.

    Raises:
        InputError: names the argument.
    """
    for name, reason in {**UNUSED, **of_problem}.items():
        if args.is_given(name):
            raise InputError(f"--{name} has no effect here: {reason}. Remove it.")
