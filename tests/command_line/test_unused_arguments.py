"""Arguments of the stock trainer that mean something else in a script."""

from pathlib import Path

import pytest

from hf_seqreptile import InputError
from hf_seqreptile.command_line.unused_arguments import refuse_unused_arguments, take_stock_names
from hf_seqreptile.problems.token_classification import TokenClassificationArguments
from hf_seqreptile.training.training_args import MultiTaskTrainingArguments


def test_label_names_are_those_of_tags(tmp_path: Path) -> None:
    """`run_ner.py --label_names O B-PER`; the trainer's own argument stays as it is without it."""
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), label_names=["O", "B-PER"])
    data_args = TokenClassificationArguments()
    take_stock_names(args, data_args)
    assert data_args.tag_names == ["O", "B-PER"] and args.label_names is None
    refuse_unused_arguments(args, {})
    args.label_names = ["O"]
    with pytest.raises(InputError, match="--label_names and --tag_names mean the same"):
        take_stock_names(args, data_args)
