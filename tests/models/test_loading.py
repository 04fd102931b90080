"""What a model is loaded as: its head for a number, its tokenizer as it is asked for or refused."""

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_seqreptile import InputError
from hf_seqreptile.models.loading import load_model
from hf_seqreptile.problems.sequence_classification import NLI_LABELS, SequenceClassificationModelArguments
from hf_seqreptile.problems.text_arguments import TextClassificationModelArguments
from tests import scripts
from tests.models.test_word_tokens import save_model, word_level


@pytest.mark.parametrize("lower", [True, False])
def test_lower_case_is_done_or_refused(tmp_path: Path, lower: bool) -> None:
    bert = scripts.write_model(tmp_path / "bert")
    words = save_model(tmp_path / "words", word_level(splits=True), "bert", "PreTrainedTokenizerFast")

    def tokens(path: str) -> list[str]:
        arguments = SequenceClassificationModelArguments(model_name_or_path=path, do_lower_case=lower)
        return load_model(AutoModelForSequenceClassification, arguments, NLI_LABELS, list)[1].tokenize("IN")

    assert tokens(bert) == (["in"] if lower else ["[UNK]"])
    if lower:
        with pytest.raises(InputError, match=f"--do_lower_case has no effect on the tokenizer of {words}; remove it"):
            tokens(words)
    else:
        assert tokens(words) == ["<unk>"]


def test_a_head_for_a_number(tmp_path: Path) -> None:
    """Its loss is the squared error; it loads again, and is not taken for one of classes."""
    arguments = TextClassificationModelArguments(model_name_or_path=scripts.write_model(tmp_path / "bert"))
    load = partial(load_model, AutoModelForSequenceClassification, texts=list)
    model, tokenizer = load(args=arguments, labels=None, problem_type="regression")
    inputs = tokenizer(["Anna wohnt", "in Bonn"], padding=True, return_tensors="pt")
    output = model.eval()(**inputs, labels=torch.tensor([0.5, 4.0]))
    assert output.logits.shape == (2, 1)
    expected = ((output.logits[:, 0] - torch.tensor([0.5, 4.0])) ** 2).mean()
    assert output.loss.item() == pytest.approx(expected.item())

    model.save_pretrained(tmp_path / "number")
    tokenizer.save_pretrained(tmp_path / "number")
    arguments.model_name_or_path = str(tmp_path / "number")
    again, _ = load(args=arguments, labels=None, problem_type="regression", will_train=False)
    torch.testing.assert_close(again.eval()(**inputs).logits, output.logits)
    with pytest.raises(InputError, match="predicts a number, and the labels of the data are classes"):
        load(args=arguments, labels=["a", "b"], problem_type="single_label_classification", will_train=False)
    arguments.ignore_mismatched_sizes = True
    classes, _ = load(args=arguments, labels=["a", "b"], problem_type="single_label_classification")
    assert classes.config.problem_type == "single_label_classification" and classes.num_labels == 2
