"""The command line: Hugging Face's arguments with their defaults, ours beside them, and files of arguments."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from hf_seqreptile import METHODS, InputError, MultiTaskTrainingArguments
from hf_seqreptile.console.arguments import parse_arguments
from hf_seqreptile.models.loading import ModelArguments
from hf_seqreptile.problems.problem import Problem
from hf_seqreptile.problems.question_answering import QuestionAnswering
from hf_seqreptile.problems.sequence_classification import SequenceClassification
from hf_seqreptile.problems.text_classification import TextClassification
from hf_seqreptile.problems.token_classification import TokenClassificationArguments
from hf_seqreptile.training.setting import settings_of
from tests.scripts import write

CLASSES = (ModelArguments, TokenClassificationArguments, MultiTaskTrainingArguments)

HUGGING_FACES = {
    "model_name_or_path": None, "config_name": None, "tokenizer_name": None, "cache_dir": None,
    "model_revision": "main", "token": None, "trust_remote_code": False, "ignore_mismatched_sizes": False,
    "task_name": "ner", "dataset_name": None, "dataset_config_name": None, "train_file": None, "validation_file": None,
    "test_file": None, "text_column_name": None, "label_column_name": None, "overwrite_cache": False,
    "preprocessing_num_workers": None, "max_seq_length": None, "pad_to_max_length": False, "max_train_samples": None,
    "max_eval_samples": None, "max_predict_samples": None, "label_all_tokens": False,
    "return_entity_level_metrics": False,
}  # fmt: skip
"""The arguments of `run_ner.py` in transformers' examples, but for those of `TrainingArguments`."""

OURS = {
    # As TRL has them.
    "use_peft": False, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "lora_target_modules": None,
    "method": "seq_reptile", "languages": None, "eval_languages": None, "tasks_per_step": None,
    "all_tasks_each_step": False, "log_gradient_alignment": None, "tag_scheme": None,
    "max_gradient_computations": None,
    "task_sampling_exponent": 0.2, "inner_steps": None, "outer_learning_rate": None,
    "inner_optimizer_state": "keep", "slow_weights_device": None, "parallel_trajectories": False,
    "task_gradients_device": None,
    "task_gradients_dtype": "float32", "gradvac_beta": 0.01, "gradvac_granularity": "layer", "gradnorm_exponent": 1.5,
    "gradnorm_learning_rate": 0.025, "recadam_k": 0.5, "recadam_t0": 250, "recadam_gamma": 5000, "swep_p": 0.1,
    "swep_beta": 1.0, "swep_learning_rate": 3e-5, "task_column": None, "trim_vocabulary": False,
    "num_clusters": None, "eval_dataset": None, "allow_changes": None, "task_weights": None,
    "task_batch_sizes": None, "max_task_passes": None,
    # The paper's settings, and an order of examples that changes no draw of tasks.
    "learning_rate": 3e-5, "per_device_train_batch_size": 16, "train_sampling_strategy": "group_by_length",
    "tag_names": None, "label_map": None, "unite_labels": False,
}  # fmt: skip


def parsed(*argv: str) -> dict[str, Any]:
    """All arguments by name."""
    groups = parse_arguments(CLASSES, argv)
    return {name: value for group in groups for name, value in vars(group).items() if not name.startswith("_")}


def test_what_was_not_given_is_not_said_to_be() -> None:
    """In training_args.json, which a published model has: the method, and what the command line names."""
    args = parse_arguments(CLASSES, ["--output_dir", "out", "--seed", "0", "--eval_strategy", "steps"])[-1]
    assert args.changed_arguments() == {"method": "seq_reptile", "seed": 0, "eval_strategy": "steps"}


@pytest.mark.parametrize(
    ("problem", "defaults"),
    [
        (
            QuestionAnswering,
            {
                "max_seq_length": 384, "doc_stride": 128, "n_best_size": 20, "max_answer_length": 30,
                "version_2_with_negative": False, "null_score_diff_threshold": 0.0, "answer_normalization": None,
            },
        ),
        (
            SequenceClassification,
            {
                "max_seq_length": 128, "language": None, "train_language": None, "use_fast_tokenizer": True,
                "do_lower_case": None,
            },
        ),
        (
            TextClassification,
            {"task_name": None, "dataset_name": None, "max_seq_length": 128, "use_fast_tokenizer": True},
        ),
    ],
)  # fmt: skip
def test_defaults_of_the_other_scripts(problem: type[Problem], defaults: dict[str, Any]) -> None:
    """Hugging Face's, but for padding, which is to the longest of a batch."""
    groups = parse_arguments((problem.model_arguments, problem.arguments), [])
    values = {name: value for group in groups for name, value in vars(group).items()}
    of_ner_alone = {"task_name", "text_column_name", "label_column_name", "label_all_tokens"}
    shared = HUGGING_FACES.keys() - of_ner_alone - {"return_entity_level_metrics", "max_seq_length", "dataset_name"}
    assert {name: values[name] for name in shared} == {name: HUGGING_FACES[name] for name in shared}
    assert {name: values[name] for name in defaults} == defaults


