"""Every method with several heads on one encoder, against steps on an encoder and two linear layers by hand."""

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.utils.data import Dataset

from hf_seqreptile.methods.gradnorm import last_layer
from hf_seqreptile.methods.task_gradients import layers
from hf_seqreptile.models.multi_head import MultiHeadModel
from tests import conflicting, heads, inner_steps, tiny
from tests.methods.test_gradnorm import plain_gradnorm, steps_of
from tests.methods.test_gradvac import algorithm_1 as gradvac
from tests.methods.test_gradvac import as_pairs
from tests.methods.test_pcgrad import algorithm_1 as pcgrad
from tests.methods.test_recadam import reference as recadam
from tests.methods.test_seq_reptile import backward, batches_of
from tests.methods.test_swep import fix_noise

PLAIN = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "learning_rate": 0.2}


class ByHand(nn.Module):
    """An encoder and two linear layers, with the values and the names that they have in a model with several heads."""

    def __init__(self, of: MultiHeadModel) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(of.encoder)
        layers = {name: copy.deepcopy(of.head(name).classifier) for name in ("tags", "topics")}
        self.heads = nn.ModuleDict({f"{n}_head": nn.ModuleDict({"classifier": one}) for n, one in layers.items()})

    def forward(self, head: str, labels: torch.Tensor, labels_in_batch: int = 0, **inputs: Any) -> SimpleNamespace:
        outputs = self.encoder(**inputs)
        features = outputs.last_hidden_state if head == "tags" else outputs.pooler_output
        logits = self.heads[f"{head}_head"]["classifier"](features)
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()))

    @property
    def bert(self) -> nn.Module:
        return self.encoder


def names_of(model: nn.Module, of_encoder: bool) -> list[str]:
    return [name for name, _ in model.named_parameters() if name.startswith("encoder.") == of_encoder]


def mean(vectors: list[torch.Tensor]) -> torch.Tensor:
    return sum(vectors) / len(vectors)


def trained_and_by_hand(folder: Path, method: str, **changes: Any) -> tuple[Any, ByHand]:
    """A trainer before training, and its model by hand."""
    settings = PLAIN | {"max_steps": 6} | ({} if changes.get("all_tasks_each_step") else {"tasks_per_step": 5})
    trainer = heads.trainer(folder, method=method, **settings | changes)
    return trainer, ByHand(trainer.model)


def assert_they_agree(trainer: Any, expected: dict[str, torch.Tensor], tolerance: float = 1e-5) -> None:
    start = tiny.weights(heads.model(kinds=heads.TWO))
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < tolerance
    for of_encoder in (True, False):
        moved = {name: expected[name] for name in names_of(trainer.model, of_encoder)}
        assert tiny.largest_difference(moved, start) > 1e-2


@pytest.mark.parametrize(
    "changes",
    [{"tasks_per_step": 1}, {"tasks_per_step": 2, "gradient_accumulation_steps": 2}, {"all_tasks_each_step": True}],
    ids=str,
)
def test_mtl(tmp_path, changes):
    trainer, by_hand = trained_and_by_hand(tmp_path, "mtl", **changes)
    expected = conflicting.descend(
        trainer, by_hand, lambda step, gradients: conflicting.on_vectors(list(gradients.values()), mean)
    )
    trainer.train()
    assert_they_agree(trainer, expected)


