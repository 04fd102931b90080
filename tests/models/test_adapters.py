"""Which layers get adapters and what is trained beside them, whatever the architecture; several heads' folders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    XLMRobertaConfig,
)

from hf_seqreptile import InputError
from hf_seqreptile.models.adapters import LoraArguments, adapter_settings, merged, save_beside_adapters, with_adapters
from tests import heads

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "xlm-roberta": XLMRobertaConfig(**SMALL, max_position_embeddings=66),
    "distilbert": DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "electra": ElectraConfig(**SMALL, embedding_size=16),
    "deberta-v2": DebertaV2Config(**SMALL),
    "modernbert": ModernBertConfig(**SMALL, pad_token_id=0, cls_token_id=2, sep_token_id=3),
}
LORA = LoraArguments(use_peft=True, lora_r=2, lora_dropout=0.0)
TOKENS = torch.tensor([[2, 7, 9, 3]])


def start(kind: str, auto_class: type) -> torch.nn.Module:
    torch.manual_seed(0)
    return auto_class.from_config(CONFIGS[kind])  # type: ignore[attr-defined]


def move(parameters: list[torch.Tensor]) -> None:
    """As training would, but the same each time."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter) / 8)


def settings(kind: str) -> LoraArguments:
    return LORA if kind not in ("modernbert", "distilbert") else replace(LORA, lora_target_modules=["all-linear"])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    "auto_class",
    [
        AutoModelForTokenClassification, AutoModelForSequenceClassification, AutoModelForQuestionAnswering,
        AutoModelForMultipleChoice,
    ],
)  # fmt: skip
def test_adapters_and_all_of_the_head_are_trained_and_saved(tmp_path: Path, kind: str, auto_class: type) -> None:
    model = start(kind, auto_class)
    prefix = model.base_model_prefix
    of_head = {name for name, _ in model.named_parameters() if not name.startswith(f"{prefix}.") or ".pooler." in name}
    model = with_adapters(model, settings(kind)).eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    named = {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in trained}
    assert {name for name in named if "lora_" not in name} == of_head
    assert any("lora_A" in name for name in named)
    move(list(trained.values()))
    model.save_pretrained(tmp_path)
    save_beside_adapters(model, tmp_path, {})
    tokens = TOKENS if auto_class is not AutoModelForMultipleChoice else TOKENS.expand(1, 2, 4)
    again = merged(start(kind, auto_class), str(tmp_path)).eval()
    torch.testing.assert_close(again(tokens)[0], model(input_ids=tokens)[0], atol=1e-4, rtol=1e-3)


def test_a_kind_of_model_of_which_peft_names_no_layers() -> None:
    model = start("modernbert", AutoModelForTokenClassification)
    with pytest.raises(
        InputError, match=r"PEFT names no layers of a modernbert model .* which of Wi, Wo, Wqkv, .*or all-linear"
    ):
        with_adapters(model, LORA)


def test_names_that_the_head_has_too_stand_for_the_encoders_layers_alone() -> None:
    """XLM-R's head for texts has a `dense` of its own, which is trained whole."""
    dense = replace(LORA, lora_target_modules=["dense"])
    model = with_adapters(start("xlm-roberta", AutoModelForSequenceClassification), dense)
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted and all(".encoder.layer." in name for name in adapted)
    assert adapter_settings(model)[-1] == ("layers with adapters", "", "dense")


def test_each_heads_folder_is_what_peft_makes_of_that_head(tmp_path: Path) -> None:
    model = heads.model(heads.config(layers=2))
    model.encoder.save_pretrained(tmp_path / "base")
    model.encoder.name_or_path = str(tmp_path / "base")
    adapted = with_adapters(model, LORA).eval()
    move([parameter for parameter in adapted.parameters() if parameter.requires_grad])
    save_beside_adapters(adapted, tmp_path / "out", {})
    topics = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "out/topics", num_labels=3).eval()
    expected = adapted(head="topics", input_ids=TOKENS).logits
    torch.testing.assert_close(topics(input_ids=TOKENS).logits, expected)