def test_defaults(tmp_path: Path) -> None:
    ours = parsed("--output_dir", str(tmp_path))
    assert {name: ours[name] for name in HUGGING_FACES} == HUGGING_FACES
    assert {name: ours[name] for name in OURS} == OURS
    stock = vars(TrainingArguments(output_dir=str(tmp_path)))
    stock = {name: value for name, value in stock.items() if not name.startswith("_")}
    # Without an accelerator, pinned memory would only bring a warning.
    others = stock.keys() - OURS.keys() - {"dataloader_pin_memory", "distributed_state", "accelerator_config"}
    assert {name: ours[name] for name in others} == {name: stock[name] for name in others}
    assert ours.keys() == stock.keys() | HUGGING_FACES.keys() | OURS.keys()


def test_values_are_taken(tmp_path: Path) -> None:
    """Each by its name, spelled with underscores as in the scripts or with hyphens."""
    values = parsed(
        "--output_dir", str(tmp_path), "--languages", "de", "no", "--max_train_samples", "6000", "nl=200",
        "--train_file", "de=a.conllu", "en=b.jsonl", "--inner-steps", "30", "--outer_learning_rate", "0.3",
        "--activation_checkpointing_kwargs", '{"every_n_layers": 2}', "--do_train", "--bf16", "False",
        "--method", "seq_reptile",
    )  # fmt: skip
    assert values["languages"] == ["de", "no"] and values["max_train_samples"] == ["6000", "nl=200"]
    assert values["train_file"] == ["de=a.conllu", "en=b.jsonl"]
    assert values["inner_steps"] == 30 and values["outer_learning_rate"] == 0.3
    assert values["activation_checkpointing_kwargs"] == {"every_n_layers": 2}
    assert values["do_train"] is True and values["do_eval"] is False and values["bf16"] is False


