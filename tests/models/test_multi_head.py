"""Several heads on one encoder: what it shares, what each head keeps to itself, and the folders that come out."""

import copy
import json
import os
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    pipeline,
)

from hf_seqreptile import InputError
from hf_seqreptile.models.multi_head import MultiHeadModel, multi_head
from hf_seqreptile.models.multi_head_folder import check_head_name, heads_in, holds_model
from hf_seqreptile.models.run_encoder import encoder_folder
from tests import heads, tiny

TEXT = {
    "vocab_size": len(tiny.WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 66, "pad_token_id": 0,
}  # fmt: skip
IMAGE = {"num_channels": 3, "image_size": 32}
IMAGES = {"cats": "ImageClassification", "dogs": "ImageClassification"}
ENCODERS: dict[str, PreTrainedConfig] = {
    "bert": transformers.BertConfig(**TEXT),
    "xlm-r": transformers.XLMRobertaConfig(**TEXT),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=len(tiny.WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=66
    ),
    "deberta-v2": transformers.DebertaV2Config(**TEXT, relative_attention=True, position_buckets=8),
    "modernbert": transformers.ModernBertConfig(
        **TEXT | {"num_hidden_layers": 3}, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3
    ),
    "electra": transformers.ElectraConfig(**TEXT, embedding_size=8),
    "xlnet": transformers.XLNetConfig(vocab_size=len(tiny.WORDS), d_model=16, n_layer=2, n_head=2, d_inner=32),
    "vit": transformers.ViTConfig(
        **IMAGE, patch_size=16, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    ),
    "convnext": transformers.ConvNextConfig(**IMAGE, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1]),
    "resnet": transformers.ResNetConfig(
        **IMAGE, embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic"
    ),
}


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    """A batch without labels; of text, its second row is shorter."""
    random = torch.Generator().manual_seed(1)
    if ENCODERS[name].model_type in ("vit", "convnext", "resnet"):
        return {"pixel_values": torch.randn(2, 3, 32, 32, generator=random)}
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    return {
        "input_ids": torch.randint(4, len(tiny.WORDS), (2, 7), generator=random) * mask, "attention_mask": mask
    }  # fmt: skip


def labels_of(head: str, kind: str) -> dict[str, torch.Tensor]:
    if kind == heads.ANSWERS:
        return {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 2])}
    return {"labels": torch.tensor([[1, 2, 0, 4, 1, 3, 0]] * 2 if kind == heads.TOKENS else [1, 0])}


def batch_of(head: str) -> dict[str, torch.Tensor]:
    """For a head of `heads.KINDS`."""
    return inputs_of("bert") | labels_of(head, heads.KINDS[head])


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def auto_class(kind: str):
    return getattr(transformers, f"AutoModelFor{kind}")


