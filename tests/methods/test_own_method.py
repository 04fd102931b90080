"""A user's own method: it has its parents' settings, and everything that is said of it is its own."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from huggingface_hub import ModelCard

from hf_seqreptile import METHODS, InputError, MultiTaskTrainer, MultiTaskTrainingArguments, SeqReptileTrainer
from hf_seqreptile.console.arguments import parse_arguments
from hf_seqreptile.ranges import POSITIVE
from hf_seqreptile.training.setting import Setting
from tests import scripts, tiny


class LogSizes(MultiTaskTrainer):
    """The example of docs/own_method.md."""

    method = "log_sizes"
    title = "MTL with p_t ∝ log N_t"
    probabilities_in_words = "p_t ∝ log N_t"
    default_tasks_per_step = 2

    @property
    def task_probabilities(self) -> dict[str, float]:
        assert self.tasks is not None
        weights = {task: math.log(size) for task, size in self.tasks.sizes.items()}
        return {task: weight / sum(weights.values()) for task, weight in weights.items()}


class Annealed(SeqReptileTrainer):
    """Says nothing of itself but its name."""

    method = "annealed"


class Silent(SeqReptileTrainer):
    """Draws otherwise than its parent, and says nothing of it."""

    method = "silent"

    @property
    def task_probabilities(self) -> dict[str, float]:
        return dict.fromkeys(self._training_tasks.sizes, 1 / len(self._training_tasks.sizes))


@dataclass
class ArgumentsOfItsOwn(MultiTaskTrainingArguments):
    temperature: Annotated[float, Setting("temperature of the draws", "τ", POSITIVE, ("log_sizes",))] = field(
        default=2.0, metadata={"help": "τ."}
    )


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for trainer in (LogSizes, Annealed, Silent):
        monkeypatch.setitem(METHODS, trainer.method, trainer)


def card_of(folder: Path, method: str, **changes: object) -> str:
    trainer = tiny.trainer(folder, trainer_class=METHODS[method], method=method, save_strategy="no", **changes)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    return ModelCard.load(folder / "README.md").text


def test_a_subclass_has_its_parents_settings(registered: None, tmp_path: Path) -> None:
    card = card_of(tmp_path, "annealed", inner_steps=5, outer_learning_rate=0.25)
    row = [[cell.strip() for cell in line.split("|")[1:4]] for line in card.splitlines() if "inner steps of a" in line]
    assert row == [["inner steps of a trajectory", "K", "5"]]
    assert "fine-tuned on local files (de, en, sw) with annealed." in card
    assert "The method is that of this paper" not in card and "compares its own method with this one" not in card


def test_settings_of_other_methods_are_refused(registered: None, tmp_path: Path) -> None:
    for method in ("annealed", "log_sizes"):
        args = tiny.arguments(tmp_path, method=method, swep_p=0.2)
        with pytest.raises(InputError, match=f"--swep_p is a setting of --method swep, and --method {method} has no"):
            METHODS[method].check_arguments(args)


def test_the_card_says_how_it_draws(registered: None, tmp_path: Path) -> None:
    card = card_of(tmp_path / "log", "log_sizes")
    assert "Tasks were drawn with probability p_t ∝ log N_t; each optimizer step took M = 2 of them" in card
    assert "N_t^q" not in card and "task sampling exponent" not in card
    card = card_of(tmp_path / "silent", "silent", inner_steps=5)
    assert "probability p_t of its own rule" in card and "N_t^q" not in card and "task sampling exponent" not in card


def test_an_exponent_without_effect_is_refused(registered: None, tmp_path: Path) -> None:
    args = tiny.arguments(tmp_path, method="log_sizes", task_sampling_exponent=0.5)
    with pytest.raises(InputError, match=r"has no effect with --method log_sizes, which draws tasks with p_t ∝ log"):
        LogSizes.check_arguments(args)


def test_help_and_dry_run_know_it(registered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([MultiTaskTrainingArguments], ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "settings of --method seq_reptile, reptile, annealed, silent:" in text
    assert "log_sizes, annealed, silent." in text and "2 for log_sizes" in text
    command = ["--model_name_or_path", "m", "--dataset_name", "d/d", "--do_train", "--output_dir", str(tmp_path)]
    assert scripts.main(*command, "--method", "log_sizes", "--max_steps", "9", "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "MTL with p_t ∝ log N_t" in printed and "M = 2 drawn tasks, a batch each, p_t ∝ log N_t\n" in printed


def test_a_setting_of_its_own_is_one_declaration(registered: None, tmp_path: Path) -> None:
    arguments = {"output_dir": str(tmp_path), "method": "log_sizes", "report_to": "none", "use_cpu": True}
    args = ArgumentsOfItsOwn(temperature=3.0, **arguments)
    assert LogSizes.settings(args) == {"temperature": 3.0}
    with pytest.raises(InputError, match=r"^--temperature \(τ\) is -1; it must be above 0"):
        ArgumentsOfItsOwn(temperature=-1, **arguments)
    (parsed,) = parse_arguments([ArgumentsOfItsOwn], ["--output_dir", str(tmp_path), "--temperature", "4"])
    assert parsed.temperature == 4
    other = ArgumentsOfItsOwn(**arguments | {"method": "mtl"}, temperature=3.0)
    with pytest.raises(InputError, match="--temperature is a setting of --method log_sizes"):
        MultiTaskTrainer.check_arguments(other)