AS_YAML = """
# The paper's settings, but for these.
method: seq_reptile
languages: [de, no, sw]   # `no` is Norwegian here
max_train_samples: [6000, no=200]
learning_rate: 3e-4
inner_steps: 30
do_train: true
bf16: false
max_seq_length: null
model_name_or_path: org/tiny
activation_checkpointing_kwargs: {every_n_layers: 2, flag: true}
"""
AS_JSON = {
    "method": "seq_reptile", "languages": ["de", "no", "sw"], "max_train_samples": [6000, "no=200"],
    "learning_rate": 3e-4, "inner_steps": 30, "do_train": True, "bf16": False, "max_seq_length": None,
    "model_name_or_path": "org/tiny", "activation_checkpointing_kwargs": {"every_n_layers": 2, "flag": True},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", AS_YAML), ("a.yml", AS_YAML), ("a.json", json.dumps(AS_JSON))], ids=lambda t: t[:6]
)
def test_a_file_holds_arguments_and_the_command_line_prevails(tmp_path: Path, name: str, text: str) -> None:
    file = write(tmp_path / name, text)
    values = parsed(file, "--output_dir", str(tmp_path))
    expected = AS_JSON | {"max_train_samples": ["6000", "no=200"]}
    assert {name: values[name] for name in expected} == expected
    values = parsed(
        file, "--output_dir", str(tmp_path), "--languages", "en", "--do_train", "false", "--inner_steps", "7"
    )
    assert values["languages"] == ["en"] and values["do_train"] is False and values["inner_steps"] == 7
    assert values["learning_rate"] == 3e-4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "learning_rat_e: 1\n", r"Unknown argument --learning_rat_e 1\. Did you mean --learning_rate\?"),
        ("a.json", '{"inner_stepps": 5}', r"Unknown argument --inner_stepps 5\. Did you mean --inner_steps\?"),
        ("a.yaml", "languages: [de\n", r"a\.yaml is not valid yaml: .*line 1"),
        ("a.json", '{"a": 1', r"a\.json is not valid json: .*line 1"),
        ("a.yaml", "- method\n", r"must hold arguments by name, such as `method: seq_reptile`"),
        ("a.yaml", "", r"must hold arguments by name"),
        ("a.yaml", "inner_steps: 0\n", r"--inner_steps \(K\) is 0; it must be at least 1"),
        ("a.yaml", None, r"a\.yaml cannot be read: .*No such file"),
        ("a.json", None, r"a\.json cannot be read: .*No such file"),
    ],
)
def test_a_files_mistakes_are_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(InputError, match=f"(?s){message}"):
        parsed(str(tmp_path / name), "--output_dir", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], r"Unknown argument --foo\. .*--help lists all"),
        (["de=a.conll"], r"Unknown argument de=a\.conll\."),
        (["--load_best_model_at_end"], "--load_best_model_at_end requires"),
        (["--learning_rate=-0.001"], r"^--learning_rate \(α\) is -0\.001; it must be above 0\.$"),
        (["--learning_rate", "0"], r"^--learning_rate \(α\) is 0\.0; it must be above 0\.$"),
        (["--learning_rate", "inf"], r"^--learning_rate \(α\) is inf; it must be above 0\.$"),
        (["--gradient_accumulation_steps", "0"], "^--gradient_accumulation_steps is 0; it must be at least 1"),
        (["--per_device_eval_batch_size", "0"], "^--per_device_eval_batch_size is 0; it must be at least 1"),
        (["--num_train_epochs", "-1"], r"^--num_train_epochs is -1\.0; it must be above 0"),
        (["--seed", "-1"], r"^--seed is -1; it must be from 0 to 2\*\*32 - 1"),
        (["--adam_beta1", "1.5"], r"^--adam_beta1 is 1\.5; it must be in \[0, 1\)"),
        (["--dataloader_num_workers", "-1"], "^--dataloader_num_workers is -1; it must be at least 0"),
        (["--report_to", "wandbb"], "^--report_to wandbb: wandbb is not supported, only .*wandb"),
        (["--optim_args", "foo"], "^--optim_args foo: write name=value, with commas"),
        (["--optim", "sgd", "--optim_args", "momentum=-1"], "^--optim sgd --optim_args momentum=-1: Invalid momentum"),
        (["--lr_scheduler_kwargs", "notjson"], "^--lr_scheduler_kwargs notjson is no JSON object; write one"),
        (["--lr_scheduler_kwargs", "[1]"], r"^--lr_scheduler_kwargs \[1\] is no JSON object"),
        (["--fsdp_config", "{"], "^--fsdp_config { is no JSON object"),
        (["--accelerator_config", '{"foo": 1}'], "AcceleratorConfig.* unexpected keyword argument 'foo'"),
        (
            ["--lr_scheduler_kwargs", '{"num_cycles": 2}'],
            "^--lr_scheduler_type linear --lr_scheduler_kwargs {'num_cycles': 2}: .*unexpected keyword argument",
        ),
        (["--save_strategy", "best"], "^--save_strategy best needs --metric_for_best_model"),
        (["--save_strategy", "best", "--metric_for_best_model", "f1"], "^--save_strategy best .* add --eval_strategy"),
        (["--optim", "lomo"], "^--optim lomo is not supported: it changes weights within the backward pass"),
        (["--optim", "apollo_adamw_layerwise"], "^--optim apollo_adamw_layerwise is not supported"),
        (["--dataloader_persistent_workers"], "^--dataloader_persistent_workers is about .*--dataloader_num_workers"),
        (["--dataloader_multiprocessing_context", "fork"], "^--dataloader_multiprocessing_context is about"),
        (["--accelerator_config", '{"dispatch_batches": true}'], "another dispatch_batches is not supported"),
        (["--accelerator_config", '{"even_batches": false}'], "another even_batches is not supported"),
        (
            ["--accelerator_config", '{"gradient_accumulation_kwargs": {"num_steps": 4}}'],
            "another num_steps is not supported: write --gradient_accumulation_steps 4",
        ),
        (["--lr_scheduler_type", "cosine_with_min_lr"], "^--lr_scheduler_type cosine_with_min_lr .*min_lr_rate"),
    ],
)
def test_arguments_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    """All when arguments are parsed, before anything is loaded."""
    with pytest.raises(InputError, match=message):
        parsed("--output_dir", str(tmp_path), *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"eval_strategy": "step"},
            r"^--eval_strategy step is unknown\. Did you mean steps\? Choose one of no, steps",
        ),
        ({"optim": "adamw"}, r"^--optim adamw is unknown\. .*adamw_torch"),
        ({"lr_scheduler_type": "plateau"}, r"^--lr_scheduler_type plateau is unknown\."),
        (
            {"dataloader_multiprocessing_context": "threads", "dataloader_num_workers": 1},
            "^--dataloader_multiprocessing_context threads: choose one of .*spawn",
        ),
        ({"debug": "underflow_overflow"}, "^--debug underflow_overflow is not supported"),
    ],
)
def test_what_the_command_line_knows_is_refused_in_python(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["--report_to", "wandb"], "wandb"),
        (["--optim", "adamw_bnb_8bit"], "bitsandbytes"),
        (["--optim", "galore_adamw", "--optim_target_modules", "query"], "galore_torch"),
    ],
)
def test_a_package_that_is_not_installed_is_named(tmp_path: Path, arguments: list[str], package: str) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(InputError, match=f"^{arguments[0]} {arguments[1]}: .*{package}"):
        parsed("--output_dir", str(tmp_path), *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optim", "adafactor"],
        ["--optim", "sgd", "--optim_args", "momentum=0.9, nesterov=true"],
        ["--lr_scheduler_type", "cosine_with_restarts", "--lr_scheduler_kwargs", '{"num_cycles": 2}'],
        ["--lr_scheduler_type", "reduce_lr_on_plateau", "--eval_strategy", "steps"],
        ["--report_to", "all"],
        ["--bf16", "--use_cpu"],
    ],
)
def test_what_the_library_can_make_is_taken(tmp_path: Path, arguments: list[str]) -> None:
    parsed("--output_dir", str(tmp_path), *arguments)