def outputs(model: nn.Module, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found = model.eval()(**inputs)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


# What every architecture must give.


FAST = ("bert", "xlm-r", "modernbert", "vit", "resnet")


@pytest.fixture(scope="module", params=[n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in ENCODERS])
def architecture(request, tmp_path_factory):
    """Its name, heads, what the whole models gave, the model with several heads, and the folder it wrote."""
    folder, config = tmp_path_factory.mktemp(request.param), ENCODERS[request.param]
    kinds = IMAGES if "pixel_values" in inputs_of(request.param) else heads.KINDS
    whole = heads.models(config, kinds)
    expected = {name: outputs(each, **inputs_of(request.param)) for name, each in whole.items()}
    own = {name: set(each.state_dict()) for name, each in whole.items()}
    fresh = folder / "fresh"
    for name, each in whole.items():
        type(each)(each.config).save_pretrained(fresh / name)
    model = MultiHeadModel(whole)
    model.save_pretrained(folder / "out")
    return request.param, kinds, expected, own, model, folder


def test_the_heads_give_what_the_whole_models_gave(architecture):
    name, kinds, expected, _, model, _ = architecture
    for head in kinds:
        tiny.assert_equal(outputs(model, head=head, **inputs_of(name)), expected[head])


def test_parameters_and_states_have_the_encoder_once(architecture):
    name, kinds, _, own, model, _ = architecture
    encoder = set(AutoModel.from_config(ENCODERS[name]).state_dict())
    states = model.state_dict()
    assert {key.removeprefix("encoder.") for key in states if key.startswith("encoder.")} <= encoder
    for head in kinds:
        prefix = model.head(head).base_model_prefix
        above = {key for key in own[head] if not key.startswith(f"{prefix}.")}
        assert {key for key in states if key.startswith(f"heads.{head}_head.")} == {
            f"heads.{head}_head.{key}" for key in above
        }
    assert len({id(p) for p in model.parameters()}) == len(list(model.named_parameters(remove_duplicate=False)))


def test_gradients_reach_the_encoder_and_the_one_head(architecture):
    name, kinds, _, _, model, _ = architecture
    # Training moves BatchNorm's statistics.
    model = copy.deepcopy(model)
    for head, kind in kinds.items():
        model.zero_grad()
        model.train()(head=head, **inputs_of(name), **labels_of(head, kind)).loss.backward()
        assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
        for other in kinds:
            touched = any(p.grad is not None for p in model.head(other).parameters())
            assert touched == (other == head)


def test_a_copy_shares_its_own_encoder(architecture):
    name, kinds, expected, _, model, _ = architecture
    copied = copy.deepcopy(model)
    assert copied.encoder is not model.encoder
    with torch.no_grad():
        for p in copied.encoder.parameters():
            p.add_(1.0)
    for head in kinds:
        assert copied.head(head).base_model is copied.encoder
        tiny.assert_equal(outputs(model, head=head, **inputs_of(name)), expected[head])
        changed = outputs(copied, head=head, **inputs_of(name))
        assert any(not torch.equal(value, expected[head][key]) for key, value in changed.items())


def test_a_written_folder_is_that_of_a_fresh_model_of_its_class(architecture):
    """So a head that needs no pooler has none, and names in files are those of files."""
    name, kinds, expected, _, model, folder = architecture
    for head, kind in kinds.items():
        written = folder / "out" / head
        assert tensors_in(written).keys() == tensors_in(folder / "fresh" / head).keys()
        loaded, said = auto_class(kind).from_pretrained(written, dtype=torch.float32, output_loading_info=True)
        assert not any(said.values())
        assert type(loaded) is type(model.head(head))
        tiny.assert_equal(outputs(loaded, **inputs_of(name)), expected[head])
    encoder, said = AutoModel.from_pretrained(folder / "out" / "encoder", output_loading_info=True)
    assert not any(value for key, value in said.items() if key != "missing_keys")
    assert not [key for key in said["missing_keys"] if "pooler" not in key]
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value)


def test_what_was_written_is_read_again(architecture):
    name, kinds, expected, _, _, folder = architecture
    assert heads_in(folder / "out") == list(kinds)
    model = MultiHeadModel.from_pretrained(folder / "out")
    assert model.head_names == list(kinds)
    for head in kinds:
        tiny.assert_equal(outputs(model, head=head, **inputs_of(name)), expected[head])


# What heads keep to themselves.


def of_one_config(config: PreTrainedConfig, **classes: type) -> MultiHeadModel:
    """Heads whose models have one configuration, as where they were made and not loaded."""
    first = None
    models = {}
    for name, model_class in classes.items():
        made = models[name] = model_class(config)
        first = first or made
        made.base_model.load_state_dict(first.base_model.state_dict(), strict=False)
    return MultiHeadModel(models)


def test_what_a_forward_writes_into_its_configuration_stays_there(tmp_path):
    """A first batch of classes would have every other head take its labels for classes too."""
    classes = {"tags": transformers.BertForTokenClassification, "one": transformers.BertForSequenceClassification}
    model = of_one_config(heads.config(), **classes, several=transformers.BertForSequenceClassification)
    model.eval()(head="one", **inputs_of("bert"), labels=torch.tensor([0, 1]))
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    result = model(head="several", **inputs_of("bert"), labels=labels)
    expected = nn.functional.binary_cross_entropy_with_logits(result.logits, labels)
    torch.testing.assert_close(result.loss, expected)
    assert model.config.problem_type is None
    assert model.head("one").config.problem_type == "single_label_classification"
    configs = [model.config, *(model.head(name).config for name in model.head_names)]
    assert len({id(config) for config in configs}) == 4


def test_each_folder_has_its_own_labels_and_class(tmp_path):
    heads.model().save_pretrained(tmp_path / "out")
    for head, kind in heads.KINDS.items():
        saved = json.loads((tmp_path / "out" / head / "config.json").read_text())
        assert saved["architectures"] == [f"BertFor{kind}"]
        labels = heads.LABELS.get(head)
        assert labels is None or list(saved["id2label"].values()) == labels
    encoder = json.loads((tmp_path / "out" / "encoder" / "config.json").read_text())
    assert encoder["architectures"] == ["BertModel"] and "id2label" not in encoder and not encoder.get("problem_type")