def test_a_head_that_no_draw_of_a_step_is_of_stays_where_it_is(tmp_path):
    """AdamW's moments and weight decay would move it on."""
    seen = []

    class Watching(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.append(tiny.weights(model))

    trainer = heads.trainer(
        tmp_path, method="mtl", tasks_per_step=1, weight_decay=0.1, max_steps=12, init={"callbacks": [Watching()]}
    )
    drawn = [draw[0]["head"] for draw in batches_of(trainer, 12)]
    trainer.train()
    assert len(set(drawn)) == 2
    for step in range(1, 12):
        for name in names_of(trainer.model, of_encoder=False):
            is_still = torch.equal(seen[step][name], seen[step - 1][name])
            assert is_still == (not name.startswith(f"heads.{drawn[step]}_head."))


def compare_on_the_encoder(combine_encoder):
    """A step's gradient: `combine_encoder` of those of the encoder, and in the heads that of MTL."""

    def combine(names, step, gradients):
        of_heads = conflicting.on_vectors(list(gradients.values()), mean, [n for n in names if n.startswith("heads.")])
        return combine_encoder(step, gradients, [n for n in names if n.startswith("encoder.")]) | of_heads

    return combine


@pytest.mark.parametrize("changes", [{}, {"all_tasks_each_step": True, "gradient_accumulation_steps": 2}], ids=str)
def test_pcgrad(tmp_path, changes):
    trainer, by_hand = trained_and_by_hand(tmp_path, "pcgrad", **changes)
    orders = conflicting.orders_of(trainer)

    def of_encoder(step, gradients, names):
        return conflicting.on_vectors(list(gradients.values()), lambda v: pcgrad(v, orders[step]), names)

    names = [name for name, _ in by_hand.named_parameters()]
    expected = conflicting.descend(trainer, by_hand, partial(compare_on_the_encoder(of_encoder), names))
    assert_they_agree(trainer, expected)
    mtl = trained_and_by_hand(tmp_path, "mtl", **changes)[0]
    mtl.train()
    assert tiny.largest_difference(tiny.weights(mtl.model), expected) > 1e-3, "these tasks' gradients should conflict"


def test_gradvac(tmp_path):
    trainer, by_hand = trained_and_by_hand(tmp_path, "gradvac", gradvac_beta=0.3)
    orders = conflicting.orders_of(trainer)
    targets: dict[str, dict] = {group: {} for group in layers(names_of(trainer.model, of_encoder=True))}

    def of_encoder(step, gradients, names):
        combined = {}
        for group, members in layers(names).items():
            change = lambda v, of=targets[group]: gradvac(  # noqa: E731
                dict(zip(gradients, v, strict=True)), orders[step], of, beta=0.3
            )
            combined |= conflicting.on_vectors(list(gradients.values()), change, members)
        return combined

    names = [name for name, _ in by_hand.named_parameters()]
    expected = conflicting.descend(trainer, by_hand, partial(compare_on_the_encoder(of_encoder), names))
    assert_they_agree(trainer, expected, tolerance=1e-4)
    found = {group: as_pairs(of) for group, of in trainer.multitask_state()["gradvac_targets"].items()}
    assert found == {group: pytest.approx(of, abs=1e-4) for group, of in targets.items()}


def test_torchjd(tmp_path):
    aggregation = pytest.importorskip("torchjd.aggregation", reason="optional: TorchJD's weightings")
    trainer, by_hand = trained_and_by_hand(tmp_path, "torchjd:MGDA")

    def of_encoder(step, gradients, names):
        aggregate = lambda v: aggregation.MGDA()(torch.stack(v))  # noqa: E731
        return conflicting.on_vectors(list(gradients.values()), aggregate, names)

    names = [name for name, _ in by_hand.named_parameters()]
    expected = conflicting.descend(trainer, by_hand, partial(compare_on_the_encoder(of_encoder), names))
    trainer.train()
    assert_they_agree(trainer, expected, tolerance=1e-3)


def test_gradnorm(tmp_path):
    """Its W is the encoder's last layer."""
    trainer, by_hand = trained_and_by_hand(tmp_path, "gradnorm", tasks_per_step=3, gradnorm_learning_rate=0.1)
    expected, _ = plain_gradnorm(by_hand, steps_of(trainer), trainer.args, trainer.tasks.sizes)
    trainer.train()
    assert_they_agree(trainer, tiny.weights(by_hand))
    assert trainer.loss_weights == pytest.approx(expected, rel=1e-4)
    assert max(abs(w - 1) for w in expected.values()) > 0.05


def test_gradnorms_layer_is_the_encoders_where_a_heads_name_ends_in_a_number_too(tmp_path):
    """A ResNet's `classifier.1`."""
    model = images()
    assert any("classifier.1" in name for name in names_of(model, of_encoder=False))
    trainer = heads.trainer(tmp_path, image_tasks(), of_model=model, method="mtl", init=IMAGES)
    assert set(last_layer(trainer.shared_parameters)) < set(model.encoder.parameters())


def test_recadam(tmp_path):
    """The encoder is recalled; heads, with no pretrained values, get plain AdamW in the steps that they are in."""
    steps, settings = 10, {"k": 0.7, "t0": 5.0, "gamma": 60.0}
    model = heads.model(kinds=heads.TWO).double()
    trainer = heads.trainer(
        tmp_path, of_model=model, method="recadam", max_steps=steps, weight_decay=0.1, recadam_k=0.7, tasks_per_step=1,
        recadam_gamma=60.0, recadam_t0=5.0, adam_epsilon=1e-6, max_grad_norm=0.5, lr_scheduler_type="constant",
    )  # fmt: skip
    decayed = trainer.get_decay_parameter_names(trainer.model)
    by_hand = ByHand(model)
    start = tiny.weights(by_hand)
    seen: dict[str, list] = {name: [] for name in start}
    for step, draw in enumerate(batches_of(trainer, steps)):
        by_hand.zero_grad()
        backward(by_hand, draw)
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        for name, p in by_hand.named_parameters():
            seen[name].append(None if p.grad is None else p.grad.clone())
            star = start[name] if name.startswith("encoder.") else None
            p.data = recadam(
                start[name], star, seen[name], [1e-2] * (step + 1), **settings, betas=(0.9, 0.999), eps=1e-6,
                decay=0.1 if name in decayed else 0.0,
            )  # fmt: skip
    trainer.train()
    assert tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(by_hand)) < 1e-10
    assert {len([g for g in of if g is not None]) for name, of in seen.items() if "heads" in name} - {0, steps}


