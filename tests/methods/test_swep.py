"""SWEP: against its equation in two separate passes, and the network beside the model in the stock loop."""

import math
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl_divergence
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    ElectraConfig,
    ElectraForTokenClassification,
    XLMRobertaConfig,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForTokenClassification,
)

from hf_seqreptile import InputError
from hf_seqreptile.methods.swep import SWEPTrainer
from hf_seqreptile.methods.word_perturbation import PerturbationNetwork, kl_divergence, prior_variance
from tests import tiny
from tests.processes import together

PLAIN = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "learning_rate": 0.1}
SIZES = {
    "vocab_size": len(tiny.WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 66, "hidden_dropout_prob": 0.0, "pad_token_id": 0,
    "attention_probs_dropout_prob": 0.0, "num_labels": len(tiny.LABELS),
}  # fmt: skip
MODELS = {
    "bert-tokens": (BertForTokenClassification, BertConfig(**SIZES)),
    "bert-sequences": (BertForSequenceClassification, BertConfig(**SIZES)),
    "bert-answers": (BertForQuestionAnswering, BertConfig(**SIZES | {"num_labels": 2})),
    "xlmr-tokens": (XLMRobertaForTokenClassification, XLMRobertaConfig(**SIZES)),
    "xlmr-answers": (XLMRobertaForQuestionAnswering, XLMRobertaConfig(**SIZES | {"num_labels": 2})),
    "electra-tokens": (ElectraForTokenClassification, ElectraConfig(**SIZES, embedding_size=8)),
}
"""A head of each kind; ELECTRA's word embeddings are smaller than its hidden states."""


def trainer(folder, train=None, **changes):
    settings = {"method": "swep", "trainer_class": SWEPTrainer, "tasks_per_step": 2, "max_steps": 6}
    return tiny.trainer(folder, train, **settings | changes)


def trainer_of(folder, kind, **changes):
    """A trainer of one of `MODELS` on tasks that fit its head; the sentences differ in length."""
    model_class, config = MODELS[kind]
    torch.manual_seed(0)
    tasks = {name: examples(kind, task) for name, task in tiny.tasks().items()}
    made = trainer(folder, tasks, of_model=model_class(config), **changes)
    collators = {"tokens": DataCollatorForTokenClassification}
    made.data_collator = collators.get(kind.split("-")[1], DataCollatorWithPadding)(tiny.tokenizer())
    return made


def examples(kind, task):
    """The tiny task's sentences with the labels of the head."""
    if kind.endswith("sequences"):
        return task.map(lambda row: {"labels": row["input_ids"][1] % len(tiny.LABELS)}, remove_columns="labels")
    if kind.endswith("answers"):
        answer = lambda row: {"start_positions": 1, "end_positions": row["input_ids"][0] % 2 + 1}  # noqa: E731
        return task.map(answer, remove_columns="labels")
    return task


def network_weights(of_trainer):
    return tiny.weights(of_trainer.network)


def steps_of(of_trainer):
    """The steps of training, which end within the first epoch: each a list of draws, each a list of micro-batches."""
    args = of_trainer.args
    batches = [
        {k: v for k, v in batch.items() if k not in ("task", "labels_in_batch")}
        for batch in of_trainer.get_train_dataloader()
    ]
    draws = list(zip(*[iter(batches)] * args.gradient_accumulation_steps, strict=True))
    return list(zip(*[iter(draws)] * of_trainer.tasks_per_step, strict=False))[: args.max_steps]


# The mathematics.


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10**6), log_scale=st.floats(-5, 2), variance=st.floats(0.05, 5), shift=st.floats(-3, 3),
)  # fmt: skip
def test_the_divergence_is_torchs(seed, log_scale, variance, shift):
    random = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 3, 4, 5, generator=random, dtype=torch.float64) + torch.tensor(
        [shift, log_scale]
    ).view(2, 1, 1, 1)
    expected = torch_kl_divergence(
        Normal(mean, (log_variance / 2).exp()),
        Normal(torch.ones_like(mean), torch.full_like(mean, math.sqrt(variance))),
    )
    torch.testing.assert_close(kl_divergence(mean, log_variance, variance), expected.sum(-1))


def test_the_default_prior_has_the_variance_of_the_authors_code():
    assert prior_variance(0.1) == pytest.approx(1 / 3)


