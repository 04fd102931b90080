"""What a user sees while training."""

from hf_seqreptile.training.progress import over_all_tasks
from tests import tiny


def test_lines_leave_single_tasks_out():
    training = {"loss": 0.5, "loss/sw": 0.4, "draws/sw": 3.0, "learning_rate": 1e-4, "epoch": 0.5}
    assert over_all_tasks(training) == {"loss": 0.5, "learning_rate": 1e-4, "epoch": 0.5}
    evaluation = {"eval_sw_f1": 0.1, "eval_avg_f1": 0.2, "eval_f1": 0.2, "eval_sw_runtime": 1.0, "epoch": 0.5}
    assert over_all_tasks(evaluation) == {"eval_avg_f1": 0.2, "epoch": 0.5}
    one_dataset = {"eval_loss": 0.3, "eval_runtime": 1.0}
    assert over_all_tasks(one_dataset) == one_dataset


def test_the_bar_is_there_and_its_lines_are_short(tmp_path, capsys):
    trainer = tiny.trainer(
        tmp_path, disable_tqdm=False, eval_strategy="steps", eval_steps=12,
        init={"eval_dataset": {"de": tiny.task(4, 5), "nl": tiny.task(4, 6)}},
    )  # fmt: skip
    trainer.train()
    printed = capsys.readouterr()
    assert "12/12" in printed.err
    assert "eval_avg_loss" in printed.out and "eval_nl" not in printed.out and "draws/" not in printed.out
    assert any("eval_nl_loss" in entry for entry in trainer.state.log_history)