def test_checking_arguments_draws_no_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    parsed("--output_dir", str(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="has an accelerator")
@pytest.mark.parametrize("name", ["bf16", "bf16_full_eval"])
def test_bf16_without_an_accelerator_needs_use_cpu(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"^--{name} finds no accelerator on this machine; add --use_cpu"):
        parsed("--output_dir", str(tmp_path), f"--{name}")


@pytest.mark.parametrize("below", ["", "in/it"])
def test_an_output_folder_that_is_a_file(tmp_path: Path, below: str) -> None:
    file = write(tmp_path / "a file", "x")
    folder = Path(file, below)
    with pytest.raises(InputError, match=f"^--output_dir {folder}: {file} is a file; choose another folder"):
        parsed("--output_dir", str(folder))


def test_an_error_is_not_buried_under_the_list_of_all_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--learning_rate", "--do_train")
    usage, error = capsys.readouterr().err.strip().splitlines()
    assert usage.startswith("usage: ") and usage.endswith("[recipe.yaml] [--argument value …]; --help lists all")
    assert error.endswith("error: argument --learning_rate/--learning-rate: expected one argument")


def test_the_help_names_all_arguments_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys, "An example")
    assert text.strip().endswith("An example")
    assert all(f"--{name}" in text for name in HUGGING_FACES | OURS)


def test_the_help_shows_each_methods_settings_under_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys)
    of_methods = {name: one for name, one in settings_of(MultiTaskTrainingArguments).items() if one.methods}
    for name in of_methods:
        methods = [method for method, trainer in METHODS.items() if name in trainer.own_settings()]
        section = text.split(f"settings of --method {', '.join(methods)}:")[1].split("\n\n")[0]
        assert name in options(section)
    of_method = text.split("\n  --method")[1].split("--tasks_per_step")[0]
    assert all(method in of_method for method in METHODS)


def test_the_help_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the arguments that have one; a default that is None, False or empty says nothing."""
    text = help_text(capsys)
    parts = options(text)
    telling = {
        name: value for name, value in (HUGGING_FACES | OURS).items() if value is not None and value is not False
    }
    telling |= {"recadam_t0": 250.0, "recadam_gamma": 5000.0, "num_train_epochs": 3.0, "eval_strategy": "no"}
    telling |= {"weight_decay": 0.0, "warmup_steps": 0, "optim": TrainingArguments.optim}
    assert telling.keys() > {"method", "task_sampling_exponent", "learning_rate", "gradvac_beta"}
    for name, value in telling.items():
        assert parts[name].count(f"(default: {value})") == 1, name
    assert not [empty for empty in ("None", "False", "[]", ")", "=") if f"default: {empty}" in text]
    assert "at the cost of ~20% slower training" in parts["activation_checkpointing"] and "%%" not in text


def test_the_help_begins_with_what_is_not_the_stock_trainers(capsys: pytest.CaptureFixture[str]) -> None:
    ours, stock = help_text(capsys).split("arguments of transformers.TrainingArguments:")
    stock_names = {name for name in vars(TrainingArguments(output_dir="out")) if not name.startswith("_")}
    assert not {*HUGGING_FACES, *OURS} - options(ours).keys()
    left_to_stock = stock_names - OURS.keys() - {"distributed_state", "deepspeed_plugin"}
    assert len(left_to_stock) > 100 and not left_to_stock & options(ours).keys()
    assert not OURS.keys() & options(stock).keys()


def options(text: str) -> dict[str, str]:
    """What the help says of each option, on one line; from Python 3.13 on, a comma may follow the option's name."""
    return {part.split()[0].strip(","): " ".join(part.split()) for part in text.split("\n  --")[1:]}


def help_text(capsys: pytest.CaptureFixture[str], epilog: str = "") -> str:
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(CLASSES, ["--help"], epilog)
    assert exit_.value.code == 0
    return capsys.readouterr().out
