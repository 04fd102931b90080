"""A checkpoint with a damaged file is refused by name, or the file has no say in how the run ends."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hf_seqreptile import InputError
from hf_seqreptile.training.checkpoint_damage import damage_explained
from tests import tiny

SAVING = {"save_strategy": "steps", "save_steps": 5, "max_steps": 6}
"""The checkpoint is in the middle of a trajectory: K is 4."""
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda content: None,
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "noise": lambda content: bytes(range(256)) * 8,
    "object": lambda content: b"{}",
    "list": lambda content: b"[]",
    "another's": lambda content: content.replace(b'"', b'"x'),
}
READ = [
    "model.safetensors", "multitask_state.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json",
]  # fmt: skip
"""What each run that continues reads."""
OWN = {"seq_reptile": ["trajectory.safetensors"], "swep": ["perturbation.safetensors"]}
UNREAD = ["config.json", "tokenizer.json", "tokenizer_config.json", "training_args.json"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, torch.Tensor]]]:
    """A method's checkpoint, and the weights in which its run ends."""
    made: dict[str, tuple[Path, dict[str, torch.Tensor]]] = {}

    def make(method: str) -> tuple[Path, dict[str, torch.Tensor]]:
        if method not in made:
            folder = tmp_path_factory.mktemp(method)
            trainer = tiny.train(tiny.trainer(folder, method=method, **SAVING))
            made[method] = (folder / "checkpoint-5", tiny.weights(trainer.model))
        return made[method]

    return make


@pytest.mark.parametrize(
    ("method", "file"),
    [
        *(("seq_reptile", file) for file in [*READ, *OWN["seq_reptile"], *UNREAD]),
        ("swep", *OWN["swep"]),
        *((method, "multitask_state.json") for method in ("gradnorm", "gradvac")),
    ],
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(tmp_path, saved, method, file, damage):
    checkpoint, end = saved(method)
    copy = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, copy)
    content = DAMAGES[damage]((copy / file).read_bytes())
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    trainer = tiny.trainer(tmp_path, method=method, **SAVING)
    try:
        tiny.train(trainer, resume_from_checkpoint=str(copy))
    except (InputError, OSError) as error:
        assert str(copy) in str(error)
    else:
        assert file in UNREAD or content == (checkpoint / file).read_bytes()
        tiny.assert_equal(tiny.weights(trainer.model), end)


def test_a_sound_checkpoint_of_another_model_may_not_be_damaged(tmp_path, saved):
    checkpoint, _ = saved("seq_reptile")
    larger = tiny.trainer(tmp_path, of_model=tiny.model(layers=2), **SAVING)
    larger.model.resize_token_embeddings(50)
    with pytest.raises(InputError, match=r"or of another model: RuntimeError: (.|\n)*size mismatch"):
        larger.train(resume_from_checkpoint=str(checkpoint))


def test_too_little_memory_is_no_damage(tmp_path):
    with pytest.raises(torch.OutOfMemoryError), damage_explained(tmp_path):
        raise torch.OutOfMemoryError("too little memory")


@pytest.mark.parametrize("method", OWN)
def test_the_files_above_are_all_of_a_checkpoint_s(saved, method):
    assert sorted(path.name for path in saved(method)[0].iterdir()) == sorted([*READ, *OWN[method], *UNREAD])