def test_the_network_is_seeded_and_disturbs_no_generator():
    state = torch.get_rng_state()
    one, same, other = (tiny.weights(PerturbationNetwork(16, 8, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    tiny.assert_equal(one, same)
    assert tiny.largest_difference(one, other) > 0
    mean, log_variance = PerturbationNetwork(16, 8, 1)(torch.zeros(2, 3, 16))
    assert mean.shape == log_variance.shape == (2, 3, 8)


# Whole steps, against the equation in two passes.


def position_ids(model, batch):
    """As the model derives them from `input_ids`; it cannot from `inputs_embeds`."""
    if "Roberta" not in type(model).__name__:
        return {}
    return {"position_ids": batch["attention_mask"].cumsum(dim=1) * batch["attention_mask"]}


def objective(model, network, batch, epsilon, p):
    """½(L(e) + L(e ⊙ z)), and KL(q ‖ N(1, s)) of each token, with z = μ + σε."""
    inputs = {name: value for name, value in batch.items() if name in ("attention_mask", "token_type_ids")}
    with torch.no_grad():
        hidden = model.base_model(batch["input_ids"], **inputs).last_hidden_state
    mean, log_variance = network(hidden).chunk(2, dim=-1)
    deviation = log_variance.exp().sqrt()
    words = model.get_input_embeddings()(batch["input_ids"])
    rest = {name: value for name, value in batch.items() if name != "input_ids"} | position_ids(model, batch)
    clean = model(inputs_embeds=words, **rest).loss
    noisy = model(inputs_embeds=words * (mean + deviation * epsilon), **rest).loss
    prior = Normal(torch.tensor(1.0), torch.tensor(p / (1 - p)) ** 0.25)
    kl = torch_kl_divergence(Normal(mean, deviation), prior).sum(dim=-1)
    return (clean + noisy) / 2, kl[batch["attention_mask"] == 1]


def labels_in(batch):
    return (batch["labels"] != -100).sum() if "labels" in batch else len(batch["input_ids"])


def descend(model, network, steps, noise, args):
    """Plain gradient descent on the steps, the model's and the network's gradients clipped apart."""
    losses, divergences = [], []
    for draws in steps:
        loss = kl = 0
        for draw in draws:
            halves, kls = zip(
                *[objective(model, network, batch, next(noise), args.swep_p) for batch in draw], strict=True
            )
            labels = [labels_in(batch) for batch in draw]
            loss += sum(x * n for x, n in zip(halves, labels, strict=True)) / sum(labels) / len(draws)
            kl += torch.cat(kls).mean() / len(draws)
        for module in (model, network):
            module.zero_grad()
        (loss + args.swep_beta * kl).backward()
        losses.append(loss.item())
        divergences.append(kl.item())
        for module, rate in ((model, args.learning_rate), (network, args.swep_learning_rate)):
            if args.max_grad_norm:
                nn.utils.clip_grad_norm_(module.parameters(), args.max_grad_norm)
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter -= rate * parameter.grad
    return losses, divergences


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(kind, {}) for kind in MODELS]
    + [
        ("bert-tokens", {"max_grad_norm": 0.05}),
        ("xlmr-answers", {"gradient_accumulation_steps": 2}),
        ("bert-tokens", {"gradient_accumulation_steps": 2, "tasks_per_step": 2, "max_grad_norm": 0.05}),
    ],
    ids=str,
)
def test_training_ends_where_the_equation_in_two_passes_ends(tmp_path, monkeypatch, kind, changes):
    """Also the logged losses: `loss` is without the divergence, `kl` is its mean over tokens that are not padding."""
    drawn, randn_like = [], torch.randn_like

    def recorded(*args, **kwargs):
        drawn.append(randn_like(*args, **kwargs))
        return drawn[-1]

    made = trainer_of(
        tmp_path, kind, **PLAIN | {"tasks_per_step": 3} | changes, max_steps=3, logging_steps=1, swep_p=0.3,
        swep_beta=0.5, swep_learning_rate=0.02,
    )  # fmt: skip
    made.create_optimizer()
    model_class, config = MODELS[kind]
    torch.manual_seed(0)
    model, network = model_class(config), PerturbationNetwork(16, config.to_dict().get("embedding_size", 16), 42)
    tiny.assert_equal(tiny.weights(made.model), tiny.weights(model))
    tiny.assert_equal(network_weights(made), tiny.weights(network))
    start = tiny.weights(model)

    monkeypatch.setattr(torch, "randn_like", recorded)
    made.train()
    monkeypatch.undo()
    losses, divergences = descend(model, network.layers, steps_of(made), iter(drawn), made.args)
    assert tiny.largest_difference(start, tiny.weights(model)) > 1e-3
    assert tiny.largest_difference(tiny.weights(made.model), tiny.weights(model)) < 1e-6
    assert tiny.largest_difference(network_weights(made), tiny.weights(network)) < 1e-5
    logged = [entry for entry in made.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in logged] == pytest.approx(losses, rel=1e-5)
    assert [entry["kl"] for entry in logged] == pytest.approx(divergences, rel=1e-5)


def fix_noise(of_trainer, mean):
    """Let z be `mean` everywhere, until the network learns otherwise; its σ stays below 1e-8."""
    of_trainer.create_optimizer()
    with torch.no_grad():
        last = of_trainer.network.layers[-1]
        last.weight.zero_()
        last.bias.view(2, -1).copy_(torch.tensor([[mean], [-40.0]]))
    return of_trainer


def test_noise_of_one_gives_mtl(tmp_path):
    swep = fix_noise(trainer(tmp_path, dropout=0.0, swep_learning_rate=1e-12, learning_rate=1e-3), mean=1.0)
    mtl = tiny.trainer(tmp_path, method="mtl", dropout=0.0, learning_rate=1e-3, tasks_per_step=2, max_steps=6)
    logs = []
    for made in (swep, mtl):
        tiny.train(made)
        logs.append([entry for entry in made.state.log_history if "loss" in entry])
    assert tiny.largest_difference(tiny.weights(swep.model), tiny.weights(mtl.model)) < 1e-5
    for name in ("loss", "loss/de", "draws/de", "grad_norm", "learning_rate"):
        assert [entry[name] for entry in logs[0]] == pytest.approx([entry[name] for entry in logs[1]], rel=1e-4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_accumulation_gives_the_same_trajectory(tmp_path, label_smoothing):
    """Law 6, with noise that is not drawn."""
    runs = []
    for batch, accumulation in ((8, 1), (2, 4)):
        made = fix_noise(
            trainer(
                tmp_path, dropout=0.0, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
                label_smoothing_factor=label_smoothing, swep_learning_rate=0.05, **PLAIN,
                logging_steps=1,
            ),
            mean=0.5,
        )  # fmt: skip
        tiny.train(made)
        runs.append((tiny.weights(made.model), network_weights(made), made.state.log_history))
    (one, one_network, logs), (four, four_network, other_logs) = runs
    assert tiny.largest_difference(one, four) < 1e-5
    assert tiny.largest_difference(one_network, four_network) < 1e-5
    assert one_network["layers.2.bias"][:16].mean() > 0.55, "the divergence moves μ towards 1"
    for name in ("loss", "kl"):
        values, others = ([entry[name] for entry in log if name in entry] for log in (logs, other_logs))
        assert values == pytest.approx(others, rel=1e-5)


def run_of_processes(batch, noise):
    """The weights of model and network after training with 4 processed examples a draw, in whichever process."""
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(
            Path(folder), dropout=0.0, per_device_train_batch_size=batch, swep_learning_rate=0.05, max_steps=5,
            **PLAIN | {"max_grad_norm": 0.05}, tasks_per_step=2, logging_steps=1,
        )  # fmt: skip
        if not noise:
            fix_noise(made, mean=0.5)
        made.train()
        kls = [entry["kl"] for entry in made.state.log_history if "kl" in entry]
    # As arrays, since a tensor cannot outlive the process that it comes from.
    return [
        {name: p.numpy() for name, p in of.items()} for of in (tiny.weights(made.model), network_weights(made))
    ], kls


def test_two_processes_end_where_one_ends(tmp_path):
    """Law 5, with noise that is not drawn."""
    (there, kls), (here, _) = together(2, run_of_processes, 2, False)
    alone, expected = run_of_processes(4, False)
    for module in (0, 1):
        for name, weights in alone[module].items():
            assert (there[module][name] == here[module][name]).all()
            assert abs(there[module][name] - weights).max() < 1e-6
    assert kls == pytest.approx(expected, rel=1e-5)


def test_with_noise_too_processes_keep_one_network(tmp_path):
    (there, _), (here, _) = together(2, run_of_processes, 2, True)
    for module in (0, 1):
        assert all((there[module][name] == here[module][name]).all() for name in here[module])


# Beside the model, not in it.


def test_evaluation_and_prediction_are_of_the_plain_model(tmp_path):
    swep, mtl = trainer(tmp_path), tiny.trainer(tmp_path, method="mtl")
    tiny.train(swep)
    mtl.model.load_state_dict(swep.model.state_dict())
    heldout = tiny.task(8, 5)
    assert swep.evaluate(heldout)["eval_loss"] == mtl.evaluate(heldout)["eval_loss"]
    assert (swep.predict(heldout).predictions == mtl.predict(heldout).predictions).all()
    assert not swep.model.get_input_embeddings()._forward_hooks


def test_what_is_saved_is_the_model_alone(tmp_path):
    tiny.train(trainer(tmp_path, save_strategy="steps", save_steps=3)).save_model()
    stock = tiny.model().state_dict().keys()
    for folder in (tmp_path, tmp_path / "checkpoint-3", tmp_path / "checkpoint-6"):
        assert load_file(folder / "model.safetensors").keys() == stock
    assert not (tmp_path / "perturbation.safetensors").exists()
    assert (tmp_path / "checkpoint-3" / "perturbation.safetensors").exists()
    BertForTokenClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("stopped_at", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, stopped_at):
    """Law 4: an epoch has 2 steps and a shorter third; noise and dropout are drawn."""
    changes = {
        "save_strategy": "steps", "save_steps": 1, "max_steps": 11, "tasks_per_step": 3, "swep_learning_rate": 1e-2,
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    whole = tiny.train(trainer(tmp_path / "whole", **changes))
    shutil.copytree(tmp_path / "whole" / f"checkpoint-{stopped_at}", tmp_path / "resumed" / f"checkpoint-{stopped_at}")
    resumed = tiny.train(trainer(tmp_path / "resumed", **changes), resume_from_checkpoint=True)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))
    tiny.assert_equal(network_weights(resumed), network_weights(whole))


def test_the_network_has_a_group_of_its_own_in_the_optimizer(tmp_path):
    made = trainer(tmp_path, weight_decay=0.1, swep_learning_rate=4e-3, max_steps=4, logging_steps=1)
    made.train()
    group = made.optimizer.param_groups[-1]
    assert [id(p) for p in group["params"]] == [id(p) for p in made.network.parameters()]
    assert group["weight_decay"] == 0 and group["initial_lr"] == 4e-3
    assert made.state.log_history[0]["learning_rate"] == 1e-2, "the model's"
    assert len(made.lr_scheduler.get_last_lr()) == 3 and group["lr"] == 0.0


def test_a_given_optimizer_gets_the_group_and_a_given_scheduler_is_refused(tmp_path):
    model = tiny.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = trainer(tmp_path, of_model=model, init={"optimizers": (optimizer, None)}, swep_learning_rate=0.05)
    made.create_optimizer()
    start = network_weights(made)
    made.train()
    assert tiny.largest_difference(start, network_weights(made)) > 0.01
    model = tiny.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    made = trainer(tmp_path, of_model=model, init={"optimizers": (optimizer, scheduler)})
    with pytest.raises(InputError, match=r"pass optimizers=\(optimizer, None\)"):
        made.train()


# Options of the stock trainer.


def test_bf16(tmp_path):
    plain, bf16 = (tiny.train(trainer(tmp_path, bf16=on, learning_rate=1e-3, dropout=0.0)) for on in (False, True))
    assert all(p.dtype == torch.float32 for p in [*bf16.model.parameters(), *bf16.network.parameters()])
    assert 0 < tiny.largest_difference(tiny.weights(bf16.model), tiny.weights(plain.model)) < 0.02
    half = trainer(tmp_path, of_model=tiny.model().to(torch.bfloat16))
    start = tiny.weights(half.model)
    tiny.train(half)
    assert tiny.largest_difference(tiny.weights(half.model), start) > 0


@pytest.mark.parametrize("targets", [["query"], ["query", "word_embeddings"]], ids=str)
def test_lora(tmp_path, targets):
    torch.manual_seed(0)
    model = get_peft_model(tiny.model(), LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=targets))
    made = trainer(tmp_path, of_model=model, max_steps=4, swep_learning_rate=1e-2)
    made.create_optimizer()
    start, start_of_network = tiny.weights(model), network_weights(made)
    tiny.train(made)
    moved = {name for name, p in tiny.weights(model).items() if not torch.equal(p, start[name])}
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    assert tiny.largest_difference(start_of_network, network_weights(made)) > 1e-3