def test_heads_are_loaded_from_a_common_encoder(tmp_path):
    """As from any pretrained model, such as what an earlier phase wrote."""
    earlier = heads.model()
    earlier.save_pretrained(tmp_path)
    encoder = tmp_path / "encoder"
    loaded = {name: auto_class(kind).from_pretrained(encoder) for name, kind in heads.KINDS.items()}
    model = MultiHeadModel(loaded)
    tiny.assert_equal(tiny.weights(model.encoder), tiny.weights(earlier.encoder))
    assert model.name_or_path == str(encoder) and model.base_model is model.encoder


def test_the_encoder_has_a_pooler_if_a_head_needs_one(tmp_path):
    """And the order of the heads does not matter."""
    without, pooled, chosen = {"a": heads.TOKENS}, {"b": heads.TEXTS}, {"b": "MultipleChoice"}
    for kinds in (without, without | pooled, pooled | without, without | chosen):
        model = heads.model(kinds=kinds)
        has = any("pooler" in key for key in model.state_dict())
        assert has == ("b" in kinds)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        model.save_pretrained(folder)
        for head in kinds:
            assert any("pooler" in key for key in tensors_in(folder / head)) == (head == "b")
        assert any("pooler" in key for key in tensors_in(folder / "encoder")) == has


NAMES = ["type", "train", "forward", "a.b", "a%2Eb", "a_head", "日本 語"]


def test_heads_may_be_called_anything_that_a_folder_may(tmp_path):
    """Modules may not be called `type` or `a.b`."""
    model = heads.model(kinds=dict.fromkeys(NAMES, heads.TEXTS))
    model.save_pretrained(tmp_path / "out")
    again = MultiHeadModel.from_pretrained(tmp_path / "out")
    assert again.head_names == model.head_names == NAMES
    for name in NAMES:
        tiny.assert_equal(*(outputs(each, head=name, **inputs_of("bert")) for each in (model, again)))
    assert len({id(model.head(name)) for name in NAMES}) == len(NAMES)


TAKEN = [
    "encoder", "checkpoint-5", "runs", "clusters", "logs", "heads.json", "README.md", "model.safetensors", "a/b", "",
    ".", "..", ".git", "a\\b", "C:", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_heads_may_not_be_called_as_what_else_lies_there(tmp_path, name):
    with pytest.raises(InputError, match=r"A head cannot be called .*Rename it"):
        check_head_name(name)


def test_what_is_no_head_of_one_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"needs a head or more: \{name: AutoModelFor"):
        MultiHeadModel({})
    with pytest.raises(InputError, match="Head 'a': BertModel is no encoder with a head above it"):
        MultiHeadModel({"a": transformers.BertModel(heads.config())})
    one = heads.models(kinds={"a": heads.TOKENS})
    others = [
        heads.models(kinds={"b": heads.TEXTS}, seed=1),
        heads.models(of=heads.config(layers=2), kinds={"b": heads.TEXTS}),
        heads.models(of=ENCODERS["electra"], kinds={"b": heads.TEXTS}),
    ]
    for other in others:
        with pytest.raises(InputError, match=r"The encoder of head .* is not that of the others; load all of them"):
            MultiHeadModel(heads.models(kinds={"a": heads.TOKENS}) | other)
    model = MultiHeadModel(one)
    with pytest.raises(InputError, match=r"The model has no head 'b'\. Known: a\."):
        model(head="b", **inputs_of("bert"))
    with pytest.raises(InputError, match=r"holds no model with several heads: it has no heads\.json"):
        MultiHeadModel.from_pretrained(tmp_path)


# What transformers and its neighbours do with a model.


def test_each_folder_serves_its_pipeline(tmp_path):
    model = heads.model()
    model.save_pretrained(tmp_path / "out", dict.fromkeys(heads.KINDS, tiny.tokenizer()))
    (topic,) = pipeline("text-classification", str(tmp_path / "out" / "topics"))("w3 w5 w7")
    assert topic["label"] in heads.LABELS["topics"]
    tags = pipeline("token-classification", str(tmp_path / "out" / "tags"))("w3 w5 w7")
    assert {each["entity"] for each in tags} <= set(tiny.LABELS)
    encoder = AutoTokenizer.from_pretrained(tmp_path / "out" / "encoder")
    assert encoder("w3 w5")["input_ids"] == tiny.tokenizer()("w3 w5")["input_ids"]