def test_swep_with_noise_of_one_is_mtl(tmp_path):
    swep, by_hand = trained_and_by_hand(tmp_path, "swep", swep_learning_rate=1e-12, swep_beta=0.0)
    expected = conflicting.descend(
        swep, by_hand, lambda step, gradients: conflicting.on_vectors(list(gradients.values()), mean)
    )
    fix_noise(swep, mean=1.0).train()
    assert_they_agree(swep, expected)


class Choices(Dataset):
    """Two sentences a row, and which of them it is."""

    def __init__(self, size: int) -> None:
        self.rows = torch.randint(4, len(tiny.WORDS), (size, 2, 5), generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        ids = self.rows[row]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": int(ids[0, 0] > ids[1, 0])}


def test_swep_perturbs_choices_too(tmp_path):
    """Their rows hold several sentences each."""
    ends = []
    for method in ("swep", "mtl"):
        model = heads.model(kinds={"tags": heads.TOKENS, "choices": "MultipleChoice"})
        own = {"swep_learning_rate": 1e-12, "swep_beta": 0.0} if method == "swep" else {}
        init = {
            "task_heads": {"de": "tags", "xcopa": "choices"},
            "data_collator": heads.collators(["de"]) | {"xcopa": transformers.default_data_collator},
        }
        train = heads.tasks("de") | {"xcopa": Choices(9)}
        trainer = heads.trainer(
            tmp_path, train, model, method=method, init=init, **PLAIN, **own, tasks_per_step=2, max_steps=3
        )
        if own:
            fix_noise(trainer, mean=1.0)
        trainer.train()
        ends.append(tiny.weights(trainer.model))
    assert tiny.largest_difference(*ends) < 1e-5


@pytest.mark.parametrize("method", ["seq_reptile", "reptile"])
def test_the_heads_are_a_part_of_phi(tmp_path, method):
    """Algorithm 1 and Equation 3, with AdamW: a head that no inner step is of stays where it is."""
    train, trajectory, eta = heads.tasks("de", "en", "sw"), 4, 0.5
    trainer = heads.trainer(
        tmp_path, train, method=method, weight_decay=0.01, lr_scheduler_type="constant", adam_epsilon=1e-5,
        max_steps=24, inner_steps=trajectory, outer_learning_rate=eta,
    )  # fmt: skip
    by_hand = ByHand(trainer.model)
    phi = tiny.weights(by_hand)
    if method == "seq_reptile":
        draws = [batch for (batch,) in batches_of(trainer, 24)]
        optimizer = inner_steps.adamw(by_hand)
        for start in range(0, 24, trajectory):
            theta = inner_steps.trajectory(phi, draws[start : start + trajectory], optimizer, by_hand)
            phi = inner_steps.outer_update(phi, [theta], eta)
    else:
        collators = heads.collators()
        streams = {task: inner_steps.draws_of(task, train[task], collate=collators[task]) for task in train}
        for first in (0, 4):
            ends = []
            for task, draw in streams.items():
                batches = [{**draw(first + k), "head": heads.TASK_HEADS[task]} for k in range(trajectory)]
                ends.append(inner_steps.trajectory(phi, batches, inner_steps.adamw(by_hand), by_hand))
            phi = inner_steps.outer_update(phi, ends, eta)
    trainer.train()
    assert_they_agree(trainer, phi, tolerance=2e-5)


def test_alignment_and_distance_are_the_encoders(tmp_path):
    """With heads in them, whose gradients of other tasks are zero, cosines would shrink."""
    train = {"de": tiny.task(20, 1), "en": heads.topics(13, 2), "sw": tiny.task(7, 3)}
    trainer = heads.trainer(tmp_path, train, method="mtl", per_device_train_batch_size=5, log_gradient_alignment=12)
    by_hand = ByHand(trainer.model)
    names, gradients = names_of(by_hand, of_encoder=True), {}
    for task, dataset in train.items():
        by_hand.zero_grad()
        by_hand(head=heads.TASK_HEADS[task], **heads.collators()[task](list(dataset))).loss.backward()
        of_encoder = [p.grad if p.grad is not None else torch.zeros_like(p) for p in by_hand.encoder.parameters()]
        gradients[task] = torch.cat([gradient.flatten().double() for gradient in of_encoder])
    trainer.train()
    first, last = (entry for entry in trainer.state.log_history if "cosine/avg" in entry)
    expected = {
        f"cosine/{a}/{b}": torch.cosine_similarity(gradients[a], gradients[b], dim=0).item()
        for a, b in (("de", "en"), ("de", "sw"), ("en", "sw"))
    }
    assert {key: first[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    end, start = tiny.weights(trainer.model), tiny.weights(by_hand)
    distance = torch.cat([(end[name] - start[name]).flatten() for name in names]).norm().item()
    assert first["distance"] == 0 and last["distance"] == pytest.approx(distance, rel=1e-5)
    assert "MiB" in str(trainer.plan(10)) and set(trainer.shared_parameters) == set(names)


def test_stl_trains_one_task_and_its_head(tmp_path):
    model = heads.model(kinds=heads.TWO)
    start = tiny.weights(model)
    trainer = heads.trainer(tmp_path, of_model=model, method="stl")
    trainer.train()
    end = tiny.weights(trainer.model)
    moved = {name.split(".")[1] for name in names_of(model, False) if not torch.equal(end[name], start[name])}
    assert moved == {"tags_head"}


# Running statistics.


class Images(Dataset):
    """Noise of a brightness of its own."""

    def __init__(self, size: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(size, 3, 32, 32, generator=random) * (seed + 1) + seed
        self.labels = torch.arange(size) % 2

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.rows[row], "labels": self.labels[row]}


IMAGES = {"data_collator": transformers.default_data_collator, "task_heads": None}


def image_tasks() -> dict[str, Dataset]:
    return {"cats": Images(12, 1), "dogs": Images(9, 2)}


def images() -> MultiHeadModel:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_channels=3
    )
    return heads.model(config, dict.fromkeys(("cats", "dogs"), "ImageClassification"))


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: b.clone() for name, b in model.named_buffers() if b.is_floating_point()}


def test_running_statistics_are_averaged_as_parameters_are(tmp_path):
    """φ with the statistics of the last trajectory's end would be no model that was trained."""
    changes = {"inner_steps": 3, "max_steps": 3, "learning_rate": 1e-2, "per_device_train_batch_size": 3}
    model = images()
    start = statistics(model)
    assert start
    theta = heads.trainer(
        tmp_path, image_tasks(), of_model=copy.deepcopy(model), init=IMAGES, outer_learning_rate=1.0, **changes
    )
    phi = heads.trainer(
        tmp_path, image_tasks(), of_model=model, init=IMAGES, outer_learning_rate=0.25, save_strategy="steps",
        save_steps=2, **changes,
    )  # fmt: skip
    for trainer in (theta, phi):
        tiny.train(trainer)
    end, averaged = statistics(theta.model), statistics(phi.model)
    for name, value in averaged.items():
        torch.testing.assert_close(value, start[name] + 0.25 * (end[name] - start[name]))
    assert tiny.largest_difference(averaged, start) > 1e-2
    resumed = heads.trainer(
        tmp_path, image_tasks(), of_model=images(), init=IMAGES, outer_learning_rate=0.25, **changes
    )
    tiny.train(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    tiny.assert_equal(statistics(resumed.model), averaged)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(phi.model))


def test_each_trajectory_of_reptile_has_statistics_of_its_own(tmp_path):
    """From those of φ; the mean of the ends are the new ones."""
    changes = {"method": "reptile", "inner_steps": 2, "per_device_train_batch_size": 3, "outer_learning_rate": 1.0}
    ends = []
    for train in ({"cats": Images(12, 1)}, {"dogs": Images(9, 2)}, image_tasks()):
        steps = 2 * len(train)
        trainer = heads.trainer(tmp_path, train, of_model=images(), init=IMAGES, max_steps=steps, **changes)
        ends.append(statistics(tiny.train(trainer).model))
    for name, value in ends[2].items():
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2)