def test_frozen_word_embeddings(tmp_path):
    """The gradient reaches the network through z all the same: with β = 0 there is no other."""
    model = tiny.model()
    model.get_input_embeddings().requires_grad_(False)
    made = trainer(tmp_path, of_model=model, swep_beta=0.0, swep_learning_rate=1e-2, max_steps=4)
    made.create_optimizer()
    words, network = model.get_input_embeddings().weight.clone(), network_weights(made)
    tiny.train(made)
    assert torch.equal(words, model.get_input_embeddings().weight)
    assert tiny.largest_difference(network, network_weights(made)) > 1e-3


def test_activation_checkpointing_changes_nothing(tmp_path):
    with_it, without = (tiny.train(trainer(tmp_path, activation_checkpointing=on)) for on in (True, False))
    assert tiny.largest_difference(tiny.weights(with_it.model), tiny.weights(without.model)) < 1e-6
    assert tiny.largest_difference(network_weights(with_it), network_weights(without)) < 1e-6


@pytest.mark.slow
def test_torch_compile(tmp_path):
    """The compiled model gets each step's noise, and none in the evaluations between."""
    runs = []
    for on in (True, False):
        made = trainer(
            tmp_path, torch_compile=on, dropout=0.0, learning_rate=1e-3, swep_learning_rate=1e-2,
            eval_strategy="steps", eval_steps=2, init={"eval_dataset": {"de": tiny.task(8, 5)}},
        )  # fmt: skip
        # One shape, and so one compilation for all batches: a graph that kept an old noise would show.
        made.data_collator = DataCollatorForTokenClassification(tiny.tokenizer(), pad_to_multiple_of=16)
        runs.append(tiny.train(made))
    compiled, plain = runs
    assert tiny.largest_difference(tiny.weights(compiled.model), tiny.weights(plain.model)) < 1e-5
    evaluations = [[e["eval_loss"] for e in t.state.log_history if "eval_loss" in e] for t in runs]
    assert evaluations[0] == pytest.approx(evaluations[1], rel=1e-4)


