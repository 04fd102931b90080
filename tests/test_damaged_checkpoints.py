"""A checkpoint with a damaged file is refused by name, or the file has no say in how the run ends."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hf_seqreptile import InputError
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


@pytest.mark.parametrize("method", OWN)
def test_the_files_above_are_all_of_a_checkpoint_s(saved, method):
    assert sorted(path.name for path in saved(method)[0].iterdir()) == sorted([*READ, *OWN[method], *UNREAD])
