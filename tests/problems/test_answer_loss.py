"""The loss of question answering: the models' own where nothing is padded, and the same however far a batch is."""

import torch
from transformers import BertConfig, BertForQuestionAnswering

from hf_seqreptile.problems.answer_loss import answer_loss

LENGTHS = [5, 9, 3]


def model() -> BertForQuestionAnswering:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForQuestionAnswering(BertConfig(vocab_size=40, **sizes)).eval()


def batch(rows: list[int], length: int) -> dict[str, torch.Tensor]:
    """Some of three examples, padded to a length."""
    examples = torch.arange(3 * 9).reshape(3, 9) + 4
    mask = torch.arange(length) < torch.tensor(LENGTHS)[rows, None]
    ids = torch.nn.functional.pad(examples[rows], (0, max(0, length - 9)))[:, :length] * mask
    positions = {"start_positions": torch.tensor([1, 4, 0])[rows], "end_positions": torch.tensor([3, 8, 2])[rows]}
    return {"input_ids": ids, "attention_mask": mask.long(), **positions}


def test_it_is_the_models_own_without_padding() -> None:
    its_model, inputs = model(), batch([1], 9)
    outputs = its_model(**inputs)
    assert torch.allclose(answer_loss(outputs, inputs), outputs.loss, atol=1e-6)


def test_padding_does_not_matter() -> None:
    its_model = model()
    losses = [answer_loss(its_model(**inputs), inputs) for inputs in (batch([0, 1, 2], 9), batch([0, 1, 2], 20))]
    alone = [answer_loss(its_model(**inputs), inputs) for inputs in (batch([i], LENGTHS[i]) for i in range(3))]
    assert torch.allclose(losses[0], losses[1], atol=1e-6)
    assert torch.allclose(losses[0], torch.stack(alone).mean(), atol=1e-6)
    own = [its_model(**inputs).loss for inputs in (batch([0, 1, 2], 9), batch([0, 1, 2], 20))]
    assert abs(own[0] - own[1]) > 0.1