# What it cannot run on.


class Bare(nn.Module):
    """A model that is not of transformers."""

    def __init__(self):
        super().__init__()
        self.inner = tiny.model()

    def forward(self, input_ids, attention_mask, labels):
        return self.inner(input_ids, attention_mask, labels=labels)


def test_a_model_without_word_embeddings_is_refused_before_training(tmp_path):
    with pytest.raises(InputError, match=r"--method swep needs .* word embeddings .* Bare does not have"):
        trainer(tmp_path, of_model=Bare()).train()


class Elsewhere(BertForTokenClassification):
    """A model that names other word embeddings than those it uses, as encoder–decoders do."""

    def __init__(self, config):
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.hidden_size)

    def get_input_embeddings(self):
        return self.shared


def test_a_model_that_looks_its_words_up_elsewhere_is_refused(tmp_path):
    model = Elsewhere(tiny.model().config)
    start = tiny.weights(model)
    with pytest.raises(InputError, match="looks them up 0 times"):
        trainer(tmp_path, of_model=model).train()
    tiny.assert_equal(tiny.weights(model), start)


def test_the_plan_tells_the_cost(tmp_path, capsys):
    trainer(tmp_path).train()
    assert "every batch passes the encoder once more, and the model at twice its size" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["swep_p", "swep_beta", "swep_learning_rate"])
def test_its_settings_are_refused_by_other_methods(tmp_path, name):
    with pytest.raises(InputError, match=f"--{name} is a setting of --method swep"):
        tiny.trainer(tmp_path, method="mtl", **{name: 0.5})
