"""What a tokenizer is asked for and does not do is refused."""

from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from hf_seqreptile import InputError
from hf_seqreptile.models.loading import load_model
from hf_seqreptile.problems.sequence_classification import NLI_LABELS, SequenceClassificationModelArguments
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