def test_a_vocabulary_that_was_changed_is_that_of_every_folder(tmp_path):
    """As `--trim_vocabulary` changes it: the heads' configurations would stay behind."""
    model = heads.model()
    model.encoder.resize_token_embeddings(30)
    words = {"input_ids": torch.tensor([[5, 29]])}
    model.save_pretrained(tmp_path / "out")
    for head, kind in heads.KINDS.items():
        loaded = auto_class(kind).from_pretrained(tmp_path / "out" / head)
        assert loaded.config.vocab_size == 30
        assert tiny.largest_difference(outputs(loaded, **words), outputs(model, head=head, **words)) < 1e-6
    assert AutoModel.from_pretrained(tmp_path / "out" / "encoder").config.vocab_size == 30


def test_the_attention_is_the_encoders_to_choose(tmp_path):
    model = heads.model()
    before = outputs(model, head="topics", **inputs_of("bert"))
    model.encoder.set_attn_implementation("eager")
    for head in heads.KINDS:
        result = model(head=head, **inputs_of("bert"), output_attentions=True)
        assert len(result.attentions) == 1 and result.attentions[0].shape == (2, 2, 7, 7)
    after = outputs(model, head="topics", **inputs_of("bert"))
    torch.testing.assert_close(after["logits"], before["logits"])


def gradients(model: nn.Module, **inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()(**inputs).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_activations_may_be_computed_anew(tmp_path):
    model = heads.model(heads.config(layers=2))
    plain = {head: gradients(model, head=head, **batch_of(head)) for head in heads.KINDS}
    passes = []
    model.encoder.encoder.layer[0].intermediate.register_forward_hook(lambda *args: passes.append(None))
    assert not model.is_gradient_checkpointing
    changes = {"method": "mtl", "tasks_per_step": 2, "max_steps": 1, "activation_checkpointing": True}
    trainer = heads.trainer(tmp_path, heads.tasks("de", "en"), of_model=model, **changes)
    with warnings.catch_warnings():
        # Those of what is deprecated, which another version will not do any more.
        warnings.simplefilter("error", FutureWarning)
        trainer.train()
    assert model.is_gradient_checkpointing and len(passes) == 2 * 2
    model = heads.model(heads.config(layers=2))
    model.activation_checkpointing_enable()
    for head in heads.KINDS:
        again = gradients(model, head=head, **batch_of(head))
        assert tiny.largest_difference(again, plain[head]) < 1e-6 and again.keys() == plain[head].keys()


def lora(model: nn.Module, *saved: str) -> nn.Module:
    config = LoraConfig(target_modules=["query", "value"], modules_to_save=list(saved), r=4, init_lora_weights=False)
    return get_peft_model(model, config)


@pytest.mark.parametrize("method", ["seq_reptile", "pcgrad"])
def test_an_adapter_on_the_encoder_trains_with_its_heads_and_merges(tmp_path, method):
    model = lora(heads.model(kinds={"tags": heads.TOKENS, "topics": heads.TEXTS}), "classifier")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = heads.trainer(tmp_path, of_model=model, method=method)
    assert trainer.several_heads is multi_head(model) is not None
    shared = trainer.shared_parameters
    assert shared and all("lora_" in name for name in shared)
    trainer.train()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved == trained and sum("modules_to_save" in name for name in moved) == 4
    trainer.save_model(str(tmp_path / "adapter"))
    assert "lora_" in str(tensors_keys(tmp_path / "adapter" / "adapter_model.safetensors"))
    with pytest.raises(InputError, match=r"Head 'tags' cannot be written: .*Merge it first: model\.merge_and_unload"):
        trainer.several_heads.save_pretrained(tmp_path / "adapter")
    expected = {head: outputs(model, head=head, **inputs_of("bert")) for head in ("tags", "topics")}
    merged = model.merge_and_unload()
    assert isinstance(merged, MultiHeadModel)
    merged.save_pretrained(tmp_path / "merged")
    for head, kind in {"tags": heads.TOKENS, "topics": heads.TEXTS}.items():
        loaded, said = auto_class(kind).from_pretrained(tmp_path / "merged" / head, output_loading_info=True)
        assert not any(said.values())
        for name, value in outputs(loaded, **inputs_of("bert")).items():
            torch.testing.assert_close(value, expected[head][name])


def tensors_keys(path: Path) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.keys())


def test_an_adapter_that_copies_whole_heads_is_refused_by_name(tmp_path):
    """Each copy would have an encoder of its own, without the adapter, and train that."""
    model = lora(heads.model(), "tags_head")
    with pytest.raises(InputError, match=r"Head 'tags' is not above the .*modules_to_save=\['classifier'\]"):
        model(head="tags", **inputs_of("bert"))
    with pytest.raises(TypeError, match=r"modules_to_save cannot be applied to modules of type .*ModuleDict"):
        lora(heads.model(), "heads")


def test_half_precision_of_the_trainer_trains(tmp_path):
    trainer = heads.trainer(tmp_path, method="mtl", tasks_per_step=2, bf16=True, max_steps=6)
    full = heads.trainer(tmp_path, method="mtl", tasks_per_step=2, max_steps=6)
    for each in (trainer, full):
        each.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    losses, expected = ([e["loss"] for e in t.state.log_history if "loss" in e] for t in (trainer, full))
    assert losses == pytest.approx(expected, rel=0.05) and losses != expected


@pytest.mark.slow
def test_a_compiled_model_has_the_same_loss(tmp_path):
    """Whichever heads a step is of, and in batches of any size."""
    settings = {"method": "mtl", "tasks_per_step": 2, "max_steps": 4, "logging_steps": 1}
    plain = tiny.train(heads.trainer(tmp_path, **settings))
    torch._dynamo.utils.counters.clear()
    settings |= {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    compiled = tiny.train(heads.trainer(tmp_path, **settings))
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 2
    losses, expected = ([e["loss"] for e in t.state.log_history if "loss" in e] for t in (compiled, plain))
    assert losses == pytest.approx(expected, rel=1e-4)
    compiled.save_model(str(tmp_path / "out"))
    tags = AutoModelForTokenClassification.from_pretrained(tmp_path / "out" / "tags")
    expected = plain.model.head("tags").classifier.weight
    torch.testing.assert_close(tags.classifier.weight, expected, rtol=1e-3, atol=1e-4)


# Its folders appear together.


class Full:
    """A tokenizer for which there is no room."""

    def save_pretrained(self, folder: Path) -> None:
        raise OSError(28, os.strerror(28))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("where", ["tags", "topics"])
def test_a_full_disk_midway_leaves_what_was_there(tmp_path, where):
    out = tmp_path / "out"
    earlier = heads.model(kinds={"tags": heads.TOKENS, "old": heads.TEXTS})
    earlier.save_pretrained(out)
    (out / "notes.txt").write_text("mine")
    before = everything(out)
    later = heads.model(heads.config(layers=2))
    with pytest.raises(OSError, match="No space left"):
        later.save_pretrained(out, dict.fromkeys(heads.KINDS, tiny.tokenizer()) | {where: Full()})
    assert everything(out) == before
    # A process that was killed has no time to clear up.
    (out / ".heads-killed" / "new").mkdir(parents=True)
    later.save_pretrained(out)
    assert sorted(os.listdir(out)) == ["answers", "encoder", "heads.json", "notes.txt", "tags", "topics"]
    assert MultiHeadModel.from_pretrained(out).config.num_hidden_layers == 2


def test_a_full_disk_is_explained_by_the_trainer(tmp_path):
    init = {"processing_class": {"tags": tiny.tokenizer(), "topics": Full()}}
    trainer = heads.trainer(tmp_path, method="mtl", init=init)
    with pytest.raises(InputError, match=f"Could not write {tmp_path / 'out'}: No space left on device"):
        trainer.save_model(str(tmp_path / "out"))
    assert not any((tmp_path / "out").iterdir())


def test_where_a_finished_model_lies(tmp_path):
    model = heads.model()
    model.save_pretrained(tmp_path / "out")
    one = tmp_path / "out" / "tags"
    assert holds_model(one) and heads_in(one) is None and encoder_folder(str(one)) == str(one)
    assert holds_model(tmp_path / "out") and not holds_model(tmp_path)
    assert encoder_folder(str(tmp_path / "out")) == str(tmp_path / "out" / "encoder")
